package main

import (
	"context"
	"fmt"

	"github.com/seed-5482dd03/secrets"
)

// Shop is a service that needs secrets. It is given a Client, and knows neither where secrets come from nor how they are
// kept: a test gives it a Client around secretstest.NewBackend.
type Shop struct {
	secrets *secrets.Client
}

// NewShop returns a Shop that reads its secrets from client.
func NewShop(client *secrets.Client) *Shop { return &Shop{secrets: client} }

// Session is a connection to the database.
type Session struct {
	User, Password secrets.Secret
}

// Connect opens a session with the credentials of this moment. They are two fields of one document, so that they come from
// one version of it also while it is rotated.
func (s *Shop) Connect(ctx context.Context) (*Session, error) {
	found, err := s.secrets.GetMany(ctx, "database#user", "database#password")
	if err != nil {
		return nil, fmt.Errorf("shop: connect: %w", err)
	}
	session := &Session{User: found["database#user"], Password: found["database#password"]}
	// Here a real service would say connect(session.User.Reveal(), session.Password.Reveal()).
	return session, nil
}

// Credentials tells where the credentials of the session came from. None of that is secret.
func (s *Session) Credentials() secrets.Meta { return s.Password.Meta() }
