package awssm_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// hermetic sets vars, in an environment in which the SDK finds nothing of the machine.
func hermetic(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // to restore it
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "USERPROFILE": home, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(home, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"),
	} {
		t.Setenv(name, value)
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func TestFaults(t *testing.T) {
	logs := config()
	logs.ClientLogMode = aws.LogResponseWithBody
	signatures := config()
	signatures.ClientLogMode = aws.LogSigning
	quiet := config()
	quiet.ClientLogMode = aws.LogRetries
	nowhere := config()
	nowhere.Region = ""
	odd := config()
	odd.Region = "evil.com/#"
	inTheClear := func(o *secretsmanager.Options) { o.EndpointOptions.DisableHTTPS = true }
	type opts = []awssm.Option
	for _, c := range []struct {
		name string
		env  map[string]string
		opts opts
		want string // part of the error, or "" for no error
	}{
		{name: "nothing", want: "no region: give WithRegion, or set AWS_REGION"},
		{name: "AWS_REGION", env: map[string]string{"AWS_REGION": "eu-west-1"}},
		{name: "AWS_DEFAULT_REGION", env: map[string]string{"AWS_DEFAULT_REGION": "eu-west-1"}},
		{name: "WithRegion", opts: opts{awssm.WithRegion("eu-west-1")}},
		{name: "an invalid region", opts: opts{awssm.WithRegion("evil.com/#")}, want: `WithRegion: "evil.com/#" is not a region`},
		{name: "an invalid region of the environment", env: map[string]string{"AWS_REGION": "evil.com/#"}, want: `"evil.com/#" is not a region`},
		{name: "an invalid region of the configuration", opts: opts{awssm.WithConfig(odd)}, want: `"evil.com/#" is not a region`},
		{name: "no region in the configuration", opts: opts{awssm.WithConfig(nowhere)}, want: "no region"},
		{name: "the option wins", opts: opts{awssm.WithConfig(nowhere), awssm.WithRegion("eu-west-1")}},
		{name: "no such profile", env: map[string]string{"AWS_REGION": "eu-west-1", "AWS_PROFILE": "missing"},
			want: `there is no profile "missing" in`},
		{name: "a profile name with a newline", env: map[string]string{"AWS_REGION": "eu-west-1", "AWS_PROFILE": "a\nlevel=ERROR \u202e"},
			want: `there is no profile "a\nlevel=ERROR \u202e" in`},
		{name: "a bad prefix", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithPrefix("a b")}, want: "WithPrefix"},
		{name: "no prefix", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithPrefix("")}},
		{name: "in the clear", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithEndpoint("http://vpce.example")}, want: "WithPlaintext"},
		{name: "in the clear, allowed",
			opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithEndpoint("http://localstack:4566"), awssm.WithPlaintext()}},
		{name: "in the clear, from the environment", env: map[string]string{"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://vpce.example"},
			want: "WithPlaintext"},
		{name: "in the clear, from a client", opts: opts{awssm.WithClient(secretsmanager.NewFromConfig(config(), inTheClear))},
			want: "DisableHTTPS"},
		{name: "loopback", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithEndpoint("http://127.0.0.1:4566")}},
		{name: "no endpoint", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithEndpoint("")}, want: "WithEndpoint: an empty URL"},
		{name: "an invalid endpoint", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithEndpoint("://" + canary)},
			want: "must begin with https://"},
		{name: "a password in the endpoint", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithEndpoint("https://u:" + canary + "@x.example")},
			want: "a user name or a password"},
		{name: "FIPS", env: map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"}, opts: opts{awssm.WithRegion("us-east-1")}},
		{name: "FIPS and an endpoint", env: map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"},
			opts: opts{awssm.WithRegion("us-east-1"), awssm.WithEndpoint("https://vpce.example")}, want: "AWS_USE_FIPS_ENDPOINT"},
		{name: "dual-stack and an endpoint", env: map[string]string{"AWS_USE_DUALSTACK_ENDPOINT": "true"},
			opts: opts{awssm.WithRegion("us-east-1"), awssm.WithEndpoint("https://vpce.example")}, want: "AWS_USE_DUALSTACK_ENDPOINT"},
		{name: "logging of bodies", opts: opts{awssm.WithConfig(logs)}, want: "would log bodies"},
		{name: "logging of bodies, in a client", opts: opts{awssm.WithClient(secretsmanager.NewFromConfig(logs))}, want: "would log bodies"},
		{name: "logging of signatures", opts: opts{awssm.WithConfig(signatures)}, want: "the session token"},
		{name: "logging of signatures, in a client", opts: opts{awssm.WithClient(secretsmanager.NewFromConfig(signatures))},
			want: "the session token"},
		{name: "other logging", opts: opts{awssm.WithConfig(quiet)}},
		{name: "a client", opts: opts{awssm.WithClient(secretsmanager.NewFromConfig(config()))}},
		{name: "a client and a region", opts: opts{awssm.WithClient(secretsmanager.NewFromConfig(config())), awssm.WithRegion("eu-west-1")},
			want: "leave out WithConfig, WithRegion and WithEndpoint"},
		{name: "no client", opts: opts{awssm.WithClient(nil)}, want: "WithClient: nil"},
		{name: "no name", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithName("")}, want: "WithName"},
		{name: "a nil option", opts: opts{awssm.WithRegion("eu-west-1"), nil}, want: "option 2 is nil"},
		{name: "a negative window", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithCoalescing(-1)}, want: "WithCoalescing"},
		{name: "a window without a unit", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithCoalescing(50)},
			want: "secrets: aws: WithCoalescing: 50ns; did you mean 50*time.Second?"},
		{name: "a long window", opts: opts{awssm.WithRegion("eu-west-1"), awssm.WithCoalescing(time.Minute)}, want: "WithCoalescing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			hermetic(t, c.env)
			b, err := awssm.New(t.Context(), c.opts...)
			if c.want == "" {
				is.NoErr(err)
				is.Equal(b.Info().Name, "aws")
				is.NoErr(b.Close())
				return
			}
			is.True(err != nil)
			is.True(b == nil)
			is.True(strings.HasPrefix(err.Error(), "secrets: aws: "))
			is.True(strings.Contains(err.Error(), c.want))
			is.True(!strings.Contains(err.Error(), "\u202e"))
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	is := is.New(t)
	hermetic(t, nil)
	_, err := awssm.New(t.Context(), awssm.WithName(""), awssm.WithPrefix("#"), awssm.WithEndpoint(""))
	for _, want := range []string{"WithName", "WithPrefix", "WithEndpoint", "no region"} {
		is.True(strings.Contains(err.Error(), want))
	}
}

