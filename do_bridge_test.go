package secrets_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// after runs f after d, concurrently with the test.
func after(d time.Duration, f func()) {
	go func() {
		time.Sleep(d)
		f()
	}()
}

// The consumer accepts the credential after 20 s. It is tried at 0, 1, 3, 7, 15 and 25 s.
func TestBridgeWaitsForTheConsumer(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		began := time.Now()
		after(20*time.Second, func() { d.consumer.accept("one") })
		d.NoErr(d.do(secrets.Bridge(30 * time.Second)))
		d.Equal(time.Since(began), 25*time.Second)
		tried, _ := d.consumer.take()
		d.Equal(tried, []string{"1", "1", "1", "1", "1", "1"})
		d.Equal(d.backend.Calls(), 1+5*3) // one Get, and five rounds
	}, middleware.Standard())
}

// Callers that wait share their fetches.
func TestBridgesOfManyCallersShareFetches(t *testing.T) {
	inDo(t, nil, func(d *doing) {
		var wg sync.WaitGroup
		after(20*time.Second, func() { d.backend.Set("db", "two") })
		d.consumer.accept("two")
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				d.NoErr(d.do(secrets.Bridge(30 * time.Second)))
			})
		}
		wg.Wait()
		d.Equal(d.backend.Calls(), 1+6)
	}, middleware.Standard())
}

// At the end of its budget, a Bridge returns the error of the function, unchanged.
func TestBridgeEndsWithItsBudget(t *testing.T) {
	for _, budget := range []time.Duration{time.Millisecond, time.Second, 10 * time.Second, time.Hour} {
		inDo(t, stages, func(d *doing) {
			began := time.Now()
			err := d.do(secrets.Bridge(budget))
			d.Equal(time.Since(began), budget)
			_, errs := d.consumer.take()
			d.True(err == errs[len(errs)-1])
		})
	}
}

func TestWithoutABridgeNothingWaits(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		began := time.Now()
		d.True(errors.Is(d.do(), secrets.ErrRejected))
		d.Equal(time.Since(began), time.Duration(0))
	})
}

func TestBridgeEndsWithItsContext(t *testing.T) {
	cause := errors.New("the cause of the caller")
	for name, c := range map[string]struct {
		ctx  func(parent context.Context) (context.Context, func())
		want error
	}{
		"cancel": {func(parent context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(parent)
			after(2*time.Second, func() { cancel(cause) })
			return ctx, func() { cancel(nil) }
		}, context.Canceled},
		"deadline": {func(parent context.Context) (context.Context, func()) {
			return context.WithTimeout(parent, 2*time.Second)
		}, context.DeadlineExceeded},
	} {
		for where, block := range map[string]bool{"in a pause": false, "while it asks": true} {
			t.Run(name+" "+where, func(t *testing.T) {
				inDo(t, nil, func(d *doing) {
					d.warm()
					if block {
						defer d.backend.Block()()
					}
					ctx, cancel := c.ctx(d.Context())
					defer cancel()
					began := time.Now()
					err := d.client.Do(ctx, "db", d.consumer.login, secrets.Bridge(time.Minute))
					d.Equal(time.Since(began), 2*time.Second)
					_, errs := d.consumer.take()
					d.True(errors.Is(err, errs[len(errs)-1]))
					d.True(errors.Is(err, c.want))
					d.True(!errors.Is(err, cause))
					failure, ok := errors.AsType[*secrets.Error](err)
					d.True(ok)
					d.Equal(failure.Key, "db")
					d.Equal(strings.Count(err.Error(), c.want.Error()), 1) // it says so once
				}, middleware.Standard())
			})
		}
	}
}

// The store is down during the rotation, and the consumer accepts no value that the Client has.
func TestBridgeThroughAnOutageOfTheStore(t *testing.T) {
	for name, opts := range doLayers {
		t.Run(name, func(t *testing.T) {
			inDo(t, stages, func(d *doing) {
				d.warm()
				var once sync.Once
				began := time.Now()
				err := d.client.Do(d.Context(), "db", func(ctx context.Context, s secrets.Secret) error {
					once.Do(func() {
						d.backend.Fail(secrets.ErrUnavailable)
						d.backend.Set("db", "two")
						d.consumer.accept("two")
						after(10*time.Second, d.backend.Recover)
					})
					return d.consumer.login(ctx, s)
				}, secrets.Bridge(time.Minute))
				d.NoErr(err)
				d.Equal(time.Since(began), 15*time.Second)
			}, opts...)
		})
	}
}

