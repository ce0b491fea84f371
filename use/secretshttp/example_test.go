package secretshttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

// billing is an API whose key was rotated. It accepts only the new one.
func billing(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer battery-staple" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = io.WriteString(w, "3 invoices")
}

func ExampleTransport() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"billing": `{"api_key":"correct-horse"}`})
	secretsClient, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer secretsClient.Close()
	if _, err := secretsClient.Get(ctx, "billing#api_key"); err != nil { // now it is cached
		fmt.Println(err)
		return
	}
	backend.Set("billing", `{"api_key":"battery-staple"}`) // a rotation
	server := httptest.NewServer(http.HandlerFunc(billing))
	defer server.Close()

	client := &http.Client{Transport: secretshttp.Transport(nil, secretsClient, "billing#api_key",
		func(r *http.Request, s secrets.Secret) error {
			r.Header.Set("Authorization", "Bearer "+s.Reveal())
			return nil
		},
		secretshttp.Hosts(server.URL), // "billing.example.com" for https://billing.example.com
	)}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/invoices", http.NoBody)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := client.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body), err)
	// Output: 200 3 invoices <nil>
}
