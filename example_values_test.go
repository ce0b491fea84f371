package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// A backend of one function. Its secrets are at hand, so it is Local and Nonblocking.
func ExampleNewBackend() {
	embedded := map[string]string{"license": "correct horse"}
	info := secrets.Info{Name: "embedded", Local: true, Nonblocking: true}
	backend := secrets.NewBackend(info, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		value, found := embedded[ref.Path]
		if !found {
			return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "it is not in this build")
		}
		return secrets.NewSecret(value, secrets.Meta{}), nil
	})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	_, err = client.Get(context.Background(), "coupon")
	fmt.Println(err)
	// Output:
	// secrets: embedded: coupon: not found: it is not in this build
}

// With a window, separate Gets share a batch.
func ExampleNewBatcher() {
	calls := 0
	batcher := secrets.NewBatcher(3, time.Minute, func(_ context.Context, refs []secrets.Ref) []secrets.Result {
		calls++
		results := make([]secrets.Result, len(refs))
		for i, ref := range refs {
			results[i].Secret = secrets.NewSecret("value of "+ref.Path, secrets.Meta{})
		}
		return results
	})
	var wg sync.WaitGroup
	for _, path := range []string{"a", "b", "c"} { // the third one fills the batch
		wg.Go(func() { _, _ = batcher.Fetch(context.Background(), secrets.Ref{Path: path}) })
	}
	wg.Wait()
	fmt.Println("calls:", calls)
	// Output:
	// calls: 1
}

// The Client adds the name of the backend and the key.
func ExampleNewError() {
	err := secrets.NewError(secrets.ErrPermissionDenied, "the role needs read on secret/payroll")
	fmt.Println(err)
	fmt.Println(errors.Is(err, secrets.ErrPermissionDenied))
	// Output:
	// secrets: permission denied: the role needs read on secret/payroll
	// true
}

// A metric counts errors by class.
func ExampleClass() {
	for _, err := range []error{nil, secrets.NewError(secrets.ErrDeleted, ""), context.DeadlineExceeded, errors.New("broken")} {
		fmt.Println(secrets.Class(err))
	}
	// Output:
	// <nil>
	// secrets: deleted
	// secrets: unavailable
	// secrets: unknown failure
}

func ExampleNewSecret() {
	secret := secrets.NewSecret("correct horse", secrets.Meta{Version: "7"})
	fmt.Println(secret, secret.Meta().Version, len(secret.Reveal()))
	// Output:
	// [REDACTED] 7 13
}

func ExampleSecret_Field() {
	document := secrets.NewSecret(`{"user":"app","replicas":[{"host":"a"},{"host":"b"}]}`, secrets.Meta{})
	host, err := document.Field("replicas.1.host")
	fmt.Println(host.Reveal(), err)
	_, err = document.Field("User")
	fmt.Println(err)
	// Output:
	// b <nil>
	// secrets: field not found: the document has no field User; did you mean user?
}

// Equal compares values in constant time, and ignores the Meta.
func ExampleSecret_Equal() {
	stored := secrets.NewSecret("correct horse", secrets.Meta{Version: "7"})
	fmt.Println(stored.Equal(secrets.NewSecret("battery staple", secrets.Meta{})))
	fmt.Println(stored.Equal(secrets.NewSecret("correct horse", secrets.Meta{})))
	// Output:
	// false
	// true
}

func ExampleParseRef() {
	ref, err := secrets.ParseRef("team/database?version=3#password")
	fmt.Println(ref.Path, ref.Version, ref.Field, err)
	_, err = secrets.ParseRef("../etc/passwd")
	fmt.Println(err)
	// Output:
	// team/database 3 password <nil>
	// secrets: ../etc/passwd: invalid key: the path has a segment . or ..
}
