package vault

import "strings"

// Variables that the official client does not read. VAULT_ROLE is named as in
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
	methodToken      = "token" // no login
	methodAppRole    = "approle"
	methodKubernetes = "kubernetes"
	methodJWT        = "jwt"
)

// defaultMount returns the mount of VAULT_MOUNT, or else "secret".
func (c *config) defaultMount() string {
	value := c.env(envMount)
	if value == "" {
		return "secret"
	}
	mount := strings.TrimSuffix(value, "/")
	c.faults.Checkf(validPath(mount), "%s is not the path of a mount, such as secret or team/kv, without a slash in front", envMount)
	return mount
}

// envLogin returns the login of VAULT_AUTH_METHOD, or nil if there is none. If ok is false, it has recorded faults.
func (c *config) envLogin() (login *Auth, ok bool) {
	var opts []AuthOption
	if path := c.env(envAuthPath); path != "" {
		opts = append(opts, WithAuthMount(path))
	}
	role, file := c.env(envRole), c.env(envJWTFile)
	switch method := strings.ToLower(strings.TrimSpace(c.env(envAuthMethod))); method {
	case "", methodToken:
		return nil, true
	case methodAppRole:
		ok = c.hasAll(method, envRoleID, envSecretID)
		login = AppRole(c.env(envRoleID), c.secretID(), opts...)
	case methodKubernetes:
		ok = c.hasAll(method, envRole)
		if file != "" {
			opts = append(opts, WithServiceAccountToken(File(file)))
		}
		login = Kubernetes(role, opts...)
	case methodJWT:
		ok = c.hasAll(method, envJWTFile)
		login = JWT(role, File(file), opts...)
	default:
		c.faults.Addf("%s is not a known method: set it to %s, %s, %s or %s; WithAuth takes any other", envAuthMethod,
			methodToken, methodKubernetes, methodJWT, methodAppRole)
	}
	return login, ok
}

// hasAll reports whether the variables of a login with method are set and valid. It records a fault for each that is not.
func (c *config) hasAll(method string, needs ...string) bool {
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

// secretID returns the credential of VAULT_SECRET_ID_FILE, which may be replaced while the program runs, or else of VAULT_SECRET_ID.
func (c *config) secretID() Credential {
	if file := c.env(envSecretIDFile); file != "" {
		return File(file)
	}
	return envCredential(envSecretID, c.env)
}

// missingMethodHint returns a hint if a login variable is set without VAULT_AUTH_METHOD, or "".
func (c *config) missingMethodHint() string {
	for _, name := range []string{envRole, envRoleID, envJWTFile, envAuthPath} {
		if c.env(name) != "" && c.env(envAuthMethod) == "" {
			return "; " + name + " has no effect without " + envAuthMethod
		}
	}
	return ""
}
