package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	awsv1 "github.com/aws/aws-sdk-go/aws"
	credentialsv1 "github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	smv1 "github.com/aws/aws-sdk-go/service/secretsmanager"
	"github.com/aws/aws-secretsmanager-caching-go/secretcache"
	"github.com/hashicorp/vault/api"
	"github.com/viccon/sturdyc"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

// target is a server with a secret for each reader, and the clients that can read them.
type target struct {
	wire    *wire
	url     string
	clients []remote
	fail    func() // every request with the status 500
	recover func()
	count   func() int // the requests that the server has seen

	aws   *awstest.Server
	vault *vaulttest.Server
}

// remote is a client of a server. It is opened in a bubble, and done must be called there.
type remote struct {
	name string
	open func(t *testing.T, at *target) (get read, done func())
}

func awsTarget(t *testing.T) *target {
	t.Helper()
	server := awstest.NewServer(t)
	server.Setenv(t) // or a CA bundle of whoever runs this would count
	for i := range readers {
		server.Put(secretName(i), valueOf(secretName(i)))
	}
	return &target{
		wire: newWire(t, resign(server)), url: server.URL(), clients: awsClients(), aws: server,
		fail:    func() { server.Fail("*", awstest.Fault("InternalServiceError", "")) },
		recover: server.Recover,
		count:   func() int { return server.Count("*") },
	}
}

func vaultTarget(t *testing.T) *target {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "VAULT_") {
			t.Setenv(name, "")
		}
	}
	server := vaulttest.New(t)
	for i := range readers {
		server.Put("secret/"+secretName(i), fmt.Sprintf(`{"value":%q}`, valueOf(secretName(i))))
	}
	return &target{
		wire: newWire(t, nil), url: server.Address(), clients: vaultClients(), vault: server,
		fail:    func() { server.Fail(http.StatusInternalServerError) },
		recover: server.Recover,
		count: func() (n int) {
			for i := range readers {
				n += server.Count("secret/" + secretName(i))
			}
			return n
		},
	}
}

// defaultTTL is the default TTL of this module's client.
const defaultTTL = 5 * time.Minute

func awsClients() []remote {
	return []remote{
		{"aws-sdk-go-v2, no cache", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			return awsSDK(at), func() {}
		}},
		{"aws-secretsmanager-caching-go, default TTL 1 h", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			return awsCaching(t, at, secretcache.DefaultCacheItemTTL), func() {}
		}},
		{"aws-secretsmanager-caching-go, TTL 5 min", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			return awsCaching(t, at, defaultTTL), func() {}
		}},
		{"sturdyc, TTL 5 min", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			return sturdy(awsSDK(at), defaultTTL), func() {}
		}},
		{"sturdyc, TTL 65 min, early refreshes after 4 to 5 min", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			// The third time is when a refresh becomes synchronous: not before the TTL.
			early := sturdyc.WithEarlyRefreshes(4*time.Minute, defaultTTL, time.Hour+defaultTTL, 100*time.Millisecond)
			return sturdy(awsSDK(at), time.Hour+defaultTTL, early), func() { time.Sleep(2 * deadline) } // for refreshes under way
		}},
		{"**secrets**, `Standard`", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			return ours(t, awsBackend(t, at), "", middleware.Standard())
		}},
		{"**secrets**, `Standard`, TTL 1 h", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			return ours(t, awsBackend(t, at), "", middleware.Standard(cache.WithTTL(time.Hour)))
		}},
	}
}

func vaultClients() []remote {
	return []remote{
		{"hashicorp/vault/api, no cache", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			config := api.DefaultConfig()
			config.Address, config.HttpClient = at.url, &http.Client{Transport: at.wire.transport()}
			client, err := api.NewClient(config)
			must(t, err)
			client.SetToken(at.vault.Token())
			return func(ctx context.Context, name string) (string, error) {
				found, err := client.KVv2("secret").Get(ctx, name)
				if err != nil {
					return "", err
				}
				return fmt.Sprint(found.Data["value"]), nil
			}, func() {}
		}},
		{"**secrets**, `Standard`", func(t *testing.T, at *target) (read, func()) {
			t.Helper()
			backend, err := vault.New(vault.WithAddress(at.url), vault.WithToken(at.vault.Token()),
				vault.WithHTTPClient(&http.Client{Transport: at.wire.transport()}))
			must(t, err)
			return ours(t, backend, "#value", middleware.Standard())
		}},
	}
}

func awsConfig(at *target) aws.Config {
	keys := at.aws.Credentials()
	return aws.Config{
		Region: at.aws.Region(), BaseEndpoint: &at.url, HTTPClient: &http.Client{Transport: at.wire},
		Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, ""),
	}
}

func awsSDK(at *target) read {
	client := secretsmanager.NewFromConfig(awsConfig(at))
	return func(ctx context.Context, name string) (string, error) {
		found, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
		if err != nil {
			return "", err
		}
		return *found.SecretString, nil
	}
}

func awsBackend(t *testing.T, at *target) secrets.Backend {
	t.Helper()
	backend, err := awssm.New(t.Context(), awssm.WithConfig(awsConfig(at)))
	must(t, err)
	return backend
}

func awsCaching(t *testing.T, at *target, ttl time.Duration) read {
	t.Helper()
	keys := at.aws.Credentials()
	region := at.aws.Region()
	made, err := session.NewSessionWithOptions(session.Options{
		SharedConfigState: session.SharedConfigDisable,
		Config: awsv1.Config{
			Region: &region, Endpoint: &at.url, HTTPClient: &http.Client{Transport: at.wire.transport()},
			Credentials: credentialsv1.NewStaticCredentials(keys.AccessKeyID, keys.SecretAccessKey, ""),
		},
	})
	must(t, err)
	cached, err := secretcache.New(func(c *secretcache.Cache) { c.Client, c.CacheItemTTL = smv1.New(made), int64(ttl) })
	must(t, err)
	return cached.GetSecretStringWithContext
}

// sturdy keeps what get returns for ttl. A refresh in the background has no deadline but that which the function that it calls sets.
func sturdy(get read, ttl time.Duration, opts ...sturdyc.Option) read {
	// The goroutine of continuous evictions has no end, so that its bubble would have none. Expired values are not returned either way.
	opts = append(opts, sturdyc.WithNoContinuousEvictions(), sturdyc.WithLog(slog.New(slog.DiscardHandler)))
	cached := sturdyc.New[string](capacity(), 16, ttl, 10, opts...)
	return func(ctx context.Context, name string) (string, error) {
		return cached.GetOrFetch(ctx, name, func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			return get(ctx, name)
		})
	}
}

// ours reads the secret with the name and the field, which may be empty.
func ours(t *testing.T, backend secrets.Backend, field string, opts ...secrets.Option) (get read, done func()) {
	t.Helper()
	client, err := secrets.New(backend, opts...)
	must(t, err)
	return func(ctx context.Context, name string) (string, error) {
		s, err := client.Get(ctx, name+field)
		return s.Reveal(), err
	}, func() { _ = client.Close() }
}
