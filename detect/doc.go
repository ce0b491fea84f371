// Package detect chooses the backend by the environment in which the program runs.
//
//	client, detection, err := detect.New(ctx)
//	…
//	log.Info("secrets", "detection", detection)                  // vault: VAULT_ADDR is set (https://…)
//	password, err := client.Get(ctx, "database#password")        // the portable form, which all backends answer
//
// [New] is [Backend] with the stack of middleware.Standard around it. Both contact nobody, probe no credentials, and look at
// variables and at one directory only. Nothing is guessed silently: [Detection] says what was seen, what was chosen, and why
// nothing else was, and [Detection.Explain] writes it for a person. This package imports all backends and their SDKs; a program
// that knows where its secrets are is smaller without it.
//
// # The order
//
// The first that applies decides. A variable that is empty or blank counts as not set, and the [Detection] says so.
//
//	as named  SECRET_MANAGER_TYPE: env, file, vault, aws, or a provider of [With]; auto leaves it to the rest
//	vault     VAULT_AGENT_ADDR or VAULT_ADDR
//	aws       AWS_SECRET_PREFIX, what stands before the names of secrets
//	file      SECRET_MANAGER_PATH, the directory
//	env       SECRET_MANAGER_PREFIX, what stands before the names of variables
//	aws       AWS_REGION or AWS_DEFAULT_REGION, with credentials beside it
//	file      a file in $CREDENTIALS_DIRECTORY if that is set, or else in /run/secrets
//	aws       AWS_REGION or AWS_DEFAULT_REGION alone
//	env       none of these
//
// Credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY together, AWS_WEB_IDENTITY_TOKEN_FILE,
// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_PROFILE. AWS Lambda always sets the region
// and the keys, so every row above theirs wins there.
//
// The directory counts if it holds a regular file at its top, or a link within it to one. What platforms put there by
// themselves does not: kubernetes.io, and names that begin with "..", rhsm or etc-pki, or end in .repo.
//
// [WithStrict] makes an error of what contradicts each other.
//
// # Half a configuration
//
// What was chosen is never given up for something else: if it cannot be built, such as Vault without a token, or a
// directory that does not exist, the error says which variable chose it and what is missing.
//
// Nor does something unreadable read as absent. If the choice depends on the directory, it is an error that the directory cannot be
// read, and that $CREDENTIALS_DIRECTORY holds no file: systemd sets that variable only for a service that has credentials
// (https://systemd.io/CREDENTIALS).
//
// Errors and the Detection show paths, addresses, prefixes and regions. They mask what looks like a token, and a user and a
// password in a URL.
//
// # What the backends read
//
// The variables that choose are passed on: SECRET_MANAGER_PREFIX to env.WithPrefix, SECRET_MANAGER_PATH to file.New,
// AWS_SECRET_PREFIX to awssm.WithPrefix. Vault's own are read by package vault, those of its mount and of a login among them, and the
// rest of AWS's by its SDK. Options for
// a backend go into [WithEnv], [WithFile], [WithVault] and [WithAWS], and win over variables.
package detect
