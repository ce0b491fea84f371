package secrets_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
)

// A backend whose server takes 10 names per call. Its Fetch is that of the Batcher. Info.Batch makes a GetMany fill the batches.
func ExampleBatcher() {
	const perCall = 10
	calls := 0
	ask := func(_ context.Context, refs []secrets.Ref) []secrets.Result {
		calls++ // one at a time here
		results := make([]secrets.Result, len(refs))
		for i, ref := range refs {
			if ref.Path == "missing" {
				results[i].Err = secrets.NewError(secrets.ErrNotFound, "") // of this ref alone
				continue
			}
			results[i].Secret = secrets.NewSecret("value of "+ref.Path, secrets.Meta{})
		}
		return results
	}
	batcher := secrets.NewBatcher(perCall, 0, ask) // a window of 0: a single Get does not wait
	backend := secrets.NewBackend(secrets.Info{Name: "store", Batch: perCall}, batcher.Fetch)

	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	found, err := client.GetMany(context.Background(), "a", "b", "c", "missing")
	fmt.Println(found["a"].Reveal(), len(found), calls)
	fmt.Println(err)
	// Output:
	// value of a 3 1
	// secrets: store: missing: not found
}
