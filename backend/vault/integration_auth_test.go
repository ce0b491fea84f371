//go:build vault

package vault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// role is a role of an AppRole auth method that reads a store.
type role struct {
	server   *vaultserver.Server
	mount    string // of the auth method
	roleID   string
	secretID string
}

// newRole creates a role for the store s, with these token settings, at an auth method of its own.
func newRole(t testing.TB, s *store, settings map[string]any) *role {
	t.Helper()
	r := &role{server: s.server, mount: unique("team/approle")}
	policy := unique("policy")
	s.server.Must(t, http.MethodPost, "sys/auth/"+r.mount, map[string]any{"type": "approle"})
	s.server.Must(t, http.MethodPut, "sys/policies/acl/"+policy, map[string]any{"policy": s.readable()})
	path := "auth/" + r.mount + "/role/app"
	s.server.Must(t, http.MethodPost, path, settings)
	s.server.Must(t, http.MethodPost, path+"/policies", map[string]any{"token_policies": policy})
	r.roleID = text(t, s.server.Must(t, http.MethodGet, path+"/role-id", nil), "data", "role_id")
	r.secretID = text(t, s.server.Must(t, http.MethodPost, path+"/secret-id", nil), "data", "secret_id")
	return r
}

func (r *role) auth() vault.Option {
	return vault.WithAuth(vault.AppRole(r.roleID, vault.Value(r.secretID), vault.WithAuthMount(r.mount)))
}

// logins and renewals count the requests of r that a recorder has seen.
func (r *role) logins(recorder *vaultserver.Recorder) int {
	return recorder.Count("", "/v1/auth/"+r.mount+"/login")
}

func renewals(recorder *vaultserver.Recorder) int {
	return recorder.Count("", "/v1/auth/token/renew-self")
}

// text returns the string at a path of names in an answer.
func text(t testing.TB, answer map[string]any, path ...string) string {
	t.Helper()
	var at any = answer
	for _, name := range path {
		members, _ := at.(map[string]any)
		at = members[name]
	}
	s, ok := at.(string)
	if !ok {
		t.Fatalf("no text at %v", path)
	}
	return s
}

// tokens returns the tokens that a recorder has seen, in order.
func tokens(recorder *vaultserver.Recorder) []string {
	var all []string
	for _, request := range recorder.Requests() {
		if request.Token != "" && !slices.Contains(all, request.Token) {
			all = append(all, request.Token)
		}
	}
	return all
}

// valid reports whether the server accepts the token.
func valid(t testing.TB, server *vaultserver.Server, token string) bool {
	t.Helper()
	status, _ := server.DoAs(t, token, http.MethodGet, "auth/token/lookup-self", nil)
	return status == http.StatusOK
}

