package redact

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"slices"
	"strings"
)

type handler struct {
	next  slog.Handler
	known func() *register
}

var _ slog.Handler = (*handler)(nil)

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	w := masking{style: styleOf(h.next)}
	var few [16]slog.Attr // most records have no more, and need no memory
	attrs, changed := few[:0], false
	record.Attrs(func(a slog.Attr) bool {
		value, changedToo := w.prepare(a.Value, 0)
		attrs, changed = append(attrs, slog.Attr{Key: a.Key, Value: value}), changed || changedToo
		return true
	})
	message := record.Message
	if w.load(h.known()) {
		var changedToo bool
		message, changedToo = w.text(message)
		changed = changed || changedToo
		for i, a := range attrs {
			attrs[i], changedToo = w.attr(a)
			changed = changed || changedToo
		}
	}
	if changed {
		clean := slog.NewRecord(record.Time, record.Level, message, record.PC)
		clean.AddAttrs(attrs...)
		record = clean
		h.count(w)
	}
	return h.next.Handle(ctx, record)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	w := masking{style: styleOf(h.next)}
	attrs, _ = w.prepareAll(attrs, 0)
	if w.load(h.known()) {
		attrs, _ = w.attrs(attrs)
		h.count(w)
	}
	return &handler{next: h.next.WithAttrs(attrs), known: h.known}
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	var w masking
	if w.load(h.known()) {
		name, _ = w.text(name)
		h.count(w)
	}
	return &handler{next: h.next.WithGroup(name), known: h.known}
}

func (h *handler) count(w masking) { h.known().masked.Add(uint64(w.marks)) } //nolint:gosec // a count

// masking masks the parts of a record. First it prepares all values, which runs code of others: that may have secrets handed
// out. Then it loads what finds the secrets, and masks the values in the same order. Each of its methods tells whether what
// it returns is another than it was given.
type masking struct {
	style   style
	printed []printed // of the values of kind Any, in their order
	matcher *matcher
	marks   int
}

// deepest bounds how deep LogValuers and the values in a value may lie in each other.
const deepest = 100

// prepare resolves v and what is in it, and notes how the values of kind Any are printed.
func (w *masking) prepare(v slog.Value, depth int) (resolved slog.Value, changed bool) {
	switch v.Kind() {
	case slog.KindLogValuer:
		if depth > deepest { // one whose group holds itself
			return slog.StringValue(redacted), true
		}
		// Handed on as it is, it would be asked again, and might say something else.
		v, _ = w.prepare(v.Resolve(), depth+1)
		return v, true
	case slog.KindGroup:
		if attrs, changed := w.prepareAll(v.Group(), depth+1); changed {
			return slog.GroupValue(attrs...), true
		}
	case slog.KindAny:
		w.printed = append(w.printed, w.style.printedOf(v.Any()))
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindString, slog.KindTime, slog.KindUint64:
	}
	return v, false
}

func (w *masking) prepareAll(attrs []slog.Attr, depth int) (resolved []slog.Attr, changed bool) {
	return each(attrs, func(a slog.Attr) (slog.Attr, bool) {
		value, changed := w.prepare(a.Value, depth)
		return slog.Attr{Key: a.Key, Value: value}, changed
	})
}

// each returns attrs with each of them changed. It does not write to attrs: a caller may use them again.
func each(attrs []slog.Attr, change func(slog.Attr) (slog.Attr, bool)) (all []slog.Attr, changed bool) {
	all = attrs
	for i, a := range attrs {
		a, changedToo := change(a)
		if !changedToo {
			continue
		}
		if !changed {
			all, changed = slices.Clone(attrs), true
		}
		all[i] = a
	}
	return all, changed
}

// load reports whether there is something to look for.
func (w *masking) load(known *register) bool {
	w.matcher = known.matcher()
	return len(w.matcher.automata) > 0
}

func (w *masking) text(text string) (clean string, changed bool) {
	clean, marks := w.matcher.mask(text)
	w.marks += marks
	return clean, marks > 0
}

