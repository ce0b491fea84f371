package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

var (
	claims = flag.String("claims", "", "the file that the tables are written to")
	rounds = flag.Int("rounds", 1, "rounds of the table hit")
	held   = flag.Int("secrets", 100, "secrets that each row of the table hit holds")
	bars   = flag.String("svg", "", "the file that a picture of the table hit is written to")
	period = flag.Duration("for", time.Millisecond, "time of a row of the table hit in each round")
	only   = flag.String("only", "hit,calls,outage,size", "the tables")
)

const (
	our   = "**secrets**"    // what the names of this module's rows begin with
	quick = 10 * time.Second // the time of clients that make many requests, where no file is asked for
)

// pace is how often a reader reads.
func pace(full bool) time.Duration {
	if full {
		return 100 * time.Millisecond
	}
	return time.Second
}

// progress says what is being measured, if somebody waits for it.
func progress(format string, args ...any) {
	if *claims != "" {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// TestClaims makes the tables, and checks their controls. Where no file is asked for, it measures less.
func TestClaims(t *testing.T) {
	full := *claims != ""
	var tables []string
	for name := range strings.SplitSeq(*only, ",") {
		var made []*table
		switch name {
		case "hit":
			rows := hitRows(t)
			measureHits(t, rows, *rounds, *period)
			made = append(made, hitTable(rows, *rounds, *period))
			if *bars != "" {
				must(t, os.WriteFile(*bars, []byte(hitBars(rows)), 0o600))
			}
		case "calls":
			made = append(made, callsTable(t, full))
		case "outage":
			made = append(made, outageTable(t, awsTarget(t), "Reads of AWS Secrets Manager in an outage", full),
				outageTable(t, vaultTarget(t), "Reads of Vault in an outage", full))
		case "size":
			made = append(made, sizeTable(t, full))
		default:
			t.Errorf("there is no table %q", name)
		}
		for _, m := range made {
			tables = append(tables, m.String())
		}
	}
	if full && !t.Failed() {
		must(t, os.WriteFile(*claims, []byte(strings.Join(tables, "\n")), 0o600))
	}
}

// callsTable counts what the server sees of the readers in an hour.
func callsTable(t *testing.T, full bool) *table {
	t.Helper()
	every := pace(full)
	made := &table{
		title: "Calls of AWS Secrets Manager in an hour",
		text: fmt.Sprintf("%d secrets, each read every %v for an hour of virtual time, from a server on loopback. "+
			"Control: without a cache, each of the reads is a call.", readers, every),
		columns: []string{"client", "reads", "calls", "answered", "longest read"},
	}
	for _, client := range awsClients() {
		progress("calls: %s", client.name)
		t.Run(client.name, func(t *testing.T) {
			is := is.New(t)
			cached := !strings.Contains(client.name, "no cache")
			d := time.Hour
			switch {
			case !full && cached:
				d = 2 * defaultTTL
			case !full:
				d = quick
			}
			at := awsTarget(t)
			var got tally
			synctest.Test(t, func(t *testing.T) {
				get, done := client.open(t, at)
				defer done()
				got = readFor(d, every, get)
			})
			calls := at.count()
			is.Equal(got, tally{due: got.due, made: got.due, answered: got.due}) // a healthy server
			is.Equal(calls, int(at.wire.requests.Load()))
			if cached {
				is.True(calls >= readers)
				is.True(calls < got.due/10)
			} else {
				is.Equal(calls, got.due)
			}
			made.add(client.name, count(got.made), count(calls), share(got.answered, got.due), round(got.longest))
		})
	}
	return made
}

// outageTable counts what the readers of at get in an outage.
func outageTable(t *testing.T, at *target, title string, full bool) *table {
	t.Helper()
	const outage = 30 * time.Minute
	every := pace(full)
	made := &table{
		title: title,
		text: fmt.Sprintf("%d secrets, each read every %v with a deadline of %v. After a minute the server fails for %v: it answers each "+
			"request with the status 500, or hangs. Shares are of the %s reads that are due in that time; a reader that waits misses its "+
			"next ones. The control is the minute before.", readers, every, deadline, outage, count(int(outage/every)*readers)),
		columns: []string{
			"client", "control", "500: answered", "longest read", "requests", "hangs: answered", "longest read", "requests",
		},
	}
	for i, client := range at.clients {
		cells := []string{client.name, ""}
		for _, kind := range []string{"500", "hangs"} {
			progress("outage: %s: %s", client.name, kind)
			t.Run(client.name+"/"+kind, func(t *testing.T) {
				is := is.New(t)
				var healthy, failing tally
				var requests int64
				before, outage := time.Minute, outage
				switch mine := strings.HasPrefix(client.name, our); {
				case !full && mine:
					outage = 2 * defaultTTL
				case !full:
					before, outage = quick, quick
				}
				synctest.Test(t, func(t *testing.T) {
					get, done := client.open(t, at)
					defer done()
					healthy = readFor(before, every, get)
					if kind == "500" {
						at.fail()
					} else {
						at.wire.down.Store(true)
					}
					requests = at.wire.requests.Load()
					failing = readFor(outage, every, get)
					requests = at.wire.requests.Load() - requests
				})
				at.recover()
				at.wire.down.Store(false)
				is.Equal(healthy, tally{due: healthy.due, made: healthy.due, answered: healthy.due})
				is.Equal(failing.wrong, 0)
				switch {
				case i == 0:
					is.Equal(failing.answered, 0) // or the outage is none
				case strings.HasPrefix(client.name, our):
					is.True(failing.answered > failing.due*99/100)
					is.Equal(failing.answered, failing.made)
				}
				cells[1] = share(healthy.answered, healthy.due)
				cells = append(cells, share(failing.answered, failing.due), round(failing.longest), count(int(requests)))
			})
		}
		made.add(cells...)
	}
	return made
}
