//go:build unix

package secretstls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// Phases of a CA replacement: first both CAs are trusted, then the certificates are new, then the old CA is removed. Serial numbers
// identify the phase.
const (
	phases   = 4
	perPhase = 1_000_000
)

// duration returns how long the swaps run; LONG_TESTS=60s sets a minute.
func duration(t *testing.T) time.Duration {
	t.Helper()
	long := os.Getenv("LONG_TESTS")
	d, err := time.ParseDuration(long)
	switch {
	case err == nil:
		return d
	case long != "": // as in CI
		return 8 * time.Second
	default:
		return 3 * time.Second
	}
}

// The pair in a directory is swapped every 50 ms, and the CA is replaced. No handshake of servers and clients that watch the directory
// fails, with certificates on both sides. The controls load the directory once, and all their handshakes fail after the CA is replaced.
//
// The machine may be slow: a phase ends when all watchers have seen it and no earlier handshake is running.
func TestHandshakesWhileThePairIsSwapped(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("openssl is not in PATH; install it (Debian: apt-get install openssl)")
	}
	t.Run("one file after the other", func(t *testing.T) {
		dir := t.TempDir()
		is := is.New(t)
		is.NoErr(os.Mkdir(filepath.Join(dir, "tls"), 0o755))
		r := newRotation(t, dir, &renaming{t, filepath.Join(dir, "tls"), 20 * time.Millisecond})
		r.run(true)
	})
	t.Run("a swap of ..data", func(t *testing.T) {
		dir := t.TempDir()
		is := is.New(t)
		is.NoErr(os.Mkdir(filepath.Join(dir, "tls"), 0o755))
		r := newRotation(t, dir, &volume{t: t, dir: filepath.Join(dir, "tls")})
		r.run(false)
	})
}

// rotation is one run.
type rotation struct {
	t         *testing.T
	swapper   swapper
	old, next *authority
	trust     [phases]string // files with the CAs of each phase, for openssl

	server, resuming, full *secretstls.TLS // full resumes no sessions
	address                string

	phase atomic.Int64
	swaps int64
	torn  int64 // how often a version was refused
	begun epoch

	mu      sync.Mutex
	written map[int64][]byte // the certificates by their serial numbers

	shaken, resumed, failed, mismatched, opened, refused atomic.Int64
}

// epoch counts handshakes, so that a phase can wait for those that began before it.
type epoch struct {
	mu      sync.Mutex
	current *sync.WaitGroup
}

func (e *epoch) begin() (end func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil {
		e.current = new(sync.WaitGroup)
	}
	e.current.Add(1)
	return e.current.Done
}

// next waits for all handshakes that have begun. Later ones belong to the next epoch.
func (e *epoch) next() {
	e.mu.Lock()
	last := e.current
	e.current = nil
	e.mu.Unlock()
	if last != nil {
		last.Wait()
	}
}

func newRotation(t *testing.T, dir string, s swapper) *rotation {
	t.Helper()
	r := &rotation{t: t, swapper: s, old: newAuthority("old"), next: newAuthority("new"), written: make(map[int64][]byte)}
	r.swap(t.Context())
	for i := range r.trust {
		r.trust[i] = filepath.Join(t.TempDir(), "trust.pem")
		_, cas := r.issuers(i)
		is.New(t).NoErr(os.WriteFile(r.trust[i], []byte(bundle(cas...)), 0o600))
	}
	r.server = r.follow(dir, &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven}) // openssl presents none
	r.resuming = r.follow(dir, new(tls.Config))
	r.full = r.follow(dir, &tls.Config{SessionTicketsDisabled: true})
	r.address = listen(t, r.server.Server())
	return r
}

