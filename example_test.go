package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// README.md shows parts of these examples; TestReadme compares them.

// lookup stands for the environment of the process.
func lookup(name string) (string, bool) {
	value, set := map[string]string{
		"SHOP_DATABASE":  `{"user":"app","password":"correct horse"}`,
		"SHOP_API_TOKEN": "battery staple",
	}[name]
	return value, set
}

// mounted makes a directory of secrets, as Docker and Kubernetes mount one at /run/secrets.
func mounted(documents map[string]string) (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "secrets-")
	if err != nil {
		log.Panic(err)
	}
	for name, content := range documents {
		rotate(dir, name, content)
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// rotate renames a complete file into place.
func rotate(dir, name, content string) {
	next := filepath.Join(dir, "next")
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		log.Panic(err)
	}
	if err := os.Rename(next, filepath.Join(dir, name)); err != nil {
		log.Panic(err)
	}
}

// Shop is a service that needs secrets. It gets a Client, and does not depend on a backend.
type Shop struct {
	secrets *secrets.Client
}

func NewShop(client *secrets.Client) *Shop { return &Shop{secrets: client} }

func (s *Shop) Pay(ctx context.Context) error {
	token, err := s.secrets.Get(ctx, "api/token")
	if err != nil {
		return fmt.Errorf("pay: %w", err)
	}
	fmt.Println("paying with", token, "from", token.Meta().Backend)
	return nil
}

// Build a Client in main, and pass it to the code that needs secrets.
func Example() {
	ctx := context.Background()
	client, err := secrets.New(env.New(env.WithPrefix("SHOP_"), env.WithLookup(lookup)))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	shop := NewShop(client)
	if err := shop.Pay(ctx); err != nil {
		log.Panic(err)
	}
	// Output:
	// paying with [REDACTED] from env
}

// Files come first. The environment has the secrets that are not in files.
func ExampleWithFallback() {
	ctx := context.Background()
	dir, remove := mounted(map[string]string{"database": `{"user":"app","password":"correct horse"}`})
	defer remove()

	files, err := file.New(dir)
	if err != nil {
		log.Panic(err)
	}
	client, err := secrets.New(files,
		secrets.WithFallback(fallback.To(env.New(env.WithPrefix("SHOP_"), env.WithLookup(lookup)))),
		middleware.Standard(),
	)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for _, key := range []string{"database#password", "api/token"} {
		secret, err := client.Get(ctx, key)
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(key, "is from", secret.Meta().Backend)
	}

	// The file is there, and has no such field: another source does not fill in for it.
	_, err = client.Get(ctx, "database#port")
	fmt.Println(err)
	// Output:
	// database#password is from file
	// api/token is from env
	// secrets: file: database#port: field not found: the document has no field port; its fields are password, user
}

// With OnNotFound, an outage of the first backend is an error, even if the second one could answer.
func ExampleWithFallback_onNotFound() {
	ctx := context.Background()
	dir, remove := mounted(map[string]string{"token": "correct horse"})
	defer remove()

	files, err := file.New(dir)
	if err != nil {
		log.Panic(err)
	}
	environment := env.New(env.WithPrefix("SHOP_EXAMPLE_"))
	client, err := secrets.New(environment, secrets.WithFallback(fallback.OnNotFound(files)))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	token, err := client.Get(ctx, "token")
	fmt.Println(token.Meta().Backend, err)
	// Output:
	// file <nil>
}