func (w *masking) attrs(attrs []slog.Attr) (clean []slog.Attr, changed bool) {
	return each(attrs, w.attr)
}

func (w *masking) attr(a slog.Attr) (clean slog.Attr, changed bool) {
	a.Key, changed = w.text(a.Key)
	value, changedToo := w.value(a.Value)
	return slog.Attr{Key: a.Key, Value: value}, changed || changedToo
}

func (w *masking) value(v slog.Value) (clean slog.Value, changed bool) {
	switch v.Kind() {
	case slog.KindString:
		if text, changed := w.text(v.String()); changed {
			return slog.StringValue(text), true
		}
	case slog.KindGroup:
		if attrs, changed := w.attrs(v.Group()); changed {
			return slog.GroupValue(attrs...), true
		}
	case slog.KindAny:
		p := w.printed[0]
		w.printed = w.printed[1:]
		return w.any(v, p)
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindLogValuer, slog.KindTime, slog.KindUint64:
	}
	return v, false
}

// any masks a value that is printed as p. It shows nothing that next would not have shown.
func (w *masking) any(v slog.Value, p printed) (clean slog.Value, changed bool) {
	found := p.unknown
	for _, text := range p.texts {
		_, marks := w.matcher.mask(text)
		found = found || marks > 0
	}
	switch {
	case !found:
		return v, false
	case p.as == whole:
		w.marks++
		return slog.StringValue(redacted), true
	}
	text, changed := w.text(p.texts[0])
	if !changed {
		w.marks++
	}
	if p.as == asError {
		return slog.AnyValue(errors.New(text)), true
	}
	return slog.StringValue(text), true
}

// style is how a Handler prints a value of kind Any.
type style int

