package vault_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// alternatesOf returns the versions of the alternates of ref, which are the same secret.
func alternatesOf(t *testing.T, b *vault.Backend, ref secrets.Ref) []string {
	t.Helper()
	versions := []string{}
	alternates := b.Info().Alternates
	if alternates == nil {
		return versions
	}
	for _, other := range alternates(ref) {
		versions = append(versions, other.Version)
		other.Version = ref.Version
		is.New(t).Equal(other, ref)
	}
	return versions
}

func TestAlternates(t *testing.T) {
	f := newFake(t)
	f.vault.Mount("old", 1)
	f.put("app", `{"a":"b"}`)
	f.vault.Put("old/app", `{"a":"b"}`)
	found := func(b *vault.Backend) *vault.Backend {
		t.Helper()
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.New(t).NoErr(err)
		return b
	}
	two := map[string]*vault.Backend{
		"set to version 2":   f.backend(t, vault.WithKVVersion(2)),
		"detected version 2": found(f.backend(t)),
		"not detected":       f.backend(t), // versions of KV version 1 have another format
	}
	none := map[string]*vault.Backend{
		"set to version 1":   f.backend(t, vault.WithMount("old"), vault.WithKVVersion(1)),
		"detected version 1": found(f.backend(t, vault.WithMount("old"))),
		"dynamic secrets":    f.backend(t, vault.WithDynamicSecrets()),
	}
	for version, want := range map[string][]string{
		"2":          {"1"},
		"3":          {"2"},
		"10":         {"9"},
		"4294967295": {"4294967294"}, // the highest valid version

		"":                     {},
		"1":                    {},
		"0":                    {},
		"-2":                   {},
		"+2":                   {},
		"02":                   {},
		"2.0":                  {},
		"1_0":                  {},
		"0x2":                  {},
		"2x":                   {},
		"٢":                    {},
		"latest":               {},
		"4294967296":           {},
		"18446744073709551617": {},
		"8f14e45fceea167a":     {}, // a fingerprint, as for KV version 1
		"1234567890123456":     {},
	} {
		for _, ref := range []secrets.Ref{{Path: "app"}, {Path: "team/app"}, {Path: "app", Field: "a"}, {Path: "app", Whole: true}} {
			is := is.New(t)
			ref.Version = version
			for _, b := range two {
				is.Equal(alternatesOf(t, b, ref), want) // of the version
			}
			for _, b := range none {
				is.Equal(alternatesOf(t, b, ref), []string{})
			}
		}
	}
}

// The alternate of a refused version is the version before it.
func TestAlternatesAreRead(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"password":"first"}`)
	f.put("app", `{"password":"second"}`)
	b := f.backend(t)
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.NoErr(err)
	is.Equal(s.Reveal(), `{"password":"second"}`)
	versions := alternatesOf(t, b, secrets.Ref{Path: "app", Version: s.Meta().Version})
	is.Equal(versions, []string{"1"})
	s, err = b.Fetch(t.Context(), secrets.Ref{Path: "app", Version: versions[0]})
	is.NoErr(err)
	is.Equal(s.Reveal(), `{"password":"first"}`)
	is.Equal(alternatesOf(t, b, secrets.Ref{Path: "app", Version: s.Meta().Version}), []string{})
}

// A mount that is upgraded to version 2 has alternates from then on.
func TestAnUpgradedMountHasAlternates(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.version(1)
	f.put("app", `{"a":"b"}`)
	b := f.backend(t)
	ref := secrets.Ref{Path: "app"}
	s, err := b.Fetch(t.Context(), ref)
	is.NoErr(err)
	ref.Version = s.Meta().Version
	is.Equal(alternatesOf(t, b, ref), []string{})

	f.version(2)
	f.put("app", `{"a":"c"}`)
	f.put("app", `{"a":"d"}`)
	ref.Version = ""
	s, err = b.Fetch(t.Context(), ref)
	is.NoErr(err)
	ref.Version = s.Meta().Version
	is.Equal(len(alternatesOf(t, b, ref)), 1)
}

// Alternates returns at once and makes no request, even while the detection of the mount hangs.
func TestAlternatesDoNotBlock(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"a":"b"}`)
	received, goOn := make(chan struct{}), make(chan struct{})
	answer := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(answer)
	f.handle("sys/internal/ui/mounts/secret", func(w http.ResponseWriter, _ *http.Request) {
		close(received)
		<-goOn
		respond(w, http.StatusForbidden, bodyDenied)
	})
	b := f.backend(t)
	done := make(chan error, 1)
	go func() {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		done <- err
	}()
	<-received
	f.seen()
	is.Equal(alternatesOf(t, b, secrets.Ref{Path: "app", Version: "2"}), []string{"1"})
	is.Equal(len(f.seen()), 0)
	answer()
	is.NoErr(<-done)
}
