package awssm_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

const (
	getOne  = "GetSecretValue"
	getMany = "BatchGetSecretValue"
)

// service returns a server with n secrets, their names, and a backend for it.
func service(t testing.TB, n int, opts ...awssm.Option) (server *awstest.Server, names []string, b *awssm.Backend) {
	t.Helper()
	server = awstest.NewServer(t)
	for i := range n {
		name := fmt.Sprintf("prod/key-%d", i)
		server.Put(name, valueOf(name))
		names = append(names, name)
	}
	return server, names, of(t, server, opts...)
}

func valueOf(name string) string { return "value of " + name }

// of returns a backend that uses server.
func of(t testing.TB, server *awstest.Server, opts ...awssm.Option) *awssm.Backend {
	t.Helper()
	cfg := config()
	cfg.Region = server.Region()
	cfg.Credentials = keys(server)
	return backend(t, server.URL(), append([]awssm.Option{awssm.WithConfig(cfg)}, opts...)...)
}

// keys returns a provider of the credentials that server accepts.
func keys(server *awstest.Server) aws.CredentialsProviderFunc {
	return func(context.Context) (aws.Credentials, error) {
		c := server.Credentials()
		return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
	}
}

// still runs f in a bubble whose clock stands still, because network I/O keeps synctest from advancing it. A batch waits at most 20 ms for
// more refs; here, a slow machine cannot cut that short.
func still(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// getAll gets names with one GetMany of a client without layers and returns the result of each.
func getAll(t testing.TB, b secrets.Backend, names ...string) []secrets.Result {
	t.Helper()
	found, err := client(t, b).GetMany(t.Context(), names...)
	var errs secrets.Errors
	if err != nil && !errors.As(err, &errs) {
		t.Fatalf("not the errors of keys: %v", err)
	}
	results := make([]secrets.Result, len(names))
	for i, name := range names {
		results[i].Secret = found[name]
		if k := slices.IndexFunc(errs, func(e *secrets.Error) bool { return e.Key == name }); k >= 0 {
			results[i].Err = errs[k]
		}
	}
	return results
}

// Failed calls are retried although the clock stands still: the pause is 0.
func TestCallsAreRetriedWhileTheClockStandsStill(t *testing.T) {
	still(t, func(t *testing.T) {
		is := is.New(t)
		server, names, b := service(t, 3)
		server.FailNext(1, "*", awstest.Fault("InternalServiceError", ""))
		for i, r := range getAll(t, b, names...) {
			is.NoErr(r.Err)
			is.Equal(r.Secret.Reveal(), valueOf(names[i]))
		}
		is.Equal(server.Count("BatchGetSecretValue"), 2)
	})
}

func TestBatchesOfAllSizes(t *testing.T) {
	for n, want := range map[int]struct{ batches, single int }{
		0: {0, 0}, 1: {0, 1}, 2: {0, 2}, 3: {1, 0}, 19: {1, 0}, 20: {1, 0}, 21: {1, 1}, 22: {1, 2}, 23: {2, 0}, 40: {2, 0}, 41: {2, 1},
		100: {5, 0}, 101: {5, 1},
		400: {20, 0}, // not all are fetched at the same time
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			still(t, func(t *testing.T) {
				is := is.New(t)
				server, names, b := service(t, n)
				for i, r := range getAll(t, b, names...) {
					is.NoErr(r.Err)
					is.Equal(r.Secret.Reveal(), valueOf(names[i]))
					is.True(r.Secret.Meta().Version != "")
				}
				is.Equal(server.Count(getMany), want.batches)
				is.Equal(server.Count(getOne), want.single)
				for _, call := range server.Calls() {
					is.True(len(call.IDs) <= 20)
				}
			})
		})
	}
}

func TestAHundredColdKeysAreFiveCalls(t *testing.T) {
	still(t, func(t *testing.T) {
		is := is.New(t)
		server, names, b := service(t, 100)
		c := client(t, b, middleware.Standard())
		for range 2 { // the second time from the cache
			found, err := c.GetMany(t.Context(), names...)
			is.NoErr(err)
			is.Equal(len(found), 100)
			is.Equal(server.Count("*"), 5)
		}
	})
}

func TestFieldsOfOneSecretAreOneCall(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	server.Put("db", `{"user":"app","password":"p1"}`)
	c := client(t, of(t, server), middleware.Standard())
	for key, want := range map[string]string{"db#user": "app", "db#password": "p1"} {
		s, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
	}
	is.Equal(server.Count("*"), 1)
	_, err := c.Get(t.Context(), "db#missing")
	is.True(errors.Is(err, secrets.ErrFieldNotFound))
}

