package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// The picture of the table hit, in pixels.
const (
	barHeight  = 16
	groupPitch = 44 // two bars and the gap to the next group
	labelWidth = 250
	barWidth   = 380 // of the longest bar
)

// hitBars draws the medians of rows as an SVG: two bars for each row that is no control, shortest first. It follows the
// colour scheme of the reader.
func hitBars(rows []*hitRow) string {
	shown := slices.Clone(rows)
	shown = slices.DeleteFunc(shown, func(r *hitRow) bool { return strings.HasPrefix(r.name, "control") })
	slices.SortFunc(shown, func(a, b *hitRow) int { return int(1000 * (median(a.serial) - median(b.serial))) })
	longest := 0.0
	for _, r := range shown {
		longest = max(longest, median(r.serial), median(r.parallel))
	}
	height := 44 + groupPitch*len(shown)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 %d" role="img" aria-labelledby="t d">
  <title id="t">A read from memory, in ns</title>
  <desc id="d">Bars for one goroutine and for %d, shortest first. The rows and figures are those of docs/performance.md.</desc>
  <style>
    text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
    .small { font-size: 11.5px; fill: #59636e } .ours { font-weight: 600 }
    .one { fill: #0969da } .many { fill: #54aeff }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc } .small { fill: #9198a1 } .one { fill: #4493f8 } .many { fill: #1f4f8f }
    }
  </style>
`, height, goroutines)
	fmt.Fprintf(&b, `  <rect class="one" x="%d" y="8" width="12" height="12"/><text class="small" x="%d" y="18">1 goroutine, ns</text>
  <rect class="many" x="%d" y="8" width="12" height="12"/><text class="small" x="%d" y="18">%d goroutines, ns per read</text>
`, labelWidth, labelWidth+18, labelWidth+130, labelWidth+148, goroutines)
	for i, r := range shown {
		y := 36 + groupPitch*i
		class := ""
		if strings.HasPrefix(r.name, our) {
			class = ` class="ours"`
		}
		label := strings.NewReplacer("**", "", "`", "").Replace(r.name)
		fmt.Fprintf(&b, "  <text%s x=\"8\" y=\"%d\">%s</text>\n", class, y+barHeight+4, html.EscapeString(label))
		for n, ns := range []float64{median(r.serial), median(r.parallel)} {
			width, top := barWidth*ns/longest, y+n*barHeight
			fmt.Fprintf(&b, "  <rect class=%q x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>",
				[]string{"one", "many"}[n], labelWidth, top, width, barHeight-2)
			fmt.Fprintf(&b, "<text class=\"small\" x=\"%.1f\" y=\"%d\">%.1f</text>\n", labelWidth+width+6, top+barHeight-4, ns)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func TestHitBars(t *testing.T) {
	is := is.New(t)
	svg := hitBars([]*hitRow{
		{name: "`slow`", serial: []float64{100}, parallel: []float64{50}},
		{name: our + ", a & b", serial: []float64{50}, parallel: []float64{25}},
		{name: "control: nothing", serial: []float64{1}, parallel: []float64{1}},
	})
	is.True(strings.Contains(svg, "secrets, a &amp; b")) // escaped, without marks of Markdown
	is.True(strings.Index(svg, "secrets, a") < strings.Index(svg, ">slow<"))
	is.True(!strings.Contains(svg, "control"))
	is.Equal(strings.Count(svg, `width="380.0"`), 1) // the longest
	is.Equal(strings.Count(svg, `width="190.0"`), 2)
}
