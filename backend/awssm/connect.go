package awssm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"

	"github.com/seed-5482dd03/secrets/internal/network"
)

const (
	// attempts and maxPause bound the retries of the SDK, the one retry layer there is. What goes on for longer than a
	// moment is for the cache above: its back-off, its stale values, the next backend.
	attempts = 3
	maxPause = 2 * time.Second
	// callTimeout bounds a call whose context has no deadline: the SDK has none of its own.
	callTimeout = 30 * time.Second
	// maxClients is how many clients are kept, each of a region. AWS has fewer.
	maxClients = 64
	// maxAnswer is the most bytes that are read of an answer. A batch brings 20 secrets of 64 KiB at the most, and JSON
	// takes 6 bytes for one at the most.
	maxAnswer = 20 * (64 << 10) * 6
)

// clients returns the client of a region, or of the backend's own region for "". It is safe for concurrent use.
type clients func(region string) *secretsmanager.Client

// connect returns the clients that the options and the environment ask for, and the backend's own region. Faults are noted.
func (c *settings) connect(ctx context.Context) (of clients, region string) {
	own := c.ownClient(ctx)
	if own == nil {
		return nil, ""
	}
	options := own.Options()
	switch {
	case options.Region == "":
		c.faults.Addf("no region: give WithRegion, or set AWS_REGION or AWS_DEFAULT_REGION, or one in the profile")
	case !isRegion(options.Region):
		c.faults.Addf("the region %q is not one", options.Region)
	}
	if options.ClientLogMode.IsRequestWithBody() || options.ClientLogMode.IsResponseWithBody() {
		c.faults.Addf("the ClientLogMode of the SDK would log bodies, which hold the secrets")
	}
	if options.ClientLogMode.IsSigning() { // by a signer that a client has already, with its own logger
		c.faults.Addf("the ClientLogMode of the SDK would log what it signs, which holds the session token")
	}
	if options.EndpointOptions.DisableHTTPS && !c.plaintext {
		c.faults.Addf("the client has DisableHTTPS, which would send the secrets in the clear; say WithPlaintext if it must")
	}
	if options.BaseEndpoint != nil {
		c.checkEndpoint(*options.BaseEndpoint)
		if options.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled ||
			options.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled {
			c.faults.Addf("the SDK takes no FIPS or dual-stack endpoint (AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT) " +
				"beside an endpoint by its URL")
		}
	}
	var mu sync.Mutex
	all := map[string]*secretsmanager.Client{"": own}
	// They are captured variables, so that no dump of the Backend shows the credentials.
	return func(region string) *secretsmanager.Client {
		mu.Lock()
		defer mu.Unlock()
		client, known := all[region]
		if !known {
			client = secretsmanager.New(options, func(o *secretsmanager.Options) { o.Region = region })
			if len(all) < maxClients { // whoever gives the keys can make up regions
				all[region] = client
			}
		}
		return client
	}, options.Region
}

// ownClient returns the client of the backend's own region, or nil.
func (c *settings) ownClient(ctx context.Context) *secretsmanager.Client {
	if c.client != nil {
		if c.config != nil || c.region != "" || c.endpoint != "" {
			c.faults.Addf("WithClient says all of it already, beside WithConfig, WithRegion or WithEndpoint")
		}
		return secretsmanager.New(c.client.Options(), harden)
	}
	cfg := c.config
	if cfg == nil {
		loaded, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}), config.WithRegion(c.region),
			config.WithDefaultsMode(aws.DefaultsModeLegacy)) // "auto" would ask the metadata service of an instance
		if err != nil {
			c.faults.Addf("the configuration of AWS cannot be loaded: %s", configFault(err))
			return nil
		}
		cfg = &loaded
	}
	return secretsmanager.NewFromConfig(*cfg, harden, func(o *secretsmanager.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, c.maxPause })
		o.RetryMaxAttempts = 0
		if c.region != "" {
			o.Region = c.region
		}
		if c.endpoint != "" {
			o.BaseEndpoint = &c.endpoint
		}
	})
}

// harden makes a client log nothing and follow no redirect, bounds what it reads, and marks the errors of its credentials.
func harden(o *secretsmanager.Options) {
	o.Logger = logging.Nop{}
	if o.Credentials != nil {
		o.Credentials = marked{o.Credentials}
	}
	if theirs, ok := o.HTTPClient.(*http.Client); ok && theirs != nil {
		// It would follow a redirect to any host, with the session token, and take the answer for the service's. The SDK's own
		// does not.
		own := *theirs
		own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		o.HTTPClient = &own
	}
	o.HTTPClient = &bounded{o.HTTPClient}
}

// configFault says what is wrong with the configuration, without what it may hold.
func configFault(err error) string {
	if profile, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return "there is no profile " + profile.Profile
	}
	if file, ok := errors.AsType[config.SharedConfigLoadError](err); ok {
		return "the file " + file.Filename + " cannot be read, or is not as it should be"
	}
	return "one of its files or variables is not as it should be"
}

func (c *settings) checkEndpoint(endpoint string) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "": // the text may hold a password
		c.faults.Addf("the endpoint must begin with https:// or http:// and name a host")
	case u.User != nil:
		c.faults.Addf("the endpoint holds a user name or a password, which AWS has no use for")
	case u.Scheme == "http" && !c.plaintext && !network.Loopback(u.Hostname()):
		c.faults.Addf("the endpoint http://%s would send the secrets in the clear; use https, or say WithPlaintext", u.Host)
	}
}

// readError marks a failure of the network in the middle of an answer, which decoders take for one of the answer.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() } // by which the SDK knows what to try again
func (e *readError) Unwrap() error { return e.err }

// bounded is an HTTP client that reads no more than maxAnswer of a body, and marks failures to read it.
type bounded struct{ secretsmanager.HTTPClient }

func (b *bounded) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.HTTPClient.Do(r)
	if resp != nil && resp.Body != nil {
		resp.Body = network.Bound(body{resp.Body}, maxAnswer)
	}
	return resp, err
}

type body struct{ io.ReadCloser }

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &readError{err}
	}
	return n, err
}
