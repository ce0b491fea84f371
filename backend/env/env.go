// Package env reads secrets from environment variables.
//
//	client, err := secrets.New(env.New(env.WithPrefix("MYAPP_")))
//	…
//	password, err := client.Get(ctx, "database#password") // MYAPP_DATABASE_PASSWORD
//
// # Keys
//
// A key names the variables below. P is the prefix; the first variable that is set wins:
//
//	database             Pdatabase, then PDATABASE
//	database/password    Pdatabase/password, then PDATABASE_PASSWORD
//	database#password    the variables of database/password, then the field password of the JSON in those of database
//	database/password#   the variables of database/password
//
// The second name is one that a shell can set. ASCII letters are in upper case, and every byte that is not a letter, a digit or "_"
// becomes "_".
//
// A variable that is set and empty is an empty secret.
//
// # Configuration
//
// [WithPrefix] keeps variables that other programs set, such as DATABASE, out of the way. [WithFiles] also reads the file that NAME_FILE
// names, as the official Docker images do. [WithRawBytes] turns off the rule under Text. [WithLookup] replaces [os.LookupEnv], and
// [WithName] renames the backend in errors. No variable configures the backend.
//
// # Freshness
//
// Every call reads the variables, and the files of [WithFiles], again. The client neither caches nor deduplicates these reads.
//
// # Text
//
// A text loses one byte order mark at its beginning and one newline, "\n" or "\r\n", at its end. White space stays. A value that is not
// valid UTF-8 stays as it is. Package file has the same rule.
//
// # Kubernetes
//
// For each Service, Kubernetes sets variables that begin with the name of the Service. The Service "database" sets
// DATABASE_PORT=tcp://10.0.0.11:5432, which is also the variable of database#port. The backend does not take this link for the field:
// database#port is the field of the JSON in DATABASE, and the key database/port reads the link. The backend recognizes a link by its
// value, which repeats DATABASE_SERVICE_HOST and DATABASE_SERVICE_PORT.
//
// # Errors
//
// Each is a [secrets.Error], or the error of the context. A detail names variables and never contains their values.
//
//	secrets.ErrNotFound          none of the variables is set; the error names them
//	secrets.ErrFieldNotFound     the JSON in the variable has no such field
//	secrets.ErrMalformed         the variable is not JSON, but the key has a field; with WithFiles, NAME and NAME_FILE are both set, or the
//	                             file is missing, too large or not a regular file
//	secrets.ErrPermissionDenied  the file of WithFiles cannot be read
//	secrets.ErrUnavailable       reading the file of WithFiles failed
//	secrets.ErrInvalidKey        the key has a version or an empty path
//
// A fallback for not found is not used after [secrets.ErrMalformed].
//
// # Limits
//
// Environment variables have no versions. The keys "a/b", "a-b" and "a.b" all mean A_B. Among the variables that Kubernetes sets for a
// Service, the backend recognizes only links; to have none of them, set enableServiceLinks: false in the pod. A file of [WithFiles]
// holds at most 1 MiB.
package env

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/regular"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// maxFile is the maximum size of a file of [WithFiles], in bytes.
const maxFile = 1 << 20

// Backend reads environment variables at each call. It is safe for concurrent use if the function of [WithLookup] is.
type Backend struct {
	name   string
	prefix string
	lookup func(string) (string, bool)
	files  bool
	raw    bool
	fault  error

	nonblocking bool
}

// New returns a Backend. [secrets.New] reports invalid options.
func New(opts ...Option) *Backend {
	c := newConfig(opts)
	return &Backend{
		name: c.name, prefix: c.prefix, lookup: c.lookup, files: c.files, raw: c.raw, fault: c.faults.Err(),
		nonblocking: !c.files && !c.ownLookup,
	}
}

// Info describes the backend. It is Local: every read is cheap and current. It is Nonblocking without [WithFiles] and [WithLookup].
func (b *Backend) Info() secrets.Info {
	return secrets.Info{
		Name: b.name, Local: true, Nonblocking: b.nonblocking, Resolve: b.resolve, Hint: b.hint, Locate: b.locate, Fault: b.fault,
	}
}

// Close does nothing.
func (b *Backend) Close() error { return nil }

// Fetch returns the value of the variable that ref.Path names. The secret has no Meta.Version: environment variables have no versions,
// and hashing the value would cost more than the rest of the call.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if err := ctx.Err(); err != nil {
		return secrets.Secret{}, err
	}
	if err := check(ref); err != nil {
		return secrets.Secret{}, err
	}
	exact, portable := b.variables(ref.Path)
	value, found, err := b.read(exact)
	if !found && err == nil && portable != exact {
		value, found, err = b.read(portable)
	}
	switch {
	case err != nil:
		return secrets.Secret{}, err
	case !found:
		return secrets.Secret{}, b.notFound(exact, portable)
	default:
		return secrets.NewSecret(value, secrets.Meta{}), nil
	}
}

// resolve returns the ref path/field for path#field if a variable for it is set, and ref unchanged otherwise.
func (b *Backend) resolve(ref secrets.Ref) secrets.Ref {
	if ref.Field == "" {
		return ref
	}
	path := ref.Path + "/" + ref.Field
	exact, portable := b.variables(path)
	if b.isSet(exact) || portable != exact && b.isSet(portable) && !b.isServiceLink(portable) {
		return secrets.Ref{Path: path, Version: ref.Version}
	}
	return ref
}