func ExampleClient_GetMany() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"correct horse"}`})
	backend.FailPath("payroll", secrets.ErrPermissionDenied)
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	found, err := client.GetMany(ctx, "database#user", "database#password", "payroll#salary", "coupon")
	fmt.Println(found["database#user"].Reveal(), found["database#password"], found["coupon"].IsZero())
	if failures, ok := errors.AsType[secrets.Errors](err); ok {
		for _, failure := range failures {
			fmt.Println(failure.Key, "-", failure.Err)
		}
	}
	fmt.Println("fetches of the document database:", backend.Fetches("database"))
	// Output:
	// app [REDACTED] true
	// payroll#salary - secrets: permission denied
	// coupon - secrets: not found
	// fetches of the document database: 1
}

func ExampleClient_GetOr() {
	ctx := context.Background()
	backend := secretstest.NewBackend(nil)
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	coupon, err := client.GetOr(ctx, "coupon", "none today")
	fmt.Println(coupon.Reveal(), coupon.Meta().Backend, err)

	backend.Fail(secrets.ErrUnavailable)
	coupon, err = client.GetOr(ctx, "coupon", "none today")
	fmt.Println(coupon.IsZero(), errors.Is(err, secrets.ErrUnavailable))
	// Output:
	// none today default <nil>
	// true true
}

func ExampleClient_Has() {
	ctx := context.Background()
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"database": `{"user":"app","port":null}`}))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for _, key := range []string{"database", "database#user", "database#port", "coupon"} {
		there, err := client.Has(ctx, key)
		fmt.Println(key, there, err)
	}
	// Output:
	// database true <nil>
	// database#user true <nil>
	// database#port false <nil>
	// coupon false <nil>
}

func ExampleClient_Refresh() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	first, err := client.Get(ctx, "api/token")
	if err != nil {
		log.Panic(err)
	}
	backend.Set("api/token", "battery staple") // somebody rotates it

	cached, err := client.Get(ctx, "api/token")
	fmt.Println("Get:    ", cached.Meta().Version, cached.Equal(first), err)
	fresh, err := client.Refresh(ctx, "api/token")
	fmt.Println("Refresh:", fresh.Meta().Version, fresh.Equal(first), err)
	cached, err = client.Get(ctx, "api/token")
	fmt.Println("Get:    ", cached.Meta().Version, cached.Equal(first), err)
	// Output:
	// Get:     1 true <nil>
	// Refresh: 2 false <nil>
	// Get:     2 false <nil>
}

// newMounted returns a client for the files in dir.
func newMounted(dir string) (*secrets.Client, error) {
	files, err := file.New(dir)
	if err != nil {
		return nil, err
	}
	return secrets.New(files, middleware.Standard())
}

// Each call reads the file: a rotation needs no Refresh.
func ExampleClient_Get_rotation() {
	ctx := context.Background()
	dir, remove := mounted(map[string]string{"token": "correct horse\n"})
	defer remove()
	client, err := newMounted(dir)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	before, err := client.Get(ctx, "token")
	if err != nil {
		log.Panic(err)
	}
	rotate(dir, "token", "battery staple\n")
	after, err := client.Get(ctx, "token")
	if err != nil {
		log.Panic(err)
	}
	fmt.Println("changed:", !after.Equal(before), before.Meta().Version != after.Meta().Version)
	// Output:
	// changed: true true
}

// A warm program survives an outage of its backend.
func ExampleMeta() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend, middleware.Standard(
		cache.WithTTL(time.Millisecond),
		cache.WithMaxStale(time.Hour),
	))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()
	if _, err := client.Get(ctx, "api/token"); err != nil {
		log.Panic(err)
	}

	backend.Fail(secrets.ErrUnavailable)
	<-time.After(10 * time.Millisecond)
	token, err := client.Get(ctx, "api/token")
	fmt.Println(token, "stale:", token.Meta().Stale, err)

	_, err = client.Refresh(ctx, "api/token")
	fmt.Println(err)
	// Output:
	// [REDACTED] stale: true <nil>
	// secrets: fake: api/token: unavailable: the test told the fake backend to fail
}

func ExampleError() {
	ctx := context.Background()
	backend := secretstest.NewBackend(nil)
	backend.FailPath("payroll", secrets.ErrPermissionDenied)
	backend.FailPath("database", secrets.ErrUnavailable)
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for _, key := range []string{"payroll", "database", "coupon", "../etc/passwd"} {
		_, err := client.Get(ctx, key)
		switch {
		case err == nil:
			// use the secret
		case errors.Is(err, secrets.ErrNotFound):
			fmt.Println("there is none")
		case errors.Is(err, secrets.ErrUnavailable):
			fmt.Println("try again later")
		default:
			fmt.Println("give up:", err)
		}
	}
	// Output:
	// give up: secrets: fake: payroll: permission denied: the test told the fake backend to fail
	// try again later
	// there is none
	// give up: secrets: ../etc/passwd: invalid key: the path has a segment . or ..
}

func ExampleError_causes() {
	ctx := context.Background()
	first := secretstest.NewBackend(nil, secretstest.WithName("first"))
	second := secretstest.NewBackend(nil, secretstest.WithName("second"))
	first.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "connection refused"})
	client, err := secrets.New(first, secrets.WithFallback(fallback.To(second)))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	_, err = client.Get(ctx, "coupon")
	if failure, ok := errors.AsType[*secrets.Error](err); ok {
		fmt.Println(failure.Backend, failure.Err, failure.Detail)
		for _, cause := range failure.Causes {
			fmt.Println(cause.Backend, cause.Err)
		}
	}
	fmt.Println("not found:", errors.Is(err, secrets.ErrNotFound)) // first may have it
	// Output:
	// first secrets: unavailable connection refused
	// second secrets: not found
	// not found: false
}

func ExampleSecret() {
	password := secrets.NewSecret("correct horse", secrets.Meta{Backend: "example"})

	fmt.Println(password)
	fmt.Printf("%s %q %x %#v\n", password, password, password, password)
	fmt.Printf("%+v\n", struct{ Password secrets.Secret }{password})
	fmt.Println(len(password.Reveal()), len(password.Bytes()), password.Meta().Backend)
	// Output:
	// [REDACTED]
	// [REDACTED] [REDACTED] [REDACTED] [REDACTED]
	// {Password:[REDACTED]}
	// 13 13 example
}

func ExampleSecret_JSON() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","hosts":["a","b"],"port":5432}`})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	document, err := client.Get(ctx, "database")
	if err != nil {
		log.Panic(err)
	}
	var database struct {
		User  string
		Hosts []string
		Port  int
	}
	if err := document.JSON(&database); err != nil {
		log.Panic(err)
	}
	host, err := client.Get(ctx, "database#hosts.1")
	fmt.Println(database.User, database.Port, host.Reveal(), err)
	// Output:
	// app 5432 b <nil>
}

