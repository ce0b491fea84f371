package secretkeys_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// shared is a backend of several Clients, one per process. Its versions are numbers, and the one before the current is an alternate, as in
// KV v2; or it has stages.
type shared struct {
	*secretstest.Backend

	stages []string
}

func (*shared) Close() error { return nil }

func (s *shared) Info() secrets.Info {
	info := s.Backend.Info()
	info.Alternates = func(ref secrets.Ref) (refs []secrets.Ref) {
		for _, stage := range s.stages {
			refs = append(refs, secrets.Ref{Path: ref.Path, Version: stage})
		}
		if n, err := strconv.Atoi(ref.Version); err == nil && n > 1 && s.stages == nil {
			refs = append(refs, secrets.Ref{Path: ref.Path, Version: strconv.Itoa(n - 1)})
		}
		return refs
	}
	return info
}

// silent is a backend that does not report when a version was created.
type silent struct{ *shared }

func (s *silent) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	secret, err := s.shared.Fetch(ctx, ref)
	if err != nil {
		return secret, err
	}
	meta := secret.Meta()
	meta.CreatedAt = time.Time{}
	return secrets.NewSecret(secret.Reveal(), meta), nil
}

// newShared returns a backend that holds the key signing in version 1.
func newShared() *shared {
	return &shared{Backend: secretstest.NewBackend(map[string]string{"signing": "key 1"})}
}

// open returns a client of backend.
func open(tb testing.TB, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	tb.Helper()
	client, err := secrets.New(backend, opts...)
	is.New(tb).NoErr(err)
	tb.Cleanup(func() { is.New(tb).NoErr(client.Close()) })
	return client
}

// keysOf opens the keys of signing as another process.
func keysOf(t *testing.T, backend secrets.Backend, opts ...secretkeys.Option) *secretkeys.Keys {
	t.Helper()
	keys, err := secretkeys.Open(t.Context(), open(t, backend), "signing", opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { is.New(t).NoErr(keys.Close()) })
	return keys
}

// inBubble runs test with the keys of a backend.
func inBubble(t *testing.T, test func(t *testing.T, backend *shared, keys *secretkeys.Keys), opts ...secretkeys.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		backend := newShared()
		test(t, backend, keysOf(t, backend, opts...))
	})
}

// active returns the id of the active key, and checks the key.
func active(t *testing.T, keys *secretkeys.Keys) string {
	t.Helper()
	id, key := keys.Active()
	is.New(t).Equal(key.Reveal(), "key "+id)
	is.New(t).Equal(key.Meta().Version, id)
	return id
}

// known returns which of the ids "1" to "9" keys knows.
func known(t *testing.T, keys *secretkeys.Keys) (ids string) {
	t.Helper()
	for n := 1; n < 10; n++ {
		id := strconv.Itoa(n)
		key, ok := keys.ByID(id)
		is.New(t).Equal(ok, !key.IsZero())
		if ok {
			is.New(t).Equal(key.Reveal(), "key "+id)
			ids += id
		}
	}
	return ids
}

// after lets d pass.
func after(d time.Duration) {
	time.Sleep(d) // in a bubble
	synctest.Wait()
}

// seen exceeds the time in which a process fetches a change with the default Interval.
const seen = 31 * time.Second
