package secrets_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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

// The control of the test above: no object of these documents has two keys that encoding/json takes for the same.
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

// The reason for the rule: encoding/json takes the last of the two keys.
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

// passwords holds Secrets in every way in which a struct can.
type passwords struct {
	Password secrets.Secret            `json:"password"`
	Pointer  *secrets.Secret           `json:"pointer"`
	Many     []secrets.Secret          `json:"many"`
	ByName   map[string]secrets.Secret `json:"byName"`
	User     string                    `json:"user"`
}

func TestJSONDecodesIntoSecrets(t *testing.T) {
	for raw, want := range map[string]string{
		`"hunter2"`: "hunter2", `""`: "", `"p\u00e4ss\"w\\o\/rd\n"`: "päss\"w\\o/rd\n", `"\ud834\udd1e"`: "𝄞", `"null"`: "null",
		"12345678901234567890": "12345678901234567890", "-0": "-0", "1e3": "1e3", "1.0": "1.0", "true": "true", "false": "false",
		`{ "b" : 1,  "a":[ 1 , 2 ]}`: `{ "b" : 1,  "a":[ 1 , 2 ]}`, "[ 1, null ]": "[ 1, null ]", "{}": "{}", "[]": "[]",
	} {
		t.Run(raw, func(t *testing.T) {
			is := is.New(t)
			doc := fmt.Sprintf(`{"user":"alice","password": %[1]s ,"pointer":%[1]s,"many":[%[1]s,null],"byName":{"a":%[1]s}}`, raw)
			s := secrets.NewSecret(doc, secrets.Meta{Backend: "b", Version: "7"})
			var v passwords
			is.NoErr(s.JSON(&v))
			is.Equal(v.User, "alice")
			is.Equal(len(v.Many), 2)
			is.True(v.Many[1].IsZero())
			for _, got := range []secrets.Secret{v.Password, *v.Pointer, v.Many[0], v.ByName["a"]} {
				is.True(!got.IsZero())
				is.Equal(got.Reveal(), want)
				is.Equal(got.Meta(), secrets.Meta{})
			}
			var plain passwords // encoding/json alone does the same
			is.NoErr(json.Unmarshal([]byte(doc), &plain))
			is.Equal(plain.Password.Reveal(), want)
			var alone secrets.Secret
			is.NoErr(secrets.NewSecret(" "+raw+"\n", secrets.Meta{}).JSON(&alone))
			is.Equal(alone.Reveal(), want)
		})
	}
}

// null replaces the old value of v.
func TestJSONNullIsTheZeroSecret(t *testing.T) {
	is := is.New(t)
	old := secrets.NewSecret("old", secrets.Meta{})
	v := passwords{Password: old, Pointer: &old}
	is.NoErr(secrets.NewSecret(`{"password":null,"pointer":null}`, secrets.Meta{}).JSON(&v))
	is.True(v.Password.IsZero())
	is.True(v.Pointer == nil)
	v.Password = old
	is.NoErr(secrets.NewSecret(`{}`, secrets.Meta{}).JSON(&v))
	is.Equal(v.Password.Reveal(), "old") // the control: a missing field keeps its value, as in encoding/json
}

func TestUnmarshalJSONRefusesWhatItWouldChange(t *testing.T) {
	for text, want := range map[string]string{
		"": "not JSON", canary: "not JSON", `"` + canary[:8]: "not JSON", `"a" "b"`: "not JSON", "\"" + canary[:8] + "\xff\"": "not valid UTF-8",
		`"` + canary[:8] + `\ud834"`: "half of a surrogate pair",
	} {
		t.Run(brief(text), func(t *testing.T) {
			is := is.New(t)
			s := secrets.NewSecret("before", secrets.Meta{})
			err := s.UnmarshalJSON([]byte(text))
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(e.Err, secrets.ErrMalformed)
			is.True(strings.Contains(e.Detail, want))
			is.Equal(s.Reveal(), "before")
			is.Equal(newDetector(canary).find(fmt.Sprintf("%v %+v %#v", err, err, err)+dump(err, false)), "")
		})
	}
	// The same within a document, by encoding/json alone.
	is := is.New(t)
	var v passwords
	is.True(errors.Is(json.Unmarshal([]byte(`{"password":"\ud834"}`), &v), secrets.ErrMalformed))
}

// UnmarshalJSON must not keep the buffer, which decoders reuse.
func TestUnmarshalJSONCopies(t *testing.T) {
	is := is.New(t)
	text := []byte(`"hunter2"`)
	var s secrets.Secret
	is.NoErr(s.UnmarshalJSON(text))
	clear(text)
	is.Equal(s.Reveal(), "hunter2")
}

type (
	server struct {
		Host string `json:"host"`
		Port int8   `json:"port"`
	}
	common struct {
		TTL int `json:"ttl"`
	}
	settings struct {
		common

		DB       server            `json:"db"`
		Replicas []server          `json:"replicas"`
		ByName   map[string]server `json:"byName"`
		Next     *settings         `json:"next"`
		Tags     []string          `json:"tags"`
		Password secrets.Secret    `json:"password"`
		On       bool
	}
)

