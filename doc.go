// Package secrets is a client for secrets. One [Client] reads environment variables, files, HashiCorp Vault, AWS Secrets Manager or a
// backend of your own. Layers add a cache, deduplication, tracing and redaction to each backend, and a fallback chain joins several.
//
// Build one Client in main, pass it to the code that needs secrets, and close it at the end:
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
// Without layers there is no cache: each Get calls the backend. Standard of package middleware adds the recommended layers.
//
// There is no package-level state: no default client, no registry, no init function.
//
// # Keys
//
// A key has the form
//
//	path[?version=V][#field]
//
// The first '#' splits off the field, the first '?' before it the query. "%23", "%3F" and "%25" stand for '#', '?' and '%' in a path.
//
//   - "database" is the whole document of that name, byte for byte.
//   - "database#password" is a field of it, if the document is a JSON object: see [Secret.Field]. This form works with every backend.
//   - "database/password" is a document or a field, as the backend defines it.
//   - "database/password#" is always the whole document at that path.
//
// # When a secret changes
//
// A program that calls [Client.Get] at each use has the current value within the TTL of the cache. [Client.Watch] returns a [Handle],
// which holds the current value and reports changes. [Derive] builds something from it, such as a connection pool, and rebuilds it after
// each change. [Client.Do] logs in with a credential, also in the middle of a rotation.
//
// # Layers
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
// The cache is below the fallback: a value from a fallback is never cached as a value of the first backend. The cache stores documents:
// "database#user" and "database#password" are one call and one version. Local backends (files and environment variables) are always
// current; they get no cache and no dedup.
//
// For a backend of your own, implement [Backend]; [NewBackend] makes a small one from a function. If its server has batches, use a
// [Batcher]. Package secretstest has the conformance tests. A layer is a [Middleware]; [Intercept] makes one from a function.
//
// # Errors
//
// Every error is an [*Error] of exactly one class: [ErrNotFound], [ErrPermissionDenied], [ErrUnavailable] and so on. If the caller's own
// context has ended, the class is [context.Canceled] or [context.DeadlineExceeded]. A denial or an outage is never "not found":
// [Client.GetOr] and [Client.Has] rely on that. No error holds a value, or wraps an error of an SDK or a parser.
//
// # Limits
//
// A path has up to 512 bytes; a key, or a path that is an ARN, has up to 2048. A key must be valid UTF-8, without control, format or
// line-separator characters. No segment of its path may be empty, "." or "..". Any other key is [ErrInvalidKey], without any I/O.
//
// A Backend belongs to one Client. Values are in the memory of the process: a core dump or a debugger shows them.
package secrets
