package redact

// Base64Core is exported for the tests.
var Base64Core = base64Core

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
