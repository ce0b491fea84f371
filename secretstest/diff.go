package secretstest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// Diff compares got and want deeply. It returns "" if they are equal, and otherwise one line per difference:
//
//	.DB.Port: got 5433, want 5432
//	.DB.Password: secrets differ
//	.Tokens["ci"]: missing
//
// Two Secrets are equal if [secrets.Secret.Equal] says so, regardless of their Meta; two times, if [time.Time.Equal] does. Everything else
// is compared as by [reflect.DeepEqual], including unexported fields: nil differs from an empty slice, and functions are equal only if both
// are nil. Values may contain cycles.
//
// Diff never shows the value of a Secret in got or want. It hides a []byte, and any text or map key that contains such a value.
func Diff(got, want any) string {
	d := differ{seen: make(map[pair]bool)}
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	c := collector{values: make(map[string]bool), seen: make(map[pair]bool)}
	c.collect(g)
	c.collect(w)
	d.values = slices.Collect(maps.Keys(c.values))
	d.compare("", g, w)
	return strings.Join(d.lines, "\n")
}

// pair identifies two pointers, maps or slices that were compared.
type pair struct {
	got, want       uintptr
	gotLen, wantLen int
	t               reflect.Type
}

func pairOf(got, want reflect.Value) pair {
	v := pair{got: got.Pointer(), want: want.Pointer(), t: got.Type()}
	if got.Kind() == reflect.Slice {
		v.gotLen, v.wantLen = got.Len(), want.Len()
	}
	return v
}

// asSecret returns v as a Secret. It accepts types defined as "type Password secrets.Secret".
func asSecret(v reflect.Value) (s secrets.Secret, ok bool) {
	if v.Kind() != reflect.Struct || !v.CanConvert(reflect.TypeFor[secrets.Secret]()) {
		return s, false
	}
	s, ok = reflect.TypeAssert[secrets.Secret](v.Convert(reflect.TypeFor[secrets.Secret]()))
	return s, ok
}

// addressable returns v, or an addressable copy of it.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

// field returns field i of the addressable struct v. Unlike v.Field, it allows method calls on unexported fields, which the Secrets in them
// need.
func field(v reflect.Value, i int) reflect.Value {
	f := v.Field(i)
	return reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
}

// collector finds the values of all Secrets.
type collector struct {
	values map[string]bool
	seen   map[pair]bool
}

func (c *collector) collect(v reflect.Value) {
	if !v.IsValid() {
		return
	}
	if s, ok := asSecret(v); ok {
		if value := s.Reveal(); value != "" {
			c.values[value] = true
		}
		return
	}
	if kind := v.Kind(); kind == reflect.Pointer || kind == reflect.Map || kind == reflect.Slice {
		at := pairOf(v, v)
		if c.seen[at] {
			return
		}
		c.seen[at] = true
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		c.collect(v.Elem())
	case reflect.Map:
		for key, element := range v.Seq2() {
			c.collect(key)
			c.collect(element)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			c.collect(v.Index(i))
		}
	case reflect.Struct:
		v = addressable(v)
		for i := range v.NumField() {
			c.collect(field(v, i))
		}
	}
}

// differ collects differences.
type differ struct {
	values []string // values of Secrets, which no line may show
	seen   map[pair]bool
	lines  []string
}

func (d *differ) add(path, format string, args ...any) {
	if path == "" {
		path = "value"
	}
	d.lines = append(d.lines, path+": "+fmt.Sprintf(format, args...))
}

func (d *differ) compare(path string, got, want reflect.Value) {
	switch {
	case !got.IsValid() && !want.IsValid():
		return
	case !got.IsValid() || !want.IsValid() || got.Type() != want.Type():
		d.add(path, "got %s, want %s", kindOf(got), kindOf(want))
		return
	}
	if g, ok := asSecret(got); ok {
		w, _ := asSecret(want)
		d.secrets(path, g, w)
		return
	}
	switch got.Kind() {
	case reflect.Interface:
		d.compare(path, got.Elem(), want.Elem())
	case reflect.Pointer, reflect.Map, reflect.Slice:
		d.reference(path, got, want)
	case reflect.Struct:
		d.structs(path, addressable(got), addressable(want))
	case reflect.Array:
		d.elements(path, got, want)
	case reflect.Func:
		if !got.IsNil() || !want.IsNil() {
			d.add(path, "functions cannot be compared")
		}
	default:
		if !got.Equal(want) {
			d.basic(path, got, want)
		}
	}
}

func kindOf(v reflect.Value) string {
	if !v.IsValid() {
		return "nil"
	}
	return "type " + v.Type().String()
}

