package redact_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

const (
	plainLine = `time=2026-11-24T07:26:05.000Z level=INFO msg="request served" path=/v1/orders status=200 took=1.2ms ` +
		`trace=4bf92f3577b34da6a3ce929d0e0e4736 user=app-7 agent="curl/8.5.0 (x86_64-pc-linux-gnu)"` + "\n"
	nestedLine = `{"time":"2026-11-24T07:26:05Z","level":"INFO","msg":"reply","body":"{\"orders\":[{\"id\":4711,\"state\":\"shipped\",` +
		`\"customer\":\"acme\"},{\"id\":4712,\"state\":\"open\",\"customer\":\"umbrella\"}],` +
		`\"next\":\"/v1/orders?page=2\"}","took":"1.2ms"}` + "\n"
	accessLine = `10.1.2.3 - - [24/Nov/2026:07:26:05 +0000] "GET /search?q=blue%20shoes&page=2&sort=price%2Casc&utm_source=mail HTTP/1.1" ` +
		`200 5316 "https://shop.example.com/list?cat=shoes&ref=home" "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"` + "\n"
)

// randomValues returns n different values of 30 bytes.
func randomValues(n int) []string {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+=@!$%&*"
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]string, n)
	for i := range all {
		b := make([]byte, 30)
		for k := range b {
			b[k] = alphabet[random.IntN(len(alphabet))]
		}
		all[i] = string(b)
	}
	return all
}

// holding returns a Redactor that masks n values of 30 bytes.
func holding(n int) *redact.Redactor {
	r := redact.New()
	r.Writer(io.Discard)
	l := tell(r)
	for i, v := range randomValues(n) {
		l.HandedOut(secrets.Ref{Path: fmt.Sprint("key", i)}, secrets.NewSecret(v, secrets.Meta{}))
	}
	return r
}

// BenchmarkText measures the throughput of a Writer with 1,000 values of 30 bytes, line by line.
func BenchmarkText(b *testing.B) {
	r := holding(1000)
	value := randomValues(1)[0]
	escaped := url.QueryEscape(value)
	for _, text := range []struct{ name, line string }{
		{"plain", plainLine},
		{"JSON in JSON", nestedLine},
		{"access log", accessLine},
		{"only %41", strings.Repeat("%41", 60) + "\n"},
		{`only \u0041`, strings.Repeat(`\u0041`, 30) + "\n"},
		{"only &amp;", strings.Repeat("&amp;", 36) + "\n"},
		{`only \\`, strings.Repeat(`\`, 180) + "\n"},
		{"only %25", strings.Repeat("%25", 60) + "\n"},
		{"a value in each line", strings.Replace(plainLine, "app-7", value, 1)},
		{"an escaped value in each line", strings.Replace(plainLine, "app-7", escaped, 1)},
	} {
		b.Run(text.name, func(b *testing.B) {
			w, line := r.Writer(io.Discard), []byte(text.line)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = w.Write(line)
			}
		})
	}
}

// BenchmarkRotation measures a new version of one of n values, and the log line after it.
func BenchmarkRotation(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := holding(n)
			w, line, l := r.Writer(io.Discard), []byte(plainLine), tell(r)
			values := randomValues(1 << 12)
			for i := range values {
				values[i] = "x" + values[i]
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.value("rotated", values[i%len(values)])
				_, _ = w.Write(line)
			}
		})
	}
	b.Run("private key", func(b *testing.B) {
		r := holding(1000)
		w, line, l := r.Writer(io.Discard), []byte(plainLine), tell(r)
		random := rand.New(rand.NewPCG(1, 2))
		keys := make([]string, 16)
		for i := range keys {
			keys[i], _ = privateKey(random)
		}
		for i := 0; b.Loop(); i++ {
			l.value("rotated", keys[i%len(keys)])
			_, _ = w.Write(line)
		}
	})
}

// BenchmarkHeap measures the memory that n values take, without the values.
func BenchmarkHeap(b *testing.B) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	b.Run("1000 values", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			r := holding(1000)
			b.ReportMetric(float64(r.Stats().Size)/1000, "size-B/value")
			b.ReportMetric(float64(heap()-before)/1000, "B/value")
			b.ReportMetric(float64(r.Stats().Patterns)/1000, "patterns/value")
			runtime.KeepAlive(r)
		}
	})
	b.Run("document", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			r := redact.New()
			r.Writer(io.Discard)
			var doc strings.Builder
			values := randomValues(1500)
			for i, v := range values {
				fmt.Fprintf(&doc, `,"key%04d":%q`, i, v[:24])
			}
			text := "{" + doc.String()[1:] + "}"
			tell(r).value("document", text)
			b.ReportMetric(float64(r.Stats().Size)/float64(len(text)), "size-B/B")
			b.ReportMetric(float64(heap()-before)/float64(len(text)), "B/B")
			runtime.KeepAlive(r)
		}
	})
}
