package bind

import (
	"context"
	"errors"
	"sync"
	"weak"

	"github.com/seed-5482dd03/secrets"
)

// Watch returns a [secrets.Live] with the T that [Load] returns, or fails as Load does. It watches all secrets of the T. After a change, it
// reads all of them again with one GetMany and replaces the whole T. A user and a password of one document therefore always have the same
// version. If a secret is then missing or malformed, the Live keeps the last good T, and Err returns the reason. Watch retries after 1 s, 2
// s, up to a minute, or at the next change.
//
// The Live ends with Close, with ctx and with client. Pass the service's ctx, not a request's; each read has its values. Close also ends
// the watches, once no Use is running. All callers of the Live's Load share one T, and must not change what it refers to.
//
// An optional secret that appears or disappears is a change. Watch looks for a missing one every 30 s, or when a cached "not found"
// expires.
//
// A test changes a value, and waits until the Live has it:
//
//	changed := live.Changed()
//	backend.Set("database", `{"user":"app","password":"new"}`)
//	client.Refresh(ctx, "database")
//	<-changed // if the new value is malformed, this blocks: wait until Err is not nil instead
//	live.Load()
//
// In a testing/synctest bubble, time.Sleep(time.Second) and synctest.Wait are enough. Watch builds the T 5 ms after a change, and polls a
// document at most every 100 ms. Secrets of several documents change one after the other, and each may replace the T: wait for Changed in a
// loop.
//
// Without a cache, Watch starts with a fetch per field, and each change costs another fetch per document. With leases, each fetch creates
// one.
func Watch[T any](ctx context.Context, client *secrets.Client) (*secrets.Live[T], error) {
	p, err := planFor[T](client)
	if err != nil {
		return nil, err
	}
	if _, _, err := load[T](ctx, client, p); err != nil {
		return nil, err // with the failures of all fields
	}
	w := new(watching[T])
	handles, err := w.follow(ctx, client, p)
	if err != nil {
		return nil, err
	}
	build := func(secrets.Secret) (T, error) {
		value, found, err := load[T](ctx, client, p)
		if err == nil {
			err = w.accept(found)
		}
		return value, err
	}
	opts := []secrets.DeriveOption[T]{secrets.Closing(func(T) { w.closeAfterLive() })}
	if len(handles) > 1 {
		opts = append(opts, secrets.Also[T](handles[1:]...))
	}
	live, err := secrets.Derive(handles[0], build, opts...)
	if err != nil {
		w.close()
		return nil, err
	}
	w.setLive(live)
	w.closeAfterLive() // the Live may have ended meanwhile
	return live, nil
}

// watching is the state of a Watch. The Live references it, so it must not reference the Live and the handles: the program may drop them.
type watching[T any] struct {
	mu      sync.Mutex
	live    weak.Pointer[secrets.Live[T]] // nil until Derive returns
	handles []followed
	built   map[string]secrets.Secret // secrets of the current T, by key
}

// followed is a handle and its key.
type followed struct {
	key    string
	handle weak.Pointer[secrets.Handle]
}

// follow returns a handle for each key of p.
func (w *watching[T]) follow(ctx context.Context, client *secrets.Client, p plan) ([]*secrets.Handle, error) {
	required := make(map[string]bool)
	for _, f := range p {
		required[f.key] = required[f.key] || !f.optional
	}
	var handles []*secrets.Handle
	for _, f := range p {
		isRequired, open := required[f.key]
		if !open {
			continue
		}
		delete(required, f.key)
		var opts []secrets.WatchOption
		if !isRequired {
			opts = append(opts, secrets.Optional())
		}
		h, err := client.Watch(ctx, f.key, opts...)
		if err != nil {
			w.close()
			if own, ok := errors.AsType[*secrets.Error](err); ok {
				err = &fieldError{f.name, f.key, own}
			}
			return nil, err
		}
		handles = append(handles, h)
		w.add(f.key, h)
	}
	return handles, nil
}

func (w *watching[T]) setLive(live *secrets.Live[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = weak.Make(live)
}

func (w *watching[T]) add(key string, h *secrets.Handle) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handles = append(w.handles, followed{key, weak.Make(h)})
}

// accept records that the T is built from found. It returns an error if found is older than what a handle has, because a server lags or a
// fallback answers in an outage. No later change would cause another build, but the Live retries after an error.
func (w *watching[T]) accept(found map[string]secrets.Secret) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.handles {
		h, got := f.handle.Value(), found[f.key]
		if h == nil || got.IsZero() {
			continue
		}
		known := h.Secret()
		isOther := !known.IsZero() && known.Meta().Backend != got.Meta().Backend
		if !got.Equal(known) && (isOther || got.Equal(w.built[f.key])) {
			err := secrets.NewError(secrets.ErrUnavailable, "the answer is older than the change, or another backend gave it")
			err.Backend, err.Key = got.Meta().Backend, f.key
			return err
		}
	}
	w.built = found
	return nil
}

// state returns the Live and the handles; nil for those that the program has dropped.
func (w *watching[T]) state() (live *secrets.Live[T], handles []*secrets.Handle) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.handles {
		handles = append(handles, f.handle.Value())
	}
	return w.live.Value(), handles
}

// closeAfterLive closes the handles if the Live has ended.
func (w *watching[T]) closeAfterLive() {
	if live, _ := w.state(); live != nil && errors.Is(live.Err(), secrets.ErrClosed) {
		w.close()
	}
}

// close closes the handles, which ends the Live.
func (w *watching[T]) close() {
	_, handles := w.state()
	for _, h := range handles {
		if h != nil {
			_ = h.Close() //nolint:errcheck // it returns nil
		}
	}
}
