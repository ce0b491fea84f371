"""Prints what Python makes of each value of values.json, as JSON: {writer: [text]}, and the values as {"": [value]}."""
import base64
import html
import io
import json
import logging
import pathlib
import shlex
import sys
import urllib.parse

BEFORE, AFTER = "before.", ".after"


def logged(template):
    def write(text):
        stream = io.StringIO()
        log = logging.Logger("golden")
        log.addHandler(logging.StreamHandler(stream))
        log.info(template, text)
        return stream.getvalue()
    return write


TEXTS = {
    "json.dumps": lambda s: json.dumps({"v": s}),
    "json.dumps ensure_ascii=False": lambda s: json.dumps({"v": s}, ensure_ascii=False),
    "json.dumps in json.dumps": lambda s: json.dumps({"v": json.dumps({"v": s})}),
    "repr": repr,
    "repr of a dict": lambda s: repr({"v": s}),
    "ascii": ascii,
    "urllib.parse.quote": urllib.parse.quote,
    "urllib.parse.quote safe=''": lambda s: urllib.parse.quote(s, safe=""),
    "urllib.parse.quote_plus": urllib.parse.quote_plus,
    "urllib.parse.urlencode": lambda s: urllib.parse.urlencode({"a": "1", "v": s}),
    "html.escape": html.escape,
    "logging %s": logged("got %s"),
    "logging %r": logged("got %r"),
    "shlex.quote": shlex.quote,
    "unicode_escape": lambda s: s.encode("unicode_escape").decode(),
    "xmlcharrefreplace": lambda s: s.encode("ascii", "xmlcharrefreplace").decode(),
    "repr of bytes": lambda s: repr(s.encode()),
}
BYTES = {
    "base64.encodebytes": lambda s: base64.encodebytes(s.encode()).decode(),
    "base64.b64encode": lambda s: base64.b64encode(s.encode()).decode(),
    "bytes.hex": lambda s: s.encode().hex(),
    "list of bytes": lambda s: repr(list(s.encode())),
}

texts = [v[key]
         for v in json.loads((pathlib.Path(__file__).parent / "values.json").read_text())
         for key in ("value", "also", "open") if key in v]
out = {"": texts}
out |= {w: [f(BEFORE + s + AFTER) for s in texts] for w, f in TEXTS.items()}
out |= {w: [BEFORE + f(s) + AFTER for s in texts] for w, f in BYTES.items()}
json.dump(out, sys.stdout, indent=1)
print()
