package bind

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
)

// prefix begins each error.
const prefix = "secrets: bind: "

// tagName is the key of struct tags.
const tagName = "secret"

// plan lists the fields of a T and their secrets, in field order.
type plan []*field

// field is a field that is filled from a secret.
type field struct {
	name     string // Go path, such as Config.DB.Password
	key      string
	index    []int // for [reflect.Value.FieldByIndex]
	optional bool
	fallback *string // the default, or nil
	decode   decoder
}

// newPlan returns the plan for t, or all faults of t.
func newPlan(t reflect.Type) (plan, error) {
	w := walker{root: t, faults: faults.List{Prefix: prefix}}
	if t.Kind() != reflect.Struct {
		w.faults.Addf("%v is not a struct", t)
		return nil, w.faults.Err()
	}
	root := place{name: t.Name()}
	if w.walk(t, root); len(w.plan) == 0 && w.faults.Err() == nil {
		w.faults.Addf("%v: no field has a tag such as `secret:\"database#password\"`", t)
	}
	if err := w.faults.Err(); err != nil {
		return nil, err
	}
	return w.plan, nil
}

// keys returns the keys of all fields, without duplicates.
func (p plan) keys() []string {
	var keys []string
	for _, f := range p {
		if !slices.Contains(keys, f.key) {
			keys = append(keys, f.key)
		}
	}
	return keys
}

// walker builds the plan of a type.
type walker struct {
	root   reflect.Type
	plan   plan
	faults faults.List
}

// place is the walker's position: a field, or T itself.
type place struct {
	name   string
	index  []int
	prefix string // prefix of the keys in it
}

// field returns the place of field f of the struct at p.
func (p place) field(f reflect.StructField) place {
	name := f.Name
	if p.name != "" {
		name = p.name + "." + name
	}
	return place{name, append(slices.Clone(p.index), f.Index...), p.prefix}
}

// key returns the key of a tag at p.
func (p place) key(tag string) string {
	switch {
	case p.prefix == "":
		return tag
	case strings.HasPrefix(tag, "#"):
		return p.prefix + tag
	default:
		return p.prefix + "/" + tag
	}
}

// walk adds the fields of t, a struct at p. It terminates: it follows structs by value, not pointers.
func (w *walker) walk(t reflect.Type, p place) {
	for f := range t.Fields() {
		at := p.field(f)
		text, tagged := f.Tag.Lookup(tagName)
		switch {
		case tagged:
			w.tagged(f, at, text)
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			w.walk(f.Type, at)
		case f.Type.Kind() == reflect.Pointer && (f.Anonymous || f.Type.Elem() != w.root) && hasTags(f.Type.Elem()):
			w.faults.Addf("%s: fields of a pointer cannot be filled; use the struct itself, or tag it with \"-\" to leave it alone", at.name)
		case hasTags(f.Type):
			w.faults.Addf("%s: it has no tag, but its fields have; tag it with the prefix of their keys, which may be empty, "+
				"or with \"-\" to leave it alone", at.name)
		}
	}
}

// hasTags reports whether t is a struct with fields to fill. It follows no pointers.
func hasTags(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for f := range t.Fields() {
		text, tagged := f.Tag.Lookup(tagName)
		if tagged && text != "-" || !tagged && hasTags(f.Type) {
			return true
		}
	}
	return false
}

// tag is a parsed tag.
type tag struct {
	key            string
	optional, json bool
	fallback       *string
	unknown        []string // unknown options
}

func parseTag(text string) (t tag) {
	var rest string
	t.key, rest, _ = strings.Cut(text, ",")
	for more := len(t.key) < len(text); more; {
		if value, ok := strings.CutPrefix(rest, "default="); ok {
			t.optional, t.fallback = true, &value
			break // the value may contain commas
		}
		var option string
		switch option, rest, more = strings.Cut(rest, ","); option {
		case "optional":
			t.optional = true
		case "json":
			t.json = true
		default:
			t.unknown = append(t.unknown, option)
		}
	}
	return t
}

// tagged adds f, which has a tag.
func (w *walker) tagged(f reflect.StructField, at place, text string) {
	t := parseTag(text)
	if text == "-" {
		return
	}
	for _, option := range t.unknown {
		w.faults.Addf("%s: unknown option %q; there are optional, json and default=VALUE", at.name, option)
	}
	decode := decoderOf(f.Type)
	if t.json {
		decode = decoderOfJSON(f.Type)
	}
	if decode == nil && f.Type.Kind() == reflect.Struct && !t.json && (f.IsExported() || f.Anonymous) {
		w.group(f.Type, at, text)
	} else if fault := faultOfLeaf(f, t, decode); fault != "" {
		w.faults.Addf("%s: %s", at.name, fault)
	} else {
		w.leaf(&field{at.name, at.key(t.key), at.index, t.optional, t.fallback, decode}, f.Type)
	}
}

// faultOfLeaf returns why decode cannot fill f, which has the tag t and is not a group, or "".
func faultOfLeaf(f reflect.StructField, t tag, decode decoder) string {
	switch {
	case !f.IsExported():
		return "it is not exported, and cannot be filled"
	case t.key == "":
		return "its tag names no key"
	case strings.TrimSpace(t.key) != t.key:
		return fmt.Sprintf("the key %q begins or ends with a space", t.key)
	case decode != nil:
		return ""
	case t.json:
		return fmt.Sprintf("the type %v holds no JSON value", f.Type)
	case f.Type.Kind() == reflect.Pointer && hasTags(f.Type.Elem()):
		return "fields of a pointer cannot be filled; use the struct itself"
	default:
		return fmt.Sprintf("the type %v holds no secret; for a JSON document, add the option json", f.Type)
	}
}

// leaf adds f, whose type is t.
func (w *walker) leaf(f *field, t reflect.Type) {
	if _, err := secrets.ParseRef(f.key); err != nil {
		w.faults.Addf("%s: %w", f.name, err)
	}
	if f.fallback != nil {
		if detail := f.decode(reflect.New(t).Elem(), f.defaultSecret()); detail != "" {
			w.faults.Addf("%s: its default: %s", f.name, detail)
		}
	}
	w.plan = append(w.plan, f)
}

// group adds the fields of t, a struct at p with the tag text.
func (w *walker) group(t reflect.Type, at place, text string) {
	if !hasTags(t) {
		w.faults.Addf("%s: the type %v holds no secret, and none of its fields has a tag; for a JSON document, add the option json",
			at.name, t)
		return
	}
	if key, _, options := strings.Cut(text, ","); options {
		w.faults.Addf("%s: %q is the prefix of keys, which takes no options", at.name, key)
		return
	}
	if strings.TrimSpace(text) != text {
		w.faults.Addf("%s: the prefix %q begins or ends with a space", at.name, text)
		return
	}
	if text != "" {
		at.prefix = at.key(text)
		ref, err := secrets.ParseRef(at.prefix)
		switch {
		case err != nil:
			w.faults.Addf("%s: as a prefix: %w", at.name, err)
			return
		case ref != (secrets.Ref{Path: ref.Path}):
			w.faults.Addf("%s: %q has a version or a field; a prefix is a path alone", at.name, at.prefix)
			return
		}
	}
	w.walk(t, at)
}
