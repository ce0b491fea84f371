package secrets_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Meter is a layer that counts fetches by class.
type Meter struct {
	mu     sync.Mutex
	counts map[string]int
}

var _ secrets.Middleware = (*Meter)(nil)

func NewMeter() *Meter { return &Meter{counts: make(map[string]int)} }

// Wrap is called once for each place in the client that gets the layer.
func (m *Meter) Wrap(next secrets.Fetcher) secrets.Fetcher {
	return &metered{meter: m, next: next}
}

type metered struct {
	meter *Meter
	next  secrets.Fetcher
}

func (m *metered) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	secret, err := m.next.Fetch(ctx, ref)
	m.meter.count(secrets.Class(err))
	return secret, err
}

func (m *Meter) count(class error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[fmt.Sprint(class)]++
}

// A layer wraps a Fetcher with another. Around a backend, below the cache, it sees only real fetches.
func ExampleMiddleware() {
	meter := NewMeter()
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"api/token": "correct horse"}),
		secrets.WithBackendMiddleware(meter),
		middleware.Standard(),
	)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for _, key := range []string{"api/token", "api/token", "api/token", "coupon"} {
		_, _ = client.Get(context.Background(), key)
	}
	fmt.Println(meter.counts)
	// Output:
	// map[<nil>:1 secrets: not found:1]
}
