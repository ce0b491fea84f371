package redact

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
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
	w := h.washer()
	if len(w.matcher.automata) == 0 {
		return h.next.Handle(ctx, record)
	}
	message, changed := w.text(record.Message)
	var few [16]slog.Attr // most records have no more, and need no memory
	attrs := few[:0]
	record.Attrs(func(a slog.Attr) bool {
		a, changedToo := w.attr(a)
		attrs, changed = append(attrs, a), changed || changedToo
		return true
	})
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
	w := h.washer()
	attrs, _ = w.attrs(attrs)
	h.count(w)
	return &handler{next: h.next.WithAttrs(attrs), known: h.known}
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	w := h.washer()
	name, _ = w.text(name)
	h.count(w)
	return &handler{next: h.next.WithGroup(name), known: h.known}
}

func (h *handler) washer() washer { return washer{matcher: h.known().matcher()} }

func (h *handler) count(w washer) { h.known().masked.Add(uint64(w.marks)) } //nolint:gosec // a count

// washer masks the parts of a record. Each of its methods tells whether what it returns is another than it was given.
type washer struct {
	matcher *matcher
	marks   int
}

func (w *washer) text(text string) (clean string, changed bool) {
	clean, marks := w.matcher.mask(text)
	w.marks += marks
	return clean, marks > 0
}

func (w *washer) attrs(attrs []slog.Attr) (clean []slog.Attr, changed bool) {
	clean = attrs // a caller may use them again
	for i, a := range attrs {
		a, changedToo := w.attr(a)
		if !changedToo {
			continue
		}
		if !changed {
			clean, changed = slices.Clone(attrs), true
		}
		clean[i] = a
	}
	return clean, changed
}

func (w *washer) attr(a slog.Attr) (clean slog.Attr, changed bool) {
	a.Key, changed = w.text(a.Key)
	value, changedToo := w.value(a.Value)
	return slog.Attr{Key: a.Key, Value: value}, changed || changedToo
}

func (w *washer) value(v slog.Value) (clean slog.Value, changed bool) {
	switch v.Kind() {
	case slog.KindString:
		if text, changed := w.text(v.String()); changed {
			return slog.StringValue(text), true
		}
	case slog.KindGroup:
		if attrs, changed := w.attrs(v.Group()); changed {
			return slog.GroupValue(attrs...), true
		}
	case slog.KindLogValuer:
		// Handed on as it is, it would be asked again, and might say something else.
		v, _ = w.value(v.Resolve())
		return v, true
	case slog.KindAny:
		return w.any(v)
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindTime, slog.KindUint64:
	}
	return v, false
}

// any masks a value that a handler prints in a way of its own, which is one of these.
func (w *washer) any(v slog.Value) (clean slog.Value, changed bool) {
	value := v.Any()
	switch value.(type) {
	case nil, *slog.Source:
		return v, false
	}
	for _, render := range []func(any) string{ownText, bytesText, jsonOf, plus, plainText} {
		text := try(render, value)
		if text == cycle {
			return v, false // no handler prints it, and fmt would not come to an end
		}
		switch clean, found := w.text(text); {
		case !found:
		case isError(value):
			return slog.AnyValue(errors.New(clean)), true
		default:
			return slog.StringValue(clean), true
		}
	}
	return v, false
}

func isError(value any) bool {
	_, is := value.(error)
	return is
}

// try returns what render makes of value, or what a handler of slog makes of its panic.
func try(render func(any) string, value any) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	return render(value)
}

// ownText returns what value says of itself.
func ownText(value any) string {
	switch value := value.(type) {
	case error:
		return value.Error()
	case encoding.TextMarshaler:
		text, err := value.MarshalText()
		if err != nil {
			return err.Error() // handlers print that
		}
		return string(text)
	default:
		return ""
	}
}

func plus(value any) string { return fmt.Sprintf("%+v", value) }

// plainText returns value by the verb v, where that may be another text than by +v.
func plainText(value any) string {
	if _, is := value.(fmt.Formatter); is {
		return fmt.Sprintf("%v", value)
	}
	return ""
}

// bytesText returns value if that is bytes, which some handlers print as text.
func bytesText(value any) string {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		return string(v.Bytes())
	}
	return ""
}

// cycle stands for the JSON of what contains itself.
const cycle = "\x00a cycle"

func jsonOf(value any) string {
	text, err := json.Marshal(value)
	var unsupported *json.UnsupportedValueError
	switch {
	case errors.As(err, &unsupported) && strings.HasPrefix(unsupported.Str, "encountered a cycle"):
		return cycle
	case err != nil:
		return err.Error() // handlers print that
	default:
		return string(text)
	}
}