func (d *differ) secrets(path string, got, want secrets.Secret) {
	switch {
	case got.Equal(want):
	case got.IsZero():
		d.add(path, "secrets differ: got is the zero Secret")
	case want.IsZero():
		d.add(path, "secrets differ: want is the zero Secret")
	default:
		d.add(path, "secrets differ")
	}
}

// reference compares pointers, maps and slices, which may be nil or form cycles.
func (d *differ) reference(path string, got, want reflect.Value) {
	switch {
	case got.IsNil() && want.IsNil():
		return
	case got.IsNil():
		d.add(path, "got nil, want type %s", got.Type())
		return
	case want.IsNil():
		d.add(path, "got type %s, want nil", got.Type())
		return
	}
	at := pairOf(got, want)
	if d.seen[at] || at.got == at.want && at.gotLen == at.wantLen {
		return
	}
	d.seen[at] = true
	switch got.Kind() {
	case reflect.Pointer:
		d.compare(path, got.Elem(), want.Elem())
	case reflect.Map:
		d.maps(path, got, want)
	default:
		d.elements(path, got, want)
	}
}

func (d *differ) structs(path string, got, want reflect.Value) {
	if g, ok := reflect.TypeAssert[time.Time](got); ok {
		w, _ := reflect.TypeAssert[time.Time](want)
		if !g.Equal(w) {
			d.show(path, strconv.Quote(g.Format(time.RFC3339Nano)), strconv.Quote(w.Format(time.RFC3339Nano)))
		}
		return
	}
	for i := range got.NumField() {
		d.compare(path+"."+got.Type().Field(i).Name, field(got, i), field(want, i))
	}
}

// elements compares arrays and slices. It shows no bytes: they may be a revealed value.
func (d *differ) elements(path string, got, want reflect.Value) {
	if got.Type().Elem().Kind() == reflect.Uint8 {
		same := got.Len() == want.Len()
		for i := 0; same && i < got.Len(); i++ {
			same = got.Index(i).Uint() == want.Index(i).Uint()
		}
		if !same {
			d.add(path, "bytes differ: got %d bytes, want %d", got.Len(), want.Len())
		}
		return
	}
	if got.Len() != want.Len() {
		d.add(path, "got %d elements, want %d", got.Len(), want.Len())
	}
	for i := range min(got.Len(), want.Len()) {
		d.compare(path+"["+strconv.Itoa(i)+"]", got.Index(i), want.Index(i))
	}
}

func (d *differ) maps(path string, got, want reflect.Value) {
	type entry struct {
		name      string
		got, want reflect.Value
	}
	var all []entry
	for key, element := range want.Seq2() {
		all = append(all, entry{d.key(key), got.MapIndex(key), element})
	}
	for key, element := range got.Seq2() {
		if !want.MapIndex(key).IsValid() {
			all = append(all, entry{d.key(key), element, reflect.Value{}})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range all {
		switch at := path + "[" + e.name + "]"; {
		case !e.got.IsValid():
			d.add(at, "missing")
		case !e.want.IsValid():
			d.add(at, "not wanted")
		default:
			d.compare(at, e.got, e.want)
		}
	}
}

// key returns a map key for use in a path: its text, or its type if it is a pointer, a struct or similar.
func (d *differ) key(key reflect.Value) string {
	if key.Kind() == reflect.Interface && !key.IsNil() {
		key = key.Elem()
	}
	switch key.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Array, reflect.Chan, reflect.UnsafePointer:
		return key.Type().String()
	}
	if text, ok := d.text(key); ok {
		return text
	}
	return "…"
}

// basic records that two values of a basic kind differ.
func (d *differ) basic(path string, got, want reflect.Value) {
	g, ok := d.text(got)
	w, ok2 := d.text(want)
	if !ok || !ok2 {
		d.add(path, "values differ; they are not shown, since one contains the value of a Secret")
		return
	}
	d.show(path, g, w)
}

func (d *differ) show(path, got, want string) {
	if got == want { // the type redacts itself
		d.add(path, "values differ")
		return
	}
	d.add(path, "got %s, want %s", got, want)
}

// text returns v as fmt prints it, a string in quotes. ok is false if it contains the value of a Secret.
func (d *differ) text(v reflect.Value) (text string, ok bool) {
	if v.Kind() == reflect.Chan || v.Kind() == reflect.UnsafePointer {
		return "type " + v.Type().String(), true
	}
	text = fmt.Sprint(v)
	for _, value := range d.values {
		if strings.Contains(text, value) || v.Kind() == reflect.String && strings.Contains(v.String(), value) {
			return "", false
		}
	}
	const maxText = 128
	cut := ""
	if len(text) > maxText {
		text, cut = text[:maxText], "…"
	}
	if v.Kind() == reflect.String {
		text = strconv.Quote(text)
	}
	return text + cut, true
}
