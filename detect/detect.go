package detect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
)

// ErrAmbiguous means that signals point to different providers. It is returned only with [WithStrict].
var ErrAmbiguous = errors.New("secrets: detect: ambiguous environment")

// New returns a client for the backend that [Backend] chooses, with the layers of middleware.Standard and the options of
// [WithClientOptions]. The Detection reports the choice, even with an error.
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

// Backend chooses a backend from the environment and builds it. It makes no network calls. The caller must close the backend, or pass it to
// secrets.New, which does. The Detection reports the choice, even with an error.
//
// It returns an error for invalid options, all joined; for an unknown SECRET_MANAGER_TYPE; for a backend with an incomplete configuration;
// and with [WithStrict], [ErrAmbiguous]. If the choice depends on the directory, it is also an error that the directory cannot be read or
// does not answer within a second, and that a CREDENTIALS_DIRECTORY has no file. If ctx has ended, only its error is returned.
func Backend(ctx context.Context, opts ...Option) (secrets.Backend, Detection, error) {
	c := newConfig(opts)
	if c.hasClient {
		c.faults.Addf("WithClientOptions: Backend makes no client; New does")
	}
	return c.detect(ctx)
}

func (c *config) detect(ctx context.Context) (secrets.Backend, Detection, error) {
	if err := c.faults.Err(); err != nil {
		return nil, Detection{Reason: "an option is invalid"}, err
	}
	if err := ctx.Err(); err != nil {
		return nil, Detection{Reason: "the context has ended"}, err
	}
	dir, signal := c.directory, Signal{Name: c.directory, Provider: provFile, byPlatform: true, counts: true}
	place := shown(dir) // for messages
	credentials, named := c.variable(varCredentials)
	if named {
		dir, signal.Name, signal.Value = credentials, varCredentials, shown(credentials)
		place = signal.Value + " ($" + varCredentials + ")"
	}
	seen, err := c.inspectInTime(ctx, dir)
	if err != nil {
		return nil, Detection{Reason: "the context has ended"}, err
	}
	found := signal
	if !seen.file {
		found = Signal{}
	}
	d := c.decide(c.signals(found), place, seen)
	switch {
	case d.Provider == "":
		return nil, d, c.unknownType()
	case (seen.failed || named && !seen.file) && c.dependsOnDirectory(d, signal, place, seen):
		d = c.undecided(d.Signals, place+" "+seen.what)
		fix := "fix that"
		if named {
			fix = "check LoadCredential= in the unit, or unset " + varCredentials
		}
		return nil, d, fmt.Errorf("secrets: detect: %s; %s, or set %s", d.Reason, fix, varType)
	case c.strict && len(d.rivals()) > 0:
		return nil, d, ambiguous(d)
	}
	backend, err := c.build(ctx, d, place, dir, seen)
	return backend, d, err
}

// dependsOnDirectory reports whether a file in the directory would change the choice of d, or make it ambiguous with [WithStrict].
func (c *config) dependsOnDirectory(d Detection, file Signal, place string, s dirState) bool {
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