// TestOneSecretByAllItsNames reads one secret by name, ARN and partial ARN, twice each.
func TestOneSecretByAllItsNames(t *testing.T) {
	still(t, func(t *testing.T) {
		is := is.New(t)
		server, _, b := service(t, 3)
		arn := server.ARN("prod/key-0")
		partial := arn[:len(arn)-len("-AbCdEf")]
		names := []string{"prod/key-0", arn, partial, "prod/key-0", arn, partial, "prod/key-1", "prod/key-2"}
		for i, r := range getAll(t, b, names...) {
			is.NoErr(r.Err)
			want := valueOf("prod/key-0")
			if i >= 6 {
				want = valueOf(names[i])
			}
			is.Equal(r.Secret.Reveal(), want)
		}
		is.Equal(server.Count(getMany), 1)
		is.Equal(server.Count(getOne), 1) // the name: a secret of another account could have it too
	})
}

func TestEachSecretOfABatchFailsAlone(t *testing.T) {
	is := is.New(t)
	server, _, b := service(t, 20)
	server.Deny(getOne, "prod/key-1")
	server.Delete("prod/key-2")
	server.Create("prod/empty")
	server.Fail(getOne, awstest.Fault("DecryptionFailure", ""), "prod/key-3")
	server.Fail(getOne, awstest.Fault("InternalServiceError", ""), "prod/key-4")
	server.PutBinary("prod/binary", []byte{0, 0xff, '\n'})
	missing := server.ARN("prod/key-5")
	missing = missing[:len(missing)-len("key-5-AbCdEf")] + "key-x-AbCdEf"
	for name, want := range map[string]error{
		"prod/key-0": nil, "prod/key-1": secrets.ErrPermissionDenied, "prod/key-2": secrets.ErrDeleted, "prod/empty": secrets.ErrNotFound,
		"prod/key-3": secrets.ErrPermissionDenied, "prod/key-4": secrets.ErrUnavailable, "prod/missing": secrets.ErrNotFound,
		"prod/binary": nil, "a b": secrets.ErrInvalidKey, missing: secrets.ErrNotFound,
	} {
		results := b.Call(t.Context(), "prod/key-10", name, "prod/key-11", "prod/key-12")
		_, single := b.Fetch(t.Context(), secrets.Ref{Path: name})
		is.Equal(secrets.Class(results[1].Err), want) // name
		is.Equal(secrets.Class(single), want)         // the same class as a single read
		for i, n := range map[int]string{0: "prod/key-10", 2: "prod/key-11", 3: "prod/key-12"} {
			is.NoErr(results[i].Err)
			is.Equal(results[i].Secret.Reveal(), valueOf(n))
		}
	}
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "prod/binary"})
	is.NoErr(err)
	is.Equal(s.Bytes(), []byte{0, 0xff, '\n'})
}

// Many policies lack the permission for batches.
func TestADeniedBatchIsReadOneByOne(t *testing.T) {
	still(t, func(t *testing.T) {
		is := is.New(t)
		server, names, b := service(t, 30)
		server.Deny(getMany)
		for i, r := range getAll(t, b, names...) {
			is.NoErr(r.Err)
			is.Equal(r.Secret.Reveal(), valueOf(names[i]))
		}
		refused := server.Count(getMany)
		is.True(refused >= 1 && refused <= 2)
		is.Equal(server.Count(getOne), 30)
		getAll(t, b, names...)
		is.Equal(server.Count(getMany), refused) // the denial is remembered
		is.Equal(server.Count(getOne), 60)

		_, names, b = service(t, 3, awssm.WithoutBatch())
		for _, r := range getAll(t, b, names...) {
			is.NoErr(r.Err)
		}
	})
}

// A denial in one region does not stop batches in others. A refusal by a proxy is not remembered.
func TestADeniedBatchCountsForItsRegion(t *testing.T) {
	still(t, func(t *testing.T) {
		is := is.New(t)
		server, names, b := service(t, 3)
		elsewhere := server.In("eu-west-1")
		var arns []string
		for _, name := range []string{"a", "b", "c"} {
			elsewhere.Put(name, valueOf(name))
			arns = append(arns, elsewhere.ARN(name))
		}
		server.Handle(func(r *awstest.Request) *awstest.Response {
			if r.Operation != getMany || r.Region != "eu-west-1" {
				return nil
			}
			return awstest.Fault("AccessDeniedException", "")
		})
		server.FailNext(1, getMany, awstest.HTML(403))
		for _, want := range []struct{ batches, single int }{{2, 6}, {1, 3}, {1, 3}} {
			server.ResetCalls()
			for _, r := range getAll(t, b, append(names, arns...)...) {
				is.NoErr(r.Err)
			}
			is.Equal(server.Count(getMany), want.batches)
			is.Equal(server.Count(getOne), want.single)
		}
	})
}

