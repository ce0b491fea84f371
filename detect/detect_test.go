package detect_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

func get(t *testing.T, key, want string, opts ...detect.Option) {
	t.Helper()
	client, d, err := detect.New(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := client.Get(t.Context(), key)
	if err != nil || s.Reveal() != want || s.Meta().Backend != d.Provider {
		t.Errorf("%s of %s is %q from %q, %v, not %q", key, d.Provider, s.Reveal(), s.Meta().Backend, err, want)
	}
}

// Variables configure the backend, and options win over them.
func TestOptionsWinOverVariables(t *testing.T) {
	dir := directory(t, "database/password")
	nowhere := detect.WithDirectory(filepath.Join(dir, "nowhere"))

	t.Run("env", func(t *testing.T) {
		hermetic(t, vars{"SECRET_MANAGER_PREFIX": "SHOP_", "SHOP_DATABASE_PASSWORD": "shop", "DATABASE_PASSWORD": "plain",
			"OWN_DATABASE_PASSWORD": "own"})
		get(t, "database#password", "shop", nowhere)
		get(t, "database#password", "own", nowhere, detect.WithEnv(env.WithPrefix("OWN_")))
		get(t, "database#password", "injected", nowhere, lookup(vars{"DATABASE_PASSWORD": "injected"}))
	})
	t.Run("file", func(t *testing.T) {
		hermetic(t, vars{"SECRET_MANAGER_PATH": dir})
		get(t, "database#password", "correct horse")
		files, _, err := detect.Backend(t.Context(), detect.WithFile(file.WithCaching()))
		if err != nil || files.Info().Local {
			t.Errorf("WithCaching did not arrive: %v", err)
		}
	})
	t.Run("the directory", func(t *testing.T) {
		hermetic(t, nil)
		get(t, "password", "correct horse", detect.WithDirectory(directory(t, "password")))
		get(t, "password", "correct horse", nowhere, lookup(vars{"CREDENTIALS_DIRECTORY": directory(t, "password")}))
	})
	t.Run("aws", func(t *testing.T) {
		hermetic(t, nil)
		server := awstest.NewServer(t)
		server.Setenv(t)
		server.Put("prod/database", `{"password":"prod"}`)
		server.Put("test/database", `{"password":"test"}`)
		server.In("eu-south-2").Put("prod/database", `{"password":"south"}`)
		t.Setenv("AWS_SECRET_PREFIX", "prod/")
		get(t, "database#password", "prod", nowhere)
		get(t, "database#password", "test", nowhere, detect.WithAWS(awssm.WithPrefix("test/")))
		get(t, "database#password", "south", nowhere, detect.WithAWS(awssm.WithRegion("eu-south-2")))
		get(t, "database#password", "south", nowhere,
			lookup(vars{"AWS_SECRET_PREFIX": "prod/", "AWS_REGION": "eu-south-2", "AWS_DEFAULT_REGION": "eu-west-1"}))
		get(t, "database#password", "south", nowhere,
			lookup(vars{"AWS_SECRET_PREFIX": "prod/", "AWS_REGION": " ", "AWS_DEFAULT_REGION": "eu-south-2"}))
		t.Setenv("AWS_REGION", " ") // the SDK would use it as the region
		t.Setenv("AWS_DEFAULT_REGION", "eu-south-2")
		get(t, "database#password", "south", nowhere)
	})
	t.Run("vault", func(t *testing.T) {
		hermetic(t, vars{"VAULT_ADDR": "https://vault.example"})
		_, _, err := detect.Backend(t.Context(), nowhere)
		if err == nil {
			t.Error("there is no token")
		}
		backend, d, err := detect.Backend(t.Context(), nowhere, detect.WithVault(vault.WithAuth(vault.AppRole("web", vault.Env("SECRET_ID")))))
		if err != nil || d.Provider != "vault" {
			t.Errorf("a login is a source of tokens: %v", err)
		}
		shut(t, backend)
	})
}

// The same program runs without variables, on a laptop, in Kubernetes and on Lambda.
func TestOneProgramEverywhere(t *testing.T) {
	jwt := filepath.Join(directory(t, "token"), "token")
	server := vaulttest.New(t)
	server.Put("secret/database", `{"password":"laptop"}`)
	server.Mount("shop/kv", 2)
	server.Put("shop/kv/database", `{"password":"cluster"}`)
	cloud := awstest.NewServer(t)
	cloud.Put("prod/database", `{"password":"lambda"}`)
	for want, all := range map[string]vars{
		"nothing": {"DATABASE_PASSWORD": "nothing"},
		"laptop":  {"VAULT_ADDR": server.Address(), "VAULT_TOKEN": server.Token()},
		"cluster": {"VAULT_ADDR": server.Address(), "VAULT_AUTH_METHOD": "kubernetes", "VAULT_ROLE": "shop", "VAULT_JWT_FILE": jwt,
			"VAULT_MOUNT": "shop/kv"},
		"lambda": lambda(vars{"AWS_SECRET_PREFIX": "prod/"}),
	} {
		t.Run(want, func(t *testing.T) {
			hermetic(t, nil)
			if want == "lambda" {
				cloud.Setenv(t)
			}
			for name, value := range all {
				if cloud := strings.HasPrefix(name, "AWS_") && name != "AWS_SECRET_PREFIX"; !cloud { // the server has set those
					t.Setenv(name, value)
				}
			}
			get(t, "database#password", want, detect.WithDirectory(filepath.Join(t.TempDir(), "nowhere")))
		})
	}
}

// A backend that reads the environment of the process is Nonblocking.
func TestTheEnvironmentDoesNotBlock(t *testing.T) {
	is := is.New(t)
	hermetic(t, nil)
	nonblocking := func(opts ...detect.Option) bool {
		backend, _, err := detect.Backend(t.Context(), append(opts, detect.WithDirectory(filepath.Join(t.TempDir(), "nowhere")))...)
		is.NoErr(err)
		return backend.Info().Nonblocking
	}
	is.True(nonblocking())
	is.True(!nonblocking(lookup(nil)))
}

func TestNew(t *testing.T) {
	is := is.New(t)
	hermetic(t, vars{"SECRET_MANAGER_TYPE": "fake"})
	var fake *secretstest.Backend
	own := detect.With("fake", func(_ context.Context, lookup func(string) (string, bool)) (secrets.Backend, error) {
		if name, _ := lookup("SECRET_MANAGER_TYPE"); name != "fake" {
			t.Errorf("the factory looks up %q", name)
		}
		fake = secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
		return fake, nil
	})
	memory := cache.New()
	client, d, err := detect.New(t.Context(), own, detect.WithClientOptions(secrets.WithCache(memory)))
	is.NoErr(err)
	is.Equal(d.Provider, "fake")
	for range 3 {
		_, err = client.Get(t.Context(), "api/token")
		is.NoErr(err)
	}
	is.Equal(fake.Calls(), 1) // the client has the standard stack
	is.Equal(memory.Stats().Entries, 1)
	is.NoErr(client.Close())
	is.Equal(fake.Closes(), 1)

	// If the client cannot be made, its backend is closed.
	client, d, err = detect.New(t.Context(), own, detect.WithClientOptions(secrets.WithTimeout(-1), nil))
	is.True(client == nil)
	is.True(strings.Contains(err.Error(), "WithTimeout") && strings.Contains(err.Error(), "option 3 is nil"))
	is.Equal(d.Provider, "fake")
	is.Equal(fake.Closes(), 1)

	_, d, err = detect.New(t.Context(), own, lookup(vars{"SECRET_MANAGER_TYPE": "fkae"}))
	is.True(strings.Contains(err.Error(), "did you mean fake?"))
	is.Equal(d.Provider, "")
}

func TestFaults(t *testing.T) {
	is := is.New(t)
	ok := func(context.Context, func(string) (string, bool)) (secrets.Backend, error) {
		return secretstest.NewBackend(nil), nil
	}
	_, d, err := detect.Backend(t.Context(), nil, detect.WithLookup(nil), detect.WithDirectory(""), detect.With("own", nil),
		detect.With("own", ok), detect.With("own", ok), detect.With("vault", ok), detect.With("auto", ok), detect.With("Own", ok),
		detect.With("", ok), detect.With("a b", ok),
		detect.With(strings.Repeat("a", 33), ok), detect.WithClientOptions())
	for _, want := range []string{
		"option 1 is nil", "WithLookup: a nil function", "WithDirectory: an empty name", `the factory of "own" is nil`,
		`the provider "own" already exists`,
		`the provider "vault" already exists`, `the provider "auto" already exists`, `With: "Own"`, `With: ""`, `With: "a b"`,
		`With: "aaa`,
		"WithClientOptions: Backend makes no client",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not report %s: %v", want, err)
		}
	}
	is.Equal(len(strings.Split(err.Error(), "\n")), 12)
	is.Equal(d.Provider, "")
}

