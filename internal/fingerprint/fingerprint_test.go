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
	is.Equal(version("a", "x"), version("a", "x"))            // equal content: same version
	is.True(version("a", "x") != version("a", "y"))           // other content: other version
	is.True(version("a", "x") != version("b", "x"))           // other path: other version
	is.True(version("a", "x") != fingerprint.New()("a", "x")) // other key: no guess can be checked
}

func TestNoDumpShowsTheKey(t *testing.T) {
	is := is.New(t)
	holder := struct {
		version func(path, content string) string
	}{fingerprint.New()}
	is.True(strings.Contains(fmt.Sprintf("%#v", holder), "version:(func")) // only an address is printed
}
