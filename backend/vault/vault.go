package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fingerprint"
)

// Backend reads the secrets of one mount of a Vault server. It is safe for concurrent use.
type Backend struct {
	name     string
	mount    *mount
	anything bool // the mount may be no KV, and reading may make leases
	server   *server
	tokens   tokens
	leases   leases
	version  func(path, content string) string
	closed   atomic.Bool
}

// New returns a Backend for the server that the options and the environment name. It does not contact it: a server that is
// not there is for the first request to find. The error holds every fault of the options, joined: no address, no token or
// way to get one, two of them, an address that begins with http:// and is not of this machine, files of TLS that cannot be
// read.
func New(opts ...Option) (*Backend, error) {
	c := newConfig(opts)
	b := &Backend{
		name: c.name, mount: newMount(c.mount, c.version), anything: c.dynamic, version: fingerprint.New(),
	}
	if c.dynamic && c.version != unknownVersion {
		c.faults.Addf("WithKVVersion says that the mount is KV, and WithDynamicSecrets that it is not")
	}
	c.connect(b)
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	return b, nil
}

// Info describes the backend.
func (b *Backend) Info() secrets.Info {
	info := secrets.Info{Name: b.name, Leases: b.anything, Resolve: resolve, Locate: b.locate, OnChange: b.leases.onEnd}
	if !b.anything {
		info.Alternates = b.alternates
	}
	return info
}

// Fetch returns the secret at ref.Path, as the JSON object that the server keeps. With a ref.Version, it is that version of
// a KV version 2 secret. Meta.Version is the number of the version; where the engine has none, a text that changes when the
// secret changes. Meta.ExpiresAt is set only if the secret has a lease, or is rotated on a schedule.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if err := check(ref); err != nil {
		return secrets.Secret{}, err
	}
	const tries = 2 // the second with another token
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return secrets.Secret{}, err
		}
		if b.closed.Load() {
			return secrets.Secret{}, errClosed()
		}
		t, err := b.tokens.token(ctx)
		if err != nil {
			return secrets.Secret{}, err
		}
		secret, err := b.read(ctx, t, ref)
		switch {
		case try < tries && b.again(ctx, t, err):
		case errors.Is(err, errVoid):
			return secrets.Secret{}, unavailable("the token ended while it was used")
		case b.closed.Load() && refused(err): // by its own revocation, it may be
			return secrets.Secret{}, errClosed()
		default:
			return secret, err
		}
	}
}

func refused(err error) bool {
	return errors.Is(err, secrets.ErrUnauthenticated) || errors.Is(err, secrets.ErrPermissionDenied)
}

func (b *Backend) read(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	read := b.kv
	if b.anything {
		read = b.dynamic
	}
	secret, err := read(ctx, t, ref)
	return secret, b.misplaced(ref, err)
}

// misplaced returns err, and with a denial or a not-found what the key is to be, if it begins as the paths of the API and of policies do.
func (b *Backend) misplaced(ref secrets.Ref, err error) error {
	class := secrets.Class(err)
	if class != secrets.ErrNotFound && class != secrets.ErrPermissionDenied {
		return err
	}
	if ref.Path == b.mount.path {
		if e, ok := errors.AsType[*secrets.Error](err); ok {
			return fail(class, e.Detail+"; the key must not begin with the mount, "+ref.Path)
		}
	}
	path, cut := strings.CutPrefix(ref.Path, b.mount.path+"/")
	if !b.anything {
		rest, ofData := strings.CutPrefix(path, "data/")
		path, cut = rest, cut || ofData
	}
	e, ok := errors.AsType[*secrets.Error](err)
	if !cut || !ok {
		return err
	}
	begins := b.mount.path + "/"
	if !b.anything {
		begins += " or data/"
	}
	return fail(class, fmt.Sprintf("%s; the key must not begin with %s: write %s in place of %s", e.Detail, begins, path, ref.Path))
}

// again reports whether a request that failed with err is worth repeating with another token than t.
func (b *Backend) again(ctx context.Context, t token, err error) bool {
	switch {
	case errors.Is(err, errVoid):
		return true
	case errors.Is(err, secrets.ErrUnauthenticated):
		return b.tokens.another(ctx, t, true)
	case errors.Is(err, secrets.ErrPermissionDenied):
		return b.tokens.another(ctx, t, false)
	default:
		return false
	}
}

// resolve returns the document that ref is in, and its field: the last segment of a path is a field, so that
// database/password and database#password are one document, one call and one version. A path of one segment is a whole
// secret, and so is one with nothing behind its #, as team/app/database#.
func resolve(ref secrets.Ref) secrets.Ref {
	if ref.Field != "" || ref.Whole {
		return secrets.Ref{Path: ref.Path, Field: ref.Field, Version: ref.Version}
	}
	if cut := strings.LastIndexByte(ref.Path, '/'); cut >= 0 {
		return secrets.Ref{Path: ref.Path[:cut], Field: ref.Path[cut+1:], Version: ref.Version}
	}
	return ref
}

// Close ends what renews the token, and revokes the token if a login has obtained it, and with it the leases that it has
// brought. A token that the program gave stays valid. Requests after it are [secrets.ErrClosed]. A second Close does nothing.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	err := b.tokens.close()
	if b.server.release != nil {
		b.server.release()
	}
	return err
}

var _ secrets.Backend = (*Backend)(nil)

// check refuses what cannot be asked for. The Client has checked most of it already; this is the second line, for those who
// call the Backend themselves: the official client would clean a path with .. in it, and read something else.
func check(ref secrets.Ref) error {
	if ref.Field != "" {
		return invalid("a backend is asked for documents, without a field")
	}
	if err := ref.Validate(); err != nil {
		return err
	}
	return checkVersion(ref.Version)
}