func TestFactories(t *testing.T) {
	type nothing struct{ secrets.Backend }
	down := errors.New("the keyring is locked")
	for name, c := range map[string]struct {
		factory detect.Factory
		want    string
	}{
		"an error": {func(context.Context, func(string) (string, bool)) (secrets.Backend, error) { return nil, down },
			"SECRET_MANAGER_TYPE says own: the keyring is locked"},
		"nothing": {func(context.Context, func(string) (string, bool)) (secrets.Backend, error) { return nil, nil }, "returned no backend"},
		"a nil pointer": {func(context.Context, func(string) (string, bool)) (secrets.Backend, error) {
			return (*nothing)(nil), nil
		}, "returned no backend"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend, d, err := detect.Backend(t.Context(), detect.With("own", c.factory), lookup(vars{"SECRET_MANAGER_TYPE": "own"}))
			is.True(backend == nil)
			is.Equal(d.Provider, "own")
			is.True(strings.Contains(err.Error(), c.want))
			is.Equal(errors.Is(err, down), name == "an error")
		})
	}
}

// If the context of the caller ends, only its error is returned.
func TestTheErrorOfTheContextIsReturned(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	own := detect.With("own", func(context.Context, func(string) (string, bool)) (secrets.Backend, error) {
		cancel()
		return nil, errors.New("interrupted")
	})
	_, _, err := detect.Backend(ctx, own, lookup(vars{"SECRET_MANAGER_TYPE": "own"}))
	is.Equal(err, context.Canceled)
	_, _, err = detect.New(ctx, lookup(nil))
	is.Equal(err, context.Canceled)
}

