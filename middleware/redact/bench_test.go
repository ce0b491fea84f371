package redact_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// BenchmarkScrub is the price of an error with a Detail where 1,000 documents of six values each are remembered.
func BenchmarkScrub(b *testing.B) {
	detail := `the answer to GET /v1/secret/data/team/app was not what was expected: status 500, body ` +
		`{"errors":["the value bm90LXRoZS1zZWNyZXQtYnV0LWxvbmc= of user-doc7 was refused"],"request_id":"8f2c"}`
	f := over(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "bad" {
			return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnknown, Detail: detail}
		}
		return secrets.NewSecret(fmt.Sprintf(`{"user":"user-%[1]s","password":"Xy7%%&q-%[1]s","host":"db.%[1]s.example.com",`+
			`"port":5432,"url":"postgres://app:p-%[1]s@db/x","token":"hvs.%[1]s-0123456789"}`, ref.Path), secrets.Meta{}), nil
	})
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

// thousand returns a Redactor of which 1,000 values of several kinds were handed out.
func thousand() *redact.Redactor {
	r := redact.New()
	r.Handler(slog.DiscardHandler)
	random := rand.New(rand.NewPCG(1, 2))
	l := tell(r)
	for i := range 1000 {
		value := fmt.Sprintf("%016x", random.Uint64())
		switch i % 4 {
		case 0:
			value = "p@ss/" + value + "&=" // every form of it is different
		case 1:
			value = "hvs." + value + value
		case 2:
			value = base64.StdEncoding.EncodeToString([]byte(value + value))
		}
		l.value(fmt.Sprint("key", i), value)
	}
	return r
}

const line = `time=2026-11-24T07:26:05.000Z level=INFO msg="request served" path=/v1/orders status=200 took=1.2ms ` +
	`trace=4bf92f3577b34da6a3ce929d0e0e4736 user=app-7 agent="curl/8.5.0 (x86_64-pc-linux-gnu)"` + "\n"

// BenchmarkWriter is the throughput of a Writer with 1,000 values.
func BenchmarkWriter(b *testing.B) {
	r := thousand()
	tell(r).value("canary", canary)
	for name, text := range map[string]string{
		"line by line":         line,
		"100 lines":            strings.Repeat(line, 100),
		"a value in each line": strings.Repeat(strings.ReplaceAll(line, "app-7", canary), 100),
		"nothing but values":   strings.Repeat(canary, 1000),
	} {
		b.Run(name, func(b *testing.B) {
			w, text := r.Writer(io.Discard), []byte(text)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = w.Write(text)
			}
			b.ReportMetric(float64(r.Stats().Patterns), "patterns")
			b.ReportMetric(float64(r.Stats().Size)/1e6, "MB")
		})
	}
}

// BenchmarkHandler is the price of a record of three attributes, with 1,000 values.
func BenchmarkHandler(b *testing.B) {
	r := thousand()
	l := tell(r)
	l.value("canary", canary)
	for name, text := range map[string]string{"without a value": "/v1/orders/of-canary-7", "with a value": "/v1/orders/" + canary} {
		b.Run(name, func(b *testing.B) {
			h := r.Handler(slog.DiscardHandler)
			record := slog.NewRecord(time.Now(), slog.LevelInfo, "request served", 0)
			record.AddAttrs(slog.String("path", text), slog.Int("status", 200), slog.Duration("took", time.Millisecond))
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Handle(ctx, record)
			}
		})
	}
}

// BenchmarkRebuild is what the first log line pays after a change: one value more beside 1,000, and all of them anew.
func BenchmarkRebuild(b *testing.B) {
	b.Run("one more", func(b *testing.B) {
		r := thousand()
		r.Stats()
		l := tell(r)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.value("key", fmt.Sprint("value-", i))
			r.Stats()
		}
	})
	b.Run("all", func(b *testing.B) {
		r := thousand()
		b.ReportAllocs()
		for b.Loop() {
			_ = tell(r).Close() // what closes makes a new beginning
			r.Stats()
		}
	})
}

// countless takes all records, unlike slog.DiscardHandler, and does nothing with them.
type countless struct{ slog.Handler }

func (countless) Enabled(context.Context, slog.Level) bool  { return true }
func (countless) Handle(context.Context, slog.Record) error { return nil }

// BenchmarkOneByOne is the first log line after each of n values, in sum.
func BenchmarkOneByOne(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([]string, 320)
	for i := range keys {
		keys[i], _ = privateKey(random)
	}
	for name, values := range map[string][]string{"80 private keys": keys[:80], "160 private keys": keys[:160], "320 private keys": keys} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := redact.New()
				logger, l := slog.New(r.Handler(countless{})), tell(r)
				var slowest time.Duration
				for i, value := range values {
					l.value(fmt.Sprint("key", i), value)
					began := time.Now()
					logger.Info("loaded")
					slowest = max(slowest, time.Since(began))
				}
				b.StopTimer()
				r.Stats() // waits for what is put together beside the loggers
				b.ReportMetric(float64(slowest.Milliseconds()), "ms/slowest")
				b.StartTimer()
			}
		})
	}
}

// BenchmarkMask is a text full of the values of two automata.
func BenchmarkMask(b *testing.B) {
	r := thousand()
	r.Stats()
	tell(r).value("canary", canary)
	tell(r).value("canary-2", "old-"+canary)
	logger := slog.New(r.Handler(countless{}))
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			text := strings.Repeat(canary+",old-"+canary+",", n)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				logger.Info(text)
			}
		})
	}
}
