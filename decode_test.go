package secrets_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

func TestJSONRefusesKeysThatDifferOnlyInCase(t *testing.T) {
	const detail = "the keys password and Password of one object differ only in case; remove one of them"
	for doc, want := range map[string]string{
		`{"password":"new","Password":"old"}`:                                         detail,
		`{"a":1,"password":"new","b":2,"Password":"old"}`:                             detail,
		`{"\u0070assword":"new","P\u0061ssword":"old"}`:                               detail,
		`{"db":{"password":"new","Password":"old"}}`:                                  detail,
		`[1,[{"password":"new","Password":"old"}]]`:                                   detail,
		`{"Straße":1,"STRAßE":2}`:                                                     `the keys "Stra\u00dfe" and "STRA\u00dfE" of`,
		"{\"key\":1,\"\u212aey\":2}":                                                  `the keys key and "\u212aey" of`,   // the Kelvin sign
		"{\"pass\":1,\"pa\u017fs\":2}":                                                `the keys pass and "pa\u017fs" of`, // the long s
		"{\"σ\":1,\"ς\":2}":                                                           `the keys "\u03c3" and "\u03c2" of`,
		`{"a\u0001":1,"A\u0001":2}`:                                                   `the keys "a\x01" and "A\x01" of`,
		`{"` + strings.Repeat("k", 200) + `":1,"` + strings.Repeat("K", 200) + `":2}`: strings.Repeat("K", 128) + "… of",
	} {
		t.Run(brief(doc), func(t *testing.T) {
			is := is.New(t)
			s := secrets.NewSecret(doc, secrets.Meta{Backend: "b"})
			var v any
			err := s.JSON(&v)
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(e.Err, secrets.ErrMalformed)
			is.Equal(e.Backend, "b")
			if !strings.Contains(e.Detail, want) {
				t.Errorf("%q, want %q", e.Detail, want)
			}
			is.True(v == nil) // nothing was decoded
			checkPrintable(t, err.Error())
		})
	}
}

// The control of the test above: in these documents, no two keys of one object are the same to encoding/json.
func TestJSONAcceptsTheSameKeyInTwoObjects(t *testing.T) {
	for _, doc := range []string{
		`{"password":{"Password":1}}`, `[{"password":1},{"Password":2}]`, `{"a":{"k":1},"b":{"K":2}}`, `{"a_b":1,"ab":2,"a-b":3}`,
		`{"é":1,"e\u0301":2}`, `{"ß":1,"ss":2}`, `{"i":1,"İ":2,"ı":3}`, `{"password":"Password"}`, `{"":1," ":2}`,
	} {
		t.Run(doc, func(t *testing.T) {
			is := is.New(t)
			var v any
			is.NoErr(secrets.NewSecret(doc, secrets.Meta{}).JSON(&v))
		})
	}
}

// What the rule is for: encoding/json alone takes the last of both.
func TestFieldStaysExactWhereJSONRefuses(t *testing.T) {
	is := is.New(t)
	s := secrets.NewSecret(`{"password":"new","Password":"old","db":{"a":1,"A":2}}`, secrets.Meta{})
	for name, want := range map[string]string{"password": "new", "Password": "old", "db.a": "1", "db.A": "2"} {
		got, err := s.Field(name)
		is.NoErr(err)
		is.Equal(got.Reveal(), want)
	}
	var v struct {
		Password string `json:"password"`
	}
	is.True(errors.Is(s.JSON(&v), secrets.ErrMalformed))
	is.Equal(v.Password, "")
	is.NoErr(json.Unmarshal([]byte(s.Reveal()), &v)) // the control
	is.Equal(v.Password, "old")
}