// revoke revokes a token by its accessor, as an operator does.
func revoke(t testing.TB, server *vaultserver.Server, token string) {
	t.Helper()
	answer := server.Must(t, http.MethodPost, "auth/token/lookup", map[string]any{"token": token})
	server.Must(t, http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": text(t, answer, "data", "accessor")})
}

// pauseOfReaders makes 20 reads a second for each reader.
const pauseOfReaders = 50 * time.Millisecond

// A token of two seconds is renewed up to its maximum TTL; then another login replaces it. Both happen before it ends: no read fails.
func TestRealRenewal(t *testing.T) {
	for name, test := range map[string]struct {
		settings         map[string]any
		during           time.Duration
		logins, renewals [2]int // minimum and maximum
	}{
		"without a maximum": {map[string]any{"token_ttl": "2s"}, 10 * time.Second, [2]int{1, 1}, [2]int{6, 9}},
		"periodic":          {map[string]any{"token_period": "2s"}, 5 * time.Second, [2]int{1, 1}, [2]int{3, 5}},
		"with a maximum":    {map[string]any{"token_ttl": "2s", "token_max_ttl": "4s"}, 10 * time.Second, [2]int{3, 7}, [2]int{2, 9}},
		"batch tokens":      {map[string]any{"token_ttl": "2s", "token_type": "batch"}, 6 * time.Second, [2]int{4, 12}, [2]int{0, 0}},
		"one second":        {map[string]any{"token_ttl": "1s"}, 4 * time.Second, [2]int{1, 2}, [2]int{4, 10}},
		"that must not renew itself": {map[string]any{"token_ttl": "2s", "token_no_default_policy": true}, 5 * time.Second, [2]int{3, 6},
			[2]int{1, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			s := newStore(t, shared.Get(t), versionTwo)
			s.put("app", `{"password":"p"}`)
			r := newRole(t, s, test.settings)
			recorder := s.server.Record(t)
			c := client(t, s.backendAt(recorder.Addr, r.auth()))
			readers := keepReading(t, c, 2, pauseOfReaders, "app#password")
			readers.goOn(t, test.during)
			failures := readers.stop()
			reads, _, _ := readers.count()
			logins, renewals := r.logins(recorder), renewals(recorder)
			t.Logf("%d reads in %v, %d of them failed; %d logins and %d renewals", reads, test.during, len(failures), logins, renewals)
			is.Equal(failures, nil)
			is.True(logins >= test.logins[0] && logins <= test.logins[1])
			is.True(renewals >= test.renewals[0] && renewals <= test.renewals[1])
			all := tokens(recorder)
			last, err := all[len(all)-1], c.Close()
			switch {
			case test.settings["token_type"] == "batch": // it cannot be revoked
				is.NoErr(err)
			case test.settings["token_no_default_policy"] == true: // it may not revoke itself
				is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
			default:
				is.NoErr(err)
				is.True(!valid(t, s.server, last))
			}
		})
	}
}

// One login replaces a token that is revoked during reads. No read fails, for any concurrent reader.
func TestRealRevoked(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	r := newRole(t, s, map[string]any{"token_ttl": "1h"})
	recorder := s.server.Record(t)
	c := client(t, s.backendAt(recorder.Addr, r.auth()))
	readers := keepReading(t, c, 8, pauseOfReaders, "app#password")
	readers.goOn(t, 3*time.Second/2) // a token younger than a second is not replaced
	is.Equal(r.logins(recorder), 1)
	first := tokens(recorder)
	is.Equal(len(first), 1)
	revoke(t, s.server, first[0])
	readers.goOn(t, time.Second)
	is.Equal(readers.stop(), nil)
	is.Equal(r.logins(recorder), 2)
	is.Equal(len(tokens(recorder)), 2)
}

// Policies may change after a login: a denial stays a denial and causes no login.
func TestRealDenialAfterLogin(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s, other := newStore(t, shared.Get(t), versionTwo), newStore(t, shared.Get(t), versionTwo)
	r := newRole(t, s, map[string]any{"token_ttl": "1h"})
	recorder := s.server.Record(t)
	c := client(t, other.backendAt(recorder.Addr, r.auth()))
	for range 5 {
		_, err := c.Get(t.Context(), "app#password")
		is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
	}
	is.Equal(r.logins(recorder), 1)
}

func TestRealLoginRefused(t *testing.T) {
	s := newStore(t, shared.Get(t), versionTwo)
	r := newRole(t, s, map[string]any{"token_ttl": "1h"})
	for name, auth := range map[string]*vault.Auth{
		"with a wrong secret ID": vault.AppRole(r.roleID, vault.Value("wrong"), vault.WithAuthMount(r.mount)),
		"with a wrong role ID":   vault.AppRole("wrong", vault.Value(r.secretID), vault.WithAuthMount(r.mount)),
		"at a wrong mount":       vault.AppRole(r.roleID, vault.Value(r.secretID), vault.WithAuthMount("nowhere")),
		"at another method":      vault.AppRole(r.roleID, vault.Value(r.secretID), vault.WithAuthMount("token")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			recorder := s.server.Record(t)
			c := client(t, s.backendAt(recorder.Addr, vault.WithAuth(auth)))
			readers := keepReading(t, c, 4, blink, "app#password")
			readers.goOn(t, 2*time.Second)
			failures := readers.stop()
			reads, _, _ := readers.count()
			is.Equal(len(failures), reads)
			for _, err := range failures {
				is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
				is.True(!strings.Contains(err.Error(), r.secretID))
			}
			logins := recorder.Count("", "/v1/auth/")
			t.Logf("%d reads in 2 s, %d logins: %v", reads, logins, failures[0])
			is.True(logins <= 3)
		})
	}
}

// A secret ID for one login gets one token.
func TestRealSecretIDUsedUp(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	r := newRole(t, s, map[string]any{"token_ttl": "1h", "secret_id_num_uses": 1})
	c := client(t, s.backendAs(r.auth()))
	_, err := c.Get(t.Context(), "app#password")
	is.NoErr(err)
	_, err = client(t, s.backendAs(r.auth())).Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	is.True(strings.Contains(err.Error(), "used up"))
	_, err = c.Get(t.Context(), "app#password")
	is.NoErr(err)
}

