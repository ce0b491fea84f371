package redact

import (
	"context"
	"log/slog"
	"slices"
)

// maxDepth bounds how deep LogValuers, and the parts of a value, may be nested.
const maxDepth = 100

type handler struct {
	next  slog.Handler
	known func() *memory
}

var _ slog.Handler = (*handler)(nil)

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	clean := record
	for w := h.walker(); w.again(); {
		clean = w.record(record)
	}
	return h.next.Handle(ctx, clean)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	clean := attrs
	for w := h.walker(); w.again(); {
		clean, _ = w.attrs(attrs, 0)
	}
	return &handler{next: h.next.WithAttrs(clean), known: h.known}
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	name, marks := h.known().set.Mask(name)
	h.known().count(marks)
	return &handler{next: h.next.WithGroup(name), known: h.known}
}

// walker masks the parts of a record. changed reports whether the result of a method differs from its argument.
type walker struct {
	known   *memory
	style   style
	changes uint64 // of known.set, before the last walk
	walks   int
	marks   int
}

func (h *handler) walker() walker { return walker{known: h.known(), style: styleOf(h.next)} }

// again reports whether the record needs another walk. A LogValuer, or a method that prints a value, may fetch a secret. Then the parts
// before it have to be masked again.
func (w *walker) again() bool {
	const maxWalks = 3 // other goroutines may fetch secrets all the time
	changes := w.known.set.Changes()
	if w.walks > 0 && changes == w.changes || w.walks == maxWalks {
		w.known.count(w.marks)
		return false
	}
	w.changes, w.marks = changes, 0
	w.walks++
	return true
}

func (w *walker) record(record slog.Record) slog.Record {
	var few [16]slog.Attr // enough for most records, without an allocation
	attrs, changed := few[:0], false
	record.Attrs(func(a slog.Attr) bool {
		a, changedToo := w.attr(a, 0)
		attrs, changed = append(attrs, a), changed || changedToo
		return true
	})
	message, changedToo := w.text(record.Message)
	if !changed && !changedToo {
		return record
	}
	clean := slog.NewRecord(record.Time, record.Level, message, record.PC)
	clean.AddAttrs(attrs...)
	return clean
}

func (w *walker) text(text string) (clean string, changed bool) {
	clean, marks := w.known.set.Mask(text)
	w.marks += marks
	return clean, marks > 0
}

// attrs returns the masked attrs. It does not change attrs, which the caller may reuse.
func (w *walker) attrs(attrs []slog.Attr, depth int) (clean []slog.Attr, changed bool) {
	clean = attrs
	for i, a := range attrs {
		a, changedToo := w.attr(a, depth)
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

func (w *walker) attr(a slog.Attr, depth int) (clean slog.Attr, changed bool) {
	a.Key, changed = w.text(a.Key)
	value, changedToo := w.value(a.Value, depth)
	return slog.Attr{Key: a.Key, Value: value}, changed || changedToo
}

func (w *walker) value(v slog.Value, depth int) (clean slog.Value, changed bool) {
	switch v.Kind() {
	case slog.KindLogValuer:
		if depth > maxDepth { // a LogValuer whose group contains itself
			return slog.StringValue(mark), true
		}
		// Always pass on the resolved value: next would resolve it again, perhaps to another value.
		clean, _ = w.value(v.Resolve(), depth+1)
		return clean, true
	case slog.KindString:
		if text, changed := w.text(v.String()); changed {
			return slog.StringValue(text), true
		}
	case slog.KindGroup:
		if attrs, changed := w.attrs(v.Group(), depth+1); changed {
			return slog.GroupValue(attrs...), true
		}
	case slog.KindAny:
		return w.any(v)
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindTime, slog.KindUint64:
	}
	return v, false
}

// any masks a value of any type. It shows no more of the value than next would.
func (w *walker) any(v slog.Value) (clean slog.Value, changed bool) {
	text, all := w.style.printed(v.Any())
	if _, marks := w.known.set.Mask(text); marks == 0 && all {
		return v, false
	}
	w.marks++
	return w.style.substitute(v.Any(), w.known.set), true
}
