package vault

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// errOtherVersion says that the mount is not of the version that it was taken for.
var errOtherVersion = errors.New("the mount is of another version")

// kv reads ref from a KV secrets engine.
func (b *Backend) kv(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	const looks = 3 // two may be spent on a mount that changes under the first
	for range looks {
		version, err := b.mount.find(ctx, b.server, t)
		if err != nil {
			return secrets.Secret{}, err
		}
		if version == unknownVersion {
			return b.kvEither(ctx, t, ref)
		}
		secret, err := b.kvOf(ctx, version, t, ref)
		switch {
		case errors.Is(err, errOtherVersion):
			if !b.mount.forget(version) {
				return secrets.Secret{}, invalid("the mount " + b.mount.path + " is not of the version that WithKVVersion says")
			}
		case ofWrongPath(err) && b.mount.doubt(version):
		default:
			return secret, err
		}
	}
	return secrets.Secret{}, unavailable("the mount " + b.mount.path + " changes its version")
}

// ofWrongPath reports whether err may come of a read at the path of another version. Policies follow an upgrade, too.
func ofWrongPath(err error) bool {
	return errors.Is(err, secrets.ErrNotFound) || errors.Is(err, secrets.ErrPermissionDenied) || errors.Is(err, secrets.ErrInvalidKey)
}

func (b *Backend) kvOf(ctx context.Context, version kvVersion, t token, ref secrets.Ref) (secrets.Secret, error) {
	if version == kv2 {
		return b.kvTwo(ctx, t, ref)
	}
	return b.kvOne(ctx, t, ref)
}

// kvEither reads ref from a mount whose version the server does not tell. An answer that only one version gives tells it.
func (b *Backend) kvEither(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	secret, two := b.kvTwo(ctx, t, ref)
	if two == nil || errors.Is(two, secrets.ErrDeleted) {
		b.mount.note(kv2)
		return secret, two
	}
	undecided := errors.Is(two, secrets.ErrNotFound) || errors.Is(two, secrets.ErrPermissionDenied) || errors.Is(two, errOtherVersion)
	if !undecided || ref.Version != "" {
		return secrets.Secret{}, plain(two)
	}
	secret, one := b.kvOne(ctx, t, ref)
	switch {
	case one == nil:
		b.mount.note(kv1)
		return secret, nil
	case errors.Is(one, errOtherVersion):
		b.mount.note(kv2)
		return secrets.Secret{}, plain(two)
	case errors.Is(one, secrets.ErrPermissionDenied), errors.Is(two, secrets.ErrPermissionDenied) && errors.Is(one, secrets.ErrNotFound):
		return secrets.Secret{}, denied("the policies of the token must grant read on " + b.dataPath(ref) +
			" for KV version 2, or on " + b.plainPath(ref) + " for version 1; or nothing is mounted at " + b.mount.path)
	default:
		return secrets.Secret{}, one
	}
}

// plain returns err, or the error for a mount of another version that could not be looked into.
func plain(err error) error {
	if errors.Is(err, errOtherVersion) {
		return malformed("the answer is not that of KV version 2")
	}
	return err
}

func (b *Backend) dataPath(ref secrets.Ref) string  { return b.mount.path + "/data/" + ref.Path }
func (b *Backend) plainPath(ref secrets.Ref) string { return b.mount.path + "/" + ref.Path }

// kvTwo reads ref from a mount of version 2.
func (b *Backend) kvTwo(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	var query url.Values
	path := b.dataPath(ref)
	where := path
	if ref.Version != "" {
		query = url.Values{"version": {ref.Version}}
		where = "version " + ref.Version + " of " + path
	}
	a, err := b.server.get(ctx, t, path, query)
	if err != nil {
		return secrets.Secret{}, err
	}
	if a.status == http.StatusNotFound {
		if err := deleted(a); err != nil {
			return secrets.Secret{}, err
		}
	}
	fields, err := a.success(where)
	if err != nil {
		return secrets.Secret{}, err
	}
	meta, ok := object(fields["metadata"])
	if !ok {
		return secrets.Secret{}, errOtherVersion
	}
	var version uint64
	decode(meta["version"], &version)
	if _, ok := object(fields["data"]); !ok || version == 0 {
		return secrets.Secret{}, malformed("an answer without a secret or its version")
	}
	name := strconv.FormatUint(version, 10)
	if ref.Version != "" && ref.Version != name {
		return secrets.Secret{}, malformed("the server answered with version " + name)
	}
	return secrets.NewSecret(string(fields["data"]), secrets.Meta{Version: name}), nil
}

// deleted returns the error of an answer with status 404 that tells of a version which was there, or nil.
func deleted(a answer) error {
	fields, _ := object(a.data)
	meta, ok := object(fields["metadata"])
	if !ok {
		return nil
	}
	var (
		version   uint64
		destroyed bool
	)
	decode(meta["version"], &version)
	decode(meta["destroyed"], &destroyed)
	how := "was deleted"
	if destroyed {
		how = "was destroyed"
	}
	return fail(secrets.ErrDeleted, "version "+strconv.FormatUint(version, 10)+" "+how)
}

// kvOne reads ref from a mount of version 1.
func (b *Backend) kvOne(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	if ref.Version != "" {
		return secrets.Secret{}, invalid("KV version 1 keeps no versions; leave ?version= out")
	}
	where := b.plainPath(ref)
	began := time.Now()
	a, err := b.server.get(ctx, t, where, nil)
	if err != nil {
		return secrets.Secret{}, err
	}
	switch {
	case a.status == http.StatusNotFound && a.says("Invalid path for a versioned K/V secrets engine"),
		a.status == http.StatusOK && a.lease == 0 && isEndpoint(ref.Path):
		return secrets.Secret{}, errOtherVersion
	}
	if _, err := a.success(where); err != nil {
		return secrets.Secret{}, err
	}
	return b.leased(t, ref, a, began, time.Time{})
}

// isEndpoint reports whether path is one at which KV version 2 answers with something else than a secret, such as the settings
// of the mount at config. There may be a secret of version 1 at it, which has a duration, as all of version 1 have.
func isEndpoint(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return slices.Contains([]string{"config", "data", "metadata", "subkeys"}, first)
}

// checkVersion refuses what names no version of a secret. The server takes 0 and negative numbers for the latest.
func checkVersion(version string) error {
	if n, err := strconv.ParseUint(version, 10, 32); version != "" && (err != nil || n == 0 || strings.HasPrefix(version, "0")) {
		return invalid("?version= must be a number from 1 on")
	}
	return nil
}
