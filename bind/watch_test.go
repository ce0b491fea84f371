package bind_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/bind"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// service has a document, a single secret, and three optional ones.
type service struct {
	DB struct {
		User     string `secret:"#user"`
		Password string `secret:"#password"`
		Params   string `secret:"#params,optional"`
	} `secret:"database"`
	Token string `secret:"token"`
	Limit int    `secret:"limit,default=100"`
	Note  string `secret:"note,optional"`
}

// watched is a Live of a T in a bubble.
type watched[T any] struct {
	*is.I
	*testing.T

	client  *secrets.Client
	backend *secretstest.Backend
	live    *secrets.Live[T]
	ctx     context.Context
	cancel  func()
}

func watch[T any](t *testing.T, docs map[string]string, test func(w *watched[T]), opts ...func() secrets.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched[T]{I: is.New(t), T: t}
		all := make([]secrets.Option, 0, len(opts))
		for _, o := range opts {
			all = append(all, o())
		}
		w.client, w.backend = open(t, docs, all...)
		w.ctx, w.cancel = context.WithCancel(t.Context())
		defer w.cancel()
		var err error
		w.live, err = bind.Watch[T](w.ctx, w.client)
		w.NoErr(err)
		test(w)
	})
}

func standard() secrets.Option { return middleware.Standard() }

func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func serviceDocuments() map[string]string {
	return map[string]string{"database": `{"user":"u1","password":"p1"}`, "token": "t1"}
}

func TestWatchFollowsEachSecret(t *testing.T) {
	for name, opts := range map[string][]func() secrets.Option{"without layers": nil, "with a cache": {standard}} {
		t.Run(name, func(t *testing.T) {
			watch(t, serviceDocuments(), func(w *watched[service]) {
				first := w.live.Load()
				w.Equal(first.DB.User+first.DB.Password+first.Token, "u1p1t1")
				w.Equal(first.Limit, 100)
				elapse(time.Hour)
				w.Equal(w.live.Load(), first)

				changed := w.live.Changed()
				w.backend.Set("database", `{"user":"u2","password":"p2","params":"ssl"}`)
				_, err := w.client.Refresh(w.ctx, "database")
				w.NoErr(err)
				<-changed
				w.Equal(w.live.Load().DB, struct {
					User     string `secret:"#user"`
					Password string `secret:"#password"`
					Params   string `secret:"#params,optional"`
				}{"u2", "p2", "ssl"})
				w.Equal(w.live.Load().Token, "t1")

				changed = w.live.Changed()
				w.backend.Set("token", "t2")
				w.client.Invalidate("token")
				<-changed
				w.Equal(w.live.Load().Token, "t2")
				w.Equal(w.live.Load().DB.User, "u2")

				w.backend.Set("token", "t3") // without a Refresh
				elapse(6 * time.Minute)
				w.Equal(w.live.Load().Token, "t3")
				w.NoErr(w.live.Err())
			}, opts...)
		})
	}
}

// The fields of a document change together, and the struct is replaced once.
func TestOneChangeOfADocumentReplacesTheStructOnce(t *testing.T) {
	watch(t, map[string]string{"database": `{"user":"u1","password":"p1","params":"x"}`, "token": "t"}, func(w *watched[service]) {
		for range 20 {
			changed := w.live.Changed()
			w.backend.Set("database", `{"user":"u2","password":"p2","params":"y"}`)
			_, err := w.client.Refresh(w.ctx, "database")
			w.NoErr(err)
			<-changed
			changed = w.live.Changed()
			elapse(time.Minute)
			w.True(!isClosed(changed))
		}
	})
}

