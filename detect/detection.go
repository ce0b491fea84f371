package detect

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
)

// Detection reports which provider was chosen, and why. It shows addresses, paths, prefixes and regions, but no credentials, and is safe to
// log. A Detection returned with an error reports what was found until then.
type Detection struct {
	Provider string   // "env", "file", "vault", "aws", or the name of a provider of With; "" if none could be chosen
	Reason   string   // what decided, such as "VAULT_ADDR is set (https://vault.example:8200)"
	Signals  []Signal // all that were found, in order of precedence
	Others   []Other  // all other providers
}

// Signal is a variable or a directory that is related to a provider.
type Signal struct {
	Name     string // of a variable, of two that are one signal, or of a directory
	Value    string // of a variable with an address, a path, a prefix or a region; "" for all others
	Provider string // the provider it points to, or would point to if another variable were set; or ""
	Used     bool   // it points to the chosen provider
	Note     string // why it counts, or does not

	counts     bool // it points to the provider on its own
	byPlatform bool // a platform may have set it, as AWS Lambda sets AWS_REGION
}

// String returns the name, followed by "=" and the value if there is one.
func (s Signal) String() string {
	if s.Value == "" {
		return s.Name
	}
	return s.Name + "=" + s.Value
}

// Other is a provider that was not chosen.
type Other struct {
	Provider string
	Reason   string // why not, or what is missing
}

// Ignored returns the signals that point to another provider than the chosen one.
func (d Detection) Ignored() []Signal {
	return slices.DeleteFunc(slices.Clone(d.Signals), func(s Signal) bool { return s.Used || !s.counts || s.Provider == "" })
}

// unused lists the signals that are not used, each with its provider or with what is missing.
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

// String returns one line: the chosen provider, the reason, and the signals that are not used.
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

// LogValue returns a group with provider, reason and, if there are unused signals, not_used.
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

// Explain writes a report to w: the chosen provider, each signal that was found, and why each other provider was not chosen. It returns the
// error of w.
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

// table writes rows in aligned columns.
func table(text *strings.Builder, rows [][]string) {
	columns := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(columns, "  "+strings.Join(row, "\t")) //nolint:errcheck // a strings.Builder never fails
	}
	_ = columns.Flush() //nolint:errcheck // a strings.Builder never fails
}
