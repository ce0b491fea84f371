package secretspgx

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/seed-5482dd03/secrets"
)

// setLogin copies the user and the password of s, the secret of key, into cfg.
func setLogin(key string, cfg *pgx.ConnConfig, s secrets.Secret) error {
	if !isDocument(s.Reveal()) {
		cfg.Password = s.Reveal()
		return nil
	}
	password, err := s.Field("password")
	if err != nil {
		return withKey(err, key)
	}
	user, err := s.Field("username")
	if errors.Is(err, secrets.ErrFieldNotFound) {
		user, err = s.Field("user")
	}
	if err == nil {
		cfg.User = user.Reveal()
	}
	cfg.Password = password.Reveal()
	return nil
}

// isDocument reports whether text is a JSON object. A password may begin with a brace, too.
func isDocument(text string) bool {
	return strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") && json.Valid([]byte(text))
}

// withKey adds key to err, an error of [secrets.Secret.Field].
func withKey(err error, key string) error {
	if e, ok := errors.AsType[*secrets.Error](err); ok {
		e.Key = key
	}
	return err
}
