package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	awsv1 "github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/request"
	smv1 "github.com/aws/aws-sdk-go/service/secretsmanager"
	"github.com/aws/aws-sdk-go/service/secretsmanager/secretsmanageriface"
	"github.com/aws/aws-secretsmanager-caching-go/secretcache"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/maypok86/otter/v2"
	"github.com/puzpuzpuz/xsync/v4"
	"github.com/tailscale/setec/client/setec"
	"github.com/viccon/sturdyc"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

const (
	keyFormat   = "database/password-%d"
	fieldFormat = "database-%d#password"
	ttl         = 24 * time.Hour // longer than any measurement: a value that expires is no hit
)

// capacity is that of each cache.
func capacity() int { return 2 * *held }

func valueOf(key string) string { return "value of " + key }

// each calls f with all keys of keyFormat: strings of their own, which no ring holds.
func each(f func(key string)) {
	for i := range *held {
		f(fmt.Sprintf(keyFormat, i))
	}
}

var errMiss = errors.New("a read that should be a hit went to the backend")

// hitRows returns the rows of the table, each filled. The reference is the first.
func hitRows(t *testing.T) []*hitRow {
	t.Helper()
	rows := append(libraryRows(t), clientRows(t)...)
	rows = append(rows, ourRows(t)...)
	rows = append(rows, &hitRow{name: "control: nothing", get: func(key string) (string, bool) { return key, true }})
	for _, r := range rows {
		if r.ring == nil {
			r.ring = ring(keyFormat)
		}
	}
	return rows
}

// libraryRows are maps and caches, which hold strings.
func libraryRows(t *testing.T) []*hitRow {
	t.Helper()
	var rows []*hitRow
	add := func(name string, set func(key string), get lookup) {
		each(set)
		rows = append(rows, &hitRow{name: name, get: get, want: valueOf})
	}

	raw, err := lru.New[string, string](capacity())
	must(t, err)
	add(reference, func(key string) { raw.Add(key, valueOf(key)) }, func(key string) (string, bool) {
		v, ok := raw.Get(key)
		return v, ok
	})

	var mu sync.RWMutex
	bare := make(map[string]string)
	add("map with a `sync.RWMutex`", func(key string) { bare[key] = valueOf(key) }, func(key string) (string, bool) {
		mu.RLock()
		v, ok := bare[key]
		mu.RUnlock()
		return v, ok
	})

	var synced sync.Map
	add("`sync.Map`", func(key string) { synced.Store(key, valueOf(key)) }, func(key string) (string, bool) {
		v, ok := synced.Load(key)
		text, _ := v.(string)
		return text, ok
	})

	x := xsync.NewMap[string, string]()
	add("`xsync.Map`", func(key string) { x.Store(key, valueOf(key)) }, func(key string) (string, bool) {
		v, ok := x.Load(key)
		return v, ok
	})

	expiring := expirable.NewLRU[string, string](capacity(), nil, ttl)
	add("`expirable.LRU` of golang-lru, TTL", func(key string) { expiring.Add(key, valueOf(key)) }, func(key string) (string, bool) {
		v, ok := expiring.Get(key)
		return v, ok
	})

	o, err := otter.New(&otter.Options[string, string]{MaximumSize: capacity(), ExpiryCalculator: otter.ExpiryWriting[string, string](ttl)})
	must(t, err)
	t.Cleanup(func() { o.StopAllGoroutines() })
	add("otter, TTL", func(key string) { o.Set(key, valueOf(key)) }, func(key string) (string, bool) {
		v, ok := o.GetIfPresent(key)
		return v, ok
	})

	// Its documentation says that it is faster without continuous evictions. They also have no end.
	sturdy := sturdyc.New[string](capacity(), 16, ttl, 10, sturdyc.WithNoContinuousEvictions())
	add("sturdyc `Get`", func(key string) { sturdy.Set(key, valueOf(key)) }, func(key string) (string, bool) {
		v, ok := sturdy.Get(key)
		return v, ok
	})
	ctx := t.Context()
	miss := func(context.Context) (string, error) { return "", errMiss }
	add("sturdyc `GetOrFetch`", func(string) {}, func(key string) (string, bool) {
		v, err := sturdy.GetOrFetch(ctx, key, miss)
		return v, err == nil
	})
	return rows
}

// describer answers for AWS, as far as its caching client asks. A secret is fetched once.
type describer struct {
	secretsmanageriface.SecretsManagerAPI
	fetches atomic.Int64
}

func (*describer) DescribeSecretWithContext(
	awsv1.Context, *smv1.DescribeSecretInput, ...request.Option,
) (*smv1.DescribeSecretOutput, error) {
	return &smv1.DescribeSecretOutput{VersionIdsToStages: map[string][]*string{"1": {new("AWSCURRENT")}}}, nil
}

