package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// show plays the scenes. A scene returns an error if something happens that should not.
type show struct {
	*screen

	client *secrets.Client
	store  *Store
	logger *slog.Logger
	lines  logLines
}

func (s *show) play(ctx context.Context) error {
	s.line("Everything runs in this process. Nothing is installed, and nothing leaves this machine. No line below holds a secret.")
	s.line("")
	s.line("    %s", s.paint(faint, "// store stands for a store over the network; files are in a directory"))
	s.line("    %s", s.paint(cyan, "client, err := secrets.New(store, secrets.WithFallback(fallback.To(files)), middleware.Standard())"))
	for i, scene := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"Missing is not denied", s.missing},
		{"The store goes down, and comes back", s.outage},
		{"What the store does not have, the files may have", s.fallback},
		{"Many at once", s.many},
		{"A password changes", s.rotation},
		{"A secret does not show itself", s.redaction},
		{"Each error says what to do", s.errors},
	} {
		s.scene(i+1, scene.title)
		if err := scene.play(ctx); err != nil {
			return fmt.Errorf("scene %d: %w", i+1, err)
		}
	}
	s.line("")
	s.line("%s", s.paint(bold, "Where to go next"))
	s.line("")
	s.line("    README.md                what to write for each of these, on one page")
	s.line("    go run ./examples/detect which store the environment of this shell would choose")
	s.line("    docs/rotation.md         pools, certificates and HTTP clients that survive a rotation")
	s.line("    docs/testing.md          the fake store for your tests")
	return nil
}

func (s *show) missing(ctx context.Context) error {
	coupon, err := s.client.GetOr(ctx, "coupon", "none today")
	if err != nil {
		return err
	}
	s.call(`client.GetOr(ctx, "coupon", "none today")`)
	s.result("%q, since no store has it", coupon.Reveal())

	_, err = s.client.GetOr(ctx, "payroll#salary", "none today")
	if !errors.Is(err, secrets.ErrPermissionDenied) || errors.Is(err, secrets.ErrNotFound) {
		return fmt.Errorf("a denial is no absence, and the error is %w", err)
	}
	s.call(`client.GetOr(ctx, "payroll#salary", "none today")`)
	s.result("%v", err)
	s.result("A default never hides a denial.")
	return nil
}

func (s *show) outage(ctx context.Context) error {
	if err := s.get(ctx, "database#password"); err != nil {
		return err
	}
	s.store.Stop()
	if err := pause(ctx, ttl+ttl/2); err != nil { // the TTL is over, with its jitter
		return err
	}
	s.note("the store is down, and the TTL of one second is over")
	if err := s.get(ctx, "database#password"); err != nil {
		return err
	}
	_, err := s.client.GetOr(ctx, "discount", "none today")
	if !errors.Is(err, secrets.ErrUnavailable) || errors.Is(err, secrets.ErrNotFound) {
		return fmt.Errorf("an outage is no absence, and the error is %w", err)
	}
	s.call(`client.GetOr(ctx, "discount", "none today")`)
	s.result("%v", err)
	s.note("what the log says meanwhile")
	if err := s.logged(ctx, "backend unavailable"); err != nil {
		return err
	}

	s.store.Start()
	s.store.Rotate("database")
	s.note("the store is back")
	return s.refresh(ctx, "database#password")
}

func (s *show) fallback(ctx context.Context) error {
	return s.get(ctx, "mail-token")
}

func (s *show) many(ctx context.Context) error {
	const callers = 1000
	s.client.Invalidate("database")
	before := s.store.Calls()
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = s.client.Get(ctx, "database#password") })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.note("1,000 goroutines at once")
	s.call(`client.Get(ctx, "database#password")`)
	s.result("%d answers, %d call to the store", callers, s.store.Calls()-before)

	found, err := s.client.GetMany(ctx, "database#user", "mail-token", "coupon", "payroll#salary")
	failures, ok := errors.AsType[secrets.Errors](err)
	if !ok || len(found) != 2 {
		return fmt.Errorf("two of the keys cannot be had, and the error is %w", err)
	}
	s.call(`client.GetMany(ctx, "database#user", "mail-token", "coupon", "payroll#salary")`)
	for _, key := range []string{"database#user", "mail-token"} {
		s.result("%-14s %v from %s", key, found[key], found[key].Meta().Backend)
	}
	for _, failure := range failures {
		s.result("%-14s %s", failure.Key, strings.TrimPrefix(failure.Err.Error(), "secrets: "))
	}
	return nil
}

func (s *show) rotation(ctx context.Context) error {
	handle, err := s.client.Watch(ctx, "database")
	if err != nil {
		return err
	}
	defer handle.Close()
	s.call(`handle, err := client.Watch(ctx, "database")`)
	s.result("handle.Secret() is %s", origin(handle.Secret()))

	s.store.Rotate("database")
	s.note("somebody rotates the password")
	s.call(`client.Do(ctx, "database", login)`)
	err = s.client.Do(ctx, "database", func(ctx context.Context, candidate secrets.Secret) error {
		err := s.store.Login(ctx, candidate)
		s.result("login with version %s: %s", candidate.Meta().Version, map[bool]string{true: "accepted", false: "refused"}[err == nil])
		return err
	})
	if err != nil {
		return err
	}
	s.call(`handle.Secret()`)
	s.result("%s", origin(handle.Secret()))
	return nil
}

func (s *show) redaction(ctx context.Context) error {
	password, err := s.client.Get(ctx, "database#password")
	if err != nil {
		return err
	}
	s.call(`fmt.Printf("%v %+v", password, struct{ Password secrets.Secret }{password})`)
	s.result("%v %+v", password, struct{ Password secrets.Secret }{password})

	s.logger.ErrorContext(ctx, "cannot connect", "error", "dial postgres://shop:"+password.Reveal()+"@db: refused")
	s.note("a driver quotes its connection string, and redact.Handler masks it")
	s.call(`logger.Error("cannot connect", "error", err)`)
	return s.logged(ctx, "cannot connect")
}

func (s *show) errors(ctx context.Context) error {
	for _, key := range []string{"database#pasword", "a b\tc", "payroll"} {
		_, err := s.client.Get(ctx, key)
		if err == nil {
			return fmt.Errorf("%s is no secret that can be read", key)
		}
		s.call(fmt.Sprintf("client.Get(ctx, %q)", key))
		s.result("%v", err)
	}
	return nil
}

// get prints a Get.
func (s *show) get(ctx context.Context, key string) error {
	secret, err := s.client.Get(ctx, key)
	if err != nil {
		return err
	}
	s.call(fmt.Sprintf("client.Get(ctx, %q)", key))
	s.result("%v %s", secret, origin(secret))
	return nil
}

// refresh prints a Refresh.
func (s *show) refresh(ctx context.Context, key string) error {
	secret, err := s.client.Refresh(ctx, key)
	if err != nil {
		return err
	}
	s.call(fmt.Sprintf("client.Refresh(ctx, %q)", key))
	s.result("%v %s", secret, origin(secret))
	return nil
}

// logged prints the next line of the log with that text. The Client writes its lines on a goroutine of its own.
func (s *show) logged(ctx context.Context, text string) error {
	for {
		select {
		case line := <-s.lines:
			if strings.Contains(line, text) {
				s.result("%s", strings.TrimSuffix(line, "\n"))
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// origin says where a secret came from.
func origin(secret secrets.Secret) string {
	meta := secret.Meta()
	text := "from " + meta.Backend
	if meta.Backend == "store" { // the version of a file is a number that is different in each run
		text += ", version " + meta.Version
	}
	if meta.Stale {
		text += ", stale"
	}
	return text
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
