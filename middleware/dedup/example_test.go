package dedup_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

// A hundred concurrent callers share one fetch, or a few if some of them start late.
func ExampleNew() {
	var calls atomic.Int64
	backend := secrets.NewBackend(secrets.Info{Name: "slow"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
		calls.Add(1)
		<-time.After(100 * time.Millisecond)
		return secrets.NewSecret("s3cr3t-value", secrets.Meta{}), nil
	})
	client, err := secrets.New(backend, secrets.WithDedup(dedup.New()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := client.Get(context.Background(), "database"); err != nil {
				fmt.Println(err)
			}
		})
	}
	wg.Wait()
	fmt.Println("fewer calls than callers:", calls.Load() < 100)
	// Output: fewer calls than callers: true
}
