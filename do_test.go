package secrets_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// staged is a backend with Info.Alternates.
type staged struct {
	*secretstest.Backend

	alternates []string
}

func (s *staged) Info() secrets.Info {
	info := s.Backend.Info()
	info.Alternates = func(ref secrets.Ref) (refs []secrets.Ref) {
		for _, version := range s.alternates {
			refs = append(refs, secrets.Ref{Path: ref.Path, Version: version})
		}
		return refs
	}
	return info
}

// consumer accepts or refuses credentials, as a database does.
type consumer struct {
	mu      sync.Mutex
	accepts func(password string) bool
	tried   []string // the versions of its logins
	errs    []error  // its answers
}

// refusedLogin is the error of a login with a version of the credential.
type refusedLogin struct{ version string }

func (e *refusedLogin) Error() string { return "login with version " + e.version + " refused" }
func (*refusedLogin) Unwrap() error   { return secrets.ErrRejected }

func (c *consumer) login(_ context.Context, s secrets.Secret) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if !c.accepts(s.Reveal()) {
		err = &refusedLogin{s.Meta().Version}
	}
	c.tried, c.errs = append(c.tried, s.Meta().Version), append(c.errs, err)
	return err
}

// accept makes c accept only these passwords.
func (c *consumer) accept(passwords ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepts = func(password string) bool { return slices.Contains(passwords, password) }
}

// take returns the versions of the logins since the last call, and the answers of the consumer.
func (c *consumer) take() (tried []string, errs []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tried, errs = c.tried, c.errs
	c.tried, c.errs = nil, nil
	return tried, errs
}

// doing is a client in a bubble, a backend with version "1" of the credential db, and a consumer, which refuses all.
type doing struct {
	*is.I
	*testing.T

	backend  *secretstest.Backend
	client   *secrets.Client
	consumer *consumer
}

// stages returns the stages of AWS.
var stages = []string{"AWSPENDING", "AWSPREVIOUS"}

// inDo runs test in a bubble. The backend names alternates.
func inDo(t *testing.T, alternates []string, test func(d *doing), opts ...secrets.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &doing{I: is.New(t), T: t, backend: secretstest.NewBackend(map[string]string{"db": "one"}), consumer: new(consumer)}
		d.client = open(t, &staged{d.backend, alternates}, opts...)
		d.consumer.accept()
		test(d)
	})
}

func (d *doing) do(opts ...secrets.DoOption) error {
	return d.client.Do(d.Context(), "db", d.consumer.login, opts...)
}

// tries checks that a Do tries these versions, and that its error is that of the version failed, or nil if that is "".
func (d *doing) tries(failed string, versions ...string) {
	d.Helper()
	err := d.do()
	tried, errs := d.consumer.take()
	d.Equal(tried, versions)
	if failed == "" {
		d.NoErr(err)
		return
	}
	d.True(err == errs[slices.Index(tried, failed)])
}

// calls returns how many calls of the backend f causes.
func (d *doing) calls(f func()) int {
	before := d.backend.Calls()
	f()
	synctest.Wait()
	return d.backend.Calls() - before
}

// warm gets the secret, so that a cache has it.
func (d *doing) warm() {
	d.Helper()
	_, err := d.client.Get(d.Context(), "db")
	d.NoErr(err)
}

func TestDoTriesItsCandidatesInOrder(t *testing.T) {
	for accepted, want := range map[string]struct {
		failed string
		tried  []string
		calls  int
	}{
		"one":   {"", []string{"1"}, 0},
		"two":   {"", []string{"1", "2"}, 1},
		"next":  {"", []string{"1", "2", "AWSPENDING"}, 2},
		"last":  {"", []string{"1", "2", "AWSPENDING", "AWSPREVIOUS"}, 3},
		"other": {"2", []string{"1", "2", "AWSPENDING", "AWSPREVIOUS"}, 3}, // the error for the current version
	} {
		t.Run(accepted, func(t *testing.T) {
			inDo(t, stages, func(d *doing) {
				d.warm()
				d.backend.Set("db", "two")
				d.backend.SetVersion("db", "AWSPENDING", "next")
				d.backend.SetVersion("db", "AWSPREVIOUS", "last")
				d.consumer.accept(accepted)
				d.Equal(d.calls(func() { d.tries(want.failed, want.tried...) }), want.calls)
			}, middleware.Standard())
		})
	}
}

