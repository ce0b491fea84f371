package redact

import "slices"

// Parts returns the parts of value that logs are searched for, or with all, those for errors.
func Parts(value string, all bool) []string { return slices.Collect(parts(value, all)) }
