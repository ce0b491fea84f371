// Package env reads secrets from environment variables.
//
//	client, err := secrets.New(env.New(env.WithPrefix("MYAPP_")))
//	…
//	password, err := client.Get(ctx, "database#password") // MYAPP_DATABASE_PASSWORD
//
// # Which variable a key means
//
// The path of a key is looked up behind the prefix, first as it is, then as a name that a shell can set: ASCII letters in
// upper case, and "_" for every byte that is not a letter, a digit or "_". With the prefix P:
//
//	database             Pdatabase, else PDATABASE
//	database/password    Pdatabase/password, else PDATABASE_PASSWORD
//	database#password    the variable of database/password if it is set, else that field of the JSON in PDATABASE
//	database/password#   the variable of database/password
//
// So "a/b", "a-b" and "a.b" all mean A_B: an environment has no other way to tell them apart.
//
// A variable that is set and empty is a secret that is empty. One that is not set is [secrets.ErrNotFound], with the names
// that were looked for. An environment keeps no versions: a key with a version is [secrets.ErrInvalidKey].
//
// If PDATABASE is set to something that is not JSON, database#password is [secrets.ErrMalformed], and a fallback does not go
// on. A prefix keeps variables that other programs set, such as DATABASE, out of the way.
//
// # Text
//
// A text loses one byte order mark at its beginning and one newline, "\n" or "\r\n", at its end, as one in a file does. White space
// stays. What is not valid UTF-8 is not text, and stays as it is. [WithRawBytes] keeps everything.
//
// # Files
//
// With [WithFiles], NAME_FILE may name a file that holds the value of NAME, as the official Docker images have it.
//
// # Kubernetes
//
// For each Service, Kubernetes sets variables that begin with its name. The Service "database" has DATABASE_PORT=tcp://10.0.0.11:5432,
// which is also the variable of database#port. Such a link is no field: database#port is then the field of the JSON in DATABASE. The
// link is found by its value, which repeats DATABASE_SERVICE_HOST and DATABASE_SERVICE_PORT. Its own key, database/port, reads it.
// Other variables of a Service are not told apart. To have none of them, set enableServiceLinks: false in the pod.
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

// maxFile is the most that a file of [WithFiles] may hold.
const maxFile = 1 << 20

// Backend reads environment variables, anew at each call. It is safe for concurrent use if the function of [WithLookup] is.
//
// Its errors are each a [secrets.Error], or the error of the context. Besides not-founds and versions there are only those
// of [WithFiles].
type Backend struct {
	name   string
	prefix string
	lookup func(string) (string, bool)
	files  bool
	raw    bool
	fault  error

	nonblocking bool
}

// New returns a Backend. [secrets.New] reports the faults of its options.
func New(opts ...Option) *Backend {
	c := newConfig(opts)
	return &Backend{
		name: c.name, prefix: c.prefix, lookup: c.lookup, files: c.files, raw: c.raw, fault: c.faults.Err(),
		nonblocking: !c.files && !c.ownLookup,
	}
}

// Info describes the backend: a Local one, since the environment is at hand and always current. It is Nonblocking if it looks up
// variables with [os.LookupEnv], and not in files or with a function of the program's own.
func (b *Backend) Info() secrets.Info {
	return secrets.Info{
		Name: b.name, Local: true, Nonblocking: b.nonblocking, Resolve: b.resolve, Hint: b.hint, Locate: b.locate, Fault: b.fault,
	}
}

// Close does nothing.
func (b *Backend) Close() error { return nil }

// Fetch returns the value of the variable that ref.Path means. The secret has no Meta.Version: an environment has no
// versions, and a hash of the value would cost more than all the rest of the call.
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

// resolve returns the ref path/field for path#field if a variable for it is set, and ref as it is otherwise.
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

// hint names the variable that would have been the field of ref alone.
func (b *Backend) hint(ref secrets.Ref) string {
	if ref.Field == "" {
		return ""
	}
	_, name := b.variables(ref.Path + "/" + ref.Field)
	if b.isServiceLink(name) {
		return name + " is the link of a Kubernetes Service, and no field; enableServiceLinks: false in the pod leaves it out"
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
		return invalid("a backend is asked for documents, without a field")
	default:
		return nil
	}
}

// variables returns the names of the variables that path means, in the order in which they are looked up. They may be the
// same.
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

// portableByte returns what stands for c in the name of a portable variable. It knows ASCII only: Unicode has letters outside
// ASCII whose upper case is within it, and a name must not depend on such tables.
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

// read returns the value of the variable name, or with [WithFiles] the content of the file that name_FILE names. Then an empty value
// counts as not set: the official Docker images take it so, and a Compose file with ${NAME:-} sets it. See
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

// file returns the name of the file for the variable name. NAME_FILE is configuration and no secret, so that empty means
// not set, as it does to the Docker images.
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

// isServiceLink reports whether the variable name is the link of a Kubernetes Service: NAME_PORT=tcp://HOST:PORT, beside
// NAME_SERVICE_HOST=HOST and NAME_SERVICE_PORT=PORT. See
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables and makeLinkVariables in
// https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/envvars/envvars.go.
func (b *Backend) isServiceLink(name string) bool {
	service, ok := strings.CutSuffix(name, "_PORT")
	if !ok {
		return false
	}
	if _, set := b.file(name); set && b.files {
		return false // NAME_FILE says that a field is meant; read refuses both
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

// fileError says what is wrong with the file that variable names. It does not tell the name of the file: who mistook
// NAME_FILE for NAME has put the secret there.
func fileError(variable string, err error) error {
	unreadable := "the file that " + variable + " names cannot be read"
	switch {
	case errors.Is(err, fs.ErrPermission):
		return secrets.NewError(secrets.ErrPermissionDenied, unreadable)
	// A file that is not there is a fault of the configuration. It must not read as "not found": the variable says that
	// there is a secret.
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return malformed("the file that " + variable + " names does not exist")
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EINVAL):
		return malformed(variable + " holds no name that a file can have")
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
