package awssm

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"

	"github.com/seed-5482dd03/secrets/internal/network"
)

const (
	// attempts and maxPause bound the retries of the SDK, the only ones. The layers above handle longer failures: with back-off, stale
	// values and the next backend.
	attempts = 3
	maxPause = 2 * time.Second
	// callTimeout bounds a call whose context has no deadline: the SDK has none of its own.
	callTimeout = 30 * time.Second
	// maxClients is the maximum number of clients, one per region. AWS has fewer regions.
	maxClients = 64
	// maxAnswer is the maximum size of an answer in bytes: a batch has up to 20 secrets of 64 KiB, and JSON takes up to 6 bytes for one.
	maxAnswer = 20 * (64 << 10) * 6
)

// caller makes a call with the client of a region, or of the backend's own region for "". It is safe for concurrent use. It is a function:
// a dump of the Backend must not show the credentials.
type caller func(ctx context.Context, region string, f func(context.Context, *secretsmanager.Client) error) error

// connect returns the caller for the options and the environment, and the backend's own region. It records faults in c.
func (c *settings) connect(ctx context.Context) (call caller, region string) {
	own, credentials := c.ownClient(ctx)
	if own == nil {
		return nil, ""
	}
	options := own.Options()
	c.checkOptions(options)
	var mu sync.Mutex
	all, built := map[string]*secretsmanager.Client{"": own}, 0
	client := func(region string, generation int) *secretsmanager.Client {
		mu.Lock()
		defer mu.Unlock()
		if generation > built && credentials.own {
			// A signer caches derived keys by the key ID, and would keep using a wrong key that was corrected in its file:
			// https://github.com/aws/aws-sdk-go-v2/blob/main/aws/signer/internal/v4/cache.go.
			options.HTTPSignerV4, options.AuthSchemes = nil, nil
			all, built = make(map[string]*secretsmanager.Client), generation
		}
		client, known := all[region]
		if !known {
			client = secretsmanager.New(options, func(o *secretsmanager.Options) { o.Region = cmp.Or(region, o.Region) })
			if len(all) < maxClients { // keys from outside may contain invented regions
				all[region] = client
			}
		}
		return client
	}
	return func(ctx context.Context, region string, f func(context.Context, *secretsmanager.Client) error) error {
		ctx = network.Untraced(ctx) // for the requests of credentials too
		generation := credentials.current()
		err := f(ctx, client(region, generation))
		if refused, down := isRefusal(err); refused && ctx.Err() == nil && credentials.renew(ctx, generation, down) {
			err = f(ctx, client(region, credentials.current()))
		}
		return err
	}, options.Region
}

// checkOptions records what is wrong with the options of a client.
func (c *settings) checkOptions(options secretsmanager.Options) {
	switch {
	case options.Region == "":
		c.faults.Addf("no region: give WithRegion, or set AWS_REGION or AWS_DEFAULT_REGION, or one in the profile")
	case !isRegion(options.Region):
		c.faults.Addf("%q is not a region", options.Region)
	}
	if options.ClientLogMode.IsRequestWithBody() || options.ClientLogMode.IsResponseWithBody() {
		c.faults.Addf("the ClientLogMode of the SDK would log bodies, which hold the secrets")
	}
	if options.ClientLogMode.IsSigning() { // a signer of the client may already have its own logger
		c.faults.Addf("the ClientLogMode of the SDK would log what it signs, which holds the session token")
	}
	if options.EndpointOptions.DisableHTTPS && !c.plaintext {
		c.faults.Addf("the client has DisableHTTPS, which would send the secrets in the clear; use WithPlaintext to allow it")
	}
	if options.BaseEndpoint != nil {
		c.checkEndpoint(*options.BaseEndpoint)
		if options.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled ||
			options.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled {
			c.faults.Addf("the SDK does not support an endpoint URL together with FIPS or dual-stack; unset AWS_USE_FIPS_ENDPOINT and " +
				"AWS_USE_DUALSTACK_ENDPOINT, or leave the URL out")
		}
	}
}

