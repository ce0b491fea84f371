// Prints what JavaScript makes of each value of values.json, as JSON: {writer: [text]}, and the values as {"": [value]}.
const fs = require('node:fs');
const path = require('node:path');
const util = require('node:util');

const before = 'before.', after = '.after';

const texts = {
  'JSON.stringify': s => JSON.stringify({v: s}),
  'JSON.stringify in JSON.stringify': s => JSON.stringify({v: JSON.stringify({v: s})}),
  encodeURIComponent,
  encodeURI,
  URLSearchParams: s => new URLSearchParams({a: '1', v: s}).toString(),
  'URL.password': s => Object.assign(new URL('https://svc@host/'), {password: s}).href,
  'URL.hash': s => Object.assign(new URL('https://host/'), {hash: s}).href,
  escape,
  'util.format %o': s => util.format('%o', s),
  'console.log of an object': s => util.format({v: s}), // what console.log prints
  'template literal': s => `\`${s.replace(/[`\\]|\$\{/g, '\\$&')}\``, // as it is written in source
  'querystring.stringify': s => require('node:querystring').stringify({a: 1, v: s}),
};
const bytes = {
  'Buffer base64': s => Buffer.from(s).toString('base64'),
  'Buffer base64url': s => Buffer.from(s).toString('base64url'),
  'Buffer hex': s => Buffer.from(s).toString('hex'),
  'JSON.stringify of a Buffer': s => JSON.stringify(Buffer.from(s)),
};

const out = {'': []};
for (const v of JSON.parse(fs.readFileSync(path.join(__dirname, 'values.json'), 'utf8'))) {
  for (const s of [v.value, v.also, v.open].filter(s => s !== undefined)) {
    out[''].push(s);
    for (const [writer, f] of Object.entries(texts)) (out[writer] ??= []).push(f(before + s + after));
    for (const [writer, f] of Object.entries(bytes)) (out[writer] ??= []).push(before + f(s) + after);
  }
}
console.log(JSON.stringify(out, null, 1));
