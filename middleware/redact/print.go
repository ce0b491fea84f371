package redact

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/seed-5482dd03/secrets/internal/search"
)

// style is how a Handler prints a value of kind Any.
type style int

const (
	anyStyle  style = iota // unknown Handler
	textStyle              // slog.TextHandler
	jsonStyle              // slog.JSONHandler
)

func styleOf(next slog.Handler) style {
	switch next := next.(type) {
	case *slog.TextHandler:
		return textStyle
	case *slog.JSONHandler:
		return jsonStyle
	case *handler:
		return styleOf(next.next)
	default:
		return anyStyle
	}
}

// printed returns the text that Handlers of this style may print for value. all is false if there may be more.
func (s style) printed(value any) (text string, all bool) {
	defer func() {
		if recover() != nil {
			all = false
		}
	}()
	v := reflect.ValueOf(value)
	_, isJSON := value.(json.Marshaler)
	_, isText := value.(encoding.TextMarshaler)
	if e := (extent{left: maxParts}); !e.fits(v, 0) || s == anyStyle && isJSON && !isText && !isBytes(v) {
		return "", false
	}
	var b bytes.Buffer
	record := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	record.AddAttrs(slog.Any("", value))
	if s != jsonStyle {
		_ = slog.NewTextHandler(&b, nil).Handle(context.Background(), record) //nolint:errcheck // a buffer never fails
	}
	if s == jsonStyle || s == anyStyle && !isJSON {
		_ = slog.NewJSONHandler(&b, nil).Handle(context.Background(), record) //nolint:errcheck // a buffer never fails
	}
	if s == anyStyle {
		_, _ = fmt.Fprintf(&b, "%v %+v", value, value)
	}
	return b.String(), true
}

// substitute returns the replacement for a value that shows a secret: its masked text, if Handlers print one, and only the mark otherwise.
func (s style) substitute(value any, set *search.Set) (clean slog.Value) {
	defer func() {
		if recover() != nil {
			clean = slog.StringValue(mark)
		}
	}()
	text, ok := s.text(value)
	if !ok {
		return slog.StringValue(mark)
	}
	text, _ = set.Mask(text)
	if _, isError := value.(error); isError {
		return slog.AnyValue(errors.New(text))
	}
	return slog.StringValue(text)
}

// text returns the text that Handlers of this style print for value. ok is false if value has no text of its own, such as a struct.
func (s style) text(value any) (text string, ok bool) {
	v := reflect.ValueOf(value)
	err, isError := value.(error)
	marshaler, isText := value.(encoding.TextMarshaler)
	stringer, isStringer := value.(fmt.Stringer)
	_, isFormatter := value.(fmt.Formatter)
	_, isJSON := value.(json.Marshaler)
	switch {
	case s == jsonStyle && isJSON:
		return "", false
	case s != textStyle && isError:
		return err.Error(), true
	case isText:
		b, err := marshaler.MarshalText()
		return string(b), err == nil
	case s == textStyle && isBytes(v):
		return string(v.Bytes()), true
	case s == textStyle && (isError || isStringer || isFormatter):
		return fmt.Sprintf("%+v", value), true
	case s == anyStyle && isStringer:
		return stringer.String(), true
	}
	return v.String(), v.Kind() == reflect.String
}

// isBytes reports whether v is a slice of bytes, which some Handlers print as text.
func isBytes(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8
}

// maxParts bounds how many parts a value may have to be printed.
const maxParts = 1 << 20

// extent measures a value: fmt does not terminate for a map or a slice that contains itself.
type extent struct{ left int }

// fits reports whether v is within maxDepth and maxParts. It reads no more of v than fmt does.
//
//nolint:cyclop // a case for each kind
func (e *extent) fits(v reflect.Value, depth int) bool {
	if e.left--; e.left < 0 || depth > maxDepth {
		return false
	}
	if v.IsValid() && v.CanInterface() {
		switch v.Interface().(type) {
		case error, fmt.Formatter, fmt.Stringer:
			return true // fmt prints its text, and not its parts
		}
	}
	fits := true
	part := func(v reflect.Value) { fits = fits && e.fits(v, depth+1) }
	switch v.Kind() { // the others have no parts
	case reflect.Pointer:
		if depth == 0 {
			part(v.Elem())
		}
	case reflect.Interface:
		part(v.Elem())
	case reflect.Struct:
		for _, field := range v.Fields() {
			part(field)
		}
	case reflect.Map:
		for all := v.MapRange(); all.Next() && fits; {
			part(all.Key())
			part(all.Value())
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && fits; i++ {
			part(v.Index(i))
		}
	}
	return fits
}
