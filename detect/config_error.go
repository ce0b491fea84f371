package detect

import (
	"context"
	"errors"
	"io/fs"
)

// configError is the error of a backend in words without what looks like a token. It holds nothing of the error itself.
type configError struct {
	text   string
	causes []error // sentinels
}

func (f *configError) Error() string   { return f.text }
func (f *configError) Unwrap() []error { return f.causes }

var _ error = (*configError)(nil)

// sentinels returns those that err is, for errors.Is.
func sentinels(err error) []error {
	var found []error
	for _, s := range []error{fs.ErrNotExist, fs.ErrPermission, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			found = append(found, s)
		}
	}
	return found
}