// follow returns a TLS with its own client. Each polls the directory at another time.
func (r *rotation) follow(dir string, base *tls.Config) *secretstls.TLS {
	r.t.Helper()
	is := is.New(r.t)
	mounted, err := file.New(dir)
	is.NoErr(err)
	client, err := secrets.New(mounted)
	is.NoErr(err)
	r.t.Cleanup(func() { _ = client.Close() })
	base.CurvePreferences = []tls.CurveID{tls.CurveP256} // half the CPU time of the default, for small machines
	var followed *secretstls.TLS
	await(r.t, func() bool {
		followed, err = secretstls.New(r.t.Context(), client, "tls", secretstls.WithConfig(base))
		return err == nil
	})
	return followed
}

// issuers returns the CA that issues certificates in a phase, and those that are trusted.
func (r *rotation) issuers(phase int) (issuer *authority, trusted []*authority) {
	switch phase {
	case 0:
		return r.old, []*authority{r.old}
	case 1:
		return r.old, []*authority{r.old, r.next}
	case 2:
		return r.next, []*authority{r.old, r.next}
	default:
		return r.next, []*authority{r.next}
	}
}

// swap writes a new pair to the directory.
func (r *rotation) swap(ctx context.Context) {
	phase := r.phase.Load()
	r.swaps++
	serial := phase*perPhase + r.swaps
	issuer, trusted := r.issuers(int(phase))
	p := issuer.issue(serial)
	r.mu.Lock()
	r.written[serial] = []byte(p.cert)
	r.mu.Unlock()
	r.swapper.swap(ctx, map[string]string{"ca.crt": bundle(trusted...), "tls.crt": p.cert, "tls.key": p.key})
}

// run replaces the CA. With halves, half-written pairs must occur and be refused.
func (r *rotation) run(halves bool) {
	r.t.Helper()
	is := is.New(r.t)
	naive := r.loadOnce()
	is.Equal(naive.failures(), 0)

	ctx, stop := context.WithCancel(r.t.Context())
	var all sync.WaitGroup
	all.Go(func() { every(ctx, 50*time.Millisecond, func() { r.swap(ctx) }) })
	slots := make(chan struct{}, 64)
	launch := func(f func()) {
		end := r.begun.begin()
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots; end() }()
			f()
		})
	}
	began := time.Now()
	all.Go(func() {
		started := 0
		every(ctx, 10*time.Millisecond, func() { // 500 a second, also if ticks are lost
			for due := int(time.Since(began).Seconds() * 500); started < due && ctx.Err() == nil; started++ {
				followed := []*secretstls.TLS{r.resuming, r.full}[started%2]
				launch(func() { r.shake(followed) })
			}
		})
	})
	all.Go(func() { every(ctx, 100*time.Millisecond, func() { launch(r.openssl) }) }) // 10 a second
	r.runPhases(halves)
	took := time.Since(began)
	stop()
	all.Wait()

	r.t.Logf("%v: %d swaps, halves refused %d times", took.Round(10*time.Millisecond), r.swaps, r.torn)
	r.t.Logf("Go: %d handshakes (%.0f a second), %d of them resumed: %d failed, %d mismatched", r.shaken.Load(),
		float64(r.shaken.Load())/took.Seconds(), r.resumed.Load(), r.failed.Load(), r.mismatched.Load())
	r.t.Logf("openssl: %d handshakes (%.1f a second): %d failed", r.opened.Load(), float64(r.opened.Load())/took.Seconds(), r.refused.Load())
	is.True(r.shaken.Load() > 0 && r.opened.Load() > 0 && r.resumed.Load() > 0)
	is.Equal(r.failed.Load(), int64(0))
	is.Equal(r.mismatched.Load(), int64(0))
	is.Equal(r.refused.Load(), int64(0))
	failed := naive.failures()
	r.t.Logf("control, loaded once: %d of %d handshakes failed once the CA was new", failed, naive.attempts())
	is.Equal(failed, naive.attempts())
}

