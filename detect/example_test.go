package detect_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// NewClient returns the client of a service, for its main.
func NewClient(ctx context.Context) (*secrets.Client, error) {
	client, detection, err := detect.New(ctx)
	if err != nil {
		return nil, err
	}
	slog.Info("secrets", "from", detection) // from.provider=vault from.reason="VAULT_ADDR is set (https://…)"
	return client, nil
}

func ExampleNew() {
	// A map replaces the environment of the process, so the output is always the same.
	variables := map[string]string{"SECRET_MANAGER_PREFIX": "SHOP_", "SHOP_DATABASE_PASSWORD": "correct horse", "AWS_REGION": "eu-west-1"}
	client, detection, err := detect.New(context.Background(), detect.WithLookup(func(name string) (string, bool) {
		value, set := variables[name]
		return value, set
	}), detect.WithDirectory("run/secrets"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	fmt.Println(detection)
	password, err := client.Get(context.Background(), "database#password")
	fmt.Println(password, err)
	// Output:
	// env: SECRET_MANAGER_PREFIX is set (SHOP_); not used: AWS_REGION=eu-west-1 (aws)
	// [REDACTED] <nil>
}

// With Backend, the program chooses the layers of the client itself.
func ExampleBackend() {
	variables := map[string]string{"SECRET_MANAGER_TYPE": "env", "SECRET_MANAGER_PREFIX": "SHOP_", "SHOP_API_TOKEN": "correct horse"}
	backend, detection, err := detect.Backend(context.Background(), detect.WithLookup(func(name string) (string, bool) {
		value, set := variables[name]
		return value, set
	}))
	if err != nil {
		log.Fatal(err) // it names the variable to change
	}
	client, err := secrets.New(backend, secrets.WithTimeout(time.Second)) // closes the backend
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	token, err := client.Get(context.Background(), "api/token")
	fmt.Println(detection.Reason, token, err)
	// Output: SECRET_MANAGER_TYPE says env [REDACTED] <nil>
}

// Options for one provider, and for the client.
func ExampleWithVault() {
	variables := map[string]string{"VAULT_ADDR": "https://vault.example:8200"}
	client, detection, err := detect.New(context.Background(),
		detect.WithVault(vault.WithMount("team/kv"), vault.WithAuth(vault.Kubernetes("web"))), // if it is Vault
		detect.WithClientOptions(secrets.WithCache(cache.New(cache.WithSize(100)))),           // in any case
		detect.WithLookup(func(name string) (string, bool) {
			value, set := variables[name]
			return value, set
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(detection.Provider, "since", detection.Reason)
	// Output: vault since VAULT_ADDR is set (https://vault.example:8200)
}

func ExampleWithStrict() {
	variables := map[string]string{"VAULT_ADDR": "https://vault.example:8200", "SECRET_MANAGER_PATH": "/etc/secrets"}
	_, detection, err := detect.New(context.Background(), detect.WithStrict(), detect.WithLookup(func(name string) (string, bool) {
		value, set := variables[name]
		return value, set
	}))
	if errors.Is(err, detect.ErrAmbiguous) {
		fmt.Println(detection.Ignored()[0].Name, "contradicts:", detection.Reason)
	}
	// Output: SECRET_MANAGER_PATH contradicts: VAULT_ADDR is set (https://vault.example:8200)
}

func ExampleDetection_Explain() {
	variables := map[string]string{"VAULT_ADDR": "https://vault.example:8200", "AWS_REGION": "eu-west-1"}
	_, detection, err := detect.New(context.Background(), detect.WithLookup(func(name string) (string, bool) {
		value, set := variables[name]
		return value, set
	}), detect.WithDirectory("run/secrets"))
	if err := detection.Explain(os.Stdout); err != nil {
		log.Fatal(err)
	}
	fmt.Println()
	problem, _, _ := strings.Cut(err.Error(), ": give ") // The rest says what to do.
	fmt.Println(problem)
	// Output:
	// vault: VAULT_ADDR is set (https://vault.example:8200)
	//
	// found, in the order in which it counts:
	//   used      VAULT_ADDR=https://vault.example:8200  vault  decides
	//   not used  AWS_REGION=eu-west-1                   aws    VAULT_ADDR comes first
	//
	// not chosen:
	//   env   SECRET_MANAGER_PREFIX is not set, and VAULT_ADDR comes before the default
	//   file  SECRET_MANAGER_PATH is not set, and run/secrets does not exist
	//   aws   VAULT_ADDR comes before AWS_REGION
	//
	// secrets: detect: VAULT_ADDR is set (https://vault.example:8200), so vault was chosen: no token
}
