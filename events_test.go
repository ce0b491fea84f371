package secrets_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// handler is a log handler of a test: handle runs for each line.
type handler struct {
	handle func(ctx context.Context, r slog.Record)

	mu    sync.Mutex
	lines []string
}

func (*handler) Enabled(context.Context, slog.Level) bool    { return true }
func (h *handler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h *handler) WithGroup(string) slog.Handler             { return h }
func (h *handler) option() secrets.Option                    { return secrets.WithLogger(slog.New(h)) }
func handling(f func(context.Context, slog.Record)) *handler { return &handler{handle: f} }

// Handle records the line once handle has returned.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.handle != nil {
		h.handle(ctx, r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, shortLine(r))
	return nil
}

// take returns the lines since the last call, as one text.
func (h *handler) take() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.lines = nil }()
	return strings.Join(h.lines, " ")
}

// settled waits for the events of the bubble, and then returns the lines as take does.
func (h *handler) settled() string {
	synctest.Wait()
	return h.take()
}

// shortLine returns the key of r, or how many events were lost.
func shortLine(r slog.Record) (text string) {
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "key":
			text = a.Value.String()
		case "count":
			text = fmt.Sprintf("%s(%v %s %v)", text, r.Level, r.Message, a.Value)
		}
		return true
	})
	return text
}

// changing returns a Client whose backend changes its state at each call of change, which makes one line with the key k0, k1 and so on.
func changing(t *testing.T, opts ...secrets.Option) (client *secrets.Client, change func(n int)) {
	t.Helper()
	calls := 0
	client, err := secrets.New(failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		if calls++; calls%2 == 1 {
			return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
		}
		return secrets.NewSecret("value", secrets.Meta{}), nil
	}), append(opts, secrets.WithLoggedKeys())...)
	if err != nil {
		t.Fatal(err)
	}
	return client, func(n int) {
		for range n {
			_, _ = client.Get(t.Context(), fmt.Sprintf("k%d", calls))
			time.Sleep(10 * time.Second) // changes within that time are not logged
		}
	}
}

// series returns the keys from ki to kj.
func series(i, j int) string {
	var all []string
	for ; i <= j; i++ {
		all = append(all, fmt.Sprintf("k%d", i))
	}
	return strings.Join(all, " ")
}

// While a handler blocks, 64 events wait. The newest are dropped and counted, and their number is logged in their place.
func TestEventsInOrderAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		step := make(chan struct{})
		log := handling(func(context.Context, slog.Record) { <-step })
		client, change := changing(t, log.option())
		change(1 + 64 + 10)
		is.Equal(log.settled(), "")
		step <- struct{}{}
		synctest.Wait()
		change(1) // for which there is room
		change(2)
		close(step)
		const lost = "(WARN secrets: events lost %d)"
		is.Equal(log.settled(), series(0, 64)+" "+fmt.Sprintf(lost, 10)+" k75 "+fmt.Sprintf(lost, 2))
		change(1)
		is.Equal(log.settled(), "k78")
		is.NoErr(client.Close())
		is.Equal(log.take(), "")
	})
}

// The control: a handler that returns gets all lines.
func TestAllEventsAreHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		log := handling(nil)
		client, change := changing(t, log.option())
		change(100)
		is.NoErr(client.Close())
		is.Equal(log.take(), series(0, 99))
	})
}

// A handler that panics, or ends its goroutine, loses only that event.
func TestEventsSurviveAHandlerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		step := make(chan struct{})
		log := handling(func(_ context.Context, r slog.Record) {
			<-step
			switch shortLine(r) {
			case "k1":
				panic("a log that fails")
			case "k2", "k4":
				runtime.Goexit()
			}
		})
		client, change := changing(t, log.option())
		change(4) // which wait together
		close(step)
		is.Equal(log.settled(), "k0 k3")
		change(2) // k4 is the last for now
		is.NoErr(client.Close())
		is.Equal(log.take(), "k5")
	})
}

// The time of a line is that of the event, not that of the handler.
func TestCloseWaitsForEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var times []time.Duration
		began := time.Now()
		log := handling(func(_ context.Context, r slog.Record) {
			time.Sleep(11 * time.Second)
			times = append(times, r.Time.Sub(began))
		})
		client, change := changing(t, log.option(), secrets.WithTimeout(5*time.Second))
		change(3)
		is.NoErr(client.Close())
		is.Equal(time.Since(began), 33*time.Second)
		is.Equal(log.take(), series(0, 2))
		is.Equal(times, []time.Duration{0, 10 * time.Second, 20 * time.Second})
	})
}

// Close gives up on a handler that blocks, and runs no event after that.
func TestCloseGivesUpOnALoggerThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		log := handling(func(context.Context, slog.Record) { <-release })
		tr := &trail{}
		client, change := changing(t, log.option(), secrets.WithTimeout(3*time.Second), secrets.WithCache(tr.closing("cache")))
		change(80)
		began := time.Now()
		is.Equal(client.Close().Error(), "secrets: close: the logger still runs after 3s")
		is.Equal(time.Since(began), 3*time.Second)
		is.Equal(tr.take(), "cache")
		close(release)
		is.Equal(log.settled(), "k0") // it had begun
	})
}

