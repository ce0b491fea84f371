package vault_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// shared is the server of the integration tests. Without them, it does not start.
var shared vaultserver.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Main(m)) }