// Standard fills the slots that no other option does.
func ExampleWithCache() {
	ctx := context.Background()
	memory := cache.New(cache.WithTTL(time.Minute), cache.WithHitCount())
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"api/token": "correct horse"}),
		middleware.Standard(),
		secrets.WithCache(memory),
	)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for range 3 {
		if _, err := client.Get(ctx, "api/token"); err != nil {
			log.Panic(err)
		}
	}
	stats := memory.Stats()
	fmt.Println("hits:", stats.Hits, "misses:", stats.Misses, "entries:", stats.Entries)
	// Output:
	// hits: 2 misses: 1 entries: 1
}

func ExampleWithDedup() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend,
		secrets.WithDedup(dedup.New()),
		secrets.WithCache(cache.New()), // so that callers who come late are not a second call
	)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { _, _ = client.Get(ctx, "api/token") })
	}
	wg.Wait()
	fmt.Println("calls:", backend.Calls())
	// Output:
	// calls: 1
}

// A backend whose error quotes a value that it has returned before.
func ExampleWithRedaction() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse battery"})
	client, err := secrets.New(backend, secrets.WithRedaction(redact.New()))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()
	token, err := client.Get(ctx, "api/token") // from now on the layer knows the value
	fmt.Println(token, err)
	backend.Fail(&secrets.Error{Err: secrets.ErrMalformed, Detail: `unexpected reply "correct horse battery"`})
	_, err = client.Get(ctx, "api/token")
	fmt.Println(err)
	// Output:
	// [REDACTED] <nil>
	// secrets: fake: api/token: malformed: unexpected reply "[REDACTED]"
}

// An audit of every call, including cache hits.
func ExampleIntercept() {
	ctx := context.Background()
	audit := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		secret, err := next.Fetch(ctx, ref)
		fmt.Println("audit:", ref, secrets.Class(err))
		return secret, err
	})
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"api/token": "correct horse"}),
		secrets.WithMiddleware(audit),
		middleware.Standard(),
	)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for _, key := range []string{"api/token", "api/token", "coupon"} {
		_, _ = client.Get(ctx, key)
	}
	// Output:
	// audit: api/token <nil>
	// audit: api/token <nil>
	// audit: coupon secrets: not found
}

// newTenants returns a client for each backend. The caller must close them, even if there is an error.
func newTenants(memory *cache.Cache, backends map[string]secrets.Backend) (map[string]*secrets.Client, error) {
	clients := make(map[string]*secrets.Client, len(backends))
	for tenant, backend := range backends {
		client, err := secrets.New(backend, secrets.WithCache(memory), middleware.Standard())
		if err != nil {
			return clients, err
		}
		clients[tenant] = client
	}
	return clients, nil
}

// Each tenant has its own Client, with its own credentials. The Clients may share one cache and its capacity: no tenant
// gets the secrets of another.
func ExampleNew_tenants() {
	ctx := context.Background()
	memory := cache.New(cache.WithSize(10_000))
	clients, err := newTenants(memory, map[string]secrets.Backend{
		"red":  secretstest.NewBackend(map[string]string{"api/token": "the token of red"}),
		"blue": secretstest.NewBackend(map[string]string{"api/token": "the token of blue"}),
	})
	for _, client := range clients {
		defer client.Close()
	}
	if err != nil {
		log.Panic(err)
	}

	red, err := clients["red"].Get(ctx, "api/token")
	if err != nil {
		log.Panic(err)
	}
	blue, err := clients["blue"].Get(ctx, "api/token")
	fmt.Println(red.Equal(blue), memory.Stats().Entries, err)
	// Output:
	// false 2 <nil>
}

// A function that is frozen between calls, as those of AWS Lambda are.
func ExampleNew_lambda() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend, middleware.Standard(
		cache.WithRefreshAhead(0), // a renewal in the background would be frozen half way
		cache.WithTTL(time.Minute),
	))
	if err != nil {
		log.Panic(err)
	}
	// It lives as long as the process: nothing closes it.

	const maxAge = 10 * time.Minute
	handle := func(ctx context.Context) error {
		token, err := client.Get(ctx, "api/token")
		// Round(0) takes the monotonic clock away, which stood still while the function was frozen.
		if err == nil && time.Now().Round(0).Sub(token.Meta().FetchedAt.Round(0)) > maxAge {
			token, err = client.Refresh(ctx, "api/token")
		}
		if err != nil {
			return err
		}
		fmt.Println("called with", token)
		return nil
	}
	if err := handle(ctx); err != nil {
		log.Panic(err)
	}
	// Output:
	// called with [REDACTED]
}
