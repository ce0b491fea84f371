package secretstest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// The suite must fail for a backend that breaks the contract: each variant here breaks one rule, and names the cases that detect it.

// broken is a backend whose functions a variant replaces.
type broken struct {
	inner *Backend
	fetch func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)
	info  func() secrets.Info
	close func() error
}

func (b *broken) Info() secrets.Info { return b.info() }

func (b *broken) Close() error { return b.close() }

func (b *broken) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return b.fetch(ctx, ref)
}

func newBroken(documents map[string]string, damage func(b *broken)) *broken {
	b := &broken{inner: NewBackend(documents)}
	b.fetch, b.info, b.close = b.inner.Fetch, b.inner.Info, b.inner.Close
	damage(b)
	return b
}

// foreign is an error like those of SDKs: its text is harmless, but its fields are not.
type foreign struct {
	response struct{ body []byte }
	err      error
}

func (f *foreign) Error() string { return "operation error" }

func (f *foreign) Unwrap() error { return f.err }

func absentError(detail string) error {
	return &secrets.Error{Err: secrets.ErrNotFound, Detail: detail}
}

// onError replaces the errors of the backend.
func onError(replace func(ref secrets.Ref, err error) error) func(*broken) {
	return func(b *broken) {
		b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			s, err := b.inner.Fetch(ctx, ref)
			if err != nil {
				err = replace(ref, err)
			}
			return s, err
		}
	}
}

// onValue replaces the values of the backend.
func onValue(replace func(value string) string) func(*broken) {
	return func(b *broken) {
		b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			s, err := b.inner.Fetch(ctx, ref)
			if err != nil {
				return s, err
			}
			return secrets.NewSecret(replace(s.Reveal()), s.Meta()), nil
		}
	}
}

func onMeta(replace func(meta *secrets.Meta)) func(*broken) {
	return func(b *broken) {
		b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			s, err := b.inner.Fetch(ctx, ref)
			if err != nil {
				return s, err
			}
			meta := s.Meta()
			replace(&meta)
			return secrets.NewSecret(s.Reveal(), meta), nil
		}
	}
}

// onBatch gives the backend batches, and replaces the results of a call for several documents. The backend is Local, so that no timer
// splits the batch of a GetMany.
func onBatch(replace func(refs []secrets.Ref, results []secrets.Result) []secrets.Result) func(*broken) {
	const size = 100
	return func(b *broken) {
		fetch := b.fetch
		b.fetch = secrets.NewBatcher(size, 0, func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
			results := make([]secrets.Result, len(refs))
			for i, ref := range refs {
				results[i].Secret, results[i].Err = fetch(ctx, ref)
			}
			if len(refs) == 1 {
				return results
			}
			return replace(refs, results)
		}).Fetch
		onInfo(func(info *secrets.Info) { info.Batch, info.Local = size, true })(b)
	}
}

// onInfo changes the Info of the backend.
func onInfo(replace func(info *secrets.Info)) func(*broken) {
	return func(b *broken) {
		before := b.info
		b.info = func() secrets.Info {
			info := before()
			replace(&info)
			return info
		}
	}
}

// onResolve sets Info.Resolve.
func onResolve(resolve func(secrets.Ref) secrets.Ref) func(*broken) {
	return onInfo(func(info *secrets.Info) { info.Resolve = resolve })
}

// both applies several damages.
func both(damages ...func(*broken)) func(*broken) {
	return func(b *broken) {
		for _, damage := range damages {
			damage(b)
		}
	}
}

// cannotFail reports whether no broken backend alone can fail the case: the Client gives the answer, or chance decides whose answer is
// seen.
func cannotFail(name string) bool {
	return strings.HasPrefix(name, "context/") && strings.Contains(name, "/client") || name == "get-many/empty"
}

// A broken backend cannot show what a Client could do wrong.
func TestTheSuiteCatchesBrokenClients(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	failed := func(backend, key string, class error) *secrets.Error {
		return &secrets.Error{Backend: backend, Key: key, Err: class}
	}
	end := failed("broken", "a", context.Canceled)
	for name, tc := range map[string]struct {
		err   error
		fails bool
	}{
		"correct":             {end, false},
		"none":                {nil, true},
		"no *Error":           {context.Canceled, true},
		"another class":       {failed("broken", "a", secrets.ErrUnavailable), true},
		"another end of ctx":  {failed("broken", "a", context.DeadlineExceeded), true},
		"joined with a class": {errors.Join(end, secrets.ErrPermissionDenied), true},
		"without the key":     {failed("broken", "", context.Canceled), true},
		"of another key":      {failed("broken", "b", context.Canceled), true},
		"without a backend":   {failed("", "a", context.Canceled), true},
		"of another backend":  {failed("other", "a", context.Canceled), true},
	} {
		t.Run("end of ctx, "+name, func(t *testing.T) {
			c := &check{t: t, suite: newSuite(nil, nil)}
			c.wantEndOf("Get", tc.err, context.Canceled, "broken", "a")
			is.New(t).Equal(len(c.failed) > 0, tc.fails)
		})
	}
	value := map[string]secrets.Secret{"a": secrets.NewSecret("1", secrets.Meta{})}
	other := failed("broken", "b", context.Canceled)
	for name, tc := range map[string]struct {
		found map[string]secrets.Secret
		err   error
		fails bool
	}{
		"correct":             {value, secrets.Errors{other}, false},
		"two errors":          {nil, secrets.Errors{end, other}, false},
		"no *Error":           {value, context.Canceled, true},
		"an *Error":           {value, other, true},
		"a joined error":      {value, errors.Join(secrets.Errors{other}, context.Canceled), true},
		"a key unanswered":    {value, nil, true},
		"an error too few":    {nil, secrets.Errors{end}, true},
		"two answers":         {value, secrets.Errors{end, other}, true},
		"a key not requested": {value, secrets.Errors{other, failed("broken", "c", context.Canceled)}, true},
		"in the wrong order":  {nil, secrets.Errors{other, end}, true},
	} {
		t.Run("answers, "+name, func(t *testing.T) {
			c := &check{t: t, suite: newSuite(nil, nil)}
			c.answers(ctx, []string{"a", "b"}, tc.found, tc.err)
			is.New(t).Equal(len(c.failed) > 0, tc.fails)
		})
	}
}

