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

// errOtherVersion says that the mount has another version than expected.
var errOtherVersion = errors.New("the mount is of another version")

// readKV reads ref from a KV secrets engine.
func (b *Backend) readKV(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	const maxTries = 3 // the mount may change during the first two
	for range maxTries {
		version, err := b.mount.find(ctx, b.server, t)
		if err != nil {
			return secrets.Secret{}, err
		}
		if version == unknownVersion {
			return b.readEither(ctx, t, ref)
		}
		secret, err := b.readVersion(ctx, version, t, ref)
		switch {
		case errors.Is(err, errOtherVersion):
			if !b.mount.invalidate(version) {
				return secrets.Secret{}, invalid("the mount " + b.mount.path + " does not have the version of WithKVVersion")
			}
		case mayBeWrongPath(err) && b.mount.invalidateIfOld(version):
		default:
			return secret, err
		}
	}
	return secrets.Secret{}, unavailable("the mount " + b.mount.path + " keeps changing its version")
}

// mayBeWrongPath reports whether err may result from reading at the path of the other version. Policies change with an upgrade, too.
func mayBeWrongPath(err error) bool {
	return errors.Is(err, secrets.ErrNotFound) || errors.Is(err, secrets.ErrPermissionDenied) || errors.Is(err, secrets.ErrInvalidKey)
}

func (b *Backend) readVersion(ctx context.Context, version kvVersion, t token, ref secrets.Ref) (secrets.Secret, error) {
	if version == kv2 {
		return b.readKV2(ctx, t, ref)
	}
	return b.readKV1(ctx, t, ref)
}

// readEither reads ref from a mount of unknown version. An answer that only one version gives decides it.
func (b *Backend) readEither(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	secret, two := b.readKV2(ctx, t, ref)
	if two == nil || errors.Is(two, secrets.ErrDeleted) {
		b.mount.note(kv2)
		return secret, two
	}
	undecided := errors.Is(two, secrets.ErrNotFound) || errors.Is(two, secrets.ErrPermissionDenied) || errors.Is(two, errOtherVersion)
	if !undecided || ref.Version != "" {
		return secrets.Secret{}, asMalformed(two)
	}
	secret, one := b.readKV1(ctx, t, ref)
	switch {
	case one == nil:
		b.mount.note(kv1)
		return secret, nil
	case errors.Is(one, errOtherVersion):
		b.mount.note(kv2)
		return secrets.Secret{}, asMalformed(two)
	case errors.Is(one, secrets.ErrPermissionDenied), errors.Is(two, secrets.ErrPermissionDenied) && errors.Is(one, secrets.ErrNotFound):
		return secrets.Secret{}, denied("the policies of the token must grant read on " + b.dataPath(ref) +
			" for KV version 2, or on " + b.plainPath(ref) + " for version 1; or nothing is mounted at " + b.mount.path +
			tokenHint(one, two))
	default:
		return secrets.Secret{}, one
	}
}

// tokenHint returns a hint for the error, if a denial does not say whether the token is at fault.
func tokenHint(denials ...error) string {
	for _, err := range denials {
		if e, ok := errors.AsType[*secrets.Error](err); ok && strings.HasSuffix(e.Detail, maybeToken) {
			return maybeToken
		}
	}
	return ""
}

// asMalformed returns err, with errOtherVersion as ErrMalformed.
func asMalformed(err error) error {
	if errors.Is(err, errOtherVersion) {
		return malformed("the answer is not that of KV version 2")
	}
	return err
}

func (b *Backend) dataPath(ref secrets.Ref) string  { return b.mount.path + "/data/" + ref.Path }
func (b *Backend) plainPath(ref secrets.Ref) string { return b.mount.path + "/" + ref.Path }

// readKV2 reads ref from a mount of version 2.
func (b *Backend) readKV2(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
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
		return secrets.Secret{}, malformed("an answer with a deletion_time that is not a time")
	}
	var created time.Time
	decode(meta["created_time"], &created) // optional: without it, the secret is still valid
	name := strconv.FormatUint(version, 10)
	if ref.Version != "" && ref.Version != name {
		return secrets.Secret{}, malformed("the server answered with version " + name)
	}
	return secrets.NewSecret(document, secrets.Meta{Version: name, CreatedAt: created, ExpiresAt: end}), nil
}

// content returns the document of a version 2 answer. A document that was written as null has no fields.
func content(fields map[string]json.RawMessage) (document string, ok bool) {
	value, ok := fields["data"]
	if string(value) == "null" {
		return "{}", ok
	}
	_, ok = object(value)
	return string(value), ok
}

// deletion returns when the server will delete a version because of delete_version_after, or the zero time:
// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version.
func deletion(meta map[string]json.RawMessage) (end time.Time, ok bool) {
	value := present(meta["deletion_time"])
	if value == nil || string(value) == `""` {
		return time.Time{}, true
	}
	return end, decode(value, &end)
}

// deleted returns the error of a 404 answer about a version that existed, or nil.
func deleted(a answer, requested string) error {
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
	if requested != "" && requested != name {
		return malformed("the server answered with version " + name)
	}
	how := "was deleted"
	if destroyed {
		how = "was destroyed"
	}
	return fail(secrets.ErrDeleted, "version "+name+" "+how)
}

// readKV1 reads ref from a mount of version 1.
func (b *Backend) readKV1(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	if ref.Version != "" {
		return secrets.Secret{}, invalid("KV version 1 keeps no versions; leave ?version= out")
	}
	where := b.plainPath(ref)
	began := time.Now()
	a, err := b.server.get(ctx, t, where, nil)
	if err != nil {
		return secrets.Secret{}, err
	}
	if a.status == http.StatusNotFound && (a.hasText("Invalid path for a versioned K/V secrets engine") || a.data != nil) {
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

// isEndpoint reports whether KV version 2 answers at path with something other than a secret, such as the mount's settings at config. A
// secret of version 1 may be there too: it has a duration, unless it sets its own.
func isEndpoint(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return slices.Contains([]string{"config", "data", "metadata", "subkeys"}, first)
}

// ownDuration reports whether a secret of version 1 sets the duration that the engine reports, which may then be 0 or negative. No answer
// of version 2 has these fields: https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1#ttl; for lease, see
// https://github.com/hashicorp/vault-plugin-secrets-kv/blob/v0.25.0/passthrough.go.
func ownDuration(fields map[string]json.RawMessage) bool {
	_, ttl := fields["ttl"]
	_, lease := fields["lease"]
	return ttl || lease
}

// checkVersion rejects anything but a version number. The server reads 0 and negative numbers as the latest version.
func checkVersion(version string) error {
	if _, ok := number(version); version != "" && !ok {
		return invalid("?version= must be a number, 1 or greater")
	}
	return nil
}

// number parses a KV version 2 version number.
func number(version string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(version, 10, 32)
	return n, err == nil && n > 0 && !strings.HasPrefix(version, "0")
}

// alternates returns the version before that of ref, which KV version 2 keeps and numbers consecutively:
// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version. A consumer that refuses the new one may not have it
// yet. If the mount's version is unknown, the format decides: a version of KV version 1 is a fingerprint, which has more digits than a
// number.
func (b *Backend) alternates(ref secrets.Ref) []secrets.Ref {
	n, ok := number(ref.Version)
	if !ok || n == 1 || b.mount.known() == kv1 {
		return nil
	}
	ref.Version = strconv.FormatUint(n-1, 10)
	return []secrets.Ref{ref}
}
