package awstest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Credentials are the keys that sign requests.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // set for temporary keys; empty for a user's keys
}

// Server is an AWS Secrets Manager on loopback. All its methods are safe for concurrent use; each change is atomic for requests.
//
// If a test misuses a method, for example with an invalid name, a server of [NewServer] fails the test and one of [New] panics.
type Server struct {
	shared *shared
	region string
}

// shared is the state that the servers of all regions share; see [Server.In].
type shared struct {
	http  *httptest.Server
	t     testing.TB // nil if New made the server
	close func()

	mu          sync.Mutex
	credentials Credentials
	expired     bool
	regions     map[string]map[string]*secret // by region, then name
	created     int                           // secrets created so far, for their ARNs
	denials     []rule
	hooks       []*func(*Request) *Response
	next        []*failure
	failures    []*failure
	pages       []int
	repeat      bool
	calls       []*Call
}

// Option configures a [Server].
type Option func(*Server)

// WithRegion sets the region of the server. Default: "us-east-1". The account is always "123456789012".
func WithRegion(region string) Option {
	return func(s *Server) { s.region = region }
}

// NewServer starts a server that stops at the end of the test.
func NewServer(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := start(&shared{t: t}, opts)
	t.Cleanup(s.Close)
	return s
}

// New starts a server outside a test, for example in TestMain. Stop it with [Server.Close].
func New(opts ...Option) *Server { return start(&shared{}, opts) }

var regionPattern = regexp.MustCompile(`^([a-z]+-)+\d+$`) // from the service model

const (
	account   = "123456789012"
	principal = "arn:aws:iam::" + account + ":user/app" // named in denials
)

func start(c *shared, opts []Option) *Server {
	c.credentials = Credentials{ //nolint:gosec // example keys, not real credentials
		AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "EXAMPLE-KEY-wJalrXUtnFEMI-K7MDENG-bPxRfiCY",
	}
	c.regions = make(map[string]map[string]*secret)
	s := &Server{region: "us-east-1", shared: c}
	for _, o := range opts {
		o(s)
	}
	s = s.In(s.region)
	s.shared.http = httptest.NewServer(s.shared)
	s.shared.close = sync.OnceFunc(func() {
		s.shared.http.CloseClientConnections() // ends stalled requests
		s.shared.http.Close()
	})
	return s
}

// misused reports an error in the test.
func (s *Server) misused(format string, args ...any) {
	if s.shared.t == nil {
		panic("awstest: " + fmt.Sprintf(format, args...))
	}
	s.shared.t.Helper()
	s.shared.t.Fatalf("awstest: "+format, args...)
}

// Close breaks the connections of all requests and stops the server. It may be called more than once.
func (s *Server) Close() { s.shared.close() }

// URL returns the address of the server, such as "http://127.0.0.1:34567". It is the endpoint of every region.
func (s *Server) URL() string { return s.shared.http.URL }

// Region returns the region of the server.
func (s *Server) Region() string { return s.region }

// Credentials returns the keys that the server accepts.
func (s *Server) Credentials() Credentials {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return s.shared.credentials
}

// SetCredentials replaces the keys that the server accepts. It ends [Server.ExpireSession].
func (s *Server) SetCredentials(c Credentials) {
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		s.misused("SetCredentials: a key pair is needed")
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.credentials, s.shared.expired = c, false
}

// ExpireSession makes every request fail with ExpiredTokenException, until [Server.SetCredentials].
func (s *Server) ExpireSession() {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.expired = true
}

// In returns the same server in another region. Each region has its own secrets; everything else is shared. A request signed for a region
// that is neither the first one nor returned by In fails with InvalidSignatureException.
func (s *Server) In(region string) *Server {
	if !regionPattern.MatchString(region) {
		s.misused("%q is not a region", region)
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	if s.shared.regions[region] == nil {
		s.shared.regions[region] = make(map[string]*secret)
	}
	return &Server{shared: s.shared, region: region}
}

// Env returns environment variables, as "NAME=value", for the default configuration of an SDK. With them it finds only the server, its
// region and its keys, and no profile or other credentials of the machine. Use it for other processes; in a test, use [Server.Setenv].
func (s *Server) Env() []string {
	c := s.Credentials()
	return []string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.URL(),
		"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=false",
		"AWS_REGION=" + s.region,
		"AWS_DEFAULT_REGION=" + s.region,
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + c.SessionToken,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_PROFILE=",
		"AWS_DEFAULT_PROFILE=",
		"AWS_ROLE_ARN=",
		"AWS_WEB_IDENTITY_TOKEN_FILE=",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=",
		"AWS_CA_BUNDLE=",
		"AWS_USE_FIPS_ENDPOINT=false", // FIPS and a custom endpoint exclude each other
		"AWS_USE_DUALSTACK_ENDPOINT=false",
	}
}

