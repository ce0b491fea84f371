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

// noToken is for an agent or proxy that adds a token of its own to each request.
type noToken struct{}

func (noToken) token(ctx context.Context) (token, error)  { return token{}, ctx.Err() }
func (noToken) another(context.Context, token, bool) bool { return false }
func (noToken) close() error                              { return nil }

// fixedToken is a token that the program has given.
type fixedToken token

// staticToken returns a source of the one token value.
func staticToken(value string) (*fixedToken, error) {
	value = text.TrimToken(value)
	switch {
	case value == "":
		return nil, errors.New("an empty token")
	case !printable(value):
		return nil, errors.New("the token holds what is no printable ASCII, such as a newline")
	}
	return &fixedToken{value: secrets.NewSecret(value, secrets.Meta{})}, nil
}

func (f *fixedToken) token(ctx context.Context) (token, error) { return token(*f), ctx.Err() }
func (*fixedToken) another(context.Context, token, bool) bool  { return false }
func (*fixedToken) close() error                               { return nil }

// foreignToken is a token that somebody else keeps and renews: it is looked at for each request.
type foreignToken struct {
	read  func() (string, error)
	ended func(serial uint64) // called outside of the turn, for each token that another has replaced; or nil

	turn turn  // of who reads
	last token // the zero token until there was one; whose turn it is may look
}

// fileToken returns the source of the token that the file path holds.
func fileToken(path string, ended func(serial uint64)) *foreignToken {
	return &foreignToken{ended: ended, turn: newTurn(), read: func() (string, error) {
		return readFile("the token in", path, text.TrimToken)
	}}
}

// homeToken returns the file that the vault command keeps its token in, ~/.vault-token, or "" if the environment names no home. The
// command reads it by way of its built-in token helper, which trims white space, as TrimToken does:
// https://github.com/hashicorp/vault/blob/main/api/tokenhelper/helper_internal.go. A token helper that ~/.vault names is a program, and
// not run.
func (c *config) homeToken() string {
	home := c.env("HOME")
	if home == "" && runtime.GOOS == "windows" {
		home = c.env("USERPROFILE")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".vault-token")
}

// clientToken returns the source of the token of client, which the program renews.
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
	saw, err := patiently(ctx, f.turn, f.look, func(saw looked) {
		if saw.replaced != 0 && f.ended != nil {
			f.ended(saw.replaced)
		}
	})
	if err != nil {
		return token{}, err
	}
	return saw.now, saw.err
}

// looked is what a look at a token that somebody else keeps has brought.
type looked struct {
	now      token
	replaced uint64 // the serial number of the token that now replaces, or 0
	err      error
}

// look reads the token. It is the caller's turn, so that who reads later has the later token.
func (f *foreignToken) look() (saw looked) {
	value, err := f.read()
	if err != nil {
		return looked{err: err}
	}
	if !printable(value) {
		return looked{err: unauthenticated("the token holds what is no printable ASCII, such as a second line")}
	}
	if s := secrets.NewSecret(value, secrets.Meta{}); !f.last.value.Equal(s) {
		saw.replaced = f.last.serial
		f.last = token{value: s, serial: f.last.serial + 1}
	}
	saw.now = f.last
	return saw
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

// printable reports whether value can stand in a header. No token of Vault holds anything but printable ASCII.
func printable(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) })
}

// maxCredential is the most bytes of a file that holds a token or another credential.
const maxCredential = 64 << 10

// readFile returns what the file path holds, once trimmed. What is not there yet may come, so that it is an outage; what can
// not be used is a credential that is missing.
func readFile(what, path string, trim func(string) string) (string, error) {
	content, err := regular.ReadFile(path, maxCredential)
	utf16 := text.IsUTF16(content)
	content = trim(content)
	what += " " + text.Printable(path) + ": "
	switch {
	case err != nil && lasts(err):
		return "", unauthenticated(what + unreadable(err, maxCredential))
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

// lasts reports whether err, of reading a file, is not about one that may come.
func lasts(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, regular.ErrNotRegular) || errors.Is(err, regular.ErrTooLarge)
}

// unreadable says why a file of at most limit bytes cannot be read.
func unreadable(err error, limit int64) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "the file must not be read"
	case errors.Is(err, regular.ErrNotRegular):
		return "it is not a regular file"
	case errors.Is(err, regular.ErrTooLarge):
		return fmt.Sprintf("the file is larger than %d bytes", limit)
	default:
		return "the file cannot be read" + reason(err)
	}
}