// hint names the variable that would hold the field of ref alone.
func (b *Backend) hint(ref secrets.Ref) string {
	if ref.Field == "" {
		return ""
	}
	_, name := b.variables(ref.Path + "/" + ref.Field)
	if b.isServiceLink(name) {
		return name + " is the link of a Kubernetes Service, not a field; set enableServiceLinks: false in the pod to leave it out"
	}
	if b.files {
		name += " or " + name + fileSuffix
	}
	return name + ", for the field alone, is not set either"
}

var _ secrets.Backend = (*Backend)(nil)

func check(ref secrets.Ref) error {
	switch {
	case ref.Path == "":
		return invalid("the path is empty")
	case ref.Version != "":
		return invalid("environment variables keep no versions; leave ?version= out")
	case ref.Field != "":
		return invalid("a backend reads whole documents; leave the field out")
	default:
		return nil
	}
}

// variables returns the two names of the variable for path, in the order of lookup. They may be equal.
func (b *Backend) variables(path string) (exact, portable string) {
	n := len(b.prefix) + len(path)
	var both strings.Builder
	both.Grow(2 * n)
	both.WriteString(b.prefix)
	both.WriteString(path)
	both.WriteString(b.prefix)
	for i := range len(path) {
		both.WriteByte(portableByte(path[i]))
	}
	return both.String()[:n], both.String()[n:]
}

// portableByte returns the byte that replaces c in a portable name. It handles ASCII only: some letters outside ASCII have an upper case
// within it, and names must not depend on Unicode tables.
func portableByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z':
		return c - 'a' + 'A'
	case 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		return c
	default:
		return '_'
	}
}

const fileSuffix = "_FILE"

// read returns the value of the variable name, or with [WithFiles] the content of the file that name_FILE names. If both are set, an empty
// value counts as not set, as in the official Docker images: a Compose file with ${NAME:-} sets it. See
// https://github.com/docker-library/postgres/blob/master/docker-entrypoint.sh.
func (b *Backend) read(name string) (value string, found bool, err error) {
	value, found = b.lookup(name)
	value = b.trim(value)
	if !b.files {
		return value, found, nil
	}
	file, ok := b.file(name)
	switch {
	case !ok:
		return value, found, nil
	case value != "":
		return "", false, malformed("both " + name + " and " + name + fileSuffix + " are set; unset one of them")
	}
	content, err := regular.ReadFile(file, maxFile)
	if err != nil {
		return "", false, fileError(name+fileSuffix, err)
	}
	return b.trim(content), true, nil
}

func (b *Backend) trim(value string) string {
	if b.raw {
		return value
	}
	return text.Trim(value)
}

// file returns the path in the variable name_FILE. An empty one counts as not set, as in the Docker images.
func (b *Backend) file(name string) (file string, ok bool) {
	file, _ = b.lookup(name + fileSuffix)
	file = text.Trim(file)
	return file, file != ""
}

func (b *Backend) isSet(name string) bool {
	_, set := b.lookup(name)
	if !set && b.files {
		_, set = b.file(name)
	}
	return set
}

// isServiceLink reports whether the variable name is the link of a Kubernetes Service: NAME_PORT=tcp://HOST:PORT, with
// NAME_SERVICE_HOST=HOST and NAME_SERVICE_PORT=PORT. See
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables and makeLinkVariables in
// https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/envvars/envvars.go.
func (b *Backend) isServiceLink(name string) bool {
	service, ok := strings.CutSuffix(name, "_PORT")
	if !ok {
		return false
	}
	if _, set := b.file(name); set && b.files {
		return false // NAME_FILE shows that a field is meant; read then rejects the pair
	}
	link, _ := b.lookup(name)
	protocol, address, _ := strings.Cut(link, "://")
	if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return false
	}
	host, _ := b.lookup(service + "_SERVICE_HOST")
	port, _ := b.lookup(service + "_SERVICE_PORT")
	return address == net.JoinHostPort(host, port)
}

// fileError classifies err, which comes from reading the file that variable names. The error must not contain the path: an operator who
// mistook NAME_FILE for NAME has put the secret there.
func fileError(variable string, err error) error {
	unreadable := "the file that " + variable + " names cannot be read"
	switch {
	case errors.Is(err, fs.ErrPermission):
		return secrets.NewError(secrets.ErrPermissionDenied, unreadable)
	// A missing file is a configuration error, not ErrNotFound: the variable says that there is a secret.
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return malformed("the file that " + variable + " names does not exist")
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EINVAL):
		return malformed(variable + " does not hold a valid file name")
	case errors.Is(err, regular.ErrNotRegular):
		return malformed(variable + " names something that is not a regular file")
	case errors.Is(err, regular.ErrTooLarge):
		return malformed(fmt.Sprintf("the file that %s names is larger than %d bytes", variable, maxFile))
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		unreadable += ": " + errno.Error()
	}
	return secrets.NewError(secrets.ErrUnavailable, unreadable)
}

func (b *Backend) notFound(exact, portable string) error {
	var d strings.Builder
	if exact == portable {
		d.WriteString(exact + " is not set")
	} else {
		d.WriteString("neither " + exact + " nor " + portable + " is set")
	}
	if b.files {
		d.WriteString(", nor " + portable + fileSuffix)
	}
	return secrets.NewError(secrets.ErrNotFound, d.String())
}

func invalid(detail string) error   { return secrets.NewError(secrets.ErrInvalidKey, detail) }
func malformed(detail string) error { return secrets.NewError(secrets.ErrMalformed, detail) }
