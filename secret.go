package secrets

import (
	"crypto/sha256"
	"crypto/subtle"
	"database/sql/driver"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
	"weak"
)

const redacted = "[REDACTED]"

// Secret is a value that is hard to leak. Only [Secret.Reveal] and [Secret.Bytes] return the value. Everything else (formatting with any
// verb, encodings, log/slog, database/sql, reflection) shows "[REDACTED]" or fails.
//
// The zero value is a Secret without a value; see [Secret.IsZero]. A Secret is immutable, safe for concurrent use, and not comparable
// with ==; see [Secret.Equal].
//
// # Limits
//
// The value is in the memory of the process: a core dump or a debugger shows it. If a Secret is an unexported field of another struct,
// fmt cannot call its methods, and prints addresses instead of "[REDACTED]". These do not show the value: it is a captured variable of a
// closure, which reflection cannot read.
type Secret struct {
	reveal func() string
	meta   *details
}

// details are the data of a Secret besides its value. Meta is immutable.
type details struct {
	Meta

	parsed atomic.Pointer[weak.Pointer[parsed]] // see [Secret.parse]
}

// Meta describes a [Secret]. None of it is secret.
type Meta struct {
	// Backend is the name of the backend that answered, or "default" for the default of [Client.GetOr].
	Backend string
	// Version is the backend's name for this version of the secret, or "" if it has none. It changes when the value changes.
	Version string
	// CreatedAt is the time at which this version was created, by the clock of the backend. It is zero if the backend does not report it. KV
	// version 2 of Vault and AWS Secrets Manager do. Files have none: each mount sets their times anew.
	CreatedAt time.Time
	// FetchedAt is the time at which the fetch of this value began.
	FetchedAt time.Time
	// ExpiresAt is the end of the lease, or the zero time if the secret has none.
	ExpiresAt time.Time
	// Stale says that the value is older than the TTL of the cache. The cache served it because the backend is unavailable or did not
	// answer in time. In a [Handle], it says that Err is not nil.
	Stale bool
}

// NewSecret returns a Secret that holds value. Backends return their answers with it.
func NewSecret(value string, meta Meta) Secret {
	return Secret{reveal: func() string { return value }, meta: &details{Meta: meta}}
}

// withMeta returns s with another Meta.
func (s Secret) withMeta(meta Meta) Secret {
	return Secret{reveal: s.reveal, meta: &details{Meta: meta}}
}

// Reveal returns the value, without a copy. The zero Secret returns "".
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Bytes returns a copy of the value. The zero Secret returns nil.
func (s Secret) Bytes() []byte {
	if s.reveal == nil {
		return nil
	}
	return []byte(s.reveal())
}

// Meta returns the version, the backend and the times of the secret.
func (s Secret) Meta() Meta {
	if s.meta == nil {
		return Meta{}
	}
	return s.meta.Meta
}

// IsZero reports whether s is the zero Secret, such as a missing entry in the map of [Client.GetMany]. A secret with an empty value is not
// zero.
func (s Secret) IsZero() bool { return s.reveal == nil }

