package bind_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/bind"
)

type poolSettings struct {
	Max  int
	Idle int
}

type base struct {
	Region string `secret:"region"`
}

// config is the struct of the package comment, with more fields.
type config struct {
	base

	DB struct {
		User     string         `secret:"#user"`
		Password secrets.Secret `secret:"#password"`
		Replica  struct {
			User  string `secret:"#user"`
			Token []byte `secret:"token"`
		} `secret:"replica"`
	} `secret:"database"`
	Token  secrets.Secret `secret:"api/token"`
	Limit  int            `secret:"limits#rps,default=100"`
	Pool   poolSettings   `secret:"pool,json"`
	Debug  *bool          `secret:"debug,optional"`
	Groups struct {
		Name string `secret:"api/token"` // the same secret again
	} `secret:""`

	Plain  string
	Nested struct{ Name string }
	Skip   struct {
		Key string `secret:"skipped"`
	} `secret:"-"`
	plain int
}

func documents() map[string]string {
	return map[string]string{
		"database":               `{"user":"app","password":"correct horse"}`,
		"database/replica":       `{"user":"reader"}`,
		"database/replica/token": "battery",
		"api/token":              "staple",
		"limits":                 `{"rps":"7"}`,
		"pool":                   `{"Max":10,"Idle":2}`,
		"region":                 "eu",
	}
}

func TestLoadFillsEachField(t *testing.T) {
	is := is.New(t)
	client, backend := open(t, documents())
	cfg, err := bind.Load[config](t.Context(), client)
	is.NoErr(err)
	is.Equal(cfg.DB.User, "app")
	is.Equal(cfg.DB.Password.Reveal(), "correct horse")
	is.Equal(cfg.DB.Password.Meta().Version, "1")
	is.Equal(cfg.DB.Replica.User, "reader")
	is.Equal(string(cfg.DB.Replica.Token), "battery")
	is.Equal(cfg.Token.Reveal(), "staple")
	is.Equal(cfg.Groups.Name, "staple")
	is.Equal(cfg.Limit, 7)
	is.Equal(cfg.Pool, poolSettings{10, 2})
	is.Equal(cfg.Debug, nil)
	is.Equal(cfg.Region, "eu")
	is.Equal(cfg.Plain+cfg.Nested.Name+cfg.Skip.Key, "")
	is.Equal(cfg.plain, 0)
	is.Equal(backend.Fetches("database"), 1) // one GetMany
	is.Equal(backend.Fetches("api/token"), 1)
	is.Equal(backend.Fetches("skipped"), 0)
}

func TestKeysAreInTheOrderOfFieldsAndOnce(t *testing.T) {
	is := is.New(t)
	is.Equal(bind.Keys[config](), []string{
		"region", "database#user", "database#password", "database/replica#user", "database/replica/token", "api/token", "limits#rps", "pool",
		"debug",
	})
}

// Each call returns its own list.
func TestKeysMayBeChanged(t *testing.T) {
	is := is.New(t)
	clear(bind.Keys[config]())
	is.Equal(bind.Keys[config]()[0], "region")
}

// Only a missing secret is replaced by a default or skipped, as with GetOr.
func TestOptionalAndDefault(t *testing.T) {
	type optional struct {
		Zero     *int           `secret:"doc#zero,optional"`
		Text     string         `secret:"text,optional"`
		Secret   secrets.Secret `secret:"secret,optional"`
		Number   int            `secret:"doc#number,default=5"`
		List     string         `secret:"list,default=a,optional,b"`
		Empty    string         `secret:"empty,default="`
		Password secrets.Secret `secret:"password,default=none"`
		Pool     poolSettings   `secret:"pool,json,default={\"Max\":3}"`
		Both     *int           `secret:"both,optional,default=6"`
	}
	defaults := func(is *is.I, cfg optional) {
		is.Helper()
		is.Equal(cfg.Zero, nil)
		is.Equal(cfg.Text, "")
		is.True(cfg.Secret.IsZero())
		is.Equal(cfg.Number, 5)
		is.Equal(cfg.List, "a,optional,b")
		is.Equal(cfg.Empty, "")
		is.Equal(cfg.Password.Reveal(), "none")
		is.Equal(cfg.Password.Meta().Backend, "default")
		is.Equal(cfg.Pool, poolSettings{Max: 3})
		is.Equal(*cfg.Both, 6)
	}
	t.Run("nothing exists", func(t *testing.T) {
		is := is.New(t)
		client, _ := open(t, nil)
		cfg, err := bind.Load[optional](t.Context(), client)
		is.NoErr(err)
		defaults(is, cfg)
	})
	t.Run("the fields are missing, or null, or deleted", func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, map[string]string{"doc": `{"zero":null}`, "text": "x"})
		backend.Delete("text")
		cfg, err := bind.Load[optional](t.Context(), client)
		is.NoErr(err)
		defaults(is, cfg)
	})
	t.Run("everything exists", func(t *testing.T) {
		is := is.New(t)
		client, _ := open(t, map[string]string{
			"doc": `{"zero":0,"number":1}`, "text": "t", "secret": "s", "list": "l", "empty": "e", "password": "p",
			"pool": `{"Idle":1}`, "both": "2",
		})
		cfg, err := bind.Load[optional](t.Context(), client)
		is.NoErr(err)
		is.Equal(*cfg.Zero, 0)
		is.Equal(cfg.Text+cfg.Secret.Reveal()+cfg.List+cfg.Empty+cfg.Password.Reveal(), "tslep")
		is.Equal(cfg.Number, 1)
		is.Equal(cfg.Pool, poolSettings{Idle: 1}) // the default is not merged in
		is.Equal(*cfg.Both, 2)
	})
	for _, class := range []error{
		secrets.ErrPermissionDenied, secrets.ErrUnauthenticated, secrets.ErrUnavailable, secrets.ErrMalformed, secrets.ErrUnknown,
	} {
		t.Run(class.Error(), func(t *testing.T) {
			is := is.New(t)
			client, backend := open(t, nil)
			backend.Fail(class)
			cfg, err := bind.Load[optional](t.Context(), client)
			is.True(errors.Is(err, class))
			is.Equal(len(lines(err)), 9)
			is.Equal(cfg.Number, 0)
		})
	}
	t.Run("a value that is malformed", func(t *testing.T) {
		is := is.New(t)
		client, _ := open(t, map[string]string{"doc": `{"zero":"","number":"many"}`})
		_, err := bind.Load[optional](t.Context(), client)
		is.Equal(lines(err), []string{
			"secrets: bind: optional.Zero (doc#zero): fake: malformed: the value is not a whole number that fits int",
			"secrets: bind: optional.Number (doc#number): fake: malformed: the value is not a whole number that fits int",
		})
	})
}