func TestDoGivesItsFunctionTheMetaOfTheCandidate(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.backend.SetVersion("db", "AWSPENDING", "next")
		type key struct{}
		var last secrets.Meta
		err := d.client.Do(context.WithValue(d.Context(), key{}, "caller"), "db", func(ctx context.Context, s secrets.Secret) error {
			d.Equal(ctx.Value(key{}), "caller")
			last = s.Meta()
			return d.consumer.login(ctx, s)
		})
		d.True(errors.Is(err, secrets.ErrRejected))
		d.Equal(last.Version, "AWSPENDING")
		d.Equal(last.Backend, "fake")
		d.Equal(last.FetchedAt, time.Now())
	})
}

// The current version and its alternates have the refused value.
func TestDoTriesNoValueTwice(t *testing.T) {
	inDo(t, []string{"AWSPENDING", "AWSPREVIOUS", "AWSPENDING"}, func(d *doing) {
		d.backend.SetVersion("db", "AWSPENDING", "one")
		d.backend.SetVersion("db", "AWSPREVIOUS", "old")
		d.tries("1", "1", "AWSPREVIOUS")
		d.backend.Set("db", "one")
		d.tries("2", "2", "AWSPREVIOUS")
	})
}

// doLayers are sets of layers around the backend.
var doLayers = map[string][]secrets.Option{
	"Standard":    {middleware.Standard()},
	"dedup alone": {secrets.WithDedup(dedup.New())},
	"no layers":   nil,
}

func TestConcurrentRefusalsCauseOneRefresh(t *testing.T) {
	const callers = 100
	for name, opts := range doLayers {
		t.Run(name, func(t *testing.T) {
			inDo(t, stages, func(d *doing) {
				release := make(chan struct{})
				var wg sync.WaitGroup
				d.consumer.accept("two")
				for i := range callers {
					wg.Go(func() {
						err := d.client.Do(d.Context(), "db", func(ctx context.Context, s secrets.Secret) error {
							<-release
							time.Sleep(time.Duration(i) * 500 * time.Millisecond) // a login may take long
							return d.consumer.login(ctx, s)
						})
						d.NoErr(err)
					})
				}
				synctest.Wait() // all have got the credential
				d.backend.Set("db", "two")
				d.Equal(d.calls(func() { close(release); wg.Wait() }), 1)
				tried, _ := d.consumer.take()
				d.Equal(len(tried), 2*callers)
			}, opts...)
		})
	}
}

// 1,000 attempts in 10 s with a consumer that refuses all: the Client calls the backend at 0, 1, 3 and 7 s.
func TestAConsumerThatRefusesAllCausesFewCalls(t *testing.T) {
	const attempts = 1000
	for name, opts := range doLayers {
		gets := attempts
		if name == "Standard" {
			gets = 1
		}
		for kind, c := range map[string]struct {
			alternates []string
			calls      int
		}{"no alternates": {nil, 4}, "alternates": {stages, 12}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				inDo(t, c.alternates, func(d *doing) {
					d.backend.SetVersion("db", "AWSPREVIOUS", "old") // AWSPENDING is missing
					d.Equal(d.calls(func() {
						for range attempts {
							d.True(errors.Is(d.do(), secrets.ErrRejected))
							time.Sleep(10 * time.Millisecond)
						}
					}), gets+c.calls)
				}, opts...)
			})
		}
	}
}

// A new refused value begins its own round.
func TestAnotherRefusedValueIsFetchedAgain(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.tries("1", "1")
		d.backend.Set("db", "two")
		d.backend.SetVersion("db", "AWSPENDING", "next")
		d.consumer.accept("next")
		d.Equal(d.calls(func() { d.tries("", "2", "AWSPENDING") }), 1+2)
	})
}

// Any other error of the function ends Do, which returns it unchanged.
func TestAnotherErrorEndsDo(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.backend.SetVersion("db", "AWSPENDING", "next")
		own := errors.New("connection reset")
		for _, last := range []string{"1", "AWSPENDING"} {
			called := 0
			err := d.client.Do(d.Context(), "db", func(_ context.Context, s secrets.Secret) error {
				called++
				if s.Meta().Version == last {
					return own
				}
				return secrets.ErrRejected
			}, secrets.Bridge(time.Minute))
			d.True(err == own)
			d.Equal(called, 1+slices.Index([]string{"1", "AWSPENDING"}, last))
		}
		d.Equal(d.backend.Calls(), 1+3) // two Gets, one refresh and one alternate
		d.tries("1", "1", "AWSPENDING") // which was not accepted
	})
}

