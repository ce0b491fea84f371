package redact

import "slices"

// Parts returns what a value is found by in logs, or else all of it.
func Parts(value string, all bool) []string { return slices.Collect(parts(value, all)) }
