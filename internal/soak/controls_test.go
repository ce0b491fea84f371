package soak_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
)

// control is a broken layer, and the fault that the checker must find.
type control struct {
	name   string
	finds  fault
	change func(c *config)
}

// around puts a layer around the client.
func around(layer func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error)) func(c *config) {
	return func(c *config) {
		c.options = func(*world) []secrets.Option {
			return []secrets.Option{secrets.WithMiddleware(secrets.Intercept(layer))}
		}
	}
}

// inside puts a layer around each backend.
func inside(layer func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error)) func(c *config) {
	return func(c *config) {
		c.options = func(*world) []secrets.Option {
			return []secrets.Option{secrets.WithBackendMiddleware(secrets.Intercept(layer))}
		}
	}
}

// memory is the memory of broken layers: by ref, with the time of arrival.
type memory struct{ sync.Map }

type remembered struct {
	secret secrets.Secret
	at     time.Time
}

// first returns the first secret of ref.
func (m *memory) first(ref secrets.Ref, s secrets.Secret) remembered {
	v, _ := m.LoadOrStore(ref, remembered{s, time.Now()})
	return v.(remembered)
}

// late makes a layer return the first secret of a ref once that is older than after.
func (m *memory) late(after time.Duration) func(context.Context, secrets.Ref, secrets.Fetcher) (secrets.Secret, error) {
	return func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		s, err := next.Fetch(ctx, ref)
		if err != nil {
			return s, err
		}
		if old := m.first(ref, s); time.Since(old.at) > after {
			return old.secret, nil
		}
		return s, nil
	}
}

