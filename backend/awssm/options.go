package awssm

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Option configures a [Backend].
type Option func(c *settings)

// settings collects the options.
type settings struct {
	name      string
	prefix    string
	region    string
	endpoint  string
	plaintext bool
	config    *aws.Config
	client    *secretsmanager.Client
	window    time.Duration // of WithCoalescing, or 0
	single    bool          // see WithoutBatch
	maxPause  time.Duration // between two attempts; tests shorten it
	faults    faults.List
}

func newSettings(opts []Option) *settings {
	c := &settings{name: "aws", maxPause: maxPause, faults: faults.List{Prefix: "secrets: aws: "}}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	return c
}

// WithName sets the name of the backend in errors and in [secrets.Meta], for a client with two AWS backends. The last call counts.
// Default: "aws".
func WithName(name string) Option {
	return func(c *settings) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithPrefix sets the prefix of all secret names, such as "prod/shop/". It is used verbatim: include the slash, or another separator. Keys
// that are ARNs get no prefix. The last call counts. Default: no prefix.
func WithPrefix(prefix string) Option {
	return func(c *settings) {
		if fault := checkName(prefix); prefix != "" && fault != "" {
			c.faults.Addf("WithPrefix: %q %s", prefix, fault)
			return
		}
		c.prefix = prefix
	}
}

// WithRegion sets the region. The last call counts. Default: AWS_REGION, then AWS_DEFAULT_REGION, then the region of the profile. Without
// any, [New] returns an error.
func WithRegion(region string) Option {
	return func(c *settings) {
		if !isRegion(region) {
			c.faults.Addf("WithRegion: %q is not a region", region)
			return
		}
		c.region = region
	}
}

// WithEndpoint sets the URL of the service, for a VPC endpoint or a test server. The last call counts. Default:
// AWS_ENDPOINT_URL_SECRETS_MANAGER, then AWS_ENDPOINT_URL, then the endpoint of the region.
func WithEndpoint(url string) Option {
	return func(c *settings) {
		if c.endpoint = url; url == "" {
			c.faults.Addf("WithEndpoint: an empty URL")
		}
	}
}

// WithPlaintext allows an http:// endpoint on another machine. Everybody on the network can then read the secrets. Default: [New] returns
// an error for such an endpoint.
func WithPlaintext() Option { return func(c *settings) { c.plaintext = true } }

// WithConfig sets the configuration of the SDK. The backend uses a copy, with its own retries and without logging. A ClientLogMode that
// logs bodies or signatures is an error of [New]. [WithRegion] and [WithEndpoint] override the configuration. The last call counts.
// Default: the default configuration of the SDK.
func WithConfig(config aws.Config) Option {
	return func(c *settings) {
		config := config.Copy()
		c.config = &config
	}
}

// WithClient sets the client of the SDK, with its region, endpoint and retries. A ClientLogMode that logs bodies or signatures is an error
// of [New], and so are [WithConfig], [WithRegion] and [WithEndpoint] together with it. The last call counts. Default: a new client.
func WithClient(client *secretsmanager.Client) Option {
	return func(c *settings) {
		if client == nil {
			c.faults.Addf("WithClient: nil")
			return
		}
		c.client = client
	}
}

// maxWindow bounds the window of coalescing: every Get that is not cached waits for it.
const maxWindow = time.Second

// WithCoalescing makes concurrent Gets of different secrets share one BatchGetSecretValue. Each Get waits for window, or until 20 Gets
// wait. Each keeps its own context and error.
//
// Use it if many goroutines read many secrets one by one, and the number of calls matters more than the wait. It does not help with rate
// limits: AWS allows 100 batches a second for an account and region, and 10,000 single reads. If the program knows the keys,
// secrets.Client.GetMany makes batches without a wait.
//
// The window is at most one second. Default: 0, each Get is a call without a wait.
func WithCoalescing(window time.Duration) Option {
	return func(c *settings) {
		if window < 0 || window > maxWindow {
			c.faults.Addf("WithCoalescing: %v is not from 0 to %v", window, maxWindow)
			return
		}
		c.faults.CheckDuration("WithCoalescing", window)
		c.window = window
	}
}

// WithoutBatch makes the backend read every secret with a call of its own. Use it if the policy does not allow
// secretsmanager:BatchGetSecretValue: it avoids the one call that is denied. Default: a GetMany of three secrets or more makes one call per
// 20 secrets.
func WithoutBatch() Option { return func(c *settings) { c.single = true } }
