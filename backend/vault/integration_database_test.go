//go:build vault && unix

package vault_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/databaseserver"
	"github.com/seed-5482dd03/secrets/internal/postgresserver"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/middleware"
)

// pauseOfLogins is the pause between two logins of a program under test.
const pauseOfLogins = 150 * time.Millisecond

// database is a PostgreSQL server whose users a Vault server manages.
type database struct{ *databaseserver.Server }

// client returns a client for the database credentials, and the recorder of its requests.
func (d *database) client(t testing.TB, opts ...secrets.Option) (*secrets.Client, *vaultserver.Recorder) {
	t.Helper()
	recorder := d.Vault.Record(t)
	b := open(t, recorder.Addr, vault.WithToken(d.Vault.RootToken), vault.WithMount(databaseserver.Mount), vault.WithDynamicSecrets())
	return client(t, b, opts...), recorder
}

// databaseUser is Vault's answer about a user. Not every answer has every field.
type databaseUser struct {
	Username, Password string
	LastVaultRotation  time.Time `json:"last_vault_rotation"` //nolint:tagliatelle // the name is Vault's
}

func userOf(s secrets.Secret) (u databaseUser, err error) {
	err = s.JSON(&u)
	return u, err
}

// login logs in with the user and the password of one secret.
func (d *database) login(ctx context.Context, s secrets.Secret) error {
	u, err := userOf(s)
	if err != nil {
		return err
	}
	// Not current_user: the server would look it up in its catalog, and Vault may just have dropped the role.
	user, err := d.SQL.Query(ctx, u.Username, u.Password, "SHOW session_authorization")
	if err == nil && user != u.Username {
		return errors.New("the session has another user name")
	}
	return err
}

// repeat calls f every pause until ctx ends.
func repeat(ctx context.Context, pause time.Duration, f func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// counts counts outcomes.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counts) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]int)
	}
	c.of[what]++
}

// noteLogin records how a login ended.
func (c *counts) noteLogin(err error) {
	switch {
	case err == nil:
		c.note("logged in")
	case postgresserver.IsRefused(err):
		c.note("refused")
	default:
		c.note("failed")
	}
}

// A program's logins succeed while its credentials change every few seconds.
func TestRealDatabase(t *testing.T) {
	t.Parallel()
	d := &database{databaseserver.Start(t)}
	t.Run("static role", d.testStatic)
	t.Run("dynamic credentials, with Standard", func(t *testing.T) { d.testDynamic(t, middleware.Standard()) })
	t.Run("dynamic credentials, without a cache", func(t *testing.T) { d.testDynamic(t) })
	t.Run("revocation", d.testRevocation)
}

