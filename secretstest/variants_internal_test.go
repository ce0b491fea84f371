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
	return append(infoVariants(), []variant{
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
			caught: []string{"failure/deleted/fetch", "failure/deleted/client", "failure/deleted/client-many", "failure/deleted/fallback"},
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
			name: "not found reads as an outage",
			damage: both(onError(func(secrets.Ref, error) error { return secrets.ErrUnavailable }), onResolve(func(ref secrets.Ref) secrets.Ref {
				if ref.Whole {
					ref.Path = "elsewhere"
				}
				return ref
			})),
			caught: []string{"absent/*", "get-many/one-missing", "get-many/mixed", "field/of-missing-document", "field/document-of-its-own",
				"field/whole-of-text", "compose/fallback"},
		},
		{
			name:   "Detail quotes a value",
			damage: onError(func(secrets.Ref, error) error { return absentError("there is " + password) }),
			caught: []string{"absent/fetch", "absent/get-many", "absent/client", "get-many/*-missing", "get-many/mixed"},
		},
		{
			name:   "Detail quotes a value in base64",
			damage: onError(func(secrets.Ref, error) error { return absentError("Y2F1c2U6IGM0bmFSeS05ZlEyeFo3bUt2VzM=") }),
			caught: []string{"absent/fetch"},
		},
		{
			name: "a wrapped SDK error carries the value",
			damage: onError(func(secrets.Ref, error) error {
				f := &foreign{err: secrets.ErrNotFound}
				f.response.body = []byte(database)
				return f
			}),
			caught: []string{"absent/fetch"},
		},
		{
			name:   "an error has two classes",
			damage: onError(func(secrets.Ref, error) error { return errors.Join(secrets.ErrNotFound, secrets.ErrUnavailable) }),
			caught: []string{"absent/fetch"},
		},
		{
			name:   "an error has no class",
			damage: onError(func(secrets.Ref, error) error { return errors.New("no such file") }),
			caught: []string{"absent/*"},
		},
		{
			name: "the zero Secret without an error",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if errors.Is(err, secrets.ErrNotFound) {
						return secrets.Secret{}, nil
					}
					return s, err
				}
			},
			caught: []string{"absent/*", "get-many/*-missing"},
		},
		{
			name: "a default for a missing secret",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if errors.Is(err, secrets.ErrNotFound) {
						return secrets.NewSecret("", secrets.Meta{}), nil
					}
					return s, err
				}
			},
			caught: []string{"absent/*", "keys/client", "keys/fetch*", "keys/get-many"},
		},
		{
			name: "a Secret together with an error",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := b.inner.Fetch(ctx, ref)
					if err != nil {
						s = secrets.NewSecret("", secrets.Meta{})
					}
					return s, err
				}
			},
			caught: []string{"absent/fetch"},
		},
		{
			name: "the last value for a missing secret",
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
			name: "values get a newline",
			damage: both(onValue(func(value string) string { return value + "\n" }), onResolve(func(ref secrets.Ref) secrets.Ref {
				if ref == (secrets.Ref{Path: "text", Field: "plain"}) {
					return secrets.Ref{Path: "text/plain"}
				}
				return ref
			})),
			caught: []string{
				"value/*", "get-many/one", "get-many/order*", "get-many/duplicates", "get-many/many-documents", "get-many/fields-of-a-document",
				"get-many/mixed", "keys/get-many", "compose/embedded", "compose/layers", "compose/refused",
				"meta/backend", "meta/times", "meta/version-is-stable", "value-is-not-shared", "field/whole", "field/one-document",
				"field/document-of-its-own", "concurrency/*", "keys/good-one-among-hostile", "keys/after-hostile", "absent/get-or",
			},
			opts: []RunOption{WithBinary()},
		},
		{
			name:   "values are trimmed",
			damage: onValue(strings.TrimSpace),
			caught: []string{"value/spaces-around", "value/binary-newline"},
			opts:   []RunOption{WithBinary()},
		},
		{
			name:   "values are converted to valid UTF-8",
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
			name: "every field exists",
			damage: onValue(func(string) string {
				return `{"null":"","missing":"","Password":"","field":"","array":["","",""],"nested":{"deep":{"missing":""}}}`
			}),
			caught: []string{"field/null", "field/missing*", "field/beyond-array", "field/other-case", "field/of-text"},
		},
		{
			name: "an empty value reads as missing",
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
			name: "the version is ignored",
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
			caught: []string{"absent/version", "version/pinned", "version/get-many", "version/client", "version/meta", "version/unknown"},
		},
		{
			name:   "the current value is not among the versions",
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
			name:   "a batch is in the order of the store",
			damage: onBatch(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result { slices.Reverse(r); return r }),
			caught: []string{"get-many/order*", "get-many/first-missing", "get-many/last-missing", "get-many/many-documents",
				"get-many/agrees-with-fetch"},
		},
		{
			name: "a batch omits missing secrets",
			damage: onBatch(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result {
				return slices.DeleteFunc(r, func(r secrets.Result) bool { return r.Err != nil })
			}),
			caught: []string{"get-many/*-missing", "absent/get-many", "keys/get-many", "keys/good-one-among-hostile"},
		},
		{
			name: "one failure fails the batch",
			damage: onBatch(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result {
				if i := slices.IndexFunc(r, func(r secrets.Result) bool { return r.Err != nil }); i >= 0 {
					for k := range r {
						r[k] = secrets.Result{Err: r[i].Err}
					}
				}
				return r
			}),
			caught: []string{"get-many/one-missing", "get-many/first-missing", "get-many/last-missing", "keys/good-one-among-hostile",
				"get-many/mixed"},
		},
		{
			name:   "a batch ends after one page",
			damage: onBatch(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result { return r[:min(20, len(r))] }),
			caught: []string{"get-many/many-documents"},
		},
		{
			name: "a batch finds missing secrets",
			damage: onBatch(func(_ []secrets.Ref, r []secrets.Result) []secrets.Result {
				for i := range r {
					if r[i].Err != nil {
						r[i] = secrets.Result{Secret: secrets.NewSecret("", secrets.Meta{})}
					}
				}
				return r
			}),
			caught: []string{"get-many/all-missing", "get-many/agrees-with-fetch", "absent/get-many", "keys/get-many"},
		},
		{
			name: "a panic on an odd name",
			damage: func(b *broken) {
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					if strings.ContainsAny(ref.Path, "*\\") {
						panic("index out of range: " + password)
					}
					return b.inner.Fetch(ctx, ref)
				}
			},
			caught: []string{"keys/client", "keys/fetch", "keys/fetch-resolved", "keys/get-many"},
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
			caught: []string{"keys/client", "keys/fetch", "keys/get-many"},
		},
		{
			name: "names are cleaned like paths",
			damage: func(b *broken) {
				b.inner.Set("etc/passwd", "root:x:0:0")
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					return b.inner.Fetch(ctx, secrets.Ref{Path: strings.TrimPrefix(path.Join("/", ref.Path), "/"), Version: ref.Version})
				}
			},
			caught: []string{"keys/fetch", "keys/fetch-resolved"},
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
			caught: []string{"keys/client", "keys/fetch", "keys/get-many", "keys/fetch-resolved"},
		},
		{
			name:   "an odd name reads as an outage",
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
			name: "ctx is ignored",
			damage: func(b *broken) {
				b.fetch = func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
					return b.inner.Fetch(context.Background(), ref)
				}
			},
			caught: []string{"context/*/fetch"},
		},
		{
			name: "the end of ctx reads as not found",
			damage: onError(func(ref secrets.Ref, _ error) error {
				return &secrets.Error{Key: ref.String(), Err: secrets.ErrNotFound}
			}),
			caught: []string{"context/*/fetch"},
		},
		{
			name: "the end of ctx on the way reads as not found",
			damage: both(onError(func(secrets.Ref, error) error { return secrets.ErrNotFound }),
				onInfo(func(info *secrets.Info) { info.Nonblocking = true })),
			caught: []string{"context/cancelled-on-the-way", "context/cancelled-on-the-way-many"},
		},
		{
			name: "the end of one ctx ends all calls",
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
			name:   "a hanging backend ignores ctx",
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
			caught: []string{"stall/fetch"},
		},
		{
			name:   "the backend that should hang answers",
			damage: never,
			opts: []RunOption{WithStall(func(*testing.T) (secrets.Backend, string) {
				return NewBackend(map[string]string{"database": "value"}), "database"
			})},
			caught: []string{"stall/*"},
		},
		{
			name: "two concurrent calls disturb each other",
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
			caught: []string{"concurrency/fetch", "concurrency/get-many", "concurrency/client", "concurrency/cancellation*"},
		},
		{
			name:   "no name",
			damage: onInfo(func(info *secrets.Info) { info.Name = "" }),
			caught: []string{"info/name", "meta/backend", "close/client", "absent/client", "compose/*"},
		},
		{
			name: "a name that changes",
			damage: func(b *broken) {
				var n atomic.Int32
				onInfo(func(info *secrets.Info) { info.Name = fmt.Sprint("broken-", n.Add(1)) })(b)
			},
			caught: []string{"info/constant"},
		},
		{
			name:   "Meta names another backend",
			damage: onMeta(func(m *secrets.Meta) { m.Backend = "another" }),
			caught: []string{"meta/backend", "field/string"},
		},
		{
			name:   "FetchedAt is outside the call",
			damage: onMeta(func(m *secrets.Meta) { m.FetchedAt = time.Now().Add(-time.Hour) }),
			caught: []string{"meta/times"},
		},
		{
			name:   "a lease has ended on arrival",
			damage: onMeta(func(m *secrets.Meta) { m.ExpiresAt = m.FetchedAt }),
			caught: []string{"meta/times", "meta/backend", "get-many/one", "get-many/mixed", "concurrency/client", "compose/layers"},
		},
		{
			name: "each answer is a new version",
			damage: func(b *broken) {
				var n atomic.Int32
				onMeta(func(m *secrets.Meta) { m.Version = fmt.Sprint(n.Add(1)) })(b)
			},
			caught: []string{"meta/version-is-stable", "get-many/agrees-with-fetch"},
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
			name: "after Close, secrets read as missing",
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
			name: "Resolve is not idempotent",
			damage: onResolve(func(ref secrets.Ref) secrets.Ref {
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
			damage: onResolve(func(ref secrets.Ref) secrets.Ref { ref.Version = ""; return ref }),
			caught: []string{"resolve/keeps-version", "absent/version"},
		},
		{
			name:   "Resolve returns invalid paths",
			damage: onResolve(func(ref secrets.Ref) secrets.Ref { ref.Path = "/" + strings.Trim(ref.Path, "/"); return ref }),
			caught: []string{"resolve/stays-valid"},
		},
		{
			name:   "Resolve panics",
			damage: onResolve(func(ref secrets.Ref) secrets.Ref { _ = ref.Path[0]; return ref }),
			caught: []string{"resolve/hostile", "keys/fetch-resolved"},
		},
	}...)
}
