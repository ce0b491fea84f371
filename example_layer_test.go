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

// Meter is a layer that counts fetches by backend and class.
type Meter struct {
	mu     sync.Mutex
	counts map[string]int
}

var _ secrets.Middleware = (*Meter)(nil)

func NewMeter() *Meter { return &Meter{counts: make(map[string]int)} }

// Wrap is called once for each place where the layer stands. A layer around a backend can ask next for its name.
func (m *Meter) Wrap(next secrets.Fetcher) secrets.Fetcher {
	name := "client"
	if n, ok := next.(interface{ Name() string }); ok {
		name = n.Name()
	}
	return &metered{meter: m, next: next, name: name}
}

type metered struct {
	meter *Meter
	next  secrets.Fetcher
	name  string
}

func (m *metered) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	secret, err := m.next.Fetch(ctx, ref)
	m.count(err)
	return secret, err
}

// FetchMany passes the batch on as it is: a layer that split it would turn one call of the backend into many.
func (m *metered) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := m.next.FetchMany(ctx, refs)
	for _, r := range results {
		m.count(r.Err)
	}
	return results
}

func (m *metered) count(err error) {
	m.meter.mu.Lock()
	defer m.meter.mu.Unlock()
	m.meter.counts[fmt.Sprintf("%s %v", m.name, secrets.Class(err))]++
}

// A layer wraps a Fetcher with another. Around a backend, below the cache, it sees real fetches only.
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
	// map[fake <nil>:1 fake secrets: not found:1]
}
