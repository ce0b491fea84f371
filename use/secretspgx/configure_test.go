package secretspgx_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretspgx"
)

func TestFaults(t *testing.T) {
	backend := secretstest.NewBackend(map[string]string{"db": "one"})
	client := newClient(t, backend)
	for name, tc := range map[string]struct {
		cfg    *pgxpool.Config
		client *secrets.Client
		key    string
		opts   []secretspgx.Option
		want   string
	}{
		"a nil Config":                 {nil, client, "db", nil, "secretspgx: Configure: a nil Config"},
		"a Config without ParseConfig": {&pgxpool.Config{}, client, "db", nil, "a Config without a ConnConfig; make it with pgxpool.ParseConfig"},
		"a nil Client":                 {newServer(nil).config(t, ""), nil, "db", nil, "secretspgx: Configure: a nil Client"},
		"no key":                       {newServer(nil).config(t, ""), client, "", nil, "secrets: invalid key"},
		"a nil option":                 {newServer(nil).config(t, ""), client, "db", []secretspgx.Option{nil}, "option 1 is nil"},
		"a zero Grace": {
			newServer(nil).config(t, ""), client, "db", []secretspgx.Option{secretspgx.Grace(0)}, "Grace: 0s is not more than 0",
		},
		"a Grace without a unit": {newServer(nil).config(t, ""), client, "db", []secretspgx.Option{secretspgx.Grace(30)}, "30*time.Second"},
		"a nil WithRejected": {
			newServer(nil).config(t, ""), client, "db", []secretspgx.Option{secretspgx.WithRejected(nil)}, "WithRejected: a nil function",
		},
		"a nil WithCredential": {
			newServer(nil).config(t, ""), client, "db", []secretspgx.Option{secretspgx.WithCredential(nil)}, "WithCredential: a nil function",
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			err := secretspgx.Configure(tc.cfg, tc.client, tc.key, tc.opts...)
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), tc.want))
			if tc.cfg != nil {
				is.True(tc.cfg.BeforeConnect == nil && tc.cfg.PrepareConn == nil)
			}
		})
	}
	is := is.New(t)
	err := secretspgx.Configure(nil, nil, "", nil, secretspgx.Grace(-time.Second), secretspgx.WithCredential(nil))
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	is.Equal(len(strings.Split(err.Error(), "\n")), 6) // all of them

	is.NoErr(secretspgx.Configure(newServer(nil).config(t, ""), client, "db", secretspgx.RetireOnChange(), secretspgx.Grace(time.Second)))
	is.Equal(backend.Calls(), 0)
}

// loggedIn returns the login that a connection of a pool with that secret uses.
func loggedIn(t *testing.T, secret string, opts ...secretspgx.Option) (*pgx.ConnConfig, error) {
	t.Helper()
	cfg := newServer(nil).configured(t, newClient(t, secretstest.NewBackend(map[string]string{"db": secret})), "", opts...)
	copied := cfg.ConnConfig.Copy()
	return copied, cfg.BeforeConnect(t.Context(), copied)
}

