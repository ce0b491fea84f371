package otheruser_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/otheruser"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNobody(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "file")
	mode := os.FileMode(0o600)
	if os.Geteuid() != 0 {
		mode = 0
	}
	is.NoErr(os.WriteFile(file, nil, mode))
	var err error
	otheruser.Nobody(t, func() { _, err = os.ReadFile(file) })
	is.True(errors.Is(err, fs.ErrPermission))
	if os.Geteuid() == 0 { // the control: this thread keeps its permissions
		_, err = os.ReadFile(file)
		is.NoErr(err)
	}
}
