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

// stamp is what a value says of itself. The server writes and seals the first part, the backend adds the second: the number of the
// fetch that brought it and the time at which that began.
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

// seal returns the first part of s.
func (s stamp) seal() string {
	text := strings.Join([]string{s.role, s.source, s.key, strconv.FormatUint(s.version, 10), strconv.FormatInt(s.end, 10)}, "|")
	return text + "|" + mac(text)
}

// brought adds the second part to what seal has made.
func brought(sealed string, fetch uint64, start int64) string {
	text := sealed + "|" + strconv.FormatUint(fetch, 10) + "|" + strconv.FormatInt(start, 10)
	return text + "|" + mac(text)
}

// parse reads the first part, and the second if there is one. It is not ok if a seal does not fit.
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

// outcome is what a fetch has come to.
type outcome uint8

const (
	running outcome = iota
	aValue
	anAbsence
	aDenial
	anOutage
	aMess  // malformed, or unknown
	inLate // it took so long that the client may have given up before it
)

// fetched is a fetch of a document.
type fetched struct {
	outcome outcome
	ended   int64
	settled int64 // when the cache had the answer, just before the flight ended
}

// record is what is known of one document: its fetches, which have numbers from 1, and what reads that have ended have shown. Numbers
// are given in the order in which fetches take their place in the cache. So of two answers, the one with the higher number is
// that of the fetch that began later, and may not be followed by the other.
type record struct {
	begin sync.Mutex // held until a fetch that begins has its number; see [ordered]

	mu      sync.Mutex
	fetches []fetched

	seen      atomic.Uint64 // the highest number of an answer that says what the document is
	denied    atomic.Uint64 // … that it is denied or not there
	messy     atomic.Uint64 // … of one that could not be read
	forgotten atomic.Uint64 // the lowest number that counts after an invalidation
}

// marks are what a record says when a read begins.
type marks struct{ seen, denied, messy, forgotten, next uint64 }

func (r *record) marks() marks {
	m := marks{seen: r.seen.Load(), denied: r.denied.Load(), messy: r.messy.Load(), forgotten: r.forgotten.Load()}
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

// lastDenial returns the last fetch that was denied and had ended by then, or 0.
func (r *record) lastDenial(by int64) (n uint64, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := len(r.fetches); n > 0; n-- {
		if f := r.fetches[n-1]; f.outcome == aDenial && f.ended < by {
			return uint64(n), f.ended
		}
	}
	return 0, 0
}

// raise sets v to at least to.
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
	outages []int64 // when fetches found the server unavailable, in order
}

func newLedger(source string, keys []string) *ledger {
	l := &ledger{source: source, records: make(map[string]*record)}
	for _, key := range keys {
		l.records[key] = new(record)
	}
	return l
}

// outage reports whether a fetch of any document found the server unavailable in that time.
func (l *ledger) outage(from, to int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.outages), func(i int) bool { return l.outages[i] > from })
	return i < len(l.outages) && l.outages[i] <= to
}

// note keeps the outcome of fetch n of r.
func (l *ledger) note(r *record, n uint64, what outcome) {
	if what != anOutage && what != inLate {
		r.ended(n, what, since(time.Now()))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := since(time.Now())
	l.outages = append(l.outages, at)
	r.ended(n, what, at)
}

// numbered is a backend whose answers say which fetch brought them.
type numbered struct {
	secrets.Backend

	ledger *ledger
	late   time.Duration
}

type startKey struct{}

// start is what [ordered] and [numbered] tell each other of a fetch.
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
	if what != anOutage && time.Since(began) > b.late {
		what = inLate
	}
	defer b.ledger.note(r, n, what)
	if err != nil {
		return s, b.fail(ctx, err, n)
	}
	var doc pair
	if err := json.Unmarshal(s.Bytes(), &doc); err != nil {
		return s, fmt.Errorf("fetch %d", n)
	}
	doc.User, doc.Pass = brought(doc.User, n, since(began)), brought(doc.Pass, n, since(began))
	text, err := json.Marshal(doc)
	if err != nil {
		return s, err
	}
	return secrets.NewSecret(string(text), s.Meta()), nil
}

// fail adds the number to the detail of err.
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
		return aValue
	case errors.Is(err, secrets.ErrPermissionDenied), errors.Is(err, secrets.ErrUnauthenticated):
		return aDenial
	case errors.Is(err, secrets.ErrNotFound):
		return anAbsence
	case errors.Is(err, secrets.ErrMalformed), errors.Is(err, secrets.ErrUnknown):
		return aMess
	default:
		return anOutage
	}
}

// ordered is the dedup layer, below which a fetch takes its place in the cache and its number in one step, as seen by the other
// fetches of its document.
type ordered struct {
	*dedup.Dedup

	ledgers map[string]*ledger // by the names of backends
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
