package faults_test

import (
	"errors"
	"testing"

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
