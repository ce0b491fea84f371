package detect

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
)

// Strength says how much a signal means. A greater one means more.
type Strength int

// The strengths, from the weakest.
const (
	None     Strength = iota // no signal at all, or one that points nowhere by itself
	Weak                     // what platforms set by themselves, such as AWS_REGION
	Medium                   // what shells of developers export as well: VAULT_ADDR
	Strong                   // what nothing but this package reads, such as SECRET_MANAGER_PATH
	Explicit                 // SECRET_MANAGER_TYPE
)

// String returns the name of s in lower case.
func (s Strength) String() string {
	names := [...]string{"none", "weak", "medium", "strong", "explicit"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("Strength(%d)", int(s))
	}
	return names[s]
}

// MarshalText returns what String does, for JSON and the like.
func (s Strength) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

var (
	_ fmt.Stringer           = Strength(0)
	_ encoding.TextMarshaler = Strength(0)
)

// Detection says which provider was chosen, and why. It holds the names of variables, never their values, and can be logged.
// One that comes with an error says what was found until then.
type Detection struct {
	Provider string   // "env", "file", "vault", "aws", or the name of a provider of With; "" if none could be chosen
	Reason   string   // what decided, such as "VAULT_ADDR is set"
	Strength Strength // of what decided
	Signals  []Signal // all that were seen, in the order in which they count
	Others   []Other  // all other providers
}

// Signal is something in the environment that points to a provider.
type Signal struct {
	Name     string // of a variable, of two that are one signal, or of a directory
	Provider string // to which it points, or ""
	Strength Strength
	Used     bool   // it points to the provider that was chosen
	Note     string // why it counts, or does not
}

// Other is a provider that was not chosen.
type Other struct {
	Provider string
	Reason   string // why it was not
}

// Ignored returns the signals that point to another provider than the one that was chosen.
func (d Detection) Ignored() []Signal {
	return slices.DeleteFunc(slices.Clone(d.Signals), func(s Signal) bool { return s.Used || s.Strength == None || s.Provider == "" })
}

// ignored returns the names of what was ignored, with the providers.
func (d Detection) ignored() []string {
	signals := d.Ignored()
	names := make([]string, 0, len(signals))
	for _, s := range signals {
		names = append(names, s.Name+" ("+s.Provider+")")
	}
	return names
}

// String returns one line: what was chosen, why, and what was ignored.
func (d Detection) String() string {
	text := d.chosen() + ": " + d.Reason
	if ignored := d.ignored(); len(ignored) > 0 {
		text += "; ignored: " + strings.Join(ignored, ", ")
	}
	return text
}

func (d Detection) chosen() string {
	if d.Provider == "" {
		return "no provider"
	}
	return d.Provider + " (" + d.Strength.String() + ")"
}

// LogValue returns a group of provider, strength, reason and what was ignored.
func (d Detection) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("provider", d.Provider), slog.String("strength", d.Strength.String()), slog.String("reason", d.Reason),
	}
	if ignored := d.ignored(); len(ignored) > 0 {
		attrs = append(attrs, slog.String("ignored", strings.Join(ignored, ", ")))
	}
	return slog.GroupValue(attrs...)
}

var (
	_ fmt.Stringer   = Detection{}
	_ slog.LogValuer = Detection{}
)

// Explain writes to w, for a person, what was chosen, each signal that was seen, and why each other provider was not chosen.
// Its error is that of w.
func (d Detection) Explain(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s\n", d.chosen(), d.Reason)
	text.WriteString("\nsignals, in the order in which they count:\n")
	signals := make([][]string, 0, len(d.Signals)+1)
	for _, s := range d.Signals {
		use := "ignored"
		if s.Used {
			use = "used"
		}
		signals = append(signals, []string{use, s.Name, s.Provider, s.Strength.String(), s.Note})
	}
	if len(signals) == 0 {
		signals = append(signals, []string{"none"})
	}
	table(&text, signals)
	text.WriteString("\nnot chosen:\n")
	others := make([][]string, 0, len(d.Others))
	for _, o := range d.Others {
		others = append(others, []string{o.Provider, o.Reason})
	}
	table(&text, others)
	_, err := io.WriteString(w, text.String())
	return err
}

// table writes rows in columns.
func table(text *strings.Builder, rows [][]string) {
	columns := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(columns, "  "+strings.Join(row, "\t")) //nolint:errcheck // a strings.Builder never fails
	}
	_ = columns.Flush() //nolint:errcheck // a strings.Builder never fails
}