func lines(err error) []string { return strings.Split(err.Error(), "\n") }

// All failures are in one error, in field order.
func TestTheErrorOfLoadNamesEachField(t *testing.T) {
	is := is.New(t)
	docs := documents()
	docs["database"] = `{"user":"app"}`
	docs["limits"] = `{"rps":"seven"}`
	docs["pool"] = `{"Max":"ten"}`
	client, backend := open(t, docs)
	backend.FailPath("api/token", secrets.ErrPermissionDenied)
	cfg, err := bind.Load[config](t.Context(), client)
	is.Equal(cfg.DB.User+cfg.Region, "") // the zero value
	got := lines(err)
	for i, want := range []string{
		`secrets: bind: config.DB.Password (database#password): fake: field not found: `,
		`secrets: bind: config.Token (api/token): fake: permission denied: `,
		`secrets: bind: config.Limit (limits#rps): fake: malformed: the value is not a whole number that fits int`,
		`secrets: bind: config.Pool (pool): fake: malformed: the field Max is a string, but the Go type is int`,
		`secrets: bind: config.Groups.Name (api/token): fake: permission denied: `,
	} {
		is.True(strings.HasPrefix(got[i], want)) // got[i]
	}
	is.Equal(len(got), 5)
	for _, class := range []error{secrets.ErrNotFound, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrMalformed} {
		is.True(errors.Is(err, class))
	}
	is.True(!errors.Is(err, secrets.ErrUnavailable))
	own, ok := errors.AsType[*secrets.Error](err)
	is.True(ok)
	is.Equal(own.Key, "database#password")
	is.Equal(own.Backend, "fake")
	joined := err.(interface{ Unwrap() []error }).Unwrap()
	is.Equal(secrets.Class(joined[2]), secrets.ErrMalformed)
	own, ok = errors.AsType[*secrets.Error](joined[2])
	is.True(ok)
	is.Equal(own.Key, "limits#rps")
	is.Equal(own.Backend, "fake")
	is.Equal(secrets.Class(err), secrets.ErrPermissionDenied) // the most serious of several
}

func TestLoadWithoutAnAnswer(t *testing.T) {
	is := is.New(t)
	client, backend := open(t, documents())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := bind.Load[config](ctx, client)
	is.True(errors.Is(err, context.Canceled))
	is.Equal(backend.Calls(), 0)
	is.Equal(len(lines(err)), 10) // one per field, including optional ones

	is.NoErr(client.Close())
	_, err = bind.Load[config](t.Context(), client)
	is.True(errors.Is(err, secrets.ErrClosed))
	is.Equal(len(lines(err)), 10)

	_, err = bind.Load[config](t.Context(), nil)
	is.Equal(err.Error(), "secrets: bind: a nil Client")
}

// A struct type without a name has none in errors.
func TestAStructWithoutAName(t *testing.T) {
	is := is.New(t)
	client, _ := open(t, nil)
	_, err := bind.Load[struct {
		DB struct {
			User string `secret:"#user"`
		} `secret:"database"`
	}](t.Context(), client)
	is.True(strings.HasPrefix(err.Error(), "secrets: bind: DB.User (database#user): fake: not found: "))
}

// All fields of one document have the same version, even if it changes meanwhile.
func TestLoadReadsOneVersion(t *testing.T) {
	type login struct {
		User     string `secret:"database#user"`
		Password string `secret:"database#password"`
	}
	is := is.New(t)
	client, backend := open(t, nil)
	n := 0
	backend.OnCall(func(context.Context, []secrets.Ref) error {
		n++
		backend.Set("database", fmt.Sprintf(`{"user":"%d","password":"%d"}`, n, n))
		return nil
	})
	for range 100 {
		l, err := bind.Load[login](t.Context(), client)
		is.NoErr(err)
		is.Equal(l.User, l.Password)
	}
	is.Equal(n, 100)
}