func TestUserAndPassword(t *testing.T) {
	for secret, want := range map[string]string{
		`hunter2`: "nobody:hunter2",
		`{"username":"v-app","password":"hunter2"}`:               "v-app:hunter2",
		`{"user":"app","password":"hunter2"}`:                     "app:hunter2",
		`{"user":"app","username":"v-app","password":"hunter2"}`:  "v-app:hunter2",
		`{"user":"app","username":null,"password":"hunter2"}`:     "app:hunter2",
		`{"password":"hunter2"}`:                                  "nobody:hunter2",
		"\n" + `{"user":"app","password":1234}` + "\n":            "app:1234",
		`{"user":"app","password":"` + "\\u0022" + `hunter 2\\"}`: `app:"hunter 2\`,
		`{hunter2`:                              "nobody:{hunter2", // a password may begin with a brace
		`{"user":"app","password":"hunter2"`:    `nobody:{"user":"app","password":"hunter2"`,
		`"hunter2"`:                             `nobody:"hunter2"`,
		`["hunter2"]`:                           `nobody:["hunter2"]`,
		`{"username":"a","password":"p"}` + "x": `nobody:{"username":"a","password":"p"}x`,
	} {
		is := is.New(t)
		cfg, err := loggedIn(t, secret)
		is.NoErr(err)
		is.Equal(cfg.User+":"+cfg.Password, want)
	}
	for secret, want := range map[string]error{
		`{}`:                              secrets.ErrFieldNotFound,
		`{"username":"app"}`:              secrets.ErrFieldNotFound,
		`{"password":null}`:               secrets.ErrFieldNotFound,
		`{"password":"a","password":"b"}`: secrets.ErrMalformed,
	} {
		is := is.New(t)
		cfg, err := loggedIn(t, secret)
		is.True(errors.Is(err, want))
		is.Equal(cfg.User+":"+cfg.Password, "nobody:none")
	}
}

// An error names the key and the field, and shows no value.
func TestErrorsOfTheSecret(t *testing.T) {
	is := is.New(t)
	_, err := loggedIn(t, `{"username":"app","pass":"hunter2"}`)
	is.Equal(err.Error(), "secrets: fake: db: field not found: the document has no field password; its fields are pass, username")
	_, err = loggedIn(t, `{"password":"hunter2","password":"hunter3"}`)
	is.True(strings.HasPrefix(err.Error(), "secrets: fake: db: malformed: "))
	is.True(!strings.Contains(err.Error(), "hunter"))
}

// Only the connection string decides where to connect; the secret cannot.
func TestTheSecretCannotChangeTheServer(t *testing.T) {
	is := is.New(t)
	cfg, err := loggedIn(t, `{"username":"app","password":"hunter2","engine":"postgres","host":"192.0.2.1","port":1,"dbname":"other"}`)
	is.NoErr(err)
	is.Equal(fmt.Sprint(cfg.User, " ", cfg.Password, " ", cfg.Host, " ", cfg.Port, " ", cfg.Database), "app hunter2 127.0.0.1 5432 db")
}

func TestWithCredential(t *testing.T) {
	is := is.New(t)
	failure := errors.New("its own")
	set := func(cfg *pgx.ConnConfig, s secrets.Secret) error {
		cfg.Password, cfg.Database = s.Reveal(), s.Meta().Version
		return failure
	}
	cfg, err := loggedIn(t, `{"password":"hunter2"}`, secretspgx.WithCredential(set))
	is.Equal(err, failure) // unchanged
	is.Equal(cfg.Password+cfg.Database, `{"password":"hunter2"}1`)
	failure = nil
	_, err = loggedIn(t, `{"password":"hunter2"}`, secretspgx.WithCredential(set))
	is.NoErr(err)
}

// If the secret cannot be read, a connection fails with the error of Get, and the next one tries again.
func TestASecretThatCannotBeRead(t *testing.T) {
	is := is.New(t)
	backend := secretstest.NewBackend(nil)
	cfg := newServer(nil).configured(t, newClient(t, backend), "")
	before := func() error { return cfg.BeforeConnect(t.Context(), cfg.ConnConfig.Copy()) }
	is.True(errors.Is(before(), secrets.ErrNotFound))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.True(errors.Is(cfg.BeforeConnect(ctx, cfg.ConnConfig.Copy()), context.Canceled))
	backend.Set("db", "one")
	is.NoErr(before())
}

// pgx shows its own configuration and errors; ours show nothing of a secret.
func TestNothingIsDumped(t *testing.T) {
	is := is.New(t)
	client := newClient(t, secretstest.NewBackend(map[string]string{"db": "hunter2-canary"}))
	cfg := newServer(nil).configured(t, client, "")
	is.NoErr(cfg.BeforeConnect(t.Context(), cfg.ConnConfig.Copy()))
	dump := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg) + fmt.Sprintf("%+v", reflect.ValueOf(cfg).Elem())
	is.True(!strings.Contains(dump, "canary"))
	is.True(strings.Contains(fmt.Sprintf("%+v", cfg.ConnConfig.Config), "none")) // the control: the password of the string
}
