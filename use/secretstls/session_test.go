package secretstls_test

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// versions are the TLS versions. Their sessions work differently.
var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// resumes reports whether the next handshake of client, which must succeed, resumes a session. Both sides must agree.
func resumes(t *testing.T, server, client *tls.Config) bool {
	t.Helper()
	is := is.New(t)
	o := shake(server, client)
	is.NoErr(o.clientErr)
	is.NoErr(o.serverErr)
	is.Equal(o.client.DidResume, o.server.DidResume)
	return o.client.DidResume
}

// Sessions resume within a version, also between Configs of several callers. They do not resume across versions, even if only the
// certificate has changed.
func TestSessionsLiveAsLongAsTheirVersion(t *testing.T) {
	for name, protocol := range versions {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				ca := newAuthority("ca")
				s := newSecret(t, kubernetes(ca.issue(1), ca))
				followed := s.follow()
				client := trusting(ca)
				client.MaxVersion = protocol
				is.True(!resumes(t, followed.Server(), client))
				for range 3 {
					is.True(resumes(t, followed.Server(), client))
				}
				s.set(kubernetes(ca.issue(2), ca))
				is.True(!resumes(t, followed.Server(), client))
				is.True(resumes(t, followed.Server(), client))
			})
		})
	}
}

// A client whose CA was removed must not be accepted because of a session. The first control shows that the session resumes while the CA is
// present. The second is a server without keys per version, which resumes sessions of other versions. It accepts the client, although it no
// longer trusts the CA of its certificate. Since 1.26, Go refuses that itself if it verifies clients (CVE-2025-68121), but not if
// VerifyPeerCertificate does.
func TestNoSessionOutlivesItsCA(t *testing.T) {
	for name, protocol := range versions {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				old, next := newAuthority("old"), newAuthority("new")
				s := newSecret(t, kubernetes(old.issue(1), old))
				followed := s.follow(secretstls.WithConfig(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}))
				naive := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
					return &tls.Config{Certificates: current(followed).Certificates, ClientAuth: tls.RequireAnyClientCert}, nil
				}}
				client := showing(trusting(old, next), old.issue(9))
				client.MaxVersion = protocol
				other := client.Clone() // sessions with the naive server
				other.ClientSessionCache = tls.NewLRUClientSessionCache(0)
				is.True(!resumes(t, followed.Server(), client))
				is.True(resumes(t, followed.Server(), client))
				is.True(!resumes(t, naive, other))

				s.set(kubernetes(next.issue(2), next))
				o := shake(followed.Server(), client)
				is.True(o.serverErr != nil)
				is.True(!o.server.DidResume)
				is.True(!shake(followed.Server(), client).ok())
				is.True(resumes(t, naive, other)) // the control
				fresh := showing(trusting(old, next), next.issue(9))
				is.True(shake(followed.Server(), fresh).ok()) // a client of the new CA is accepted
			})
		})
	}
}

// Ticket keys of the template would outlive every version, so they are not used.
func TestTicketKeysOfTheTemplateAreNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := newAuthority("ca")
		p := ca.issue(1)
		base := new(tls.Config)
		base.SetSessionTicketKeys([][32]byte{{1}})
		shared := base.Clone()
		shared.Certificates = []tls.Certificate{must(tls.X509KeyPair([]byte(p.cert), []byte(p.key)))}
		s := newSecret(t, kubernetes(p, ca))
		followed := s.follow(secretstls.WithConfig(base))
		client := trusting(ca)
		is.True(!resumes(t, shared, client))
		is.True(resumes(t, shared.Clone(), client)) // the control
		is.True(!resumes(t, followed.Server(), client))
		is.True(resumes(t, followed.Server(), client))
		s.set(kubernetes(p, ca)) // another version with the same content
		is.True(!resumes(t, followed.Server(), client))
	})
}

// Ticket keys rotate each day, as in crypto/tls, and a ticket is valid for a week.
func TestTicketKeysAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := newAuthority("ca")
		followed := newSecret(t, kubernetes(ca.issue(1), ca)).follow()
		once := func() *tls.Config { // a client with one ticket of this moment, which accepts no other
			client := trusting(ca)
			is.True(!resumes(t, followed.Server(), client))
			client.ClientSessionCache = frozen{client.ClientSessionCache}
			return client
		}
		first := once()
		is.True(resumes(t, followed.Server(), first))
		const day = 24 * time.Hour
		for range 6 {
			time.Sleep(day)
			is.True(resumes(t, followed.Server(), first)) // this also makes the server rotate its keys
		}
		second := once()
		time.Sleep(day)
		is.True(!resumes(t, followed.Server(), first))
		is.True(resumes(t, followed.Server(), second))
		for range 5 {
			time.Sleep(day)
			is.True(resumes(t, followed.Server(), second))
		}
	})
}

// frozen is a session cache that stores nothing new.
type frozen struct{ tls.ClientSessionCache }

func (frozen) Put(string, *tls.ClientSessionState) {}

// SessionTicketsDisabled of the template applies to both sides.
func TestSessionsCanBeDisabled(t *testing.T) {
	is := is.New(t)
	ca := newAuthority("ca")
	followed := newSecret(t, kubernetes(ca.issue(1), ca)).follow(secretstls.WithConfig(&tls.Config{SessionTicketsDisabled: true}))
	client := trusting(ca)
	is.True(!resumes(t, followed.Server(), client))
	is.True(!resumes(t, followed.Server(), client))
}
