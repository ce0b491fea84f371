package awssm_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// class returns the class of a Get from a service that is never asked, since there are no credentials.
func class(t *testing.T, opts ...awssm.Option) error {
	t.Helper()
	b, err := awssm.New(t.Context(), append(opts, awssm.WithEndpoint("http://127.0.0.1:1"))...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client(t, b).Get(t.Context(), "db")
	secretstest.AssertNoLeak(t, canary, err)
	return secrets.Class(err)
}

// TestTheCredentialsOfAContainer has the agent that gives them fail. A cache must live through an outage of it.
func TestTheCredentialsOfAContainer(t *testing.T) {
	is := is.New(t)
	for status, want := range map[int]error{
		400: secrets.ErrUnauthenticated, 403: secrets.ErrUnauthenticated, 404: secrets.ErrUnauthenticated,
		429: secrets.ErrUnavailable, 500: secrets.ErrUnavailable, 503: secrets.ErrUnavailable,
	} {
		for _, kind := range []string{"text/plain", "application/json"} {
			agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, `{"code":"X","message":%q}`, canary)
			}))
			hermetic(t, map[string]string{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.URL})
			is.Equal(class(t), want) // status
			agent.Close()
		}
	}
	hermetic(t, map[string]string{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1"})
	is.Equal(class(t), secrets.ErrUnavailable)
}

// TestCredentialsOfFilesThatAreMissing is no outage: they do not come by themselves.
func TestCredentialsOfFilesThatAreMissing(t *testing.T) {
	for name, config := range map[string]string{
		"SSO without a login": "sso_start_url = https://sso.example\nsso_region = eu-west-1\nsso_account_id = 123456789012\n" +
			"sso_role_name = app\n",
		"a web identity": "web_identity_token_file = /nonexistent\nrole_arn = arn:aws:iam::123456789012:role/app\n",
		"a process":      "credential_process = sh -c 'exit 1'\n",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			hermetic(t, map[string]string{"AWS_REGION": "eu-west-1"})
			is.NoErr(os.WriteFile(filepath.Join(os.Getenv("HOME"), "config"), []byte("[default]\n"+config), 0o600))
			is.Equal(class(t), secrets.ErrUnauthenticated)
		})
	}
}

// TestCredentialsThatAreSecrets has a provider that reads the keys from another store. What that says is not the answer.
func TestCredentialsThatAreSecrets(t *testing.T) {
	for theirs, want := range map[error]error{
		secrets.ErrNotFound:         secrets.ErrUnauthenticated,
		secrets.ErrDeleted:          secrets.ErrUnauthenticated,
		secrets.ErrPermissionDenied: secrets.ErrUnauthenticated,
		secrets.ErrUnavailable:      secrets.ErrUnavailable,
	} {
		is := is.New(t)
		cfg := config()
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, &secrets.Error{Backend: "vault", Key: "aws/keys", Err: theirs, Detail: canary}
		})
		is.Equal(class(t, awssm.WithConfig(cfg)), want)
	}
}

// TestTheRegionOfTheOptionIsThatOfTheCredentialsToo has a role to assume, and no region but that of WithRegion: without one,
// STS cannot be asked.
func TestTheRegionOfTheOptionIsThatOfTheCredentialsToo(t *testing.T) {
	is := is.New(t)
	var scope string
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKIDEXAMPLE</AccessKeyId>
			<SecretAccessKey>EXAMPLEKEY</SecretAccessKey><SessionToken>EXAMPLETOKEN</SessionToken>
			<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)) // the client may hang up
	}))
	defer sts.Close()
	hermetic(t, map[string]string{"AWS_ENDPOINT_URL_STS": sts.URL})
	const profiles = "[default]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = base\n" +
		"[profile base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = EXAMPLEKEY\n"
	is.NoErr(os.WriteFile(filepath.Join(os.Getenv("HOME"), "config"), []byte(profiles), 0o600))
	is.Equal(class(t, awssm.WithRegion("eu-west-1")), secrets.ErrUnavailable) // it has credentials, and no service
	is.True(strings.Contains(scope, "/eu-west-1/sts/"))
}
