package awssm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
)

const (
	arn    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"
	suffix = "-AbCdEf"
)

// wire is a request, as sent to the service.
type wire struct {
	Region    string `json:"-"`
	SecretID  string `json:"SecretId"`
	VersionID string `json:"VersionId"`
	Stage     string `json:"VersionStage"`
}

// echo returns a backend whose service answers every read, and the requests that the service got.
func echo(t *testing.T, opts ...awssm.Option) (b *awssm.Backend, requests *[]wire) {
	t.Helper()
	requests = new([]wire)
	b = serve(t, func(w http.ResponseWriter, r *http.Request) {
		var q wire
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &q) != nil {
			t.Errorf("not a GetSecretValue request: %v", err)
		}
		q.Region = strings.Split(r.Header.Get("Authorization"), "/")[2]
		*requests = append(*requests, q)
		name, id := q.SecretID, "arn:aws:secretsmanager:"+q.Region+":123456789012:secret:"+q.SecretID+suffix
		if strings.HasPrefix(name, "arn:") {
			name = strings.TrimSuffix(name[strings.LastIndexByte(name, ':')+1:], suffix)
			id = strings.TrimSuffix(q.SecretID, suffix) + suffix
		}
		stages := `["AWSCURRENT"]`
		if q.Stage != "" {
			stages = `["` + q.Stage + `"]`
		}
		_, _ = fmt.Fprintf(w, `{"ARN":%q,"Name":%q,"SecretString":"{\"password\":\"p\"}","VersionId":%q,"VersionStages":%s}`,
			id, name, q.VersionID, stages) // the client may hang up
	}, opts...)
	return b, requests
}

func TestKeys(t *testing.T) {
	for key, want := range map[string]wire{
		"database":                             {SecretID: "prod/database"},
		"database#password":                    {SecretID: "prod/database"},
		"database/password":                    {SecretID: "prod/database/password"},
		"database/password#":                   {SecretID: "prod/database/password"},
		"rds!cluster-1_+=.@-x":                 {SecretID: "prod/rds!cluster-1_+=.@-x"},
		"database?version=AWSPREVIOUS":         {SecretID: "prod/database", Stage: "AWSPREVIOUS"},
		"database?version=AWSPENDING#password": {SecretID: "prod/database", Stage: "AWSPENDING"},
		"database?version=12345678-1234-1234-1234-123456789abc": {SecretID: "prod/database", VersionID: "12345678-1234-1234-1234-123456789abc"},
		"database?version=" + strings.Repeat("x", 31):           {SecretID: "prod/database", Stage: strings.Repeat("x", 31)},
		"database?version=" + strings.Repeat("x", 32):           {SecretID: "prod/database", VersionID: strings.Repeat("x", 32)},
		"database?version=" + strings.Repeat("x", 64):           {SecretID: "prod/database", VersionID: strings.Repeat("x", 64)},
		"database?version=" + strings.Repeat("x", 65):           {SecretID: "prod/database", Stage: strings.Repeat("x", 65)},
		"database?version=3":                                    {SecretID: "prod/database", Stage: "3"},
		arn:                                                     {SecretID: arn},
		arn + "#password":                                       {SecretID: arn},
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:db": {Region: "us-east-1",
			SecretID: "arn:aws:secretsmanager:us-east-1:123456789012:secret:db"},
		"arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:db": {Region: "us-gov-west-1",
			SecretID: "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:db"},
		"arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:db": {Region: "cn-north-1",
			SecretID: "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:db"},
		"arn:aws-iso-b:secretsmanager:us-isob-east-1:123456789012:secret:db": {Region: "us-isob-east-1",
			SecretID: "arn:aws-iso-b:secretsmanager:us-isob-east-1:123456789012:secret:db"},
	} {
		t.Run(key, func(t *testing.T) {
			is := is.New(t)
			if want.Region == "" {
				want.Region = "eu-west-1"
			}
			b, requests := echo(t, awssm.WithPrefix("prod/"))
			_, err := client(t, b).Get(t.Context(), key)
			is.NoErr(err)
			is.Equal(*requests, []wire{want})
		})
	}
}

// TestBadKeys has keys that must not reach any service, above all those that would lead to another host.
func TestBadKeys(t *testing.T) {
	is := is.New(t)
	b, requests := echo(t)
	c := client(t, b)
	for _, key := range []string{
		"", "a b", "a%23b", "a:b", "a*", "ü", "a%3Fb", "a//b", "../a", strings.Repeat("x", 513), "a?version=" + strings.Repeat("x", 257),
		"arn:", "arn:aws", "arn:aws:s3:eu-west-1:123456789012:secret:db", "arn:aws:secretsmanager::123456789012:secret:db",
		"arn:aws:secretsmanager:eu-west-1:12345:secret:db", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:",
		"arn:aws:secretsmanager:eu-west-1:123456789012:other:db", "arn:gcp:secretsmanager:eu-west-1:123456789012:secret:db",
		"arn:aws:secretsmanager:evil.com/%23:123456789012:secret:db", "arn:aws:secretsmanager:evil.com/:123456789012:secret:db",
		"arn:aws:secretsmanager:evil.com:123456789012:secret:db", "arn:aws:secretsmanager:eu-west-1.evil.com:123456789012:secret:db",
		"arn:aws:secretsmanager:eu-west-1@evil.com:123456789012:secret:db", "arn:aws:secretsmanager:localhost:123456789012:secret:db",
		"arn:aws:secretsmanager:EU-WEST-1:123456789012:secret:db", "arn:aws:secretsmanager:eu-west-1%0a:123456789012:secret:db",
		"arn:aws:secretsmanager:eu-west-1:123456789012:secret:d b", "ARN:aws:secretsmanager:eu-west-1:123456789012:secret:db",
		"arn:aws:secretsmanager:xn--80ak6aa92e-1:123456789012:secret:db", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a:b",
	} {
		_, err := c.Get(t.Context(), key)
		is.True(errors.Is(err, secrets.ErrInvalidKey)) // key
	}
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "a", Field: "b"})
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "../a"})
	is.True(errors.Is(err, secrets.ErrInvalidKey))
	is.Equal(len(*requests), 0)
}

// Keys from outside may contain any number of invented regions.
func TestInventedRegionsTakeNoMemory(t *testing.T) {
	b, requests := echo(t)
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	read := func(n int) {
		for i := range n {
			path := fmt.Sprintf("arn:aws:secretsmanager:aa-%c%c%c-1:123456789012:secret:db", 'a'+i/26/26, 'a'+i/26%26, 'a'+i%26)
			if _, err := b.Fetch(t.Context(), secrets.Ref{Path: path}); err != nil {
				t.Fatal(err)
			}
		}
		*requests = nil
	}
	read(100)
	before := held()
	read(3000)
	if after := held(); after > before+1<<20 {
		t.Errorf("the heap has grown by %d bytes", after-before)
	}
}
