package faults_test

import (
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

func TestListJoinsEveryFault(t *testing.T) {
	is := is.New(t)
	own := errors.New("its own")
	l := faults.List{Prefix: "cache: "}
	is.NoErr(l.Err())
	l.Add(nil)
	is.NoErr(l.Err())
	l.Addf("WithSize: %d is not more than 0", -1)
	l.Checkf(true, "never said")
	l.Checkf(false, "WithTTL: a fault")
	l.Add(own)
	is.Equal(l.Err().Error(), "cache: WithSize: -1 is not more than 0\ncache: WithTTL: a fault\nits own")
	is.True(errors.Is(l.Err(), own))
}

// A bare number as a time.Duration is nanoseconds, which is never intended.
func TestCheckDurationFindsForgottenUnits(t *testing.T) {
	for name, tc := range map[string]struct {
		d    time.Duration
		want string // "": accepted
	}{
		"a number of seconds":           {300, "cache: WithTTL: 300ns; did you mean 300*time.Second?"},
		"one":                           {1, "cache: WithTTL: 1ns; did you mean 1*time.Second?"},
		"a day in seconds":              {86_400, "cache: WithTTL: 86.4µs; did you mean 86400*time.Second?"},
		"too long for seconds":          {500 * time.Microsecond, "cache: WithTTL: 500µs is less than 1ms"},
		"just below a millisecond":      {time.Millisecond - 1, "cache: WithTTL: 999.999µs is less than 1ms"},
		"a millisecond":                 {time.Millisecond, ""},
		"an hour":                       {time.Hour, ""},
		"zero, for the option to judge": {0, ""},
		"less than zero, as well":       {-1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			l := faults.List{Prefix: "cache: "}
			l.CheckDuration("WithTTL", tc.d)
			if tc.want == "" {
				is.NoErr(l.Err())
				return
			}
			is.True(l.Err() != nil)
			is.Equal(l.Err().Error(), tc.want)
		})
	}
}

func TestApplyReportsNilOptions(t *testing.T) {
	is := is.New(t)
	var l faults.List
	var applied []int
	option := func(n int) func() { return func() { applied = append(applied, n) } }
	faults.Apply(&l, []func(){option(1), nil, option(3), nil}, func(o func()) { o() })
	is.Equal(applied, []int{1, 3})
	is.Equal(l.Err().Error(), "option 2 is nil\noption 4 is nil")
}

func TestIsNil(t *testing.T) {
	is := is.New(t)
	var (
		pointer  *int
		function func()
		object   map[string]int
		err      error
	)
	for _, v := range []any{nil, pointer, function, object, err, (chan int)(nil), []int(nil)} {
		is.True(faults.IsNil(v))
	}
	for _, v := range []any{0, "", struct{}{}, new(int), func() {}, []int{}} {
		is.True(!faults.IsNil(v))
	}
}
