package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// The loop calls apply with the current value, and again after each change, until the handle ends.
func ExampleClient_Watch() {
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	token, err := client.Watch(context.Background(), "api/token")
	if err != nil {
		log.Panic(err)
	}
	apply := func(s secrets.Secret) {
		fmt.Println("version", s.Meta().Version)
		if s.Meta().Version == "1" { // somebody rotates the token; without Invalidate, it is seen within 30 s
			backend.Set("api/token", "battery staple")
			client.Invalidate("api/token")
		} else {
			_ = token.Close()
		}
	}
	for !errors.Is(token.Err(), secrets.ErrClosed) {
		changed := token.Changed() // before the value is read: no change comes in between
		apply(token.Secret())
		<-changed
	}
	// Output:
	// version 1
	// version 2
}
