package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

var errWrongPassword = errors.New("wrong password")

// The driver of the database has its own error for a wrong password.
func ExampleRejectedIf() {
	backend := secretstest.NewBackend(map[string]string{"database": "correct horse"})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	isRefusal := func(err error) bool { return errors.Is(err, errWrongPassword) }
	err = client.Do(context.Background(), "database", func(_ context.Context, s secrets.Secret) error {
		fmt.Println("login with version", s.Meta().Version)
		if s.Meta().Version == "1" {
			backend.Set("database", "battery staple") // somebody rotates the password
			return errWrongPassword
		}
		return nil
	}, secrets.RejectedIf(isRefusal))
	fmt.Println(err)
	// Output:
	// login with version 1
	// login with version 2
	// <nil>
}

// The database accepts the password of the store only a moment later.
func ExampleBridge() {
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"database": "correct horse"}))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	logins := 0
	err = client.Do(context.Background(), "database", func(context.Context, secrets.Secret) error {
		if logins++; logins == 1 {
			return secrets.ErrRejected
		}
		return nil
	}, secrets.Bridge(time.Minute)) // the first pause is 1 s
	fmt.Println(logins, err)
	// Output:
	// 2 <nil>
}

// The program starts without the secret, and uses it when it appears.
func ExampleOptional() {
	backend := secretstest.NewBackend(nil)
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	banner, err := client.Watch(context.Background(), "banner", secrets.Optional())
	if err != nil {
		log.Panic(err)
	}
	changed := banner.Changed()
	fmt.Println("missing:", banner.Secret().IsZero(), banner.Err())
	backend.Set("banner", "Sale!")
	client.Invalidate("banner") // without it, the change is seen within 30 s
	<-changed
	fmt.Println("missing:", banner.Secret().IsZero())
	// Output:
	// missing: true <nil>
	// missing: false
}

// Rotations show within a second.
func ExampleWatchInterval() {
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	token, err := client.Watch(context.Background(), "api/token", secrets.WatchInterval(time.Second))
	if err != nil {
		log.Panic(err)
	}
	changed := token.Changed()
	backend.Set("api/token", "battery staple") // somebody rotates it
	<-changed
	fmt.Println("version", token.Secret().Meta().Version)
	// Output:
	// version 2
}

// Closing closes a T after its last user.
func ExampleClosing() {
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"database": "correct horse"}))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	credentials, err := client.Watch(context.Background(), "database")
	if err != nil {
		log.Panic(err)
	}
	db, err := secrets.Derive(credentials, OpenDB, secrets.Closing((*DB).Close))
	if err != nil {
		log.Panic(err)
	}
	_ = db.Use(func(db *DB) error {
		return db.Query()
	})
	_ = db.Close()
	// Output:
	// query with version 1
	// close version 1
}

// A URL from two secrets, which need not match in version.
func ExampleAlso() {
	ctx := context.Background()
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"host": "db.internal", "token": "correct horse"}))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	host, hostErr := client.Watch(ctx, "host")
	token, tokenErr := client.Watch(ctx, "token")
	if err := errors.Join(hostErr, tokenErr); err != nil {
		log.Panic(err)
	}
	length, err := secrets.Derive(host, func(host secrets.Secret) (int, error) {
		return len("https://" + token.Secret().Reveal() + "@" + host.Reveal()), nil
	}, secrets.Also[int](token))
	if err != nil {
		log.Panic(err)
	}
	fmt.Println("the URL has", length.Load(), "characters")
	// Output:
	// the URL has 33 characters
}
