package vault

import (
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// A lease takes constant time, however many there are: a scan of all leases for each would take minutes here.
func TestALeaseTakesConstantTime(t *testing.T) {
	is := is.New(t)
	const many = 200_000
	var table leases
	began := time.Now()
	for i := range many {
		is.True(table.note(secrets.Ref{Path: fmt.Sprint(i)}, 1, began.Add(time.Hour)))
	}
	is.True(time.Since(began) < 20*time.Second)
	is.Equal(len(table.held), many) // none has expired
}

func TestExpiredLeasesAreRemoved(t *testing.T) {
	is := is.New(t)
	var table leases
	live := time.Now().Add(time.Hour)
	for i := range 3000 {
		table.note(secrets.Ref{Path: fmt.Sprint("live", i)}, 1, live)
	}
	most := 0
	for i := range 100_000 {
		table.note(secrets.Ref{Path: fmt.Sprint("over", i)}, 1, time.Now().Add(-time.Second))
		most = max(most, len(table.held))
	}
	is.True(most < 4*3000)
	for i := range 3000 {
		_, held := table.held[secrets.Ref{Path: fmt.Sprint("live", i)}]
		is.True(held)
	}
}