// Close ends a Do that waits.
func TestCloseEndsABridge(t *testing.T) {
	inDo(t, nil, func(d *doing) {
		after(5*time.Second, func() { d.NoErr(d.client.Close()) })
		began := time.Now()
		err := d.do(secrets.Bridge(time.Hour))
		d.Equal(time.Since(began), 5*time.Second)
		d.True(errors.Is(err, secrets.ErrRejected))
		d.True(errors.Is(err, secrets.ErrClosed))
		tried, _ := d.consumer.take()
		d.Equal(len(tried), 3) // at 0, 1 and 3 s
	}, middleware.Standard())
}

// An alternate that was accepted is tried first for a minute.
func TestAcceptedAlternateIsTriedFirst(t *testing.T) {
	accepted := func(t *testing.T, test func(d *doing)) {
		t.Helper()
		inDo(t, stages, func(d *doing) {
			d.backend.SetVersion("db", "AWSPENDING", "next")
			d.consumer.accept("next")
			d.Equal(d.calls(func() { d.tries("", "1", "AWSPENDING") }), 1+2)
			test(d)
		}, middleware.Standard())
	}
	t.Run("for a minute", func(t *testing.T) {
		accepted(t, func(d *doing) {
			d.Equal(d.calls(func() {
				for range 600 {
					d.tries("", "AWSPENDING")
					time.Sleep(100 * time.Millisecond)
				}
				d.tries("", "AWSPENDING")
			}), 0)
			time.Sleep(time.Nanosecond)
			d.Equal(d.calls(func() { d.tries("", "1", "AWSPENDING") }), 2)
			d.tries("", "AWSPENDING")
		})
	})
	t.Run("until it is refused", func(t *testing.T) {
		accepted(t, func(d *doing) {
			d.consumer.accept("one") // the rotation was undone
			d.Equal(d.calls(func() { d.tries("", "AWSPENDING", "1"); d.tries("", "1") }), 0)
			d.consumer.accept()
			d.tries("1", "1", "AWSPENDING")
		})
	})
	t.Run("until the current version is another", func(t *testing.T) {
		accepted(t, func(d *doing) {
			d.backend.Set("db", "two")
			d.consumer.accept("two", "next")
			d.tries("", "AWSPENDING") // the Client has not seen the change
			d.client.Invalidate("db")
			d.tries("", "2")
		})
	})
	t.Run("until the rotation has ended", func(t *testing.T) {
		accepted(t, func(d *doing) {
			d.backend.Set("db", "next")
			d.tries("", "AWSPENDING")
			time.Sleep(time.Minute + time.Nanosecond)
			d.Equal(d.calls(func() { d.tries("", "1", "2") }), 1)
			d.Equal(d.calls(func() { d.tries("", "2") }), 0)
		})
	})
	t.Run("until its lease ends", func(t *testing.T) {
		inDo(t, stages, func(d *doing) {
			const lease = 30 * time.Second
			d.backend.SetVersion("db", "AWSPENDING", "next")
			d.backend.SetLease("db", lease)
			d.consumer.accept("next")
			d.tries("", "1", "AWSPENDING")
			time.Sleep(lease - time.Nanosecond)
			d.Equal(d.calls(func() { d.tries("", "AWSPENDING") }), 1)
			time.Sleep(time.Nanosecond)
			d.Equal(d.calls(func() { d.tries("", "1", "AWSPENDING") }), 1+2)

			d.consumer.accept()
			d.backend.SetLease("db", 100*time.Millisecond)
			time.Sleep(lease)
			d.tries("1", "1", "AWSPENDING")
			time.Sleep(100 * time.Millisecond)
			d.tries("1", "1") // a fetched candidate is valid until the end of its lease
		})
	})
	t.Run("and another error of it ends nothing", func(t *testing.T) {
		accepted(t, func(d *doing) {
			own := errors.New("connection reset")
			d.True(d.client.Do(d.Context(), "db", func(context.Context, secrets.Secret) error { return own }) == own)
			d.tries("", "AWSPENDING")
		})
	})
}