func TestErrorsOfDirectories(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	_, _, err := detect.Backend(t.Context(), lookup(vars{"SECRET_MANAGER_PATH": filepath.Join(dir, "nowhere")}))
	is.True(errors.Is(err, fs.ErrNotExist))
	is.True(strings.Contains(err.Error(), filepath.Join(dir, "nowhere")))

	_, _, err = detect.Backend(t.Context(), lookup(vars{"SECRET_MANAGER_PATH": filepath.Join(dir, "a\nb\x1b[31m")}))
	is.True(errors.Is(err, fs.ErrNotExist))
	is.True(!strings.ContainsAny(err.Error(), "\n\x1b")) // a path cannot add lines to a log
}

// All addresses that the providers and SDKs may use lead to a server that counts connections.
func TestNoNetworkCallsAreMade(t *testing.T) {
	is := is.New(t)
	var connections atomic.Int32
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.NoErr(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_ = conn.Close()
		}
	}()
	defer func() { _ = listener.Close(); <-done }()

	url := "http://" + listener.Addr().String()
	hermetic(t, vars{
		"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_ENDPOINT_URL": url,
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": "", "VAULT_HTTP_PROXY": url,
	})
	for _, all := range []vars{
		{},
		{"SECRET_MANAGER_TYPE": "aws", "AWS_REGION": "eu-west-1"},
		{"AWS_REGION": "eu-west-1"},
		{"AWS_SECRET_PREFIX": "prod/"}, // a region could come from the metadata service
		{"VAULT_ADDR": url, "VAULT_TOKEN": "hvs.example"},
		{"VAULT_AGENT_ADDR": url},
		{"SECRET_MANAGER_TYPE": "vault", "VAULT_ADDR": "https://vault.example"},
	} {
		for name, value := range all {
			t.Setenv(name, value)
		}
		for _, opts := range [][]detect.Option{nil, {lookup(all)}, {detect.WithStrict()}} {
			backend, _, _ := detect.Backend(t.Context(), append(opts, detect.WithDirectory(t.TempDir()))...)
			shut(t, backend)
		}
		for name := range all {
			is.NoErr(os.Unsetenv(name)) // t.Setenv restores it
		}
	}
	is.Equal(connections.Load(), int32(0))

	// The control: a read does connect to the server.
	for _, all := range []vars{{"VAULT_ADDR": url, "VAULT_TOKEN": "hvs.example"}, {"AWS_REGION": "eu-west-1"}} {
		before := connections.Load()
		client, _, err := detect.New(t.Context(), lookup(all), detect.WithDirectory(t.TempDir()))
		is.NoErr(err)
		_, err = client.Get(t.Context(), "database#password")
		is.True(err != nil)
		is.True(connections.Load() > before)
		is.NoErr(client.Close())
	}
}