// If the struct cannot be filled, the last one stays completely: no new value is in it.
func TestAWrongValueKeepsTheLastStruct(t *testing.T) {
	watch(t, serviceDocuments(), func(w *watched[service]) {
		first := w.live.Load()
		w.backend.Set("limit", "hunter2")
		w.backend.Set("database", `{"user":"u2","password":"p2"}`)
		w.backend.Remove("token")
		w.client.Invalidate("database")
		elapse(time.Second)
		w.Equal(w.live.Load(), first)
		err := w.live.Err()
		w.True(errors.Is(err, secrets.ErrMalformed))
		w.True(errors.Is(err, secrets.ErrNotFound))
		got := lines(err)
		w.Equal(len(got), 2)
		w.True(strings.HasPrefix(got[0], "secrets: bind: service.Token (token): fake: not found: "))
		w.Equal(got[1], "secrets: bind: service.Limit (limit): fake: malformed: the value is not a whole number that fits int")

		w.backend.Set("limit", "5")
		w.backend.Set("token", "t2")
		elapse(2 * time.Minute) // retried without a change of a handle
		w.Equal(w.live.Load().Limit, 5)
		w.Equal(w.live.Load().DB.User+w.live.Load().Token, "u2t2")
		w.NoErr(w.live.Err())
	})
}

func TestWatchFailsAsLoadDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, map[string]string{"database": `{"user":"u1"}`, "limit": "x"})
		_, byLoad := bind.Load[service](t.Context(), client)
		live, err := bind.Watch[service](t.Context(), client)
		is.True(live == nil)
		is.Equal(err.Error(), byLoad.Error())
		is.Equal(len(lines(err)), 3)
		backend.ResetCounts()
		elapse(time.Hour)
		is.Equal(backend.Calls(), 0) // nothing still runs

		_, err = bind.Watch[service](t.Context(), nil)
		is.Equal(err.Error(), "secrets: bind: a nil Client")
	})
}

// A secret may disappear after Load, while Watch still starts. The error names the field.
func TestASecretDisappearsWhileWatchBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, serviceDocuments())
		backend.OnCall(func(context.Context, []secrets.Ref) error {
			if backend.Fetches("token") > 1 {
				return secrets.ErrPermissionDenied
			}
			return nil
		})
		live, err := bind.Watch[service](t.Context(), client)
		is.True(live == nil)
		is.True(errors.Is(err, secrets.ErrPermissionDenied))
		is.True(strings.HasPrefix(err.Error(), "secrets: bind: service.Token (token): fake: permission denied: "))
		backend.ResetCounts()
		elapse(time.Hour)
		is.Equal(backend.Calls(), 0)
	})
}

// An optional secret that appears later is found, and watched from then on. So is one that disappears.
func TestWatchLooksForOptionalSecrets(t *testing.T) {
	for name, opts := range map[string][]func() secrets.Option{"without layers": nil, "with a cache": {standard}} {
		t.Run(name, func(t *testing.T) {
			watch(t, serviceDocuments(), func(w *watched[service]) {
				elapse(time.Hour)
				w.NoErr(w.live.Err()) // missing optional secrets are not an error
				for _, limit := range []struct {
					value string
					want  int
				}{{"5", 5}, {"7", 7}, {"0", 0}} {
					w.backend.Set("limit", limit.value)
					elapse(6 * time.Minute) // with a cache; otherwise 30 s
					w.Equal(w.live.Load().Limit, limit.want)
					w.NoErr(w.live.Err())
				}
				w.backend.Remove("limit")
				elapse(6 * time.Minute)
				w.Equal(w.live.Load().Limit, 100)
				w.NoErr(w.live.Err())

				w.backend.Set("note", "") // only its presence changes
				changed := w.live.Changed()
				elapse(6 * time.Minute)
				w.True(isClosed(changed))
				w.Equal(w.live.Load().Note, "")
			}, opts...)
		})
	}
}

func TestAnOptionalSecretIsPolledEvery30Seconds(t *testing.T) {
	watch(t, serviceDocuments(), func(w *watched[service]) {
		w.backend.ResetCounts()
		elapse(time.Hour)
		n := w.backend.Fetches("limit")
		w.True(n >= 119)
		w.True(n <= 134) // polls come up to a tenth sooner
		w.backend.Set("limit", "5")
		elapse(30 * time.Second)
		w.Equal(w.live.Load().Limit, 5)
	})
}