// If the context of a caller ends, the next caller fetches the candidate.
func TestACallerThatLeavesDoesNotAffectOthers(t *testing.T) {
	for name, opts := range doLayers {
		for who, hastyAt := range map[string]int{"one that asks": 0, "one that waits for it": 1} {
			t.Run(name+", "+who, func(t *testing.T) {
				inDo(t, stages, func(d *doing) {
					d.consumer.accept("two")
					goOn := []chan struct{}{make(chan struct{}), make(chan struct{})}
					var began time.Time
					var wg sync.WaitGroup
					for i := range goOn {
						wg.Go(func() {
							ctx, cancel := context.WithCancel(d.Context())
							defer cancel()
							err := d.client.Do(ctx, "db", func(_ context.Context, s secrets.Secret) error {
								<-goOn[i]
								if i == hastyAt {
									after(time.Second, cancel)
								}
								return d.consumer.login(ctx, s)
							})
							if i != hastyAt {
								d.NoErr(err)
								return
							}
							d.Equal(time.Since(began), time.Second)
							d.True(errors.Is(err, secrets.ErrRejected))
							d.True(errors.Is(err, context.Canceled))
						})
					}
					synctest.Wait() // both have the credential
					d.backend.Set("db", "two")
					release := d.backend.Block()
					began = time.Now()
					for _, c := range goOn {
						close(c)
						synctest.Wait()
					}
					after(2*time.Second, release)
					wg.Wait()
					tried, _ := d.consumer.take()
					d.Equal(tried, []string{"1", "1", "2"})
				}, opts...)
			})
		}
	}
}

// An alternate that one caller did not wait for is still a candidate for the next one.
func TestCallerThatLeavesAnAlternate(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.warm()
		d.backend.SetVersion("db", "AWSPENDING", "next")
		d.consumer.accept("next")
		d.backend.OnCall(func(ctx context.Context, refs []secrets.Ref) error {
			if refs[0].Version == "AWSPENDING" {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(d.Context(), 500*time.Millisecond)
		defer cancel()
		err := d.client.Do(ctx, "db", d.consumer.login)
		d.True(errors.Is(err, secrets.ErrRejected))
		d.True(errors.Is(err, context.DeadlineExceeded))
		d.consumer.take()
		d.backend.OnCall(nil)
		d.Equal(d.calls(func() { d.tries("", "1", "AWSPENDING") }), 1)
	}, middleware.Standard())
}

// A round may end while a caller is between two of its candidates, and another caller may have begun the next one.
func TestSlowCallerInTheNextRound(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.warm()
		d.backend.SetVersion("db", "AWSPENDING", "next")
		d.backend.SetVersion("db", "AWSPREVIOUS", "old")
		err := d.client.Do(d.Context(), "db", func(ctx context.Context, s secrets.Secret) error {
			if s.Meta().Version == "AWSPENDING" { // a login that takes longer than the round
				time.Sleep(2 * time.Second)
				d.backend.SetVersion("db", "AWSPENDING", "newer")
				d.True(errors.Is(d.do(), secrets.ErrRejected)) // which begins the next round
				d.backend.SetVersion("db", "AWSPREVIOUS", "older")
			}
			return d.consumer.login(ctx, s)
		})
		d.True(errors.Is(err, secrets.ErrRejected))
		tried, _ := d.consumer.take()
		d.Equal(tried, []string{"1", "1", "AWSPENDING", "AWSPREVIOUS", "AWSPENDING", "AWSPREVIOUS"})
	}, middleware.Standard())
}

