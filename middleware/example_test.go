package middleware_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// The recommended layers, with a cache that the program made itself to read its figures.
func ExampleStandard() {
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"s3cr3t"}`})
	memory := cache.New(cache.WithTTL(time.Minute))
	client, err := secrets.New(backend, middleware.Standard(), secrets.WithCache(memory))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for range 3 {
		for _, key := range []string{"database#user", "database#password"} {
			if _, err := client.Get(context.Background(), key); err != nil {
				log.Fatal(err)
			}
		}
	}
	fmt.Println("fetches:", backend.Calls())
	fmt.Println("misses: ", memory.Stats().Misses)
	fmt.Println("entries:", memory.Stats().Entries)
	// Output:
	// fetches: 1
	// misses:  1
	// entries: 1
}
