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
	name      string
	mount     *mount
	isDynamic bool // the mount is not KV, and a read may create a lease
	server    *server
	tokens    tokens
	leases    leases
	version   func(path, content string) string
	closed    atomic.Bool
}

// New returns a Backend for the server that the options and the environment name. It makes no network calls. The error joins every fault of
// the configuration, such as no address, no token, two sources of tokens, an http:// address of another machine, or TLS files that cannot
// be read.
func New(opts ...Option) (*Backend, error) {
	c := newConfig(opts)
	b := &Backend{
		name: c.name, mount: newMount(c.mount, c.version), isDynamic: c.dynamic, version: fingerprint.New(),
	}
	if c.dynamic && c.version != unknownVersion {
		c.faults.Addf("WithKVVersion is for KV mounts and WithDynamicSecrets for others; drop one")
	}
	c.connect(b)
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	return b, nil
}

// Info describes the backend.
func (b *Backend) Info() secrets.Info {
	info := secrets.Info{Name: b.name, Leases: b.isDynamic, Resolve: resolve, Locate: b.locate, OnChange: b.leases.onEnd}
	if !b.isDynamic {
		info.Alternates = b.alternates
	}
	return info
}

// Fetch returns the secret at ref.Path as a JSON object; ref.Field must be empty. With KV version 2, ref.Version selects a version, and
// Meta.Version is its number. Other engines have no versions: Meta.Version is then a text that changes with the secret. Meta.ExpiresAt is
// set for a secret with a lease, a scheduled rotation or a scheduled deletion.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if err := check(ref); err != nil {
		return secrets.Secret{}, err
	}
	const maxTries = 2 // the second with another token
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
		case try < maxTries && b.again(ctx, t, err):
		case errors.Is(err, errTokenEnded):
			return secrets.Secret{}, unavailable("the token ended while it was used")
		case b.closed.Load() && refused(err): // Close may have revoked the token
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
	read := b.readKV
	if b.isDynamic {
		read = b.readDynamic
	}
	secret, err := read(ctx, t, ref)
	return secret, b.withKeyHint(ref, err)
}

// withKeyHint adds to a denial or a not-found how to write the key, if the key begins with the mount or data/.
func (b *Backend) withKeyHint(ref secrets.Ref, err error) error {
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
	if !b.isDynamic {
		rest, ofData := strings.CutPrefix(path, "data/")
		path, cut = rest, cut || ofData
	}
	e, ok := errors.AsType[*secrets.Error](err)
	if !cut || !ok {
		return err
	}
	begins := b.mount.path + "/"
	if !b.isDynamic {
		begins += " or data/"
	}
	return fail(class, fmt.Sprintf("%s; the key must not begin with %s: write %s in place of %s", e.Detail, begins, path, ref.Path))
}

// again reports whether a request that failed with err should be repeated with another token than t.
func (b *Backend) again(ctx context.Context, t token, err error) bool {
	switch {
	case errors.Is(err, errTokenEnded):
		return true
	case errors.Is(err, secrets.ErrUnauthenticated):
		return b.tokens.another(ctx, t, true)
	case errors.Is(err, secrets.ErrPermissionDenied):
		return b.tokens.another(ctx, t, false)
	default:
		return false
	}
}

// resolve returns the document of ref, and its field: the last segment of the path. database/password and database#password are thus one
// document. A path of one segment, or one that ends in #, such as team/app/database#, is a whole secret.
func resolve(ref secrets.Ref) secrets.Ref {
	if ref.Field != "" || ref.Whole {
		return secrets.Ref{Path: ref.Path, Field: ref.Field, Version: ref.Version}
	}
	if cut := strings.LastIndexByte(ref.Path, '/'); cut >= 0 {
		return secrets.Ref{Path: ref.Path[:cut], Field: ref.Path[cut+1:], Version: ref.Version}
	}
	return ref
}

// Close stops renewals. It revokes the token of a login, and with it the leases that the token obtained. A token that the program set stays
// valid. Later requests are [secrets.ErrClosed]. A second Close does nothing.
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

// check rejects invalid refs. The Client has validated most of them already. A direct caller of Fetch needs it too: the official client
// would clean a path with .. in it, and read another secret.
func check(ref secrets.Ref) error {
	if ref.Field != "" {
		return invalid("a backend reads whole documents; leave the field out")
	}
	if err := ref.Validate(); err != nil {
		return err
	}
	return checkVersion(ref.Version)
}
