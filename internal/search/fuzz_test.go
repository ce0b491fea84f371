package search_test

import (
	"strings"
	"testing"
)

// Wherever a text is split, whatever surrounds the value, the value never shows, and nothing else is lost.
func FuzzStream(f *testing.F) {
	f.Add("P@ss/w0rd 12", "postgres://app:", "P%40ss%2Fw0rd+12", "@db", uint(3), uint(20))
	f.Add(`a"b\c-123`, `{"k":"`, `a\"b\\c-123`, `"}`, uint(7), uint(9))
	f.Add("value-1\nline-2", "\r\n", "value-1\r\nline-2", "\n", uint(1), uint(2))
	f.Add(`'value-1'`, `'`, `''value-1''`, `'`, uint(2), uint(4))
	f.Add(`%41&amp;\u0042x-`, `%`, `%41&amp;\u0042x-`, `&`, uint(2), uint(4))
	f.Add(`\UFFFFFFFF-value`, `\UFFFFFFFF`, `&#xffffffff;\u{ffffff}`, `\U80000041`, uint(2), uint(4))
	f.Fuzz(func(t *testing.T, value, before, text, after string, a, b uint) {
		value = strings.TrimSpace(value)
		if len(value) < 8 || len(value) > 10_000 || !strong(value) {
			return
		}
		s := newSet(value)
		defer s.Remove(value)
		for _, line := range []string{before + text + after, before + value + after} {
			n := uint(len(line)) + 1
			i, k := a%n, b%n
			i, k = min(i, k), max(i, k)
			out := stream(s, line[:i], line[i:k], line[k:])
			if strings.Contains(out, value) && !strings.Contains(mark, value) {
				t.Errorf("%q shows in %q, from %q %q %q", value, out, line[:i], line[i:k], line[k:])
			}
			rest := line
			for part := range strings.SplitSeq(out, mark) { // the parts are in the order of the line
				_, behind, found := strings.Cut(rest, part)
				if rest = behind; !found && !strings.Contains(line, mark) {
					t.Errorf("%q is not in %q, from %q", part, rest, line)
				}
			}
			if out == line && strings.Contains(line, value) {
				t.Errorf("%q is not masked in %q", value, line)
			}
		}
		patterns, _ := s.Size()
		if patterns == 0 {
			t.Errorf("no pattern for %q", value)
		}
	})
}
