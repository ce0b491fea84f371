package awstest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestCredentials(t *testing.T) {
	const id, key, token = "ASIAEXAMPLE", "EXAMPLE-KEY", "session"
	for _, tc := range []struct {
		name           string
		id, key, token string
		expire         bool
		tamper         func(*http.Request)
		code           string
	}{
		{name: "correct", id: id, key: key, token: token},
		{name: "wrong key", id: id, key: key + "x", token: token, code: "InvalidSignatureException"},
		{name: "wrong id", id: id + "X", key: key, token: token, code: "UnrecognizedClientException"},
		{name: "wrong token", id: id, key: key, token: token + "x", code: "UnrecognizedClientException"},
		{name: "no token", id: id, key: key, code: "UnrecognizedClientException"},
		{name: "expired", id: id, key: key, token: token, expire: true, code: "ExpiredTokenException"},
		{name: "body changed", id: id, key: key, token: token, code: "InvalidSignatureException", tamper: func(r *http.Request) {
			r.Body = io.NopCloser(bytes.NewReader([]byte(`{"SecretId":"bd"}`)))
		}},
		{name: "header changed", id: id, key: key, token: token, code: "InvalidSignatureException", tamper: func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "secretsmanager.DeleteSecret")
		}},
		{name: "header added", id: id, key: key, token: token, code: "InvalidSignatureException", tamper: func(r *http.Request) {
			r.Header.Set("X-Amz-Other", "x")
		}},
		{name: "other service", id: id, key: key, token: token, code: "InvalidSignatureException", tamper: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/secretsmanager/", "/ssm/", 1))
		}},
		{name: "old", id: id, key: key, token: token, code: "InvalidSignatureException", tamper: func(r *http.Request) {
			old := time.Now().Add(-6 * time.Minute).UTC()
			now := r.Header.Get("X-Amz-Date")
			r.Header.Set("X-Amz-Date", old.Format("20060102T150405Z"))
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), now[:8], old.Format("20060102"), 1))
		}},
		{name: "from the future", id: id, key: key, token: token, code: "InvalidSignatureException", tamper: func(r *http.Request) {
			later := time.Now().Add(6 * time.Minute).UTC()
			now := r.Header.Get("X-Amz-Date")
			r.Header.Set("X-Amz-Date", later.Format("20060102T150405Z"))
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), now[:8], later.Format("20060102"), 1))
		}},
		{name: "no date", id: id, key: key, token: token, code: "IncompleteSignatureException", tamper: func(r *http.Request) {
			r.Header.Del("X-Amz-Date")
		}},
		{name: "half a signature", id: id, key: key, token: token, code: "IncompleteSignatureException", tamper: func(r *http.Request) {
			r.Header.Set("Authorization", r.Header.Get("Authorization")[:100])
		}},
		{name: "unsigned", id: id, key: key, token: token, code: "MissingAuthenticationTokenException", tamper: func(r *http.Request) {
			r.Header.Del("Authorization")
		}},
		{name: "no target", id: id, key: key, token: token, code: "UnknownOperationException", tamper: func(r *http.Request) {
			r.Header.Del("X-Amz-Target")
		}},
		{name: "target of another service", id: id, key: key, token: token, code: "UnknownOperationException", tamper: func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "AmazonSSM.GetParameter")
		}},
		{name: "other content type", id: id, key: key, token: token, code: "UnknownOperationException", tamper: func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
		}},
		{name: "other path", id: id, key: key, token: token, code: "UnknownOperationException", tamper: func(r *http.Request) {
			r.URL.Path = "/secrets"
		}},
		{name: "GET", id: id, key: key, token: token, code: "UnknownOperationException", tamper: func(r *http.Request) {
			r.Method = http.MethodGet
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			s := awstest.NewServer(t)
			s.SetCredentials(awstest.Credentials{AccessKeyID: id, SecretAccessKey: key, SessionToken: token})
			s.Put("db", "x")
			s.Put("bd", "y")
			c, w := newClient(t, s, func(o *secretsmanager.Options) {
				o.Credentials = credentials.NewStaticCredentialsProvider(tc.id, tc.key, tc.token)
			})
			w.tamper = tc.tamper
			if tc.expire {
				s.ExpireSession()
			}
			value, code, _ := get(t, c, "db")
			is.Equal(code, tc.code)
			is.Equal(value == "x", tc.code == "")
			is.Equal(len(s.Calls()), 1)
			is.Equal(s.Calls()[0].Code, tc.code)
		})
	}
}

