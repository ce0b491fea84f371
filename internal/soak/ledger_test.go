package soak_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

// pair is a document: two fields that belong together.
type pair struct {
	User string `json:"user"`
	Pass string `json:"password"`
}

// stamp is the content of a value. The server writes and seals the first part; the backend adds the number and the start time of its fetch.
type stamp struct {
	role, source, key string
	version           uint64
	end               int64 // of the lease, by the wall clock, or 0

	fetch uint64
	start int64 // see [since]
}

func mac(text string) string {
	h := hmac.New(sha256.New, []byte("the key of the soak test"))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// seal returns the first part of s, sealed.
func (s stamp) seal() string {
	text := strings.Join([]string{s.role, s.source, s.key, strconv.FormatUint(s.version, 10), strconv.FormatInt(s.end, 10)}, "|")
	return text + "|" + mac(text)
}

// withFetch adds the second part.
func withFetch(sealed string, fetch uint64, start int64) string {
	text := sealed + "|" + strconv.FormatUint(fetch, 10) + "|" + strconv.FormatInt(start, 10)
	return text + "|" + mac(text)
}

// parse parses the first part, and the second if there is one. It is not ok if a seal is invalid.
func parse(text string) (s stamp, ok bool) {
	p := strings.Split(text, "|")
	if len(p) != 6 && len(p) != 9 {
		return s, false
	}
	s.role, s.source, s.key = p[0], p[1], p[2]
	var errs [4]error
	s.version, errs[0] = strconv.ParseUint(p[3], 10, 64)
	s.end, errs[1] = strconv.ParseInt(p[4], 10, 64)
	ok = mac(strings.Join(p[:5], "|")) == p[5]
	if len(p) == 9 {
		s.fetch, errs[2] = strconv.ParseUint(p[6], 10, 64)
		s.start, errs[3] = strconv.ParseInt(p[7], 10, 64)
		ok = ok && mac(strings.Join(p[:8], "|")) == p[8]
	}
	return s, ok && errors.Join(errs[:]...) == nil
}

var origin = time.Now()

// since returns t on the monotonic clock, in nanoseconds.
func since(t time.Time) int64 { return int64(t.Sub(origin)) }

// outcome is the result of a fetch.
type outcome uint8

const (
	running outcome = iota
	outcomeValue
	outcomeNotFound
	outcomeDenied
	outcomeUnavailable
	outcomeMalformed // malformed, or unknown
	outcomeLate      // so late that the client may have given up
)

// fetched is a fetch of a document.
type fetched struct {
	outcome outcome
	ended   int64
	settled int64 // when the cache had the answer, just before the flight ended
}

// record is what is known about one document: its fetches, numbered from 1, and the answers of finished reads. Fetches get numbers in the
// order in which they take their place in the cache: a higher number is a later fetch, and no read may return a lower one afterwards.
type record struct {
	begin sync.Mutex // held until a starting fetch has its number; see [ordered]

	mu      sync.Mutex
	fetches []fetched

	seen        atomic.Uint64 // the highest number of a definite answer
	denied      atomic.Uint64 // … of a denial or an absence
	malformed   atomic.Uint64 // … of a malformed one
	invalidated atomic.Uint64 // the lowest number that is valid after an invalidation
}

// marks are the numbers of a record when a read begins.
type marks struct{ seen, denied, malformed, invalidated, next uint64 }

func (r *record) marks() marks {
	m := marks{seen: r.seen.Load(), denied: r.denied.Load(), malformed: r.malformed.Load(), invalidated: r.invalidated.Load()}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.next = uint64(len(r.fetches)) + 1
	return m
}

func (r *record) started() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetches = append(r.fetches, fetched{})
	return uint64(len(r.fetches))
}

func (r *record) ended(n uint64, what outcome, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetches[n-1].outcome, r.fetches[n-1].ended = what, at
}

func (r *record) settled(n uint64, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 {
		r.fetches[n-1].settled = at
	}
}

func (r *record) of(n uint64) fetched {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n == 0 || n > uint64(len(r.fetches)) {
		return fetched{}
	}
	return r.fetches[n-1]
}

// has reports whether a fetch from number from on had one of these outcomes.
func (r *record) has(from uint64, outcomes ...outcome) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := len(r.fetches); n > 0 && uint64(n) >= from; n-- {
		if slices.Contains(outcomes, r.fetches[n-1].outcome) {
			return true
		}
	}
	return false
}

