package secretkeys_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// A process that starts does what the others do: the new key signs ActivateAfter, a minute, after its creation.
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
	t.Run("and another one while the old key signs still", func(t *testing.T) {
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

// ages is a backend with versions that are so old, of which one is current. All others are worth a try.
func ages(current string, of map[string]time.Duration) secrets.Backend {
	began := time.Now()
	info := secrets.Info{Name: "own", Alternates: func(ref secrets.Ref) (refs []secrets.Ref) {
		for n := range 9 {
			if _, ok := of[strconv.Itoa(n)]; ok {
				refs = append(refs, secrets.Ref{Path: ref.Path, Version: strconv.Itoa(n)})
			}
		}
		return refs
	}}
	return secrets.NewBackend(info, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Version == "" {
			ref.Version = current
		}
		return secrets.NewSecret("key "+ref.Version, secrets.Meta{Version: ref.Version, CreatedAt: began.Add(-of[ref.Version])}), nil
	})
}

func TestVersionThatSignsAtTheStart(t *testing.T) {
	const second, hour, year = time.Second, time.Hour, 365 * 24 * time.Hour
	const day, minute = 24 * hour, time.Minute
	type of = map[string]time.Duration
	for name, tc := range map[string]struct {
		current     string
		ages        of
		first       string        // it signs at the start
		until       time.Duration // or 0: for ever
		then        string
		oneVerifies time.Duration // for so long version 1 does, if it is not the current one
	}{
		"the one before the current one":   {"2", of{"1": hour, "2": second}, "1", 59 * second, "2", day + 59*second},
		"the newest one before it":         {"3", of{"1": 2 * hour, "2": hour, "3": second}, "2", 59 * second, "3", day + 59*second},
		"not a pending one":                {"2", of{"2": hour, "3": second}, "2", 0, "", 0},
		"nor while the current is young":   {"2", of{"2": 2 * second, "3": second}, "2", 0, "", 0},
		"the one before, not the pending":  {"2", of{"1": hour, "2": 2 * second, "3": second}, "1", 58 * second, "2", day + 58*second},
		"the current one after a rollback": {"1", of{"1": hour, "2": second}, "1", 0, "", 0},
		"by a clock that is ahead":         {"2", of{"1": hour, "2": -hour}, "1", minute, "2", day + minute},
		"by a clock that is far ahead":     {"2", of{"1": -200 * year, "2": -290 * year}, "1", minute, "2", day + minute},
		"the current one, of long ago":     {"2", of{"1": 290 * year, "2": 280 * year}, "2", 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				keys := keysOf(t, ages(tc.current, tc.ages))
				is.Equal(active(t, keys), tc.first)
				for version := range tc.ages {
					_, ok := keys.ByID(version)
					is.Equal(ok, version != "1" || tc.current == "1" || tc.oneVerifies > 0)
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

// Where the backend does not say when it was created, the current version signs at once, and what was before it verifies from then on.
func TestStartWhereNobodySaysWhenAVersionWasCreated(t *testing.T) {
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
