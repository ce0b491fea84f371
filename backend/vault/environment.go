package vault

import (
	"errors"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"
)

// environmentFault describes a fault in the process environment, which made the official client return err. That client reads its variables
// from there even with WithLookup: https://developer.hashicorp.com/vault/docs/commands#configure-environment-variables. Its own text quotes
// their values.
func environmentFault(err error) string {
	const boolean = " is neither true nor false"
	if _, ok := errors.AsType[*strconv.NumError](err); ok {
		return api.EnvVaultMaxRetries + " is not a number from 0 to 4294967295"
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return api.EnvVaultProxyAddr + " or " + api.EnvHTTPProxy + " is not an address, such as http://proxy.example:3128"
	}
	for _, variable := range []struct{ name, fault string }{
		{api.EnvRateLimit, " must be a rate, such as 10, or a rate and a burst, such as 10:100"},
		{api.EnvVaultClientTimeout, " is not a duration, such as 60s"},
		{api.EnvVaultSkipVerify, boolean},
		{api.EnvVaultSRVLookup, boolean},
		{api.EnvVaultDisableRedirects, boolean},
	} {
		if strings.Contains(err.Error(), variable.name) { // its text contains these names only
			return variable.name + variable.fault
		}
	}
	// The remaining causes are TLS and headers. The official client reads the variables of the process, whatever WithLookup says.
	const ofProcess = " (in the environment of the process)"
	c := newConfig([]Option{WithLookup(os.LookupEnv)})
	if settings, files := c.tlsSettings(); settings == nil {
		return strings.TrimPrefix(c.faults.Err().Error(), c.faults.Prefix) + ofProcess
	} else if content, fault := files.read(); fault != "" {
		return "TLS: " + fault + ofProcess
	} else if _, fault := files.settings(settings, content); fault != "" {
		return "TLS: " + fault + ofProcess
	}
	if os.Getenv(api.EnvVaultHeaders) != "" {
		return api.EnvVaultHeaders + " must be a JSON object of strings, without headers that begin with X-Vault-"
	}
	return "the official client refuses the VAULT_ variables in the environment of the process"
}
