package secrets_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Pool stands for something built from a secret.
type Pool struct{ password string }

func (*Pool) Close() {}

// Follow shows a service that follows the rotations of its database credentials.
func Follow(ctx context.Context, client *secrets.Client, connect func(secrets.Secret) (*Pool, error), use func(secrets.Secret)) error {
	h, err := client.Watch(ctx, "database") // fails as Get does; ctx is that of the program
	if err != nil {
		return err
	}
	defer h.Close()

	live, err := secrets.Derive(h, connect, secrets.Closing((*Pool).Close))
	if err != nil {
		return err
	}
	defer live.Close()

	for {
		changed := h.Changed() // before the value is read: no change comes in between
		use(h.Secret())
		select {
		case <-changed:
			if errors.Is(h.Err(), secrets.ErrClosed) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// LogIn shows a login that survives a rotation.
func LogIn(ctx context.Context, client *secrets.Client, login func(context.Context, secrets.Secret) error) (err error) {
	err = client.Do(ctx, "database", func(ctx context.Context, s secrets.Secret) error {
		return login(ctx, s) // wraps secrets.ErrRejected if the server refuses the password
	})
	return err
}

func Example_rotation() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	backend := secretstest.NewBackend(map[string]string{"database": "correct horse"})
	client, err := secrets.New(backend)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	backend.Set("database", "battery staple")
	fmt.Println(LogIn(ctx, client, func(_ context.Context, s secrets.Secret) error {
		fmt.Println("logged in with version", s.Meta().Version)
		return nil
	}))
	connect := func(s secrets.Secret) (*Pool, error) { return &Pool{s.Reveal()}, nil }
	fmt.Println(Follow(ctx, client, connect, func(s secrets.Secret) {
		fmt.Println("version", s.Meta().Version)
		if s.Meta().Version == "3" {
			stop() // the end of the program
			return
		}
		backend.Set("database", "trombone") // somebody rotates it
		client.Invalidate("database")       // and the handle polls at once
	}))
	// Output:
	// logged in with version 2
	// <nil>
	// version 2
	// version 3
	// <nil>
}
