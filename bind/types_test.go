package bind_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/bind"
)

// named types of each kind.
type (
	word    string
	octet   byte
	octets  []octet
	flag    bool
	level   int8
	port    uint16
	ratio   float32
	timeout time.Duration
)

// picky quotes the value in the error of its method, or in a panic.
type picky struct{ text string }

func (p *picky) UnmarshalText(text []byte) error {
	switch {
	case strings.HasPrefix(string(text), "panic"):
		panic("no " + string(text))
	case strings.HasPrefix(string(text), "refuse"):
		return fmt.Errorf("no %s", text)
	}
	p.text = string(text)
	return nil
}

func (p *picky) UnmarshalJSON(text []byte) error {
	var s string
	return errors.Join(json.Unmarshal(text, &s), p.UnmarshalText([]byte(s)))
}

// one is a struct with one field.
type (
	one[T any] struct {
		V T `secret:"v"`
	}
	oneJSON[T any] struct {
		V T `secret:"v,json"`
	}
)

// loads checks that value is loaded as want.
func loads[T any](want T, value string) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		is := is.New(t)
		client, _ := open(t, map[string]string{"v": value})
		got, err := bind.Load[one[T]](t.Context(), client)
		is.NoErr(err)
		is.Equal(got.V, want)
		toPointer, err := bind.Load[one[*T]](t.Context(), client)
		is.NoErr(err)
		is.Equal(*toPointer.V, want)
	}
}

// refuses checks that value is malformed as a T, and that the error contains detail and nothing of value. The error quotes is a control,
// and does contain value.
func refuses[T any](value, detail string, quotes error) func(t *testing.T) {
	return refusesOf[T, one[T]](value, detail, quotes)
}

func refusesOf[T, C any](value, detail string, quotes error) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		is := is.New(t)
		client, _ := open(t, map[string]string{"v": value})
		got, err := bind.Load[C](t.Context(), client)
		is.True(err != nil)
		is.True(reflect.ValueOf(got).IsZero())
		is.Equal(secrets.Class(err), secrets.ErrMalformed)
		_, text, _ := strings.Cut(err.Error(), ".V (v): ")
		is.Equal(text, "fake: malformed: "+detail)
		if value != "" && quotes != nil {
			is.True(!strings.Contains(err.Error(), value))
			is.True(strings.Contains(quotes.Error(), value)) // a control: the dropped error shows it
		}
	}
}

func second[T any](_ T, err error) error { return err }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTypes(t *testing.T) {
	for name, test := range map[string]func(t *testing.T){
		"string":                loads("a\nb ", "a\nb "),
		"string, empty":         loads("", ""),
		"string, named":         loads(word("a"), "a"),
		"bytes":                 loads([]byte{0xff, 0}, "\xff\x00"),
		"bytes, named":          loads(json.RawMessage("{}"), "{}"),
		"bytes, named twice":    loads(octets("ab"), "ab"),
		"bool":                  loads(true, "true"),
		"bool, named":           loads(flag(true), "1"),
		"int":                   loads(-5, "-5"),
		"int8":                  loads(int8(-128), "-128"),
		"int8, named":           loads(level(127), "127"),
		"int16":                 loads(int16(-1<<15), "-32768"),
		"int32":                 loads(int32(1<<31-1), "2147483647"),
		"int64":                 loads(int64(-1<<63), "-9223372036854775808"),
		"uint":                  loads(uint(5), "5"),
		"uint8":                 loads(uint8(255), "255"),
		"uint16, named":         loads(port(65535), "65535"),
		"uint32":                loads(uint32(1<<32-1), "4294967295"),
		"uint64":                loads(uint64(1<<64-1), "18446744073709551615"),
		"float32":               loads(float32(1.5), "1.5"),
		"float32, named":        loads(ratio(-0.25), "-25e-2"),
		"float64":               loads(1e300, "1e300"),
		"duration":              loads(90*time.Minute, "1h30m"),
		"duration, named":       loads(timeout(5), "5"), // nanoseconds: it is an integer
		"url":                   loads(*must(url.Parse("postgres://u:p@h:5432/d?x=1")), "postgres://u:p@h:5432/d?x=1"),
		"text":                  loads(netip.MustParseAddr("10.0.0.1"), "10.0.0.1"),
		"text, before its kind": loads(slog.LevelWarn, "WARN"),
		"text, a time":          loads(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "2026-01-02T03:04:05Z"),
		"text, of a pointer":    loads(*big.NewInt(12), "12"),
		"text, of the program":  loads(picky{"a"}, "a"),
		"secret":                loadsSecret,
		"json, of each type":    loadsJSON,
		"bytes are a copy":      loadsOwnBytes,
	} {
		t.Run(name, test)
	}
}

func loadsSecret(t *testing.T) {
	t.Helper()
	is := is.New(t)
	client, _ := open(t, map[string]string{"v": "a"})
	got, err := bind.Load[one[secrets.Secret]](t.Context(), client)
	is.NoErr(err)
	is.Equal(got.V.Reveal(), "a")
	is.Equal(got.V.Meta().Backend, "fake")
	is.Equal(fmt.Sprintf("%+v", got), "{V:[REDACTED]}")
}

