package secrets_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// benchHandle returns a handle of one of the keys that the reference holds as well.
func benchHandle(b *testing.B) *secrets.Handle {
	b.Helper()
	h, err := benchClient(b, &instant{value: document}).Watch(b.Context(), "database/password-1")
	if err != nil {
		b.Fatal(err)
	}
	return h
}

// compareOne is compare with a raw lru.Cache.Get of one key, among others.
func compareOne(b *testing.B, parallel bool, subject func(i int)) {
	b.Helper()
	keys := slices.Repeat([]string{"database/password-1"}, turn)
	raw := reference(b, ring("database/password-%d"))
	compare(b, parallel, subject, func(i int) {
		if s, ok := raw.Get(keys[i]); !ok || s.IsZero() {
			b.Fail()
		}
	})
}

// BenchmarkHandle is a read of a handle. It also reports the heap bytes of a handle.
func BenchmarkHandle(b *testing.B) {
	modes(b, "Secret", func(b *testing.B, parallel bool) {
		b.Helper()
		h := benchHandle(b)
		compareOne(b, parallel, func(int) {
			if h.Secret().IsZero() {
				b.Fail()
			}
		})
	})
	b.Run("memory", func(b *testing.B) {
		const handles, documents = 1000, 10
		value := `{"user":"app"}`
		backend := secretstest.NewBackend(nil)
		keys := make([]string, documents)
		for i := range keys {
			keys[i] = fmt.Sprintf("service-%d/database", i)
			backend.Set(keys[i], value)
		}
		all := make([]*secrets.Handle, handles)
		for b.Loop() {
			client := benchClient(b, backend)
			clear(all)
			before := heap()
			for i := range all {
				var err error
				if all[i], err = client.Watch(b.Context(), keys[i%documents]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(heap()-before)/handles, "B/handle")
			for _, h := range all {
				_ = h.Close()
			}
		}
		runtime.KeepAlive(all)
	})
}

// BenchmarkLive is a read of a Live, with Load and with Use.
func BenchmarkLive(b *testing.B) {
	derive := func(b *testing.B) *secrets.Live[*login] {
		b.Helper()
		live, err := secrets.Derive(benchHandle(b), func(s secrets.Secret) (*login, error) {
			l, err := loginOf(s)
			return &l, err
		})
		if err != nil {
			b.Fatal(err)
		}
		return live
	}
	modes(b, "Load", func(b *testing.B, parallel bool) {
		b.Helper()
		live := derive(b)
		compareOne(b, parallel, func(int) {
			if live.Load().User == "" {
				b.Fail()
			}
		})
	})
	modes(b, "Use", func(b *testing.B, parallel bool) {
		b.Helper()
		live := derive(b)
		use := func(l *login) error {
			if l.User == "" {
				b.Fail()
			}
			return nil
		}
		compareOne(b, parallel, func(int) {
			if live.Use(use) != nil {
				b.Fail()
			}
		})
	})
}
