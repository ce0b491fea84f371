package soak_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// phase is the behaviour of a server for a key, for a while.
type phase int

const (
	healthy phase = iota
	slow
	hang
	broken // 500
	throttled
	reset
	truncated
	garbage
	empty
	missing // 404
	deleted // 410
	denied  // 403
	refused // 401
	phases
)

func (p phase) String() string {
	return [...]string{
		"healthy", "slow", "hang", "500", "429", "reset", "truncated", "garbage", "empty", "404", "410", "403", "401",
	}[p]
}

// odds are the weights of the phases of a key.
type odds [phases]int

func (o odds) draw(rng *rand.Rand) phase {
	total := 0
	for _, weight := range o {
		total += weight
	}
	n := rng.IntN(total)
	for p, weight := range o {
		if n -= weight; n < 0 {
			return phase(p)
		}
	}
	return healthy
}

// timeline is a value that changes with time, and the same for the same seed. It is not safe for concurrent use.
type timeline struct {
	rng   *rand.Rand
	draw  func(rng *rand.Rand, step int) (value int, lasts time.Duration)
	value int
	steps int
	until time.Duration
}

func (l *timeline) at(t time.Duration) int {
	for t >= l.until {
		value, lasts := l.draw(l.rng, l.steps)
		l.value, l.until, l.steps = value, l.until+lasts, l.steps+1
	}
	return l.value
}

// between returns a uniformly distributed duration.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// outages returns alternating phases of a whole server, healthy and failing. The first ones are short, so a short run has an outage too.
func outages(rng *rand.Rand, step int) (value int, lasts time.Duration) {
	switch {
	case step == 0:
		return int(healthy), between(rng, 500*time.Millisecond, 700*time.Millisecond)
	case step%2 == 0:
		return int(healthy), between(rng, 3*time.Second, 8*time.Second)
	}
	what := [...]phase{reset, hang, broken, slow, reset}[rng.IntN(5)]
	if step == 1 {
		return int(what), between(rng, 200*time.Millisecond, 400*time.Millisecond)
	}
	return int(what), between(rng, 300*time.Millisecond, 3*time.Second)
}

// document is the server's document for one key.
type document struct {
	mu       sync.Mutex
	phases   timeline
	versions timeline
	rng      *rand.Rand
	leased   bool
}

// server serves the documents of one source.
type server struct {
	source  string
	began   time.Time
	calm    atomic.Bool // no faults, and long leases
	stopped chan struct{}
	http    *httptest.Server
	client  *http.Client
	keys    map[string]*document
	faults  [phases]atomic.Int64

	mu    sync.Mutex
	whole timeline
}

// newServer starts a server. Every third key is leased, or all keys.
func newServer(source string, seed uint64, keys []string, weights odds, storms, allLeased bool) *server {
	s := &server{source: source, began: time.Now(), stopped: make(chan struct{}), keys: make(map[string]*document)}
	s.whole = timeline{rng: rand.New(rand.NewPCG(seed, 1)), draw: outages}
	if !storms {
		s.whole.until = 1 << 62
	}
	for i, key := range keys {
		stream := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(i)<<8|n)) }
		d := &document{leased: allLeased || i%3 == 2, rng: stream(4)}
		d.phases = timeline{rng: stream(2), draw: func(rng *rand.Rand, _ int) (int, time.Duration) {
			return int(weights.draw(rng)), between(rng, 30*time.Millisecond, 300*time.Millisecond)
		}}
		d.versions = timeline{rng: stream(3), draw: func(rng *rand.Rand, step int) (int, time.Duration) {
			return step + 1, between(rng, 20*time.Millisecond, 60*time.Millisecond)
		}}
		s.keys[key] = d
	}
	s.http = httptest.NewServer(s)
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	return s
}

func (s *server) stop() {
	close(s.stopped)
	s.client.CloseIdleConnections()
	s.http.Close()
}

// rotations returns the number of versions.
func (s *server) rotations() (n int64) {
	for _, d := range s.keys {
		d.mu.Lock()
		n += int64(d.versions.steps)
		d.mu.Unlock()
	}
	return n
}