func TestWithoutBatchMakesNone(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 30, awssm.WithoutBatch(), awssm.WithCoalescing(time.Second))
	getAll(t, b, names...)
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: names[0]})
	is.NoErr(err)
	is.Equal(server.Count(getMany), 0)
	is.Equal(server.Count(getOne), 31)
}

// If a whole batch fails, its secrets fail too, or are read one by one.
func TestAFailedBatch(t *testing.T) {
	for name, c := range map[string]struct {
		answer *awstest.Response
		class  error // nil if they are read one by one
	}{
		"throttled":            {awstest.Fault("ThrottlingException", ""), nil},
		"one bad id":           {awstest.Fault("InvalidParameterException", ""), nil},
		"an unknown operation": {awstest.Fault("UnknownOperationException", ""), nil},
		"an odd answer":        {&awstest.Response{Body: "{}"}, nil},
		"no answer":            {&awstest.Response{}, nil},
		"cut short": {(&awstest.Response{Body: `{"SecretValues":[{"Name":"prod/key-0","SecretString":"x"}]}`}).Truncated(),
			secrets.ErrUnavailable},
		"html":           {awstest.HTML(200), nil},
		"internal":       {awstest.Fault("InternalServiceError", ""), secrets.ErrUnavailable},
		"a proxy":        {awstest.HTML(502), secrets.ErrUnavailable},
		"reset":          {&awstest.Response{Reset: true}, secrets.ErrUnavailable},
		"expired":        {awstest.Fault("ExpiredTokenException", ""), secrets.ErrUnauthenticated},
		"unknown client": {awstest.Fault("UnrecognizedClientException", ""), secrets.ErrUnauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some calls are retried
			is := is.New(t)
			server, names, b := service(t, 5)
			server.Fail(getMany, c.answer)
			for i, r := range b.Call(t.Context(), names...) {
				is.Equal(secrets.Class(r.Err), c.class)
				if c.class == nil {
					is.Equal(r.Secret.Reveal(), valueOf(names[i]))
				}
			}
			if c.class != nil {
				is.Equal(server.Count(getOne), 0) // no more calls to a failing service
			}
			server.Recover()
			b.Call(t.Context(), names...)
			calls := server.Calls()
			is.Equal(calls[len(calls)-1].Operation, getMany) // no failure is remembered
		})
	}
}

func TestPages(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 20)
	server.SetPages(7, 0, 0, 5, 8)
	for i, r := range b.Call(t.Context(), names...) {
		is.NoErr(r.Err)
		is.Equal(r.Secret.Reveal(), valueOf(names[i]))
	}
	is.Equal(server.Count(getMany), 5)
	is.Equal(server.Count(getOne), 0)
}

func TestARepeatedTokenEndsTheBatch(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 20)
	server.SetPages(7)
	server.RepeatToken(true)
	for i, r := range b.Call(t.Context(), names...) {
		is.NoErr(r.Err)
		is.Equal(r.Secret.Reveal(), valueOf(names[i]))
	}
	is.True(server.Count(getMany) <= 3)
	is.True(server.Count(getOne) > 0) // the rest is read one by one
}

func TestVersionsAreReadOneByOne(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	first := server.Put("db", "one")
	second := server.Put("db", "two")
	server.PutVersion("db", "three", "AWSPENDING")
	c := client(t, of(t, server))
	keys := map[string]string{
		"db": "two", "db?version=AWSCURRENT": "two", "db?version=AWSPREVIOUS": "one", "db?version=AWSPENDING": "three",
		"db?version=" + first: "one", "db?version=" + second: "two",
	}
	found, err := c.GetMany(t.Context(), slices.Collect(mapKeys(keys))...)
	is.NoErr(err)
	for key, want := range keys {
		is.Equal(found[key].Reveal(), want)
	}
	is.Equal(server.Count(getMany), 0)
	is.Equal(found["db"].Meta().Version, second)
	for _, version := range []string{"AWSPREVIOUSLY", "12345678-1234-1234-1234-123456789abc"} {
		_, err := c.Get(t.Context(), "db?version="+version)
		is.True(errors.Is(err, secrets.ErrNotFound))
	}
}

