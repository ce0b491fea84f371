// Package bind fills a struct from secrets. The tags of the struct are the list of all secrets that a service needs.
//
//	type Config struct {
//		DB struct {
//			User     string         `secret:"#user"`     // database#user
//			Password secrets.Secret `secret:"#password"` // database#password
//		} `secret:"database"`
//		Token secrets.Secret `secret:"api/token"`
//		Proxy *url.URL       `secret:"proxy/url,optional"`     // nil if there is none
//		RPS   int            `secret:"limits#rps,default=100"` // 100 if there is none
//		Pool  PoolSettings   `secret:"pool,json"`              // a JSON document
//	}
//
//	cfg, err := bind.Load[Config](ctx, client) // or: live, err := bind.Watch[Config](ctx, client)
//
// [Load] reads all secrets with one [secrets.Client.GetMany]. Its error names each secret that is missing or malformed, and shows no
// value. [Keys] returns the keys. [Watch] follows the secrets, and replaces the struct as a whole.
//
// # Tags
//
// A tag is a key, and options after commas. The key itself has no comma. Keys are those of [secrets.ParseRef].
//
//   - optional: if there is no such secret, the field keeps its zero value. An outage or a denial is still an error, as for
//     [secrets.Client.GetOr].
//   - default=VALUE: the same, but the field gets VALUE. This is the last option: VALUE may hold commas.
//   - json: the secret is a JSON document, for a field of any type. It is decoded by [secrets.Secret.JSON].
//
// The tag of a struct is the prefix of the keys in it: a tag that begins with "#" is a field of that document, and any other is a path
// below the prefix. With the prefix "database", "#user" is "database#user" and "replica#user" is "database/replica#user". Prefixes nest. A
// prefix is a path alone, without version, field and options. The empty tag is no prefix: it groups fields.
//
// An embedded struct without a tag is as if its fields stood in its place. Any other field without a tag is left alone, and so is one with
// the tag "-". A struct without a tag that has tags in it is a fault, since it would stay empty.
//
// # Types
//
// Use [secrets.Secret] for what must not be printed: fmt and log/slog show the other types in clear text. A field may be of type
// secrets.Secret, string, []byte, bool, of any integer or floating-point type, and of a named type of these. It may be a [time.Duration]
// ("1m30s") or a [url.URL]. It may have an UnmarshalText method, as [net/netip.Addr] and [time.Time] do. It may be a pointer to one of
// these types, which is nil if an optional secret is missing. With the option json, it may be of any type.
//
// The text of a secret is taken as it is, with all its spaces and line breaks. (The backend file drops one line break at the end.) So " 5"
// is no number, nor is the empty text.
//
// # Faults of a struct
//
// A type that is no struct, a key that is not valid, an unknown option, a field of another type, an unexported field with a tag, and a
// default that does not fit are faults of the program. Load and Watch return all of them as one error, before they read a secret. Keys
// panics. A test that calls Keys finds them.
package bind
