package secretkeys_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// pending returns keys; with two, a second version does not sign yet.
func pending(tb testing.TB, two bool) *secretkeys.Keys {
	tb.Helper()
	is := is.New(tb)
	backend := newShared()
	client := open(tb, backend)
	keys, err := secretkeys.Open(tb.Context(), client, "signing", secretkeys.ActivateAfter(time.Hour))
	is.NoErr(err)
	tb.Cleanup(func() { is.NoErr(keys.Close()) })
	if two {
		backend.Set("signing", "key 2")
		_, err = client.Refresh(tb.Context(), "signing")
		is.NoErr(err)
		for ok := false; !ok; _, ok = keys.ByID("2") { //nolint:revive // it waits for the Live
		}
	}
	return keys
}

func TestReadsAllocateNothing(t *testing.T) {
	for _, two := range []bool{false, true} {
		keys := pending(t, two)
		is.New(t).Equal(testing.AllocsPerRun(100, func() {
			keys.Active()
			keys.ByID("1")
			keys.ByID("absent")
		}), 0.0)
	}
}

func BenchmarkActive(b *testing.B) {
	for name, two := range map[string]bool{"one": false, "pending": true} {
		b.Run(name, func(b *testing.B) {
			keys := pending(b, two)
			b.ReportAllocs()
			for b.Loop() {
				keys.Active()
			}
		})
	}
}

func BenchmarkByID(b *testing.B) {
	for name, id := range map[string]string{"current": "2", "replaced": "1", "unknown": "absent"} {
		b.Run(name, func(b *testing.B) {
			keys := pending(b, true)
			b.ReportAllocs()
			for b.Loop() {
				keys.ByID(id)
			}
		})
	}
}
