package awssm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
)

// Every name that the service allows can be read. A key cannot begin or end in a slash or have an empty segment; such a name is read with a
// prefix that contains the odd part, or by its ARN.
func TestEveryLegalNameCanBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		prefix, key string // an empty key stands for the ARN
	}{
		"db":              {"", "db"},
		"prod/db":         {"", "prod/db"},
		"a_b+c=d.e@f-g!h": {"", "a_b+c=d.e@f-g!h"},
		"_":               {"", "_"},
		"0":               {"", "0"},
		"...":             {"", "..."},
		"/prod/db":        {"/", "prod/db"},
		"//prod":          {"//", "prod"},
		"a//b":            {"a//", "b"},
		"a///b":           {"a///", "b"},
		"a/./b":           {"a/./", "b"},
		"../b":            {"../", "b"},
		"/prod/by-arn":    {},
		"prod/":           {},
		"/":               {},
		"..":              {},
		"a/..":            {},
		"my-secret":       {}, // ends like an ARN
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			server, _, b := service(t, 0, awssm.WithPrefix(c.prefix))
			server.Put(name, "value")
			key := c.key
			if key == "" {
				key = server.ARN(name)
			}
			s, err := client(t, b).Get(t.Context(), key)
			is.NoErr(err)
			is.Equal(s.Reveal(), "value")
		})
	}
}

// AWS limits the length of the name. The rest of a key does not count.
func TestTheLengthLimitAppliesToTheName(t *testing.T) {
	is := is.New(t)
	prefix := strings.Repeat("p", 100) + "/"
	server, _, b := service(t, 0, awssm.WithPrefix(prefix))
	longest := strings.Repeat("x", 512-len(prefix))
	server.Put(prefix+longest, `{"password":"p"}`)
	c := client(t, b)
	s, err := c.Get(t.Context(), longest+"#password")
	is.NoErr(err)
	is.Equal(s.Reveal(), "p")
	_, err = c.Get(t.Context(), longest+"?version=AWSCURRENT#password")
	is.NoErr(err)
	_, err = c.Get(t.Context(), server.ARN(prefix+longest)+"#password") // longer than any name
	is.NoErr(err)
	calls := server.Count("*")
	_, err = c.Get(t.Context(), longest+"x")
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	is.True(strings.Contains(err.Error(), "longer than 512"))
	is.Equal(server.Count("*"), calls)
}
