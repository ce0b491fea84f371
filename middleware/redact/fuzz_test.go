package redact_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// isStrong is the rule of the package comment.
func isStrong(text string) bool {
	other := func(is func(rune) bool) bool {
		return strings.ContainsFunc(text, func(r rune) bool { return !is(r) })
	}
	return len(text) >= 8 && other(unicode.IsLetter) && other(unicode.IsDigit)
}

// FuzzWriter writes a text that may contain a value, cut at two places.
func FuzzWriter(f *testing.F) {
	f.Add("abaab-ab", "abaab-abaab-abaa", 3, 8)
	f.Add("secret-1/3", "postgres://app:secret-1%2F3@db secret-1/3", 17, 18)
	f.Add("-------a", "-------------a---", 9, 10)
	f.Add("日本語-1\xff\xfe-12345", "日本語-1\xff\xfe-12345", 2, 11)
	f.Add(`p"a\\s%41-12345`, `{"k":"p\"a\\\\s%41-12345"}`, 8, 9)
	f.Add("x-1\nline-two-2", "x-1\nline-two-2\nx-1\r\nline-two-2", 4, 20)
	f.Fuzz(func(t *testing.T, value, text string, cut, more int) {
		if len(value) > 300 || len(text) > 3000 {
			return
		}
		r := knowing(value)
		cut = min(max(0, cut), len(text))
		more = min(max(cut, more), len(text))
		whole, cutUp := streamed(t, r, text), streamed(t, r, text[:cut], text[cut:more], text[more:])
		if !strings.Contains(whole, mark) && whole != text || !strings.Contains(cutUp, mark) && cutUp != text {
			t.Errorf("%q became %q and %q", text, whole, cutUp)
		}
		if r.Stats().Patterns == 0 && (whole != text || cutUp != text) {
			t.Errorf("without a pattern, %q became %q and %q", text, whole, cutUp)
		}
		v := strings.TrimSpace(value)
		if !isStrong(v) || strings.ContainsAny(v[:1], `{["`) {
			return
		}
		for name, got := range map[string]string{"as a whole": whole, "cut": cutUp, "in a log": logged(r, text)} {
			if strings.Contains(strings.ReplaceAll(got, mark, "\x00\x00"), v) && !strings.Contains(v, "\x00") {
				t.Errorf("%s, %q shows in %q", name, v, got)
			}
			if utf8.ValidString(text) && utf8.ValidString(v) && !utf8.ValidString(got) {
				t.Errorf("%s, %q became %q, which is no UTF-8", name, text, got)
			}
		}
	})
}

// FuzzScrub puts a value in some form into a text, and checks that it is masked in the Detail of an error.
func FuzzScrub(f *testing.F) {
	for i, value := range values {
		f.Add(value, "before ", " behind", uint8(i))
		f.Add(`{"a":"`+value+`","b":[1234,"`+value, value[:len(value)/2], value[len(value)/2:], uint8(7*i))
	}
	f.Add("{\"\":\"\\ud800\"}", "", "", uint8(0))
	f.Add("[\"\\\"[\\\\\\\"]\"", "[", "]", uint8(3))
	f.Fuzz(func(t *testing.T, value, before, behind string, form uint8) {
		value = strings.TrimSpace(value)
		if len(value) < 4 || len(value) > 1<<10 {
			return // not masked, or slow
		}
		forms := printed(value)
		names := make([]string, 0, len(forms))
		for name := range forms {
			names = append(names, name)
		}
		slices.Sort(names)
		name := names[int(form)%len(names)]
		// No value can begin or end within these.
		const left, right = "⟦", "⟧"
		if strings.ContainsAny(value+before+behind, left+right) || isLossy(forms[name]) {
			return // the text around the value is ambiguous
		}
		got := scrubber(value)(before + left + forms[name] + right + behind)
		if (name == "plain" || !strings.ContainsAny(value, "\\'\"\r%&")) && !strings.Contains(got, mark) {
			t.Errorf("%q as %s is not masked in %q", value, name, got)
		}
		if name == "plain" && !strings.ContainsAny(value[len(value)-1:], `\%&`) && !strings.Contains(got, left+mark+right) {
			t.Errorf("%q leaves a rest in %q", value, got)
		}
		if strings.Contains(strings.ReplaceAll(got, mark, left), value) { // a mark may contain the end of a value
			t.Errorf("%q is in %q", value, got)
		}
	})
}

// FuzzJSON checks that JSON with a masked value is still JSON.
func FuzzJSON(f *testing.F) {
	for _, value := range values {
		f.Add(value, value[:2], value[2:])
	}
	f.Add(`back-1234\`, `"`, `\`)
	f.Add(`"quoted-1234"`, ``, `%`)
	f.Fuzz(func(t *testing.T, value, before, behind string) {
		if len(value) > 300 || len(before)+len(behind) > 1000 {
			return
		}
		r := knowing(value)
		text := any(before + value + behind)
		for range 3 {
			line := must(json.Marshal(map[string]any{before: text, "z": []any{text, behind}}))
			if got := streamed(t, r, line); !json.Valid([]byte(got)) && !isWord(value) {
				t.Errorf("%q: %s became %s", value, line, got)
			}
			text = line
		}
	})
}

// isWord reports whether a value may occur in JSON outside of strings.
func isWord(value string) bool {
	return strings.ContainsAny(value, `"{}[]:,`) || json.Valid([]byte(value))
}
