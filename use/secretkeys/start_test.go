package secretkeys_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// A starting process does what the others do: the new key signs ActivateAfter, a minute, after its creation.
func TestStartAfterARotation(t *testing.T) {
	for _, age := range []time.Duration{0, time.Second, 59 * time.Second} {
		t.Run(age.String()+" ago", func(t *testing.T) {
			inBubble(t, func(t *testing.T, backend *shared, _ *secretkeys.Keys) {
				is := is.New(t)
				after(time.Hour)
				backend.Set("signing", "key 2")
				after(age)
				keys := keysOf(t, backend)
				is.Equal(active(t, keys), "1")
				is.Equal(known(t, keys), "12")
				after(time.Minute - age - time.Millisecond)
				is.Equal(active(t, keys), "1")
				after(time.Millisecond)
				is.Equal(active(t, keys), "2")
				after(24*time.Hour - time.Second)
				is.Equal(known(t, keys), "12")
				after(time.Second)
				is.Equal(known(t, keys), "2")
				is.NoErr(keys.Err())
			})
		})
	}
	t.Run("more than ActivateAfter ago", func(t *testing.T) {
		inBubble(t, func(t *testing.T, backend *shared, _ *secretkeys.Keys) {
			is := is.New(t)
			after(time.Hour)
			backend.Set("signing", "key 2")
			after(time.Hour)
			keys := keysOf(t, backend)
			is.Equal(active(t, keys), "2")
			is.Equal(known(t, keys), "12")
			after(23 * time.Hour)
			is.Equal(known(t, keys), "12")
			after(2 * time.Minute)
			is.Equal(known(t, keys), "2")
		})
	})
	t.Run("more than Overlap ago", func(t *testing.T) {
		inBubble(t, func(t *testing.T, backend *shared, _ *secretkeys.Keys) {
			backend.Set("signing", "key 2")
			after(25 * time.Hour)
			is.New(t).Equal(known(t, keysOf(t, backend)), "2") // the other one may have leaked long ago
		})
	})
	t.Run("and another one while the old key still signs", func(t *testing.T) {
		inBubble(t, func(t *testing.T, backend *shared, _ *secretkeys.Keys) {
			is := is.New(t)
			backend.Set("signing", "key 2")
			keys := keysOf(t, backend)
			backend.Set("signing", "key 3")
			after(seen)
			is.Equal(active(t, keys), "1")
			is.Equal(known(t, keys), "123")
			after(30 * time.Second)
			is.Equal(active(t, keys), "2")
			after(time.Minute)
			is.Equal(active(t, keys), "3")
		})
	})
}

func TestFirstKeySignsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *shared, keys *secretkeys.Keys) {
		is.New(t).Equal(active(t, keys), "1")
	})
}

// version is a version of a backend that names its versions like AWS.
type version struct {
	id  string
	age time.Duration
}

// ages returns a backend with the versions of these stages; one without an id is missing.
func ages(current, pending, previous version) secrets.Backend {
	began := time.Now()
	info := secrets.Info{Name: "own", Alternates: func(ref secrets.Ref) []secrets.Ref {
		return []secrets.Ref{{Path: ref.Path, Version: "AWSPENDING"}, {Path: ref.Path, Version: "AWSPREVIOUS"}}
	}}
	return secrets.NewBackend(info, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		v := map[string]version{"": current, "AWSPENDING": pending, "AWSPREVIOUS": previous}[ref.Version]
		if v.id == "" {
			return secrets.Secret{}, secrets.ErrNotFound
		}
		return secrets.NewSecret("key "+v.id, secrets.Meta{Version: v.id, CreatedAt: began.Add(-v.age)}), nil
	})
}