// Setenv sets the variables of [Server.Env] until the test ends. Like t.Setenv, it cannot be used in parallel tests.
func (s *Server) Setenv(t testing.TB) {
	t.Helper()
	for _, v := range s.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

// Call is a request that the server has received.
type Call struct {
	Operation   string   // "GetSecretValue"; empty if the request has none
	IDs         []string // SecretIdList in order, or the SecretId or Name, as requested
	VersionID   string   // of GetSecretValue
	Stage       string   // of GetSecretValue and UpdateSecretVersionStage
	NextToken   string
	Region      string // from the signature
	AccessKeyID string // from the signature
	Attempt     int    // the SDK's attempt number for one call, from 1; 0 if not sent
	Status      int    // of the answer; 0 before the answer, and after a stall or reset without one
	Code        string // AWS error code of the answer, such as "ResourceNotFoundException", or ""
}

// Calls returns the requests so far in order of arrival, including refused and waiting ones.
func (s *Server) Calls() []Call {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	calls := make([]Call, len(s.shared.calls))
	for i, c := range s.shared.calls {
		calls[i] = *c
		calls[i].IDs = slices.Clone(c.IDs)
	}
	return calls
}

// Count returns the number of requests for operation so far, including SDK retries. The operation "*" means all.
func (s *Server) Count(operation string) int {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	n := 0
	for _, c := range s.shared.calls {
		if operation == "*" || operation == c.Operation {
			n++
		}
	}
	return n
}

// ResetCalls clears the records of Calls and Count.
func (s *Server) ResetCalls() {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.calls = nil
}

// Request is a request as passed to a hook of [Server.Handle]. Its signature is valid.
type Request struct {
	Call // without Status and Code

	Header http.Header
	Body   []byte

	ctx    context.Context //nolint:containedctx // the request's own, as in http.Request
	answer func() *Response
}

// Context returns a context that ends when the client leaves or the server closes.
func (r *Request) Context() context.Context { return r.ctx }

// Answer executes the request and returns the answer that it would get without this hook. The hook may change and return that answer, and
// may wait before or after Answer.
func (r *Request) Answer() *Response { return r.answer() }

// bodyLimit exceeds the size of any valid request: a binary value of maximum size, in base64.
const bodyLimit = 1 << 20

const (
	targetPrefix = "secretsmanager."
	contentType  = "application/x-amz-json-1.1"
)

// ServeHTTP answers a request. It is not a method of Server because tests do not need it.
func (c *shared) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
	if err != nil {
		return // the client has left
	}
	call := newCall(r, body)
	c.mu.Lock()
	c.calls = append(c.calls, call)
	seen := *call
	c.mu.Unlock()

	response := c.respond(r, seen, body)
	c.mu.Lock()
	if call.Code = response.code; !response.silent() {
		call.Status = response.status()
	}
	c.mu.Unlock()
	response.write(r.Context(), w)
}

// newCall returns the record of a request, valid or not.
func newCall(r *http.Request, body []byte) *Call {
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	if !ok {
		operation = ""
	}
	call := &Call{Operation: operation}
	for part := range strings.SplitSeq(r.Header.Get("Amz-Sdk-Request"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if n, err := strconv.Atoi(value); err == nil && name == "attempt" {
			call.Attempt = n
		}
	}
	if a, fault := parseAuthorization(r); fault == nil {
		call.Region, call.AccessKeyID = a.region, a.keyID
	}
	var in input
	if json.Unmarshal(body, &in) == nil {
		call.IDs = in.ids()
		call.VersionID, call.Stage, call.NextToken = value(in.VersionID), value(in.VersionStage), value(in.NextToken)
	}
	return call
}

// respond checks what every request needs, then tries the hooks, the failures and the service.
func (c *shared) respond(r *http.Request, call Call, body []byte) *Response {
	if fault := c.refuse(r, call, body); fault != nil {
		return fault
	}
	c.mu.Lock()
	hooks := slices.Clone(c.hooks)
	c.mu.Unlock()
	answer := func() *Response {
		c.mu.Lock()
		defer c.mu.Unlock()
		if failure := c.failing(call.Operation, c.aliases(call.Region, call.IDs)); failure != nil {
			return failure.clone()
		}
		return c.serve(call, body)
	}
	for _, hook := range hooks {
		inner := answer
		answer = func() *Response {
			own := call
			own.IDs = slices.Clone(call.IDs)
			request := &Request{Call: own, Header: r.Header.Clone(), Body: slices.Clone(body), ctx: r.Context(), answer: inner}
			if response := (*hook)(request); response != nil {
				return response.clone()
			}
			return inner()
		}
	}
	return answer()
}

// refuse returns the answer to a request that violates the protocol, or nil.
func (c *shared) refuse(r *http.Request, call Call, body []byte) *Response {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch {
	case r.Method != http.MethodPost, r.URL.Path != "/", call.Operation == "", strings.TrimSpace(media) != contentType:
		return Fault("UnknownOperationException", "")
	case len(body) > bodyLimit:
		return Fault("RequestEntityTooLargeException", "").withStatus(http.StatusRequestEntityTooLarge)
	}
	return c.authenticate(r, body, time.Now())
}
