package secretstest

import (
	"bytes"
	"database/sql/driver"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
)

// render calls emit with every text in which a program might show v, and with how it was made.
func render(v any, emit func(how, text string)) {
	switch v := v.(type) {
	case nil:
		return
	case string:
		emit("the text", v)
		return
	case []byte:
		emit("the text", string(v))
		return
	case error:
		for i, err := range errorsIn(v) {
			how := ""
			if i > 0 {
				how = fmt.Sprintf("the wrapped %T: ", err)
			}
			renderValue(err, func(h, text string) { emit(how+h, text) })
		}
	default:
		renderValue(v, emit)
	}
}

// errorsIn returns err and all the errors that it wraps.
func errorsIn(err error) []error {
	const maxErrors = 1000 // an error may unwrap to itself
	all := []error{err}
	for i := 0; i < len(all) && len(all) < maxErrors; i++ {
		protected(func() {
			switch e := all[i].(type) { //nolint:errorlint // every error of the tree is visited
			case interface{ Unwrap() error }:
				if inner := e.Unwrap(); inner != nil {
					all = append(all, inner)
				}
			case interface{ Unwrap() []error }:
				for _, inner := range e.Unwrap() {
					if inner != nil {
						all = append(all, inner)
					}
				}
			}
		})
	}
	return all
}

func renderValue(v any, emit func(how, text string)) {
	w := walker{emit: emit, seen: make(map[visit]bool), active: make(map[visit]bool)}
	w.walk("", reflect.ValueOf(v), 0)

	shapes := []struct {
		name  string
		value any
	}{
		{"", v},
		{" of a pointer to it", pointerTo(v)},
		{" of a struct with it as an unexported field", struct{ hidden any }{v}},
		{" of a struct with a pointer to it as an unexported field", struct{ hidden any }{pointerTo(v)}},
		{" of a map with it", map[string]any{"key": v}},
	}
	try := func(how string, f func() string) {
		protected(func() { emit(how, f()) }, func(panicked any) { emit("the panic of "+how, fmt.Sprint(panicked)) })
	}
	for _, shape := range shapes {
		if w.endless {
			break // fmt would never return from a map or slice that contains itself
		}
		for _, verb := range verbs() {
			try("fmt "+verb+shape.name, func() string { return fmt.Sprintf(verb, shape.value) })
		}
		for _, e := range encoders() {
			if !w.cyclic || e.cycles {
				try(e.name+shape.name, func() string { return e.encode(shape.value) })
			}
		}
	}
	for _, m := range methods() {
		try(m.name, func() string { return m.encode(v) })
	}
}

// renderError is a faster render for the many errors of the conformance suite. Its forms show all that the other forms would.
func renderError(err error, emit func(how, text string)) {
	for _, e := range errorsIn(err) {
		w := walker{emit: emit, seen: make(map[visit]bool), active: make(map[visit]bool)}
		w.walk("", reflect.ValueOf(e), 0)
		how := fmt.Sprintf(" of the %T", e)
		protected(func() { emit("Error"+how, e.Error()) })
		protected(func() { emit("fmt %+v"+how, fmt.Sprintf("%+v", e)) })
		protected(func() { emit("fmt %#v"+how, fmt.Sprintf("%#v", e)) })
		protected(func() { emit("encoding/json"+how, textOf(json.Marshal(e))) })
	}
}

func verbs() []string {
	return []string{
		"%v", "%+v", "%#v", "%s", "%q", "%+q", "%#q", "%x", "% x", "%#x", "%# x", "%X", "%d", "%o", "%b", "%c", "%U", "%#U", "%e",
		"%t", "%p", "%T", "%w", "%!",
	}
}

// encoder turns a value into text. If it fails, the text is that of the error, which may quote the value too.
type encoder struct {
	name   string
	cycles bool // it returns for a value that points to itself
	encode func(v any) string
}

func encoders() []encoder {
	return []encoder{
		{"encoding/json", true, func(v any) string { return textOf(json.Marshal(v)) }},
		{"encoding/xml", false, func(v any) string { return textOf(xml.Marshal(v)) }},
		{"encoding/gob", false, func(v any) string {
			var b bytes.Buffer
			return textOf(b.Bytes(), gob.NewEncoder(&b).Encode(v)) + b.String()
		}},
		{"log/slog as text", true, func(v any) string {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).WithGroup("group").Info("message", "value", v)
			return b.String()
		}},
		{"log/slog as JSON", true, func(v any) string {
			var b bytes.Buffer
			slog.New(slog.NewJSONHandler(&b, nil)).With("value", v).Info("message", slog.Group("group", "value", v))
			return b.String()
		}},
	}
}

