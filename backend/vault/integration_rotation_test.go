//go:build vault

package vault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// All callers see a rotation once one of them refreshes.
func TestRealRefresh(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("app", `{"password":"first"}`)
		c := client(t, s.backend(), middleware.Standard())
		get := func(key string) secrets.Secret {
			t.Helper()
			got, err := c.Get(t.Context(), key)
			is.NoErr(err)
			return got
		}
		first := get("app#password")
		is.Equal(first.Reveal(), "first")
		s.put("app", `{"password":"second"}`)
		is.Equal(get("app#password").Reveal(), "first") // from the cache
		second, err := c.Refresh(t.Context(), "app#password")
		is.NoErr(err)
		is.Equal(second.Reveal(), "second")
		is.True(second.Meta().Version != first.Meta().Version)
		for _, key := range []string{"app#password", "app/password"} {
			is.Equal(get(key).Reveal(), "second")
			is.Equal(get(key).Meta().Version, second.Meta().Version)
		}
		is.Equal(get("app").Reveal(), `{"password":"second"}`)
		s.put("app", `{"password":"third"}`)
		c.Invalidate("app#other") // any field of the document
		is.Equal(get("app#password").Reveal(), "third")
	})
}

// Version 2 keeps the version before the one that a consumer refuses. Version 1 keeps none.
func TestRealAlternates(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		b := s.backend()
		s.put("app", `{"password":"first"}`)
		s.put("app", `{"password":"second"}`)
		second, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
		is.Equal(second.Reveal(), `{"password":"second"}`)
		others := b.Info().Alternates(secrets.Ref{Path: "app", Version: second.Meta().Version})
		if s.version == 1 {
			is.Equal(len(others), 0)
			return
		}
		is.Equal(others, []secrets.Ref{{Path: "app", Version: "1"}})
		first, err := b.Fetch(t.Context(), others[0])
		is.NoErr(err)
		is.Equal(first.Reveal(), `{"password":"first"}`)
		is.Equal(len(b.Info().Alternates(secrets.Ref{Path: "app", Version: first.Meta().Version})), 0)

		s.do("destroy", "app", 1)
		_, err = b.Fetch(t.Context(), others[0])
		is.Equal(secrets.Class(err), secrets.ErrDeleted)
	})
}

// A user and a password never come from two versions, however fast a secret is rotated.
func TestRealNoTornPair(t *testing.T) {
	const during = 3 * time.Second
	for name, opts := range map[string][]secrets.Option{
		"without a cache":                {},
		"with a cache of a millisecond":  {middleware.Standard(cache.WithTTL(time.Millisecond))},
		"with a cache that renews ahead": {middleware.Standard(cache.WithTTL(20 * time.Millisecond))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			s := newStore(t, shared.Get(t), versionTwo)
			write := func(n int) { s.put("app", fmt.Sprintf(`{"user":"%d","password":"%d"}`, n, n)) }
			write(0)
			c := client(t, s.backend(), opts...)
			ctx, cancel := context.WithTimeout(t.Context(), during)
			defer cancel()
			var running sync.WaitGroup
			torn, reads, versions := make(chan string, 1), make([]int, 3), make([]map[string]bool, 3)
			pairs := []func(ctx context.Context) (user, password secrets.Secret, err error){
				func(ctx context.Context) (user, password secrets.Secret, err error) {
					got, err := c.GetMany(ctx, "app#user", "app/password")
					return got["app#user"], got["app/password"], err
				},
				func(ctx context.Context) (user, password secrets.Secret, err error) {
					got, err := c.GetMany(ctx, "missing", "app", "app/password", "app#user")
					if len(got) != 3 {
						return user, password, err
					}
					var pair map[string]string
					if err := got["app"].JSON(&pair); err != nil || pair["user"] != got["app#user"].Reveal() {
						return user, password, fmt.Errorf("the document is of another version than its field: %w", err)
					}
					return got["app#user"], got["app/password"], nil
				},
				func(ctx context.Context) (user, password secrets.Secret, err error) {
					document, err := c.Get(ctx, "app")
					if err != nil {
						return user, password, err
					}
					if user, err = document.Field("user"); err != nil {
						return user, password, err
					}
					password, err = document.Field("password")
					return user, password, err
				},
			}
			for i, pair := range pairs {
				versions[i] = make(map[string]bool)
				running.Go(func() {
					for ctx.Err() == nil {
						user, password, err := pair(context.WithoutCancel(ctx))
						reads[i]++
						versions[i][user.Meta().Version] = true
						if err != nil || user.Reveal() != password.Reveal() || user.Meta().Version != password.Meta().Version {
							select {
							case torn <- fmt.Sprint(user.Reveal(), " ", password.Reveal(), " ", err):
							default:
							}
						}
					}
				})
			}
			written := 1
			for ; ctx.Err() == nil; written++ {
				write(written)
			}
			running.Wait()
			select {
			case pair := <-torn:
				t.Fatalf("a torn pair: %s", pair)
			default:
			}
			t.Logf("%d versions written, %v reads saw %d, %d and %d of them", written, reads, len(versions[0]), len(versions[1]), len(versions[2]))
			for i := range versions {
				is.True(len(versions[i]) > 10) // the control: secrets were rotated during the reads
			}
		})
	}
}