// An optional secret that exists at first is deleted, and comes back.
func TestAnOptionalSecretIsDeleted(t *testing.T) {
	docs := serviceDocuments()
	docs["limit"] = "5"
	watch(t, docs, func(w *watched[service]) {
		w.Equal(w.live.Load().Limit, 5)
		w.backend.Delete("limit")
		elapse(time.Minute)
		w.Equal(w.live.Load().Limit, 100)
		w.NoErr(w.live.Err())
		w.backend.Set("limit", "6")
		elapse(time.Minute)
		w.Equal(w.live.Load().Limit, 6)
		w.NoErr(w.live.Err())
	})
}

// A build can read older data than the handles have, from a lagging server or from a fallback in an outage. It would stay forever, since no
// change follows.
func TestAnOlderAnswerIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		first := secretstest.NewBackend(map[string]string{"database": `{"user":"u1","password":"p1"}`, "token": "t"})
		old := map[string]string{"database": `{"user":"old","password":"old"}`, "token": "t"}
		spare := secretstest.NewBackend(old, secretstest.WithName("spare"))
		client, err := secrets.New(first, secrets.WithFallback(fallback.To(spare)))
		is.NoErr(err)
		defer client.Close()
		live, err := bind.Watch[service](t.Context(), client)
		is.NoErr(err)
		defer live.Close()
		for name, second := range map[string]func() error{
			"a server that lags": func() error { first.Set("database", `{"user":"u1","password":"p1"}`); return nil },
			"a fallback":         func() error { return secrets.ErrUnavailable },
		} {
			var reads atomic.Int64
			first.Set("database", `{"user":"u2","password":"p2"}`)
			first.OnCall(func(_ context.Context, refs []secrets.Ref) error {
				if refs[0].Path != "database" {
					return nil
				}
				switch reads.Add(1) {
				case 2: // by the build; the first one was by the handles
					return second()
				case 3:
					first.Set("database", `{"user":"u2","password":"p2"}`)
				}
				return nil
			})
			for reads.Load() < 2 {
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
			is.Equal(live.Load().DB.User, "u1")
			if !errors.Is(live.Err(), secrets.ErrUnavailable) {
				t.Errorf("%s: %v", name, live.Err())
			}
			elapse(2 * time.Second)
			is.Equal(live.Load().DB.User+live.Load().DB.Password, "u2p2")
			is.NoErr(live.Err())

			first.Set("database", `{"user":"u1","password":"p1"}`)
			elapse(time.Minute)
			is.Equal(live.Load().DB.User, "u1")
			is.NoErr(live.Err())
		}
	})
}

// A denial of an optional secret is always an error.
func TestAnOptionalSecretIsDenied(t *testing.T) {
	watch(t, serviceDocuments(), func(w *watched[service]) {
		w.backend.FailPath("limit", secrets.ErrPermissionDenied)
		elapse(time.Minute)
		w.True(errors.Is(w.live.Err(), secrets.ErrPermissionDenied))
		w.True(strings.HasPrefix(w.live.Err().Error(), "secrets: fake: limit: permission denied: "))
		w.Equal(w.live.Load().Limit, 100)
		w.backend.Recover()
		elapse(time.Minute)
		w.NoErr(w.live.Err())
	})
}

type allOptional struct {
	A string `secret:"a,optional"`
	B int    `secret:"b#n,default=3"`
	C string `secret:"a,default=none"` // the same secret with another option
}

