package awssm_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// keyFile returns the file that a tool writes when it rotates keys.
func keyFile(c awstest.Credentials) string {
	return fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n",
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// byRename replaces a file by a rename.
func byRename(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// onDisk returns a server with a secret, a backend that gets its credentials from files, and the path of the credentials file.
func onDisk(t *testing.T, vars map[string]string) (server *awstest.Server, b *awssm.Backend, path string) {
	t.Helper()
	server = awstest.NewServer(t)
	server.Put("db", "value")
	hermetic(t, map[string]string{"AWS_REGION": server.Region()})
	for name, value := range vars {
		t.Setenv(name, value)
	}
	path = os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	write(t, path, keyFile(server.Credentials()))
	b, err := awssm.New(t.Context(), awssm.WithEndpoint(server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	return server, b, path
}

// The keys in a file are rotated under a running program, and the old ones stop working.
func TestKeysThatAreRotatedOnDiskAreUsed(t *testing.T) {
	newer := awstest.Credentials{AccessKeyID: "AKIDNEWER", SecretAccessKey: "NEWER", SessionToken: "NEWER-TOKEN"}
	for name, replace := range map[string]func(*testing.T, string, string){"by rename": byRename, "in place": write} {
		for kind, end := range map[string]func(s *awstest.Server){
			"unknown": func(s *awstest.Server) { s.SetCredentials(newer) },
			"signature": func(s *awstest.Server) {
				s.SetCredentials(awstest.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "NEWER"})
			},
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				is := is.New(t)
				server, b, path := onDisk(t, nil)
				_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
				is.NoErr(err)
				end(server)
				replace(t, path, keyFile(server.Credentials()))
				server.ResetCalls()
				_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
				is.NoErr(err)
				is.Equal(server.Count("*"), 2) // the refused call, and one with the new keys
				_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
				is.NoErr(err)
				is.Equal(server.Count("*"), 3)
			})
		}
	}
}

// Every error code for refused keys makes the backend load new ones. A denial does not.
func TestEveryRefusalOfKeysLoadsNewOnes(t *testing.T) {
	for code, renewed := range map[string]bool{
		"ExpiredToken": true, "ExpiredTokenException": true, "InvalidClientTokenId": true, "UnrecognizedClientException": true,
		"SignatureDoesNotMatch": true, "InvalidSignatureException": true, "AuthFailure": true,
		"AccessDeniedException": false, "RequestTimeTooSkewed": false, "ResourceNotFoundException": false, "InternalServiceError": false,
	} {
		t.Run(code, func(t *testing.T) {
			is := is.New(t)
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.Header.Get("Authorization"), "AKIDNEWER") {
					_, _ = w.Write([]byte(`{"Name":"db","SecretString":"value"}`)) // the client may hang up
					return
				}
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, `{"__type":%q}`, code)
			}))
			defer service.Close()
			_, _, path := onDisk(t, nil)
			b, err := awssm.New(t.Context(), awssm.WithEndpoint(service.URL), awssm.WithMaxPause(time.Millisecond))
			is.NoErr(err)
			write(t, path, keyFile(awstest.Credentials{AccessKeyID: "AKIDNEWER", SecretAccessKey: "x"}))
			_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
			is.Equal(err == nil, renewed)
		})
	}
}

// The control: the backend does not replace the keys of the program.
func TestKeysOfTheProgramAreNotReadFromDisk(t *testing.T) {
	is := is.New(t)
	server, _, path := onDisk(t, nil)
	old := server.Credentials()
	cfg := config()
	cfg.Region, cfg.Credentials = server.Region(), credentials.NewStaticCredentialsProvider(old.AccessKeyID, old.SecretAccessKey, "")
	b := backend(t, server.URL(), awssm.WithConfig(cfg))
	server.SetCredentials(awstest.Credentials{AccessKeyID: "AKIDNEWER", SecretAccessKey: "NEWER"})
	write(t, path, keyFile(server.Credentials()))
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.True(errors.Is(err, secrets.ErrUnauthenticated))
	is.Equal(server.Count("*"), 1)
}

// The SDK caches credentials until they expire. After a refusal, the program's own provider is called again.
func TestAProviderOfTheProgramIsCalledAgainAfterARefusal(t *testing.T) {
	is := is.New(t)
	server, _, _ := service(t, 0)
	server.Put("db", "value")
	cfg := config()
	cfg.Region, cfg.Credentials = server.Region(), aws.NewCredentialsCache(keys(server))
	b := backend(t, server.URL(), awssm.WithConfig(cfg))
	for _, key := range []string{"AKIDEXAMPLE", "AKIDNEWER"} {
		server.SetCredentials(awstest.Credentials{AccessKeyID: key, SecretAccessKey: "x"})
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
		is.NoErr(err)
	}
}

