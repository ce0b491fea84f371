package redact

// Base64Core is exported for the tests.
var Base64Core = base64Core

// IsDocument is exported for the tests.
var IsDocument = isDocument

// Leaves returns the strings of the JSON in text as they are meant, and its numbers as they are written.
func Leaves(text string) (all []string) {
	for l := range leaves(text, func() bool { return true }) {
		if l.number {
			all = append(all, l.written)
		} else {
			all = append(all, l.meant)
		}
	}
	return all
}

// Mask hides value in a text of any length, without a limit of time.
func Mask(text, value string) string {
	m := newMasker(text)
	all, _ := needles(value)
	for i := range all {
		m.hide(&all[i])
	}
	return m.String()
}

// Searches reports whether r holds something that finds values.
func Searches(r *Redactor) bool { return r.known().current.Load() != nil }

// Parts is how many automata r searches with.
func Parts(r *Redactor) int { return len(r.known().matcher().automata) }

// Spans adds stretches in two lists, each in the order of their ends, and returns them as one.
func Spans(a, b [][2]int) (all [][2]int) {
	var lists [2]spans
	for i, list := range [][][2]int{a, b} {
		for _, s := range list {
			lists[i].add(s[0], s[1])
		}
	}
	lists[0].merge(lists[1])
	for _, s := range lists[0] {
		all = append(all, [2]int{s.from, s.to})
	}
	return all
}
