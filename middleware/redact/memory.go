package redact

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/search"
)

// memory holds the values that a Redactor masks.
type memory struct {
	set    *search.Set // texts that are masked in logs
	masked atomic.Uint64

	mu        sync.Mutex
	max       int
	fetched   *recent // whole documents, for the errors of later calls
	large     *recent // values of more than maxSmall bytes that Clients have returned; each field has a place of its own
	small     *recent // smaller values that Clients have returned
	size      int     // of all, in bytes
	forgotten uint64
}

// maxSmall is the largest size of a small value, in bytes. Large values are dropped first: one of them may need as much memory as a
// hundred passwords.
const maxSmall = 4 << 10

// recent has the last values of places, in the order of their last fetch.
type recent = simplelru.LRU[place, versions]

// place is the origin of a value. The layer distinguishes Clients and backends.
type place struct {
	secrets.Ref

	layer uint64
}

// versions are the last two values of a place.
type versions [2]string

func newMemory(maxBytes int) *memory {
	m := &memory{max: maxBytes, set: search.New(mark, shortest, isStrong)}
	var err error
	for _, all := range []**recent{&m.fetched, &m.large, &m.small} {
		if *all, err = simplelru.NewLRU[place, versions](math.MaxInt, nil); err != nil {
			panic(err) // the size is more than 0
		}
	}
	return m
}

// handOut makes logs mask value, the current one of p.
func (m *memory) handOut(p place, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, other := m.small, m.large
	if len(value) > maxSmall {
		all, other = other, all
	}
	if v, known := other.Peek(p); known { // the previous value was large and this one is small, or the reverse
		other.Remove(p)
		all.Add(p, v)
	}
	if v, _ := all.Get(p); v[0] == value {
		return
	} else if isLarge := len(value) > m.max/100; isLarge && memoryOf(value) > m.max/2 {
		m.forgotten++
		return
	}
	if p.Field != "" {
		value = strings.Clone(value) // a substring would keep its whole document in memory
	}
	eachStrong(value, m.set.Add)
	eachStrong(m.remember(all, p, value), m.set.Remove)
	m.trim()
}

// memoryOf returns the approximate memory of a value.
func memoryOf(value string) (bytes int) {
	const ofPart = 250
	bytes = len(value)
	eachStrong(value, func(part string) { bytes += ofPart + len(part) })
	return bytes
}

// fetch stores the value of a document, to be masked in later errors.
func (m *memory) fetch(p place, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, _ := m.fetched.Get(p); v[0] != value {
		m.remember(m.fetched, p, value)
		m.trim()
	}
}

// lastOf returns the last two values of a document.
func (m *memory) lastOf(p place) versions {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, _ := m.fetched.Peek(p)
	return v
}

// remember makes value the current one of p, and returns the one that it pushes out of versions.
func (m *memory) remember(all *recent, p place, value string) (former string) {
	v, known := all.Peek(p)
	if known {
		m.size -= v.size()
	}
	former, v = v[1], versions{value, v[0]}
	all.Add(p, v)
	m.size += v.size()
	return former
}

func (v versions) size() int {
	const ofPlace = 480 // without the values, about
	return ofPlace + len(v[0]) + len(v[1])
}

// trim drops values until the memory is within max: first those that are only masked in errors, then large ones, then small ones.
func (m *memory) trim() {
	for _, all := range []*recent{m.fetched, m.large, m.small} {
		for all.Len() > 0 {
			if _, index := m.set.Size(); m.size+index <= m.max {
				return
			}
			_, v, _ := all.RemoveOldest()
			m.size -= v.size()
			for _, value := range v {
				if all != m.fetched && value != "" {
					m.forgotten++
					eachStrong(value, m.set.Remove)
				}
			}
		}
	}
}

// eachStrong calls f for each part of value that is masked in logs, and returns the number of the other parts.
func eachStrong(value string, f func(part string)) (weak int) {
	for part := range parts(value, false) {
		if isStrong(part) {
			f(part)
		} else {
			weak++
		}
	}
	return weak
}

func (m *memory) count(marks int) {
	if marks > 0 {
		m.masked.Add(uint64(marks))
	}
}

func (m *memory) stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	patterns, index := m.set.Size()
	s := Stats{Patterns: patterns, Forgotten: m.forgotten, Masked: m.masked.Load(), Size: m.size + index}
	for _, v := range append(m.small.Values(), m.large.Values()...) {
		for _, value := range v {
			if value != "" {
				s.Values++
				s.Skipped += eachStrong(value, func(string) {})
			}
		}
	}
	return s
}
