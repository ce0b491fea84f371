package detect_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// TestBundle runs the conformance suite for the backend of ExampleWith.
func TestBundle(t *testing.T) {
	secretstest.Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		content, err := json.Marshal(documents)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "bundle.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		bundle, err := OpenBundle(path)
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	})
}