// Close revokes the token of a login, and no other token.
func TestRealClose(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	own := s.server.Token(t, s.readable(), nil)
	file := filepath.Join(t.TempDir(), "token")
	is.NoErr(os.WriteFile(file, []byte(own+"\n"), 0o600))
	recorder := s.server.Record(t)
	for _, auth := range []vault.Option{vault.WithToken(own), vault.WithTokenFile(file), newRole(t, s, nil).auth()} {
		recorder.Reset()
		c := client(t, s.backendAt(recorder.Addr, auth))
		_, err := c.Get(t.Context(), "app#password")
		is.NoErr(err)
		all := tokens(recorder)
		is.Equal(len(all), 1)
		is.True(valid(t, s.server, all[0]))
		is.NoErr(c.Close())
		is.Equal(valid(t, s.server, all[0]), all[0] == own)
		_, err = c.Get(t.Context(), "app#password")
		is.Equal(secrets.Class(err), secrets.ErrClosed)
	}
}

// The token file is read at each request, such as the sink of an agent that logs in anew.
func TestRealTokenFile(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	file := filepath.Join(t.TempDir(), "token")
	sink := func(token string) { // a new file replaces the old one, as the agent does it
		t.Helper()
		is.NoErr(os.WriteFile(file+".new", []byte(token), 0o600))
		is.NoErr(os.Rename(file+".new", file))
	}
	c := client(t, s.backendAs(vault.WithTokenFile(file)))
	get := func() error {
		_, err := c.Get(t.Context(), "app#password")
		return err
	}
	is.Equal(secrets.Class(get()), secrets.ErrUnavailable) // the agent has not written it yet
	first, second := s.server.Token(t, s.readable(), nil), s.server.Token(t, s.readable(), nil)
	sink(first)
	is.NoErr(get())
	revoke(t, s.server, first)
	is.Equal(secrets.Class(get()), secrets.ErrUnauthenticated)
	sink(second + "\n")
	is.NoErr(get())

	// The token changes during reads: no read uses the old one after its revocation.
	readers := keepReading(t, c, 4, blink, "app#password")
	for range 5 {
		readers.goOn(t, 100*time.Millisecond)
		sink(s.server.Token(t, s.readable(), nil))
		readers.goOn(t, 100*time.Millisecond)
		revoke(t, s.server, second)
		content, err := os.ReadFile(file)
		is.NoErr(err)
		second = string(content)
	}
	is.Equal(readers.stop(), nil)
}

// signer signs tokens as an identity provider does.
type signer struct {
	key *ecdsa.PrivateKey
	pem string // the public key
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key: key, pem: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}
}

// sign returns claims as a JWT, signed with ES256.
func (s *signer) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		content, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(content)
	}
	signed := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(claims)
	hash := sha256.Sum256([]byte(signed))
	r, ss, err := ecdsa.Sign(rand.Reader, s.key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	const half = 32
	signature := slices.Concat(r.FillBytes(make([]byte, half)), ss.FillBytes(make([]byte, half)))
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestRealJWT(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	issuer, mount, policy := newSigner(t), unique("jwt"), unique("policy")
	s.server.Must(t, http.MethodPut, "sys/policies/acl/"+policy, map[string]any{"policy": s.readable()})
	s.server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "jwt"})
	s.server.Must(t, http.MethodPost, "auth/"+mount+"/config", map[string]any{
		"jwt_validation_pubkeys": issuer.pem, "default_role": "app",
	})
	s.server.Must(t, http.MethodPost, "auth/"+mount+"/role/app", map[string]any{
		"role_type": "jwt", "bound_audiences": "vault", "user_claim": "sub", "token_policies": policy, "token_ttl": "1h",
	})
	claims := func(aud string, end time.Duration) map[string]any {
		now := time.Now()
		return map[string]any{"sub": "runner", "aud": aud, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(end).Unix()}
	}
	good := issuer.sign(t, claims("vault", time.Minute))
	for name, test := range map[string]struct {
		role, token string
		class       error
	}{
		"good":                {"app", good, nil},
		"of the default role": {"", good, nil},
		"of no role":          {"none", good, secrets.ErrUnauthenticated},
		"of another audience": {"app", issuer.sign(t, claims("other", time.Minute)), secrets.ErrUnauthenticated},
		"expired":             {"app", issuer.sign(t, claims("vault", -time.Hour)), secrets.ErrUnauthenticated},
		"of another issuer":   {"app", newSigner(t).sign(t, claims("vault", time.Minute)), secrets.ErrUnauthenticated},
		"no JWT at all":       {"app", "canary-no-token", secrets.ErrUnauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			auth := vault.WithAuth(vault.JWT(test.role, vault.Value(test.token), vault.WithAuthMount(mount)))
			_, err := client(t, s.backendAs(auth)).Get(t.Context(), "app#password")
			if test.class == nil {
				is.NoErr(err)
				return
			}
			is.Equal(secrets.Class(err), test.class)
			is.True(!strings.Contains(err.Error(), test.token))
		})
	}
}

