package detect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/detect"
)

// OpenBundle returns a backend for one JSON file, as a tool that decrypts secrets writes it: {"database": "…", "api/token": "…"}. It reads
// the whole file at once.
func OpenBundle(path string) (secrets.Backend, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, errors.New("bundle: the file cannot be read")
	}
	var documents map[string]string
	if json.Unmarshal(content, &documents) != nil { // its error may quote the file
		return nil, errors.New("bundle: the file is not a JSON object of strings")
	}
	info := secrets.Info{Name: "bundle", Local: true, Nonblocking: true} // in memory: no cache, no timeout
	return secrets.NewBackend(info, func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if err := ctx.Err(); err != nil {
			return secrets.Secret{}, err
		}
		if ref.Version != "" {
			return secrets.Secret{}, secrets.NewError(secrets.ErrInvalidKey, "a bundle keeps no versions")
		}
		document, found := documents[ref.Path]
		if !found {
			return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
		}
		return secrets.NewSecret(document, secrets.Meta{}), nil
	}), nil
}

// BundleFactory is what detect calls if SECRET_MANAGER_TYPE says bundle. Its settings come from the same look-up.
func BundleFactory(_ context.Context, lookup func(name string) (value string, set bool)) (secrets.Backend, error) {
	path, _ := lookup("BUNDLE_PATH")
	if path == "" {
		return nil, errors.New("BUNDLE_PATH, the file, is not set")
	}
	return OpenBundle(path)
}

// A provider of your own takes three steps: write a backend, here with secrets.NewBackend; run the conformance suite, as TestBundle does;
// and add it with With. SECRET_MANAGER_TYPE=bundle then chooses it.
func ExampleWith() {
	dir, err := os.MkdirTemp("", "bundle-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "bundle.json")
	if err := os.WriteFile(path, []byte(`{"database": "{\"user\":\"app\",\"password\":\"correct horse\"}"}`), 0o600); err != nil {
		log.Fatal(err)
	}

	variables := map[string]string{"SECRET_MANAGER_TYPE": "bundle", "BUNDLE_PATH": path}
	client, detection, err := detect.New(context.Background(),
		detect.With("bundle", BundleFactory),
		detect.WithLookup(func(name string) (string, bool) { // default: the variables of the process
			value, set := variables[name]
			return value, set
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	fmt.Println(detection.Provider, "since", detection.Reason)
	user, err := client.Get(context.Background(), "database#user")
	fmt.Println(user.Reveal(), err)
	// Output:
	// bundle since SECRET_MANAGER_TYPE says bundle
	// app <nil>
}