func TestRejectedIf(t *testing.T) {
	badPassword, noRole, other := errors.New("28P01"), errors.New("28000"), errors.New("42501")
	for _, c := range []struct {
		err   error
		tries int
	}{{badPassword, 2}, {noRole, 2}, {fmt.Errorf("login: %w", badPassword), 2}, {secrets.ErrRejected, 2}, {other, 1}, {nil, 1}} {
		inDo(t, nil, func(d *doing) {
			tries := 0
			err := d.client.Do(d.Context(), "db", func(context.Context, secrets.Secret) error {
				tries++
				d.backend.Set("db", "two")
				return c.err
			}, secrets.RejectedIf(func(err error) bool { return errors.Is(err, badPassword) }),
				secrets.RejectedIf(func(err error) bool { return errors.Is(err, noRole) }))
			d.True(err == c.err)
			d.Equal(tries, c.tries)
		})
	}
}

// A key with a version has no candidate besides Get and Refresh.
func TestPinnedKeyHasNoAlternates(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.backend.SetVersion("db", "AWSPENDING", "next")
		d.consumer.accept("next")
		d.Equal(d.calls(func() {
			d.True(errors.Is(d.client.Do(d.Context(), "db?version=1", d.consumer.login), secrets.ErrRejected))
		}), 2)
		tried, _ := d.consumer.take()
		d.Equal(tried, []string{"1"})
		d.tries("", "1", "AWSPENDING") // the control
	})
}

func TestDoOfAField(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.backend.Set("db", `{"password":"two"}`)
		d.backend.SetVersion("db", "AWSPENDING", `{"user":"u"}`) // without the field, so it is skipped
		d.backend.SetVersion("db", "AWSPREVIOUS", `{"password":"old"}`)
		d.consumer.accept("old")
		d.NoErr(d.client.Do(d.Context(), "db#password", d.consumer.login))
		tried, _ := d.consumer.take()
		d.Equal(tried, []string{"2", "AWSPREVIOUS"})
	})
}

func TestAlternatesThatFailAreSkipped(t *testing.T) {
	for name, failure := range map[string]error{
		"denied": secrets.ErrPermissionDenied, "missing": secrets.ErrNotFound, "deleted": secrets.ErrDeleted,
		"unavailable": secrets.ErrUnavailable, "malformed": secrets.ErrMalformed,
	} {
		t.Run(name, func(t *testing.T) {
			inDo(t, stages, func(d *doing) {
				d.backend.SetVersion("db", "AWSPENDING", "next")
				d.backend.SetVersion("db", "AWSPREVIOUS", "old")
				d.backend.OnCall(func(_ context.Context, refs []secrets.Ref) error {
					if refs[0].Version == "AWSPENDING" {
						return failure
					}
					return nil
				})
				d.consumer.accept("old")
				d.tries("", "1", "AWSPREVIOUS")
				d.consumer.accept()
				d.tries("1", "AWSPREVIOUS", "1") // the error of the function alone
			}, middleware.Standard())
		})
	}
}

// A panic or a bad result of Info.Alternates does not fail Do.
func TestBackendThatCannotNameItsAlternates(t *testing.T) {
	for name, alternates := range map[string]func(secrets.Ref) []secrets.Ref{
		"panics":       func(secrets.Ref) []secrets.Ref { panic("hunter2") },
		"no version":   func(ref secrets.Ref) []secrets.Ref { return []secrets.Ref{{Path: ref.Path}} },
		"a bad ref":    func(secrets.Ref) []secrets.Ref { return []secrets.Ref{{Path: "db", Version: "a#b\x00"}} },
		"another path": func(secrets.Ref) []secrets.Ref { return []secrets.Ref{{Path: "other", Version: "missing"}} },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			b := failing(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
				if ref != (secrets.Ref{Path: "db"}) {
					return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
				}
				return secrets.NewSecret("one", secrets.Meta{Version: "1"}), nil
			})
			b.info.Alternates = alternates
			refusal := fmt.Errorf("no: %w", secrets.ErrRejected)
			called := 0
			err := open(t, b).Do(t.Context(), "db", func(context.Context, secrets.Secret) error { called++; return refusal })
			is.True(err == refusal)
			is.Equal(called, 1)
			if name == "no version" {
				is.Equal(b.calls.Load(), int64(2)) // the alternate is the current version, which is already fetched
			}
		})
	}
}