// cluster is the TokenReview API of a Kubernetes cluster.
type cluster struct {
	*httptest.Server
	mu      sync.Mutex
	current string   // the only valid token
	seen    []string // the reviewed tokens
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{}
	c.Server = httptest.NewServer(http.HandlerFunc(c.review))
	t.Cleanup(c.Close)
	return c
}

func (c *cluster) review(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Spec struct {
			Token string `json:"token"`
		} `json:"spec"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, review.Spec.Token)
	status := map[string]any{"authenticated": false, "error": "invalid bearer token"}
	if review.Spec.Token == c.current {
		status = map[string]any{"authenticated": true, "audiences": []string{"vault"}, "user": map[string]any{
			"username": "system:serviceaccount:shop:web", "uid": "uid-of-web",
			"groups": []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"},
		}}
	}
	answer, _ := json.Marshal(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(answer)
}

// accept makes token the valid one.
func (c *cluster) accept(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = token
}

// reviewed returns the tokens that were reviewed so far.
func (c *cluster) reviewed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// The service account token is read anew for each login, so a token that the kubelet has replaced is used.
func TestRealKubernetes(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	kube, issuer, mount, policy := newCluster(t), newSigner(t), unique("kubernetes"), unique("policy")
	s.server.Must(t, http.MethodPut, "sys/policies/acl/"+policy, map[string]any{"policy": s.readable()})
	s.server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "kubernetes"})
	s.server.Must(t, http.MethodPost, "auth/"+mount+"/config", map[string]any{
		"kubernetes_host": kube.URL, "token_reviewer_jwt": issuer.sign(t, map[string]any{"sub": "reviewer"}), "disable_local_ca_jwt": true,
	})
	s.server.Must(t, http.MethodPost, "auth/"+mount+"/role/web", map[string]any{
		"bound_service_account_names": "web", "bound_service_account_namespaces": "shop",
		"token_policies": policy, "token_ttl": "1h", "audience": "vault",
	})
	file := filepath.Join(t.TempDir(), "token")
	project := func(serial int) string {
		token := issuer.sign(t, map[string]any{
			"aud": []string{"vault"}, "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:shop:web",
			"exp": time.Now().Add(time.Hour).Unix(), "nbf": time.Now().Unix(), "iat": time.Now().Unix(), "serial": serial,
			"kubernetes.io": map[string]any{
				"namespace":      "shop",
				"serviceaccount": map[string]any{"name": "web", "uid": "uid-of-web"},
			},
		})
		is.NoErr(os.WriteFile(file, []byte(token+"\n"), 0o600))
		kube.accept(token)
		return token
	}
	recorder := s.server.Record(t)
	auth := vault.Kubernetes("web", vault.WithAuthMount(mount), vault.WithServiceAccountToken(vault.File(file)))
	c := client(t, s.backendAt(recorder.Addr, vault.WithAuth(auth)))
	_, err := c.Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // there is no file yet

	first := project(1)
	_, err = c.Get(t.Context(), "app#password")
	is.NoErr(err)
	readers := keepReading(t, c, 2, blink, "app#password")
	readers.goOn(t, 3*time.Second/2)
	second := project(2)
	got := tokens(recorder)
	is.Equal(len(got), 1)
	revoke(t, s.server, got[0])
	readers.goOn(t, time.Second/2)
	is.Equal(readers.stop(), nil)
	is.Equal(kube.reviewed(), []string{first, second})

	kube.accept("no other")
	_, err = client(t, s.backendAs(vault.WithAuth(auth))).Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	is.True(!strings.Contains(err.Error(), second))
}

// The variables of a login suffice, without code.
func TestRealVariables(t *testing.T) {
	eachVersion(t, func(t *testing.T, s *store) {
		is := is.New(t)
		s.put("app", `{"password":"p"}`)
		r := newRole(t, s, map[string]any{"token_ttl": "1m"})
		b, err := vault.New(environment(map[string]string{
			"VAULT_ADDR": s.server.Addr, "VAULT_MOUNT": s.mount, "VAULT_AUTH_METHOD": "approle", "VAULT_AUTH_PATH": r.mount,
			"VAULT_ROLE_ID": r.roleID, "VAULT_SECRET_ID": r.secretID,
		}))
		is.NoErr(err)
		got, err := client(t, b).Get(t.Context(), "app#password")
		is.NoErr(err)
		is.Equal(got.Reveal(), "p")
	})
}
