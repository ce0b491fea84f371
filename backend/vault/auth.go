package vault

import (
	"context"
	"encoding/json"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// Auth is a login for [WithAuth]. [AppRole], [Kubernetes] and [JWT] return one; [WithAuthMount] and [WithAuthNamespace] configure it.
//
// It reads its credential anew for each login, so a rotated credential takes effect with the next login. It keeps no state, is safe for
// concurrent use, and may be shared by several backends. Printing it shows no credential.
type Auth struct {
	kind       string // the constructor's name
	mount      string
	namespace  *string // nil: the backend's
	role       string  // the parameter's name
	roleValue  func() string
	credential string // the parameter's name
	read       func() (string, error)
	faults     faults.List
}

// AuthOption configures an [Auth].
type AuthOption func(a *Auth)

// WithAuthMount sets the path of the auth method, without auth/. It may have several segments, such as team/approle. Default: "approle",
// "kubernetes" or "jwt".
func WithAuthMount(path string) AuthOption {
	return func(a *Auth) {
		mount := strings.TrimSuffix(path, "/") // as Vault itself writes it
		switch {
		case !validPath(mount):
			a.faults.Addf("WithAuthMount: %q is not the path of a mount", path)
		case strings.HasPrefix(mount, "auth/"):
			a.faults.Addf("WithAuthMount: %q must not begin with auth/", path)
		default:
			a.mount = mount
		}
	}
}

// WithAuthNamespace sets the Vault Enterprise namespace of the auth method, if it differs from that of the secrets: a child namespace may
// trust the logins of its parent. The token is renewed and revoked there too. An empty name is the root namespace. Default: the namespace
// of the backend; see [WithNamespace].
func WithAuthNamespace(namespace string) AuthOption {
	return func(a *Auth) {
		a.namespace = &namespace
		a.faults.Checkf(printable(namespace), "WithAuthNamespace: %q is not a namespace", namespace)
	}
}

// WithServiceAccountToken sets where [Kubernetes] finds the service account token, such as a projected volume with an audience of its own.
// Default: the file /var/run/secrets/kubernetes.io/serviceaccount/token.
func WithServiceAccountToken(token Credential) AuthOption {
	return func(a *Auth) {
		switch fault := token.problem(); {
		case a.kind != kindKubernetes:
			a.faults.Addf("WithServiceAccountToken is an option of Kubernetes")
		case fault != "":
			a.faults.Addf("WithServiceAccountToken: %s", fault)
		default:
			a.read = token.read
		}
	}
}

const (
	kindAppRole    = "AppRole"
	kindKubernetes = "Kubernetes"
	kindJWT        = "JWT"

	serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // the name of a file
)

// AppRole logs in with a role ID and a secret ID. The backend logs in again when its token cannot be renewed, so the secret ID must allow
// more than one login: set secret_id_num_uses of the role to 0, or well above 1. Set token_num_uses to 0: reads would use up such a token.
func AppRole(roleID string, secretID Credential, opts ...AuthOption) *Auth {
	return newAuth(kindAppRole, "approle", "role_id", roleID, "secret_id", secretID, opts)
}

// Kubernetes logs in as the service account of the pod. It reads the token's file anew for each login, since the kubelet replaces a
// projected token about every hour.
func Kubernetes(role string, opts ...AuthOption) *Auth {
	return newAuth(kindKubernetes, "kubernetes", "role", role, "jwt", File(serviceAccountToken), opts)
}

// JWT logs in with a signed token of an identity provider, such as the ID token of a GitHub or GitLab runner. An empty role is the auth
// method's default role.
func JWT(role string, token Credential, opts ...AuthOption) *Auth {
	return newAuth(kindJWT, "jwt", "role", role, "jwt", token, opts)
}

func newAuth(kind, mount, role, roleValue, credential string, c Credential, opts []AuthOption) *Auth {
	a := &Auth{
		kind: kind, mount: mount,
		role: role, roleValue: func() string { return roleValue },
		credential: credential, read: c.read, faults: faults.List{Prefix: kind + ": "},
	}
	if strings.TrimSpace(roleValue) == "" && kind != kindJWT {
		a.faults.Addf("an empty %s", role)
	}
	if fault := c.problem(); fault != "" {
		a.faults.Addf("%s: %s", credential, fault)
	}
	faults.Apply(&a.faults, opts, func(o AuthOption) { o(a) })
	return a
}

// Validate returns the configuration faults of a, joined. [New] returns them too.
func (a *Auth) Validate() error { return a.faults.Err() }

// Login logs in through client, whose token it does not change. The new token is in the Auth of the result. The error is the context's, or
// a [secrets.Error] that quotes neither the credential nor the answer:
//
//	secrets.ErrUnauthenticated  the server refuses the credential (the detail says why, if the server does); no such auth method at the
//	                            mount; the credential cannot be used
//	secrets.ErrUnavailable      the server does not answer, is sealed, has had too many requests, or cannot reach the identity
//	                            provider; a proxy answers in its place; the file with the credential is missing or empty
func (a *Auth) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	if err := a.Validate(); err != nil {
		return nil, unauthenticated(err.Error())
	}
	credential, err := a.read()
	if err != nil {
		return nil, err
	}
	fields := map[string]string{a.credential: credential}
	if role := a.roleValue(); role != "" {
		fields[a.role] = role
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, unauthenticated("the credential cannot be sent")
	}
	if a.namespace != nil {
		client = client.WithNamespace(*a.namespace)
	}
	resp, err := client.Logical().WriteRawWithContext(ctx, "auth/"+a.mount+"/login", body)
	if resp != nil {
		defer resp.Body.Close()
	}
	var secret *api.Secret
	if err == nil {
		secret, err = api.ParseSecret(resp.Body)
	}
	switch {
	case err == nil:
		return secret, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, loginFailure(ctx, a.mount, err)
	}
}

var _ api.AuthMethod = (*Auth)(nil)

// Credential is the secret part of a login: [Value], [File] or [Env]. Each login reads it anew. The zero Credential is invalid. Printing it
// does not show its value.
type Credential struct {
	read  func() (string, error)
	fault string
}

// problem says what is wrong with c.
func (c Credential) problem() string {
	if c.read == nil && c.fault == "" {
		return "no credential"
	}
	return c.fault
}

// Value returns a credential with a fixed value. An empty one is a fault.
func Value(value string) Credential {
	if value == "" {
		return Credential{fault: "an empty value"}
	}
	return Credential{read: func() (string, error) { return value, nil }}
}

// File returns a credential that is read from a regular file of at most 64 KiB, without a newline at its end. While the file is missing or
// empty, a login is [secrets.ErrUnavailable]; if the program has no permission to read it, [secrets.ErrUnauthenticated].
func File(path string) Credential {
	if path == "" {
		return Credential{fault: "an empty path"}
	}
	return Credential{read: func() (string, error) { return readFile("the credential in", path, text.Trim) }}
}

// Env returns a credential that is read from an environment variable of the process, without a newline at its end. While the variable is
// unset or empty, a login is [secrets.ErrUnauthenticated].
func Env(name string) Credential {
	if name == "" {
		return Credential{fault: "an empty name of a variable"}
	}
	return envCredential(name, os.Getenv)
}

func envCredential(name string, get func(name string) string) Credential {
	return Credential{read: func() (string, error) {
		value := text.Trim(get(name))
		if value == "" {
			return "", unauthenticated("the variable " + text.Printable(name) + ", which must hold the credential, is unset or empty")
		}
		return value, nil
	}}
}