// A GetMany sends one read for each secret and one detection of the mount, and nothing for cached secrets.
func TestRealRequests(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		var keys, reads []string
		for secret, fields := range map[string]int{"app/database": 4, "app/mail": 3, "queue": 3} {
			document := make(map[string]string)
			for i := range fields {
				field := fmt.Sprintf("field-%d", i)
				document[field] = secret + field
				keys = append(keys, secret+"#"+field)
			}
			text, err := json.Marshal(document)
			is.NoErr(err)
			s.put(secret, string(text))
			reads = append(reads, "GET /v1/"+s.data(secret))
		}
		is.Equal(len(keys), 10)
		recorder := s.server.Record(t)
		c := client(t, s.backendAt(recorder.Addr, vault.WithToken(s.server.RootToken)), middleware.Standard())
		for range 2 {
			got, err := c.GetMany(t.Context(), keys...)
			is.NoErr(err)
			is.Equal(len(got), len(keys))
			var seen []string
			for _, request := range recorder.Requests() {
				seen = append(seen, request.Method+" "+request.Path)
			}
			slices.Sort(seen)
			slices.Sort(reads)
			is.Equal(seen, slices.Concat(reads, []string{"GET /v1/sys/internal/ui/mounts/" + s.mount}))
		}
		t.Logf("10 fields of 3 secrets: %d requests, then none", len(recorder.Requests()))
		recorder.Reset()
		for _, key := range keys {
			_, err := c.Get(t.Context(), key)
			is.NoErr(err)
			has, err := c.Has(t.Context(), key)
			is.NoErr(err)
			is.True(has)
		}
		is.Equal(len(recorder.Requests()), 0)
		_, err := c.Refresh(t.Context(), keys[0])
		is.NoErr(err)
		is.Equal(len(recorder.Requests()), 1) // the mount was detected before
	})
}

// Concurrent first callers share the detection of the mount.
func TestRealRequestsTogether(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	recorder := s.server.Record(t)
	c := client(t, s.backendAt(recorder.Addr, newRole(t, s, nil).auth()))
	var running sync.WaitGroup
	for range 20 {
		running.Go(func() {
			_, err := c.Get(t.Context(), "app#password")
			is.NoErr(err)
		})
	}
	running.Wait()
	is.Equal(recorder.Count("GET", "/v1/sys/internal/ui/mounts/"), 1)
	is.Equal(recorder.Count("PUT", "/v1/auth/"), 1) // one login
}

// During an upgrade from version 1 to 2, a mount is briefly unavailable; its secrets are never a not-found. With a cache, readers do not
// notice.
func TestRealUpgrade(t *testing.T) {
	for name, test := range map[string]struct {
		secrets int
		opts    []secrets.Option
		class   error // of the failures that are allowed
	}{
		"without a cache":                  {1, nil, secrets.ErrUnavailable},
		"with a cache":                     {1, []secrets.Option{middleware.Standard(cache.WithTTL(20 * time.Millisecond))}, nil},
		"of many secrets, without a cache": {500, nil, secrets.ErrUnavailable},
		"of many secrets, with a cache":    {500, []secrets.Option{middleware.Standard(cache.WithTTL(20 * time.Millisecond))}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			s := newStore(t, shared.Get(t), 1)
			for i := range test.secrets {
				s.put(fmt.Sprintf("app-%d", i), `{"password":"p"}`)
			}
			b := s.backend()
			c := client(t, b, test.opts...)
			readers := keepReading(t, c, 8, time.Millisecond, "app-0#password")
			readers.goOn(t, 300*time.Millisecond)
			s.server.Must(t, http.MethodPost, "sys/mounts/"+s.mount+"/tune", map[string]any{"options": map[string]any{"version": "2"}})
			eventually(t, "the mount is upgraded", func() bool {
				got, err := c.Get(t.Context(), "app-0#password")
				return err == nil && got.Meta().Version == "1"
			})
			readers.goOn(t, 300*time.Millisecond)
			failures := readers.stop()
			reads, stale, _ := readers.count()
			t.Logf("%d reads, %d of them stale, %d unavailable", reads, stale, len(failures))
			for _, err := range failures {
				is.Equal(secrets.Class(err), test.class)
			}
			got, err := c.Refresh(t.Context(), "app-0?version=1#password")
			is.NoErr(err)
			is.Equal(got.Reveal(), "p")
		})
	}
}