// A program may start before its credentials exist.
func TestKeysThatAppearLaterAreUsed(t *testing.T) {
	is := is.New(t)
	server, _, path := onDisk(t, nil)
	is.NoErr(os.Remove(path))
	b, err := awssm.New(t.Context(), awssm.WithEndpoint(server.URL()))
	is.NoErr(err)
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.True(errors.Is(err, secrets.ErrUnauthenticated)) // the control

	b, err = awssm.New(t.Context(), awssm.WithEndpoint(server.URL()))
	is.NoErr(err)
	write(t, path, keyFile(server.Credentials()))
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.NoErr(err)
}

// Kubernetes rotates the file of a web identity every hour.
func TestATokenThatIsRotatedOnDiskIsUsed(t *testing.T) {
	is := is.New(t)
	server, _, _ := service(t, 0)
	server.Put("db", "value")
	var sent []string
	sts := stsServer(t, func(r *http.Request) awstest.Credentials {
		sent = append(sent, r.FormValue("WebIdentityToken"))
		return server.Credentials()
	})
	token := filepath.Join(t.TempDir(), "token")
	hermetic(t, map[string]string{"AWS_REGION": server.Region(), "AWS_ENDPOINT_URL_STS": sts, "AWS_WEB_IDENTITY_TOKEN_FILE": token,
		"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/app"})
	b, err := awssm.New(t.Context(), awssm.WithEndpoint(server.URL()))
	is.NoErr(err)
	for _, text := range []string{"first", "second"} {
		byRename(t, token, text)
		server.SetCredentials(awstest.Credentials{AccessKeyID: "AKID" + text, SecretAccessKey: "x", SessionToken: "y"})
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
		is.NoErr(err)
	}
	is.Equal(sent, []string{"first", "second"})
}

// Many concurrent refusals load the credentials once, and no call is repeated with the same keys.
func TestManyRefusalsLoadCredentialsOnce(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	log := filepath.Join(t.TempDir(), "log")
	hermetic(t, map[string]string{"AWS_REGION": server.Region()})
	c := server.Credentials()
	write(t, os.Getenv("AWS_CONFIG_FILE"), fmt.Sprintf("[default]\ncredential_process = sh -c 'echo run >> %s; echo "+
		`"{\"Version\":1,\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"%s\"}"`+"'\n", log, c.AccessKeyID, c.SecretAccessKey))
	b, err := awssm.New(t.Context(), awssm.WithEndpoint(server.URL()))
	is.NoErr(err)
	server.Put("db", "value")
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.NoErr(err)
	server.ExpireSession()
	server.ResetCalls()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"}); !errors.Is(err, secrets.ErrUnauthenticated) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	is.Equal(server.Count("*"), 100)
	runs, err := os.ReadFile(log)
	is.NoErr(err)
	is.Equal(strings.Count(string(runs), "run"), 2) // the first run, and one renewal
}

// All calls that are refused at a rotation succeed with the new keys, in batches too.
func TestManyCallsSucceedAtARotation(t *testing.T) {
	is := is.New(t)
	server, b, path := onDisk(t, nil)
	names := []string{"db"}
	for i := range 40 {
		names = append(names, fmt.Sprint("n", i))
		server.Put(names[i+1], "value")
	}
	cl := client(t, b)
	_, err := cl.GetMany(t.Context(), names...)
	is.NoErr(err)
	server.SetCredentials(awstest.Credentials{AccessKeyID: "AKIDNEWER", SecretAccessKey: "x"})
	byRename(t, path, keyFile(server.Credentials()))
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			if _, err := b.Fetch(t.Context(), secrets.Ref{Path: name}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		if _, err := cl.GetMany(t.Context(), names...); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
}

// A half-written file does not replace the keys, which are still valid.
func TestAHalfWrittenFileChangesNothing(t *testing.T) {
	for _, text := range []string{"", "[default]\naws_access_key_id = AKID", "[defau"} {
		is := is.New(t)
		server, b, path := onDisk(t, nil)
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
		is.NoErr(err)
		write(t, path, text)
		server.FailNext(1, "*", awstest.Fault("ExpiredTokenException", ""))
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
		is.True(errors.Is(err, secrets.ErrUnauthenticated))
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
		is.NoErr(err)
	}
}