const (
	anyStyle  style = iota // not known
	textStyle              // that of slog.TextHandler
	jsonStyle              // that of slog.JSONHandler
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

// printed is what Handlers print of a value.
type printed struct {
	texts   []string
	as      instead
	unknown bool // they may print more than texts
}

// instead is what is to stand in the place of a value whose text shows a secret.
type instead int

const (
	whole    instead = iota // the mark alone
	asString                // the one text, masked: next prints just that
	asError                 // the first text, masked, as an error
)

// printedOf returns what a Handler of this style prints of value. It runs no method that such a Handler would not run. If the
// style is not known, it leaves MarshalJSON out, which may wait for a lock that the caller has.
func (s style) printedOf(value any) (p printed) {
	switch value.(type) {
	case nil, *slog.Source:
		return printed{}
	}
	defer func() {
		if recover() == nil {
			return
		}
		v := reflect.ValueOf(value)
		p = printed{unknown: v.Kind() != reflect.Pointer || !v.IsNil()} // Handlers print <nil>
	}()
	switch own := methodsOf(value); {
	case own.error && s.printsError(own):
		p = printed{texts: []string{value.(error).Error()}, as: asError} //nolint:errcheck,forcetypeassert // it is one
		if s == anyStyle {
			p.anyhow(value, own)
		}
	case own == methods{} && reflect.TypeOf(value).Kind() == reflect.String:
		p = printed{texts: []string{reflect.ValueOf(value).String()}, as: asString}
	case own.text && s.printsText(own):
		if p.marshaled(value) {
			p.as = asString
		}
	case s == textStyle:
		p.plainly(value)
	case s == jsonStyle:
		p.json(value)
	default:
		p.anyhow(value, own)
	}
	return p
}

// printsError reports whether the text of an error is to stand in its place. Of the known styles, it is what they print.
func (s style) printsError(own methods) bool {
	return s == anyStyle || s == textStyle && !own.text && !own.format || s == jsonStyle && !own.json
}

// printsText reports whether a TextMarshaler is printed by that.
func (s style) printsText(own methods) bool { return s == textStyle || s == jsonStyle && !own.json }

// plainly adds what a slog.TextHandler prints of what is no TextMarshaler.
func (p *printed) plainly(value any) {
	if text, is := bytesText(value); is {
		p.texts, p.as = append(p.texts, text), asString
		return
	}
	p.formatted(value, "%+v")
}

// anyhow adds what a Handler may print of whose style nothing is known.
func (p *printed) anyhow(value any, own methods) {
	text, isBytes := bytesText(value)
	p.texts = append(p.texts, text)
	p.formatted(value, "%+v")
	if own.format {
		p.formatted(value, "%v")
	}
	if own.text {
		p.marshaled(value)
	}
	switch {
	case !own.json:
		p.json(value)
	case !own.text && !isBytes:
		p.unknown = true
	}
}

// marshaled adds the text that value marshals itself to, or else what Handlers print of the error.
func (p *printed) marshaled(value any) (ok bool) {
	text, err := value.(encoding.TextMarshaler).MarshalText() //nolint:errcheck,forcetypeassert // it is one
	if err != nil {
		text = []byte(err.Error())
	}
	p.texts = append(p.texts, string(text))
	return err == nil
}

// formatted adds what fmt makes of value, if that comes to an end.
func (p *printed) formatted(value any, format string) {
	if e := (formattable{left: maxParts}); !e.fits(reflect.ValueOf(value), 0) {
		p.unknown = true
		return
	}
	p.texts = append(p.texts, fmt.Sprintf(format, value))
}

// json adds value as a slog.JSONHandler prints it.
func (p *printed) json(value any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	var unsupported *json.UnsupportedValueError
	switch {
	case err == nil:
		p.texts = append(p.texts, b.String())
	case errors.As(err, &unsupported) && strings.HasPrefix(unsupported.Str, "encountered a cycle"):
		p.unknown = true
	default:
		p.texts = append(p.texts, err.Error()) // handlers print that
	}
}

// methods are those of a value that say how it is printed.
type methods struct{ error, text, json, format, string bool }

func methodsOf(value any) (m methods) {
	_, m.error = value.(error)
	_, m.text = value.(encoding.TextMarshaler)
	_, m.json = value.(json.Marshaler)
	_, m.format = value.(fmt.Formatter)
	_, m.string = value.(fmt.Stringer)
	return m
}

// bytesText returns value if that is bytes, which some handlers print as text.
func bytesText(value any) (text string, is bool) {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		return string(v.Bytes()), true
	}
	return "", false
}

// maxParts bounds how many parts a value may have that is formatted.
const maxParts = 1 << 20

// formattable measures a value: fmt does not come to an end where a map or a slice contains itself.
type formattable struct{ left int }

// fits reports whether v is neither too deep nor too large. It reads no more of v than fmt does.
func (e *formattable) fits(v reflect.Value, depth int) bool {
	if e.left--; e.left < 0 || depth > deepest {
		return false
	}
	if v.IsValid() && v.CanInterface() {
		if m := methodsOf(v.Interface()); m.error || m.format || m.string {
			return true // it is asked for its text
		}
	}
	switch v.Kind() { // the others have no parts
	case reflect.Pointer:
		return depth > 0 || e.fits(v.Elem(), depth+1)
	case reflect.Interface:
		return e.fits(v.Elem(), depth+1)
	default:
		for part := range parts(v) {
			if !e.fits(part, depth+1) {
				return false
			}
		}
		return true
	}
}

// parts returns the fields or elements of v, and the keys.
func parts(v reflect.Value) iter.Seq[reflect.Value] {
	return func(yield func(reflect.Value) bool) {
		switch v.Kind() { // the others have none
		case reflect.Struct:
			for _, field := range v.Fields() {
				if !yield(field) {
					return
				}
			}
		case reflect.Map:
			for all := v.MapRange(); all.Next(); {
				if !yield(all.Key()) || !yield(all.Value()) {
					return
				}
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				if !yield(v.Index(i)) {
					return
				}
			}
		}
	}
}
