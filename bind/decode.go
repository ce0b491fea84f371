package bind

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// decoder sets v to the content of s. detail is the reason why it cannot, or "". It quotes nothing of s, so it drops the errors of strconv,
// url.Parse and the program's methods, which do.
type decoder func(v reflect.Value, s secrets.Secret) (detail string)

// decoderOf returns the decoder for t, or nil if there is none.
func decoderOf(t reflect.Type) decoder {
	switch {
	case t == reflect.TypeFor[secrets.Secret]():
		return func(v reflect.Value, s secrets.Secret) string { v.Set(reflect.ValueOf(s)); return "" }
	case t == reflect.TypeFor[url.URL]():
		return decodeURL
	case t == reflect.TypeFor[time.Duration]():
		return decodeDuration
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return decodeText
	}
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem().Kind() != reflect.Pointer {
			return decoderOfPointer(decoderOf(t.Elem()))
		}
	case reflect.String:
		return func(v reflect.Value, s secrets.Secret) string { v.SetString(s.Reveal()); return "" }
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return func(v reflect.Value, s secrets.Secret) string { v.SetBytes(s.Bytes()); return "" }
		}
	case reflect.Bool:
		return decodeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return decodeUint
	case reflect.Float32, reflect.Float64:
		return decodeFloat
	default:
	}
	return nil
}

// decoderOfPointer returns the decoder for a pointer to the type of decode.
func decoderOfPointer(decode decoder) decoder {
	if decode == nil {
		return nil
	}
	return func(v reflect.Value, s secrets.Secret) string {
		v.Set(reflect.New(v.Type().Elem()))
		return decode(v.Elem(), s)
	}
}

func decodeURL(v reflect.Value, s secrets.Secret) string {
	u, err := url.Parse(s.Reveal())
	if err != nil {
		return "the value is not a URL"
	}
	v.Set(reflect.ValueOf(*u))
	return ""
}

func decodeDuration(v reflect.Value, s secrets.Secret) string {
	d, err := time.ParseDuration(s.Reveal())
	if err != nil {
		return "the value is not a duration such as 300ms or 1h30m"
	}
	v.SetInt(int64(d))
	return ""
}

func decodeBool(v reflect.Value, s secrets.Secret) string {
	b, err := strconv.ParseBool(s.Reveal())
	if err != nil {
		return "the value is not a bool such as true or false"
	}
	v.SetBool(b)
	return ""
}

func decodeInt(v reflect.Value, s secrets.Secret) string {
	n, err := strconv.ParseInt(s.Reveal(), 10, v.Type().Bits())
	if err != nil {
		return "the value is not a whole number that fits " + v.Kind().String()
	}
	v.SetInt(n)
	return ""
}

func decodeUint(v reflect.Value, s secrets.Secret) string {
	n, err := strconv.ParseUint(s.Reveal(), 10, v.Type().Bits())
	if err != nil {
		return "the value is not a whole number that fits " + v.Kind().String()
	}
	v.SetUint(n)
	return ""
}

func decodeFloat(v reflect.Value, s secrets.Secret) string {
	n, err := strconv.ParseFloat(s.Reveal(), v.Type().Bits())
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) { // NaN passes any check of a limit
		return "the value is not a number that fits " + v.Kind().String()
	}
	v.SetFloat(n)
	return ""
}

// decodeText calls the type's UnmarshalText.
func decodeText(v reflect.Value, s secrets.Secret) (detail string) {
	defer panicking(v, "UnmarshalText", &detail)
	u, _ := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	if u.UnmarshalText(s.Bytes()) != nil {
		return fmt.Sprintf("the value was refused by UnmarshalText of %v", v.Addr().Type())
	}
	return ""
}

// panicking turns a panic in a method of v into a detail. It drops the panic's text, which may quote the value.
func panicking(v reflect.Value, method string, detail *string) {
	if recover() != nil {
		*detail = fmt.Sprintf("%s of %v panics for the value", method, v.Addr().Type())
	}
}

// decoderOfJSON returns the decoder of a JSON document into t, or nil if no document fits t.
func decoderOfJSON(t reflect.Type) decoder {
	elem := t
	if t.Kind() == reflect.Pointer {
		elem = t.Elem()
	}
	switch pointer := reflect.PointerTo(elem); {
	case pointer.Implements(reflect.TypeFor[json.Unmarshaler]()), pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return decodeJSON
	}
	switch elem.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return nil
	case reflect.Pointer: // a pointer to a pointer: encoding/json never ends on a type that points to itself
		return nil
	case reflect.Interface:
		if elem.NumMethod() > 0 {
			return nil
		}
	default:
	}
	return decodeJSON
}

// decodeJSON may call methods of the program. The errors of [secrets.Secret.JSON] quote no value.
func decodeJSON(v reflect.Value, s secrets.Secret) (detail string) {
	defer panicking(v, "UnmarshalJSON", &detail)
	err := s.JSON(v.Addr().Interface())
	if own, ok := errors.AsType[*secrets.Error](err); ok {
		return own.Detail
	}
	return ""
}
