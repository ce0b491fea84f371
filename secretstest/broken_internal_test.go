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

// The suite must fail for a backend that breaks a promise: each variant here breaks one, and names the cases that see it.

// broken is a backend of parts that a variant replaces.
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

// foreign is an error as those of SDKs: its text is harmless, and what it carries is not.
type foreign struct {
	response struct{ body []byte }
	err      error
}

func (f *foreign) Error() string { return "operation error" }

func (f *foreign) Unwrap() error { return f.err }

func absentError(detail string) error {
	return &secrets.Error{Err: secrets.ErrNotFound, Detail: detail}
}

// onError replaces what the backend returns as an error.
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

// onValue replaces what the backend returns as a value.
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

// onBatch makes the backend one with batches, and replaces what a call for several documents returns. It is Local, so that no
// clock cuts the batch of a GetMany.
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

// onInfo replaces what the backend says of itself.
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

// onResolve gives the backend a Resolve.
func onResolve(resolve func(secrets.Ref) secrets.Ref) func(*broken) {
	return onInfo(func(info *secrets.Info) { info.Resolve = resolve })
}

// both does several damages.
func both(damages ...func(*broken)) func(*broken) {
	return func(b *broken) {
		for _, damage := range damages {
			damage(b)
		}
	}
}

// untouchable are the cases in which a backend cannot be at fault alone: the Client answers, or chance decides whose answer is
// seen. They hold the two to their agreement.
func untouchable(name string) bool {
	return strings.HasPrefix(name, "context/") && strings.Contains(name, "/client") || name == "get-many/empty"
}

// What a Client could do wrong, no broken backend shows.
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
		"right":              {end, false},
		"none":               {nil, true},
		"bare":               {context.Canceled, true},
		"another class":      {failed("broken", "a", secrets.ErrUnavailable), true},
		"the other end":      {failed("broken", "a", context.DeadlineExceeded), true},
		"beside a class":     {errors.Join(end, secrets.ErrPermissionDenied), true},
		"without the key":    {failed("broken", "", context.Canceled), true},
		"of another key":     {failed("broken", "b", context.Canceled), true},
		"without a backend":  {failed("", "a", context.Canceled), true},
		"of another backend": {failed("other", "a", context.Canceled), true},
	} {
		t.Run("an end, "+name, func(t *testing.T) {
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
		"right":              {value, secrets.Errors{other}, false},
		"two ends":           {nil, secrets.Errors{end, other}, false},
		"a bare end":         {value, context.Canceled, true},
		"an *Error":          {value, other, true},
		"a joined error":     {value, errors.Join(secrets.Errors{other}, context.Canceled), true},
		"a key without any":  {value, nil, true},
		"the same, an end":   {nil, secrets.Errors{end}, true},
		"two answers":        {value, secrets.Errors{end, other}, true},
		"a key of nobody":    {value, secrets.Errors{other, failed("broken", "c", context.Canceled)}, true},
		"in the wrong order": {nil, secrets.Errors{other, end}, true},
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
			s.patience = 5 * time.Second
			if len(v.opts) > 0 && slices.Contains(v.caught, "stall/fetch") {
				s.patience = 200 * time.Millisecond
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
		if !seen[name] && !untouchable(name) {
			t.Errorf("no broken backend shows that the case %s can fail", name)
		}
	}
}

// The same backend without damage passes: it is the damage that the cases see.
func TestTheSuitePassesWhatIsNotBroken(t *testing.T) {
	Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return newBroken(documents, func(*broken) {})
	}, WithBinary())
}

// A backend like that of Vault holds objects alone, and has the last segment of a path for a field of one.
func TestABackendOfObjectsPasses(t *testing.T) {
	Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		t.Helper()
		return newBroken(vaultLike(t, documents), onResolve(lastSegment))
	}, WithObjectsOnly())
}

// vaultLike returns documents as a store of objects holds them: the last of two segments is a field.
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

// lastSegment takes the last segment of a path for a field.
func lastSegment(ref secrets.Ref) secrets.Ref {
	i := strings.LastIndexByte(ref.Path, '/')
	if ref.Whole || ref.Field != "" || i < 0 {
		return ref
	}
	return secrets.Ref{Path: ref.Path[:i], Field: ref.Path[i+1:], Version: ref.Version}
}

// A backend with batches passes, alone in a call and among others.
func TestABackendWithBatchesPasses(t *testing.T) {
	Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return newBroken(documents, onBatch(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result { return r }))
	}, WithBinary())
}

// A backend that says all that it can passes.
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
		is.True(!names[tc.name]) // a case has its name alone
		is.True(tc.why != "")
		names[tc.name] = true
	}
	is.True(len(names) >= 100)
	is.True(len(newSuite(nil, []RunOption{WithObjectsOnly(), WithoutEmptyValues()}).cases()) >= 40)
	is.True(len(hostilePaths()) >= 80)
	for i, p := range hostilePaths() {
		if slices.Contains(hostilePaths()[:i], p) && p != "%" && p != "=" {
			t.Errorf("the path %q stands twice", p)
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
