package awssm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/seed-5482dd03/secrets"
)

// renewPause is the minimum time between two renewals of a chain. Each reads the files of the profile and may call STS.
const renewPause = 5 * time.Second

// instanceTimeout bounds how long a call waits for the metadata service. Without one, the SDK tries for 4 or 5 seconds: longer than most
// callers wait, so they would never see the reason. The SDK's cache keeps trying, and the next call uses its result.
const instanceTimeout = 3 * time.Second

// chain provides the credentials of a backend. The SDK reads the files of a profile once, when it builds its provider
// (https://github.com/aws/aws-sdk-go-v2/blob/main/config/resolve_credentials.go). Keys that are rotated on disk need a new provider.
type chain struct {
	// load returns a provider that has cached nothing. It is nil if the provider cannot be replaced.
	load func(context.Context) (aws.CredentialsProvider, error)
	own  bool // built by the backend, not by the program

	mu         sync.Mutex
	provider   aws.CredentialsProvider
	generation int             // of provider
	last       aws.Credentials // from provider
	renewal    chan struct{}   // closed when the running renewal ends; nil if none is running
	renewedAt  time.Time
}

// newChain returns the chain for a provider of the program, or for one that load can rebuild.
func newChain(provider aws.CredentialsProvider, load func(context.Context) (aws.CredentialsProvider, error)) *chain {
	c := &chain{load: load, own: load != nil, provider: provider}
	if cache, ok := provider.(*aws.CredentialsCache); ok && load == nil {
		c.load = func(context.Context) (aws.CredentialsProvider, error) {
			cache.Invalidate()
			return cache, nil
		}
	}
	return c
}

// Retrieve returns the credentials. The SDK calls it for each request that it signs. Its errors are of type credentialsError, which
// distinguishes them from those of the service.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c.mu.Lock()
	provider, generation := c.provider, c.generation
	c.mu.Unlock()
	if sourceOf(provider, c.own) == fromInstance {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, instanceTimeout)
		defer cancel()
	}
	credentials, err := provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err: err, from: sourceOf(provider, c.own)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation {
		c.last = credentials
	}
	return credentials, nil
}

// current returns the generation of the provider.
func (c *chain) current() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.generation
}

// renew replaces the provider of that generation after a call failed without valid credentials. It reports whether there are other
// credentials, with which the call is worth a retry. Concurrent callers share a renewal. If the source is down, the provider and its cache
// stay, unless the source is another one now.
func (c *chain) renew(ctx context.Context, generation int, down bool) bool {
	c.mu.Lock()
	renewal := c.renewal
	switch {
	case c.generation != generation:
		c.mu.Unlock()
		return true
	case renewal != nil:
		c.mu.Unlock()
		select {
		case <-renewal:
			return c.current() != generation
		case <-ctx.Done():
			return false
		}
	case c.load == nil, !c.renewedAt.IsZero() && time.Since(c.renewedAt) < renewPause:
		c.mu.Unlock()
		return false
	}
	renewal = make(chan struct{})
	c.renewal = renewal
	old, refused := c.provider, c.last
	c.mu.Unlock()

	var fresh aws.CredentialsProvider
	var credentials aws.Credentials
	defer func() { // also if the provider panics
		c.mu.Lock()
		defer c.mu.Unlock()
		close(renewal)
		c.renewal, c.renewedAt = nil, time.Now()
		if fresh != nil {
			c.provider, c.last = fresh, credentials
			c.generation++
		}
	}()
	provider, err := c.load(ctx)
	if err != nil || down && sourceOf(provider, c.own) == sourceOf(old, c.own) { // an error may come from a half-written file
		return false
	}
	credentials, err = provider.Retrieve(ctx)
	if err != nil || sameKeys(credentials, refused) {
		return false
	}
	fresh = provider
	return true
}

func sameKeys(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey && a.SessionToken == b.SessionToken
}

// credentialsError marks a failure to get credentials, before the request to the service.
type credentialsError struct {
	err  error
	from source
}

func (e *credentialsError) Error() string { return "no credentials" }
func (e *credentialsError) Unwrap() error { return e.err }

// RetryableError turns off the retries of the call. The source has already retried, and three times three attempts would take longer than
// most callers wait (https://pkg.go.dev/github.com/aws/aws-sdk-go-v2/aws/retry#RetryableError).
func (e *credentialsError) RetryableError() bool { return false }

