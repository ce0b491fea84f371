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

// Auth is a login at an auth method of Vault, for [WithAuth]. It is made by [AppRole], [Kubernetes] or [JWT], with the options
// [WithAuthMount] and [WithAuthNamespace].
//
// It reads its credential anew for each login, so that one which is rotated, as Kubernetes and others do, counts from the
// next login on. It keeps no state, is safe for concurrent use, and may be given to several backends. No dump of it shows a
// credential.
type Auth struct {
	kind       string // the function that made it
	mount      string
	namespace  *string // nil for that of the backend
	role       string  // the name of its parameter
	roleValue  func() string
	credential string // the name of its parameter
	read       func() (string, error)
	faults     faults.List
}

// AuthOption configures an [Auth].
type AuthOption func(a *Auth)

// WithAuthMount sets the path at which the auth method is mounted, without "auth/" before it. It may have several segments,
// as team/approle. The last one given counts. By default, it is "approle", "kubernetes" or "jwt".
func WithAuthMount(path string) AuthOption {
	return func(a *Auth) {
		mount := strings.TrimSuffix(path, "/") // as Vault itself writes it
		switch {
		case !validPath(mount):
			a.faults.Addf("WithAuthMount: %q is not the path of a mount", path)
		case strings.HasPrefix(mount, "auth/"):
			a.faults.Addf("WithAuthMount: %q is to be given without auth/ before it", path)
		default:
			a.mount = mount
		}
	}
}

// WithAuthNamespace sets the namespace of Vault Enterprise in which the auth method is, where that is not the one of the secrets, as when
// a child namespace trusts the logins of its parent. The token is also renewed and revoked there. An empty name is the root namespace.
// The last one given counts. By default, it is the namespace of the backend; see [WithNamespace].
func WithAuthNamespace(namespace string) AuthOption {
	return func(a *Auth) {
		a.namespace = &namespace
		a.faults.Checkf(printable(namespace), "WithAuthNamespace: %q is not a namespace", namespace)
	}
}

// WithServiceAccountToken sets where [Kubernetes] finds the token of the service account, for a projected volume with an
// audience of its own. The last one given counts. By default, it is the file
// /var/run/secrets/kubernetes.io/serviceaccount/token.
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

// AppRole logs in with a role ID and a secret ID. The secret ID must be good for more than one login, since the backend logs
// in again whenever its token cannot be renewed any more: secret_id_num_uses is 0 in the role, or well above 1,
// and token_num_uses is 0: a token of few uses is used up by reads.
func AppRole(roleID string, secretID Credential, opts ...AuthOption) *Auth {
	return newAuth(kindAppRole, "approle", "role_id", roleID, "secret_id", secretID, opts)
}

// Kubernetes logs in as the service account of the pod, whose token it reads anew for each login: a projected token, which
// the kubelet replaces every hour or so, never goes stale.
func Kubernetes(role string, opts ...AuthOption) *Auth {
	return newAuth(kindKubernetes, "kubernetes", "role", role, "jwt", File(serviceAccountToken), opts)
}

// JWT logs in with a signed token of an identity provider, such as those that the runners of GitHub and GitLab get. An empty
// role is the default one of the auth method.
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

// Validate returns the faults in what a was made of, joined. [New] returns them too.
func (a *Auth) Validate() error { return a.faults.Err() }

// Login logs in through client. The token is in the Auth of the result; that of client is not changed. The error is a
// [secrets.Error] that quotes nothing of the credential or of the answer, or that of ctx.
//
//	secrets.ErrUnauthenticated  the server refuses the credential, and the detail says why, as far as the server does; it has no
//	                            such auth method at the mount; the credential cannot be used
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

// Credential is where a login finds what it proves itself with: [Value], [File] or [Env]. It is read anew for each login.
// The zero Credential is none. No dump of one shows its value.
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

// Value is a credential that the program has.
func Value(value string) Credential {
	if value == "" {
		return Credential{fault: "an empty value"}
	}
	return Credential{read: func() (string, error) { return value, nil }}
}

// File is a credential in a file of at most 64 KiB, which must be a regular one. A newline at its end does not count. While
// it is missing or empty, a login is [secrets.ErrUnavailable]; if it must not be read, [secrets.ErrUnauthenticated].
func File(path string) Credential {
	if path == "" {
		return Credential{fault: "an empty path"}
	}
	return Credential{read: func() (string, error) { return readFile("the credential in", path, text.Trim) }}
}

// Env is a credential in a variable of the environment of the process. A newline at its end does not count. While it is not set or empty, a
// login is [secrets.ErrUnauthenticated].
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
			return "", unauthenticated("the variable " + text.Printable(name) + ", which names the credential, is not set or empty")
		}
		return value, nil
	}}
}
