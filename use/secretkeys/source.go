package secretkeys

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

// source defines where in a secret the id and the key are.
type source struct {
	name              string // the key of the secret, for errors
	idField, keyField string // if "", the version is the id, and the whole secret the key
}

// read returns the id and the key of a version of the secret.
func (s source) read(version secrets.Secret) (id string, key secrets.Secret, err error) {
	if s.idField == "" {
		id, key = version.Meta().Version, version
		err = checkVersion(id)
	} else {
		id, key, err = s.fields(version)
	}
	if err == nil && len(key.Bytes()) == 0 { // anyone could sign with it
		err = s.failure(version, secrets.ErrMalformed, s.keyField, "the key is empty")
	}
	if err != nil {
		return "", secrets.Secret{}, err
	}
	return id, key, nil
}

func (s source) fields(document secrets.Secret) (id string, key secrets.Secret, err error) {
	named, err := s.field(document, s.idField)
	if err != nil {
		return "", key, err
	}
	if key, err = s.field(document, s.keyField); err != nil {
		return "", key, err
	}
	switch id = named.Reveal(); {
	case named.Equal(key): // ids are public
		err = s.failure(document, secrets.ErrMalformed, s.idField, "it is the same as the key")
	case !isID(id):
		err = s.failure(document, secrets.ErrMalformed, s.idField,
			fmt.Sprintf("it is not an id: 1 to %d printable ASCII characters without a space", maxID))
	}
	return id, key, err
}

func (s source) field(document secrets.Secret, name string) (secrets.Secret, error) {
	value, err := document.Field(name)
	if failure, ok := errors.AsType[*secrets.Error](err); ok {
		return value, s.failure(document, failure.Err, name, failure.Detail)
	}
	return value, err
}

// failure returns an error about a field, or about the whole secret if field is "".
func (s source) failure(of secrets.Secret, class error, field, detail string) error {
	if field != "" {
		detail = fmt.Sprintf("the field %q of Fields: %s", field, detail)
	}
	return &secrets.Error{Backend: of.Meta().Backend, Key: s.name, Err: class, Detail: detail}
}

// maxID exceeds the length of any id, and is less than that of most keys in Base64 or PEM.
const maxID = 128

// isID reports whether id can be used in a token, a header or a log without escapes.
func isID(id string) bool {
	return id != "" && len(id) <= maxID && !slices.ContainsFunc([]byte(id), func(b byte) bool { return b <= ' ' || b > '~' })
}

// checkVersion refuses a version that processes do not share. Environment variables have no versions. Files, KV v1 and secrets with a lease
// have fingerprints under a random key per process (see internal/fingerprint). A fingerprint has 16 hexadecimal digits, which no version of
// AWS (32 characters or more) or KV v2 (a number of up to 32 bits) has.
func checkVersion(version string) error {
	const size = 16
	switch {
	case version == "":
		return errors.New("secretkeys: the secret has no version to use as the id of the key; " + instead)
	case len(version) == size && !slices.ContainsFunc([]byte(version), func(b byte) bool {
		return (b < '0' || b > '9') && (b < 'a' || b > 'f')
	}):
		return errors.New("secretkeys: the version of the secret is a fingerprint, which no other process has; " + instead)
	default:
		return nil
	}
}

const instead = "name the field with the id in Fields, or keep the key in KV version 2 of Vault or in AWS Secrets Manager"