// failure returns ErrUnavailable for a source of credentials that does not answer, and ErrUnauthenticated for one that has none. If the
// program's provider uses this module, e.err may be an ErrNotFound for the keys. It must not become one for the secret.
//
// A metadata service that does not answer is always ErrUnavailable. A machine outside EC2 looks the same as an instance whose metadata
// service fails for a moment, and the instance must keep its cached values.
func (e *credentialsError) failure() error {
	_, answered := errors.AsType[smithy.APIError](e.err)
	token := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE")
	s := status(e.err)
	found := ""
	if e.from == fromInstance {
		found = "no credentials found; looked at " + lookedAt() + ": "
	}
	switch {
	case e.isOutage(s) && s == http.StatusNotFound:
		return unavailable(found + string(e.from) + " has no role (status 404)")
	case e.isOutage(s):
		return unavailable(found + string(e.from) + " does not answer")
	case e.from == fromInstance && !answered && s == 0:
		return unauthenticated(found + "the metadata service is turned off")
	case s != 0:
		return unauthenticated(fmt.Sprintf("%s%s gives no credentials (status %d); %s", found, e.from, s, e.from.advice()))
	case e.from == fromIdentity && unreadable(token) != "":
		return unauthenticated(fmt.Sprintf("%s gives no credentials: the file %q %s", e.from, token, unreadable(token)))
	default:
		return unauthenticated(found + string(e.from) + " gives no credentials; " + e.from.advice())
	}
}

// isOutage reports whether the source did not answer, or answered that it cannot give credentials at present.
func (e *credentialsError) isOutage(status int) bool {
	api, answered := errors.AsType[smithy.APIError](e.err)
	switch {
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		return true
	case answered:
		return isThrottle(api.ErrorCode()) || api.ErrorCode() == "IDPCommunicationError"
	case status != 0:
		return status == http.StatusNotFound && e.from == fromInstance // it has no role yet
	default:
		return isNetwork(e.err) || isCanceled(e.err) || errors.Is(e.err, secrets.ErrUnavailable)
	}
}

// source names a source of credentials in errors.
type source string

const (
	fromProgram   source = "the program's own source of credentials"
	fromInstance  source = "the metadata service of the instance"
	fromContainer source = "the endpoint of AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI"
	fromIdentity  source = "the web identity of AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN"
	fromToken     source = "the profile's web_identity_token_file and role_arn"
	fromSSO       source = "the profile's SSO session"
	fromLogin     source = "the profile's login session"
	fromProcess   source = "the profile's credential_process"
	fromRole      source = "the profile's role_arn"
	fromKeys      source = "the source of the credentials"
)

// advice returns what to do about a source without credentials.
func (s source) advice() string {
	switch s {
	case fromProgram:
		return "see the provider in WithConfig or WithClient"
	case fromInstance:
		return "give the instance a role, or configure another source"
	case fromContainer:
		return "look at the role of the task or the pod"
	case fromIdentity, fromToken:
		return "look at the token and at the trust policy of the role"
	case fromSSO:
		return "log in with aws sso login"
	case fromLogin:
		return "log in with aws login"
	case fromProcess:
		return "run it by hand"
	case fromRole, fromKeys:
	}
	return "look at the profile, and at the trust policy of the role"
}

// sourceOf returns the source that provider uses.
func sourceOf(provider aws.CredentialsProvider, own bool) source {
	described, ok := provider.(aws.CredentialProviderSource)
	if !own || !ok {
		return fromProgram
	}
	all := described.ProviderSources()
	// A profile with a role has several sources. The role fails most often, then the innermost source.
	for _, s := range []struct {
		kind aws.CredentialSource
		name source
	}{
		{aws.CredentialSourceSTSAssumeRole, fromRole},
		{aws.CredentialSourceIMDS, fromInstance},
		{aws.CredentialSourceHTTP, fromContainer},
		{aws.CredentialSourceEnvVarsSTSWebIDToken, fromIdentity},
		{aws.CredentialSourceProfileSTSWebIDToken, fromToken},
		{aws.CredentialSourceSSO, fromSSO},
		{aws.CredentialSourceSSOLegacy, fromSSO},
		{aws.CredentialSourceLogin, fromLogin},
		{aws.CredentialSourceProcess, fromProcess},
	} {
		if slices.Contains(all, s.kind) {
			return s.name
		}
	}
	return fromKeys
}
