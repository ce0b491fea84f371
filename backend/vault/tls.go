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

// maxTLSFile is the most bytes of a file of TLS. The bundle of a system has about 250 KB.
const maxTLSFile = 4 << 20

// tlsFiles are the settings of TLS that are on disk. Whoever rotates certificates replaces them under a running program.
type tlsFiles struct {
	ca, caFrom          string // a file or a directory, and the option or the variable that names it; or ""
	caIsDir             bool
	cert, key, certFrom string // or ""
}

// onDisk reports whether anything is read at all.
func (f tlsFiles) onDisk() bool { return f.ca != "" || f.cert != "" }

// tlsContent is what the files hold.
type tlsContent struct {
	ca        [][]byte
	cert, key []byte
	sum       [sha256.Size]byte // of all; the key itself is not kept, for dumps of memory
}

// read returns what the files hold now, or says why they cannot be read.
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

// list returns the files in the directory of authorities, as the official client reads them, but for names with two dots before
// them: in a volume of Kubernetes, those are the mechanics of its updates, and lead to the same files again
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

// settings returns base with what c holds, or says why that is of no use: a file may be half written.
func (f tlsFiles) settings(base *tls.Config, c tlsContent) (settings *tls.Config, fault string) {
	settings = base.Clone()
	if f.ca != "" {
		settings.RootCAs = x509.NewCertPool()
		for _, content := range c.ca {
			if torn(content) || !settings.RootCAs.AppendCertsFromPEM(content) {
				return nil, named(f.ca, f.caFrom) + ": it holds no PEM certificate, or half of one"
			}
		}
	}
	if f.cert == "" {
		return settings, ""
	}
	if torn(c.cert) || !holds(c.cert, "CERTIFICATE") {
		return nil, named(f.cert, f.certFrom) + ": it holds no PEM certificate, or half of one"
	}
	if torn(c.key) || !holds(c.key, "PRIVATE KEY") {
		return nil, named(f.key, f.certFrom) + ": it holds no PEM private key, or half of one"
	}
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Sprintf("the certificate in %s and the key in %s do not belong together, or one of them cannot be parsed",
			text.Printable(f.cert), named(f.key, f.certFrom))
	}
	// Whatever authorities the server names: those of its auth method cert are not in that list. The official client does the same.
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return settings, ""
}

// torn reports whether a block of PEM in content has no end.
func torn(content []byte) bool {
	return bytes.Count(content, []byte("-----BEGIN ")) != bytes.Count(content, []byte("-----END "))
}

// holds reports whether a block of PEM in content is of a kind that ends so.
func holds(content []byte, kind string) bool {
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

// secure is the transport that requests go out on. For each request it looks whether the files of TLS have changed; if they have, it
// makes new connections with what they hold now, and lets the old ones end with the requests that are under way on them. As long as
// the files are half written, gone or on a file system that hangs, what they held last counts.
//
// It changes the whole transport, since a tls.Config of a client has no hook for its authorities but one that replaces the check of
// the server's certificate.
type secure struct {
	files tlsFiles
	base  *http.Transport // unused itself; nil for a transport of the program's own

	turn turn              // of who reads the files
	sum  [sha256.Size]byte // of what current was made with; whose turn it is may look

	mu      sync.Mutex
	current http.RoundTripper
	old     []idleCloser // those before current on which requests may be under way
}

// maxOld is how many transports are kept after they were replaced, to close their connections of HTTP/2 as soon as those are idle. Those of
// older ones close by themselves 90 seconds later.
const maxOld = 16

// newSecure returns the transport base, which it takes over, with what files hold. The fault says what is wrong with those.
func newSecure(base *http.Transport, files tlsFiles) (s *secure, fault string) {
	network.CloseDead(base)
	if !files.onDisk() {
		return &secure{current: base}, ""
	}
	s = &secure{files: files, base: base, turn: newTurn()}
	return s, s.look()
}

// lookTimeout is how long a request waits for the files.
const lookTimeout = time.Second

// refresh takes in what the files hold now, or says why that does not count.
func (s *secure) refresh(ctx context.Context) (fault string) {
	if !s.files.onDisk() {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	fault, err := patiently(ctx, s.turn, s.look, func(string) {})
	if err != nil {
		return "it takes too long to read them"
	}
	return fault
}

// look is refresh for whose turn it is, so that who reads later has the later files.
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

// change makes new connections with next.
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

// RoundTrip sends r.
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

// CloseIdleConnections closes those of the transport.
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

// attentive is a connection whose last answer is heard. In TLS 1.3, the server refuses the certificate of a client after the client has
// begun to send its request. A write then fails because the server has hung up, and the alert that says why would never be read.
type attentive struct{ net.Conn }

// Write leaves it to Read, which does not wait on such a connection, to tell that the server has hung up.
func (a attentive) Write(p []byte) (int, error) {
	n, err := a.Conn.Write(p)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	return n, err
}

// failure returns the error of a connection that one side has refused in the handshake of TLS, or nil if err is something else.
//
// It is ErrUnavailable, whoever refused. Nothing that Vault knows of tokens and policies was asked, and before a connection is
// encrypted, anybody on the way can send an alert: no cached value may be dropped for one.
func (s *secure) failure(err error, fault string) error {
	if fault != "" {
		fault = "; what the files held last was used, since " + fault
	}
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		where := ""
		if s.files.ca != "" {
			where = "; the trusted ones are in " + named(s.files.ca, s.files.caFrom)
		}
		return unavailable("no answer from the server: " + distrust(verification.Err) + where + fault)
	}
	if alert, ok := network.Refusal(err); ok {
		return unavailable(fmt.Sprintf("no answer from the server: %s (TLS alert %d)%s", s.refusal(alert), alert, fault))
	}
	if strings.Contains(err.Error(), "http2: client conn could not be established") { // in place of the alert, which net/http has dropped
		why := "it may want a client certificate, see WithTLSClientCert"
		if s.files.cert != "" {
			why = "it may have refused the client certificate in " + named(s.files.cert, s.files.certFrom)
		}
		return unavailable("no answer from the server: it hung up after the TLS handshake; " + why + fault)
	}
	return nil
}

// refusal says why the server has ended the handshake, by the alerts of https://www.rfc-editor.org/rfc/rfc8446#section-6.2.
func (s *secure) refusal(alert uint8) string {
	const handshakeFailure, firstOfCertificates, lastOfCertificates, unknownAuthority, accessDenied = 40, 42, 46, 48, 49
	const otherVersion, unknownName, certificateRequired = 70, 112, 116
	switch {
	case alert == otherVersion:
		return "it speaks another version of TLS"
	case alert == unknownName:
		return "it does not know the name that it was called by; see WithTLSServerName"
	case alert >= firstOfCertificates && alert <= lastOfCertificates, alert == unknownAuthority, alert == accessDenied,
		alert == certificateRequired:
		if s.files.cert == "" {
			return "it wants a client certificate, or refused the one it got; see WithTLSClientCert"
		}
		return "it refused the client certificate in " + named(s.files.cert, s.files.certFrom)
	case alert == handshakeFailure:
		return "it refused the TLS handshake; it may want a client certificate, see WithTLSClientCert"
	default:
		return "it refused the TLS connection"
	}
}

// named returns path with the option or variable that it is from.
func named(path, from string) string { return text.Printable(path) + " (" + from + ")" }
