// Package detect chooses the backend from the environment, for one program that runs on a laptop, in a container and on Lambda.
//
//	client, detection, err := detect.New(ctx)
//	…
//	log.Info("secrets", "detection", detection)           // vault: VAULT_ADDR is set (https://…)
//	password, err := client.Get(ctx, "database#password") // this form works with every backend
//
// [New] returns a client with the layers of middleware.Standard, and [Backend] only the backend. Both make no network calls and do not test
// credentials: they look at variables and at one directory. The [Detection] reports what was found, what was chosen, and why nothing else
// was. [Detection.Explain] prints it.
//
// # How it chooses
//
// The first row that applies decides. An empty or blank variable counts as not set, and the [Detection] says so.
//
//	as named  SECRET_MANAGER_TYPE: env, file, vault, aws, or a provider of [With]; with auto, the other rows decide
//	vault     VAULT_AGENT_ADDR or VAULT_ADDR
//	aws       AWS_SECRET_PREFIX, the prefix of secret names
//	file      SECRET_MANAGER_PATH, the directory
//	env       SECRET_MANAGER_PREFIX, the prefix of variable names
//	aws       AWS_REGION or AWS_DEFAULT_REGION, together with credentials
//	file      a file in $CREDENTIALS_DIRECTORY if that is set, or else in /run/secrets
//	aws       AWS_REGION or AWS_DEFAULT_REGION alone
//	env       none of these
//
// Credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY together, AWS_WEB_IDENTITY_TOKEN_FILE,
// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_PROFILE. AWS Lambda always sets the region and the
// keys, so every row above theirs wins there.
//
// The directory counts if it has a regular file, or a link within it to one, at its top level. Entries that platforms create do not count:
// kubernetes.io, names that begin with "..", rhsm or etc-pki, and names that end in .repo.
//
// # Configuration
//
// The variables that choose also configure the backend: SECRET_MANAGER_PREFIX sets env.WithPrefix, SECRET_MANAGER_PATH the directory of
// file.New, and AWS_SECRET_PREFIX awssm.WithPrefix. Package vault reads its own variables, including those of its mount and of a login. The
// AWS SDK reads its own.
//
// [WithEnv], [WithFile], [WithVault] and [WithAWS] take options for the backends, which win over variables. [With] adds a provider of your
// own.
//
// # Errors
//
// A chosen backend is never replaced by another one. If it cannot be built, such as Vault without a token or a directory that does not
// exist, the error says which variable chose it and what is missing.
//
// An unreadable directory does not count as an empty one. If the choice depends on the directory, it is an error that it cannot be read, or
// that $CREDENTIALS_DIRECTORY has no file: systemd sets that variable only for a service with credentials (https://systemd.io/CREDENTIALS).
//
// [WithStrict] makes contradictory signals an error, [ErrAmbiguous].
//
// Errors and the Detection show paths, addresses, prefixes and regions. They mask anything that looks like a token, and the user and
// password in a URL.
//
// # Limits
//
// This package imports all backends and their SDKs. If you know where your secrets are, import that backend alone: the binary is smaller.
package detect