// read decides the answer to a request for key, and creates the current document.
func (s *server) read(key string) (p phase, body []byte, late time.Duration) {
	s.mu.Lock()
	p = phase(s.whole.at(time.Since(s.began)))
	s.mu.Unlock()
	d := s.keys[key]
	d.mu.Lock()
	defer d.mu.Unlock()
	t := time.Since(s.began)
	version := d.versions.at(t)
	if own := phase(d.phases.at(t)); p == healthy {
		p = own
	}
	var end int64
	switch calm := s.calm.Load(); {
	case calm:
		p = healthy
		end = time.Now().Add(10 * time.Second).UnixNano()
	default:
		end = time.Now().Add(between(d.rng, 30*time.Millisecond, 200*time.Millisecond)).UnixNano()
	}
	if !d.leased {
		end = 0
	}
	return p, newBody(s.source, key, uint64(version), end), between(d.rng, 20*time.Millisecond, 120*time.Millisecond)
}

// newBody returns the document as the server stores it.
func newBody(source, key string, version uint64, end int64) []byte {
	body := pair{
		User: stamp{role: "user", source: source, key: key, version: version, end: end}.seal(),
		Pass: stamp{role: "password", source: source, key: key, version: version, end: end}.seal(),
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return text
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, body, late := s.read(strings.TrimPrefix(r.URL.Path, "/"))
	s.faults[p].Add(1)
	switch p {
	case slow:
		s.wait(r.Context(), late)
		_, _ = w.Write(body)
	case hang:
		s.wait(r.Context(), time.Hour)
	case broken:
		w.WriteHeader(http.StatusInternalServerError)
	case throttled:
		w.WriteHeader(http.StatusTooManyRequests)
	case missing:
		w.WriteHeader(http.StatusNotFound)
	case deleted:
		w.WriteHeader(http.StatusGone)
	case denied:
		w.WriteHeader(http.StatusForbidden)
	case refused:
		w.WriteHeader(http.StatusUnauthorized)
	case reset:
		hangUp(w)
	case truncated:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
	case garbage:
		_, _ = w.Write(append([]byte("<html>"), body...))
	case empty:
		w.WriteHeader(http.StatusOK)
	default:
		_, _ = w.Write(body)
	}
}

func (s *server) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.stopped:
	}
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // without it, the connection just closes
	_ = conn.Close()
}

// backend returns a backend that reads from s.
func (s *server) backend(leases bool) secrets.Backend {
	return secrets.NewBackend(secrets.Info{Name: s.source, Leases: leases}, s.fetch)
}

func (s *server) fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http.URL+"/"+ref.Path, nil)
	if err != nil {
		return secrets.Secret{}, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return secrets.Secret{}, unavailable(ctx, "no answer")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return secrets.Secret{}, unavailable(ctx, "half an answer")
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return secrets.Secret{}, secrets.ErrNotFound
	case http.StatusGone:
		return secrets.Secret{}, secrets.ErrDeleted
	case http.StatusForbidden:
		return secrets.Secret{}, secrets.ErrPermissionDenied
	case http.StatusUnauthorized:
		return secrets.Secret{}, secrets.ErrUnauthenticated
	default:
		return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, fmt.Sprint("the status ", resp.StatusCode))
	}
	var doc pair
	if json.Unmarshal(body, &doc) != nil || doc.User == "" {
		return secrets.Secret{}, secrets.NewError(secrets.ErrMalformed, "no JSON")
	}
	meta := secrets.Meta{}
	if st, ok := parse(doc.User); ok {
		meta.Version = strconv.FormatUint(st.version, 10)
		if st.end != 0 {
			meta.ExpiresAt = time.Unix(0, st.end)
		}
	}
	return secrets.NewSecret(string(body), meta), nil
}

// unavailable returns the error of a failed connection.
func unavailable(ctx context.Context, what string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return secrets.NewError(secrets.ErrUnavailable, what)
}

var errBroken = errors.New("a layer that is broken")
