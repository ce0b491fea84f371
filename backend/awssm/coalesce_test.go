package awssm_test

import (
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// together gets all names concurrently, each with its own Get.
func together(t *testing.T, b *awssm.Backend, names []string) {
	t.Helper()
	c := client(t, b, middleware.Standard())
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			s, err := c.Get(t.Context(), name)
			if err != nil || s.Reveal() != valueOf(name) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

func TestAHundredGetsWithCoalescing(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 100, awssm.WithCoalescing(100*time.Millisecond))
	together(t, b, names)
	is.True(server.Count("*") <= 10)

	server, names, b = service(t, 100) // the control
	together(t, b, names)
	is.Equal(server.Count("*"), 100)
}

func TestCoalescingWithoutThePermissionForBatches(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 10, awssm.WithCoalescing(100*time.Millisecond))
	server.Deny(getMany)
	together(t, b, names)
	is.True(server.Count(getMany) <= 10)
	batches := server.Count(getMany)
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: names[0]})
	is.NoErr(err)
	is.Equal(server.Count(getMany), batches) // later Gets do not try a batch
}

func TestAThrottledBatchIsReadOneByOne(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 10, awssm.WithCoalescing(100*time.Millisecond))
	server.Fail(getMany, awstest.Fault("ThrottlingException", ""))
	together(t, b, names)
	is.Equal(server.Count(getOne), 10)
}