// A handler that closes the Client waits for itself, but only for as long as Close waits for any part.
func TestCloseFromAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var client *secrets.Client
		var change func(int)
		var err error
		log := handling(func(context.Context, slog.Record) { err = client.Close() })
		client, change = changing(t, log.option(), secrets.WithTimeout(3*time.Second))
		change(1)
		is.Equal(log.settled(), "k0")
		is.Equal(err.Error(), "secrets: close: the logger still runs after 3s")
	})
}

func TestEventsAfterCloseAreDropped(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed %t", closed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				log := handling(nil)
				release := make(chan struct{})
				backend := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
					<-release
					return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
				}).with(func(f *fake) { f.info.Nonblocking = true }) // so that Close does not wait for the call
				client := open(t, backend, log.option(), secrets.WithLoggedKeys())
				go func() { _, _ = client.Get(t.Context(), "a") }()
				synctest.Wait()
				want := "a" // the control
				if closed {
					is.NoErr(client.Close())
					want = ""
				}
				close(release)
				is.Equal(log.settled(), want)
			})
		})
	}
}

// No line is written after Close.
func TestCloseDuringEvents(t *testing.T) {
	is := is.New(t)
	logged := 0
	for range 200 {
		log := handling(nil)
		client, err := secrets.New(failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
		}).with(func(f *fake) { f.info.Nonblocking = true }), log.option(), secrets.WithLoggedKeys())
		is.NoErr(err)
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() { _, _ = client.Get(t.Context(), "a") })
		}
		runtime.Gosched()
		is.NoErr(client.Close())
		if log.take() != "" {
			logged++
		}
		calls.Wait()
		runtime.Gosched()
		is.Equal(log.take(), "")
	}
	t.Logf("%d of 200 logged before Close", logged)
}

// A goroutine runs only while events wait.
func TestEventsLeaveNoGoroutine(t *testing.T) {
	is := is.New(t)
	before := goleak.IgnoreCurrent()
	release := make(chan struct{})
	log := handling(func(context.Context, slog.Record) { <-release })
	client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
	}), log.option())
	is.NoErr(goleak.Find(before)) // before the first event
	_, _ = client.Get(t.Context(), "a")
	is.True(goleak.Find(before) != nil) // the control: a line is written
	close(release)
	is.NoErr(goleak.Find(before)) // the Client is open, and no event waits
}

// Calls do not wait for a handler that blocks.
func TestAHandlerThatBlocksDelaysNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		blocked := 0
		log := handling(func(context.Context, slog.Record) { blocked++; <-release })
		remote := secretstest.NewBackend(map[string]string{"db": "v"}, secretstest.WithName("remote"))
		spare := secretstest.NewBackend(map[string]string{"other": "o"}, secretstest.WithName("spare"))
		client, err := secrets.New(remote, secrets.WithFallback(fallback.To(spare)), log.option(), middleware.Standard())
		is.NoErr(err)
		_, err = client.Get(t.Context(), "db")
		is.NoErr(err)
		time.Sleep(10 * time.Minute) // past the TTL
		began := time.Now()
		for _, class := range []error{secrets.ErrUnavailable, secrets.ErrUnauthenticated, secrets.ErrNotFound, secrets.ErrUnavailable} {
			remote.Fail(class)
			for range 5 {
				_, _ = client.Get(t.Context(), "db")
				_, _ = client.GetMany(t.Context(), "db", "other")
				_, _ = client.Refresh(t.Context(), "db")
			}
		}
		is.Equal(time.Since(began), time.Duration(0))
		synctest.Wait()
		is.Equal(blocked, 1)
		is.True(client.Close() != nil)
		is.Equal(time.Since(began), 5*time.Second)
		close(release)
	})
}

// A handler may use the Client, even for the key whose fetch made the event.
func TestHandlerMayUseTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var client *secrets.Client
		var answers []string
		log := handling(func(ctx context.Context, _ slog.Record) {
			s, err := client.Get(ctx, "db#password")
			answers = append(answers, fmt.Sprint(s.Reveal(), err))
			many, err := client.GetMany(ctx, "db#password", "db")
			answers = append(answers, fmt.Sprint(len(many), err))
			_, err = client.Refresh(ctx, "db")
			answers = append(answers, fmt.Sprint(secrets.Class(err)))
			client.Invalidate("none")
		})
		remote := secretstest.NewBackend(map[string]string{"db": `{"password":"v"}`})
		client = open(t, remote, log.option(), middleware.Standard(cache.WithTTL(time.Minute)))
		_, err := client.Get(t.Context(), "db#password")
		is.NoErr(err)
		remote.Fail(secrets.ErrUnavailable)
		time.Sleep(2 * time.Minute)
		_, err = client.GetMany(t.Context(), "db#password", "db")
		is.NoErr(err)
		synctest.Wait()
		one := []string{"v<nil>", "2 <nil>", "secrets: unavailable"}
		is.Equal(answers, append(one, one...)) // unavailable, and serving stale values
	})
}

type traceKey struct{}

// The context of a handler has the values of the caller's, and does not end with it.
func TestContextOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var got context.Context
		log := handling(func(ctx context.Context, _ slog.Record) { time.Sleep(time.Hour); got = ctx })
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
		}), log.option())
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), traceKey{}, "span"), time.Second)
		_, _ = client.Get(ctx, "a")
		cancel()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		is.True(ctx.Err() != nil) // the control
		is.NoErr(got.Err())
		is.Equal(got.Value(traceKey{}), "span")
		_, limited := got.Deadline()
		is.True(!limited)
	})
}