func TestVersionThatSignsAtTheStart(t *testing.T) {
	const second, hour, year = time.Second, time.Hour, 365 * 24 * time.Hour
	const day, minute = 24 * hour, time.Minute
	var none version
	for name, tc := range map[string]struct {
		current, pending, previous version

		first       string        // signs at the start
		until       time.Duration // 0: forever
		then        string
		oneVerifies time.Duration // how long version 1 verifies, if it is not the current one
	}{
		"the one before the current one": {version{"2", second}, none, version{"1", hour}, "1", 59 * second, "2", day + 59*second},
		"not a pending one":              {version{"2", hour}, version{"3", second}, none, "2", 0, "", 0},
		"nor while the current is young": {version{"2", 2 * second}, version{"3", second}, none, "2", 0, "", 0},
		"the one before, not the pending": {
			version{"2", 2 * second}, version{"3", second}, version{"1", hour}, "1", 58 * second, "2", day + 58*second,
		},
		"not a pending one left from a failed rotation": {
			version{"3", second}, version{"2", hour}, version{"1", 2 * hour}, "1", 59 * second, "3", day + 59*second,
		},
		"the current one after a rollback": {version{"1", hour}, none, version{"2", second}, "1", 0, "", 0},
		"the current one after a rollback, not the pending": {
			version{"1", second}, version{"3", hour}, version{"2", 0}, "1", 0, "", 0,
		},
		"by a clock that is ahead":     {version{"2", -hour}, none, version{"1", hour}, "1", minute, "2", day + minute},
		"by a clock that is far ahead": {version{"2", -290 * year}, none, version{"1", -200 * year}, "1", minute, "2", day + minute},
		"the current one, of long ago": {version{"2", 280 * year}, none, version{"1", 290 * year}, "2", 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				keys := keysOf(t, ages(tc.current, tc.pending, tc.previous))
				is.Equal(active(t, keys), tc.first)
				for _, v := range []version{tc.current, tc.pending, tc.previous} {
					_, ok := keys.ByID(v.id)
					is.Equal(ok, v != none && (v.id != "1" || tc.current.id == "1" || tc.oneVerifies > 0))
				}
				if tc.until > 0 {
					after(tc.until - time.Millisecond)
					is.Equal(active(t, keys), tc.first)
					after(time.Millisecond)
					is.Equal(active(t, keys), tc.then)
				}
				if tc.oneVerifies > 0 {
					after(tc.oneVerifies - tc.until - time.Millisecond)
					_, ok := keys.ByID("1")
					is.True(ok)
					after(time.Millisecond)
					_, ok = keys.ByID("1")
					is.True(!ok)
				}
			})
		})
	}
}

// If the version before the current one cannot be fetched, the other processes may sign with it: the process must not start without it.
func TestOpenFailsWithoutTheVersionBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, _ *secretkeys.Keys) {
		is := is.New(t)
		after(time.Hour)
		backend.Set("signing", "key 2")
		failure := secrets.ErrUnavailable
		backend.OnCall(func(_ context.Context, refs []secrets.Ref) error {
			if refs[0].Version == "" {
				return nil
			}
			return failure
		})
		_, err := secretkeys.Open(t.Context(), open(t, backend), "signing")
		is.True(errors.Is(err, secrets.ErrUnavailable))
		failure = nil
		keys := keysOf(t, backend)
		is.Equal(active(t, keys), "1")
		is.Equal(known(t, keys), "12")
		failure = secrets.ErrDeleted // its key has leaked
		keys = keysOf(t, backend)
		is.Equal(active(t, keys), "2")
		is.Equal(known(t, keys), "2")
	})
}

// Writing the same value again still creates another id.
func TestVersionWithTheSameValue(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		after(time.Hour)
		backend.Set("signing", "key 1")
		late := keysOf(t, backend)
		after(seen)
		for _, keys := range []*secretkeys.Keys{keys, late} {
			id, _ := keys.Active()
			is.Equal(id, "1")
			for _, id := range []string{"1", "2"} {
				key, ok := keys.ByID(id)
				is.True(ok)
				is.Equal(key.Reveal(), "key 1")
			}
		}
		after(time.Minute)
		for _, keys := range []*secretkeys.Keys{keys, late} {
			id, _ := keys.Active()
			is.Equal(id, "2")
			_, ok := keys.ByID("1")
			is.True(ok)
		}
	})
}

// If the backend does not report creation times, the current version signs at once, and the one before it verifies from then on.
func TestStartWithoutCreationTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &silent{newShared()}
		backend.Set("signing", "key 2")
		keys := keysOf(t, backend)
		is.Equal(active(t, keys), "2")
		is.Equal(known(t, keys), "12")
		after(24 * time.Hour)
		is.Equal(known(t, keys), "12")
		after(time.Minute)
		is.Equal(known(t, keys), "2")
	})
	t.Run("by stages", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := &shared{secretstest.NewBackend(map[string]string{"signing": "key 1"}), []string{"8", "7", "missing"}}
			backend.SetVersion("signing", "8", "key 8")
			keys := keysOf(t, backend)
			is.Equal(active(t, keys), "1")
			is.Equal(known(t, keys), "18")
		})
	})
}
