// Package faults collects configuration faults, so a constructor can report all of them at once.
//
//	faults := faults.List{Prefix: "secrets: file: "}
//	faults.Addf("WithMaxSize: %d is not more than 0", size)
//	return faults.Err()
package faults

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// maxBare is an upper bound for a bare number that means seconds: a day has 86,400.
const maxBare = 100_000

// List collects faults. Its zero value is ready to use. It is not safe for concurrent use.
type List struct {
	Prefix string // of the text of each fault that Addf adds

	all []error
}

// Addf adds a fault with a formatted text.
func (l *List) Addf(format string, args ...any) {
	l.all = append(l.all, fmt.Errorf(l.Prefix+format, args...))
}

// Checkf adds a fault unless ok.
func (l *List) Checkf(ok bool, format string, args ...any) {
	if !ok {
		l.Addf(format, args...)
	}
}

// CheckDuration adds a fault if d is between 0 and 1 ms, both excluded: the caller has probably omitted the unit, as 300 is 300
// nanoseconds.
func (l *List) CheckDuration(option string, d time.Duration) {
	switch {
	case d <= 0 || d >= time.Millisecond:
	case d < maxBare:
		l.Addf("%s: %v; did you mean %d*time.Second?", option, d, d.Nanoseconds())
	default:
		l.Addf("%s: %v is less than 1ms", option, d)
	}
}

// Add adds err as it is, unless it is nil.
func (l *List) Add(err error) {
	if err != nil {
		l.all = append(l.all, err)
	}
}

// Err returns the faults, joined in order, or nil.
func (l *List) Err() error { return errors.Join(l.all...) }

// Apply calls apply with each option. A nil option is a fault.
func Apply[O any](l *List, options []O, apply func(O)) {
	for i, o := range options {
		if IsNil(o) {
			l.Addf("option %d is nil", i+1)
			continue
		}
		apply(o)
	}
}

// IsNil reports whether v is nil or holds a nil pointer, function, map, channel or slice.
func IsNil(v any) bool {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Slice, reflect.Interface, reflect.UnsafePointer:
		return r.IsNil()
	default:
		return false
	}
}
