// Package bind fills a struct from secrets. The struct's tags list all secrets that a service needs.
//
//	type Config struct {
//		DB struct {
//			User     string         `secret:"#user"`     // database#user
//			Password secrets.Secret `secret:"#password"` // database#password
//		} `secret:"database"`
//		Token secrets.Secret `secret:"api/token"`
//		Proxy *url.URL       `secret:"proxy/url,optional"`     // nil if missing
//		RPS   int            `secret:"limits#rps,default=100"` // 100 if missing
//		Pool  PoolSettings   `secret:"pool,json"`              // a JSON document
//	}
//
//	cfg, err := bind.Load[Config](ctx, client) // or: live, err := bind.Watch[Config](ctx, client)
//
// [Load] reads all secrets with one [secrets.Client.GetMany]. [Watch] also follows them, and replaces the struct as a whole after a change.
// [Keys] returns the keys.
//
// # Tags
//
// A tag is a key, then options after commas. The key itself has no comma. Keys are those of [secrets.ParseRef].
//
//   - optional: if the secret is missing, the field keeps its zero value. An outage or a denial is still an error, as for
//     [secrets.Client.GetOr].
//   - default=VALUE: like optional, but the field gets VALUE. It must be the last option, since VALUE may contain commas.
//   - json: the secret is a JSON document, decoded by [secrets.Secret.JSON] into a field of any type.
//
// The tag of a struct is a prefix for the keys in it. A tag that begins with "#" is a field of the prefix's document; any other is a path
// below the prefix. With the prefix "database", "#user" is "database#user" and "replica#user" is "database/replica#user". Prefixes nest. A
// prefix is only a path, without version, field or options. An empty tag groups fields without a prefix.
//
// The fields of an embedded struct without a tag belong to the outer struct. Any other field without a tag, and one with the tag "-", is
// ignored. A struct without a tag but with tags in it is an error, since it would stay empty.
//
// # Types
//
// Use [secrets.Secret] for everything that must not be printed: fmt and log/slog show other types in clear text.
//
// A field may be a secrets.Secret, string, []byte, bool, any integer or floating-point type, or a named type of these. It may be a
// [time.Duration] ("1m30s") or a [url.URL]. It may be a type with an UnmarshalText method, such as [net/netip.Addr] and [time.Time]. It may
// be a pointer to one of these, which is nil if an optional secret is missing. With the option json, it may have any type.
//
// The text of a secret is used unchanged, with all spaces and line breaks. (The backend file removes one final line break.) So neither " 5"
// nor the empty text is a number.
//
// # Errors
//
// The error of Load names each secret that is missing or malformed, and shows no value.
//
// A fault of the struct is a bug in the program:
//
//   - a type that is not a struct;
//   - an invalid key, or an unknown option;
//   - an unsupported field type, or an unexported field with a tag;
//   - a default that does not fit.
//
// Load and Watch return all faults as one error before they read a secret. Keys panics, so a test that calls Keys finds them.
package bind
