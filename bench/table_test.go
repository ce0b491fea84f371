package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// table is a table in Markdown. Columns after the first are figures, and flush right.
type table struct {
	title, text string
	columns     []string
	rows        [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	fmt.Fprintf(&b, "### %s\n\n%s\n\n", t.title, t.text)
	line(t.columns)
	b.WriteString("|---|" + strings.Repeat("---:|", len(t.columns)-1) + "\n")
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// count is a number with a comma for each thousand.
func count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// share is the part of the whole in percent, rounded down: 100 % is all of it.
func share(part, whole int) string {
	if part == whole {
		return "100 %"
	}
	return fmt.Sprintf("%.2f %%", math.Floor(10_000*float64(part)/float64(whole))/100)
}

// median returns the middle one of values, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// round is a time with three digits or so.
func round(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.String()
}

func TestTable(t *testing.T) {
	is := is.New(t)
	made := table{title: "Hit", text: "A text.", columns: []string{"client", "ns", "ratio"}}
	made.add("lru", "40", "1.00")
	is.Equal(made.String(), "### Hit\n\nA text.\n\n| client | ns | ratio |\n|---|---:|---:|\n| lru | 40 | 1.00 |\n")
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 360_000: "360,000", 1_234_567: "1,234,567"} {
		is.Equal(count(n), want)
	}
	is.Equal(share(3, 3), "100 %")
	is.Equal(share(179_999, 180_000), "99.99 %") // not rounded to all of them
	is.Equal(share(0, 3), "0.00 %")
	is.Equal(median([]float64{3, 1, 2}), 2.0)
	is.Equal(median([]float64{4, 1, 2, 3}), 2.5)
	is.Equal(round(1234*time.Millisecond), "1.23s")
	is.Equal(round(0), "0s")
}