// A function that panics or ends its goroutine leaves nothing locked.
func TestFunctionThatPanicsOrEndsItsGoroutine(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("hunter2") }, "Goexit": runtime.Goexit} {
		for _, version := range []string{"1", "AWSPENDING"} {
			t.Run(name+" at "+version, func(t *testing.T) {
				inDo(t, stages, func(d *doing) {
					d.backend.SetVersion("db", "AWSPENDING", "next")
					ended := make(chan any)
					go func() {
						defer func() { ended <- recover() }()
						_ = d.client.Do(d.Context(), "db", func(ctx context.Context, s secrets.Secret) error {
							if s.Meta().Version == version {
								end()
							}
							return d.consumer.login(ctx, s)
						})
					}()
					d.Equal((<-ended) != nil, name == "panic") // the panic is the caller's
					d.consumer.take()
					d.consumer.accept("next")
					d.tries("", "1", "AWSPENDING")
				})
			})
		}
	}
}

// Handles of the key poll at once after the refresh of Do.
func TestHandlesFollowDo(t *testing.T) {
	inDo(t, nil, func(d *doing) {
		h, err := d.client.Watch(d.Context(), "db")
		d.NoErr(err)
		changed := h.Changed()
		d.backend.Set("db", "two")
		d.consumer.accept("two")
		elapse(time.Second)
		d.True(!isClosed(changed))
		d.tries("", "1", "2")
		elapse(0)
		d.True(isClosed(changed))
		d.Equal(h.Secret().Reveal(), "two")
	}, middleware.Standard())
}

func TestMiddlewareSeesEachFetchOfDo(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		var seen []string
		d.client = open(d.T, &staged{d.backend, stages}, middleware.Standard(), secrets.WithMiddleware(secrets.Intercept(
			func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				seen = append(seen, ref.String())
				return next.Fetch(ctx, ref)
			})))
		d.tries("1", "1")
		d.Equal(seen, []string{"db", "db", "db?version=AWSPENDING", "db?version=AWSPREVIOUS"})
	})
}

// A local backend is read at each Do, and is always current.
func TestDoOfALocalBackend(t *testing.T) {
	inDo(t, nil, func(d *doing) {
		local := secretstest.NewBackend(map[string]string{"db": "one"}, secretstest.WithLocal())
		d.client = open(d.T, local, middleware.Standard())
		d.tries("1", "1")
		local.Set("db", "two")
		d.consumer.accept("two")
		d.tries("", "2")
		d.Equal(local.Calls(), 3)
	})
}

func TestNoErrorOfDoShowsAValue(t *testing.T) {
	const one, two = "canary-7f3Kq9ZxWv2m", "canary-Q8sLd04tYb6n"
	inDo(t, stages, func(d *doing) {
		d.backend.Set("db", one)
		d.backend.SetVersion("db", "AWSPENDING", two)
		refused := d.do()
		d.True(errors.Is(refused, secrets.ErrRejected))
		ctx, cancel := context.WithTimeout(d.Context(), time.Second)
		defer cancel()
		late := d.client.Do(ctx, "db", d.consumer.login, secrets.Bridge(time.Minute))
		time.Sleep(time.Minute)
		d.backend.Fail(secrets.ErrUnavailable)
		outage := d.do()
		d.True(errors.Is(outage, secrets.ErrUnavailable))
		for _, value := range []string{one, two} {
			secretstest.AssertNoLeak(d.T, value, refused, late, outage, d.client)
		}
		loud := d.client.Do(d.Context(), "db", func(_ context.Context, s secrets.Secret) error { return errors.New(s.Reveal()) })
		d.True(len(secretstest.Leaks(one, loud)) > 0) // the control: the error of the function is the program's own
	}, middleware.Standard())
}

// After a denial or a deletion, Do stops.
func TestBridgeEndsWithADenial(t *testing.T) {
	for _, class := range []error{
		secrets.ErrPermissionDenied, secrets.ErrUnauthenticated, secrets.ErrDeleted, secrets.ErrNotFound,
	} {
		inDo(t, nil, func(d *doing) {
			err := d.client.Do(d.Context(), "db", func(ctx context.Context, s secrets.Secret) error {
				d.backend.Fail(class)
				return d.consumer.login(ctx, s)
			}, secrets.Bridge(time.Minute))
			tried, errs := d.consumer.take()
			d.Equal(tried, []string{"1"})
			d.Equal(strings.Count(err.Error(), class.Error()[len("secrets: "):]), 1)
			d.True(strings.Contains(err.Error(), errs[0].Error()))
		}, middleware.Standard())
	}
}
