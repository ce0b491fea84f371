package detect

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
)

// Detection says which provider was chosen, and why. It shows addresses, paths, prefixes and regions, but no credentials, and can be
// logged. A Detection that comes with an error says what was found until then.
type Detection struct {
	Provider string   // "env", "file", "vault", "aws", or the name of a provider of With; "" if none could be chosen
	Reason   string   // what decided, such as "VAULT_ADDR is set (https://vault.example:8200)"
	Signals  []Signal // all that were found, in the order in which they count
	Others   []Other  // all other providers
}

// Signal is something in the environment that has to do with a provider.
type Signal struct {
	Name     string // of a variable, of two that are one signal, or of a directory
	Value    string // of a variable that holds an address, a path, a prefix or a region; "" for all others
	Provider string // to which it points, or would point if something else were set, or ""
	Used     bool   // it points to the provider that was chosen
	Note     string // why it counts, or does not

	counts     bool // it points to the provider by itself
	byPlatform bool // nobody need have meant it: AWS Lambda sets AWS_REGION by itself
}

// String returns the name, with the value if that is shown.
func (s Signal) String() string {
	if s.Value == "" {
		return s.Name
	}
	return s.Name + "=" + s.Value
}

// Other is a provider that was not chosen.
type Other struct {
	Provider string
	Reason   string // why it was not, or what is missing
}

// Ignored returns the signals that point to another provider than the one that was chosen.
func (d Detection) Ignored() []Signal {
	return slices.DeleteFunc(slices.Clone(d.Signals), func(s Signal) bool { return s.Used || !s.counts || s.Provider == "" })
}

// unused lists what was found and is not used, with the provider, or with what is missing.
func (d Detection) unused() []string {
	var all []string
	for _, s := range d.Signals {
		switch {
		case s.Used, s.Provider == "" && s.counts, s.Value == auto:
		case s.counts:
			all = append(all, s.String()+" ("+s.Provider+")")
		default:
			all = append(all, s.String()+" ("+s.Note+")")
		}
	}
	return all
}

// String returns one line: what was chosen, why, and what is set and not used.
func (d Detection) String() string {
	text := d.chosen() + ": " + d.Reason
	if unused := d.unused(); len(unused) > 0 {
		text += "; not used: " + strings.Join(unused, ", ")
	}
	return text
}

func (d Detection) chosen() string {
	if d.Provider == "" {
		return "no provider"
	}
	return d.Provider
}

// LogValue returns a group of provider, reason and what is not used.
func (d Detection) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("provider", d.Provider), slog.String("reason", d.Reason)}
	if unused := d.unused(); len(unused) > 0 {
		attrs = append(attrs, slog.String("not_used", strings.Join(unused, ", ")))
	}
	return slog.GroupValue(attrs...)
}

var (
	_ fmt.Stringer   = Signal{}
	_ fmt.Stringer   = Detection{}
	_ slog.LogValuer = Detection{}
)

// Explain writes to w, for a person, what was chosen, each signal that was found, and why each other provider was not chosen.
// Its error is that of w.
func (d Detection) Explain(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s\n", d.chosen(), d.Reason)
	text.WriteString("\nfound, in the order in which it counts:\n")
	signals := make([][]string, 0, len(d.Signals)+1)
	for _, s := range d.Signals {
		use := "not used"
		if s.Used {
			use = "used"
		}
		signals = append(signals, []string{use, s.String(), s.Provider, s.Note})
	}
	if len(signals) == 0 {
		signals = append(signals, []string{"nothing"})
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