func TestNewCredentialsReplaceTheOld(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	s.Put("db", "x")
	c, _ := newClient(t, s)
	s.ExpireSession()
	_, code, _ := get(t, c, "db")
	is.Equal(code, "ExpiredTokenException")
	s.SetCredentials(awstest.Credentials{AccessKeyID: "AKIDNEW", SecretAccessKey: "new", SessionToken: "t"})
	_, code, _ = get(t, c, "db")
	is.Equal(code, "UnrecognizedClientException")
	c, _ = newClient(t, s)
	value, _, _ := get(t, c, "db")
	is.Equal(value, "x")
	last := s.Calls()[2]
	is.Equal(last.AccessKeyID, "AKIDNEW")
}

func TestABodyThatIsNotJSON(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s, func(o *secretsmanager.Options) {
		// The body changes before signing: the signature is valid.
		o.APIOptions = append(o.APIOptions, rewriteBody("{"))
	})
	_, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{})
	code, _, status := apiError(t, err)
	is.Equal(code, "SerializationException")
	is.Equal(status, http.StatusBadRequest)

	c, _ = newClient(t, s, func(o *secretsmanager.Options) {
		o.APIOptions = append(o.APIOptions, rewriteBody(`{"SecretId":"db","SecretString":"x"}`))
	})
	s.Create("db")
	_, err = c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db")})
	code, message, _ := apiError(t, err)
	is.Equal(code, "InvalidRequestException")
	is.Equal(message, "You must provide a ClientRequestToken value. We recommend a UUID-type value.")
}

func TestDenials(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	for _, name := range []string{"prod/a", "prod/b", "dev/a"} {
		s.Put(name, name)
	}
	denial := func(operation, resource string) string {
		return "User: arn:aws:iam::123456789012:user/app is not authorized to perform: secretsmanager:" + operation + resource +
			" because no identity-based policy allows the secretsmanager:" + operation + " action"
	}
	readable := func(ids ...string) (can []string) {
		for _, id := range ids {
			if _, code, message := get(t, c, id); code == "AccessDeniedException" {
				is.Equal(message, denial("GetSecretValue", " on resource: "+id))
			} else {
				can = append(can, id)
			}
		}
		return can
	}
	arn := s.ARN("prod/a")
	is.Equal(len(readable("prod/a", arn, partial(arn), "absent")), 4) // the control

	s.Deny("GetSecretValue", "prod/*")
	is.Equal(readable("prod/a", arn, partial(arn), "prod/absent", partial(arn)+"x", "dev/a", "absent"), []string{"dev/a", "absent"})
	_, values, codes := batch(t, c, "prod/a", arn, "dev/a", "absent")
	is.Equal(values, map[string]string{"dev/a": "dev/a"})
	is.Equal(codes, map[string]string{
		"prod/a": "AccessDeniedException: " + denial("GetSecretValue", " on resource: prod/a"),
		arn:      "AccessDeniedException: " + denial("GetSecretValue", " on resource: "+arn),
		"absent": "ResourceNotFoundException: " + notFound,
	})
	_, err := c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	is.NoErr(err) // DescribeSecret has its own permission

	s.AllowAll()
	s.Deny("GetSecretValue", arn)
	is.Equal(readable("prod/a", arn, "prod/b"), []string{"prod/b"})

	s.AllowAll()
	s.Deny("BatchGetSecretValue")
	is.Equal(readable("prod/a"), []string{"prod/a"})
	_, err = c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"prod/a"}})
	code, message, status := apiError(t, err)
	is.Equal(code, "AccessDeniedException") // the whole call
	is.Equal(message, denial("BatchGetSecretValue", ""))
	is.Equal(status, http.StatusBadRequest)
}

