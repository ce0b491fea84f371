package vault

import "strings"

// Variables that the official client does not know. VAULT_ROLE is named as in
// https://pkg.go.dev/github.com/sethvargo/vault-kubernetes-authenticator, VAULT_MOUNT and VAULT_AUTH_PATH as in
// https://github.com/zendesk/samson_secret_puller/wiki, VAULT_ROLE_ID and VAULT_SECRET_ID as the fields of an AppRole:
// https://developer.hashicorp.com/vault/docs/auth/approle.
const (
	envMount        = "VAULT_MOUNT"
	envTokenFile    = "VAULT_TOKEN_FILE"
	envAuthMethod   = "VAULT_AUTH_METHOD"
	envAuthPath     = "VAULT_AUTH_PATH"
	envRole         = "VAULT_ROLE"
	envRoleID       = "VAULT_ROLE_ID"
	envSecretID     = "VAULT_SECRET_ID"
	envSecretIDFile = "VAULT_SECRET_ID_FILE"
	envJWTFile      = "VAULT_JWT_FILE"
)

// The values of VAULT_AUTH_METHOD.
const (
	methodToken      = "token" // what there is without a login
	methodAppRole    = "approle"
	methodKubernetes = "kubernetes"
	methodJWT        = "jwt"
)

// mountOfEnvironment returns the mount that VAULT_MOUNT names, or the default.
func (c *config) mountOfEnvironment() string {
	value := c.env(envMount)
	if value == "" {
		return "secret"
	}
	mount := strings.TrimSuffix(value, "/")
	c.faults.Checkf(validPath(mount), "%s is not the path of a mount, such as secret or team/kv, without a slash in front", envMount)
	return mount
}

// loginOfEnvironment returns the login that VAULT_AUTH_METHOD asks for, or nil if it asks for none. Without ok, faults were noted.
func (c *config) loginOfEnvironment() (login *Auth, ok bool) {
	var opts []AuthOption
	if path := c.env(envAuthPath); path != "" {
		opts = append(opts, WithAuthMount(path))
	}
	role, file := c.env(envRole), c.env(envJWTFile)
	switch method := strings.ToLower(strings.TrimSpace(c.env(envAuthMethod))); method {
	case "", methodToken:
		return nil, true
	case methodAppRole:
		ok = c.completes(method, envRoleID, envSecretID)
		login = AppRole(c.env(envRoleID), c.secretID(), opts...)
	case methodKubernetes:
		ok = c.completes(method, envRole)
		if file != "" {
			opts = append(opts, WithServiceAccountToken(File(file)))
		}
		login = Kubernetes(role, opts...)
	case methodJWT:
		ok = c.completes(method, envJWTFile)
		login = JWT(role, File(file), opts...)
	default:
		c.faults.Addf("%s names no method that is known: set it to %s, %s, %s or %s; WithAuth takes any other", envAuthMethod,
			methodToken, methodKubernetes, methodJWT, methodAppRole)
	}
	return login, ok
}

// completes reports whether the variables of a login with method are there and usable, and notes what is not.
func (c *config) completes(method string, needs ...string) bool {
	ok := true
	for _, name := range needs {
		if strings.TrimSpace(c.env(name)) != "" || name == envSecretID && c.env(envSecretIDFile) != "" {
			continue
		}
		if ok = false; name == envSecretID {
			name += " or " + envSecretIDFile
		}
		c.faults.Addf("%s is %s, which needs %s too", envAuthMethod, method, name)
	}
	mount := strings.TrimSuffix(c.env(envAuthPath), "/")
	if mount != "" && (!validPath(mount) || strings.HasPrefix(mount, "auth/")) {
		c.faults.Addf("%s must be the mount of the auth method, without auth/ and without a slash in front, such as %s", envAuthPath, method)
		ok = false
	}
	return ok
}

// secretID returns the credential of VAULT_SECRET_ID_FILE, or else of VAULT_SECRET_ID. A file can be replaced under a running program.
func (c *config) secretID() Credential {
	if file := c.env(envSecretIDFile); file != "" {
		return File(file)
	}
	return envCredential(envSecretID, c.env)
}

// withoutMethod says that VAULT_AUTH_METHOD is missing, if a variable of a login is there.
func (c *config) withoutMethod() string {
	for _, name := range []string{envRole, envRoleID, envJWTFile, envAuthPath} {
		if c.env(name) != "" && c.env(envAuthMethod) == "" {
			return "; " + name + " has no effect without " + envAuthMethod
		}
	}
	return ""
}