func TestDetectionIsPrinted(t *testing.T) {
	is := is.New(t)
	run := filepath.Join(t.TempDir(), "nowhere")
	backend, d, err := detect.Backend(t.Context(), detect.WithDirectory(run), lookup(vars{
		"VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": "hvs.example", "SECRET_MANAGER_PATH": "/etc/secrets", "AWS_REGION": "eu-west-1",
	}))
	is.NoErr(err)
	shut(t, backend)
	is.Equal(d.String(), "vault: VAULT_ADDR is set (https://vault.example); not used: SECRET_MANAGER_PATH=/etc/secrets (file), "+
		"AWS_REGION=eu-west-1 (aws)")
	var out bytes.Buffer
	is.NoErr(d.Explain(&out))
	is.Equal(out.String(), `vault: VAULT_ADDR is set (https://vault.example)

found, in the order in which it counts:
  used      VAULT_ADDR=https://vault.example  vault  decides
  not used  SECRET_MANAGER_PATH=/etc/secrets  file   VAULT_ADDR comes first
  not used  AWS_REGION=eu-west-1              aws    VAULT_ADDR comes first

not chosen:
  env   SECRET_MANAGER_PREFIX is not set, and VAULT_ADDR comes before the default
  file  VAULT_ADDR comes before SECRET_MANAGER_PATH
  aws   VAULT_ADDR comes before AWS_REGION
`)
	out.Reset()
	slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).Info("secrets", "from", d)
	is.Equal(out.String(),
		`level=INFO msg=secrets from.provider=vault from.reason="VAULT_ADDR is set (https://vault.example)" `+
			`from.not_used="SECRET_MANAGER_PATH=/etc/secrets (file), AWS_REGION=eu-west-1 (aws)"`+"\n")

	// Variables without effect and empty variables are reported.
	_, d, err = detect.Backend(t.Context(), detect.WithDirectory(run), lookup(vars{"VAULT_TOKEN": "hvs.example", "SECRET_MANAGER_TYPE": ""}))
	is.NoErr(err)
	is.Equal(d.String(), "env: nothing points to a provider, and env is the default; "+
		"not used: VAULT_TOKEN (no effect without VAULT_ADDR), SECRET_MANAGER_TYPE (empty, which counts as not set)")
	out.Reset()
	is.NoErr(d.Explain(&out))
	is.Equal(strings.ReplaceAll(out.String(), run, "/run/secrets"), `env: nothing points to a provider, and env is the default

found, in the order in which it counts:
  not used  VAULT_TOKEN          vault  no effect without VAULT_ADDR
  not used  SECRET_MANAGER_TYPE         empty, which counts as not set

not chosen:
  file   SECRET_MANAGER_PATH is not set, and /run/secrets does not exist
  vault  neither VAULT_ADDR nor VAULT_AGENT_ADDR is set
  aws    none of AWS_SECRET_PREFIX, AWS_REGION and AWS_DEFAULT_REGION is set
`)
	is.Equal(d.Explain(failing{}), errFull) // the error of the writer

	_, d, err = detect.Backend(t.Context(), detect.WithDirectory(run), lookup(vars{"SECRET_MANAGER_TYPE": "gcp", "AWS_REGION": "eu-west-1"}))
	is.True(err != nil)
	is.Equal(d.String(), "no provider: SECRET_MANAGER_TYPE names an unknown provider; not used: AWS_REGION=eu-west-1 (aws)")
	is.Equal(detect.Detection{}.String(), "no provider: ")
	_, d, err = detect.Backend(t.Context(), detect.WithDirectory(run), lookup(vars{"SECRET_MANAGER_TYPE": "auto"}))
	is.NoErr(err)
	is.Equal(d.String(), "env: nothing points to a provider, and env is the default")
}

