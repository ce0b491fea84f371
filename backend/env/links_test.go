package env_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
)

// Kubernetes sets SHOP_DATABASE_PORT for a Service shop-database. It is not a field of the document in SHOP_DATABASE.
func TestAServiceLinkIsNotAField(t *testing.T) {
	t.Parallel()
	for _, link := range []struct{ protocol, host, address string }{
		{"tcp", "10.0.0.11", "10.0.0.11"},
		{"udp", "10.0.0.11", "10.0.0.11"},
		{"sctp", "fd00::1", "[fd00::1]"},
	} {
		t.Run(link.protocol, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			url := link.protocol + "://" + link.address + ":5432"
			variables := map[string]string{
				"SHOP_DATABASE":              `{"port":5433,"user":"app"}`,
				"SHOP_DATABASE_PORT":         url,
				"SHOP_DATABASE_SERVICE_HOST": link.host,
				"SHOP_DATABASE_SERVICE_PORT": "5432",
				"SHOP_CACHE":                 `{"user":"app"}`,
				"SHOP_CACHE_PORT":            url,
				"SHOP_CACHE_SERVICE_HOST":    link.host,
				"SHOP_CACHE_SERVICE_PORT":    "5432",
			}
			c := client(t, env.New(env.WithPrefix("SHOP_"), lookup(variables)))
			for key, want := range map[string]string{
				"database#port": "5433",
				"database/port": url, // its own key
				"database#user": "app",
			} {
				got, err := c.Get(t.Context(), key)
				is.NoErr(err)
				is.Equal(got.Reveal(), want)
			}
			_, err := c.Get(t.Context(), "cache#port")
			is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
			is.True(strings.Contains(err.Error(), "SHOP_CACHE_PORT is the link of a Kubernetes Service, not a field; "+
				"set enableServiceLinks: false in the pod to leave it out"))
		})
	}
}

// A variable NAME_PORT is a field unless it repeats NAME_SERVICE_HOST and NAME_SERVICE_PORT exactly.
func TestOtherPortsAreFields(t *testing.T) {
	t.Parallel()
	for _, variables := range []map[string]string{
		{"DATABASE_PORT": "5432", "DATABASE_SERVICE_HOST": "10.0.0.11", "DATABASE_SERVICE_PORT": "5432"},
		{"DATABASE_PORT": "tcp://10.0.0.11:5432"},
		{"DATABASE_PORT": "tcp://10.0.0.11:5432", "DATABASE_SERVICE_HOST": "10.0.0.12", "DATABASE_SERVICE_PORT": "5432"},
		{"DATABASE_PORT": "tcp://10.0.0.11:5432", "DATABASE_SERVICE_HOST": "10.0.0.11", "DATABASE_SERVICE_PORT": "5433"},
		{"DATABASE_PORT": "http://10.0.0.11:5432", "DATABASE_SERVICE_HOST": "10.0.0.11", "DATABASE_SERVICE_PORT": "5432"},
		{"DATABASE_PORT": "", "DATABASE_SERVICE_HOST": "", "DATABASE_SERVICE_PORT": ""},
	} {
		is := is.New(t)
		want := variables["DATABASE_PORT"]
		variables["DATABASE"] = `{"port":5433}`
		got, err := client(t, env.New(lookup(variables))).Get(t.Context(), "database#port")
		is.NoErr(err)
		is.Equal(got.Reveal(), want)
	}
}

// Variables and files follow the same rule for text; WithRawBytes turns it off for both.
func TestRawBytes(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const value = "\ufeffhunter2\r\n"
	variables := lookup(map[string]string{"VALUE": value, "IN_FILE_FILE": write(t, "x", value)})
	for _, path := range []string{"value", "in/file"} {
		got, err := env.New(env.WithFiles(), variables).Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
		is.Equal(got.Reveal(), "hunter2")
		got, err = env.New(env.WithFiles(), env.WithRawBytes(), variables).Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
		is.Equal(got.Reveal(), value)
	}
}

// A NAME_FILE for the variable of a link shows that a field was meant. The operator must unset one of the two.
func TestAServiceLinkWithAFileIsMalformed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	variables := map[string]string{
		"DATABASE": `{"port":5432}`, "DATABASE_PORT": "tcp://10.0.0.11:5432", "DATABASE_SERVICE_HOST": "10.0.0.11",
		"DATABASE_SERVICE_PORT": "5432", "DATABASE_PORT_FILE": "/nowhere",
	}
	_, err := client(t, env.New(lookup(variables), env.WithFiles())).Get(t.Context(), "database#port")
	is.Equal(secrets.Class(err), secrets.ErrMalformed)
	is.True(strings.Contains(err.Error(), "both DATABASE_PORT and DATABASE_PORT_FILE are set"))
	got, err := client(t, env.New(lookup(variables))).Get(t.Context(), "database#port") // the control
	is.NoErr(err)
	is.Equal(got.Reveal(), "5432")
}
