package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/regular"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// noToken sends no token, for an agent or proxy that adds its own to each request.
type noToken struct{}

func (noToken) token(ctx context.Context) (token, error)  { return token{}, ctx.Err() }
func (noToken) another(context.Context, token, bool) bool { return false }
func (noToken) close() error                              { return nil }

// fixedToken is a token that the program set.
type fixedToken token

// staticToken returns a source of the token value.
func staticToken(value string) (*fixedToken, error) {
	value = text.TrimToken(value)
	switch {
	case value == "":
		return nil, errors.New("an empty token")
	case !printable(value):
		return nil, errors.New("the token contains a character that is not printable ASCII, such as a newline")
	}
	return &fixedToken{value: secrets.NewSecret(value, secrets.Meta{})}, nil
}

func (f *fixedToken) token(ctx context.Context) (token, error) { return token(*f), ctx.Err() }
func (*fixedToken) another(context.Context, token, bool) bool  { return false }
func (*fixedToken) close() error                               { return nil }

// foreignToken reads a token that another process or the program renews, at each request.
type foreignToken struct {
	read  func() (string, error)
	ended func(serial uint64) // called without the turn for each token that was replaced; or nil

	turn turn  // guards reading and last
	last token // zero until the first read
}

// fileToken returns a source of the token in the file path.
func fileToken(path string, ended func(serial uint64)) *foreignToken {
	return &foreignToken{ended: ended, turn: newTurn(), read: func() (string, error) {
		return readFile("the token in", path, text.TrimToken)
	}}
}

// homeTokenPath returns the path of ~/.vault-token, where the vault command keeps its token, or "" if the environment has no home. The
// command's built-in token helper trims white space, as TrimToken does:
// https://github.com/hashicorp/vault/blob/main/api/tokenhelper/helper_internal.go. A token helper that ~/.vault names is a program, and is
// not run.
func (c *config) homeTokenPath() string {
	home := c.env("HOME")
	if home == "" && runtime.GOOS == "windows" {
		home = c.env("USERPROFILE")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".vault-token")
}

// clientToken returns a source of the token of client, which the program renews.
func clientToken(client *api.Client, ended func(serial uint64)) *foreignToken {
	return &foreignToken{ended: ended, turn: newTurn(), read: func() (string, error) {
		value := text.TrimToken(client.Token())
		if value == "" {
			return "", unauthenticated("the client of the program has no token")
		}
		return value, nil
	}}
}

func (f *foreignToken) token(ctx context.Context) (token, error) {
	if err := ctx.Err(); err != nil {
		return token{}, err
	}
	result, err := runDetached(ctx, f.turn, f.look, func(r lookResult) {
		if r.replaced != 0 && f.ended != nil {
			f.ended(r.replaced)
		}
	})
	if err != nil {
		return token{}, err
	}
	return result.now, result.err
}

// lookResult is what one read of the token returned.
type lookResult struct {
	now      token
	replaced uint64 // serial of the token that now replaces, or 0
	err      error
}

// look reads the token. The caller holds the turn: a later read returns a later token.
func (f *foreignToken) look() (result lookResult) {
	value, err := f.read()
	if err != nil {
		return lookResult{err: err}
	}
	if !printable(value) {
		return lookResult{err: unauthenticated("the token contains a character that is not printable ASCII, such as a second line")}
	}
	if s := secrets.NewSecret(value, secrets.Meta{}); !f.last.value.Equal(s) {
		result.replaced = f.last.serial
		f.last = token{value: s, serial: f.last.serial + 1}
	}
	result.now = f.last
	return result
}

func (f *foreignToken) another(ctx context.Context, t token, _ bool) bool {
	now, err := f.token(ctx)
	return err == nil && now.serial != t.serial
}

func (*foreignToken) close() error { return nil }

var (
	_ tokens = noToken{}
	_ tokens = (*fixedToken)(nil)
	_ tokens = (*foreignToken)(nil)
)

// printable reports whether value can be sent in a header. Vault's tokens are printable ASCII.
func printable(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) })
}

// maxCredential is the maximum size of a credential file, in bytes.
const maxCredential = 64 << 10

// readFile returns the trimmed content of a credential file. A file that is missing or empty may appear later: ErrUnavailable. A file that
// cannot be used is ErrUnauthenticated.
func readFile(what, path string, trim func(string) string) (string, error) {
	content, err := regular.ReadFile(path, maxCredential)
	utf16 := text.IsUTF16(content)
	content = trim(content)
	what += " " + text.Printable(path) + ": "
	switch {
	case err != nil && isPermanent(err):
		return "", unauthenticated(what + unreadable(err, maxCredential))
	case errors.Is(err, fs.ErrNotExist) && path == serviceAccountToken:
		return "", unavailable(what + "there is no such file; a pod has it unless automountServiceAccountToken is false; " +
			"elsewhere, set VAULT_JWT_FILE (in code: WithServiceAccountToken) or use another login")
	case err != nil:
		return "", unavailable(what + unreadable(err, maxCredential))
	case utf16:
		return "", unauthenticated(what + "it is UTF-16; save it as UTF-8")
	case content == "":
		return "", unavailable(what + "the file is empty")
	default:
		return content, nil
	}
}

// isPermanent reports whether err is not about a missing file: the file exists and cannot be used.
func isPermanent(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, regular.ErrNotRegular) || errors.Is(err, regular.ErrTooLarge)
}

// unreadable says why a file cannot be read; limit is its maximum size in bytes.
func unreadable(err error, limit int64) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "no permission to read the file"
	case errors.Is(err, regular.ErrNotRegular):
		return "it is not a regular file"
	case errors.Is(err, regular.ErrTooLarge):
		return fmt.Sprintf("the file is larger than %d bytes", limit)
	default:
		return "the file cannot be read" + reason(err)
	}
}