func TestFaultsAsTheSDKSeesThem(t *testing.T) {
	s := awstest.NewServer(t)
	s.Put("db", "canary")
	c, _ := newClient(t, s)
	for _, tc := range []struct {
		name     string
		response *awstest.Response
		code     string
		status   int
		as       any
	}{
		{"throttling", awstest.Fault("ThrottlingException", ""), "ThrottlingException", 400, nil},
		{"limit", awstest.Fault("LimitExceededException", ""), "LimitExceededException", 400, new(*types.LimitExceededException)},
		{"internal", awstest.Fault("InternalServiceError", ""), "InternalServiceError", 500, new(*types.InternalServiceError)},
		{"unavailable", awstest.Fault("ServiceUnavailable", ""), "ServiceUnavailable", 503, nil},
		{"decryption", awstest.Fault("DecryptionFailure", ""), "DecryptionFailure", 400, new(*types.DecryptionFailure)},
		{"empty 503", &awstest.Response{Status: 503}, "UnknownError", 503, nil},
		{"HTML 502", awstest.HTML(502), "", 502, new(*smithy.DeserializationError)},
		{"HTML 200", awstest.HTML(200), "", 0, new(*smithy.DeserializationError)},
		{"truncated", (&awstest.Response{Body: `{"Name":"db","SecretString":"canary"}`}).Truncated(), "", 0, new(*smithy.DeserializationError)},
		{"half of JSON", &awstest.Response{Body: `{"Name":"db","SecretStr`}, "", 0, new(*smithy.DeserializationError)},
		{"reset", &awstest.Response{Reset: true}, "", 0, new(syscall.Errno)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			s.FailNext(1, "GetSecretValue", tc.response)
			_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
			is.True(err != nil)
			if tc.code != "" {
				code, _, status := apiError(t, err)
				is.Equal(code, tc.code)
				is.Equal(status, tc.status)
			}
			if tc.as != nil {
				is.True(errors.As(err, tc.as))
			}
			value, _, _ := get(t, c, "db")
			is.Equal(value, "canary") // the next request succeeds
		})
	}
	t.Run("truncated on the wire", func(t *testing.T) {
		is := is.New(t)
		c, w := newClient(t, s)
		defer s.Recover()
		s.Handle(func(r *awstest.Request) *awstest.Response { return r.Answer().Truncated() })
		_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
		is.True(err != nil)
		is.True(errors.Is(w.broken, io.ErrUnexpectedEOF)) // the connection broke, not only the JSON
		is.True(strings.HasPrefix(w.last(), `{"ARN":`))
	})
	t.Run("an empty 200", func(t *testing.T) {
		is := is.New(t)
		s.FailNext(1, "*", &awstest.Response{})
		out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
		is.NoErr(err) // the trap: a success without a value
		is.Equal(out.SecretString, nil)
		is.Equal(out.SecretBinary, nil)
	})
}

func TestStallsEndWithTheClientOrTheServer(t *testing.T) {
	for name, response := range map[string]*awstest.Response{
		"before the headers": {Stall: true},
		"in the body":        {Body: `{"Name":`, Stall: true},
		"delayed":            {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := awstest.NewServer(t)
			s.Put("db", "x")
			c, _ := newClient(t, s)
			s.FailNext(2, "*", response)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
			is.True(errors.Is(err, context.DeadlineExceeded))

			arrived := make(chan struct{})
			s.Handle(func(*awstest.Request) *awstest.Response { close(arrived); return nil })
			failed := make(chan error)
			go func() {
				_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
				failed <- err
			}()
			<-arrived
			s.Close()
			is.True(<-failed != nil)
			s.Close() // a second Close has no effect
		})
	}
}

