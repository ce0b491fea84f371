package vaultserver

import "sync"

// Shared is one server for all tests of a package. The zero value starts a server with the default options for the first test that gets it:
//
//	var shared vaultserver.Shared
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Main(m)) }
//
//	func TestRead(t *testing.T) {
//		server := shared.Get(t)
//
// Tests that share a server use paths and mounts of their own, and neither seal nor stop it. A test that checks for leaked goroutines must
// call Get before goleak.IgnoreCurrent: one goroutine waits for the server's process.
type Shared struct {
	Options []Option

	once   sync.Once
	server *Server
	err    error
}

// Get returns the server, and ends t if it does not start.
func (s *Shared) Get(t TB) *Server {
	t.Helper()
	s.once.Do(func() { s.server, s.err = New(s.Options...) })
	if s.err != nil {
		t.Fatalf("%v", s.err)
	}
	return s.server
}

// Main returns a runner of the tests of m that stops the server at the end.
func (s *Shared) Main(m interface{ Run() int }) *Main { return &Main{m: m, shared: s} }

// Main runs tests, as a *testing.M does, and then stops the shared server.
type Main struct {
	m      interface{ Run() int }
	shared *Shared
}

// Run returns the exit code of the tests.
func (m *Main) Run() int {
	defer func() {
		if m.shared.server != nil {
			m.shared.server.Close()
		}
	}()
	return m.m.Run()
}
