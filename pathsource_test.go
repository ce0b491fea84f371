package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// credentials returns a client whose first source has only the user, and whose second source has both.
func credentials(t *testing.T, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	first := env.New(env.WithLookup(func(name string) (string, bool) {
		return "user of env", name == "DB_USER"
	}))
	second := secretstest.NewBackend(map[string]string{"db": `{"user":"user of spare","password":"password of spare"}`, "other": "x"},
		secretstest.WithName("spare"))
	return open(t, first, append(opts, secrets.WithFallback(fallback.OnNotFound(second)))...)
}

func TestKeysOfAPathComeFromOneSource(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{
		"alone": nil, "standard": {middleware.Standard()}, "with middleware": {middleware.Standard(), secrets.WithMiddleware(pass())},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client := credentials(t, opts...)
			for _, keys := range [][]string{{"db#user", "db#password", "other"}, {"other", "db#password", "db#user"}} {
				found, err := client.GetMany(t.Context(), keys...)
				is.Equal(len(found), 2)
				is.Equal(found["db#user"].Reveal(), "user of env") // the first source, whatever the order of the keys
				is.Equal(found["other"].Reveal(), "x")             // another path is independent
				all, ok := errors.AsType[secrets.Errors](err)
				is.True(ok)
				is.Equal(len(all), 1)
				is.Equal(all[0].Key, "db#password")
				is.Equal(all[0].Backend, "env")
				checkClass(t, all[0], secrets.ErrFieldNotFound)
				is.True(strings.Contains(all[0].Detail, "spare") && strings.Contains(all[0].Detail, "env"))
			}
			// Two Gets are independent.
			user, err := client.Get(t.Context(), "db#user")
			is.NoErr(err)
			password, err := client.Get(t.Context(), "db#password")
			is.NoErr(err)
			is.Equal(user.Reveal()+", "+password.Reveal(), "user of env, password of spare")
		})
	}
}

// Middleware may answer itself: each name in Meta.Backend is a source, and backends of the Client come first.
func TestAnswersOfMiddlewareAreASourceOfTheirOwn(t *testing.T) {
	for name, tc := range map[string]struct {
		user, password string // of which backend middleware says it is; "-" leaves the answer to the backend
		found          []string
		detail         string
	}{
		"no name": {"-", "", []string{"db#user"},
			"the answer came from middleware, and other keys of this path in the call from fake"},
		"another name": {"override", "-", []string{"db#password"},
			"the answer came from override, and other keys of this path in the call from fake"},
		"two names": {"one", "two", []string{"db#user"},
			"the answer came from two, and other keys of this path in the call from one"},
		"no name, twice":           {"", "", []string{"db#user", "db#password"}, ""},
		"one name":                 {"override", "override", []string{"db#user", "db#password"}, ""},
		"the name of the backend":  {"-", "fake", []string{"db#user", "db#password"}, ""},
		"control: the backend":     {"-", "-", []string{"db#user", "db#password"}, ""},
		"control: a path for each": {"one", "", []string{"db#user", "other#password"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			says := map[string]string{"user": tc.user, "password": tc.password}
			middleware := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				if says[ref.Field] == "-" {
					return next.Fetch(ctx, ref)
				}
				return secrets.NewSecret("made", secrets.Meta{Backend: says[ref.Field], Version: "v1"}), nil
			})
			second := "db#password"
			if slices.Contains(tc.found, "other#password") {
				second = "other#password"
			}
			client := open(t, newFake("db", `{"user":"u","password":"p"}`), secrets.WithMiddleware(middleware))
			found, err := client.GetMany(t.Context(), "db#user", second)
			is.Equal(len(found), len(tc.found))
			for _, key := range tc.found {
				is.True(!found[key].IsZero())
			}
			if tc.detail == "" {
				is.NoErr(err)
				return
			}
			all := err.(secrets.Errors)
			is.Equal(len(all), 1)
			checkClass(t, all[0], secrets.ErrFieldNotFound)
			is.Equal(all[0].Detail, tc.detail)
		})
	}
}

// renumbered is a backend whose document has another version at each fetch.
func renumbered() secrets.Backend {
	var fetches atomic.Int64
	return secrets.NewBackend(secrets.Info{Name: "renumbered"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
		n := fetches.Add(1)
		return secrets.NewSecret(fmt.Sprintf(`{"user":"u%d","password":"p%d"}`, n, n), secrets.Meta{Version: fmt.Sprint(n)}), nil
	})
}

func TestKeysOfAPathAreOfOneVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		inner := open(t, renumbered())
		// The middleware fetches each key in a separate call.
		client := open(t, renumbered(), secrets.WithMiddleware(secrets.Intercept(
			func(ctx context.Context, ref secrets.Ref, _ secrets.Fetcher) (secrets.Secret, error) {
				if ref.Field == "password" {
					time.Sleep(time.Second)
				}
				return inner.Get(ctx, ref.String())
			})))
		found, err := client.GetMany(t.Context(), "db#user", "db#password", "db?version=7#user")
		is.Equal(len(found), 2) // the pinned one is another document
		is.Equal(found["db#password"].Reveal(), "p3")
		all, ok := errors.AsType[secrets.Errors](err)
		is.True(ok)
		is.Equal(len(all), 1)
		is.Equal(all[0].Key, "db#user") // the latest version counts
		checkClass(t, all[0], secrets.ErrFieldNotFound)
		is.True(strings.Contains(all[0].Detail, "version"))

		found, err = open(t, renumbered()).GetMany(t.Context(), "db#user", "db#password") // the control: one fetch
		is.NoErr(err)
		is.Equal(found["db#user"].Reveal()+found["db#password"].Reveal(), "u1p1")
	})
}

// The fields of a directory are files with their own versions. They are read together.
func TestFilesOfAPathHaveTheirOwnVersions(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	is.NoErr(os.Mkdir(filepath.Join(dir, "db"), 0o700))
	is.NoErr(os.WriteFile(filepath.Join(dir, "db", "user"), []byte("app"), 0o600))
	is.NoErr(os.WriteFile(filepath.Join(dir, "db", "password"), []byte("hunter2"), 0o600))
	b, err := file.New(dir)
	is.NoErr(err)
	found, err := open(t, b).GetMany(t.Context(), "db#user", "db#password")
	is.NoErr(err)
	is.True(found["db#user"].Meta().Version != found["db#password"].Meta().Version)
}
