package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// wire leads from a bubble of testing/synctest to a server outside of it, through HTTP on loopback. A goroutine that waits for the network
// keeps the time of its bubble from going on, so that no time passes while a request is under way, and the idle connections must be outside
// of the bubble: those that send the requests are.
type wire struct {
	lines    chan line    // those that are free
	requests atomic.Int64 // that the clients have made
	down     atomic.Bool  // no request reaches the server, and no answer the client, as where a firewall drops packets
}

// line sends one request at a time.
type line struct {
	requests chan *http.Request
	answers  chan answer
}

type answer struct {
	resp *http.Response
	body []byte
	err  error
}

// newWire returns a wire. It must be called outside of the bubble: what waits for a channel that was made there, keeps time from going on.
// Before it sends a request, it calls prepare, which may be nil.
func newWire(t *testing.T, prepare func(r *http.Request) error) *wire {
	t.Helper()
	const lines = 16 // more than there are readers
	transport := &http.Transport{MaxIdleConnsPerHost: lines}
	w := &wire{lines: make(chan line, lines)}
	for range lines {
		l := line{make(chan *http.Request), make(chan answer)}
		w.lines <- l
		go func() {
			for r := range l.requests {
				l.answers <- send(transport, r, prepare)
			}
		}()
	}
	t.Cleanup(func() {
		for range lines {
			close((<-w.lines).requests)
		}
		transport.CloseIdleConnections()
	})
	return w
}

func send(transport *http.Transport, r *http.Request, prepare func(r *http.Request) error) (a answer) {
	if prepare != nil {
		if err := prepare(r); err != nil {
			return answer{err: err}
		}
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a.resp = resp
	a.body, a.err = io.ReadAll(resp.Body)
	return a
}

// RoundTrip is called in the bubble.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.requests.Add(1)
	var body []byte
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if w.down.Load() {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	// The context of r belongs to the bubble, in which no time passes until the answer is there.
	outside, err := http.NewRequestWithContext(context.Background(), r.Method, r.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	outside.Header, outside.Host = r.Header.Clone(), r.Host
	l := <-w.lines
	l.requests <- outside
	a := <-l.answers
	w.lines <- l
	if a.err != nil {
		return nil, a.err
	}
	resp := *a.resp
	resp.Request, resp.Body = r, io.NopCloser(bytes.NewReader(a.body))
	return &resp, nil
}

// transport returns a transport whose requests go over the wire, for clients that want no other type.
func (w *wire) transport() *http.Transport {
	t := new(http.Transport)
	t.RegisterProtocol("http", w)
	return t
}

// resign returns a function that signs requests again, at the time of the server. The clients sign at the time of their bubble, and the
// server verifies that time, as AWS does.
func resign(server *awstest.Server) func(r *http.Request) error {
	v4, keys := signer.NewSigner(), server.Credentials()
	credentials := aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey}
	return func(r *http.Request) error {
		body, err := r.GetBody()
		if err != nil {
			return err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, body); err != nil {
			return err
		}
		r.Header.Del("Authorization")
		return v4.SignHTTP(r.Context(), credentials, r, hex.EncodeToString(sum.Sum(nil)), "secretsmanager", server.Region(), time.Now())
	}
}

const (
	readers  = 10              // each of a secret of its own
	deadline = 5 * time.Second // of a read
)

func secretName(i int) string { return fmt.Sprintf("database-%d", i) }

// read is a read of a secret by one of the clients.
type read func(ctx context.Context, name string) (string, error)

// tally is what the readers got.
type tally struct {
	due, made, answered, wrong int
	longest                    time.Duration
}

// readFor has each reader make a read every so often, for d of the time of the bubble. A reader that waits for an answer misses the reads
// that were due until then: they are not made.
func readFor(d, every time.Duration, get read) (all tally) {
	results := make(chan tally)
	began := time.Now()
	for i := range readers {
		go func() {
			name := secretName(i)
			t := tally{due: int(d / every)}
			time.Sleep(every * time.Duration(i) / readers) // not all at the same moment
			tick := time.NewTicker(every)
			defer tick.Stop()
			for time.Since(began) < d {
				ctx, cancel := context.WithTimeout(context.Background(), deadline)
				start := time.Now()
				v, err := get(ctx, name)
				t.longest = max(t.longest, time.Since(start))
				cancel()
				t.made++
				switch {
				case err != nil:
				case v == valueOf(name):
					t.answered++
				default:
					t.wrong++
				}
				<-tick.C
			}
			results <- t
		}()
	}
	for range readers {
		t := <-results
		all.due, all.made, all.answered, all.wrong = all.due+t.due, all.made+t.made, all.answered+t.answered, all.wrong+t.wrong
		all.longest = max(all.longest, t.longest)
	}
	return all
}

// An hour of the bubble takes no time, and requests over the wire arrive in it, or do not when it is down.
func TestWire(t *testing.T) {
	for _, at := range []*target{awsTarget(t), vaultTarget(t)} {
		for _, client := range at.clients {
			t.Run(client.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					before := at.wire.requests.Load()
					get, done := client.open(t, at)
					defer done()
					v, err := get(t.Context(), secretName(1))
					is.NoErr(err)
					is.Equal(v, valueOf(secretName(1)))
					is.True(at.wire.requests.Load() > before)
					time.Sleep(time.Hour)
					_, err = get(t.Context(), "database-missing")
					is.True(err != nil)
					at.wire.down.Store(true)
					defer at.wire.down.Store(false)
					ctx, cancel := context.WithTimeout(t.Context(), deadline)
					defer cancel()
					began := time.Now()
					_, err = get(ctx, secretName(2))
					is.True(err != nil)
					is.Equal(time.Since(began), deadline)
				})
			})
		}
	}
}

// The readers make all reads that are due, unless one waits.
func TestReadFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now()
		all := readFor(time.Minute, 100*time.Millisecond, func(_ context.Context, name string) (string, error) { return valueOf(name), nil })
		is.Equal(all, tally{due: 6000, made: 6000, answered: 6000})
		is.Equal(time.Since(began).Round(time.Second), time.Minute)
		all = readFor(time.Minute, 100*time.Millisecond, func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		is.Equal(all, tally{due: 6000, made: readers * 12, longest: deadline})
		all = readFor(time.Minute, 100*time.Millisecond, func(context.Context, string) (string, error) { return "another", nil })
		is.Equal(all, tally{due: 6000, made: 6000, wrong: 6000})
	})
}