func TestCreatedAt(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	c := client(t, of(t, server), middleware.Standard())
	began := time.Now().Truncate(time.Millisecond) // the precision of the service
	server.Put("db", "one")
	between := time.Now()
	server.Put("db", "two")
	server.Put("other", "three")
	server.Put("third", "three")
	ended := time.Now()
	isWithin := func(s secrets.Secret, from, to time.Time) {
		t.Helper()
		at := s.Meta().CreatedAt
		is.True(!at.Before(from) && !at.After(to))
	}
	one, err := c.Get(t.Context(), "db?version=AWSPREVIOUS")
	is.NoErr(err)
	isWithin(one, began, between)
	found, err := c.GetMany(t.Context(), "db", "other", "third")
	is.NoErr(err)
	is.Equal(server.Count(getMany), 1)
	for _, s := range found {
		isWithin(s, between.Truncate(time.Millisecond), ended)
	}
	server.Put("db", "four")
	cached, err := c.Get(t.Context(), "db")
	is.NoErr(err)
	is.Equal(cached.Reveal(), "two") // the control: it is cached
	is.Equal(cached.Meta().CreatedAt, found["db"].Meta().CreatedAt)

	server.Handle(func(*awstest.Request) *awstest.Response {
		return &awstest.Response{Body: `{"Name":"db","VersionId":"v","SecretString":"five"}`}
	})
	without, err := c.Refresh(t.Context(), "db")
	is.NoErr(err)
	is.Equal(without.Reveal(), "five")
	is.True(without.Meta().CreatedAt.IsZero())
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func TestRegions(t *testing.T) {
	still(t, func(t *testing.T) {
		is := is.New(t)
		server, names, b := service(t, 3)
		east, west := server.In("eu-west-1"), server.In("ap-southeast-2")
		var arns []string
		for i := range 4 {
			for _, region := range []*awstest.Server{east, west} {
				name := fmt.Sprintf("r-%d", i)
				region.Put(name, region.Region()+name)
				arns = append(arns, region.ARN(name))
			}
		}
		for i, r := range getAll(t, b, append(arns, names...)...) {
			is.NoErr(r.Err)
			if i < len(arns) {
				is.Equal(r.Secret.Reveal(), []string{"eu-west-1", "ap-southeast-2"}[i%2]+fmt.Sprintf("r-%d", i/2))
			}
		}
		is.Equal(server.Count(getMany), 3) // one per region
		is.Equal(server.Count(getOne), 0)
	})
}

func TestAnotherAccountIsReadByItself(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 3)
	other := "arn:aws:secretsmanager:us-east-1:999999999999:secret:db-AbCdEf"
	server.Handle(func(r *awstest.Request) *awstest.Response {
		if r.Operation == getOne && r.IDs[0] == other {
			return &awstest.Response{Body: `{"ARN":"` + other + `","Name":"db","SecretString":"of another account","VersionId":"v"}`}
		}
		return nil
	})
	results := b.Call(t.Context(), append(names, other)...)
	is.NoErr(results[3].Err)
	is.Equal(results[3].Secret.Reveal(), "of another account")
}

// TestRotationUnderLoad rotates as AWS does. Readers must always get a user and a password of one version.
func TestRotationUnderLoad(t *testing.T) {
	for name, opts := range map[string][]awssm.Option{"single": {awssm.WithoutBatch()}, "batches": nil,
		"coalescing": {awssm.WithCoalescing(time.Millisecond)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each takes a second
			is := is.New(t)
			server := awstest.NewServer(t)
			pair := func(i int) string { return fmt.Sprintf(`{"user":"u%d","password":"p%d"}`, i, i) }
			for _, name := range []string{"a", "b", "c"} {
				server.Put(name, pair(0))
			}
			c := client(t, of(t, server, opts...), middleware.Standard())
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			var wg sync.WaitGroup
			reads := make([]int, 4)
			for n := range reads {
				wg.Go(func() {
					for ctx.Err() == nil {
						found, err := c.GetMany(t.Context(), "a#user", "b#user", "c#user", "a#password", "b#password", "c#password")
						if err != nil {
							t.Errorf("no secrets: %v", err)
							return
						}
						for _, name := range []string{"a", "b", "c"} {
							if user, password := found[name+"#user"].Reveal(), found[name+"#password"].Reveal(); user[1:] != password[1:] {
								t.Errorf("the user %s and the password %s", user, password)
							}
							c.Invalidate(name)
						}
						reads[n]++
					}
				})
			}
			for i := 1; ctx.Err() == nil; i++ {
				for _, name := range []string{"a", "b", "c"} {
					server.PutVersion(name, pair(i), "AWSPENDING")
					server.Promote(name)
				}
			}
			wg.Wait()
			for _, n := range reads {
				is.True(n > 0)
			}
		})
	}
}

