package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-5482dd03/secrets/internal/network"
	"github.com/seed-5482dd03/secrets/internal/regular"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// maxTLSFile is the maximum size of a TLS file in bytes. A system's CA bundle has about 250 KB.
const maxTLSFile = 4 << 20

// tlsFiles are the TLS files. Certificate rotation replaces them while the program runs.
type tlsFiles struct {
	ca, caFrom          string // a file or a directory, and the option or variable that names it; or ""
	caIsDir             bool
	cert, key, certFrom string // or ""
}

// onDisk reports whether there are any files.
func (f tlsFiles) onDisk() bool { return f.ca != "" || f.cert != "" }

// tlsContent is the content of the files.
type tlsContent struct {
	ca        [][]byte
	cert, key []byte
	sum       [sha256.Size]byte // of all files; kept in place of the key, which a memory dump would show
}

// read returns the current content, or says why a file cannot be read.
func (f tlsFiles) read() (c tlsContent, fault string) {
	hash := sha256.New()
	take := func(path, from string) (content []byte, fault string) {
		text, err := regular.ReadFile(path, maxTLSFile)
		if err != nil {
			return nil, named(path, from) + ": " + unreadable(err, maxTLSFile)
		}
		length := binary.BigEndian.AppendUint64(nil, uint64(len(text)))
		hash.Write(append(length, text...)) // never fails
		return []byte(text), ""
	}
	var authorities []string
	switch {
	case f.caIsDir:
		if authorities, fault = f.list(); fault != "" {
			return tlsContent{}, fault
		}
	case f.ca != "":
		authorities = []string{f.ca}
	}
	for _, path := range authorities {
		content, fault := take(path, f.caFrom)
		if fault != "" {
			return tlsContent{}, fault
		}
		c.ca = append(c.ca, content)
	}
	if f.cert != "" {
		if c.cert, fault = take(f.cert, f.certFrom); fault == "" {
			c.key, fault = take(f.key, f.certFrom)
		}
	}
	c.sum = [sha256.Size]byte(hash.Sum(nil))
	return c, fault
}

// list returns the files in the directory of authorities, as the official client reads them. It skips names that begin with two dots: a
// Kubernetes volume uses them for its updates, and they lead to the same files
// (https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter).
func (f tlsFiles) list() (files []string, fault string) {
	err := filepath.WalkDir(f.ca, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(entry.Name(), "..") && path != f.ca && entry.IsDir():
			return fs.SkipDir
		case entry.IsDir(), strings.HasPrefix(entry.Name(), ".."):
			return nil
		}
		files = append(files, path)
		return nil
	})
	if err != nil {
		return nil, named(f.ca, f.caFrom) + ": " + unreadable(err, maxTLSFile)
	}
	if len(files) == 0 {
		return nil, named(f.ca, f.caFrom) + ": the directory is empty"
	}
	return files, ""
}

// settings returns base with the content c, or says why c cannot be used: a file may be half written.
func (f tlsFiles) settings(base *tls.Config, c tlsContent) (settings *tls.Config, fault string) {
	settings = base.Clone()
	if f.ca != "" {
		settings.RootCAs = x509.NewCertPool()
		for _, content := range c.ca {
			if isIncomplete(content) || !settings.RootCAs.AppendCertsFromPEM(content) {
				return nil, named(f.ca, f.caFrom) + ": it holds no complete PEM certificate"
			}
		}
	}
	if f.cert == "" {
		return settings, ""
	}
	if isIncomplete(c.cert) || !hasBlock(c.cert, "CERTIFICATE") {
		return nil, named(f.cert, f.certFrom) + ": it holds no complete PEM certificate"
	}
	if isIncomplete(c.key) || !hasBlock(c.key, "PRIVATE KEY") {
		return nil, named(f.key, f.certFrom) + ": it holds no complete PEM private key"
	}
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Sprintf("the certificate in %s and the key in %s do not belong together, or one of them cannot be parsed",
			text.Printable(f.cert), named(f.key, f.certFrom))
	}
	// The pair is sent whatever authorities the server lists: the list lacks those of its auth method cert. The official client does the same.
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return settings, ""
}

// isIncomplete reports whether a PEM block in content has no end.
func isIncomplete(content []byte) bool {
	return bytes.Count(content, []byte("-----BEGIN ")) != bytes.Count(content, []byte("-----END "))
}

// hasBlock reports whether a PEM block in content has a type that ends in kind.
func hasBlock(content []byte, kind string) bool {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
	}
}

// secure is a transport that reloads its TLS files. Before each request it compares their content. After a change, new requests use new
// connections, and old connections end with the requests under way on them. While files are half written, missing or on a file system that
// hangs, the last good content is used.
//
// It replaces the whole transport: the only hook of a client's tls.Config for its authorities also replaces certificate verification.
type secure struct {
	files tlsFiles
	base  *http.Transport // a template; nil for a transport that the program brings

	turn turn              // guards reading the files, and sum
	sum  [sha256.Size]byte // of the content that current uses

	mu      sync.Mutex
	current http.RoundTripper
	old     []idleCloser // earlier transports, on which requests may be under way
}

// maxOld is the number of earlier transports that are kept, to close their HTTP/2 connections once these are idle. Connections of older
// ones close after 90 seconds.
const maxOld = 16

