package pool_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

// state is an error with a SQLSTATE.
type state string

func (s state) Error() string    { return "state " + string(s) }
func (s state) SQLState() string { return string(s) }

func TestIsRejected(t *testing.T) {
	is := is.New(t)
	client, _ := open(t)
	errMySQL, errOther := errors.New("1045"), errors.New("other")
	c := credential(t, client, pool.WithRejected(func(err error) bool { return errors.Is(err, errMySQL) }),
		pool.WithRejected(func(err error) bool { return err.Error() == "18456" }))
	for _, tc := range []struct {
		err      error
		rejected bool
	}{
		{state("28P01"), true},
		{state("28000"), true},
		{fmt.Errorf("connect: %w", state("28P01")), true},
		{errors.Join(errOther, state("57P03"), fmt.Errorf("host 2: %w", state("28P01"))), true}, // a driver tries several hosts
		{errors.Join(errOther, state("57P03")), false},
		{state("42501"), false}, // a query of a dropped role
		{state("53300"), false}, // too many connections
		{errOther, false},
		{context.Canceled, false},
		{fmt.Errorf("connect: %w", errMySQL), true},
		{errors.New("18456"), true},
	} {
		is.Equal(c.IsRejected(tc.err), tc.rejected) // tc.err
	}
}

// Do tries the next candidate after a refusal, and with Bridge again until the rotation is over.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t)
		rotated := time.AfterFunc(5*time.Second, func() { backend.Set(key, "battery staple") })
		defer rotated.Stop()
		login := func(_ context.Context, s secrets.Secret) error {
			if s.Reveal() != "battery staple" {
				return state("28P01")
			}
			return nil
		}
		is.Equal(credential(t, client).Do(t.Context(), login), state("28P01"))
		is.NoErr(credential(t, client, pool.Bridge(time.Minute)).Do(t.Context(), login))
	})
}

func TestFaults(t *testing.T) {
	is := is.New(t)
	_, err := pool.New("test: ", nil, "#", []pool.Option{
		nil, pool.Grace(0), pool.Grace(5), pool.Bridge(-1), pool.WithRejected(nil),
	}, noFault)
	is.True(err != nil)
	t.Log(err)
	for _, fault := range []string{
		"a nil Client", "option 1 is nil", "Grace: 0s is not more than 0", "Grace: 5ns", "Bridge: -1ns", "WithRejected: a nil function",
	} {
		is.True(contains(err, "test: "+fault))
	}
	var e *secrets.Error
	is.True(errors.As(err, &e)) // the fault of the key
}

func contains(err error, fault string) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return false
	}
	for _, e := range joined.Unwrap() {
		if text := e.Error(); len(text) >= len(fault) && text[:len(fault)] == fault {
			return true
		}
	}
	return false
}