func TestAStructWithoutAnySecret(t *testing.T) {
	watch(t, nil, func(w *watched[allOptional]) {
		w.Equal(w.live.Load(), allOptional{"", 3, "none"})
		elapse(time.Hour)
		w.NoErr(w.live.Err())
		w.backend.Set("b", `{"n":4}`)
		elapse(30 * time.Second)
		w.Equal(w.live.Load(), allOptional{"", 4, "none"})
		w.backend.Set("a", "x")
		elapse(30 * time.Second)
		w.Equal(w.live.Load(), allOptional{"x", 4, "x"})
		w.NoErr(w.client.Close())
		w.True(errors.Is(w.live.Err(), secrets.ErrClosed))
		w.True(isClosed(w.live.Changed()))
	})
}

// A key is required if one of its fields is.
func TestAKeyOfSeveralFields(t *testing.T) {
	type both struct {
		A string `secret:"a,optional"`
		B string `secret:"a"`
	}
	watch(t, map[string]string{"a": "1"}, func(w *watched[both]) {
		w.backend.Remove("a")
		elapse(time.Minute)
		w.Equal(w.live.Load(), both{"1", "1"})
		w.True(errors.Is(w.live.Err(), secrets.ErrNotFound))
	})
}

// However the Live ends, nothing calls the backend afterwards.
func TestWatchEnds(t *testing.T) {
	for name, end := range map[string]func(w *watched[service]){
		"with Close":      func(w *watched[service]) { w.NoErr(w.live.Close()) },
		"with ctx":        func(w *watched[service]) { w.cancel() },
		"with the client": func(w *watched[service]) { w.NoErr(w.client.Close()) },
		"while it is in use": func(w *watched[service]) {
			w.NoErr(w.live.Use(func(service) error { return w.live.Close() }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			watch(t, serviceDocuments(), func(w *watched[service]) {
				w.backend.ResetCounts()
				elapse(time.Minute)
				w.True(w.backend.Calls() > 0) // the control
				changed := w.live.Changed()
				end(w)
				elapse(0)
				w.backend.ResetCounts()
				w.True(isClosed(changed))
				w.True(errors.Is(w.live.Err(), secrets.ErrClosed))
				w.backend.Set("token", "t2")
				w.backend.Set("limit", "2")
				elapse(time.Hour)
				w.Equal(w.backend.Calls(), 0)
				w.Equal(w.live.Load().Token, "t1")
				w.NoErr(w.live.Close())
			})
		})
	}
}

// The client or ctx may end at any moment of Watch.
func TestWatchEndsWhileItBegins(t *testing.T) {
	for _, end := range map[string]func(client *secrets.Client, cancel func()){
		"of ctx":        func(_ *secrets.Client, cancel func()) { cancel() },
		"of the client": func(client *secrets.Client, _ func()) { go client.Close() }, //nolint:errcheck // checked at the end of the test
	} {
		for n := 1; n <= 11; n++ { // 5 fetches of Load, 1 of each key, 5 of the first build
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client, backend := open(t, serviceDocuments())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				backend.OnCall(func(context.Context, []secrets.Ref) error {
					if backend.Calls() >= n {
						end(client, cancel)
						time.Sleep(time.Microsecond)
					}
					return nil
				})
				live, err := bind.Watch[service](ctx, client)
				if err == nil {
					elapse(0)
					err = live.Err()
				}
				is.True(err != nil)
				elapse(0)
				backend.ResetCounts()
				elapse(time.Hour)
				is.Equal(backend.Calls(), 0)
			})
		}
	}
}

// Each read has the values of Watch's context.
func TestReadsHaveTheValuesOfTheContext(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		with := 0
		client, backend := open(t, serviceDocuments(), secrets.WithMiddleware(secrets.Intercept(
			func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				if ctx.Value(key{}) != nil && ref.Path == "token" {
					with++
				}
				return next.Fetch(ctx, ref)
			})))
		live, err := bind.Watch[service](context.WithValue(t.Context(), key{}, "x"), client)
		is.NoErr(err)
		n := with
		is.True(n > 0)
		changed := live.Changed()
		backend.Set("token", "t2")
		client.Invalidate("token")
		<-changed
		is.Equal(with, n+1)
		is.NoErr(live.Close())
	})
}
