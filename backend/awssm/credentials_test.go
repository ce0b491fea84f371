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
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// class returns the error class of a Get without credentials, which never reaches the service.
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

// An error about credentials lists the sources that were tried, or the one that failed, by the names of variables and options.
func TestACredentialsErrorNamesTheSource(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(page)) // the client may hang up
	}))
	t.Cleanup(agent.Close)
	const role = "role_arn = arn:aws:iam::123456789012:role/app\n"
	for name, c := range map[string]struct {
		env    map[string]string
		config string
		class  error
		want   []string
	}{
		"nothing": {class: secrets.ErrUnauthenticated, want: []string{"no credentials found; looked at AWS_ACCESS_KEY_ID",
			"AWS_WEB_IDENTITY_TOKEN_FILE", `the profile "default" in "`, `/credentials" (does not exist)`, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
			"(off by AWS_EC2_METADATA_DISABLED)"}},
		"half a key": {env: map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"}, class: secrets.ErrUnauthenticated,
			want: []string{"AWS_ACCESS_KEY_ID (set, but without AWS_SECRET_ACCESS_KEY)"}},
		"the other half": {env: map[string]string{"AWS_SECRET_ACCESS_KEY": canary}, class: secrets.ErrUnauthenticated,
			want: []string{"AWS_SECRET_ACCESS_KEY (set, but without AWS_ACCESS_KEY_ID)"}},
		"a profile without keys": {env: map[string]string{"AWS_PROFILE": "app"}, config: "[profile app]\nregion = eu-west-1\n",
			class: secrets.ErrUnauthenticated, want: []string{`the profile "app" in "`}},
		"no metadata service": {env: map[string]string{"AWS_EC2_METADATA_DISABLED": "false",
			"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, class: secrets.ErrUnavailable,
			want: []string{"no credentials found; looked at ", "the metadata service of the instance does not answer"}},
		"a container": {env: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.URL}, class: secrets.ErrUnauthenticated,
			want: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI gives no credentials (status 403)"}},
		"a web identity": {env: map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent/token",
			"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/app"}, class: secrets.ErrUnauthenticated,
			want: []string{"AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN gives no credentials", `the file "/nonexistent/token" does not exist`}},
		"a process": {config: "[default]\ncredential_process = sh -c 'echo " + canary + "; exit 1'\n", class: secrets.ErrUnauthenticated,
			want: []string{"the profile's credential_process gives no credentials; run it by hand"}},
		"a token of a profile": {config: "[default]\nweb_identity_token_file = /nonexistent/token\n" + role, class: secrets.ErrUnauthenticated,
			want: []string{"the profile's web_identity_token_file and role_arn gives no credentials"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			hermetic(t, map[string]string{"AWS_REGION": "eu-west-1"})
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if c.config != "" {
				is.NoErr(os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte(c.config), 0o600))
			}
			b, err := awssm.New(t.Context(), awssm.WithEndpoint("http://127.0.0.1:1"))
			is.NoErr(err)
			cl := client(t, b)
			_, first := cl.Get(t.Context(), "db")
			_, err = cl.Get(t.Context(), "db") // also waits for the metadata request that the SDK's cache continues
			is.Equal(secrets.Class(first), c.class)
			is.Equal(err.Error(), first.Error())
			secretstest.AssertNoLeak(t, canary, err)
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in %v", want, err)
				}
			}
			is.True(!strings.Contains(err.Error(), "\n"))
		})
	}
}

// The agent of a container fails. An outage of it must be ErrUnavailable, so that caches keep their values.
func TestAnOutageOfTheContainerAgentIsUnavailable(t *testing.T) {
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

// Missing credentials in files are not an outage: somebody must act.
func TestMissingCredentialsOfAProfileAreUnauthenticated(t *testing.T) {
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

// A provider may read the keys from another store. Its ErrNotFound is not one for the secret.
func TestANotFoundOfTheCredentialsIsUnauthenticated(t *testing.T) {
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

// A profile assumes a role, and only WithRegion sets a region: without one, STS cannot be called.
func TestWithRegionAlsoSetsTheRegionOfSTS(t *testing.T) {
	is := is.New(t)
	var scope string
	sts := stsServer(t, func(r *http.Request) awstest.Credentials {
		scope = r.Header.Get("Authorization")
		return awstest.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "EXAMPLEKEY", SessionToken: "EXAMPLETOKEN"}
	})
	hermetic(t, map[string]string{"AWS_ENDPOINT_URL_STS": sts})
	const profiles = "[default]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = base\n" +
		"[profile base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = EXAMPLEKEY\n"
	is.NoErr(os.WriteFile(filepath.Join(os.Getenv("HOME"), "config"), []byte(profiles), 0o600))
	is.Equal(class(t, awssm.WithRegion("eu-west-1")), secrets.ErrUnavailable) // there are credentials, but no service
	is.True(strings.Contains(scope, "/eu-west-1/sts/"))
}

// stsServer returns the URL of an STS that answers with the credentials of give.
func stsServer(t *testing.T, give func(r *http.Request) awstest.Credentials) string {
	t.Helper()
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, action := give(r), r.FormValue("Action")
		_, _ = fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>%[2]s</AccessKeyId>
			<SecretAccessKey>%[3]s</SecretAccessKey><SessionToken>%[4]s</SessionToken>
			<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, // the client may hang up
			action, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	}))
	t.Cleanup(sts.Close)
	return sts.URL
}