// ownClient returns the client of the backend's own region and its credentials, or nil.
func (c *settings) ownClient(ctx context.Context) (*secretsmanager.Client, *chain) {
	var credentials *chain
	with := func(load func(context.Context) (aws.CredentialsProvider, error)) func(o *secretsmanager.Options) {
		return func(o *secretsmanager.Options) {
			credentials = newChain(o.Credentials, load)
			harden(o, credentials)
		}
	}
	if c.client != nil {
		if c.config != nil || c.region != "" || c.endpoint != "" {
			c.faults.Addf("WithClient sets the configuration, region and endpoint; leave out WithConfig, WithRegion and WithEndpoint")
		}
		return secretsmanager.New(c.client.Options(), with(nil)), credentials
	}
	cfg := c.config
	var load func(context.Context) (aws.CredentialsProvider, error)
	if cfg == nil {
		loaded, err := loadConfig(ctx, c.region)
		if err != nil {
			c.faults.Addf("the configuration of AWS cannot be loaded: %s", configFault(err))
			return nil, nil
		}
		cfg = &loaded
		if err := hidden(cfg.Credentials); err != nil {
			c.faults.Addf("%w", err)
		}
		load = func(ctx context.Context) (aws.CredentialsProvider, error) {
			loaded, err := loadConfig(ctx, c.region)
			if err != nil {
				return nil, err
			}
			return loaded.Credentials, hidden(loaded.Credentials)
		}
	}
	client := secretsmanager.NewFromConfig(*cfg, with(load), func(o *secretsmanager.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, c.maxPause })
		o.RetryMaxAttempts = 0
		if c.region != "" {
			o.Region = c.region
		}
		if c.endpoint != "" {
			o.BaseEndpoint = &c.endpoint
		}
	})
	return client, credentials
}

// loadConfig reads the configuration from variables and files. It makes no network calls.
func loadConfig(ctx context.Context, region string) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}), config.WithRegion(region),
		// STS and SSO use that client too. The mode "auto" would call the metadata service of an instance.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(network.CloseDead)),
		config.WithDefaultsMode(aws.DefaultsModeLegacy))
}

// harden turns off logging and redirects, bounds the size of answers, and makes the client use credentials.
func harden(o *secretsmanager.Options, credentials *chain) {
	o.Logger = logging.Nop{}
	if o.Credentials != nil {
		o.Credentials = credentials
	}
	if theirs, ok := o.HTTPClient.(*awshttp.BuildableClient); ok && theirs != nil { // the SDK's own type, which can be copied
		o.HTTPClient = theirs.WithTransportOptions(network.CloseDead).Freeze()
	}
	if theirs, ok := o.HTTPClient.(*http.Client); ok && theirs != nil {
		// It would follow a redirect to any host, send the session token there, and accept the answer.
		own := *theirs
		own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		o.HTTPClient = &own
	}
	o.HTTPClient = &bounded{o.HTTPClient}
}

func (c *settings) checkEndpoint(endpoint string) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "": // the text may hold a password
		c.faults.Addf("the endpoint must begin with https:// or http:// and name a host")
	case u.User != nil:
		c.faults.Addf("the endpoint holds a user name or a password; remove it, AWS does not use it")
	case u.Scheme == "http" && !c.plaintext && !network.Loopback(u.Hostname()):
		c.faults.Addf("the endpoint %q would send the secrets in the clear; use https, or WithPlaintext to allow it", "http://"+u.Host)
	}
}

// readError marks a network failure in the middle of an answer. Decoders report it as a malformed answer.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() } // the SDK decides by this text what to retry
func (e *readError) Unwrap() error { return e.err }

// bounded is an HTTP client that reads at most maxAnswer bytes of a body and marks read failures.
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