// lastDenial returns the last denied fetch that had ended by then, or 0.
func (r *record) lastDenial(by int64) (n uint64, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := len(r.fetches); n > 0; n-- {
		if f := r.fetches[n-1]; f.outcome == outcomeDenied && f.ended < by {
			return uint64(n), f.ended
		}
	}
	return 0, 0
}

// raise sets v to to, unless it is higher.
func raise(v *atomic.Uint64, to uint64) {
	for {
		now := v.Load()
		if now >= to || v.CompareAndSwap(now, to) {
			return
		}
	}
}

// ledger is the records of a source.
type ledger struct {
	source  string
	records map[string]*record
	fetches atomic.Int64

	mu      sync.Mutex
	outages []int64 // when fetches were unavailable, in order
}

func newLedger(source string, keys []string) *ledger {
	l := &ledger{source: source, records: make(map[string]*record)}
	for _, key := range keys {
		l.records[key] = new(record)
	}
	return l
}

// outage reports whether a fetch of any document was unavailable in this time.
func (l *ledger) outage(from, to int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.outages), func(i int) bool { return l.outages[i] > from })
	return i < len(l.outages) && l.outages[i] <= to
}

// note records the outcome of fetch n of r.
func (l *ledger) note(r *record, n uint64, what outcome) {
	if what != outcomeUnavailable && what != outcomeLate {
		r.ended(n, what, since(time.Now()))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := since(time.Now())
	l.outages = append(l.outages, at)
	r.ended(n, what, at)
}

// numbered is a backend whose answers name their fetch.
type numbered struct {
	secrets.Backend

	ledger *ledger
	late   time.Duration
}

type startKey struct{}

// start is the state that [ordered] and [numbered] share about a fetch.
type start struct {
	release func()
	number  atomic.Uint64
}

func (b *numbered) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r := b.ledger.records[ref.Path]
	n := r.started()
	if s, ok := ctx.Value(startKey{}).(*start); ok {
		s.number.Store(n)
		s.release()
	}
	b.ledger.fetches.Add(1)
	began := time.Now()
	s, err := b.Backend.Fetch(ctx, ref)
	what := outcomeOf(err)
	if what != outcomeUnavailable && time.Since(began) > b.late {
		what = outcomeLate
	}
	defer b.ledger.note(r, n, what)
	if err != nil {
		return s, b.fail(ctx, err, n)
	}
	var doc pair
	if err := json.Unmarshal(s.Bytes(), &doc); err != nil {
		return s, fmt.Errorf("fetch %d", n)
	}
	doc.User, doc.Pass = withFetch(doc.User, n, since(began)), withFetch(doc.Pass, n, since(began))
	text, err := json.Marshal(doc)
	if err != nil {
		return s, err
	}
	return secrets.NewSecret(string(text), s.Meta()), nil
}

// fail adds the fetch's number to the detail of err.
func (b *numbered) fail(ctx context.Context, err error, n uint64) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	detail := ""
	if own := new(secrets.Error); errors.As(err, &own) {
		detail = own.Detail + "; "
	}
	return secrets.NewError(secrets.Class(err), detail+"fetch "+strconv.FormatUint(n, 10))
}

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return outcomeValue
	case errors.Is(err, secrets.ErrPermissionDenied), errors.Is(err, secrets.ErrUnauthenticated):
		return outcomeDenied
	case errors.Is(err, secrets.ErrNotFound):
		return outcomeNotFound
	case errors.Is(err, secrets.ErrMalformed), errors.Is(err, secrets.ErrUnknown):
		return outcomeMalformed
	default:
		return outcomeUnavailable
	}
}

// ordered is the dedup layer. It makes a fetch take its place in the cache and its number in one step, as seen by other fetches of the
// document.
type ordered struct {
	*dedup.Dedup

	ledgers map[string]*ledger // by backend name
}

func (o ordered) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	records := o.ledgers[info.Name].records
	return o.Dedup.NewDedup(info, secrets.Intercept(
		func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			r := records[ref.Path]
			r.begin.Lock()
			s := &start{release: sync.OnceFunc(r.begin.Unlock)}
			defer s.release()
			defer func() { r.settled(s.number.Load(), since(time.Now())) }()
			return next.Fetch(context.WithValue(ctx, startKey{}, s), ref)
		}).Wrap(next))
}

var _ secrets.DedupLayer = ordered{}
