// Package secrets is a client for secrets: one [Client] that reads from environment variables, files, HashiCorp Vault, AWS Secrets
// Manager or a backend of your own, with the layers around them that a service needs: a cache, deduplication, a fallback chain,
// tracing and redaction.
//
// A program builds a Client in main, passes it to what needs secrets, and closes it at the end:
//
//	mounted, err := file.New("/run/secrets")
//	…
//	client, err := secrets.New(mounted,
//		secrets.WithFallback(fallback.To(env.New())),
//		middleware.Standard(), // redaction, dedup and a cache, with their defaults
//	)
//	…
//	defer client.Close()
//
//	password, err := client.Get(ctx, "database#password")
//	…
//	connect(password.Reveal())
//
// There is no package-level state: no default client, no registry, nothing that init sets up.
//
// # Keys
//
// A key has the form
//
//	path[?version=V][#field]
//
// The first '#' splits off the field, the first '?' before it the query; "%23", "%3F" and "%25" stand for '#', '?' and '%'
// in a path. "database" is the whole document of that name, byte for byte. "database#password" is a field of it, if it is
// a JSON object: see [Secret.Field]. "database/password" is what the backend makes of it, and "database/password#" is the
// whole document at that very path. "database#password" is the portable form: every
// backend can hold what it names.
//
// A key is refused as [ErrInvalidKey] before any input or output if it is empty or not valid UTF-8, if it has control, format or
// line-separator characters, or a path with empty, "." or ".." segments. A path has up to 512 bytes, and a key, or a path that is
// an ARN, up to 2048.
//
// # Errors
//
// Every error is an [*Error] of exactly one class: [ErrNotFound], [ErrPermissionDenied], [ErrUnavailable] and so on. If the
// caller's own context has ended, the class is [context.Canceled] or [context.DeadlineExceeded]. A denial or an outage is never
// "not found": [Client.GetOr] and [Client.Has] can rely on that. No error holds a value, or wraps an error of an SDK or a parser.
//
// # When a secret changes
//
// A program that calls [Client.Get] at each use has the current value within the TTL of the cache. [Client.Watch] returns a [Handle], which
// holds the current value and tells of the next one; [Derive] builds something from it, such as a pool, and builds it again after each
// change. [Client.Do] logs in with a credential, also in the middle of a rotation.
//
// # The order of layers
//
// The Client puts the layers in this order, whatever the order of the options:
//
//	Client.Get(key)
//	  WithMiddleware                    sees every call
//	    WithFallback                    only if there are several backends
//	      document of backend 1         finds the document that holds the key, selects the field
//	        WithCache, its reading half
//	          WithDedup
//	            WithCache, its filling half
//	              WithTracing           a span is a real fetch
//	                guard               timeout, one class of error, Meta, panics
//	                  WithRedaction     errors without values
//	                    WithBackendMiddleware
//	                      backend 1
//	      document of backend 2
//	        …
//
// The cache is below the fallback: a value of a weaker source is never kept as the primary's. It keys on the document, so
// that "database#user" and "database#password" are one call and one version. Local backends, those of files and
// environment variables, are always current and have neither cache nor dedup.
//
// # A backend or a layer of your own
//
// A backend implements [Backend]; [NewBackend] makes a small one of a function, a [Batcher] serves one whose server has batches, and
// package secretstest holds the cases that it must pass. A layer is a [Middleware]; [Intercept] makes one of a function.
package secrets