func TestJSONMismatchNamesFieldAndTypes(t *testing.T) {
	for doc, want := range map[string]string{
		`{"db":{"port":"x"}}`:                               "the field db.port is a string, but the Go type is int8",
		`{"DB":{"Port":true}}`:                              "the field db.port is a bool, but the Go type is int8",
		`{"db":{"port":[1]}}`:                               "the field db.port is an array, but the Go type is int8",
		`{"db":{"host":{"a":1}}}`:                           "the field db.host is an object, but the Go type is string",
		`{"db":{"host":12345}}`:                             "the field db.host is a number, but the Go type is string",
		`{"db":{"port":12345}}`:                             "the field db.port is a number that does not fit into the Go type int8",
		`{"db":{"port":1.5}}`:                               "the field db.port is a number that does not fit into the Go type int8",
		`{"db":"x"}`:                                        "the field db is a string, but the Go type is secrets_test.server",
		`{"replicas":[{"port":1},{"port":"x"}]}`:            "the field replicas.port is a string, but the Go type is int8",
		`{"byName":{"primary":{"port":"x"}}}`:               "the field byName.port is a string, but the Go type is int8",
		`{"next":{"next":{"db":{"port":"x"}}}}`:             "the field next.next.db.port is a string, but the Go type is int8",
		`{"tags":"x"}`:                                      "the field tags is a string, but the Go type is []string",
		`{"ttl":"x"}`:                                       "the field ttl is a string, but the Go type is int",
		`{"on":1}`:                                          "the field On is a number, but the Go type is bool",
		`{"password":"p","next":{"password":[1],"on":"x"}}`: "the field next.On is a string, but the Go type is bool",
		`["x"]`: "the document is an array, but the Go type is secrets_test.settings",
		`"x"`:   "the document is a string, but the Go type is secrets_test.settings",
	} {
		t.Run(doc, func(t *testing.T) {
			is := is.New(t)
			var v settings
			err := secrets.NewSecret(doc, secrets.Meta{Backend: "b"}).JSON(&v)
			is.True(err != nil)
			is.Equal(err.Error(), "secrets: b: malformed: "+want)
			is.True(errors.Is(err, secrets.ErrMalformed))
		})
	}
}

// mimic's errors look like those of encoding/json, and quote the value.
type mimic struct{ wrapped error }

func (m *mimic) UnmarshalJSON(text []byte) error {
	value := strings.Trim(string(text), `"`)
	failure := &json.UnmarshalTypeError{Value: value, Type: reflect.TypeFor[int](), Field: value, Struct: value}
	if m.wrapped == nil {
		return failure
	}
	failure.Value = "number " + value
	return fmt.Errorf("%w: %w: %s", m.wrapped, failure, value)
}

func TestJSONMismatchNeverShowsValues(t *testing.T) {
	word, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	const digits = "98765432109876543210"
	for name, tc := range map[string]struct {
		doc   string
		into  any
		quiet bool // encoding/json does not quote the value either
	}{
		"overflow":                {`{"db":{"port":` + digits + `}}`, new(settings), false},
		"fraction":                {`{"db":{"port":` + digits + `.5}}`, new(settings), false},
		"string":                  {`{"db":{"port":` + string(word) + `}}`, new(settings), true},
		"next to a Secret":        {`{"password":` + string(word) + `,"on":` + string(word) + `}`, new(settings), true},
		"key of a map of numbers": {`{` + string(word) + `:1}`, new(map[int]int), false},
		"long key of a map":       {`{"` + digits + `":1}`, new(map[int]int), false},
		"option string": {`{"N":` + string(word) + `}`, new(struct {
			N int `json:"n,string"`
		}), false},
		"foreign UnmarshalJSON":      {string(word), new(mimic), false},
		"foreign, of a field":        {`{"M":` + string(word) + `}`, new(struct{ M mimic }), false},
		"foreign, wrapped":           {string(word), &mimic{errors.New("no")}, false},
		"foreign, with digits":       {`"` + digits + `"`, &mimic{errors.New("no")}, false},
		"foreign, of a field, again": {`{"M":"` + digits + `"}`, new(struct{ M mimic }), false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			shows := func(err error) bool {
				output := fmt.Sprintf("%v %+v %#v", err, err, err) + dump(err, false)
				return newDetector(canary).find(output) != "" || newDetector(digits).find(output) != ""
			}
			err := secrets.NewSecret(tc.doc, secrets.Meta{}).JSON(tc.into)
			is.True(errors.Is(err, secrets.ErrMalformed))
			is.True(!shows(err))
			is.Equal(shows(json.Unmarshal([]byte(tc.doc), tc.into)), !tc.quiet) // the control
		})
	}
}
