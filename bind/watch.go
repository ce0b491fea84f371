package bind

import (
	"context"
	"errors"
	"sync"
	"weak"

	"github.com/seed-5482dd03/secrets"
)

// Watch returns a [secrets.Live] that holds a T as [Load] returns it, and fails as Load does. It follows all secrets of the T, as
// [secrets.Client.Watch] does. After a change, it reads all of them again with one GetMany, and replaces the T as a whole: a user and a
// password of one document are always of one version. If a secret is missing or malformed then, the Live keeps the last good T, Err says
// why, and it tries again after 1 s, 2 s, up to a minute, or at the next change.
//
// The Live ends with Close, with ctx and with client. Close ends what follows the secrets, too, once no Use runs. So ctx must be that of
// the service, not that of a request. Each read of the T has the values of ctx. All who call Load of the Live share one T: they must not
// change what it refers to.
//
// That an optional secret appears or goes away is a change. A missing one is looked for every 30 s, or once a cache has forgotten that it
// is missing.
//
// A test changes a value, and waits until the Live has it:
//
//	changed := live.Changed()
//	backend.Set("database", `{"user":"app","password":"new"}`)
//	client.Refresh(ctx, "database")
//	<-changed // it stays open if the new value is malformed: then wait until Err is not nil
//	live.Load()
//
// In a bubble of testing/synctest, time.Sleep(time.Second) before synctest.Wait does both: the T is built 5 ms after a change, and polls of
// a document are 100 ms apart. Secrets of several documents change one after the other: the T may be replaced more than once then. So wait
// for Changed in a loop.
//
// Without a cache, Watch begins with a fetch for each field, and each change costs another fetch of each document. Where there are leases,
// each of these makes one.
func Watch[T any](ctx context.Context, client *secrets.Client) (*secrets.Live[T], error) {
	p, err := planFor[T](client)
	if err != nil {
		return nil, err
	}
	if _, _, err := load[T](ctx, client, p); err != nil {
		return nil, err // of all fields
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
	w.closeAfterLive() // if it has ended meanwhile
	return live, nil
}

// watching is what a Watch has begun. Its Live leads to it. So it must not keep the Live and the handles, which the program may drop.
type watching[T any] struct {
	mu      sync.Mutex
	live    weak.Pointer[secrets.Live[T]] // nil until there is one
	handles []followed
	built   map[string]secrets.Secret // what the T is made of, by key
}

// followed is a handle, and its key.
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

// accept notes that the T is made of found. It is an error if found is older than what a handle has: a server may lag, and in an outage a
// fallback answers. No change would then lead to another build; the Live tries again after an error.
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

// state returns the Live and the handles. What the program has dropped is nil.
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

// close closes the handles, and so the Live.
func (w *watching[T]) close() {
	_, handles := w.state()
	for _, h := range handles {
		if h != nil {
			_ = h.Close() //nolint:errcheck // it returns nil
		}
	}
}