// newSecure returns a transport based on base, which it takes over, with the content of files. The fault says why a file cannot be used.
func newSecure(base *http.Transport, files tlsFiles) (s *secure, fault string) {
	network.CloseDead(base)
	if !files.onDisk() {
		return &secure{current: base}, ""
	}
	s = &secure{files: files, base: base, turn: newTurn()}
	return s, s.look()
}

// lookTimeout is how long a request waits for reading the files.
const lookTimeout = time.Second

// refresh loads changed files, or says why their content is not used.
func (s *secure) refresh(ctx context.Context) (fault string) {
	if !s.files.onDisk() {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	fault, err := runDetached(ctx, s.turn, s.look, func(string) {})
	if err != nil {
		return "it takes too long to read them"
	}
	return fault
}

// look is refresh for the holder of the turn: a later read has later content.
func (s *secure) look() (fault string) {
	content, fault := s.files.read()
	if fault != "" || content.sum == s.sum {
		return fault
	}
	settings, fault := s.files.settings(s.base.TLSClientConfig, content)
	if fault != "" {
		return fault
	}
	s.sum = content.sum
	next := s.base.Clone()
	next.TLSClientConfig = settings
	s.change(next)
	return ""
}

// change replaces the current transport with next.
func (s *secure) change(next http.RoundTripper) {
	s.CloseIdleConnections()
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.current.(idleCloser); ok {
		s.old = append(s.old[max(0, len(s.old)-maxOld+1):], old)
	}
	s.current = next
}

func (s *secure) transport() http.RoundTripper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// RoundTrip sends r through the current transport.
func (s *secure) RoundTrip(r *http.Request) (*http.Response, error) {
	fault := s.refresh(r.Context())
	resp, err := s.transport().RoundTrip(r)
	if err != nil {
		if own := s.failure(err, fault); own != nil {
			return nil, own
		}
	}
	return resp, err
}

// CloseIdleConnections closes the idle connections of all transports.
func (s *secure) CloseIdleConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.old {
		old.CloseIdleConnections()
	}
	if current, ok := s.current.(idleCloser); ok {
		current.CloseIdleConnections()
	}
}

var (
	_ http.RoundTripper = (*secure)(nil)
	_ idleCloser        = (*secure)(nil)
)

// alertConn is a connection that keeps the server's last TLS alert. In TLS 1.3, the server may refuse the client's certificate after the
// client has begun to send its request. The write then fails with a reset, and nobody would read the alert that says why.
type alertConn struct{ net.Conn }

// Write ignores a reset: the next Read does not block on such a connection, and returns the alert or the reset.
func (a alertConn) Write(p []byte) (int, error) {
	n, err := a.Conn.Write(p)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	return n, err
}

// failure returns the error of a failed TLS handshake, or nil for any other err.
//
// It is always ErrUnavailable: the server has not evaluated a token or a policy, and anybody on the network can send an alert before the
// connection is encrypted. No cached value may be dropped for one.
func (s *secure) failure(err error, fault string) error {
	if fault != "" {
		fault = "; the last good content of the files was used, since " + fault
	}
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		where := ""
		if s.files.ca != "" {
			where = "; the trusted ones are in " + named(s.files.ca, s.files.caFrom)
		}
		return unavailable("no answer from the server: " + certificateReason(verification.Err) + where + fault)
	}
	if alert, ok := network.Refusal(err); ok {
		return unavailable(fmt.Sprintf("no answer from the server: %s (TLS alert %d)%s", s.refusal(alert), alert, fault))
	}
	if strings.Contains(err.Error(), "http2: client conn could not be established") { // net/http has dropped the alert
		why := "it may require a client certificate; see WithTLSClientCert"
		if s.files.cert != "" {
			why = "it may have refused the client certificate in " + named(s.files.cert, s.files.certFrom)
		}
		return unavailable("no answer from the server: it closed the connection after the TLS handshake; " + why + fault)
	}
	return nil
}

// refusal says why the server ended the handshake, by the alerts of https://www.rfc-editor.org/rfc/rfc8446#section-6.2.
func (s *secure) refusal(alert uint8) string {
	const handshakeFailure, firstOfCertificates, lastOfCertificates, unknownAuthority, accessDenied = 40, 42, 46, 48, 49
	const otherVersion, unknownName, certificateRequired = 70, 112, 116
	switch {
	case alert == otherVersion:
		return "it requires another version of TLS"
	case alert == unknownName:
		return "it does not serve the host name; see WithTLSServerName"
	case alert >= firstOfCertificates && alert <= lastOfCertificates, alert == unknownAuthority, alert == accessDenied,
		alert == certificateRequired:
		if s.files.cert == "" {
			return "it requires a client certificate, or refused the one it got; see WithTLSClientCert"
		}
		return "it refused the client certificate in " + named(s.files.cert, s.files.certFrom)
	case alert == handshakeFailure:
		return "it refused the TLS handshake; it may require a client certificate; see WithTLSClientCert"
	default:
		return "it refused the TLS connection"
	}
}

// named returns path with the option or variable that names it.
func named(path, from string) string { return text.Printable(path) + " (" + from + ")" }