// runPhases runs the phases.
func (r *rotation) runPhases(halves bool) {
	r.t.Helper()
	minPhase := duration(r.t) / phases
	refusing := make(map[*secretstls.TLS]bool)
	for phase := int64(0); ; phase++ {
		since := time.Now()
		await(r.t, func() bool {
			seen := true
			for _, followed := range []*secretstls.TLS{r.server, r.resuming, r.full} {
				seen = seen && serves(followed)/perPhase == phase
				err := followed.Err()
				if err != nil && !refusing[followed] {
					r.torn++
				}
				refusing[followed] = err != nil
				if err != nil && !strings.Contains(err.Error(), "the certificate and the key do not match") {
					r.t.Error(err)
				}
			}
			return seen && time.Since(since) >= minPhase && (!halves || r.torn > 0)
		})
		r.begun.next()
		if phase == phases-1 {
			return
		}
		r.phase.Store(phase + 1)
	}
}

// shake makes one handshake with certificates on both sides.
func (r *rotation) shake(followed *secretstls.TLS) {
	r.shaken.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := followed.DialTLS(ctx, "tcp", r.address)
	if err != nil {
		r.failed.Add(1)
		r.t.Error(err)
		return
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	if err != nil { // the server has refused the certificate
		r.failed.Add(1)
		r.t.Error(err)
		return
	}
	state := conn.(*tls.Conn).ConnectionState()
	if state.DidResume {
		r.resumed.Add(1)
	}
	mine, err := strconv.ParseInt(string(answer), 10, 64)
	if err != nil || !r.wrote(mine, nil) || !r.wrote(state.PeerCertificates[0].SerialNumber.Int64(), state.PeerCertificates[0]) {
		r.mismatched.Add(1)
		r.t.Errorf("the server has the certificate %v and saw %q", state.PeerCertificates[0].SerialNumber, answer)
	}
}

// wrote reports whether the directory has held a certificate with that serial number, equal to cert unless cert is nil.
func (r *rotation) wrote(serial int64, cert *x509.Certificate) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, ok := r.written[serial]
	return ok && (cert == nil || bytes.Equal(text, []byte(block("CERTIFICATE", cert.Raw))))
}

func (r *rotation) openssl() {
	r.opened.Add(1)
	if err := openssl(r.address, r.trust[r.phase.Load()]); err != nil {
		r.refused.Add(1)
		r.t.Error(err)
	}
}

// openssl makes one handshake with the server at address. Its certificate must be valid for localhost and issued by a CA in the file trust.
func openssl(address, trust string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", address, "-servername", "localhost",
		"-verify_hostname", "localhost", "-verify_return_error", "-CAfile", trust) // its input is /dev/null
	output, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(output), "Verify return code: 0 (ok)") {
		err = errors.New("not verified")
	}
	if err != nil {
		return fmt.Errorf("openssl: %w\n%s", err, output)
	}
	return nil
}

// once is the control: a server and a client that have loaded the directory at startup.
type once struct {
	r       *rotation
	address string
	client  *tls.Config
}

func (r *rotation) loadOnce() *once {
	issuer, _ := r.issuers(0)
	p := issuer.issue(1)
	server := &tls.Config{Certificates: []tls.Certificate{must(tls.X509KeyPair([]byte(p.cert), []byte(p.key)))}}
	client := trusting(issuer)
	return &once{r, listen(r.t, server), client}
}

// each is how many times the control tries each pair of client and server.
const each = 20

func (*once) attempts() int { return 3 * each }

// failures returns the number of failed handshakes: with its own client, with watching clients, and with openssl.
func (o *once) failures() (failed int) {
	for range each {
		conn, err := (&tls.Dialer{Config: o.client}).DialContext(o.r.t.Context(), "tcp", o.r.address)
		if err != nil {
			failed++
		} else {
			_ = conn.Close()
		}
		if dial(o.r.t, o.r.full, o.address).err != nil {
			failed++
		}
		if openssl(o.address, o.r.trust[o.r.phase.Load()]) != nil {
			failed++
		}
	}
	return failed
}