// A backend may derive the alternates from the version that is current, as Vault's KV version 2 does.
func TestAlternatesOfTheCurrentVersion(t *testing.T) {
	is := is.New(t)
	b := failing(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		version := cmp.Or(ref.Version, "7")
		return secrets.NewSecret("value "+version, secrets.Meta{Version: version}), nil
	})
	b.info.Alternates = func(ref secrets.Ref) []secrets.Ref {
		return []secrets.Ref{{Path: ref.Path, Version: "before " + ref.Version}}
	}
	c := &consumer{accepts: func(password string) bool { return password == "value before 7" }}
	is.NoErr(open(t, b).Do(t.Context(), "db", c.login))
	tried, _ := c.take()
	is.Equal(tried, []string{"7", "before 7"})
}

// Alternates are only from the backend that has the current version.
func TestAlternatesOfAnotherBackendAreSkipped(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		spare := secretstest.NewBackend(nil, secretstest.WithName("spare"))
		spare.SetVersion("db", "AWSPENDING", "spare")
		primary := secretstest.NewBackend(map[string]string{"db": "one"})
		primary.SetVersion("db", "AWSPREVIOUS", "old")
		d.client = open(d.T, &staged{primary, stages}, to(spare))
		d.consumer.accept("spare", "old")
		d.tries("", "1", "AWSPREVIOUS")
	})
}

// If the fallback answers, its alternates count.
func TestAlternatesOfTheBackendThatAnswers(t *testing.T) {
	inDo(t, nil, func(d *doing) {
		spare := secretstest.NewBackend(map[string]string{"db": "spare"}, secretstest.WithName("spare"))
		spare.SetVersion("db", "AWSPREVIOUS", "old")
		d.client = open(d.T, newFake(), to(&staged{spare, stages}))
		d.consumer.accept("old")
		d.tries("", "1", "AWSPREVIOUS")
	})
}

func TestOutageAtTheRefresh(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.warm()
		d.backend.Fail(secrets.ErrUnavailable)
		calls := d.calls(func() {
			for range 1000 {
				err := d.do()
				_, errs := d.consumer.take()
				d.Equal(len(errs), 1)
				d.True(errors.Is(err, errs[0]))
				d.True(errors.Is(err, secrets.ErrUnavailable))
				failure, ok := errors.AsType[*secrets.Error](err)
				d.True(ok)
				failure.Detail = "changed by its caller"
				d.True(!strings.Contains(d.do().Error(), failure.Detail)) // it is the caller's own
				d.consumer.take()
				time.Sleep(10 * time.Millisecond)
			}
		})
		d.Equal(calls, 4) // at 0, 1, 3 and 7 s
		d.backend.Recover()
		d.backend.Set("db", "two")
		d.consumer.accept("two")
		time.Sleep(5 * time.Second) // the last round ends 15 s after the first refusal
		d.tries("", "1", "2")
	}, middleware.Standard())
}

func TestDoWithoutASecret(t *testing.T) {
	inDo(t, nil, func(d *doing) {
		for key, class := range map[string]error{"missing": secrets.ErrNotFound, "/": secrets.ErrInvalidKey} {
			err := d.client.Do(d.Context(), key, d.consumer.login, secrets.Bridge(time.Minute))
			_, want := d.client.Get(d.Context(), key)
			d.Equal(err.Error(), want.Error())
			d.Equal(secrets.Class(err), class)
		}
		ended, cancel := context.WithCancel(d.Context())
		cancel()
		d.True(errors.Is(d.client.Do(ended, "db", d.consumer.login), context.Canceled))
		d.NoErr(d.client.Close())
		d.True(errors.Is(d.do(), secrets.ErrClosed))
		tried, _ := d.consumer.take()
		d.Equal(len(tried), 0)
	})
}

func TestFaultsOfDo(t *testing.T) {
	is := is.New(t)
	backend := newFake("db", "one")
	client := open(t, backend)
	f := func(context.Context, secrets.Secret) error { t.Error("the function is called"); return nil }
	for want, opt := range map[string]secrets.DoOption{
		"Bridge: 5ns; did you mean 5*time.Second?": secrets.Bridge(5),
		"Bridge: 0s is not more than 0":            secrets.Bridge(0),
		"Bridge: -1s is not more than 0":           secrets.Bridge(-time.Second),
		"RejectedIf: a nil function":               secrets.RejectedIf(nil),
		"option 1 is nil":                          nil,
	} {
		err := client.Do(t.Context(), "db", f, opt)
		is.True(strings.Contains(err.Error(), "secrets: Do: "+want))
	}
	err := client.Do(t.Context(), "db", nil, secrets.Bridge(0))
	is.True(strings.Contains(err.Error(), "secrets: Do: a nil function"))
	is.True(strings.Contains(err.Error(), "secrets: Do: Bridge: 0s"))
	is.Equal(backend.calls.Load(), int64(0))
}