func TestNoCredentials(t *testing.T) {
	is := is.New(t)
	hermetic(t, map[string]string{"AWS_REGION": "eu-west-1"})
	b, err := awssm.New(t.Context(), awssm.WithEndpoint("http://127.0.0.1:1"))
	is.NoErr(err)
	_, err = client(t, b).Get(t.Context(), "db")
	is.True(errors.Is(err, secrets.ErrUnauthenticated))
	is.True(strings.Contains(err.Error(), "no credentials"))
}

// The test counts requests to the metadata service, with a setting that makes the SDK call it.
func TestNewMakesNoNetworkCalls(t *testing.T) {
	is := is.New(t)
	var requests atomic.Int64
	metadata := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	t.Cleanup(metadata.Close)
	hermetic(t, map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_DEFAULTS_MODE": "auto", "AWS_EC2_METADATA_DISABLED": "false",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.URL,
	})
	b, err := awssm.New(t.Context(), awssm.WithEndpoint("http://127.0.0.1:1"))
	is.NoErr(err)
	is.Equal(requests.Load(), int64(0))
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.True(err != nil)
	is.True(requests.Load() > 0) // the control: Fetch needs credentials
}

func TestNoDumpShowsTheCredentials(t *testing.T) {
	b, requests := echo(t)
	if _, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"}); err != nil || len(*requests) != 1 {
		t.Fatal(err)
	}
	secretstest.AssertNoLeak(t, "EXAMPLEKEY", b)
}

func TestARefusedConnectionIsUnavailable(t *testing.T) {
	is := is.New(t)
	b := backend(t, "http://127.0.0.1:1")
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.True(errors.Is(err, secrets.ErrUnavailable))
	is.True(strings.Contains(err.Error(), "connection refused"))
	is.NoErr(b.Close())
	is.NoErr(b.Close())
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.True(errors.Is(err, secrets.ErrClosed))
	for _, r := range getAll(t, b, "a", "b", "c") {
		is.True(errors.Is(r.Err, secrets.ErrClosed))
	}
}

// A Client closes its backend. If another Client uses the same backend, its error must say why it fails.
func TestASecondClientOfAClosedBackendGetsTheReason(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{"plain": nil, "with all layers": {middleware.Standard()}} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, names, b := service(t, 5, awssm.WithName("prod"))
			first, second := client(t, b, opts...), client(t, b, opts...)
			_, err := second.Get(t.Context(), names[0]) // the control
			is.NoErr(err)
			is.NoErr(first.Close())
			const why = "closed: the backend was closed; each Client needs a backend of its own"
			_, err = second.Get(t.Context(), names[1])
			is.True(errors.Is(err, secrets.ErrClosed))
			is.Equal(err.Error(), "secrets: prod: "+names[1]+": "+why)
			_, err = second.GetMany(t.Context(), names[1:]...)
			is.Equal(strings.Count(err.Error(), why), 4)
		})
	}
}
