package vault

import (
	"context"
	"encoding/json"
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
			" for KV version 2, or on " + b.plainPath(ref) + " for version 1; or nothing is mounted at " + b.mount.path +
			leftOpen(one, two))
	default:
		return secrets.Secret{}, one
	}
}

// leftOpen returns what is to be said beside the policies, if one of two denials leaves open whether the token is at fault.
func leftOpen(denials ...error) string {
	for _, err := range denials {
		if e, ok := errors.AsType[*secrets.Error](err); ok && strings.HasSuffix(e.Detail, tokenToo) {
			return tokenToo
		}
	}
	return ""
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
		if err := deleted(a, ref.Version); err != nil {
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
	document, ok := content(fields)
	if !ok || version == 0 {
		return secrets.Secret{}, malformed("an answer without a secret or its version")
	}
	if destroyed := present(meta["destroyed"]); destroyed != nil && string(destroyed) != "false" {
		return secrets.Secret{}, malformed("an answer with a version that was destroyed")
	}
	end, ok := deletion(meta)
	if !ok {
		return secrets.Secret{}, malformed("an answer with a deletion_time that is no time")
	}
	var created time.Time
	decode(meta["created_time"], &created) // of no use to most: without a time, the secret is as good
	name := strconv.FormatUint(version, 10)
	if ref.Version != "" && ref.Version != name {
		return secrets.Secret{}, malformed("the server answered with version " + name)
	}
	return secrets.NewSecret(document, secrets.Meta{Version: name, CreatedAt: created, ExpiresAt: end}), nil
}

// content returns the document in the fields of an answer of version 2. One that was written as null has no fields.
func content(fields map[string]json.RawMessage) (document string, ok bool) {
	value, ok := fields["data"]
	if string(value) == "null" {
		return "{}", ok
	}
	_, ok = object(value)
	return string(value), ok
}

// deletion returns when the server will delete a version, which it knows beforehand if delete_version_after is set, or the zero time:
// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version.
func deletion(meta map[string]json.RawMessage) (end time.Time, ok bool) {
	value := present(meta["deletion_time"])
	if value == nil || string(value) == `""` {
		return time.Time{}, true
	}
	return end, decode(value, &end)
}

// deleted returns the error of an answer with status 404 that tells of a version which was there, or nil.
func deleted(a answer, asked string) error {
	fields, _ := object(a.data)
	meta, _ := object(fields["metadata"])
	var (
		version   uint64
		destroyed bool
	)
	decode(meta["version"], &version)
	decode(meta["destroyed"], &destroyed)
	if version == 0 {
		return nil
	}
	name := strconv.FormatUint(version, 10)
	if asked != "" && asked != name {
		return malformed("the server answered with version " + name)
	}
	how := "was deleted"
	if destroyed {
		how = "was destroyed"
	}
	return fail(secrets.ErrDeleted, "version "+name+" "+how)
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
	if a.status == http.StatusNotFound && (a.says("Invalid path for a versioned K/V secrets engine") || a.data != nil) {
		return secrets.Secret{}, errOtherVersion
	}
	fields, err := a.success(where)
	if err != nil {
		return secrets.Secret{}, err
	}
	if a.lease == 0 && isEndpoint(ref.Path) && !ownDuration(fields) {
		return secrets.Secret{}, errOtherVersion
	}
	return b.leased(t, ref, a, began, time.Time{})
}

// isEndpoint reports whether path is one at which KV version 2 answers with something else than a secret, such as the settings
// of the mount at config. There may be a secret of version 1 at it, which has a duration, as all of version 1 have, unless it sets that
// itself.
func isEndpoint(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return slices.Contains([]string{"config", "data", "metadata", "subkeys"}, first)
}

// ownDuration reports whether a secret of version 1 sets the duration that the engine shows for it, which may be 0 or negative then. No
// answer of version 2 has such a field: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1#ttl, and for lease
// https://github.com/hashicorp/vault-plugin-secrets-kv/blob/v0.25.0/passthrough.go.
func ownDuration(fields map[string]json.RawMessage) bool {
	_, ttl := fields["ttl"]
	_, lease := fields["lease"]
	return ttl || lease
}

// checkVersion refuses what names no version of a secret. The server takes 0 and negative numbers for the latest.
func checkVersion(version string) error {
	if _, ok := number(version); version != "" && !ok {
		return invalid("?version= must be a number from 1 on")
	}
	return nil
}

// number returns the number that a version of KV version 2 is.
func number(version string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(version, 10, 32)
	return n, err == nil && n > 0 && !strings.HasPrefix(version, "0")
}

// alternates returns the version of ref before its own, which KV version 2 keeps, and numbers one by one:
// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version. A consumer that refuses the one may not have
// learned of it yet. Where the version of the mount is not known, the form decides: a version of KV version 1 is a fingerprint, with
// more digits than a number has.
func (b *Backend) alternates(ref secrets.Ref) []secrets.Ref {
	n, ok := number(ref.Version)
	if !ok || n == 1 || b.mount.known() == kv1 {
		return nil
	}
	ref.Version = strconv.FormatUint(n-1, 10)
	return []secrets.Ref{ref}
}
