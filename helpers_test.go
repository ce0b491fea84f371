package secrets_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(crashEnv); mode != "" {
		crash(mode) // this process is the child of TestCrash
		return
	}
	goleak.VerifyTestMain(m)
}

// fake is a backend whose answers a test decides, and which counts what reaches it.
type fake struct {
	name string
	docs map[string]string // what Fetch answers, by path, unless fetch is set

	fetch     func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)
	fetchMany func(ctx context.Context, refs []secrets.Ref) []secrets.Result

	calls   atomic.Int64 // of Fetch and FetchMany from outside
	mu      sync.Mutex
	singles []secrets.Ref
	batches [][]secrets.Ref
}

func (f *fake) Name() string { return f.name }

func (f *fake) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	f.calls.Add(1)
	f.mu.Lock()
	f.singles = append(f.singles, ref)
	f.mu.Unlock()
	return f.answer(ctx, ref)
}

func (f *fake) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	f.calls.Add(1)
	f.mu.Lock()
	f.batches = append(f.batches, append([]secrets.Ref(nil), refs...))
	f.mu.Unlock()
	if f.fetchMany != nil {
		return f.fetchMany(ctx, refs)
	}
	return secrets.FetchEach(ctx, f.answer, refs)
}

func (f *fake) answer(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if f.fetch != nil {
		return f.fetch(ctx, ref)
	}
	if value, ok := f.docs[ref.Path]; ok {
		return secrets.NewSecret(value, secrets.Meta{Version: "v1"}), nil
	}
	return secrets.Secret{}, &secrets.Error{Err: secrets.ErrNotFound}
}

var _ secrets.Backend = (*fake)(nil)

// newFake returns a backend "fake" that holds the pairs of a path and a document.
func newFake(pairs ...string) *fake {
	f := &fake{name: "fake", docs: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		f.docs[pairs[i]] = pairs[i+1]
	}
	return f
}

// failing returns a backend "fake" that answers every ref with f.
func failing(f func(context.Context, secrets.Ref) (secrets.Secret, error)) *fake {
	return &fake{name: "fake", fetch: f}
}

// open builds a Client and closes it at the end of the test.
func open(t testing.TB, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	client, err := secrets.New(backend, opts...)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return client
}

// chain is a small Fallback: it goes on after a not-found.
type chain struct {
	backends []secrets.Backend
	wrap     func([]secrets.Fetcher) secrets.Fetcher
}

func (c *chain) Backends() []secrets.Backend { return c.backends }

func (c *chain) Chain(sources []secrets.Fetcher) secrets.Fetcher {
	if c.wrap != nil {
		return c.wrap(sources)
	}
	return secrets.FetcherFunc(func(ctx context.Context, ref secrets.Ref) (s secrets.Secret, err error) {
		for _, source := range sources {
			if s, err = source.Fetch(ctx, ref); err == nil || secrets.Class(err) != secrets.ErrNotFound {
				break
			}
		}
		return s, err
	})
}

var _ secrets.Fallback = (*chain)(nil)

// text shows s and err for a failed assertion, values included: it is for made-up values only.
func text(s secrets.Secret, err error) string { return fmt.Sprintf("(%q, %v)", s.Reveal(), err) }

// brief cuts a long text for a test's log.
func brief(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
