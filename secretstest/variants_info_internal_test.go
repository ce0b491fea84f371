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

// infoVariants are backends that say something wrong of themselves.
func infoVariants() []variant {
	info := func(name, caught string, replace func(info *secrets.Info)) variant {
		return variant{name: name, damage: onInfo(replace), caught: []string{caught}}
	}
	var n atomic.Int32
	return []variant{
		{
			name: "Resolve is there only at times",
			damage: func(b *broken) {
				var asked atomic.Int32
				onInfo(func(info *secrets.Info) {
					if asked.Add(1) > 1 {
						info.Resolve = lastSegment
					}
				})(b)
			},
			caught: []string{"info/constant", "compose/embedded"},
		},
		info("a name of two lines", "info/name", func(info *secrets.Info) { info.Name = "a\nb" }),
		info("a fault though it works", "info/plausible", func(info *secrets.Info) { info.Fault = errors.New("no address") }),
		info("a batch of less than none", "info/plausible", func(info *secrets.Info) { info.Batch = -1 }),
		info("it never waits, and gathers batches", "info/plausible", func(info *secrets.Info) { info.Nonblocking, info.Batch = true, 20 }),
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
		info("an alternate is what was asked for", "info/alternates", func(info *secrets.Info) {
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
		info("there are alternates at times", "info/alternates", func(info *secrets.Info) {
			info.Alternates = func(ref secrets.Ref) []secrets.Ref {
				if ref.Version += "-previous"; n.Add(1)%2 == 0 {
					return []secrets.Ref{ref}
				}
				return nil
			}
		}),
		{
			name: "who is told of changes breaks the backend",
			damage: func(b *broken) {
				onInfo(func(info *secrets.Info) {
					info.OnChange = func(func(...secrets.Ref)) { b.inner.Fail(secrets.ErrUnavailable) }
				})(b)
			},
			caught: []string{"info/on-change"},
		},
		{
			name: "who is told of changes after a call breaks the backend",
			damage: func(b *broken) {
				var asked atomic.Bool
				fetch := b.fetch
				b.fetch = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					asked.Store(true)
					return fetch(ctx, ref)
				}
				onInfo(func(info *secrets.Info) {
					info.OnChange = func(func(...secrets.Ref)) {
						if asked.Load() {
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
			caught: []string{"get-many/many-documents"}, // a few may come in order
		},
	}
}

// blind is a backend whose own Info hides that of the one that it embeds.
type blind struct{ secrets.Backend }

func (b blind) Info() secrets.Info { return secrets.Info{Name: b.Backend.Info().Name} }

// nowhere is a policy that asks nobody else.
type nowhere struct{ spare }

func (nowhere) GoesOn(error) bool { return false }

// The cases on composition fail where a wrapper does not do what it is there for.
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
		{"a wrapper refuses nothing", "compose/refused", func(w *wrappers) { w.refuse = w.embed }},
		{"a wrapper refuses, but asks", "compose/refused", func(w *wrappers) {
			w.refuse = func(b secrets.Backend) secrets.Backend {
				return secrets.NewBackend(b.Info(), func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					_, _ = b.Fetch(ctx, ref)
					return refusing{}.Fetch(ctx, ref)
				})
			}
		}},
		{"a layer answers by itself", "compose/layers", func(w *wrappers) {
			w.layer = secrets.Intercept(func(context.Context, secrets.Ref, secrets.Fetcher) (secrets.Secret, error) {
				return secrets.NewSecret("{}", secrets.Meta{}), nil
			})
		}},
		{"a policy asks nobody else", "compose/fallback", func(w *wrappers) { w.policy = nowhere{} }},
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
