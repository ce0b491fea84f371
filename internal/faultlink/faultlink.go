// Package faultlink is a network link for tests, over TCP or in memory, that can drop all data: its connections stay open and carry
// nothing, as after a firewall has lost their state.
package faultlink

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// dialTimeout is the timeout for connecting to the server behind the link.
const dialTimeout = 5 * time.Second

// TB is the subset of *testing.T that the link uses.
type TB interface {
	Helper()
	Cleanup(f func())
	Fatalf(format string, args ...any)
}

// A Link forwards connections to Addr, until Swallow makes them drop data. Its methods are safe for concurrent use.
type Link struct {
	Addr string // such as 127.0.0.1:8200; "" for a link in memory

	forward  func() (net.Conn, error) // connects to the server behind the link
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	deaf     bool // new connections swallow too
	accepted int
	open     map[*connection]struct{}
}

// New starts a link to the address backend, such as 127.0.0.1:8200, until t ends.
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

// InMemory starts a link without a network, for synctest, and returns it with the listener of the server behind it. [Link.Dial] opens
// connections.
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

// listener is a listener in memory.
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

// Swallow makes the open connections drop all data from now on. New connections work.
func (l *Link) Swallow() { l.swallow(false) }

// SwallowAll is [Link.Swallow], and new connections drop all data too, until the next [Link.Swallow].
func (l *Link) SwallowAll() { l.swallow(true) }

func (l *Link) swallow(deaf bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = deaf
	for c := range l.open {
		c.swallow()
	}
}

// Accepted returns the number of accepted connections.
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

// connection is a connection through the link.
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

// carry copies from src to dst until src ends. A swallowed connection is still read, so its sender notices nothing, and its end is not
// forwarded.
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

func shut(c io.Closer) { _ = c.Close() } //nolint:errcheck // no data to save