func TestWhichFailureApplies(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	for _, name := range []string{"a", "b", "prod/a"} {
		s.Put(name, name)
	}
	codes := func(ids ...string) string {
		var all []string
		for _, id := range ids {
			value, code, _ := get(t, c, id)
			all = append(all, value+code)
		}
		return strings.Join(all, ", ")
	}
	s.Fail("GetSecretValue", awstest.Fault("DecryptionFailure", ""), "a", "prod/*")
	s.FailNext(1, "*", awstest.Fault("ThrottlingException", ""))
	s.FailNext(1, "*", awstest.Fault("InternalServiceError", ""))
	s.FailNext(0, "*", awstest.Fault("ServiceUnavailable", ""))
	is.Equal(codes("b", "a", "b", "a", s.ARN("prod/a")), "ThrottlingException, InternalServiceError, b, DecryptionFailure, DecryptionFailure")
	_, values, failed := batch(t, c, "a", "b", "absent")
	is.Equal(values, map[string]string{"b": "b"})
	is.Equal(failed["a"], "DecryptionFailure: Secrets Manager can't decrypt the protected secret text using the provided KMS key.")

	s.Fail("GetSecretValue", awstest.HTML(502), "b") // a batch cannot report it for one secret
	_, values, _ = batch(t, c, "a", "b")
	is.Equal(values, map[string]string{"b": "b"})

	s.Fail("*", awstest.Fault("EncryptionFailure", ""), "b") // "*" with names does not fail a whole batch
	_, values, failed = batch(t, c, "prod/a", "b", "absent")
	is.Equal(len(values), 0)
	is.Equal(len(failed), 3)
	is.True(strings.HasPrefix(failed["b"], "EncryptionFailure"))

	s.Fail("*", awstest.Fault("InternalServiceError", "")) // the last one applies
	is.Equal(codes("a", "b"), "InternalServiceError, InternalServiceError")
	_, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"b"}})
	is.True(errors.As(err, new(*types.InternalServiceError)))
	s.Recover()
	is.Equal(codes("a", "b"), "a, b")
}

func TestCallsRecordTheRequests(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	s.Put("a", "x")
	c, _ := newClient(t, s, attempts(3))
	s.FailNext(2, "*", awstest.Fault("ThrottlingException", ""))
	value, _, _ := get(t, c, "a")
	is.Equal(value, "x")
	calls := s.Calls()
	is.Equal(len(calls), 3)
	for i, call := range calls {
		is.Equal(call.Operation, "GetSecretValue")
		is.Equal(call.IDs, []string{"a"})
		is.Equal(call.Attempt, i+1)
		is.Equal([]string{call.Region, call.AccessKeyID}, []string{"us-east-1", "AKIDEXAMPLE"})
	}
	is.Equal([]string{calls[0].Code, calls[1].Code, calls[2].Code}, []string{"ThrottlingException", "ThrottlingException", ""})
	is.Equal([]int{calls[0].Status, calls[2].Status}, []int{400, 200})

	batch(t, c, "c", "a", "b")
	is.Equal(s.Calls()[3].IDs, []string{"c", "a", "b"}) // in the order of the request
	is.Equal([]int{s.Count("GetSecretValue"), s.Count("BatchGetSecretValue"), s.Count("*"), s.Count("X")}, []int{3, 1, 4, 0})
	s.ResetCalls()
	is.Equal(s.Count("*"), 0)
}

