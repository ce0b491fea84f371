package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// The retries of a request, the only retry layer. Longer outages are for the cache above (back-off, stale values) and for the next backend.
const (
	retries      = 2
	minRetryWait = 100 * time.Millisecond
	maxRetryWait = time.Second
)

// server sends requests through the official client, without its convenience functions: they turn many different answers into "not found".
type server struct {
	// client has no token, no retry policy of its own and follows no redirect. A func hides it from reflection-based dumpers: its connections
	// buffer tokens and secrets.
	client    func() *api.Client
	release   func() // closes idle connections of the backend's own transport, or nil
	confirmed *confirmations
}

// newServer returns a server for config, which it changes.
func newServer(config *api.Config, origin *url.URL, peers []string, maxSize int64) (*server, error) {
	config.Address, config.AgentAddress = origin.String(), ""
	config.Timeout = 0 // the context of every call has a deadline
	config.MaxRetries, config.MinRetryWait, config.MaxRetryWait = retries, minRetryWait, maxRetryWait
	config.CheckRetry, config.Backoff = shouldRetry, wait
	config.Logger = nil // it would log addresses
	config.DisableRedirects = true
	config.ReadYourWrites = false
	config.SRVLookup = false // DNS must not choose where the token goes
	config.OutputCurlString, config.OutputPolicy = false, false
	// A separate http.Client: the program's may have a timeout, cookies and a redirect policy that forwards the token.
	config.HttpClient = &http.Client{
		Transport:     &transport{next: config.HttpClient.Transport, origin: origin, peers: peers, maxSize: maxSize},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	// NewClient reads these from the environment, whatever config says.
	client.ClearToken()
	client.ClearNamespace()
	client.SetWrappingLookupFunc(func(_, _ string) string { return "" })
	return &server{client: func() *api.Client { return client }, confirmed: newConfirmations()}, nil
}

// shouldRetry is the official client's retry policy, except for errors of the transport and noRetry contexts.
func shouldRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if own, ok := asOwnError(err); ok {
		return false, own
	}
	if ctx.Value(noRetry{}) != nil {
		return false, nil
	}
	return api.DefaultRetryPolicy(ctx, resp, err)
}

// wait returns the pause before the next attempt. A Retry-After gets the longest pause and no more: a caller is waiting.
func wait(minWait, maxWait time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp != nil && resp.Header.Get("Retry-After") != "" {
		return maxWait
	}
	d := min(maxWait, minWait<<min(attempt, 10)) //nolint:mnd // no overflow
	return d/2 + rand.N(d/2+1)                   // not for security: it only spreads load
}

// as returns a client that sends t.
func (s *server) as(t token) *api.Client {
	return s.client().WithRequestCallbacks(func(r *api.Request) { r.ClientToken = t.value.Reveal() })
}

// get reads path with t. An answer of any status is not an error. If a denial does not say whether the token is at fault, get looks the
// token up.
func (s *server) get(ctx context.Context, t token, path string, query url.Values) (answer, error) {
	a, err := s.send(ctx, t, path, query)
	if err == nil && a.ambiguous() {
		a.token = s.confirmed.of(ctx, s, t)
		err = ctx.Err()
	}
	return a, err
}

// send is get without the look-up of the token.
func (s *server) send(ctx context.Context, t token, path string, query url.Values) (answer, error) {
	resp, err := s.as(t).Logical().ReadRawWithDataWithContext(ctx, path, query)
	if resp == nil {
		return answer{}, requestError(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode < http.StatusBadRequest {
		return answer{}, requestError(ctx, err)
	}
	a := parse(resp.StatusCode, body)
	a.anonymous = t.value.IsZero()
	if a.status == http.StatusTooManyRequests {
		fetchctx.Of(ctx).Origin.Throttle()
	}
	return a, nil
}

// answer is a parsed answer.
type answer struct {
	status    int
	fromVault bool       // it has the form of a Vault answer, which a proxy's lacks
	anonymous bool       // the request had no token
	token     tokenState // of the request's token, if the answer is ambiguous
	errors    []string
	failed    bool // it reports errors, in any form
	warnings  []string
	data      json.RawMessage // nil if there is none, or null
	wrapped   bool
	leased    bool
	lease     time.Duration
}

// parse parses the body of an answer.
func parse(status int, body []byte) answer {
	a := answer{status: status}
	fields, ok := object(body)
	if !ok {
		return a
	}
	_, hasData := fields["data"]
	told := present(fields["errors"]) != nil
	listed := told && decode(fields["errors"], &a.errors)
	if !listed {
		a.errors = nil // it may be partly decoded
	}
	a.failed = told && !listed || len(a.errors) > 0
	a.fromVault = listed || hasData
	a.data = present(fields["data"])
	a.wrapped = present(fields["wrap_info"]) != nil
	decode(fields["warnings"], &a.warnings)
	lease := present(fields["lease_id"])
	a.leased = lease != nil && string(lease) != `""`
	a.lease = seconds(fields["lease_duration"])
	return a
}

// hasText reports whether an error or a warning contains text.
func (a answer) hasText(text string) bool {
	has := func(line string) bool { return strings.Contains(line, text) }
	return slices.ContainsFunc(a.errors, has) || slices.ContainsFunc(a.warnings, has)
}

// object returns the members of the JSON object text by their exact names. An object with a duplicate name is not ok: it is ambiguous, and
// Vault sends none.
func object(text []byte) (members map[string]json.RawMessage, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, false
	}
	members = make(map[string]json.RawMessage)
	for d.More() {
		token, err := d.Token()
		name, isName := token.(string)
		_, twice := members[name]
		var value json.RawMessage
		if err != nil || !isName || twice || d.Decode(&value) != nil {
			return nil, false
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, false
	}
	_, err := d.Token()
	return members, errors.Is(err, io.EOF)
}

// present returns value, or nil for a null.
func present(value json.RawMessage) json.RawMessage {
	if string(value) == "null" {
		return nil
	}
	return value
}

// decode sets v from value, and reports whether the type fits. It drops the error, which quotes the value.
func decode(value json.RawMessage, v any) bool { return json.Unmarshal(value, v) == nil }

// seconds returns a JSON number of seconds as a duration, from 0 to maxLease.
func seconds(value json.RawMessage) time.Duration {
	var n float64
	decode(value, &n)
	return time.Duration(min(max(n, 0), maxLease.Seconds()) * float64(time.Second))
}

// maxLease, a century, bounds leases against overflow.
const maxLease = 100 * 365 * 24 * time.Hour
