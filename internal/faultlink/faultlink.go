// Package faultlink is a link for tests, of TCP or in memory, that can die in silence, as one behind a firewall does that has forgotten it:
// its connections stay open and carry nothing more, in neither direction.
package faultlink

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// dialTimeout bounds the dial to what is behind the link.
const dialTimeout = 5 * time.Second

// TB is what the link asks of a test.
type TB interface {
	Helper()
	Cleanup(f func())
	Fatalf(format string, args ...any)
}

// A Link passes on what comes in at Addr, until it is told to swallow it. Its methods are safe for concurrent use.
type Link struct {
	Addr string // as 127.0.0.1:8200, without a scheme; "" of one in memory

	forward  func() (net.Conn, error) // connects to what is behind the link
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	deaf     bool // new connections carry nothing either
	accepted int
	open     map[*connection]struct{}
}

// New starts a link to the address backend, which has no scheme, until t ends.
func New(t TB, backend string) *Link {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("faultlink: %v", err)
	}
	l := &Link{Addr: listener.Addr().String(), listener: listener, open: make(map[*connection]struct{})}
	l.forward = func() (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), "tcp", backend)
	}
	l.running.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

// InMemory starts a link without a network, for a bubble of testing/synctest, and returns it with the listener of the server behind it. Its
// connections come from [Link.Dial].
func InMemory(t TB) (*Link, net.Listener) {
	t.Helper()
	server := &listener{connections: make(chan net.Conn), closed: make(chan struct{})}
	l := &Link{listener: server, open: make(map[*connection]struct{}), forward: server.dial}
	t.Cleanup(l.close)
	return l, server
}

// Dial returns a connection through a link in memory.
func (l *Link) Dial() net.Conn {
	near, far := net.Pipe()
	l.running.Go(func() { l.serve(far) })
	return near
}

// listener is one in memory.
type listener struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func (l *listener) dial() (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.connections <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*listener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// Swallow makes the connections that are open swallow everything from now on. New ones pass.
func (l *Link) Swallow() { l.swallow(false) }

// SwallowAll is [Link.Swallow], and new connections are accepted and swallow everything too, until the next [Link.Swallow].
func (l *Link) SwallowAll() { l.swallow(true) }

func (l *Link) swallow(deaf bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = deaf
	for c := range l.open {
		c.swallow()
	}
}

// Accepted returns how many connections there have been.
func (l *Link) Accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() { l.serve(client) })
	}
}

func (l *Link) serve(client net.Conn) {
	server, err := l.forward()
	if err != nil {
		shut(client)
		return
	}
	c := &connection{client: client, server: server}
	defer c.close()
	if !l.add(c) {
		return
	}
	var directions sync.WaitGroup
	directions.Go(func() { c.carry(server, client) })
	directions.Go(func() { c.carry(client, server) })
	directions.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

func (l *Link) add(c *connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.accepted++
	l.open[c] = struct{}{}
	if l.deaf {
		c.swallow()
	}
	return true
}

func (l *Link) close() {
	shut(l.listener)
	l.mu.Lock()
	l.closed = true
	for c := range l.open {
		c.close()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// connection is one through the link.
type connection struct {
	client, server net.Conn

	mu        sync.Mutex
	swallowed bool
}

func (c *connection) swallow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swallowed = true
}

func (c *connection) swallows() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.swallowed
}

// carry passes on what src sends, until it ends. A connection that swallows is read on, for its sender notices nothing, and the end of
// one side is not told to the other.
func (c *connection) carry(dst, src net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := src.Read(buffer)
		if !c.swallows() {
			if n > 0 {
				if _, failed := dst.Write(buffer[:n]); failed != nil {
					err = failed
				}
			}
			if err != nil {
				c.close()
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *connection) close() {
	shut(c.client)
	shut(c.server)
}

func shut(c io.Closer) { _ = c.Close() } //nolint:errcheck // what ends here has nothing to save
