package cache_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

func TestDurationsWithoutAUnitAreFaultsOfNew(t *testing.T) {
	for name, tc := range map[string]struct {
		option cache.Option
		want   string
	}{
		"WithTTL":              {cache.WithTTL(300), "cache: WithTTL: 300ns; did you mean 300*time.Second?"},
		"WithMaxStale":         {cache.WithMaxStale(3600), "cache: WithMaxStale: 3.6µs; did you mean 3600*time.Second?"},
		"WithNegativeTTL":      {cache.WithNegativeTTL(5), "cache: WithNegativeTTL: 5ns; did you mean 5*time.Second?"},
		"below a millisecond":  {cache.WithTTL(time.Millisecond - 1), "cache: WithTTL: 999.999µs is less than 1ms"},
		"negative, said once":  {cache.WithTTL(-300), "cache: WithTTL: -300ns is not more than 0"},
		"zero TTL, said once":  {cache.WithTTL(0), "cache: WithTTL: 0s is not more than 0"},
		"TTL of a millisecond": {cache.WithTTL(time.Millisecond), ""},
		"never stale":          {cache.WithMaxStale(0), ""},
		"no negative cache":    {cache.WithNegativeTTL(0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client, err := secrets.New((&source{}).backend(), secrets.WithCache(cache.New(tc.option)))
			if tc.want == "" {
				is.NoErr(err)
				is.NoErr(client.Close())
				return
			}
			is.True(err != nil)
			is.Equal(err.Error(), tc.want)
		})
	}
}