// Equal reports whether s and other hold the same value. Its time depends only on the lengths of the values. The zero Secret equals only
// itself.
//
// A comparison with == does not compile. [reflect.DeepEqual] is false for two Secrets with the same value, unless both are zero. cmp.Equal
// of github.com/google/go-cmp uses Equal. In tests, compare structs that contain Secrets with Diff of package secretstest.
func (s Secret) Equal(other Secret) bool {
	if s.IsZero() || other.IsZero() {
		return s.IsZero() == other.IsZero()
	}
	a, b := sha256.Sum256(s.Bytes()), sha256.Sum256(other.Bytes())
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Field returns a part of a JSON document, as the key form path#field does. name is a key of the top-level object; if there is no such
// key, it is a dotted path into nested objects and array indexes. A string is unquoted; a number, true or false is its source text; an
// object or array is its raw JSON text.
//
// The error is an [*Error]: [ErrFieldNotFound] if the field is missing or null, and [ErrMalformed] if the value is not one JSON object in
// valid UTF-8 without duplicate keys.
func (s Secret) Field(name string) (Secret, error) {
	return s.parse().field(s, name)
}

// parsed is the result of [parseObject] for text.
type parsed struct {
	text   string
	object object
	err    *Error
}

// sharedFrom is the size in bytes from which the fields of a document share one parse.
const sharedFrom = 1 << 10

// parse parses the value as a JSON object. Callers share the result for a large document while one of them holds it. A Secret holds only a
// weak pointer, because the members may take more memory than the text.
func (s Secret) parse() *parsed {
	text := s.Reveal()
	share := s.meta != nil && len(text) >= sharedFrom
	if share {
		if last := s.meta.parsed.Load(); last != nil {
			if p := last.Value(); p != nil && p.text == text { // a field has the details of its document
				return p
			}
		}
	}
	p := &parsed{text: text}
	p.object, p.err = parseObject(text)
	if share {
		w := weak.Make(p)
		s.meta.parsed.Store(&w)
	}
	return p
}

// field returns a field of s. p is the result of s.parse.
func (p *parsed) field(s Secret, name string) (Secret, error) {
	err, value := p.err, ""
	if err == nil {
		value, err = p.object.field(name)
	}
	if err != nil {
		failure := err.clone()
		failure.Backend = s.Meta().Backend
		return Secret{}, failure
	}
	return Secret{reveal: func() string { return value }, meta: s.meta}, nil
}

// JSON decodes the value, a JSON document, into the value that v points to, by the rules of [encoding/json]. Use Secret as the type of a
// password; it takes any JSON value, see [Secret.UnmarshalJSON]:
//
//	var db struct {
//		Port     int
//		Password secrets.Secret
//	}
//	err := s.JSON(&db)
//
// The document must be valid UTF-8, and no object may have two keys that are the same or differ only in case: encoding/json would take the
// last of them. The error is an [*Error] of class [ErrMalformed] that quotes no value of the document. If a value has the wrong type, the
// error names the field, the Go type and the type in the document; v may then hold a part of the document.
func (s Secret) JSON(v any) error {
	err := checkDocument(s.Reveal())
	if err == nil {
		err = decode(s.Reveal(), v)
	}
	if err != nil {
		err.Backend = s.Meta().Backend
		return err
	}
	return nil
}

// UnmarshalJSON sets s to a JSON value: the unquoted text of a string, the source text of a number, true or false, or the raw JSON of an
// object or array. null gives the zero Secret. The Meta of s is empty, also if [Secret.JSON] decodes it from a Secret with a Meta.
// UnmarshalJSON is not the inverse of [Secret.MarshalJSON], which writes "[REDACTED]".
//
// The error is an [*Error] of class [ErrMalformed] that does not quote text.
func (s *Secret) UnmarshalJSON(text []byte) error {
	value, err := decodeSecret(string(text))
	if err != nil {
		return err
	}
	*s = value
	return nil
}

// String returns "[REDACTED]".
func (Secret) String() string { return redacted }

// GoString returns "[REDACTED]".
func (Secret) GoString() string { return redacted }

// Format writes "[REDACTED]" for every verb.
func (Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, redacted) //nolint:errcheck // fmt has no place for an error of its own state
}

// LogValue returns "[REDACTED]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[REDACTED]".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[REDACTED]" as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalXML writes an element that holds "[REDACTED]".
func (Secret) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(redacted, start)
}

// MarshalXMLAttr returns an attribute that holds "[REDACTED]".
func (Secret) MarshalXMLAttr(name xml.Name) (xml.Attr, error) {
	return xml.Attr{Name: name, Value: redacted}, nil
}

// MarshalYAML returns "[REDACTED]". The common YAML libraries call this method.
func (Secret) MarshalYAML() (any, error) { return redacted, nil }

// MarshalBinary returns "[REDACTED]".
func (Secret) MarshalBinary() ([]byte, error) { return []byte(redacted), nil }

// GobEncode returns "[REDACTED]".
func (Secret) GobEncode() ([]byte, error) { return []byte(redacted), nil }

// Value returns an error, so that no Secret gets into a database by accident. Pass the result of [Secret.Reveal] to store a value.
func (Secret) Value() (driver.Value, error) {
	return nil, errors.New("secrets: a Secret is not a SQL value; pass Reveal() if that is what you mean")
}

var (
	_ fmt.Formatter            = Secret{}
	_ fmt.Stringer             = Secret{}
	_ fmt.GoStringer           = Secret{}
	_ slog.LogValuer           = Secret{}
	_ json.Marshaler           = Secret{}
	_ json.Unmarshaler         = (*Secret)(nil)
	_ xml.Marshaler            = Secret{}
	_ xml.MarshalerAttr        = Secret{}
	_ gob.GobEncoder           = Secret{}
	_ driver.Valuer            = Secret{}
	_ encoding.TextMarshaler   = Secret{}
	_ encoding.BinaryMarshaler = Secret{}
)
