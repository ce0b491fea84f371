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

// The retries of a request, the one retry layer there is. What goes on for longer than a moment is for the cache above: its
// back-off, its stale values, the next backend.
const (
	retries      = 2
	retryAtLeast = 100 * time.Millisecond
	retryAtMost  = time.Second
)

// server is the Vault server as this package speaks to it: through the official client, whose conveniences it leaves alone.
// They read many different answers as "nothing there".
type server struct {
	// client has no token, no retries of its own choice, and follows no redirect. It is behind a func, for no dump of a Backend
	// may lead to it: the buffers of its connections hold tokens and secrets.
	client    func() *api.Client
	release   func() // lets go of idle connections that are the backend's own, or nil
	confirmed *confirmations
}

// newServer returns a server for the settings of config, which it changes.
func newServer(config *api.Config, origin *url.URL, peers []string, maxSize int64) (*server, error) {
	config.Address, config.AgentAddress = origin.String(), ""
	config.Timeout = 0 // every call has a context with a deadline
	config.MaxRetries, config.MinRetryWait, config.MaxRetryWait = retries, retryAtLeast, retryAtMost
	config.CheckRetry, config.Backoff = worthRetrying, wait
	config.Logger = nil // it would write addresses
	config.DisableRedirects = true
	config.ReadYourWrites = false
	config.SRVLookup = false // it would send the token to whatever host the DNS names
	config.OutputCurlString, config.OutputPolicy = false, false
	// A client of its own: that of a program may have a timeout, cookies, and a will to follow redirects with the token.
	config.HttpClient = &http.Client{
		Transport:     &transport{next: config.HttpClient.Transport, origin: origin, peers: peers, maxSize: maxSize},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	// NewClient has taken these from the environment, whatever it was told.
	client.ClearToken()
	client.ClearNamespace()
	client.SetWrappingLookupFunc(func(_, _ string) string { return "" })
	return &server{client: func() *api.Client { return client }, confirmed: newConfirmations()}, nil
}

// worthRetrying is the rule of the client, but for what the transport refused.
func worthRetrying(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if own, ok := ofTransport(err); ok {
		return false, own
	}
	if ctx.Value(once{}) != nil {
		return false, nil
	}
	return api.DefaultRetryPolicy(ctx, resp, err)
}

// wait returns how long to wait before another attempt. A server may ask for more time, and does not get it: a caller waits.
func wait(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp != nil && resp.Header.Get("Retry-After") != "" {
		return most
	}
	d := min(most, least<<min(attempt, 10)) //nolint:mnd // beyond any attempt
	return d/2 + rand.N(d/2+1)              // not for security: it only spreads load
}

// as returns a client that sends t.
func (s *server) as(t token) *api.Client {
	return s.client().WithRequestCallbacks(func(r *api.Request) { r.ClientToken = t.value.Reveal() })
}

// get reads path with t. An answer of any status is no error; none is. If it is a denial that leaves open whether the token is at fault,
// the server is asked.
func (s *server) get(ctx context.Context, t token, path string, query url.Values) (answer, error) {
	a, err := s.send(ctx, t, path, query)
	if err == nil && a.open() {
		a.token = s.confirmed.of(ctx, s, t)
		err = ctx.Err()
	}
	return a, err
}

// send is get, of one request.
func (s *server) send(ctx context.Context, t token, path string, query url.Values) (answer, error) {
	resp, err := s.as(t).Logical().ReadRawWithDataWithContext(ctx, path, query)
	if resp == nil {
		return answer{}, unreached(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode < http.StatusBadRequest {
		return answer{}, unreached(ctx, err)
	}
	a := parse(resp.StatusCode, body)
	a.anonymous = t.value.IsZero()
	if a.status == http.StatusTooManyRequests {
		fetchctx.Of(ctx).Origin.Throttle()
	}
	return a, nil
}

// answer is what the server said.
type answer struct {
	status    int
	vaults    bool     // it has the form of an answer of Vault; a proxy's has not
	anonymous bool     // the request had no token
	token     standing // of that of the request, if the answer is open about it
	errors    []string
	failed    bool // it tells of errors, in whatever form
	warnings  []string
	data      json.RawMessage // nil if there is none, or null
	wrapped   bool
	leased    bool
	lease     time.Duration
}

// parse reads body, an answer with that status.
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
		a.errors = nil // it may hold what could be decoded
	}
	a.failed = told && !listed || len(a.errors) > 0
	a.vaults = listed || hasData
	a.data = present(fields["data"])
	a.wrapped = present(fields["wrap_info"]) != nil
	decode(fields["warnings"], &a.warnings)
	lease := present(fields["lease_id"])
	a.leased = lease != nil && string(lease) != `""`
	a.lease = seconds(fields["lease_duration"])
	return a
}

// says reports whether one of the errors, or of the warnings, holds text.
func (a answer) says(text string) bool {
	has := func(line string) bool { return strings.Contains(line, text) }
	return slices.ContainsFunc(a.errors, has) || slices.ContainsFunc(a.warnings, has)
}

// object returns the members of the JSON object text, by their exact names. One that has a name twice is none of Vault's, and not ok:
// nobody knows which of the two counts.
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
	if _, err := d.Token(); err != nil { // the brace
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

// decode sets v from value, and reports whether that is of the right kind. Its errors would quote the value.
func decode(value json.RawMessage, v any) bool { return json.Unmarshal(value, v) == nil }

// seconds returns the duration that value counts in seconds, or 0.
func seconds(value json.RawMessage) time.Duration {
	var n float64
	decode(value, &n)
	return time.Duration(min(max(n, 0), century.Seconds()) * float64(time.Second))
}

// century is longer than every lease.
const century = 100 * 365 * 24 * time.Hour