// A handle gets the next credential before the lease of the current one ends, and creates one lease for each.
func (d *database) testDynamic(t *testing.T, opts ...secrets.Option) {
	t.Helper()
	t.Parallel()
	is := is.New(t)
	const during, ttl = 20 * time.Second, 4 * time.Second
	role := d.DynamicRole(t, "4s", databaseserver.DropsRole)
	c, recorder := d.client(t, opts...)
	h, err := c.Watch(t.Context(), whole("creds/"+role))
	is.NoErr(err)
	first := h.Secret()
	var running sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer func() {
		cancel()
		running.Wait()
	}()

	var versions []string // one for each change
	running.Go(func() {
		for {
			changed := h.Changed()
			versions = append(versions, h.Secret().Meta().Version)
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	var once counts // the control: a program that reads once
	running.Go(func() {
		repeat(ctx, 3*pauseOfLogins, func() { once.noteLogin(d.login(context.WithoutCancel(ctx), first)) })
	})
	least := ttl
	var logins counts
	repeat(ctx, pauseOfLogins, func() {
		s := h.Secret()
		least = min(least, time.Until(s.Meta().ExpiresAt))
		err := d.login(context.WithoutCancel(ctx), s)
		logins.noteLogin(err)
		is.NoErr(err)
		is.NoErr(h.Err())
		is.True(!s.Meta().Stale)
	})
	running.Wait()
	leases := recorder.Count(http.MethodGet, "/v1/"+databaseserver.Mount+"/creds/"+role)
	t.Logf("handle: %v, %v before the end of a lease or earlier; %d leases in %v; %d changes", logins.of, least.Round(time.Millisecond),
		leases, during, len(versions)-1)
	t.Logf("the first credential: %v", once.of)
	is.True(least > 0)
	is.True(leases >= 5 && leases <= 10)                          // a lease of 4 s is replaced after about 3 s
	is.True(len(versions) == leases || len(versions) == leases-1) // the last change may not be reported yet
	slices.Sort(versions)
	is.Equal(len(slices.Compact(slices.Clone(versions))), len(versions))
	is.True(once.of["refused"] > 0)
	is.Equal(once.of["failed"], 0)
}

// With Do, no login fails while Vault changes the password of a static role, and a handle reports each change. The period is not a multiple
// of the 5 s in which Vault checks for due rotations: each rotation is late, and until then the ttl is 0.
func (d *database) testStatic(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const during, workers, rotations = 33 * time.Second, 3, 3
	role := d.StaticRole(t, "8s")
	key := whole("static-creds/" + role)
	var running sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer func() {
		cancel()
		running.Wait()
	}()

	doing, doRecorder := d.client(t, middleware.Standard())
	var dos, attempts counts
	var failures []error
	var longest time.Duration
	for range workers {
		running.Go(func() {
			repeat(ctx, pauseOfLogins, func() {
				began := time.Now()
				err := doing.Do(context.WithoutCancel(ctx), key, func(ctx context.Context, s secrets.Secret) error {
					err := d.login(ctx, s)
					attempts.noteLogin(err)
					return err
				}, secrets.RejectedIf(postgresserver.IsRefused), secrets.Bridge(5*time.Second))
				dos.noteLogin(err)
				dos.mu.Lock()
				defer dos.mu.Unlock()
				if longest = max(longest, time.Since(began)); err != nil {
					failures = append(failures, err)
				}
			})
		})
	}

	// The controls: Get, which a cache answers, and a program that reads once.
	getting, getRecorder := d.client(t, middleware.Standard())
	var gets, once counts
	first, err := getting.Get(t.Context(), key)
	is.NoErr(err)
	running.Go(func() {
		repeat(ctx, pauseOfLogins, func() {
			s, err := getting.Get(context.WithoutCancel(ctx), key)
			if err != nil {
				gets.note("not read")
				return
			}
			gets.noteLogin(d.login(context.WithoutCancel(ctx), s))
		})
	})
	running.Go(func() {
		repeat(ctx, 3*pauseOfLogins, func() { once.noteLogin(d.login(context.WithoutCancel(ctx), first)) })
	})

	watching, watchRecorder := d.client(t, middleware.Standard())
	h, err := watching.Watch(t.Context(), key)
	is.NoErr(err)
	var delays []time.Duration
	passwords := map[string]bool{first.Reveal(): true}
	for changed := h.Changed(); ctx.Err() == nil; changed = h.Changed() {
		select {
		case <-changed:
			now, s := time.Now(), h.Secret()
			u, err := userOf(s)
			is.NoErr(err)
			is.NoErr(h.Err())
			delays = append(delays, now.Sub(u.LastVaultRotation).Round(time.Millisecond))
			passwords[u.Password] = true
		case <-ctx.Done():
		}
	}
	running.Wait()
	calls := func(r *vaultserver.Recorder) int { return r.Count("", "/v1/"+databaseserver.Mount+"/static-creds/") }
	t.Logf("Do: %v, the longest in %v; logins: %v; %d calls to Vault", dos.of, longest.Round(time.Millisecond), attempts.of, calls(doRecorder))
	t.Logf("Get: %v; %d calls to Vault. The first password: %v", gets.of, calls(getRecorder), once.of)
	t.Logf("handle: %v after each rotation; %d calls to Vault", delays, calls(watchRecorder))
	is.NoErr(errors.Join(failures...))
	is.True(len(delays) >= rotations)
	is.Equal(len(passwords), len(delays)+1) // only another password is a change
	is.True(slices.Max(delays) < 5*time.Second)
	is.Equal(gets.of["not read"], 0) // until Vault has rotated, the password works
	is.True(once.of["refused"] > 0)
}

// A handle does not notice that an operator has revoked its lease. Invalidate makes it fetch at once, and so does Do.
func (d *database) testRevocation(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	role := d.DynamicRole(t, "1h", databaseserver.DropsRole)
	key := whole("creds/" + role)
	c, recorder := d.client(t, middleware.Standard())
	leases := func() int { return recorder.Count(http.MethodGet, "/v1/"+databaseserver.Mount+"/creds/") }
	h, err := c.Watch(t.Context(), key)
	is.NoErr(err)
	is.NoErr(d.login(t.Context(), h.Secret()))

	for name, renew := range map[string]func(){
		"Invalidate": func() { c.Invalidate(key) },
		"Do":         func() { is.NoErr(c.Do(t.Context(), key, d.login, secrets.RejectedIf(postgresserver.IsRefused))) },
	} {
		changed, revoked, before := h.Changed(), h.Secret(), leases()
		d.RevokeLeases(t, role)
		is.True(postgresserver.IsRefused(d.login(t.Context(), revoked)))
		is.True(h.Secret().Equal(revoked))
		is.True(!h.Secret().Meta().Stale)
		is.NoErr(h.Err())
		is.Equal(leases(), before)

		began := time.Now()
		renew()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the handle does not look after %s", name)
		}
		cancel()
		t.Logf("another credential %v after the call of %s", time.Since(began).Round(time.Millisecond), name)
		is.NoErr(h.Err())
		is.NoErr(d.login(t.Context(), h.Secret()))
		is.Equal(leases(), before+1)
	}
}

// A consumer that still accepts only the previous password gets it: the previous version of KV version 2 is a candidate of Do.
func TestRealDoWithTheVersionBefore(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"first"}`)
	s.put("app", `{"password":"second"}`)
	recorder := s.server.Record(t)
	c := client(t, s.backendAt(recorder.Addr, vault.WithToken(s.server.RootToken)), middleware.Standard())
	var tried []string
	accepted := "first"
	consume := func(_ context.Context, s secrets.Secret) error {
		tried = append(tried, s.Meta().Version+" "+s.Reveal())
		if s.Reveal() != accepted {
			return secrets.ErrRejected
		}
		return nil
	}
	do := func() error { return c.Do(t.Context(), "app#password", consume) }
	is.NoErr(do())
	is.Equal(tried, []string{"2 second", "1 first"})
	is.Equal(recorder.Count(http.MethodGet, "/v1/"+s.data("app")), 3) // Get, Refresh, version 1

	tried = nil
	is.NoErr(do())
	is.Equal(tried, []string{"1 first"}) // the accepted one comes first
	tried, accepted = nil, "second"
	is.NoErr(do())
	is.Equal(tried, []string{"1 first", "2 second"})
	is.Equal(recorder.Count(http.MethodGet, "/v1/"+s.data("app")), 3) // no more reads

	tried, accepted = nil, "zeroth"
	is.True(errors.Is(do(), secrets.ErrRejected))
	is.Equal(tried, []string{"2 second", "1 first"})
}
