package detect_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/secretstest"
)

const canary = "canary-7f3Kq9ZxWv2m"

// TestNoValueIsShown puts a canary into every variable, in all forms of a value. Neither the Detection nor an error may contain it.
func TestNoValueIsShown(t *testing.T) {
	contexts := []vars{
		{},
		{"SECRET_MANAGER_TYPE": "env"},
		{"SECRET_MANAGER_TYPE": "file"},
		{"SECRET_MANAGER_TYPE": "file", "SECRET_MANAGER_PATH": "/nowhere"},
		{"SECRET_MANAGER_TYPE": "vault"},
		{"SECRET_MANAGER_TYPE": "vault", "VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": "hvs.example"},
		{"SECRET_MANAGER_TYPE": "aws"},
		{"SECRET_MANAGER_TYPE": "aws", "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"},
	}
	forms := []string{
		canary, "https://me:" + canary + "@host.example", "http://" + canary + ".example:8200/path", "/" + canary + "/x/../secrets",
		canary + "=#\"\n%zz ",
	}
	var failed int
	for _, name := range []string{
		"SECRET_MANAGER_TYPE", "SECRET_MANAGER_PATH", "SECRET_MANAGER_PREFIX", "CREDENTIALS_DIRECTORY",
		"VAULT_ADDR", "VAULT_AGENT_ADDR", "VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CACERT_BYTES",
		"VAULT_CAPATH", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_TLS_SERVER_NAME", "VAULT_SKIP_VERIFY", "VAULT_HEADERS",
		"VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY",
		"VAULT_RATE_LIMIT", "VAULT_CLIENT_TIMEOUT", "VAULT_MAX_RETRIES", "VAULT_SRV_LOOKUP", "VAULT_DISABLE_REDIRECTS",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SECRET_PREFIX", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_DEFAULTS_MODE",
		"AWS_RETRY_MODE",
		"AWS_MAX_ATTEMPTS", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_USE_FIPS_ENDPOINT",
		"AWS_USE_DUALSTACK_ENDPOINT", "AWS_ACCOUNT_ID_ENDPOINT_MODE", "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES", "AWS_SDK_UA_APP_ID",
	} {
		t.Run(name, func(t *testing.T) {
			for _, base := range contexts {
				if of, chosen := provider(name), base["SECRET_MANAGER_TYPE"]; of != "" && chosen != "" && of != chosen {
					continue // a provider that does not read the variable cannot quote it
				}
				hermetic(t, base)
				for _, form := range forms {
					t.Setenv(name, form)
					backend, d, err := detect.Backend(t.Context(), detect.WithStrict(), detect.WithDirectory("/nowhere"))
					var explained bytes.Buffer
					if e := d.Explain(&explained); e != nil {
						t.Fatal(e)
					}
					secretstest.AssertNoLeak(t, canary, d, explained.String())
					if err != nil {
						failed++
						secretstest.AssertNoLeak(t, canary, err)
					}
					shut(t, backend)
				}
			}
		})
	}
	if failed < 100 {
		t.Errorf("only %d errors were checked", failed)
	}
}

// provider returns the only provider that reads the variable name, or "".
func provider(name string) string {
	switch prefix, _, _ := strings.Cut(name, "_"); prefix {
	case "VAULT":
		return "vault"
	case "AWS":
		return "aws"
	default:
		return ""
	}
}

// The control: errors of the backends do contain values, and AssertNoLeak finds them.
func TestBackendsQuoteValues(t *testing.T) {
	is := is.New(t)
	_, err := file.New("/" + canary)
	is.True(len(secretstest.Leaks(canary, err)) > 0)
	_, err = vault.New(vault.WithToken("hvs.example"), vault.WithAddress("http://"+canary+".example"))
	is.True(len(secretstest.Leaks(canary, err)) > 0)
}
