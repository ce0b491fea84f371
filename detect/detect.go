package detect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
)

// ErrAmbiguous says that signals contradict each other, which is an error with [WithStrict] only.
var ErrAmbiguous = errors.New("secrets: detect: ambiguous environment")

// New returns a client around the backend that [Backend] chooses, with the layers of middleware.Standard and the options of
// [WithClientOptions]. The Detection says what was chosen, also if there is an error.
func New(ctx context.Context, opts ...Option) (*secrets.Client, Detection, error) {
	c := newConfig(opts)
	backend, detection, err := c.detect(ctx)
	if err != nil {
		return nil, detection, err
	}
	client, err := secrets.New(backend, append([]secrets.Option{middleware.Standard()}, c.client...)...)
	if err != nil {
		return nil, detection, errors.Join(err, backend.Close())
	}
	return client, detection, nil
}

// Backend chooses a backend by the environment, and makes it. It contacts nobody. Whoever gets the backend closes it, as
// secrets.New does. The Detection says what was chosen, also if there is an error.
//
// These are errors: faults of the options, all of them joined; a SECRET_MANAGER_TYPE that names no provider; a backend that
// lacks a part of its configuration; with [WithStrict], [ErrAmbiguous]; and, if the choice hangs on it, a directory of secrets that
// cannot be read or does not answer within a second, and a CREDENTIALS_DIRECTORY without a file. If ctx is done, its error is returned
// as it is.
func Backend(ctx context.Context, opts ...Option) (secrets.Backend, Detection, error) {
	c := newConfig(opts)
	if c.hasClient {
		c.faults.Addf("WithClientOptions: Backend makes no client; New does")
	}
	return c.detect(ctx)
}

func (c *config) detect(ctx context.Context) (secrets.Backend, Detection, error) {
	if err := c.faults.Err(); err != nil {
		return nil, Detection{Reason: "an option is at fault"}, err
	}
	if err := ctx.Err(); err != nil {
		return nil, Detection{Reason: "the context was done"}, err
	}
	dir, signal := c.directory, Signal{Name: c.directory, Provider: provFile, byPlatform: true, counts: true}
	place := shown(dir) // in words
	credentials, named := c.variable(varCredentials)
	if named {
		dir, signal.Name, signal.Value = credentials, varCredentials, shown(credentials)
		place = signal.Value + " ($" + varCredentials + ")"
	}
	seen, err := c.look(ctx, dir)
	if err != nil {
		return nil, Detection{Reason: "the context was done"}, err
	}
	found := signal
	if !seen.file {
		found = Signal{}
	}
	d := c.decide(c.signals(found), place, seen)
	switch {
	case d.Provider == "":
		return nil, d, c.unknownType()
	case (seen.failed || named && !seen.file) && c.hangsOnDirectory(d, signal, place, seen):
		d = c.undecided(d.Signals, place+" "+seen.what)
		mend := "mend that"
		if named {
			mend = "check LoadCredential= in the unit, or unset " + varCredentials
		}
		return nil, d, fmt.Errorf("secrets: detect: %s; %s, or set %s", d.Reason, mend, varType)
	case c.strict && len(d.rivals()) > 0:
		return nil, d, ambiguous(d)
	}
	backend, err := c.build(ctx, d, place, dir, seen)
	return backend, d, err
}

// hangsOnDirectory reports whether a file in the directory would have made d another choice, or with [WithStrict] none.
func (c *config) hangsOnDirectory(d Detection, file Signal, place string, s sight) bool {
	other := c.decide(c.signals(file), place, s)
	return other.Provider != d.Provider || c.strict && len(other.rivals()) > len(d.rivals())
}

func ambiguous(d Detection) error {
	signals := d.rivals()
	rivals := make([]string, 0, len(signals))
	for _, s := range signals {
		rivals = append(rivals, fmt.Sprintf("%s points to %s", s, s.Provider))
	}
	return fmt.Errorf("%w: %s, which points to %s, but %s; set %s",
		ErrAmbiguous, d.Reason, d.Provider, strings.Join(rivals, ", and "), varType)
}
