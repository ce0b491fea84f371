package redact_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// BenchmarkScrub is the price of an error with a Detail where 1,000 documents of six values each are remembered.
func BenchmarkScrub(b *testing.B) {
	detail := `the answer to GET /v1/secret/data/team/app was not what was expected: status 500, body ` +
		`{"errors":["the value bm90LXRoZS1zZWNyZXQtYnV0LWxvbmc= of user-doc7 was refused"],"request_id":"8f2c"}`
	f := redact.New().Wrap(secrets.FetcherFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "bad" {
			return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnknown, Detail: detail}
		}
		return secrets.NewSecret(fmt.Sprintf(`{"user":"user-%[1]s","password":"Xy7%%&q-%[1]s","host":"db.%[1]s.example.com",`+
			`"port":5432,"url":"postgres://app:p-%[1]s@db/x","token":"hvs.%[1]s-0123456789"}`, ref.Path), secrets.Meta{}), nil
	}))
	for i := range 1000 {
		if _, err := f.Fetch(b.Context(), secrets.Ref{Path: fmt.Sprint("doc", i)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Fetch(b.Context(), secrets.Ref{Path: "bad"}); err == nil {
			b.Fatal("no error")
		}
	}
}
