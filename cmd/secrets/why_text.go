package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// explanation is the text of why.
type explanation struct {
	text   strings.Builder
	now    time.Time
	colour bool
	asked  bool // the backends were
}

func (w *explanation) printf(format string, args ...any) { fmt.Fprintf(&w.text, format, args...) }

// line writes one line of a section. What it says may have several.
func (w *explanation) line(label, format string, args ...any) {
	said := strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n", "\n             ")
	w.printf("   %-9s %s\n", label, said)
}

// link writes the section of backend number i of chain.
func (w *explanation) link(chain links, i int, ref secrets.Ref) {
	l := chain[i]
	by := ""
	if l.detection != nil {
		by = ", chosen by the environment"
	}
	w.printf("\n%d. %s%s\n", i+1, l.name, by)
	if l.fault != nil {
		w.line("fault", "it cannot be made: %s", withoutPrefix(l.fault))
		w.chain(chain, i)
		return
	}
	w.meaning(l, ref)
	w.places(l, ref)
	if w.asked {
		w.line("answer", "%s", w.outcome(l.secret, l.err))
	}
	w.chain(chain, i)
}

// meaning says which document and field ref is.
func (w *explanation) meaning(l *link, ref secrets.Ref) {
	at, alone := ref, ""
	switch resolve := l.info.Resolve; {
	case resolve == nil:
	case !l.info.Local:
		at = resolve(ref)
	case w.asked && l.err == nil: // it looks at what is there, which may hang
		if found := resolve(ref); found.Field == "" && ref.Field != "" {
			at, alone = found, ", which is the field by itself"
		}
	}
	what := "the document " + printable(at.Path) + alone
	if at.Field != "" {
		what = "the field " + printable(at.Field) + " of the document " + printable(at.Path)
	}
	if at.Version != "" {
		what += ", version " + printable(at.Version)
	}
	w.line("means", "%s", what)
}

// places says where ref is, and what a policy needs for it.
func (w *explanation) places(l *link, ref secrets.Ref) {
	places := located(l.info, ref)
	if len(places) == 0 {
		w.line("where", "nowhere: %s can have no such secret", l.info.Name)
		return
	}
	switch l.name {
	case providerVault:
		w.vault(l.info, ref, places)
	case providerAWS:
		region, label := l.info.Endpoint(ref), "name"
		if strings.HasPrefix(places[0], "arn:") {
			label = "ARN"
		}
		w.line("region", "%s", region)
		w.line(label, "%s", printable(places[0]))
		w.line("policy", "%s on %s", actionGet, resource(places[0], region))
	case providerEnv:
		w.line("variables", "%s", list(places))
	default:
		w.line("files", "%s", list(places))
	}
}

func list(places []string) string {
	all := make([]string, len(places))
	for i, place := range places {
		all[i] = printable(place)
	}
	return strings.Join(all, "\n")
}

// vault says where ref is on Vault: at each path of places that it may have.
func (w *explanation) vault(info secrets.Info, ref secrets.Ref, places []string) {
	doc := info.Resolve(ref).Path
	mount := "secret" // as package vault has it
	if value := os.Getenv("VAULT_MOUNT"); strings.TrimSpace(value) != "" {
		mount = strings.TrimSuffix(text.Trim(value), "/")
	}
	w.line("mount", "%s", printable(mount))
	for _, path := range places {
		version := 1
		if path == mount+"/data/"+doc {
			version = 2
		}
		condition := fmt.Sprintf(" (KV version %d)", version)
		if len(places) > 1 {
			condition = fmt.Sprintf(" (if the mount is KV version %d)", version)
		}
		w.line("path", "%s%s", printable(path), condition)
		if fault := pattern(path); fault != "" {
			w.line("policy", "none: %s", fault)
			continue
		}
		w.line("policy", "%s", rule(path))
	}
}

// outcome says what a backend has answered.
func (w *explanation) outcome(secret secrets.Secret, err error) string {
	if err != nil {
		said := paint(className(secrets.Class(err)), "31", w.colour)
		if e, ok := errors.AsType[*secrets.Error](err); ok && e.Detail != "" {
			said += ": " + e.Detail
		}
		return said
	}
	said := paint("found", "32", w.colour)
	meta := secret.Meta()
	if v := version(meta); v != "-" {
		said += ", version " + printable(v)
	}
	if !meta.CreatedAt.IsZero() {
		said += ", age " + age(meta.CreatedAt, w.now)
	}
	return said
}

// chain says what the chain does at backend number i.
func (w *explanation) chain(chain links, i int) {
	if len(chain) == 1 {
		return
	}
	l, last := chain[i], i == len(chain)-1
	end := chain.end()
	switch {
	case l.fault != nil:
		w.line("chain", "without this backend, the library makes no client")
	case !w.asked && i == 0:
		w.line("chain", "asked first")
	case !w.asked:
		w.line("chain", "asked if %s does not have the secret or is unavailable", chain[i-1].name)
	case i > end:
		w.line("chain", "the library does not ask it: the chain stops at %s", chain[end].name)
	case l.err == nil:
		w.line("chain", "stops here: the secret is found")
	case i < end:
		w.line("chain", "goes on to %s: %s", chain[i+1].name, className(secrets.Class(l.err)))
	case last:
		w.line("chain", "ends here: this is the last backend")
	default:
		w.line("chain", "stops here: %s", stops(secrets.Class(l.err)))
	}
}

// withoutPrefix returns the text of err on one line.
func withoutPrefix(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.Join(lines(err), "; "), "secrets: "), "detect: ")
}

// stops says why the chain does not go on after class.
func stops(class error) string {
	switch {
	case errors.Is(class, secrets.ErrPermissionDenied), errors.Is(class, secrets.ErrUnauthenticated):
		return "a denial is an answer, and no other backend replaces it"
	case errors.Is(class, secrets.ErrNotFound): // deleted, or without the field
		return "the document is here, so that no part of it comes from another backend"
	default:
		return "only not found and unavailable let the chain go on"
	}
}

// answer writes what the library answers, and returns its exit code.
func (w *explanation) answer(ctx context.Context, chain links, key string) int {
	secret, err := chain.final(ctx, key)
	if err != nil {
		w.printf("\nanswer: %s\n", withoutPrefix(err))
		return exitCode(err)
	}
	w.printf("\nanswer: by %s: %s\n", secret.Meta().Backend, w.outcome(secret, nil))
	return exitFound
}
