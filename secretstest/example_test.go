package secretstest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// dsn is the code under test of these examples.
func dsn(ctx context.Context, client *secrets.Client) (string, error) {
	password, err := client.GetOr(ctx, "database#password", "development")
	if err != nil {
		return "", fmt.Errorf("database: %w", err)
	}
	return "postgres://app:" + password.Reveal() + "@db/app", nil
}

// A table test with the fake: each row sets up the backend and shows what the code returns.
func ExampleNewBackend() {
	for _, tc := range []struct {
		name  string
		given func(b *secretstest.Backend)
	}{
		{"stored", func(*secretstest.Backend) {}},
		{"rotated", func(b *secretstest.Backend) { b.Set("database", `{"password":"battery staple"}`) }},
		{"missing", func(b *secretstest.Backend) { b.Remove("database") }},
		{"denied", func(b *secretstest.Backend) { b.FailPath("database", secrets.ErrPermissionDenied) }},
		{"outage", func(b *secretstest.Backend) { b.Fail(secrets.ErrUnavailable) }},
	} {
		backend := secretstest.NewBackend(map[string]string{"database": `{"password":"correct horse"}`})
		tc.given(backend)
		client, err := secrets.New(backend)
		if err != nil {
			panic(err)
		}
		got, err := dsn(context.Background(), client)
		fmt.Printf("%s: %q %v\n", tc.name, got, secrets.Class(err))
		_ = client.Close()
	}
	// Output:
	// stored: "postgres://app:correct horse@db/app" <nil>
	// rotated: "postgres://app:battery staple@db/app" <nil>
	// missing: "postgres://app:development@db/app" <nil>
	// denied: "" secrets: permission denied
	// outage: "" secrets: unavailable
}

// The fake counts calls: two fields of one document need only one.
func ExampleBackend_Calls() {
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"correct horse"}`, "token": "t-1"})
	client, err := secrets.New(backend)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	_, err = client.GetMany(context.Background(), "database#user", "database#password", "token")
	fmt.Println(err, backend.Calls(), backend.Fetches("database"))
	// Output: <nil> 2 1
}

// A blocked call returns what the backend held when the call began. In a testing/synctest bubble, Wait returns once the call is blocked.
func ExampleBackend_Block() {
	t := &testing.T{} // in a test, its own t
	synctest.Test(t, func(*testing.T) {
		backend := secretstest.NewBackend(map[string]string{"token": "old"})
		release := backend.Block()
		answer := make(chan string)
		go func() {
			s, _ := backend.Fetch(context.Background(), secrets.Ref{Path: "token"})
			answer <- s.Reveal()
		}()
		synctest.Wait()
		backend.Set("token", "new")
		release()
		fmt.Println(<-answer)
	})
	// Output: old
}

func ExampleBackend_SetLatency() {
	backend := secretstest.NewBackend(map[string]string{"token": "t-1"})
	backend.SetLatency(time.Hour)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := backend.Fetch(ctx, secrets.Ref{Path: "token"})
	fmt.Println(err)
	// Output: context deadline exceeded
}

// Leaks searches all of an error: its text, the errors that it wraps, and their fields.
func ExampleLeaks() {
	const secret = "canary-7f3Kq9ZxWv2m"
	err := fmt.Errorf("connect: %w", &os.PathError{Op: "open", Path: "/tmp/x", Err: errors.New("bad line: " + secret)})
	fmt.Println(len(secretstest.Leaks(secret, err)) > 0)
	fmt.Println(len(secretstest.Leaks(secret, secrets.NewSecret(secret, secrets.Meta{}))))
	// Output:
	// true
	// 0
}

// Call AssertNoLeak at the end of a test whose code logs, returns errors or answers requests.
func ExampleAssertNoLeak() {
	t := &testing.T{} // in a test, its own t
	const secret = "canary-7f3Kq9ZxWv2m"
	backend := secretstest.NewBackend(map[string]string{"database": `{"password":"` + secret + `"`}) // malformed JSON
	client, err := secrets.New(backend)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	_, err = client.Get(context.Background(), "database#password")
	secretstest.AssertNoLeak(t, secret, err, err.Error(), client)
	fmt.Println(t.Failed(), secrets.Class(err))
	// Output: false secrets: malformed
}

// newMemory is the constructor of the backend under test.
func newMemory(documents map[string]string) secrets.Backend {
	return secrets.NewBackend(secrets.Info{Name: "memory"}, func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if err := ctx.Err(); err != nil {
			return secrets.Secret{}, err
		}
		value, ok := documents[ref.Path]
		switch {
		case !ok:
			return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
		case ref.Version != "":
			return secrets.Secret{}, secrets.NewError(secrets.ErrInvalidKey, "there are no versions in memory")
		}
		return secrets.NewSecret(value, secrets.Meta{}), nil
	})
}

// The conformance test of a backend needs a Factory and one call.
func ExampleRun() {
	_ = func(t *testing.T) { // in a test file: func TestMemory(t *testing.T)
		secretstest.Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
			return newMemory(documents)
		}, secretstest.WithBinary())
	}
	// Output:
}

func TestTheBackendOfTheExampleConforms(t *testing.T) {
	secretstest.Run(t, func(_ *testing.T, documents map[string]string) secrets.Backend {
		return newMemory(documents)
	}, secretstest.WithBinary())
}

// Diff compares two structs with Secrets and shows no value.
func ExampleDiff() {
	type config struct {
		Host     string
		Password secrets.Secret
	}
	got := config{"db.example", secrets.NewSecret("correct horse", secrets.Meta{})}
	want := config{"db2.example", secrets.NewSecret("battery staple", secrets.Meta{})}
	fmt.Println(secretstest.Diff(got, want))
	// Output:
	// .Host: got "db.example", want "db2.example"
	// .Password: secrets differ
}