func loadsOwnBytes(t *testing.T) {
	t.Helper()
	is := is.New(t)
	client, _ := open(t, map[string]string{"v": "abc"})
	got, err := bind.Load[one[[]byte]](t.Context(), client)
	is.NoErr(err)
	clear(got.V)
	again, err := client.Get(t.Context(), "v")
	is.NoErr(err)
	is.Equal(again.Reveal(), "abc")
}

func loadsJSON(t *testing.T) {
	t.Helper()
	is := is.New(t)
	type server struct {
		Host     string
		Password secrets.Secret
	}
	client, _ := open(t, map[string]string{"v": `[{"host":"a","password":"p"},{"host":"b"}]`})
	got, err := bind.Load[oneJSON[[]server]](t.Context(), client)
	is.NoErr(err)
	is.Equal(got.V[0].Host+got.V[1].Host, "ab")
	is.Equal(got.V[0].Password.Reveal(), "p")
	toPointer, err := bind.Load[oneJSON[*[]server]](t.Context(), client)
	is.NoErr(err)
	is.Equal((*toPointer.V)[1].Host, "b")
	untyped, err := bind.Load[oneJSON[any]](t.Context(), client)
	is.NoErr(err)
	is.Equal(len(untyped.V.([]any)), 2)
	asText, err := bind.Load[one[[]byte]](t.Context(), client)
	is.NoErr(err)
	is.True(json.Valid(asText.V))
}

// The errors that Load drops quote the value: each case has the parser's error as a control.
func TestMalformedValues(t *testing.T) {
	const (
		fits     = "the value is not a whole number that fits "
		number   = "the value is not a number that fits "
		boolean  = "the value is not a bool such as true or false"
		duration = "the value is not a duration such as 300ms or 1h30m"
		refused  = "the value was refused by UnmarshalText of "
		mistyped = "the field Max is a string, but the Go type is int"
		large    = "9223372036854775808"
	)
	var p picky
	for name, test := range map[string]func(t *testing.T){
		"bool":               refuses[bool]("correct horse", boolean, second(strconv.ParseBool("correct horse"))),
		"bool, empty":        refuses[bool]("", boolean, nil),
		"int":                refuses[int]("hunter2", fits+"int", second(strconv.Atoi("hunter2"))),
		"int, empty":         refuses[int]("", fits+"int", nil),
		"int, with a space":  refuses[int](" 5", fits+"int", second(strconv.Atoi(" 5"))),
		"int, with a line":   refuses[int]("5\n", fits+"int", nil),
		"int, hexadecimal":   refuses[int]("0xff", fits+"int", second(strconv.Atoi("0xff"))),
		"int, with a point":  refuses[int]("1.0", fits+"int", second(strconv.Atoi("1.0"))),
		"int8, too large":    refuses[int8]("128", fits+"int8", second(strconv.ParseInt("128", 10, 8))),
		"int8, named":        refuses[level]("-129", fits+"int8", second(strconv.ParseInt("-129", 10, 8))),
		"int64, too large":   refuses[int64](large, fits+"int64", second(strconv.ParseInt(large, 10, 64))),
		"uint, negative":     refuses[uint]("-17", fits+"uint", second(strconv.ParseUint("-17", 10, 64))),
		"uint16, too large":  refuses[port]("65536", fits+"uint16", second(strconv.ParseUint("65536", 10, 16))),
		"float32, too large": refuses[float32]("1e39", number+"float32", second(strconv.ParseFloat("1e39", 32))),
		"float64":            refuses[float64]("pi", number+"float64", second(strconv.ParseFloat("pi", 64))),
		"duration":           refuses[time.Duration]("45", duration, second(time.ParseDuration("45"))),
		"duration, named":    refuses[timeout]("5s", fits+"int64", nil),
		"url":                refuses[url.URL]("http://h:p4ss/", "the value is not a URL", second(url.Parse(strings.Clone("http://h:p4ss/")))),
		"url, by a pointer":  refuses[*url.URL]("\x7f", "the value is not a URL", nil),
		"text": refuses[picky]("refuse this", refused+"*bind_test.picky",
			p.UnmarshalText([]byte("refuse this"))),
		"text, by a pointer":   refuses[*picky]("refuse this", refused+"*bind_test.picky", nil),
		"text, of the library": refuses[netip.Addr]("hunter2", refused+"*netip.Addr", second(netip.ParseAddr("hunter2"))),
		"text, with a panic":   refuses[picky]("panic now", "UnmarshalText of *bind_test.picky panics for the value", panics("panic now")),
		"json":                 refusesOf[poolSettings, oneJSON[poolSettings]](`{"Max":"hunter2"}`, mistyped, nil),
		"json, broken": refusesOf[poolSettings, oneJSON[poolSettings]](`hunter2`, "the document is not JSON, or not JSON alone",
			nil),
		"json, refused": refusesOf[picky, oneJSON[picky]](`"refuse this"`, "the document does not decode into a *bind_test.picky", nil),
		"json, with a panic": refusesOf[picky, oneJSON[picky]](`"panic now"`, "UnmarshalJSON of *bind_test.picky panics for the value",
			nil),
	} {
		t.Run(name, test)
	}
}

// panics returns the panic of UnmarshalText as an error.
func panics(text string) (err error) {
	defer func() { err = fmt.Errorf("%v", recover()) }()
	return new(picky).UnmarshalText([]byte(text))
}
