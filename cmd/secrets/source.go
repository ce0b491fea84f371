package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// source says where secrets are read from: the flags that all commands share.
type source struct {
	backends, fallbacks []string
	timeout             time.Duration
}

// kinds are the backends that --backend and --fallback name.
var kinds = []string{"env", "file", "vault", "aws"} //nolint:gochecknoglobals // a constant

func (s *source) flags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.backends, "backend", nil,
		"env, file, vault or aws; repeat it for a chain (default: as the environment says)")
	flags.StringArrayVar(&s.fallbacks, "fallback", nil,
		"a backend to ask next, if the one before does not have the secret or is unavailable")
	flags.DurationVar(&s.timeout, "timeout", 5*time.Second, "time for one read of a backend")
}

// names returns the backends in the order in which they are asked. The first is "" if the environment decides.
func (s *source) names() ([]string, error) {
	all := slices.Concat(s.backends, s.fallbacks)
	for _, name := range all {
		if !slices.Contains(kinds, name) {
			return nil, usage("there is no backend %q; write one of %s", name, strings.Join(kinds, ", "))
		}
	}
	if len(s.backends) == 0 {
		all = slices.Insert(all, 0, "")
	}
	return all, nil
}

// backend makes the backend of that name, or the one that the environment says. It makes no network calls.
func backend(ctx context.Context, name string, opts ...detect.Option) (secrets.Backend, detect.Detection, error) {
	return detect.Backend(ctx, append(opts, detect.WithLookup(func(variable string) (string, bool) {
		if variable == "SECRET_MANAGER_TYPE" && name != "" {
			return name, true
		}
		return os.LookupEnv(variable)
	}))...)
}

// open returns a client for the whole chain, with the standard layers and opts.
func (s *source) open(ctx context.Context, opts ...secrets.Option) (client *secrets.Client, err error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var backends []secrets.Backend
	defer func() {
		if err != nil {
			for _, b := range backends {
				err = errors.Join(err, b.Close())
			}
		}
	}()
	for _, name := range names {
		b, _, err := backend(ctx, name)
		if ctx.Err() != nil {
			return nil, errors.New("secrets: interrupted")
		}
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		backends = append(backends, b)
	}
	if len(backends) > 1 {
		opts = append(opts, secrets.WithFallback(fallback.To(backends[1:]...)))
	}
	client, err = secrets.New(backends[0], append(opts, middleware.Standard(), secrets.WithTimeout(s.timeout))...)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return client, nil
}
