package secrets

import (
	"context"
	"fmt"
	"testing"

	"github.com/matryer/is"
)

// The Client remembers a bounded number of refused keys.
func TestRefusalsAreBounded(t *testing.T) {
	is := is.New(t)
	client, err := New(NewBackend(Info{Name: "fake"}, func(_ context.Context, ref Ref) (Secret, error) {
		return NewSecret("value of "+ref.Path, Meta{}), nil
	}))
	is.NoErr(err)
	defer func() { is.NoErr(client.Close()) }()
	refuse := func(context.Context, Secret) error { return ErrRejected }
	for i := range maxRefusals {
		is.Equal(client.Do(t.Context(), fmt.Sprint("key-", i), refuse), ErrRejected)
	}
	is.Equal(len(client.refusals.byKey), maxRefusals) // the control
	for i := range 2 * maxRefusals {
		is.Equal(client.Do(t.Context(), fmt.Sprint("other-", i), refuse), ErrRejected)
	}
	is.Equal(len(client.refusals.byKey), maxRefusals)
}
