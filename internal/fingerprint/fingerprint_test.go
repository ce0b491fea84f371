package fingerprint_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/fingerprint"
)

func TestNew(t *testing.T) {
	is := is.New(t)
	version := fingerprint.New()
	is.Equal(version("a", "x"), version("a", "x"))            // the same content is the same version
	is.True(version("a", "x") != version("a", "y"))           // another content is another
	is.True(version("a", "x") != version("b", "x"))           // and so is that of another path
	is.True(version("a", "x") != fingerprint.New()("a", "x")) // nobody else can check a guess
}

func TestNoDumpShowsTheKey(t *testing.T) {
	is := is.New(t)
	holder := struct {
		version func(path, content string) string
	}{fingerprint.New()}
	is.True(strings.Contains(fmt.Sprintf("%#v", holder), "version:(func")) // an address is all that is printed
}
