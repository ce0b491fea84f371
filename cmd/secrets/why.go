package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

func newWhy(s *source) *cobra.Command {
	var noNetwork bool
	cmd := &cobra.Command{
		Use:   "why KEY",
		Short: "Explain which backend answers a key, and why",
		Long: `Why explains a key: what it means on each backend of the chain, where it is there, and which line of a policy it takes; what
each backend answers, without the value; where the chain stops; and why the environment has chosen its backend.

Each backend is asked once, also those behind the stop, which the library does not ask. The exit code is that of the answer
of the library. With --no-network, no backend is asked, and no variable and no file of a secret is read. The exit code is then 0
if all backends can be made.`,
		Example: `  secrets why database#password
  secrets why --backend vault --fallback env database#password
  secrets why --no-network database#password`,
		Args: exactly(1, "a key"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			key := args[0]
			ref, err := secrets.ParseRef(key)
			if err != nil {
				return err
			}
			chain, err := s.links(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, chain.close()) }()
			if !noNetwork {
				if err := waiting(func() error { return chain.ask(cmd.Context(), key) }); err != nil {
					return err
				}
			}
			w := explanation{now: time.Now(), colour: coloured(os.Stdout), asked: !noNetwork}
			w.printf("%s\n", printable(key))
			for i := range chain {
				w.link(chain, i, ref)
			}
			code := chain.fault()
			if !noNetwork {
				code = w.answer(cmd.Context(), chain, key)
			}
			if seen := chain[0].detection; seen != nil {
				w.printf("\ndetection: ")
				if err := seen.Explain(&w.text); err != nil {
					return err
				}
			}
			if _, err := io.WriteString(os.Stdout, w.text.String()); err != nil {
				return err
			}
			if code != exitFound {
				return &exitError{code: code}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&noNetwork, "no-network", false, "show where the key is looked for, and read nothing")
	return cmd
}

// links are the backends of a chain, in order.
type links []*link

// link is a backend, with a client of its own.
type link struct {
	name      string            // the provider
	detection *detect.Detection // if the environment has chosen it
	info      secrets.Info
	client    *secrets.Client
	fault     error // if it cannot be made; nothing else is set then

	// The answer.
	secret secrets.Secret
	err    error
}

// links makes the backends of the chain.
func (s *source) links(ctx context.Context) (chain links, err error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		l := &link{name: name}
		chain = append(chain, l)
		b, detection, err := backend(ctx, name)
		if name == "" {
			l.detection, l.name = &detection, orDash(detection.Provider)
		}
		if err != nil {
			l.fault = err
			continue
		}
		l.info = b.Info()
		if l.client, err = secrets.New(b, secrets.WithTimeout(s.timeout)); err != nil {
			return nil, errors.Join(&exitError{exitUsage, err}, b.Close(), chain.close())
		}
	}
	return chain, nil
}

func (c links) close() error {
	var errs []error
	for _, l := range c {
		if l.client != nil {
			errs = append(errs, l.client.Close())
		}
	}
	return errors.Join(errs...)
}

// ask asks each backend for key. The error is that of ctx.
func (c links) ask(ctx context.Context, key string) error {
	for _, l := range c {
		if l.fault == nil {
			l.secret, l.err = l.client.Get(ctx, key)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("secrets: why: %w", err)
		}
	}
	return nil
}

// fault returns the exit code of a chain in which a backend cannot be made, or 0.
func (c links) fault() int {
	if slices.ContainsFunc(c, func(l *link) bool { return l.fault != nil }) {
		return exitUsage
	}
	return exitFound
}

// end returns the index of the backend at which the chain stops.
func (c links) end() int {
	policy := fallback.To()
	for i, l := range c {
		if l.fault != nil || l.err == nil || !policy.GoesOn(secrets.Class(l.err)) {
			return i
		}
	}
	return len(c) - 1
}

// final returns what a client with the whole chain answers, by the rules of the library, from what each backend has answered.
func (c links) final(ctx context.Context, key string) (secrets.Secret, error) {
	var replay []secrets.Backend
	for _, l := range c {
		if l.fault != nil {
			return secrets.Secret{}, usage("no client is made, since %s cannot be", l.name)
		}
		info := secrets.Info{Name: l.info.Name, Resolve: func(ref secrets.Ref) secrets.Ref { return secrets.Ref{Path: ref.Path} }}
		replay = append(replay, secrets.NewBackend(info, func(context.Context, secrets.Ref) (secrets.Secret, error) { return l.secret, l.err }))
	}
	var opts []secrets.Option
	if len(replay) > 1 {
		opts = append(opts, secrets.WithFallback(fallback.To(replay[1:]...)))
	}
	client, err := secrets.New(replay[0], opts...)
	if err != nil {
		return secrets.Secret{}, &exitError{exitUsage, err}
	}
	secret, err := client.Get(ctx, key)
	return secret, errors.Join(err, client.Close())
}
