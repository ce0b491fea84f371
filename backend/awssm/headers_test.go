package awssm_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// HTTP tracing puts a hook into the context that receives every header of a request: the session token and, for the credentials endpoint of
// a container, its authorization token.
func TestNoHookOfACallerSeesTheCredentials(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	for i := range 3 {
		server.Put(fmt.Sprint("n", i), "value")
	}
	server.SetCredentials(awstest.Credentials{AccessKeyID: "AKIDCONTAINER", SecretAccessKey: "x", SessionToken: canary})
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != canary {
			t.Error("the endpoint got no token")
		}
		_, _ = fmt.Fprintf(w, `{"AccessKeyId":"AKIDCONTAINER","SecretAccessKey":"x","Token":%q,"Expiration":"2099-01-01T00:00:00Z"}`, canary)
	}))
	t.Cleanup(agent.Close)
	hermetic(t, map[string]string{"AWS_REGION": server.Region(), "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.URL,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN": canary})
	b, err := awssm.New(t.Context(), awssm.WithEndpoint(server.URL()))
	is.NoErr(err)

	var mu sync.Mutex
	seen := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaderField: func(string, []string) {
		mu.Lock()
		defer mu.Unlock()
		seen++
	}})
	_, err = b.Fetch(ctx, secrets.Ref{Path: "n0"})
	is.NoErr(err)
	for _, r := range b.Call(ctx, "n0", "n1", "n2") {
		is.NoErr(r.Err)
	}
	is.Equal(server.Count(getMany), 1)
	is.Equal(seen, 0)

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, agent.URL, http.NoBody) // the control
	is.NoErr(err)
	request.Header.Set("Authorization", canary)
	response, err := agent.Client().Do(request)
	is.NoErr(err)
	is.NoErr(response.Body.Close())
	is.True(seen > 0)
}
