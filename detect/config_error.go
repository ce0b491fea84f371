package detect

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// configError is the error of a backend in words without the values of variables. It holds nothing of the error itself.
type configError struct {
	text   string
	causes []error // sentinels
}

func (f *configError) Error() string   { return f.text }
func (f *configError) Unwrap() []error { return f.causes }

var _ error = (*configError)(nil)

// sentinels returns those that err is, for errors.Is.
func sentinels(err error) []error {
	var found []error
	for _, s := range []error{fs.ErrNotExist, fs.ErrPermission, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			found = append(found, s)
		}
	}
	return found
}

// quotable returns the names of all variables whose values an error of a backend may quote: addresses, paths, regions. None
// of them is meant to be secret, but who mistakes one for another has a token in it.
func quotable() []string {
	return []string{
		varPath, varPrefix, varVault, varVaultAgent, varVaultToken, varVaultFile, varAWSPrefix, varRegion, varRegionElse,
		varCredentials, "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CACERT_BYTES", "VAULT_CAPATH", "VAULT_CLIENT_CERT",
		"VAULT_CLIENT_KEY", "VAULT_TLS_SERVER_NAME", "VAULT_SKIP_VERIFY", "VAULT_HEADERS", "VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY",
		"VAULT_RATE_LIMIT", "VAULT_CLIENT_TIMEOUT", "VAULT_MAX_RETRIES", "VAULT_SRV_LOOKUP", "VAULT_DISABLE_REDIRECTS",
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE",
		"AWS_DEFAULTS_MODE", "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
	}
}

// shortest is the least that a value has to be masked. What is shorter, such as a region's "eu", stands in other words too.
const shortest = 8

// masked returns text with the names of variables where it quotes their values, in whichever form a backend does.
func (c *config) masked(text string) string {
	type mask struct{ value, name string }
	var masks []mask
	add := func(value, name string) {
		if len(value) >= shortest && strings.Contains(text, value) {
			masks = append(masks, mask{value, "$" + name})
		}
	}
	for _, name := range quotable() {
		injected, _ := c.lookup(name)
		for _, value := range slices.Compact([]string{injected, os.Getenv(name)}) {
			if value == "" {
				continue
			}
			add(value, name)
			quoted := strconv.Quote(value)
			add(quoted[1:len(quoted)-1], name)
			if abs, err := filepath.Abs(value); err == nil {
				add(abs, name)
			}
			if u, err := url.Parse(strings.TrimSpace(value)); err == nil {
				add(u.Host, name)
			}
		}
	}
	slices.SortFunc(masks, func(a, b mask) int { return cmp.Compare(len(b.value), len(a.value)) })
	for _, m := range masks {
		text = strings.ReplaceAll(text, m.value, m.name)
	}
	return text
}
