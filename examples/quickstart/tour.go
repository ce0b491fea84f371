package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// ttl is how long the cache of the tour serves a value without asking the store again.
const ttl = time.Second

// tour is the story. It prints what happens, and stops at what should not.
type tour struct {
	out        io.Writer
	client     *secrets.Client
	shop       *Shop
	remote     *Remote
	rotateFile func() error
	unprinted  error
}

func (t *tour) walk(ctx context.Context) error {
	t.print("A tour of package secrets. No line of it holds a secret.\n")
	for i, step := range []struct {
		heading string
		take    func(context.Context) error
	}{
		{"A service asks, and does not know where secrets come from", t.ask},
		{"A secret does not show itself", t.show},
		{"A thousand callers at once are one call of the store", t.share},
		{"Many at once: what is there, and what is not", t.many},
		{"Missing is not denied", t.classes},
		{"The store rotates a password", t.rotate},
		{"A file is rotated", t.rotateMounted},
		{"The store is down", t.outage},
		{"The store is back", t.recover},
	} {
		t.print("\n%d. %s\n", i+1, step.heading)
		if err := step.take(ctx); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	t.print("\nThat is all. The code is in examples/quickstart, from main.go on.\n")
	return t.unprinted
}

func (t *tour) say(format string, args ...any) { t.print("   "+format+"\n", args...) }

func (t *tour) print(format string, args ...any) {
	if _, err := fmt.Fprintf(t.out, format, args...); err != nil {
		t.unprinted = err
	}
}

func (t *tour) ask(ctx context.Context) error {
	session, err := t.shop.Connect(ctx)
	if err != nil {
		return err
	}
	t.say("the shop is connected to its database: %s", origin(session.Credentials()))
	for _, key := range []string{"mail-token", "payment/key"} {
		secret, err := t.client.Get(ctx, key)
		if err != nil {
			return err
		}
		t.say("%-12s %s", key, origin(secret.Meta()))
	}
	return nil
}

func (t *tour) show(ctx context.Context) error {
	password, err := t.client.Get(ctx, "database#password")
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(map[string]any{"password": password})
	if err != nil {
		return err
	}
	t.say("as text      %v", password)
	t.say("in Go        %#v", password)
	t.say("in JSON      %s", encoded)
	t.say("in a struct  %+v", Session{User: password, Password: password})
	t.say("Reveal()     %d characters, which are not printed here", len(password.Reveal()))
	return nil
}

func (t *tour) share(ctx context.Context) error {
	const callers = 1000
	t.client.Invalidate("database")
	before := t.remote.Calls()
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = t.client.Get(ctx, "database#password") })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.say("%d answers, %d call", callers, t.remote.Calls()-before)
	return nil
}

func (t *tour) many(ctx context.Context) error {
	found, err := t.client.GetMany(ctx, "database#user", "mail-token", "payment/key", "coupon", "payroll#salary")
	for _, key := range []string{"database#user", "mail-token", "payment/key"} {
		if found[key].IsZero() {
			return err
		}
		t.say("%-14s %v, from %s", key, found[key], found[key].Meta().Backend)
	}
	failures, ok := errors.AsType[secrets.Errors](err)
	if !ok {
		return fmt.Errorf("two of the keys cannot be had, and the error is %w", err)
	}
	for _, failure := range failures {
		t.say("%-14s %s", failure.Key, explain(failure))
	}
	return nil
}

func (t *tour) classes(ctx context.Context) error {
	coupon, err := t.client.GetOr(ctx, "coupon", "none today")
	if err != nil {
		return err
	}
	t.say("coupon is in no backend, so that GetOr answers %q, from %q", coupon.Reveal(), coupon.Meta().Backend)

	_, err = t.client.GetOr(ctx, "payroll#salary", "none today")
	if !errors.Is(err, secrets.ErrPermissionDenied) || errors.Is(err, secrets.ErrNotFound) {
		return fmt.Errorf("a denial is no absence, and the error is %w", err)
	}
	t.say("payroll is not ours to read, and no default hides that:")
	t.say("  %v", err)
	return nil
}

func (t *tour) rotate(ctx context.Context) error {
	before, err := t.client.Refresh(ctx, "database#password")
	if err != nil {
		return err
	}
	t.remote.Rotate("database")
	cached, err := t.client.Get(ctx, "database#password")
	if err != nil {
		return err
	}
	t.say("Get answers from the cache: %s", origin(cached.Meta()))
	fresh, err := t.client.Refresh(ctx, "database#password")
	if err != nil {
		return err
	}
	t.say("Refresh asks the store:     %s", origin(fresh.Meta()))
	if !cached.Equal(before) || fresh.Equal(before) {
		return errors.New("the cache or the refresh has the wrong value")
	}
	return nil
}

func (t *tour) rotateMounted(ctx context.Context) error {
	before, err := t.client.Get(ctx, "mail-token")
	if err != nil {
		return err
	}
	if err := t.rotateFile(); err != nil {
		return err
	}
	after, err := t.client.Get(ctx, "mail-token")
	if err != nil {
		return err
	}
	if after.Equal(before) {
		return errors.New("the file has changed, and its value has not")
	}
	t.say("the next Get has the new value: files and variables are read anew each time")
	return nil
}

func (t *tour) outage(ctx context.Context) error {
	t.remote.SetDown(true)
	if err := pause(ctx, ttl+ttl/2); err != nil {
		return err
	}
	t.say("the network is cut, and every cached value has passed its TTL")
	session, err := t.shop.Connect(ctx)
	if err != nil {
		return err
	}
	t.say("the shop still connects: %s", origin(session.Credentials()))
	token, err := t.client.Get(ctx, "mail-token")
	if err != nil {
		return err
	}
	t.say("mail-token   %s", origin(token.Meta()))

	_, err = t.client.GetOr(ctx, "discount", "none today")
	if !errors.Is(err, secrets.ErrUnavailable) || errors.Is(err, secrets.ErrNotFound) {
		return fmt.Errorf("an outage is no absence, and the error is %w", err)
	}
	if failure, ok := errors.AsType[*secrets.Error](err); ok { // and no default, since nobody knows whether there is one
		t.say("discount     %s", explain(failure))
	}
	return nil
}

func (t *tour) recover(ctx context.Context) error {
	t.remote.SetDown(false)
	t.remote.Rotate("database")
	if _, err := t.client.Refresh(ctx, "database"); err != nil {
		return err
	}
	session, err := t.shop.Connect(ctx)
	if err != nil {
		return err
	}
	t.say("the shop is connected to its database: %s", origin(session.Credentials()))
	return nil
}

// origin says where a secret came from.
func origin(meta secrets.Meta) string {
	from := "from " + meta.Backend
	if meta.Backend == "remote" { // the version of a file is a number that is different in each run
		from += ", version " + meta.Version
	}
	if meta.Stale {
		from += ", stale"
	}
	return from
}

// explain says what each backend answered, that which decided first.
func explain(failure *secrets.Error) string {
	var text strings.Builder
	text.WriteString(answer(failure))
	for _, cause := range failure.Causes {
		text.WriteString(", " + answer(cause))
	}
	return text.String()
}

func answer(failure *secrets.Error) string {
	class := strings.TrimPrefix(failure.Err.Error(), "secrets: ")
	return fmt.Sprintf("%s (%s)", class, failure.Backend)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