// Paths and addresses are shown, since they may need a fix. Passwords, and anything that looks like a token, are not.
func TestPathsAreShownAndTokensAreMasked(t *testing.T) {
	for name, tc := range map[string]struct {
		vars vars
		want string
	}{
		"a path":         {vars{"SECRET_MANAGER_PATH": "/nowhere/secrets"}, "SECRET_MANAGER_PATH is set (/nowhere/secrets)"},
		"an address":     {vars{"VAULT_ADDR": "https://vault.example:8200/v"}, "VAULT_ADDR is set (https://vault.example:8200/v)"},
		"a password":     {vars{"VAULT_ADDR": "https://me:hunter2@vault.example"}, "VAULT_ADDR is set (https://vault.example)"},
		"a query":        {vars{"VAULT_ADDR": "https://vault.example?token=hunter2#hunter2"}, "VAULT_ADDR is set (https://vault.example)"},
		"not an address": {vars{"VAULT_ADDR": "hunter2"}, "VAULT_ADDR is set"},
		"a socket":       {vars{"VAULT_ADDR": "unix:///run/vault.sock"}, "VAULT_ADDR is set (unix:///run/vault.sock)"},
		"a region":       {vars{"AWS_REGION": "us-gov-west-1"}, "AWS_REGION is set (us-gov-west-1), and nothing points elsewhere"},
		"a prefix":       {vars{"AWS_SECRET_PREFIX": "prod/shop/"}, "AWS_SECRET_PREFIX is set (prod/shop/)"},
		"a newline":      {vars{"SECRET_MANAGER_PREFIX": "a\nb"}, `SECRET_MANAGER_PREFIX is set ("a\nb")`},
		"a long value": {vars{"SECRET_MANAGER_PREFIX": strings.Repeat("ab_", 100)},
			"SECRET_MANAGER_PREFIX is set (" + strings.Repeat("ab_", 67)[:200] + "…)"},
		"a token of Vault": {vars{"SECRET_MANAGER_PATH": "/x/hvs.CAESIexample"}, "SECRET_MANAGER_PATH is set (/x/[REDACTED])"},
		"a legacy token":   {vars{"SECRET_MANAGER_PATH": "s.abcdefghijklmnopqrstuvwx"}, "SECRET_MANAGER_PATH is set ([REDACTED])"},
		"a key of AWS":     {vars{"AWS_SECRET_PREFIX": "AKIAIOSFODNN7EXAMPLE"}, "AWS_SECRET_PREFIX is set ([REDACTED])"},
		"a random string":  {vars{"SECRET_MANAGER_PREFIX": "x-7f3Kq9ZxWv2m-y"}, "SECRET_MANAGER_PREFIX is set ([REDACTED])"},
		"a secret key of AWS": {vars{"AWS_SECRET_PREFIX": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
			"AWS_SECRET_PREFIX is set ([REDACTED])"},
		"a secret ID":          {vars{"SECRET_MANAGER_PATH": "6a174c20-f6de-a53c-74d2-6018fcceff64"}, "SECRET_MANAGER_PATH is set ([REDACTED])"},
		"a token after a name": {vars{"SECRET_MANAGER_PREFIX": "t_hvs.CAESIexample"}, "SECRET_MANAGER_PREFIX is set (t_[REDACTED])"},
		"a token of GitHub":    {vars{"SECRET_MANAGER_PATH": "github_pat_11ABCDEFG_abcdefghijk"}, "SECRET_MANAGER_PATH is set ([REDACTED])"},
		"capitals":             {vars{"SECRET_MANAGER_PATH": "/x/qRbTzWeKpLmJ"}, "SECRET_MANAGER_PATH is set (/x/[REDACTED])"},
		"names": {vars{"SECRET_MANAGER_PREFIX": "MySecretStoreForApp/ProductionDatabase2/k8s"},
			"SECRET_MANAGER_PREFIX is set (MySecretStoreForApp/ProductionDatabase2/k8s)"},
		"a slash too few":       {vars{"VAULT_ADDR": "https:/me:hunter2@vault.example"}, "VAULT_ADDR is set"},
		"a slash too many":      {vars{"VAULT_ADDR": "https:///me:hunter2@vault.example"}, "VAULT_ADDR is set"},
		"a slash in a password": {vars{"VAULT_ADDR": "https://me:12/34@vault.example"}, "VAULT_ADDR is set"},
		"a ? in a password":     {vars{"VAULT_ADDR": "https://me:12?34@vault.example"}, "VAULT_ADDR is set"},
		"a # in a password":     {vars{"VAULT_ADDR": "https://me:12#34@vault.example"}, "VAULT_ADDR is set"},
		"a URL for a path": {vars{"SECRET_MANAGER_PATH": "postgres://me:hunter@2@db.example/x"},
			"SECRET_MANAGER_PATH is set ([REDACTED]@db.example/x)"},
		"IPv6": {vars{"VAULT_ADDR": "https://me:hunter2@[::1]:8200"}, "VAULT_ADDR is set (https://[::1]:8200)"},
		"a web token": {vars{"SECRET_MANAGER_PREFIX": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."},
			"SECRET_MANAGER_PREFIX is set ([REDACTED])"},
		"of Kubernetes": {vars{"SECRET_MANAGER_PATH": "/var/run/secrets/app-7d9f8b6c5d/v1.2.3"},
			"SECRET_MANAGER_PATH is set (/var/run/secrets/app-7d9f8b6c5d/v1.2.3)"},
		"of a test in Go": {vars{"SECRET_MANAGER_PATH": "/tmp/TestDetectionOfFiles4061937183/001"},
			"SECRET_MANAGER_PATH is set (/tmp/TestDetectionOfFiles4061937183/001)"},
	} {
		t.Run(name, func(t *testing.T) {
			backend, d, _ := detect.Backend(t.Context(), detect.WithDirectory("/nowhere"), lookup(tc.vars))
			shut(t, backend)
			is.New(t).Equal(d.Reason, tc.want)
		})
	}
}

var errFull = errors.New("the disk is full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

// A missing directory is no error if an earlier signal decides. WithStrict needs the directory, and then it is.
func TestAMissingDirectoryMattersOnlyIfTheChoiceDependsOnIt(t *testing.T) {
	is := is.New(t)
	all := lookup(lambda(vars{"CREDENTIALS_DIRECTORY": "/nowhere"}))
	backend, d, err := detect.Backend(t.Context(), all)
	is.NoErr(err)
	is.Equal(d.Provider, "aws")
	shut(t, backend)
	_, d, err = detect.Backend(t.Context(), all, detect.WithStrict())
	is.Equal(d.Provider, "")
	is.True(strings.Contains(err.Error(), "/nowhere ($CREDENTIALS_DIRECTORY) does not exist"))
}

func TestAnAmbiguityListsAllSignals(t *testing.T) {
	is := is.New(t)
	_, d, err := detect.Backend(t.Context(), detect.WithStrict(), lookup(vars{
		"VAULT_ADDR": "https://vault.example", "SECRET_MANAGER_PATH": "/etc/secrets", "SECRET_MANAGER_PREFIX": "SHOP_", "AWS_REGION": "eu-west-1",
	}))
	is.Equal(err.Error(), "secrets: detect: ambiguous environment: VAULT_ADDR is set (https://vault.example), which points to vault, but "+
		"SECRET_MANAGER_PATH=/etc/secrets points to file, and SECRET_MANAGER_PREFIX=SHOP_ points to env; set SECRET_MANAGER_TYPE")
	is.Equal(d.Provider, "vault") // the choice without WithStrict
}

func BenchmarkBackend(b *testing.B) {
	dir := b.TempDir()
	for name, all := range map[string]vars{
		"env":   {},
		"file":  {"SECRET_MANAGER_PATH": dir},
		"vault": {"VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": "hvs.example"},
		"aws":   {"AWS_REGION": "eu-west-1"},
	} {
		b.Run(name, func(b *testing.B) {
			b.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			b.Setenv("HOME", dir)
			b.ReportAllocs()
			for b.Loop() {
				backend, _, err := detect.Backend(context.Background(), lookup(all), detect.WithDirectory(dir))
				if err != nil {
					b.Fatal(err)
				}
				_ = backend.Close()
			}
		})
	}
}