func TestHooks(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	s.Put("db", "x")
	c, _ := newClient(t, s)

	removeFirst := s.Handle(func(r *awstest.Request) *awstest.Response {
		if r.Operation == "GetRandomPassword" { // the server does not support it
			return &awstest.Response{Body: `{"RandomPassword":"dice"}`}
		}
		return nil
	})
	out, err := c.GetRandomPassword(t.Context(), &secretsmanager.GetRandomPasswordInput{})
	is.NoErr(err)
	is.Equal(*out.RandomPassword, "dice")

	remove := s.Handle(func(r *awstest.Request) *awstest.Response {
		answer := r.Answer()
		answer.Body = strings.Replace(answer.Body, `"x"`, `"y"`, 1)
		answer.Body = strings.Replace(answer.Body, "dice", "coin", 1)
		return answer
	})
	value, _, _ := get(t, c, "db")
	is.Equal(value, "y")
	out, err = c.GetRandomPassword(t.Context(), &secretsmanager.GetRandomPasswordInput{})
	is.NoErr(err)
	is.Equal(*out.RandomPassword, "coin") // the last hook runs first
	remove()
	removeFirst()
	value, _, _ = get(t, c, "db")
	is.Equal(value, "x")
	_, err = c.GetRandomPassword(t.Context(), &secretsmanager.GetRandomPasswordInput{})
	code, _, _ := apiError(t, err)
	is.Equal(code, "UnknownOperationException")

	// A value changes while its answer is under way.
	read, release := make(chan struct{}), make(chan struct{})
	s.Handle(func(r *awstest.Request) *awstest.Response {
		answer := r.Answer()
		close(read)
		<-release
		return answer
	})
	got := make(chan string)
	go func() {
		value, _, _ := get(t, c, "db")
		got <- value
	}()
	<-read
	s.Put("db", "new") // no lock is held
	close(release)
	is.Equal(<-got, "x")
}

func TestTheSDKNeedsOnlySetenv(t *testing.T) {
	is := is.New(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_PROFILE", "nobody") // a developer's machine may have it
	t.Setenv("AWS_SESSION_TOKEN", "old")
	s := awstest.NewServer(t, awstest.WithRegion("eu-central-1"))
	s.Put("db", "x")
	s.Setenv(t)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(&http.Client{Transport: transport}))
	is.NoErr(err)
	value, code, _ := get(t, secretsmanager.NewFromConfig(cfg), "db")
	is.Equal([]string{value, code}, []string{"x", ""})
	is.Equal(s.Calls()[0].Region, "eu-central-1")
}

// fakeTB is a test that counts its failures.
type fakeTB struct {
	testing.TB
	failed int
}

func (f *fakeTB) Helper()               {}
func (f *fakeTB) Cleanup(func())        {}
func (f *fakeTB) Fatalf(string, ...any) { f.failed++ }

func TestMisuseFailsTheTest(t *testing.T) {
	for name, misuse := range map[string]func(s *awstest.Server){
		"no name":    func(s *awstest.Server) { s.Create("a#b") },
		"no secret":  func(s *awstest.Server) { s.Delete("absent") },
		"no pending": func(s *awstest.Server) { s.Promote("db") },
		"no value":   func(s *awstest.Server) { s.PutBinary("db", nil) },
		"no text":    func(s *awstest.Server) { s.Put("db", "\xff") },
		"no region":  func(s *awstest.Server) { s.In("evil.com/#") },
		"no keys":    func(s *awstest.Server) { s.SetCredentials(awstest.Credentials{}) },
		"no size":    func(s *awstest.Server) { s.SetPages(-1) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			tb := &fakeTB{TB: t}
			s := awstest.NewServer(tb)
			defer s.Close()
			s.Put("db", "x")
			is.Equal(tb.failed, 0)
			misuse(s)
			is.Equal(tb.failed, 1)

			s = awstest.New()
			defer s.Close()
			s.Put("db", "x")
			defer func() { is.True(recover() != nil) }()
			misuse(s)
		})
	}
	t.Run("an invalid region option", func(t *testing.T) {
		tb := &fakeTB{TB: t}
		awstest.NewServer(tb, awstest.WithRegion("moon")).Close()
		is.New(t).Equal(tb.failed, 1)
	})
}
