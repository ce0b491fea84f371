package detect_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/secretstest"
)

type vars = map[string]string

// environment is an environment in which a program may run.
type environment struct {
	name    string
	vars    vars     // "DIR" in a value stands for a directory with a file, "RUN" for the inspected directory
	run     []string // the entries of the inspected directory; without any, it does not exist
	profile string   // the configuration file of AWS

	provider  string
	reason    string // part of the reason
	fails     string // part of the error, or "" for no error
	ambiguous bool   // with WithStrict
}

// lambda returns the variables that AWS Lambda sets, and more.
func lambda(more vars) vars {
	all := vars{
		"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example",
		"AWS_SESSION_TOKEN": "example", "AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_EXECUTION_ENV": "AWS_Lambda_provided.al2023",
	}
	maps.Copy(all, more)
	return all
}

func serviceAccount(more ...string) []string {
	return append([]string{
		"kubernetes.io/serviceaccount/..2026_01_01/token", "kubernetes.io/serviceaccount/..data -> ..2026_01_01",
		"kubernetes.io/serviceaccount/token -> ..data/token",
	}, more...)
}

const byKeys = "AWS_REGION is set (eu-west-1), with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

func environments() []environment {
	return []environment{
		// Laptops.
		{name: "nothing at all", provider: "env", reason: "env is the default"},
		{name: "laptop with Vault", vars: vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example"},
			provider: "vault", reason: "VAULT_ADDR is set"},
		{name: "laptop with Vault and AWS",
			vars:    vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example", "AWS_PROFILE": "dev", "AWS_REGION": "eu-west-1"},
			profile: "[profile dev]\nregion = eu-west-1\n", provider: "vault", reason: "VAULT_ADDR is set"},
		{name: "laptop with VAULT_ADDR and no token", vars: vars{"VAULT_ADDR": "https://vault.example:8200"}, provider: "vault",
			reason: "VAULT_ADDR is set", fails: "VAULT_ADDR is set (https://vault.example:8200), so vault was chosen: no token: "},
		{name: "laptop with a Vault in dev mode", vars: vars{"VAULT_ADDR": "http://127.0.0.1:8200", "VAULT_TOKEN": "root"},
			provider: "vault", reason: "VAULT_ADDR is set"},
		{name: "laptop with a profile of AWS", vars: vars{"AWS_PROFILE": "dev", "AWS_REGION": "eu-west-1"},
			profile: "[profile dev]\nregion = eu-west-1\n", provider: "aws", reason: "AWS_REGION is set (eu-west-1), with AWS_PROFILE"},
		{name: "laptop with a profile and no region in the environment", vars: vars{"AWS_PROFILE": "dev"},
			profile: "[profile dev]\nregion = eu-west-1\n", provider: "env", reason: "env is the default"},
		{name: "laptop with a token of Vault alone", vars: vars{"VAULT_TOKEN": "hvs.example"}, provider: "env",
			reason: "env is the default"},
		{name: "laptop with a prefix", vars: vars{"SECRET_MANAGER_PREFIX": "SHOP_"}, provider: "env",
			reason: "SECRET_MANAGER_PREFIX is set"},

		// Vault.
		{name: "Vault Agent", vars: vars{"VAULT_AGENT_ADDR": "http://127.0.0.1:8100"}, provider: "vault",
			reason: "VAULT_AGENT_ADDR is set"},
		{name: "Vault Agent and the server",
			vars: vars{"VAULT_AGENT_ADDR": "http://127.0.0.1:8100", "VAULT_ADDR": "https://vault.example:8200"}, provider: "vault",
			reason: "VAULT_AGENT_ADDR is set"},
		{name: "Vault with a token file", vars: vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN_FILE": "/vault/token"},
			provider: "vault", reason: "VAULT_ADDR is set"},
		{name: "Vault in the clear", vars: vars{"VAULT_ADDR": "http://vault.vault.svc:8200", "VAULT_TOKEN": "hvs.example"},
			provider: "vault", reason: "VAULT_ADDR is set", fails: "in the clear; use https"},
		{name: "Vault with a password in the address", vars: vars{"VAULT_ADDR": "https://me:pass@vault.example", "VAULT_TOKEN": "hvs.example"},
			provider: "vault", reason: "VAULT_ADDR is set", fails: "VAULT_ADDR holds a user name or a password"},

		// AWS.
		{name: "Lambda", vars: lambda(nil), provider: "aws", reason: byKeys},
		{name: "Lambda with a prefix of secrets", vars: lambda(vars{"AWS_SECRET_PREFIX": "prod/shop/"}), provider: "aws",
			reason: "AWS_SECRET_PREFIX is set"},
		{name: "Lambda with a prefix of variables", vars: lambda(vars{"SECRET_MANAGER_PREFIX": "SHOP_"}), provider: "env",
			reason: "SECRET_MANAGER_PREFIX is set"},
		{name: "Lambda with a directory", vars: lambda(vars{"SECRET_MANAGER_PATH": "DIR"}), provider: "file",
			reason: "SECRET_MANAGER_PATH is set"},
		{name: "Lambda with Vault", vars: lambda(vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example"}),
			provider: "vault", reason: "VAULT_ADDR is set"},
		{name: "Lambda with TYPE=env", vars: lambda(vars{"SECRET_MANAGER_TYPE": "env"}), provider: "env",
			reason: "SECRET_MANAGER_TYPE says env"},
		{name: "ECS task", vars: vars{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/example"},
			provider: "aws", reason: "AWS_REGION is set (eu-west-1), with AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"},
		{name: "EKS pod identity",
			vars: vars{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
				"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/token"}, run: serviceAccount(), provider: "aws",
			reason: "AWS_REGION is set (eu-west-1), with AWS_CONTAINER_CREDENTIALS_FULL_URI"},
		{name: "EKS with IRSA", vars: vars{"AWS_REGION": "eu-west-1", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
			"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/shop"}, run: serviceAccount(), provider: "aws",
			reason: "AWS_REGION is set (eu-west-1), with AWS_WEB_IDENTITY_TOKEN_FILE"},
		{name: "EKS with IRSA and the other region",
			vars: vars{"AWS_DEFAULT_REGION": "eu-west-1", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
				"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/shop"}, run: serviceAccount(), provider: "aws",
			reason: "AWS_DEFAULT_REGION is set (eu-west-1), with AWS_WEB_IDENTITY_TOKEN_FILE"},
		{name: "EKS with IRSA and a mounted secret",
			vars: vars{"AWS_REGION": "eu-west-1", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
				"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/shop"}, run: serviceAccount("token"), provider: "aws",
			reason: "with AWS_WEB_IDENTITY_TOKEN_FILE", ambiguous: true},
		{name: "AWS_REGION alone", vars: vars{"AWS_REGION": "eu-west-1"}, provider: "aws",
			reason: "AWS_REGION is set (eu-west-1), and nothing points elsewhere"},
		{name: "AWS_DEFAULT_REGION alone", vars: vars{"AWS_DEFAULT_REGION": "eu-west-1"}, provider: "aws",
			reason: "AWS_DEFAULT_REGION is set (eu-west-1), and nothing"},
		{name: "AWS_REGION and half a key pair", vars: vars{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"},
			provider: "aws", reason: "and nothing points elsewhere"},
		{name: "a prefix and no region", vars: vars{"AWS_SECRET_PREFIX": "prod/shop/"}, provider: "aws",
			reason: "AWS_SECRET_PREFIX is set", fails: "no region"},
		{name: "a prefix and the region of the profile", vars: vars{"AWS_SECRET_PREFIX": "prod/shop/"},
			profile: "[default]\nregion = eu-west-1\n", provider: "aws", reason: "AWS_SECRET_PREFIX is set"},
		{name: "a web identity without a role", vars: vars{"AWS_REGION": "eu-west-1", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token"},
			provider: "aws", reason: "with AWS_WEB_IDENTITY_TOKEN_FILE",
			fails: "so aws was chosen: the configuration of AWS cannot be loaded"},
		{name: "an invalid region", vars: vars{"AWS_REGION": "evil.com/#"}, provider: "aws", reason: "AWS_REGION is set",
			fails: "is not"},

		// Files.
		{name: "a link that leads out of /run/secrets", run: []string{"password -> /etc/hostname"}, provider: "env",
			reason: "env is the default, although RUN holds password, a link that dangles or leads out of it"},
		{name: "Kubernetes pod with a service account only", run: serviceAccount(), provider: "env",
			reason: "env is the default"},
		{name: "Kubernetes pod with a volume on /run/secrets",
			run: []string{"..2026_01_01/password", "..data -> ..2026_01_01", "password -> ..data/password"}, provider: "file",
			reason: "RUN holds a file"},
		{name: "Kubernetes pod with a file and a region", vars: vars{"AWS_REGION": "eu-west-1"}, run: serviceAccount("database"),
			provider: "file", reason: "RUN holds a file", ambiguous: true},
		{name: "Kubernetes pod with a directory of its own", vars: vars{"SECRET_MANAGER_PATH": "DIR"}, run: serviceAccount(),
			provider: "file", reason: "SECRET_MANAGER_PATH is set"},
		{name: "Docker Swarm", run: []string{"database_password"}, provider: "file", reason: "RUN holds a file"},
		{name: "Docker Swarm, and a prefix", vars: vars{"SECRET_MANAGER_PREFIX": "SHOP_"}, run: []string{"database_password"},
			provider: "env", reason: "SECRET_MANAGER_PREFIX is set"},
		{name: "podman on a subscribed Red Hat host",
			run: []string{"rhsm/rhsm.conf", "rhsm-host -> rhsm", "etc-pki-entitlement/1.pem", "redhat.repo"}, provider: "env",
			reason: "env is the default"},
		{name: "systemd credentials", vars: vars{"CREDENTIALS_DIRECTORY": "DIR"}, provider: "file",
			reason: "($CREDENTIALS_DIRECTORY) holds a file"},
		{name: "systemd credentials come before /run/secrets", vars: vars{"CREDENTIALS_DIRECTORY": "/nowhere/credentials"},
			run: []string{"database"}, reason: "does not exist",
			fails: "($CREDENTIALS_DIRECTORY) does not exist; check LoadCredential= in the unit, or unset CREDENTIALS_DIRECTORY"},
		{name: "systemd credentials that are missing, and AWS_REGION",
			vars:   vars{"CREDENTIALS_DIRECTORY": "/nowhere/credentials", "AWS_REGION": "eu-west-1"},
			reason: "does not exist", fails: "does not exist"},
		{name: "systemd credentials that are empty", vars: vars{"CREDENTIALS_DIRECTORY": "DIR/empty"}, reason: "holds no file of secrets",
			fails: "($CREDENTIALS_DIRECTORY) holds no file of secrets; check LoadCredential="},
		{name: "systemd credentials that are a file", vars: vars{"CREDENTIALS_DIRECTORY": "DIR/database"}, reason: "is not a directory",
			fails: "($CREDENTIALS_DIRECTORY) is not a directory"},
		{name: "systemd credentials that are empty, and TYPE",
			vars:     vars{"CREDENTIALS_DIRECTORY": "DIR/empty", "SECRET_MANAGER_TYPE": "env"},
			provider: "env", reason: "SECRET_MANAGER_TYPE says env"},
		{name: "Docker with a bind mount that is missing", run: []string{"db_password/"}, provider: "env",
			reason: "env is the default, although RUN holds db_password, an empty directory, as Docker leaves where"},
		{name: "a directory without a file", run: []string{"sub/deep"}, provider: "env", reason: "env is the default"},
		{name: "a link that leads out", run: []string{"database -> /etc/hosts", "gone -> nowhere"}, provider: "env",
			reason: "env is the default"},
		{name: "a path that does not exist", vars: vars{"SECRET_MANAGER_PATH": "/nowhere/secrets"}, provider: "file",
			reason: "SECRET_MANAGER_PATH is set",
			fails:  "SECRET_MANAGER_PATH is set (/nowhere/secrets), so file was chosen: the directory: open"},
		{name: "a path that is a file", vars: vars{"SECRET_MANAGER_PATH": "DIR/database"}, provider: "file",
			reason: "SECRET_MANAGER_PATH is set", fails: "so file was chosen: the directory:"},

		// CI runners.
		{name: "CI runner", vars: vars{"CI": "true", "GITHUB_ACTIONS": "true"}, provider: "env", reason: "env is the default"},
		{name: "CI runner with keys of AWS and no region",
			vars: vars{"CI": "true", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"}, provider: "env",
			reason: "env is the default"},
		{name: "CI runner with a role of AWS",
			vars:     vars{"CI": "true", "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"},
			provider: "aws", reason: byKeys},

		// SECRET_MANAGER_TYPE.
		{name: "TYPE=env", vars: vars{"SECRET_MANAGER_TYPE": "env"}, run: []string{"database"}, provider: "env",
			reason: "SECRET_MANAGER_TYPE says env"},
		{name: "TYPE=file", vars: vars{"SECRET_MANAGER_TYPE": "file", "SECRET_MANAGER_PATH": "DIR"}, provider: "file",
			reason: "SECRET_MANAGER_TYPE says file"},
		{name: "TYPE=vault", vars: vars{"SECRET_MANAGER_TYPE": "vault", "VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example"},
			provider: "vault", reason: "SECRET_MANAGER_TYPE says vault"},
		{name: "TYPE=aws", vars: vars{"SECRET_MANAGER_TYPE": "aws", "AWS_REGION": "eu-west-1"}, provider: "aws",
			reason: "SECRET_MANAGER_TYPE says aws"},
		{name: "TYPE=aws with the region of the profile", vars: vars{"SECRET_MANAGER_TYPE": "aws"}, profile: "[default]\nregion = eu-west-1\n",
			provider: "aws", reason: "SECRET_MANAGER_TYPE says aws"},
		{name: "TYPE with space and capitals",
			vars:     vars{"SECRET_MANAGER_TYPE": " Vault\n", "VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example"},
			provider: "vault", reason: "SECRET_MANAGER_TYPE says vault"},
		{name: "TYPE=auto", vars: vars{"SECRET_MANAGER_TYPE": "AUTO", "AWS_REGION": "eu-west-1"}, provider: "aws",
			reason: "AWS_REGION is set"},
		{name: "TYPE of an own provider", vars: vars{"SECRET_MANAGER_TYPE": "keyring", "VAULT_ADDR": "https://vault.example:8200"},
			provider: "keyring", reason: "SECRET_MANAGER_TYPE says keyring"},
		{name: "TYPE=file and no path", vars: vars{"SECRET_MANAGER_TYPE": "file"}, provider: "file",
			reason: "SECRET_MANAGER_TYPE says file", fails: "SECRET_MANAGER_TYPE says file, and SECRET_MANAGER_PATH, the directory, is not set"},
		{name: "TYPE=file, no path, and files", vars: vars{"SECRET_MANAGER_TYPE": "file"}, run: []string{"database"},
			provider: "file", reason: "SECRET_MANAGER_TYPE says file", fails: "RUN holds a file and may be the directory you mean"},
		{name: "TYPE=vault and no address", vars: vars{"SECRET_MANAGER_TYPE": "vault", "VAULT_TOKEN": "hvs.example"},
			provider: "vault", reason: "SECRET_MANAGER_TYPE says vault", fails: "or set VAULT_ADDR"},
		{name: "TYPE=aws and no region",
			vars:     vars{"SECRET_MANAGER_TYPE": "aws", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"},
			provider: "aws", reason: "SECRET_MANAGER_TYPE says aws", fails: "or set AWS_REGION"},
		{name: "TYPE=vualt", vars: vars{"SECRET_MANAGER_TYPE": "vualt", "AWS_REGION": "eu-west-1"},
			reason: "names an unknown provider",
			fails:  `says "vualt", which is not a known provider; use one of env, file, vault, aws, keyring, auto; did you mean vault?`},
		{name: "TYPE=awssm", vars: vars{"SECRET_MANAGER_TYPE": "awssm"}, reason: "names an unknown provider",
			fails: "did you mean aws?"},
		{name: "TYPE=keyrnig", vars: vars{"SECRET_MANAGER_TYPE": "keyrnig"}, reason: "names an unknown provider",
			fails: "did you mean keyring?"},
		{name: "TYPE=gcp", vars: vars{"SECRET_MANAGER_TYPE": "gcp"}, reason: "names an unknown provider",
			fails: "use one of env, file, vault, aws, keyring, auto"},

		// Empty and blank variables.
		{name: "TYPE that is empty", vars: vars{"SECRET_MANAGER_TYPE": "", "SECRET_MANAGER_PREFIX": "SHOP_"}, provider: "env",
			reason: "SECRET_MANAGER_PREFIX is set"},
		{name: "TYPE that is blank", vars: vars{"SECRET_MANAGER_TYPE": " \t", "AWS_REGION": "eu-west-1"}, provider: "aws",
			reason: "AWS_REGION is set"},
		{name: "variables that are empty",
			vars: vars{"VAULT_ADDR": "", "VAULT_AGENT_ADDR": "", "AWS_REGION": "", "AWS_SECRET_PREFIX": "", "SECRET_MANAGER_PATH": "",
				"SECRET_MANAGER_PREFIX": "", "CREDENTIALS_DIRECTORY": ""}, provider: "env", reason: "env is the default"},
		{name: "variables that are blank",
			vars: vars{"VAULT_ADDR": " ", "VAULT_AGENT_ADDR": "\t", "AWS_REGION": " ", "AWS_SECRET_PREFIX": " ", "SECRET_MANAGER_PATH": " ",
				"SECRET_MANAGER_PREFIX": " ", "CREDENTIALS_DIRECTORY": " "}, provider: "env", reason: "env is the default"},
		{name: "an agent that is blank",
			vars:     vars{"VAULT_AGENT_ADDR": " ", "VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example"},
			provider: "vault", reason: "VAULT_ADDR is set"},
		{name: "a token that is blank", vars: vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": " "},
			provider: "vault", reason: "VAULT_ADDR is set", fails: "no token"},
		{name: "a region that is blank", vars: vars{"AWS_REGION": " ", "AWS_DEFAULT_REGION": "eu-west-1"}, provider: "aws",
			reason: "AWS_DEFAULT_REGION is set"},

		// Contradictions.
		{name: "Vault and a directory",
			vars:     vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example", "SECRET_MANAGER_PATH": "DIR"},
			provider: "vault", reason: "VAULT_ADDR is set", ambiguous: true},
		{name: "Vault and a prefix of variables",
			vars:     vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example", "SECRET_MANAGER_PREFIX": "SHOP_"},
			provider: "vault", reason: "VAULT_ADDR is set", ambiguous: true},
		{name: "Vault and files", vars: vars{"VAULT_ADDR": "https://vault.example:8200", "VAULT_TOKEN": "hvs.example"}, run: []string{"database"},
			provider: "vault", reason: "VAULT_ADDR is set"},
		{name: "a prefix of AWS and a directory",
			vars: vars{"AWS_REGION": "eu-west-1", "AWS_SECRET_PREFIX": "prod/", "SECRET_MANAGER_PATH": "DIR"}, provider: "aws",
			reason: "AWS_SECRET_PREFIX is set", ambiguous: true},
		{name: "a directory and a prefix", vars: vars{"SECRET_MANAGER_PATH": "DIR", "SECRET_MANAGER_PREFIX": "SHOP_"},
			provider: "file", reason: "SECRET_MANAGER_PATH is set", ambiguous: true},
		{name: "files and an ECS task",
			vars: vars{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/example"}, run: []string{"database"},
			provider: "aws", reason: "AWS_REGION is set (eu-west-1), with", ambiguous: true},
		{name: "everything, and TYPE",
			vars: lambda(vars{"SECRET_MANAGER_TYPE": "file", "SECRET_MANAGER_PATH": "DIR", "SECRET_MANAGER_PREFIX": "SHOP_",
				"AWS_SECRET_PREFIX": "prod/", "VAULT_ADDR": "https://vault.example:8200"}), provider: "file",
			reason: "SECRET_MANAGER_TYPE says file"},
	}
}

// prepare creates the directories and files of e, and returns its variables, the inspected directory and the options.
func (e environment) prepare(t *testing.T) (vars, string, []detect.Option) {
	t.Helper()
	run, dir := filepath.Join(t.TempDir(), "secrets"), directory(t, "database", "empty/")
	if e.run != nil {
		run = directory(t, e.run...)
	}
	all := make(vars, len(e.vars))
	for name, value := range e.vars {
		all[name] = strings.ReplaceAll(value, "DIR", dir)
	}
	keyring := func(context.Context, func(string) (string, bool)) (secrets.Backend, error) {
		return secretstest.NewBackend(nil, secretstest.WithName("keyring")), nil
	}
	return all, run, []detect.Option{detect.WithDirectory(run), detect.With("keyring", keyring)}
}

// TestEnvironments checks every environment with the variables of the process, with WithLookup and with WithStrict.
func TestEnvironments(t *testing.T) {
	for _, e := range environments() {
		if runtime.GOOS == "windows" && slices.ContainsFunc(e.run, func(entry string) bool { return strings.Contains(entry, " -> ") }) {
			continue // links need a privilege on Windows
		}
		t.Run(e.name, func(t *testing.T) {
			is := is.New(t)
			all, run, opts := e.prepare(t)
			hermetic(t, all)
			if e.profile != "" {
				is.NoErr(os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), []byte(e.profile), 0o600))
			}
			backend, d, err := detect.Backend(t.Context(), opts...)
			e.check(t, run, backend, d, err)
			t.Logf("| %s | %s | %s | %s |", e.name, strings.Join(slices.Sorted(maps.Keys(e.vars)), " "),
				strings.ReplaceAll(d.String(), run, "/run/secrets"), e.result())

			injected, again, err := detect.Backend(t.Context(), append(opts, lookup(all))...)
			e.check(t, run, injected, again, err)
			is.Equal(again, d) // the same with WithLookup

			strict, _, err := detect.Backend(t.Context(), append(opts, detect.WithStrict())...)
			is.Equal(errors.Is(err, detect.ErrAmbiguous), e.ambiguous)
			is.Equal(err == nil, e.fails == "" && !e.ambiguous)
			is.Equal(err == nil, strict != nil)
			shut(t, strict)
		})
	}
	if n := len(environments()); n < 40 {
		t.Errorf("%d environments are too few", n)
	}
}

func (e environment) result() string {
	switch {
	case e.fails != "":
		return "an error: " + e.fails
	case e.ambiguous:
		return "ambiguous if strict"
	default:
		return ""
	}
}

func (e environment) check(t *testing.T, run string, backend secrets.Backend, d detect.Detection, err error) {
	t.Helper()
	is := is.New(t)
	defer shut(t, backend)
	is.Equal(d.Provider, e.provider)
	if want := strings.ReplaceAll(e.reason, "RUN", run); !strings.Contains(d.Reason, want) {
		t.Errorf("the reason is %q, not %q", d.Reason, want)
	}
	if e.fails == "" {
		is.NoErr(err)
		is.Equal(backend.Info().Name, e.provider)
	} else {
		is.True(err != nil)
		is.True(backend == nil)
		is.True(strings.HasPrefix(err.Error(), "secrets: detect: "))
		if want := strings.ReplaceAll(e.fails, "RUN", run); !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %q, not %q", err, want)
		}
	}

	// The Detection is complete: each provider is chosen or has a reason, and each signal has a note.
	providers := []string{d.Provider}
	for _, other := range d.Others {
		providers = append(providers, other.Provider)
		is.True(other.Reason != "")
	}
	is.Equal(slices.Sorted(slices.Values(slices.DeleteFunc(providers, func(p string) bool { return p == "" }))),
		[]string{"aws", "env", "file", "keyring", "vault"})
	for _, s := range d.Signals {
		is.True(s.Name != "" && s.Note != "")
		is.True(!s.Used || s.Provider == d.Provider)
	}
}
