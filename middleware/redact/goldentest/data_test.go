package goldentest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// dataWriters returns the writers of other languages. Each has its recorded outputs for the values, and can print no other text.
var dataWriters = sync.OnceValue(func() []writer {
	const behind = 4
	marked := map[string]writer{
		"python json.dumps":                    {json: true},
		"python json.dumps ensure_ascii=False": {json: true},
		"python json.dumps in json.dumps":      {depth: 2, json: true},
		"python base64.encodebytes":            {bytes: true, tail: behind + 1},
		"python base64.b64encode":              {bytes: true, tail: behind},
		"python bytes.hex":                     {bytes: true},
		"python list of bytes":                 {bytes: true, head: 1, tail: 1},

		"php json_encode":                          {json: true},
		"php json_encode JSON_HEX_*":               {json: true},
		"php json_encode unescaped":                {json: true},
		"php json_encode in json_encode":           {depth: 2, json: true},
		"php htmlspecialchars of htmlspecialchars": {depth: 2},
		"php base64_encode":                        {bytes: true, tail: behind},
		"php chunk_split":                          {bytes: true, tail: behind + 2},
		"php bin2hex":                              {bytes: true},

		"javascript JSON.stringify":                   {json: true},
		"javascript JSON.stringify in JSON.stringify": {depth: 2, json: true},
		"javascript Buffer base64":                    {bytes: true, tail: behind},
		"javascript Buffer base64url":                 {bytes: true, tail: behind},
		"javascript Buffer hex":                       {bytes: true},
		"javascript JSON.stringify of a Buffer":       {bytes: true, head: len(`{"type":"Buffer","data":[`), tail: 2},
	}
	var all []writer
	for _, language := range []string{"python", "php", "javascript"} {
		var outputs map[string][]string
		read(language+".json", &outputs)
		texts := outputs[""]
		if stale(texts) {
			panic("testdata/" + language + ".json is older than values.json; run testdata/generate.sh")
		}
		for name, texted := range outputs {
			if name == "" {
				continue
			}
			w := marked[language+" "+name]
			w.name = language + " " + name
			w.write = func(s string) (string, error) {
				if i := slices.Index(texts, s); i >= 0 && w.bytes {
					return strings.TrimSuffix(strings.TrimPrefix(texted[i], before), after), nil
				}
				if i := slices.Index(texts, strings.TrimSuffix(strings.TrimPrefix(s, before), after)); i >= 0 && !w.bytes {
					return texted[i], nil
				}
				return "", fmt.Errorf("%s was not given %q", w.name, s)
			}
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b writer) int { return strings.Compare(a.name, b.name) })
	return all
})

// stale reports whether texts, from which a language made its data, differ from the current values.
func stale(texts []string) bool {
	for _, v := range values() {
		if !slices.Contains(texts, v.text) || v.open != "" && !slices.Contains(texts, v.open) {
			return true
		}
	}
	return false
}
