package awssm_test

import (
	"errors"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestEndpointIsTheRegion(t *testing.T) {
	is := is.New(t)
	server, _, b := service(t, 0)
	endpoint := b.Info().Endpoint
	own := endpoint(secrets.Ref{Path: "prod/db"})
	is.Equal(own, server.Region())
	is.Equal(endpoint(secrets.Ref{Path: "arn:aws:secretsmanager:" + own + ":123456789012:secret:db-AbCdEf"}), own)
	is.Equal(endpoint(secrets.Ref{Path: "arn:aws:secretsmanager:eu-west-3:123456789012:secret:db-AbCdEf"}), "eu-west-3")
	is.Equal(endpoint(secrets.Ref{Path: "arn:aws:secretsmanager:not a region"}), own) // never called
}

// outageAfter reports whether the circuit breaker is open after a Refresh of every secret, while the service answers with r.
func outageAfter(t *testing.T, r *awstest.Response) bool {
	t.Helper()
	is := is.New(t)
	server, names, b := service(t, 4, awssm.WithoutBatch())
	monitored := &monitored{Cache: cache.New()}
	c := client(t, b, secrets.WithCache(monitored), secrets.WithDedup(dedup.New()))
	_, err := c.GetMany(t.Context(), names...)
	is.NoErr(err)
	server.Fail(getOne, r)
	for _, name := range names {
		_, err := c.Refresh(t.Context(), name)
		is.True(errors.Is(err, secrets.ErrUnavailable))
	}
	return monitored.cache.Outage()
}

// monitored is a cache layer that gives a test access to its cache.
type monitored struct {
	*cache.Cache

	cache secrets.Cache
}

func (m *monitored) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	m.cache = m.Cache.NewCache(info, below, share)
	return m.cache
}

// A service that throttles is up: other documents are still read.
func TestThrottlingIsNoOutage(t *testing.T) {
	is := is.New(t)
	is.True(!outageAfter(t, awstest.Fault("ThrottlingException", "")))
	is.True(!outageAfter(t, &awstest.Response{Status: 429}))
	is.True(outageAfter(t, awstest.Fault("InternalServiceError", ""))) // the control
}