// The SDK stops retrying after too many failures. The class of the errors stays the same.
func TestAnExhaustedRetryQuotaDoesNotChangeTheClass(t *testing.T) {
	is := is.New(t)
	server, _, b := service(t, 1)
	server.Fail("*", awstest.Fault("InternalServiceError", ""))
	for range 60 {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "prod/key-0"})
		is.True(errors.Is(err, secrets.ErrUnavailable))
	}
	is.True(server.Count("*") < 3*60) // the quota is exhausted
	server.Recover()
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "prod/key-0"})
	is.NoErr(err)
}

func TestHasReadsWhatGetReads(t *testing.T) {
	is := is.New(t)
	server, _, b := service(t, 2)
	server.Create("empty")
	server.Delete("prod/key-1")
	c := client(t, b)
	for key, want := range map[string]bool{"prod/key-0": true, "prod/key-1": false, "empty": false, "missing": false} {
		has, err := c.Has(t.Context(), key)
		is.NoErr(err)
		is.Equal(has, want)
	}
	server.Deny("DescribeSecret") // Has does not use it
	server.Deny(getOne, "prod/key-0")
	_, err := c.Has(t.Context(), "prod/key-0")
	is.True(errors.Is(err, secrets.ErrPermissionDenied))
	is.Equal(server.Count("DescribeSecret"), 0)
}

// A provider of the program may panic, or end a goroutine of the backend.
func TestAPanicOfACredentialsProviderIsAnError(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic(canary) }, "Goexit": runtime.Goexit} {
		for kind, opts := range map[string][]awssm.Option{"batches": nil, "coalescing": {awssm.WithCoalescing(time.Millisecond)}} {
			t.Run(name+" "+kind, func(t *testing.T) {
				is := is.New(t)
				server := awstest.NewServer(t)
				cfg := config()
				cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					end()
					return aws.Credentials{}, nil
				})
				b := of(t, server, append(opts, awssm.WithConfig(cfg))...)
				c := client(t, b)
				_, err := c.Get(t.Context(), "a")
				is.True(errors.Is(err, secrets.ErrUnknown))
				for _, r := range getAll(t, b, "a", "b") {
					is.True(errors.Is(r.Err, secrets.ErrUnknown))
				}
				found, err := c.GetMany(t.Context(), "a", "b", "c", "d")
				is.True(errors.Is(err, secrets.ErrUnknown))
				is.Equal(len(found), 0)
				secretstest.AssertNoLeak(t, canary, err)
			})
		}
	}
}

// TestASecretNamedAsAnotherWithItsSuffix has two secrets: the ARN of one is the ARN of the other without its suffix.
func TestASecretNamedAsAnotherWithItsSuffix(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 2)
	server.Put("db", "of db")
	arn := server.ARN("db")
	double := "db" + arn[len(arn)-len("-AbCdEf"):]
	server.Put(double, "of "+double)
	for i, r := range b.Call(t.Context(), arn, server.ARN(double), "db", double, names[0], names[1]) {
		is.NoErr(r.Err)
		is.Equal(r.Secret.Reveal(), []string{"of db", "of " + double, "of db", "of " + double, valueOf(names[0]), valueOf(names[1])}[i])
	}
}

// A batch may contain a secret of another account. It does not answer the same name in this account.
func TestASecretOfAnotherAccountDoesNotAnswerItsName(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 2)
	server.Put("db", "ours")
	const theirs = "arn:aws:secretsmanager:us-east-1:999999999999:secret:db-AbCdEf"
	server.Handle(func(r *awstest.Request) *awstest.Response {
		if r.Operation != getMany {
			return nil
		}
		return &awstest.Response{Body: `{"SecretValues":[{"ARN":"` + theirs + `","Name":"db","SecretString":"theirs","VersionId":"v"}]}`}
	})
	results := b.Call(t.Context(), "db", theirs, names[0], names[1])
	is.NoErr(results[0].Err)
	is.Equal(results[0].Secret.Reveal(), "ours")
	is.NoErr(results[1].Err)
	is.Equal(results[1].Secret.Reveal(), "theirs")
}

func TestANotFoundNamesTheFullNameAndTheRegion(t *testing.T) {
	is := is.New(t)
	server, _, b := service(t, 0, awssm.WithPrefix("prod/shop/"))
	server.Deny(getOne, "prod/shop/denied")
	for _, name := range []string{"missing", "denied"} {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: name})
		is.True(strings.Contains(err.Error(), "; the full name is prod/shop/"+name+" in us-east-1"))
		for _, r := range getAll(t, b, name, "a", "b") {
			is.True(strings.Contains(r.Err.Error(), "; the full name is prod/shop/"))
		}
	}
}
