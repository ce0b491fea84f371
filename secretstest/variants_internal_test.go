package secretstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
)

type variant struct {
	name   string
	damage func(b *broken)
	wrap   func(b *broken) secrets.Backend // nil: b itself
	opts   []RunOption
	caught []string // patterns of path.Match; all cases that match must fail
}

func damaged(damage func(*broken), set func(b *broken)) func(*testing.T, string) (secrets.Backend, string) {
	return func(_ *testing.T, secret string) (secrets.Backend, string) {
		b := newBroken(map[string]string{"database": secret}, damage)
		set(b)
		return b, "database"
	}
}

func variants() []variant {
	never := func(*broken) {}
	asMissing := onError(func(secrets.Ref, error) error { return secrets.ErrNotFound })
	failing := func(class error) func(b *broken) { return func(b *broken) { b.inner.Fail(class) } }
	return []variant{
		{
			name:   "an outage reads as not found",
			damage: never,
			opts:   []RunOption{WithFailure(secrets.ErrUnavailable, damaged(asMissing, failing(secrets.ErrUnavailable)))},
			caught: []string{"failure/unavailable/*"},
		},
		{
			name:   "a denial reads as not found",
			damage: never,
			opts:   []RunOption{WithFailure(secrets.ErrPermissionDenied, damaged(asMissing, failing(secrets.ErrPermissionDenied)))},
			caught: []string{"failure/permission-denied/*"},
		},
		{
			name:   "deleted reads as not found",
			damage: never,
			opts: []RunOption{WithFailure(secrets.ErrDeleted, damaged(asMissing, func(b *broken) {
				b.inner.Delete("database")
			}))},
			caught: []string{"failure/deleted/fetch", "failure/deleted/client", "failure/deleted/fetch-many", "failure/deleted/client-many"},
		},
		{
			name:   "deleted reads as an outage",
			damage: never,
			opts: []RunOption{WithFailure(secrets.ErrDeleted, damaged(
				onError(func(secrets.Ref, error) error { return secrets.ErrUnavailable }),
				func(b *broken) { b.inner.Delete("database") }))},
			caught: []string{"failure/deleted/*"},
		},
		{
			name:   "a failure quotes the body of the answer",
			damage: never,
			opts: []RunOption{WithFailure(secrets.ErrMalformed, func(_ *testing.T, secret string) (secrets.Backend, string) {
				b := NewBackend(nil)
				b.Fail(&secrets.Error{Err: secrets.ErrMalformed, Detail: "unexpected answer: " + secret})
				return b, "database"
			})},
			caught: []string{"failure/malformed/*"},
		},
		{
			name:   "not found reads as an outage",
			damage: onError(func(secrets.Ref, error) error { return secrets.ErrUnavailable }),
			caught: []string{"absent/*", "batch/one-missing", "batch/client", "field/of-missing-document", "field/document-of-its-own",
				"field/whole-of-text"},
			wrap: func(b *broken) secrets.Backend {
				return resolving{b, func(ref secrets.Ref) secrets.Ref {
					if ref.Whole {
						ref.Path = "elsewhere"
					}
					return ref
				}}
			},
		},
		{
			name:   "Detail quotes a value",
			damage: onError(func(secrets.Ref, error) error { return absentError("there is " + password) }),
			caught: []string{"absent/fetch*", "absent/client", "batch/*-missing", "batch/client"},
		},
		{
			name:   "Detail quotes a value in base64",
			damage: onError(func(secrets.Ref, error) error { return absentError("Y2F1c2U6IGM0bmFSeS05ZlEyeFo3bUt2VzM=") }),
			caught: []string{"absent/fetch*"},
		},
		{
			name: "an error of an SDK is wrapped, and carries the value",
			damage: onError(func(secrets.Ref, error) error {
				f := &foreign{err: secrets.ErrNotFound}
				f.response.body = []byte(database)
				return f
			}),
			caught: []string{"absent/fetch*"},
		},
		{
			name:   "an error is of two classes",
			damage: onError(func(secrets.Ref, error) error { return errors.Join(secrets.ErrNotFound, secrets.ErrUnavailable) }),
			caught: []string{"absent/fetch*"},
		},
		{
			name:   "an error is of no class",
			damage: onError(func(secrets.Ref, error) error { return errors.New("no such file") }),
			caught: []string{"absent/*"},
		},
		{
			name: "the zero Secret with no error",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if errors.Is(err, secrets.ErrNotFound) {
						return secrets.Secret{}, nil
					}
					return s, err
				}
			},
			caught: []string{"absent/*", "batch/*-missing"},
		},
		{
			name: "a default in place of what is missing",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if errors.Is(err, secrets.ErrNotFound) {
						return secrets.NewSecret("", secrets.Meta{}), nil
					}
					return s, err
				}
			},
			caught: []string{"absent/*", "keys/client", "keys/fetch*"},
		},
		{
			name: "a Secret beside an error",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if err != nil {
						s = secrets.NewSecret("", secrets.Meta{})
					}
					return s, err
				}
			},
			caught: []string{"absent/fetch*"},
		},
		{
			name: "the last value stands in for what is missing",
			damage: func(b *broken) {
				var last secrets.Secret
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if err != nil && !last.IsZero() {
						return last, nil
					}
					last = s
					return s, err
				}
			},
			caught: []string{"absent/after-found"},
		},
		{
			name:   "values get a newline",
			damage: onValue(func(value string) string { return value + "\n" }),
			caught: []string{
				"value/*", "batch/one", "batch/order*", "batch/duplicates", "batch/more-than-a-page", "batch/many-documents",
				"meta/backend", "meta/times", "meta/version-is-stable", "value-is-not-shared", "field/whole", "field/one-document",
				"field/document-of-its-own", "concurrency/*", "keys/good-one-among-hostile", "keys/after-hostile", "absent/get-or",
			},
			opts: []RunOption{WithBinary()},
			wrap: onResolve(func(ref secrets.Ref) secrets.Ref {
				if ref == (secrets.Ref{Path: "text", Field: "plain"}) {
					return secrets.Ref{Path: "text/plain"}
				}
				return ref
			}),
		},
		{
			name:   "values are trimmed",
			damage: onValue(strings.TrimSpace),
			caught: []string{"value/spaces-around", "value/binary-newline"},
			opts:   []RunOption{WithBinary()},
		},
		{
			name:   "values pass through a string of valid UTF-8",
			damage: onValue(func(value string) string { return strings.ToValidUTF8(value, "\ufffd") }),
			caught: []string{"value/binary"},
			opts:   []RunOption{WithBinary()},
		},
		{
			name: "JSON is decoded and encoded again",
			damage: onValue(func(value string) string {
				var v any
				if json.Unmarshal([]byte(value), &v) != nil {
					return value
				}
				b, _ := json.Marshal(v)
				return string(b)
			}),
			caught: []string{
				"field/integer*", "field/decimal-with-zero", "value/number-large", "value/json-object", "value/numbers",
				"value/document-json-array", "value/document-key-twice",
			},
		},
		{
			name:   "fields are null",
			damage: onValue(func(string) string { return `{"array":null}` }),
			caught: []string{
				"field/string", "field/number", "field/true", "field/false", "field/empty-string", "field/escapes", "field/object", "field/array",
				"field/path-into-*", "field/key-with-dot", "field/unicode-key",
			},
		},
		{
			name: "every field is there",
			damage: onValue(func(string) string {
				return `{"null":"","missing":"","Password":"","field":"","array":["","",""],"nested":{"deep":{"missing":""}}}`
			}),
			caught: []string{"field/null", "field/missing*", "field/beyond-array", "field/other-case", "field/of-text"},
		},
		{
			name: "an empty value is a missing one",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if err == nil && s.Reveal() == "" {
						return secrets.Secret{}, absentError("")
					}
					return s, err
				}
			},
			caught: []string{"value/empty"},
		},
		{
			name: "a version is passed over",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					return b.inner.Fetch(ctx, secrets.Ref{Path: ref.Path})
				}
			},
			opts: []RunOption{WithVersions(func(*testing.T) (secrets.Backend, string, map[string]string) {
				b := newBroken(map[string]string{"database": "first"}, func(b *broken) {
					b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
						return b.inner.Fetch(ctx, secrets.Ref{Path: ref.Path})
					}
				})
				b.inner.Set("database", "second")
				return b, "database", map[string]string{"1": "first", "2": "second"}
			})},
			caught: []string{"absent/version", "version/pinned", "version/batch", "version/client", "version/meta", "version/unknown"},
		},
		{
			name:   "the current version is one of its own",
			damage: never,
			opts: []RunOption{WithVersions(func(*testing.T) (secrets.Backend, string, map[string]string) {
				b := NewBackend(map[string]string{"database": "first"})
				b.Set("database", "second")
				b.Set("database", "third")
				return b, "database", map[string]string{"1": "first", "2": "second"}
			})},
			caught: []string{"version/current"},
		},
		{
			name:   "answers are in the order of the store",
			damage: onMany(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result { slices.Reverse(r); return r }),
			caught: []string{"batch/order*", "batch/first-missing", "batch/last-missing", "batch/many-documents", "batch/agrees-with-fetch"},
		},
		{
			name: "a batch leaves out what is missing",
			damage: onMany(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result {
				return slices.DeleteFunc(r, func(r secrets.Result) bool { return r.Err != nil })
			}),
			caught: []string{"batch/*-missing", "absent/fetch-many", "keys/fetch-many", "keys/good-one-among-hostile"},
		},
		{
			name: "a batch answers duplicates once",
			damage: onMany(func(refs []secrets.Ref, r []secrets.Result) []secrets.Result {
				var short []secrets.Result
				seen := make(map[secrets.Ref]bool)
				for i, ref := range refs {
					if !seen[ref] {
						seen[ref] = true
						short = append(short, r[i])
					}
				}
				return short
			}),
			caught: []string{"batch/duplicates", "batch/more-than-a-page"},
		},
		{
			name: "a batch of none has a result",
			damage: onMany(func(refs []secrets.Ref, r []secrets.Result) []secrets.Result {
				if len(refs) == 0 {
					return []secrets.Result{{Err: secrets.ErrNotFound}}
				}
				return r
			}),
			caught: []string{"batch/empty"},
		},
		{
			name: "one failure fails the batch",
			damage: onMany(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result {
				if i := slices.IndexFunc(r, func(r secrets.Result) bool { return r.Err != nil }); i >= 0 {
					for k := range r {
						r[k] = secrets.Result{Err: r[i].Err}
					}
				}
				return r
			}),
			caught: []string{"batch/one-missing", "batch/first-missing", "batch/last-missing", "keys/good-one-among-hostile", "batch/client"},
		},
		{
			name:   "a batch stops at the size of a page",
			damage: onMany(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result { return r[:min(20, len(r))] }),
			caught: []string{"batch/more-than-a-page", "batch/many-documents"},
		},
		{
			name: "what is missing is found in a batch",
			damage: onMany(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result {
				for i := range r {
					if r[i].Err != nil {
						r[i] = secrets.Result{Secret: secrets.NewSecret("", secrets.Meta{})}
					}
				}
				return r
			}),
			caught: []string{"batch/all-missing", "batch/agrees-with-fetch", "absent/fetch-many", "keys/fetch-many"},
		},
		{
			name: "FetchMany sorts the refs of its caller",
			damage: func(b *broken) {
				b.many = func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
					slices.SortFunc(refs, func(a, b secrets.Ref) int { return strings.Compare(a.Path, b.Path) })
					return b.each(ctx, refs)
				}
			},
			caught: []string{"batch/refs-are-not-changed"},
		},
		{
			name: "a panic at a name that is odd",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					if strings.ContainsAny(ref.Path, "*\\") {
						panic("index out of range: " + password)
					}
					return b.inner.Fetch(ctx, ref)
				}
			},
			caught: []string{"keys/client", "keys/fetch", "keys/fetch-resolved", "keys/fetch-many"},
		},
		{
			name: "an odd name ends the goroutine",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					if strings.ContainsAny(ref.Path, "*\\") {
						runtime.Goexit()
					}
					return b.inner.Fetch(ctx, ref)
				}
			},
			caught: []string{"keys/client", "keys/fetch", "keys/fetch-many"},
		},
		{
			name: "names are paths that are cleaned",
			damage: func(b *broken) {
				b.inner.Set("etc/passwd", "root:x:0:0")
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					return b.inner.Fetch(ctx, secrets.Ref{Path: strings.TrimPrefix(path.Join("/", ref.Path), "/"), Version: ref.Version})
				}
			},
			caught: []string{"keys/fetch", "keys/fetch-many", "keys/fetch-resolved"},
		},
		{
			name: "names are put into a URL unescaped",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					const base = "/v1/"
					u, err := url.Parse(base + ref.Path)
					if err != nil {
						return secrets.Secret{}, secrets.ErrInvalidKey
					}
					return b.inner.Fetch(ctx, secrets.Ref{Path: strings.TrimPrefix(u.Path, base), Version: ref.Version})
				}
			},
			caught: []string{"keys/client", "keys/fetch", "keys/fetch-many", "keys/fetch-resolved"},
		},
		{
			name:   "an odd name is an outage",
			damage: onError(func(secrets.Ref, error) error { return secrets.ErrUnavailable }),
			caught: []string{"keys/client", "keys/fetch"},
		},
		{
			name: "a hostile name breaks the backend",
			damage: func(b *broken) {
				var dead atomic.Bool
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					if strings.Contains(ref.Path, "..") {
						dead.Store(true)
					}
					if dead.Load() {
						return secrets.Secret{}, secrets.ErrUnavailable
					}
					return b.inner.Fetch(ctx, ref)
				}
			},
			caught: []string{"keys/after-hostile", "keys/good-one-among-hostile"},
		},
		{
			name: "ctx is passed over",
			damage: func(b *broken) {
				b.fetch = func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
					return b.inner.Fetch(context.Background(), ref)
				}
			},
			caught: []string{"context/*/fetch", "context/*/fetch-many"},
		},
		{
			name: "the end of ctx reads as not found",
			damage: onError(func(ref secrets.Ref, _ error) error {
				return &secrets.Error{Key: ref.String(), Err: secrets.ErrNotFound}
			}),
			caught: []string{"context/*/fetch", "context/*/fetch-many"},
		},
		{
			name: "the end of one call is the end of all",
			damage: func(b *broken) {
				var mu sync.Mutex
				var ended error
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					mu.Lock()
					defer mu.Unlock()
					if ended == nil && ctx.Err() != nil {
						ended = ctx.Err()
					}
					if ended != nil {
						return secrets.Secret{}, ended
					}
					return b.inner.Fetch(ctx, ref)
				}
			},
			caught: []string{"context/*/next-call", "concurrency/cancellation"},
		},
		{
			name:   "a backend that hangs does not look at ctx",
			damage: never,
			opts: []RunOption{WithStall(func(t *testing.T) (secrets.Backend, string) {
				t.Helper()
				b := newBroken(map[string]string{"database": "value"}, func(b *broken) {
					b.fetch = func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
						return b.inner.Fetch(context.Background(), ref)
					}
				})
				t.Cleanup(b.inner.Block())
				return b, "database"
			})},
			caught: []string{"stall/fetch", "stall/fetch-many"},
		},
		{
			name:   "what should hang answers",
			damage: never,
			opts: []RunOption{WithStall(func(*testing.T) (secrets.Backend, string) {
				return NewBackend(map[string]string{"database": "value"}), "database"
			})},
			caught: []string{"stall/*"},
		},
		{
			name: "two calls at once are in each other's way",
			damage: func(b *broken) {
				var busy atomic.Int32
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					defer busy.Add(-1)
					if busy.Add(1) > 1 {
						return secrets.Secret{}, secrets.ErrUnavailable
					}
					runtime.Gosched()
					return b.inner.Fetch(ctx, ref)
				}
			},
			caught: []string{"concurrency/fetch-and-fetch-many", "concurrency/client", "concurrency/cancellation"},
		},
		{
			name:   "no name",
			damage: func(b *broken) { b.name = func() string { return "" } },
			caught: []string{"name", "meta/backend", "close/client", "absent/client"},
		},
		{
			name: "a name that changes",
			damage: func(b *broken) {
				var n atomic.Int32
				b.name = func() string { return fmt.Sprint("broken-", n.Add(1)) }
			},
			caught: []string{"name"},
		},
		{
			name:   "Meta tells another backend",
			damage: onMeta(func(m *secrets.Meta) { m.Backend = "another" }),
			caught: []string{"meta/backend", "field/string"},
		},
		{
			name:   "FetchedAt is of another time",
			damage: onMeta(func(m *secrets.Meta) { m.FetchedAt = time.Now().Add(-time.Hour) }),
			caught: []string{"meta/times"},
		},
		{
			name: "each answer is a new version",
			damage: func(b *broken) {
				var n atomic.Int32
				onMeta(func(m *secrets.Meta) { m.Version = fmt.Sprint(n.Add(1)) })(b)
			},
			caught: []string{"meta/version-is-stable", "batch/agrees-with-fetch"},
		},
		{
			name: "Close fails",
			damage: func(b *broken) {
				b.close = func() error { return errors.New("already closed") }
			},
			caught: []string{"close/twice", "close/unused", "close/client"},
		},
		{
			name: "the second Close panics",
			damage: func(b *broken) {
				var done atomic.Bool
				b.close = func() error {
					if done.Swap(true) {
						panic("close of closed channel")
					}
					return nil
				}
			},
			caught: []string{"close/twice", "close/concurrently"},
		},
		{
			name: "nothing is there after Close",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					if b.inner.Closed() {
						return secrets.Secret{}, absentError("")
					}
					return b.inner.Fetch(ctx, ref)
				}
			},
			caught: []string{"close/calls-after"},
		},
		{
			name:   "Resolve goes one step at a time",
			damage: never,
			wrap: onResolve(func(ref secrets.Ref) secrets.Ref {
				dir, last := path.Split(ref.Path)
				if dir == "" {
					return ref
				}
				return secrets.Ref{Path: strings.TrimSuffix(dir, "/"), Field: last, Version: ref.Version}
			}),
			caught: []string{"resolve/idempotent", "resolve/whole"},
		},
		{
			name:   "Resolve drops the version",
			damage: never,
			wrap:   onResolve(func(ref secrets.Ref) secrets.Ref { ref.Version = ""; return ref }),
			caught: []string{"resolve/keeps-version", "absent/version"},
		},
		{
			name:   "Resolve makes paths that are none",
			damage: never,
			wrap:   onResolve(func(ref secrets.Ref) secrets.Ref { ref.Path = "/" + strings.Trim(ref.Path, "/"); return ref }),
			caught: []string{"resolve/stays-valid"},
		},
		{
			name:   "Resolve panics",
			damage: never,
			wrap:   onResolve(func(ref secrets.Ref) secrets.Ref { _ = ref.Path[0]; return ref }),
			caught: []string{"resolve/hostile", "keys/fetch-resolved"},
		},
	}
}
