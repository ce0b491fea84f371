package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
)

const (
	ringSize   = 1024 // keys that are read in turn
	goroutines = 8    // of the parallel column
)

// lookup is the one function that the harness calls, whatever is behind it.
type lookup func(key string) (value string, ok bool)

// hitRow is a way to read a secret from memory.
type hitRow struct {
	name string
	ring []string // what is read
	get  lookup
	want func(key string) string // the value of key; nil if the row looks up no key

	serial, parallel, ratio, parallelRatio []float64 // of each round: ns, and the ratios to the reference
	allocs                                 float64
}

// reference is the name of the row that all others are compared with.
const reference = "`lru.Cache` of hashicorp/golang-lru"

// ring returns keys in a random order, each a string of its own, so that equal pointers help no comparison of keys.
func ring(format string) []string {
	keys := make([]string, ringSize)
	for i := range keys {
		keys[i] = fmt.Sprintf(format, i%*held)
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

// read calls get for the keys of the ring on as many goroutines as workers, for d. It returns the time of a call, and how many calls found
// nothing.
func (r *hitRow) read(workers int, d time.Duration) (ns float64, missed int64) {
	var stop atomic.Bool
	var calls, misses atomic.Int64
	var wg sync.WaitGroup
	keys, get := r.ring, r.get
	began := time.Now()
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	for w := range workers {
		wg.Go(func() {
			from, done, empty := w*ringSize/workers, 0, 0
			for first := true; first || !stop.Load(); first = false {
				for i := range ringSize {
					if v, ok := get(keys[(from+i)%ringSize]); !ok || v == "" {
						empty++
					}
				}
				done += ringSize
			}
			calls.Add(int64(done))
			misses.Add(int64(empty))
		})
	}
	wg.Wait()
	return float64(time.Since(began)) / float64(calls.Load()), misses.Load()
}

// measureHits reads all rows in turns, in each of rounds for d.
func measureHits(t *testing.T, rows []*hitRow, rounds int, d time.Duration) {
	t.Helper()
	for _, r := range rows {
		at := 0
		r.allocs = testing.AllocsPerRun(ringSize, func() {
			_, _ = r.get(r.ring[at%ringSize])
			at++
		})
	}
	for n := range rounds {
		progress("hit: round %d of %d", n+1, rounds)
		var serial, parallel float64 // of the reference, which is the first row
		for _, r := range rows {
			runtime.GC()
			one, missed := r.read(1, d)
			many, missedToo := r.read(goroutines, d)
			if missed+missedToo > 0 {
				t.Errorf("%s: %d reads found nothing", r.name, missed+missedToo)
			}
			if r.name == reference {
				serial, parallel = one, many
			}
			r.serial, r.parallel = append(r.serial, one), append(r.parallel, many)
			r.ratio, r.parallelRatio = append(r.ratio, one/serial), append(r.parallelRatio, many/parallel)
		}
	}
}

// hitTable returns the table of rows that were measured.
func hitTable(rows []*hitRow, rounds int, d time.Duration) *table {
	made := &table{
		title: "A read from memory",
		text: fmt.Sprintf("ns, medians of %d rounds of %v. Ratios are to `lru.Cache` in the same round; less is faster. "+
			"%s, %s, %d processors, %d secrets.", rounds, d, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH, runtime.GOMAXPROCS(0), *held),
		columns: []string{"", "1 goroutine", "ratio", fmt.Sprintf("%d goroutines", goroutines), "ratio", "allocations"},
	}
	for _, r := range rows {
		made.add(r.name, fmt.Sprintf("%.1f", median(r.serial)), fmt.Sprintf("%.2f", median(r.ratio)),
			fmt.Sprintf("%.1f", median(r.parallel)), fmt.Sprintf("%.2f", median(r.parallelRatio)), fmt.Sprint(r.allocs))
	}
	return made
}

// Each row finds the value of each key, and not that of another one, from any number of goroutines.
func TestHitRows(t *testing.T) {
	for _, r := range hitRows(t) {
		t.Run(r.name, func(t *testing.T) {
			is := is.New(t)
			if r.want == nil { // it finds the same whatever it is asked for
				return
			}
			for _, key := range r.ring {
				v, ok := r.get(key)
				is.True(ok)
				is.Equal(v, r.want(key))
			}
			_, missed := r.read(goroutines, 0)
			is.Equal(missed, int64(0))
		})
	}
}

// A row that finds nothing is noticed, and one that takes longer is slower.
func TestHarness(t *testing.T) {
	is := is.New(t)
	keys := ring("key-%d")
	_, missed := (&hitRow{ring: keys, get: func(string) (string, bool) { return "", false }}).read(2, 0)
	is.True(missed >= 2*ringSize) // each goroutine reads the ring once at least
	_, missed = (&hitRow{ring: keys, get: func(key string) (string, bool) { return "", key != "" }}).read(1, 0)
	is.True(missed >= ringSize) // ok, but empty
	const pause = 10 * time.Microsecond
	ns, missed := (&hitRow{ring: keys, get: func(key string) (string, bool) {
		for began := time.Now(); time.Since(began) < pause; { //nolint:revive // it is to be slow
		}
		return key, true
	}}).read(1, 0)
	is.Equal(missed, int64(0))
	is.True(ns >= float64(pause))
}
