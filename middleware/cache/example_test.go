package cache_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// All fields of a document are one entry: the first read fetches it, the others are hits.
func Example() {
	calls := 0
	backend := secrets.NewBackend(secrets.Info{Name: "remote"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
		calls++
		return secrets.NewSecret(`{"user":"app","password":"s3cr3t-value"}`, secrets.Meta{}), nil
	})
	memory := cache.New(cache.WithTTL(time.Minute), cache.WithHitCount())
	client, err := secrets.New(backend, secrets.WithCache(memory))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for _, key := range []string{"database#user", "database#password", "database"} {
		if _, err := client.Get(context.Background(), key); err != nil {
			fmt.Println(err)
			return
		}
	}
	stats := memory.Stats()
	fmt.Println("calls:", calls, "hits:", stats.Hits, "misses:", stats.Misses)
	// Output: calls: 1 hits: 2 misses: 1
}

// While the backend is down, values past their TTL are served stale.
func ExampleNew() {
	backend := secretstest.NewBackend(map[string]string{"api/token": "s3cr3t-value"})
	memory := cache.New(cache.WithTTL(time.Millisecond), cache.WithMaxStale(24*time.Hour))
	client, err := secrets.New(backend, secrets.WithCache(memory))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	ctx := context.Background()
	_, err = client.Get(ctx, "api/token")
	fmt.Println(err)

	backend.Fail(secrets.ErrUnavailable)
	token, err := client.Get(ctx, "api/token")
	for err == nil && !token.Meta().Stale { // until the TTL of a millisecond is over
		token, err = client.Get(ctx, "api/token")
	}
	fmt.Println(token.Meta().Stale, err)
	// Output:
	// <nil>
	// true <nil>
}
