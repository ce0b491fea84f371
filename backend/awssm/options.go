package awssm

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Option configures a [Backend].
type Option func(c *settings)

// settings are what the options say.
type settings struct {
	name      string
	prefix    string
	region    string
	endpoint  string
	plaintext bool
	config    *aws.Config
	client    *secretsmanager.Client
	window    time.Duration // of coalescing, or 0
	single    bool          // never use BatchGetSecretValue
	maxPause  time.Duration // between two attempts; tests shorten it
	faults    faults.List
}

func newSettings(opts []Option) *settings {
	c := &settings{name: "aws", maxPause: maxPause, faults: faults.List{Prefix: "secrets: aws: "}}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	return c
}

// WithName sets the name of the backend in errors and in [secrets.Meta], for a client with two of them. The last one given
// counts. By default, it is "aws".
func WithName(name string) Option {
	return func(c *settings) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithPrefix sets what stands before the path of every key but an ARN, such as "prod/shop/". It is taken as it is, with the
// slash or whatever else is to divide it from the path. The last one given counts. By default, there is none.
func WithPrefix(prefix string) Option {
	return func(c *settings) {
		if fault := checkName(prefix); prefix != "" && fault != "" {
			c.faults.Addf("WithPrefix: %q %s", prefix, fault)
			return
		}
		c.prefix = prefix
	}
}

// WithRegion sets the region. The last one given counts. By default, it is the value of AWS_REGION, or else of
// AWS_DEFAULT_REGION, or else that of the profile; without any, [New] returns an error.
func WithRegion(region string) Option {
	return func(c *settings) {
		if !isRegion(region) {
			c.faults.Addf("WithRegion: %q is not a region", region)
			return
		}
		c.region = region
	}
}

// WithEndpoint sets the URL of the service, for a VPC endpoint or a server of tests. The last one given counts. By default,
// it is that of the region, or AWS_ENDPOINT_URL_SECRETS_MANAGER, or AWS_ENDPOINT_URL.
func WithEndpoint(url string) Option {
	return func(c *settings) {
		if c.endpoint = url; url == "" {
			c.faults.Addf("WithEndpoint: an empty URL")
		}
	}
}

// WithPlaintext allows an endpoint that begins with http:// and is not of this machine. Secrets then cross the network for
// everybody on it to read. By default, [New] returns an error for such an endpoint.
func WithPlaintext() Option { return func(c *settings) { c.plaintext = true } }

// WithConfig sets the configuration of the SDK, of which the backend takes a copy: with its own retries, and without its
// logging. A ClientLogMode that prints bodies or signatures is a fault. [WithRegion] and [WithEndpoint] win over it. The last one given
// counts. By default, New loads the default configuration.
func WithConfig(config aws.Config) Option {
	return func(c *settings) {
		config := config.Copy()
		c.config = &config
	}
}

// WithClient sets the client of the SDK, with its region, its endpoint and its own retries. A ClientLogMode that prints
// bodies or signatures is a fault. The last one given counts.
func WithClient(client *secretsmanager.Client) Option {
	return func(c *settings) {
		if client == nil {
			c.faults.Addf("WithClient: nil")
			return
		}
		c.client = client
	}
}

// maxWindow bounds the window of coalescing: every Get that is not in memory waits for it.
const maxWindow = time.Second

// WithCoalescing makes Gets of different secrets that begin within window of each other share one BatchGetSecretValue. Each
// keeps its own context and its own error. Each of them waits for the window, or until 20 have come.
//
// It pays where many goroutines ask for many secrets one by one and what they cost matters more than the wait. It does not
// help with limits: AWS allows 100 batches a second for an account and region, and 10,000 single reads. Where the program
// knows the keys, secrets.Client.GetMany makes batches without a wait.
//
// The window is at most a second. By default, it is 0: each Get is a call of its own, at once.
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

// WithoutBatch makes the backend read every secret by itself, for a policy that does not allow
// secretsmanager:BatchGetSecretValue: it spares the one call that finds that out. By default, three secrets and more that
// are asked for together are read with one call for each 20 of them.
func WithoutBatch() Option { return func(c *settings) { c.single = true } }
