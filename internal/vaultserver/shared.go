package vaultserver

import "sync"

// Shared is one server for all tests of a package. Its zero value starts a server with the default options for the first test
// that asks, and none if no test does:
//
//	var shared vaultserver.Shared
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Main(m)) }
//
//	func TestRead(t *testing.T) {
//		server := shared.Get(t)
//
// Tests that share a server each use paths and mounts of their own, and neither seal nor stop it. A test that looks for goroutines
// which it left gets the server before goleak.IgnoreCurrent, since one goroutine waits for the process as long as that runs.
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

// Main returns what runs the tests of m and then stops the server.
func (s *Shared) Main(m interface{ Run() int }) *Main { return &Main{m: m, shared: s} }

// Main runs tests, as a *testing.M does, and stops the server that they shared.
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
