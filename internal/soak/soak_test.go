package soak_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// storm is a server that is healthy half of the time.
var storm = odds{
	healthy: 50, slow: 10, hang: 5, broken: 6, throttled: 4, reset: 4, truncated: 3, garbage: 3, empty: 2,
	missing: 4, deleted: 2, denied: 5, refused: 2,
}

// breeze is a server with more denials than failures, so failures do not hide the effects of denials.
var breeze = odds{healthy: 70, slow: 6, broken: 2, reset: 1, missing: 3, denied: 12, refused: 6}

func configs() []config {
	base := config{
		keys: 40, goroutines: 12, weights: storm, storms: true, size: 30,
		ttl: 30 * time.Millisecond, maxStale: 400 * time.Millisecond, timeout: 250 * time.Millisecond, allowance: 2 * time.Second,
		patience: 20 * time.Second,
	}
	plain, chain, leases, aws := base, base, base, base
	plain.name = "plain"
	chain.name, chain.weak, chain.weights, chain.ttl, chain.size = "chain", true, breeze, 20*time.Millisecond, 100
	leases.name, leases.leases, leases.ttl, leases.size = "leases", true, 50*time.Millisecond, 100
	aws.name, aws.source, aws.size, aws.keys, aws.goroutines = "aws", newAWS, 100, 20, 8
	return []config{plain, chain, leases, aws}
}

// TestSoak reads for the duration of the variable SOAK. Default: 2 seconds. SOAK_SEED repeats the rotations and faults of a run.
func TestSoak(t *testing.T) {
	lasts, seed := 2*time.Second, uint64(time.Now().UnixNano())
	if text := os.Getenv("SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			t.Fatalf("SOAK=%q is not a duration, such as 1m", text)
		}
		lasts = d
	}
	if text := os.Getenv("SOAK_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SOAK_SEED=%q is not a number", text)
		}
		seed = n
	}
	t.Logf("SOAK=%v SOAK_SEED=%d", lasts, seed)

	before := goleak.IgnoreCurrent()
	late := newStalls()
	var worlds []*world
	for _, c := range configs() {
		worlds = append(worlds, newWorld(t, c, seed, late))
	}
	var running sync.WaitGroup
	for _, w := range worlds {
		running.Go(func() {
			w.run(seed, lasts, func() bool { return false })
			w.recover()
		})
	}
	running.Wait()
	late.close()
	leftOver := goleak.Find(before)
	for _, w := range worlds {
		if leftOver != nil {
			w.checker.report(leaked, "%v", leftOver)
		}
	}
	t.Logf("\n%s\nthe processors were late by up to %v", table(worlds), late.worst(origin, time.Now()).Round(time.Millisecond))
	for _, w := range worlds {
		for f, examples := range w.checker.examples {
			if n := w.checker.found[f].Load(); n > 0 {
				t.Errorf("%s: %v: %d, such as\n\t%q", w.name, fault(f), n, examples)
			}
		}
	}
}

// table prints the results, with a column for each client.
func table(worlds []*world) string {
	var text bytes.Buffer
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(w *world) any) {
		line := name + "\t"
		for _, w := range worlds {
			line += fmt.Sprintf("%v\t", cell(w))
		}
		_, _ = io.WriteString(out, line+"\n") // into memory
	}
	row("", func(w *world) any { return w.name })
	row("reads", func(w *world) any { return w.checker.reads.Load() })
	row("fetches", func(w *world) any { return w.ledger.fetches.Load() })
	row("stale", func(w *world) any { return w.checker.stale.Load() })
	row("of the weak source", func(w *world) any { return w.checker.weak.Load() })
	row("invalidations", func(w *world) any { return w.invalidations.Load() })
	row("rotations", func(w *world) any { return w.source.rotations() })
	row("p50", func(w *world) any { return w.checker.quantile(0.5).Round(time.Microsecond) })
	row("p99", func(w *world) any { return w.checker.quantile(0.99).Round(time.Millisecond) })
	row("longest", func(w *world) any { return time.Duration(w.checker.longest.Load()).Round(time.Millisecond) })
	counts := func(title string, of func(w *world) map[string]int64) {
		names := make(map[string]bool)
		for _, w := range worlds {
			for name := range of(w) {
				names[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			row(title+name, func(w *world) any { return of(w)[name] })
		}
	}
	counts("error: ", func(w *world) map[string]int64 { return w.checker.classes })
	counts("fault: ", func(w *world) map[string]int64 { return w.source.faults() })
	for f := range faults {
		row("never: "+f.String(), func(w *world) any { return w.checker.found[f].Load() })
	}
	_ = out.Flush() // into memory
	return text.String()
}
