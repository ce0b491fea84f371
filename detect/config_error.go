package detect

import (
	"context"
	"errors"
	"io/fs"
)

// configError replaces the error of a backend, whose text may contain a token. It keeps the masked text and not the error.
type configError struct {
	text   string
	causes []error // see sentinels
}

func (f *configError) Error() string   { return f.text }
func (f *configError) Unwrap() []error { return f.causes }

var _ error = (*configError)(nil)

// sentinels returns the known sentinel errors that err matches, for errors.Is.
func sentinels(err error) []error {
	var found []error
	for _, s := range []error{fs.ErrNotExist, fs.ErrPermission, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			found = append(found, s)
		}
	}
	return found
}