// methods returns the encodings by a value's own methods. The encoders may fail before they call them.
func methods() []encoder {
	return []encoder{
		{"Error", true, func(v any) string {
			if e, ok := v.(error); ok {
				return e.Error()
			}
			return ""
		}},
		{"String", true, func(v any) string {
			if s, ok := v.(fmt.Stringer); ok {
				return s.String()
			}
			return ""
		}},
		{"GoString", true, func(v any) string {
			if s, ok := v.(fmt.GoStringer); ok {
				return s.GoString()
			}
			return ""
		}},
		{"MarshalText", true, func(v any) string {
			if m, ok := v.(encoding.TextMarshaler); ok {
				return textOf(m.MarshalText())
			}
			return ""
		}},
		{"MarshalBinary", true, func(v any) string {
			if m, ok := v.(encoding.BinaryMarshaler); ok {
				return textOf(m.MarshalBinary())
			}
			return ""
		}},
		{"the Value method for SQL", true, func(v any) string {
			if m, ok := v.(driver.Valuer); ok {
				value, err := m.Value()
				return fmt.Sprintf("%s %v", value, err)
			}
			return ""
		}},
		{"LogValue", true, func(v any) string {
			if m, ok := v.(slog.LogValuer); ok {
				return m.LogValue().String()
			}
			return ""
		}},
	}
}

func textOf(b []byte, err error) string {
	if err != nil {
		return string(b) + " " + err.Error()
	}
	return string(b)
}

func pointerTo(v any) any {
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	return p.Interface()
}

// protected calls f. If f panics, it calls panicked with the panic value.
func protected(f func(), panicked ...func(any)) {
	defer func() {
		if p := recover(); p != nil {
			for _, g := range panicked {
				g(p)
			}
		}
	}()
	f()
}

const maxDepth = 32

// visit identifies a place that the walk has reached.
type visit struct {
	typ reflect.Type
	at  uintptr
	len int
}

// walker reads a value by reflection, including unexported fields, as dumpers do.
type walker struct {
	emit   func(how, text string)
	seen   map[visit]bool
	active map[visit]bool // ancestors of the current place
	// cyclic: a value contains itself. endless: a map or slice does, for which fmt would never return.
	cyclic, endless bool
}

func (w *walker) walk(path string, v reflect.Value, depth int) {
	if depth > maxDepth || !v.IsValid() || strings.HasPrefix(v.Type().PkgPath(), "internal/") {
		return
	}
	switch v.Kind() { // the other kinds hold no text
	case reflect.String:
		w.text(path, v.String())
	case reflect.Interface:
		w.walk(path, v.Elem(), depth+1)
	case reflect.Pointer:
		w.once(v, 0, func() { w.walk(path, v.Elem(), depth+1) })
	case reflect.Struct:
		for i := range v.NumField() {
			w.walk(path+"."+v.Type().Field(i).Name, v.Field(i), depth+1)
		}
	case reflect.Map:
		w.once(v, 0, func() {
			for it := v.MapRange(); it.Next(); {
				w.walk(path+"[a key]", it.Key(), depth+1)
				w.walk(path+"[…]", it.Value(), depth+1)
			}
		})
	case reflect.Slice:
		w.once(v, v.Len(), func() { w.list(path, v, depth) })
	case reflect.Array:
		w.list(path, v, depth)
	}
}

// list walks an array or slice. Bytes or runes form a text; other numbers are ignored.
func (w *walker) list(path string, v reflect.Value, depth int) {
	switch v.Type().Elem().Kind() { // the other kinds are walked
	case reflect.Uint8:
		b := make([]byte, v.Len())
		for i := range b {
			b[i] = byte(v.Index(i).Uint()) //nolint:gosec // its kind guarantees that it fits
		}
		w.text(path, string(b))
	case reflect.Int32:
		r := make([]rune, v.Len())
		for i := range r {
			r[i] = rune(v.Index(i).Int()) //nolint:gosec // its kind guarantees that it fits
		}
		w.text(path, string(r))
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int64, reflect.Uint, reflect.Uint16, reflect.Uint32,
		reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
	default:
		for i := range v.Len() {
			w.walk(path+"["+strconv.Itoa(i)+"]", v.Index(i), depth+1)
		}
	}
}

func (w *walker) text(path, text string) {
	if path == "" {
		path = "itself"
	}
	w.emit("reflection, at "+path+",", text)
}

// once calls walk unless the walk has already reached the place that v refers to.
func (w *walker) once(v reflect.Value, length int, walk func()) {
	if v.IsNil() {
		return
	}
	place := visit{v.Type(), v.Pointer(), length}
	if w.active[place] {
		w.cyclic = true
		if v.Kind() != reflect.Pointer {
			w.endless = true
		}
	}
	if w.seen[place] {
		return
	}
	w.seen[place], w.active[place] = true, true
	walk()
	delete(w.active, place)
}
