package secretstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// infoVariants returns backends whose Info is wrong.
func infoVariants() []variant {
	info := func(name, caught string, replace func(info *secrets.Info)) variant {
		return variant{name: name, damage: onInfo(replace), caught: []string{caught}}
	}
	var n atomic.Int32
	return []variant{
		{
			name: "Resolve is only sometimes set",
			damage: func(b *broken) {
				var called atomic.Int32
				onInfo(func(info *secrets.Info) {
					if called.Add(1) > 1 {
						info.Resolve = lastSegment
					}
				})(b)
			},
			caught: []string{"info/constant", "compose/embedded"},
		},
		info("a name of two lines", "info/name", func(info *secrets.Info) { info.Name = "a\nb" }),
		info("a Fault although it works", "info/plausible", func(info *secrets.Info) { info.Fault = errors.New("no address") }),
		info("a negative batch", "info/plausible", func(info *secrets.Info) { info.Batch = -1 }),
		info("nonblocking with batches", "info/plausible", func(info *secrets.Info) { info.Nonblocking, info.Batch = true, 20 }),
		info("a hint quotes a value", "info/hint", func(info *secrets.Info) {
			info.Hint = func(secrets.Ref) string { return "the fields are " + database }
		}),
		info("a hint panics", "info/hint", func(info *secrets.Info) {
			info.Hint = func(ref secrets.Ref) string { return ref.Path[:1] }
		}),
		info("the endpoint changes", "info/endpoint", func(info *secrets.Info) {
			info.Endpoint = func(secrets.Ref) string { return fmt.Sprint("region-", n.Add(1)) }
		}),
		info("an alternate is another secret", "info/alternates", func(info *secrets.Info) {
			info.Alternates = func(ref secrets.Ref) []secrets.Ref {
				return []secrets.Ref{{Path: ref.Path + "-previous", Field: ref.Field, Version: "previous"}}
			}
		}),
		info("an alternate is the requested version", "info/alternates", func(info *secrets.Info) {
			info.Alternates = func(ref secrets.Ref) []secrets.Ref { return []secrets.Ref{ref} }
		}),
		{
			name: "an alternate is the version that was read",
			damage: both(onMeta(func(meta *secrets.Meta) { meta.Version = "read" }), onInfo(func(info *secrets.Info) {
				info.Alternates = func(ref secrets.Ref) []secrets.Ref {
					return []secrets.Ref{{Path: ref.Path, Field: ref.Field, Version: "read"}}
				}
			})),
			caught: []string{"info/alternates"},
		},
		info("the alternates change", "info/alternates", func(info *secrets.Info) {
			info.Alternates = func(ref secrets.Ref) []secrets.Ref {
				return []secrets.Ref{{Path: ref.Path, Field: ref.Field, Version: fmt.Sprint("version-", n.Add(1))}}
			}
		}),
		info("alternates are only sometimes returned", "info/alternates", func(info *secrets.Info) {
			info.Alternates = func(ref secrets.Ref) []secrets.Ref {
				if ref.Version += "-previous"; n.Add(1)%2 == 0 {
					return []secrets.Ref{ref}
				}
				return nil
			}
		}),
		{
			name: "OnChange breaks the backend",
			damage: func(b *broken) {
				onInfo(func(info *secrets.Info) {
					info.OnChange = func(func(...secrets.Ref)) { b.inner.Fail(secrets.ErrUnavailable) }
				})(b)
			},
			caught: []string{"info/on-change"},
		},
		{
			name: "OnChange after a call breaks the backend",
			damage: func(b *broken) {
				var called atomic.Bool
				fetch := b.fetch
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					called.Store(true)
					return fetch(ctx, ref)
				}
				onInfo(func(info *secrets.Info) {
					info.OnChange = func(func(...secrets.Ref)) {
						if called.Load() {
							b.inner.Fail(secrets.ErrUnavailable)
						}
					}
				})(b)
			},
			caught: []string{"info/on-change"},
		},
		{
			name: "a batch is sorted before it is answered",
			damage: func(b *broken) {
				inner := b.fetch
				onBatch(func(refs []secrets.Ref, r []secrets.Result) []secrets.Result {
					slices.SortFunc(refs, func(a, b secrets.Ref) int { return strings.Compare(a.Path, b.Path) })
					for i, ref := range refs {
						r[i].Secret, r[i].Err = inner(context.Background(), ref)
					}
					return r
				})(b)
			},
			caught: []string{"get-many/many-documents"}, // a few keys may already be in order
		},
	}
}

// blind is a backend whose Info hides that of the embedded one.
type blind struct{ secrets.Backend }

func (b blind) Info() secrets.Info { return secrets.Info{Name: b.Backend.Info().Name} }

// nowhere is a policy that never goes on to the next backend.
type nowhere struct{ spare }

func (nowhere) GoesOn(error) bool { return false }

// The composition cases fail if a wrapper does not do its job.
func TestTheSuiteCatchesBrokenComposition(t *testing.T) {
	for _, tc := range []struct {
		name, caught string
		damage       func(w *wrappers)
	}{
		{"a wrapper loses Resolve", "compose/embedded", func(w *wrappers) {
			w.embed = func(b secrets.Backend) secrets.Backend { return blind{b} }
		}},
		{"a wrapper does not see the calls", "compose/counted", func(w *wrappers) {
			w.count = func(b secrets.Backend, _ *atomic.Int64) secrets.Backend { return embedding{b} }
		}},
		{"a wrapper denies nothing", "compose/refused", func(w *wrappers) { w.refuse = w.embed }},
		{"a wrapper denies but calls the backend", "compose/refused", func(w *wrappers) {
			w.refuse = func(b secrets.Backend) secrets.Backend {
				return secrets.NewBackend(b.Info(), func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					_, _ = b.Fetch(ctx, ref)
					return refusing{}.Fetch(ctx, ref)
				})
			}
		}},
		{"a layer answers without the backend", "compose/layers", func(w *wrappers) {
			w.layer = secrets.Intercept(func(context.Context, secrets.Ref, secrets.Fetcher) (secrets.Secret, error) {
				return secrets.NewSecret("{}", secrets.Meta{}), nil
			})
		}},
		{"a policy never goes on", "compose/fallback", func(w *wrappers) { w.policy = nowhere{} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSuite(func(_ *testing.T, documents map[string]string) secrets.Backend {
				return newBroken(vaultLike(t, documents), onResolve(lastSegment))
			}, nil)
			i := slices.IndexFunc(s.cases(), func(c testCase) bool { return c.name == tc.caught })
			is.New(t).True(i >= 0)
			is.New(t).Equal(s.try(t, s.cases()[i]), nil) // without damage, the case passes
			tc.damage(&s.wrap)
			is.New(t).True(len(s.try(t, s.cases()[i])) > 0)
		})
	}
}