func TestTheSuiteCatchesBrokenBackends(t *testing.T) {
	seen := make(map[string]bool)
	known := make(map[string]bool)
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			s := newSuite(func(_ *testing.T, documents map[string]string) secrets.Backend {
				return newBroken(documents, v.damage)
			}, v.opts)
			s.callTimeout = 5 * time.Second
			if len(v.opts) > 0 && slices.Contains(v.caught, "stall/fetch") {
				s.callTimeout = 200 * time.Millisecond
			}
			cases := s.cases()
			for _, tc := range cases {
				known[tc.name] = true
			}
			for _, pattern := range v.caught {
				n := 0
				for _, tc := range cases {
					if match, err := path.Match(pattern, tc.name); err != nil || !match {
						continue
					}
					n++
					seen[tc.name] = true
					failures := s.try(t, tc)
					if len(failures) == 0 {
						t.Errorf("the case %s passes", tc.name)
					}
					for _, f := range failures {
						if strings.Contains(f, canary) {
							t.Errorf("the case %s quotes a value in its own report", tc.name)
						}
					}
				}
				if n == 0 {
					t.Errorf("there is no case %s", pattern)
				}
			}
		})
	}
	for name := range known {
		if !seen[name] && !cannotFail(name) {
			t.Errorf("no broken backend shows that the case %s can fail", name)
		}
	}
}

// Control: without damage, the same backend passes.
func TestTheSuitePassesAWorkingBackend(t *testing.T) {
	Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return newBroken(documents, func(*broken) {})
	}, WithBinary())
}

// A backend like Vault's holds only objects and reads the last segment of a path as a field.
func TestABackendOfObjectsPasses(t *testing.T) {
	Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		t.Helper()
		return newBroken(vaultLike(t, documents), onResolve(lastSegment))
	}, WithObjectsOnly())
}

// vaultLike returns documents as a store of objects holds them: of two segments, the second is a field.
func vaultLike(t *testing.T, documents map[string]string) map[string]string {
	t.Helper()
	objects := make(map[string]map[string]string)
	whole := make(map[string]string)
	for p, content := range documents {
		secret, field, nested := strings.Cut(p, "/")
		if !nested {
			whole[secret] = content
			continue
		}
		if objects[secret] == nil {
			objects[secret] = make(map[string]string)
		}
		objects[secret][field] = content
	}
	for secret, object := range objects {
		b, err := json.Marshal(object)
		is.New(t).NoErr(err)
		whole[secret] = string(b)
	}
	return whole
}

// lastSegment reads the last segment of a path as a field.
func lastSegment(ref secrets.Ref) secrets.Ref {
	i := strings.LastIndexByte(ref.Path, '/')
	if ref.Whole || ref.Field != "" || i < 0 {
		return ref
	}
	return secrets.Ref{Path: ref.Path[:i], Field: ref.Path[i+1:], Version: ref.Version}
}

// A backend with batches passes, with single keys and with several.
func TestABackendWithBatchesPasses(t *testing.T) {
	Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return newBroken(documents, onBatch(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result { return r }))
	}, WithBinary())
}

// A backend that sets every field of Info passes.
func TestABackendWithAFullInfoPasses(t *testing.T) {
	Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return newBroken(documents, onInfo(func(info *secrets.Info) {
			info.Hint = func(secrets.Ref) string { return "it could also be elsewhere" }
			info.Endpoint = func(ref secrets.Ref) string { return path.Dir(ref.Path) }
			info.Alternates = func(ref secrets.Ref) []secrets.Ref {
				ref.Version += "-previous"
				return []secrets.Ref{ref}
			}
			info.OnChange = func(func(...secrets.Ref)) {}
		}))
	}, WithBinary())
}

func TestThereAreEnoughCases(t *testing.T) {
	is := is.New(t)
	names := make(map[string]bool)
	for _, tc := range newSuite(nil, nil).cases() {
		is.True(!names[tc.name]) // names are unique
		is.True(tc.why != "")
		names[tc.name] = true
	}
	is.True(len(names) >= 100)
	is.True(len(newSuite(nil, []RunOption{WithObjectsOnly(), WithoutEmptyValues()}).cases()) >= 40)
	is.True(len(hostilePaths()) >= 80)
	for i, p := range hostilePaths() {
		if slices.Contains(hostilePaths()[:i], p) && p != "%" && p != "=" {
			t.Errorf("the path %q occurs twice", p)
		}
	}
}

func TestFaultsOfRun(t *testing.T) {
	is := is.New(t)
	is.Equal(newSuite(nil, nil).fault(), "the Factory is nil")
	s := newSuite(func(*testing.T, map[string]string) secrets.Backend { return nil }, []RunOption{WithFailure(io.EOF, nil)})
	is.Equal(s.fault(), "WithFailure: EOF is not a class of package secrets")

	s = newSuite(func(*testing.T, map[string]string) secrets.Backend { return nil }, nil)
	is.Equal(s.try(t, s.cases()[0]), []string{"the backend is nil"})
}