func controls() []control {
	base := odds{healthy: 1}
	calm := func(change func(c *config)) func(c *config) {
		return func(c *config) { c.weights = base; change(c) }
	}
	return []control{
		{"a layer mixes two keys", wrong, calm(around(
			func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				ref.Path = ref.Path[:len(ref.Path)-1] + "0"
				return next.Fetch(ctx, ref)
			}))},
		{"the server mixes two keys", wrong, calm(func(c *config) {
			c.wrap = func(_ *world, next secrets.Backend) secrets.Backend {
				return secrets.NewBackend(next.Info(), func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					ref.Path = ref.Path[:len(ref.Path)-1] + "0"
					return next.Fetch(ctx, ref)
				})
			}
		})},
		{"a layer mixes two fields", wrong, calm(around(
			func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				if ref.Field == "password" {
					ref.Field = "user"
				}
				return next.Fetch(ctx, ref)
			}))},
		{"a layer changes a byte", wrong, calm(around(
			func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if err != nil {
					return s, err
				}
				return secrets.NewSecret(strings.Replace(s.Reveal(), "|", "|1", 3), s.Meta()), nil
			}))},
		{"a layer tears a pair", torn, calm(func(c *config) {
			var m memory
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if err != nil || ref.Field != "password" {
					return s, err
				}
				return secrets.NewSecret(m.first(ref, s).secret.Reveal(), s.Meta()), nil // with the current version's Meta
			})(c)
		})},
		{"the server tears a pair", torn, calm(func(c *config) {
			var m memory
			c.wrap = func(_ *world, next secrets.Backend) secrets.Backend {
				return secrets.NewBackend(next.Info(), func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					s, err := next.Fetch(ctx, ref)
					if err != nil {
						return s, err
					}
					user, _ := s.Field("user")
					pass, _ := m.first(ref, s).secret.Field("password")
					return secrets.NewSecret(`{"user":"`+user.Reveal()+`","password":"`+pass.Reveal()+`"}`, s.Meta()), nil
				})
			}
		})},
		{"a layer returns an older version", older, calm(func(c *config) {
			around(new(memory).late(5 * time.Millisecond))(c)
		})},
		{"a cache keeps the last answer to arrive", older, func(c *config) {
			c.weights = odds{healthy: 5, slow: 5}
			c.bare = true
			c.options = func(*world) []secrets.Option { return []secrets.Option{secrets.WithCache(naiveLayer{c.ttl})} }
		}},
		{"a layer returns a value past its lease", pastLease, calm(func(c *config) {
			c.leases = true
			around(new(memory).late(50 * time.Millisecond))(c)
		})},
		{"a layer delays a value past its lease", pastLease, calm(func(c *config) {
			c.leases = true
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				pause(ctx, 300*time.Millisecond)
				return s, err
			})(c)
		})},
		{"a layer hides a denial by the old value", afterDenial, func(c *config) {
			c.weights = odds{healthy: 1, denied: 1}
			var m, known memory
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				switch {
				case err == nil:
					m.first(ref, s)
				case errors.Is(err, secrets.ErrPermissionDenied):
					_, again := known.LoadOrStore(ref, true)
					if old, has := m.Load(ref); has && again {
						return old.(remembered).secret, nil
					}
				}
				return s, err
			})(c)
		}},
		{"a layer hides that a secret is gone", afterDenial, func(c *config) {
			c.weights = odds{healthy: 1, missing: 1}
			var m memory
			var turn atomic.Int64
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if err == nil {
					m.first(ref, s)
				} else if old, has := m.Load(ref); has && turn.Add(1)%2 == 0 {
					return old.(remembered).secret, nil
				}
				return s, err
			})(c)
		}},
		{"a layer ignores Invalidate", invalidated, calm(func(c *config) { around(new(memory).late(time.Millisecond))(c) })},
		{"a layer answers a Refresh", notFresh, calm(func(c *config) { around(new(memory).late(time.Millisecond))(c) })},
		{"a layer keeps values forever", tooOld, calm(func(c *config) {
			c.maxStale = 100 * time.Millisecond
			around(new(memory).late(100 * time.Millisecond))(c)
		})},
		{"a layer removes the mark of stale values", unmarked, func(c *config) {
			c.weights = odds{healthy: 1, broken: 1}
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if err != nil {
					return s, err
				}
				meta := s.Meta()
				meta.Stale = false
				return secrets.NewSecret(s.Reveal(), meta), nil
			})(c)
		}},
		{"a layer serves a stale value after a malformed answer", malformed, func(c *config) {
			c.weights = odds{healthy: 1, garbage: 1}
			var m memory
			var turn atomic.Int64
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if err == nil {
					m.first(ref, s)
				} else if old, has := m.Load(ref); has && turn.Add(1)%2 == 0 {
					s := old.(remembered).secret
					meta := s.Meta()
					meta.Stale = true
					return secrets.NewSecret(s.Reveal(), meta), nil
				}
				return s, err
			})(c)
		}},
		{"the weak source answers for a denial", weak, func(c *config) {
			c.weights, c.weak = odds{healthy: 1, denied: 1}, true
			inside(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if errors.Is(err, secrets.ErrPermissionDenied) {
					err = secrets.ErrUnavailable
				}
				return s, err
			})(c)
		}},
		{"an outage reads as absence", misread, func(c *config) {
			c.weights = odds{healthy: 1, broken: 1}
			inside(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if own, ok := errors.AsType[*secrets.Error](err); ok && own.Err == secrets.ErrUnavailable {
					err = secrets.NewError(secrets.ErrNotFound, own.Detail)
				}
				return s, err
			})(c)
		}},
		{"a denial reads as absence", misread, func(c *config) {
			c.weights = odds{healthy: 1, denied: 1}
			inside(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				s, err := next.Fetch(ctx, ref)
				if own, ok := errors.AsType[*secrets.Error](err); ok {
					err = secrets.NewError(secrets.ErrNotFound, own.Detail)
				}
				return s, err
			})(c)
		}},
		{"Has takes an outage for absence", misread, func(c *config) {
			c.weights = odds{broken: 1}
			c.act = func(ctx context.Context, w *world, _ *rand.Rand) {
				q := w.question(ctx, "Has", w.keyNames[0])
				_, err := w.client.Has(ctx, q.key)
				w.end(q)
				if errors.Is(err, secrets.ErrUnavailable) {
					err = nil
				}
				w.checker.has(q, false, err)
			}
		}},
		{"an error without a backend", badError, calm(around(
			func(context.Context, secrets.Ref, secrets.Fetcher) (secrets.Secret, error) {
				return secrets.Secret{}, errBroken
			}))},
		{"an error without a type", badError, calm(func(c *config) {
			c.act = func(ctx context.Context, w *world, _ *rand.Rand) {
				w.checker.answered(w.question(ctx, "Get", w.keyNames[0]), secrets.Secret{}, secrets.ErrNotFound)
			}
		})},
		{"an error of another key", badError, calm(func(c *config) {
			c.act = func(ctx context.Context, w *world, _ *rand.Rand) {
				w.checker.answered(w.question(ctx, "Get", w.keyNames[0]), secrets.Secret{},
					&secrets.Error{Backend: w.name, Key: w.keyNames[1], Err: secrets.ErrUnavailable})
			}
		})},
		{"an error of two classes", badError, calm(func(c *config) {
			c.act = func(ctx context.Context, w *world, _ *rand.Rand) {
				w.checker.answered(w.question(ctx, "Get", w.keyNames[0]), secrets.Secret{}, &secrets.Error{
					Backend: w.name, Key: w.keyNames[0], Err: errors.Join(secrets.ErrUnavailable, secrets.ErrNotFound),
				})
			}
		})},
		{"the end of another caller's context", foreign, calm(func(c *config) {
			c.act = func(ctx context.Context, w *world, _ *rand.Rand) {
				w.checker.answered(w.question(ctx, "Get", w.keyNames[0]), secrets.Secret{},
					&secrets.Error{Backend: w.name, Key: w.keyNames[0], Err: context.Canceled})
			}
		})},
		{"a GetMany loses a key", lost, calm(func(c *config) {
			c.act = func(ctx context.Context, w *world, _ *rand.Rand) {
				q := w.question(ctx, "GetMany", w.keyNames[0])
				found, err := w.client.GetMany(ctx, q.key)
				w.end(q)
				delete(found, q.key)
				w.checker.together([]*question{q}, found, err)
			}
		})},
		{"a layer sleeps too long", tooSlow, calm(func(c *config) {
			c.timeout, c.allowance = 20*time.Millisecond, 50*time.Millisecond
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				pause(context.Background(), 300*time.Millisecond)
				return next.Fetch(ctx, ref)
			})(c)
		})},
		{"a layer ignores the caller's deadline", tooSlow, calm(func(c *config) {
			c.allowance = 50 * time.Millisecond
			around(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				if _, hasty := ctx.Deadline(); hasty {
					pause(context.Background(), 300*time.Millisecond)
				}
				return next.Fetch(ctx, ref)
			})(c)
		})},
		{"a layer never returns", notBack, calm(func(c *config) {
			c.patience = 0
			around(func(context.Context, secrets.Ref, secrets.Fetcher) (secrets.Secret, error) {
				return secrets.Secret{}, secrets.ErrUnavailable
			})(c)
		})},
		{"a layer leaks a goroutine", leaked, calm(func(c *config) {
			c.options = func(w *world) []secrets.Option {
				return []secrets.Option{secrets.WithBackendMiddleware(secrets.Intercept(
					func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
						go func() { <-w.released }()
						return next.Fetch(ctx, ref)
					}))}
			}
		})},
	}
}

