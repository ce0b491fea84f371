package cache_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

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