func (d *describer) GetSecretValueWithContext(
	_ awsv1.Context, in *smv1.GetSecretValueInput, _ ...request.Option,
) (*smv1.GetSecretValueOutput, error) {
	d.fetches.Add(1)
	return &smv1.GetSecretValueOutput{SecretString: new(valueOf(*in.SecretId))}, nil
}

// once fails the test if more was fetched than the secrets that were to be held.
func once(t *testing.T, name string, fetches *atomic.Int64) {
	t.Helper()
	t.Cleanup(func() {
		if n := fetches.Load(); n != int64(*held) {
			t.Errorf("%s: %d fetches, want %d: some reads were no hits", name, n, *held)
		}
	})
}

// clientRows are the clients of setec and AWS.
func clientRows(t *testing.T) []*hitRow {
	t.Helper()
	service := new(describer)
	cached, err := secretcache.New(func(c *secretcache.Cache) {
		c.Client, c.MaxCacheSize, c.CacheItemTTL = service, capacity(), int64(ttl)
	})
	must(t, err)
	each(func(key string) {
		_, err := cached.GetSecretString(key)
		must(t, err)
	})
	once(t, "aws-secretsmanager-caching-go", &service.fetches)

	store := setecStore(t)
	handle := store.Secret(fmt.Sprintf(keyFormat, 1))
	return []*hitRow{
		{name: "aws-secretsmanager-caching-go", want: valueOf, get: func(key string) (string, bool) {
			v, err := cached.GetSecretString(key)
			return v, err == nil
		}},
		{name: "setec, by name", want: valueOf, get: func(key string) (string, bool) {
			v := store.Secret(key).Get()
			return viewOf(v), v != nil
		}},
		{name: "setec, handle of one secret", get: func(string) (string, bool) {
			v := handle.Get()
			return viewOf(v), v != nil
		}},
	}
}

// viewOf returns b as a string without a copy, which a program that can use bytes does not make either.
func viewOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// setecStore returns a store of setec. Where its values come from makes no difference to a hit, so that they come from a file.
func setecStore(t *testing.T) *setec.Store {
	t.Helper()
	file := make(map[string]any)
	var names []string
	each(func(key string) {
		file[key] = map[string]any{"secret": map[string]any{"TextValue": valueOf(key), "Version": 1}}
		names = append(names, key)
	})
	path := filepath.Join(t.TempDir(), "secrets.json")
	text, err := json.Marshal(file)
	must(t, err)
	must(t, os.WriteFile(path, text, 0o600))
	source, err := setec.NewFileClient(path)
	must(t, err)
	store, err := setec.NewStore(t.Context(), setec.StoreConfig{Client: source, Secrets: names, Logf: func(string, ...any) {}})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// ourRows are this module's client, with all layers of Standard.
func ourRows(t *testing.T) []*hitRow {
	t.Helper()
	ctx := t.Context()
	open := func(document func(path string) string, opts ...secrets.Option) (*secrets.Client, *atomic.Int64) {
		fetches := new(atomic.Int64)
		backend := secrets.NewBackend(secrets.Info{Name: "memory"}, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
			fetches.Add(1)
			return secrets.NewSecret(document(ref.Path), secrets.Meta{Version: "1"}), nil
		})
		client, err := secrets.New(backend, opts...)
		must(t, err)
		t.Cleanup(func() { _ = client.Close() })
		return client, fetches
	}
	get := func(client *secrets.Client) lookup {
		return func(key string) (string, bool) {
			s, err := client.Get(ctx, key)
			return s.Reveal(), err == nil
		}
	}
	standard := middleware.Standard(cache.WithSize(capacity()), cache.WithTTL(ttl))
	warm := func(client *secrets.Client, format string) {
		for i := range *held {
			_, err := client.Get(ctx, fmt.Sprintf(format, i))
			must(t, err)
		}
	}

	documents, fetches := open(valueOf, standard)
	warm(documents, keyFormat)
	once(t, "secrets, document", fetches)
	object := func(path string) string { return fmt.Sprintf(`{"user":"app","password":"value of %s"}`, path) }
	fields, fetches := open(object, standard)
	warm(fields, fieldFormat)
	once(t, "secrets, field", fetches)
	handle, err := documents.Watch(ctx, fmt.Sprintf(keyFormat, 1))
	must(t, err)
	t.Cleanup(func() { _ = handle.Close() })
	uncached, _ := open(valueOf)
	return []*hitRow{
		{name: "**secrets**, `Get` of a document", want: valueOf, get: get(documents)},
		{name: "**secrets**, `Get` of a JSON field", ring: ring(fieldFormat), get: get(fields), want: func(key string) string {
			return valueOf(strings.TrimSuffix(key, "#password"))
		}},
		{name: "**secrets**, handle of one secret", get: func(string) (string, bool) {
			return handle.Secret().Reveal(), true
		}},
		{name: "control: secrets without a cache", want: valueOf, get: get(uncached)},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
