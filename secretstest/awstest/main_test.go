package awstest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a transport that records traffic and may change signed requests.
type wire struct {
	transport *http.Transport
	tamper    func(*http.Request)

	mu     sync.Mutex
	bodies []string
	header http.Header
	broken error // from reading the last body
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.tamper != nil {
		w.tamper(r)
	}
	res, err := w.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err == nil {
		res.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failingReader{err}))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bodies, w.header, w.broken = append(w.bodies, string(body)), res.Header, err
	return res, nil // reading the body returns the error
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// last returns the body of the last answer.
func (w *wire) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bodies[len(w.bodies)-1]
}

// newClient returns an SDK client of the server without retries, unless options change that.
func newClient(t *testing.T, s *awstest.Server, options ...func(*secretsmanager.Options)) (*secretsmanager.Client, *wire) {
	t.Helper()
	w := &wire{transport: &http.Transport{}}
	t.Cleanup(w.transport.CloseIdleConnections)
	c := s.Credentials()
	o := secretsmanager.Options{
		BaseEndpoint: aws.String(s.URL()),
		Region:       s.Region(),
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
		HTTPClient:   &http.Client{Transport: w},
		Retryer:      aws.NopRetryer{},
	}
	return secretsmanager.New(o, options...), w
}

func attempts(n int) func(*secretsmanager.Options) {
	return func(o *secretsmanager.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = n
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
}

// get returns the text of a secret, or the code and message of the error.
func get(t *testing.T, c *secretsmanager.Client, id string) (value, code, message string) {
	t.Helper()
	out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		code, message, _ = apiError(t, err)
		return "", code, message
	}
	return aws.ToString(out.SecretString), "", ""
}

// apiError returns the code, message and status of an SDK error.
func apiError(t *testing.T, err error) (code, message string, status int) {
	t.Helper()
	is := is.New(t)
	is.True(err != nil) // the call must fail
	var api smithy.APIError
	is.True(errors.As(err, &api)) // with an error from the service
	var response interface{ HTTPStatusCode() int }
	is.True(errors.As(err, &response))
	return api.ErrorCode(), api.ErrorMessage(), response.HTTPStatusCode()
}
