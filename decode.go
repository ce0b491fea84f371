package secrets

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// decode decodes text into v. checkDocument must have accepted text.
func decode(text string, v any) *Error {
	err := json.Unmarshal([]byte(text), v)
	if err == nil {
		return nil
	}
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) && mismatch != nil {
		if detail := mismatched(mismatch, reflect.TypeOf(v)); detail != "" {
			return malformed(detail)
		}
	}
	return malformed(fmt.Sprintf("the document does not decode into a %T", v))
}

// mismatched describes the value with the wrong type, or returns "" if err does not name it. An UnmarshalJSON method of the program may
// put any text into err. So the result holds only its Go type, a JSON type, and names of fields of root.
func mismatched(err *json.UnmarshalTypeError, root reflect.Type) string {
	const number = "number"
	kind, value, _ := strings.Cut(err.Value, " ") // "number 123" holds the value
	found, known := map[string]string{
		"string": "a string", number: "a number", "bool": "a bool", "array": "an array", "object": "an object",
	}[kind]
	if err.Type == nil || !known || errors.Unwrap(err) != nil { // with Go 1.27, one that wraps an error, such as broken base64, is no mismatch
		return ""
	}
	where := "the document"
	if field := fieldPath(err.Field, root); field != "" {
		where = "the field " + printable(field)
	}
	want := printable(err.Type.String())
	switch numeric := reflect.TypeFor[float64]().ConvertibleTo(err.Type); {
	case kind == number && numeric && json.Valid([]byte(value)):
		return where + " is a number that does not fit into the Go type " + want
	case kind == number && numeric: // the option "string" of a tag, with Go 1.27
		return ""
	default:
		return where + " is " + found + ", but the Go type is " + want
	}
}

// fieldPath returns path without the steps that are no field of root. These are keys of maps and indexes of arrays with Go 1.27, and names
// of embedded structs with Go 1.26.
func fieldPath(path string, root reflect.Type) string {
	names := make(map[string]string)
	fieldNames(root, names, make(map[reflect.Type]bool))
	var known []string
	for step := range strings.SplitSeq(path, ".") {
		if name, ok := names[fold(step)]; ok {
			known = append(known, name)
		}
	}
	return strings.Join(known, ".")
}

// fieldNames adds the JSON names of the fields of t, and of the types in it, to names.
func fieldNames(t reflect.Type, names map[string]string, seen map[reflect.Type]bool) {
	if t == nil || seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		fieldNames(t.Elem(), names, seen)
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" && !f.Anonymous {
				name = f.Name
			}
			if name != "" {
				for step := range strings.SplitSeq(name, ".") {
					names[fold(step)] = step
				}
			}
			fieldNames(f.Type, names, seen)
		}
	default: // has no fields
	}
}

// decodeSecret returns a Secret that holds the JSON value in text; see [Secret.UnmarshalJSON].
func decodeSecret(text string) (Secret, *Error) {
	if err := checkSyntax(text); err != nil {
		return Secret{}, err
	}
	s := scanner{text: text}
	raw := s.value()
	switch raw[0] {
	case 'n':
		return Secret{}, nil
	case '"':
		literal := scanner{text: raw, strict: true}
		value := literal.string()
		if literal.err != nil {
			return Secret{}, literal.err
		}
		return NewSecret(value, Meta{}), nil
	default:
		return NewSecret(raw, Meta{}), nil
	}
}