// TestTheCheckerFinds runs the soak test with broken layers. The checker must find each of them, and every fault must have one.
func TestTheCheckerFinds(t *testing.T) {
	found := make(map[fault]bool)
	for _, c := range controls() {
		found[c.finds] = true
		t.Run(c.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			late := newStalls()
			cfg := configs()[0]
			cfg.name, cfg.keys, cfg.storms, cfg.patience = "control", 10, false, -1
			c.change(&cfg)
			w := newWorld(t, cfg, 1, late)
			w.run(1, 900*time.Millisecond, func() bool {
				w.checker.judge()
				return w.checker.found[c.finds].Load() > 0 || c.finds == notBack || c.finds == leaked && w.checker.reads.Load() > 0
			})
			w.recover()
			late.close()
			if c.finds == leaked {
				if err := goleak.Find(before); err != nil {
					w.checker.report(leaked, "%v", err)
				}
			}
			if w.checker.found[c.finds].Load() == 0 {
				t.Errorf("the checker does not see it\n%s", table([]*world{w}))
			}
			close(w.released)
		})
	}
	for f := range faults {
		if !found[f] {
			t.Errorf("no control for %q", f)
		}
	}
}

// TestTheCheckerIsQuiet is the other control: without a broken layer, the same world has no faults.
func TestTheCheckerIsQuiet(t *testing.T) {
	late := newStalls()
	cfg := configs()[0]
	cfg.name, cfg.keys, cfg.storms = "control", 10, false
	w := newWorld(t, cfg, 1, late)
	w.run(1, 900*time.Millisecond, func() bool { return false })
	w.recover()
	late.close()
	for f, examples := range w.checker.examples {
		if len(examples) > 0 {
			t.Errorf("%v: %q", fault(f), examples)
		}
	}
	if w.checker.reads.Load() == 0 || w.ledger.fetches.Load() == 0 {
		t.Error("nothing was read")
	}
}

// naiveLayer creates naive caches: the last answer to arrive is kept, whenever its fetch began.
type naiveLayer struct{ ttl time.Duration }

func (naiveLayer) Validate() error { return nil }

func (l naiveLayer) NewCache(
	_ secrets.Info, below secrets.Fetcher, share func(fill secrets.Fetcher) secrets.Fetcher,
) secrets.Cache {
	return &naive{next: share(below), ttl: l.ttl}
}

type naive struct {
	secrets.CacheMonitor // nil

	next   secrets.Fetcher
	ttl    time.Duration
	values sync.Map
}

func (n *naive) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if v, found := n.values.Load(ref); found && time.Since(v.(remembered).at) < n.ttl {
		return v.(remembered).secret, nil
	}
	s, err := n.next.Fetch(ctx, ref)
	if err == nil {
		n.values.Store(ref, remembered{s, time.Now()})
	}
	return s, err
}

func (n *naive) Invalidate(refs ...secrets.Ref) {
	for _, ref := range refs {
		n.values.Delete(ref)
	}
}

func (*naive) Recall(string) (s secrets.Secret, known bool)        { return s, false }
func (*naive) RecallMany([]string, map[string]secrets.Secret) bool { return false }
func (*naive) Memorize(string, secrets.Ref, string)                {}
func (*naive) Peek(secrets.Ref) (r secrets.Result, known bool)     { return r, false }
func (*naive) RenewAt(secrets.Ref) (at time.Time, known bool)      { return at, false }
func (*naive) Close() error                                        { return nil }
