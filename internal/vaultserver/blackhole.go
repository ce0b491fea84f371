package vaultserver

import (
	"net"
	"sync"
)

// A BlackHole is a server that accepts connections and never answers.
type BlackHole struct {
	Addr string // such as http://127.0.0.1:8200

	listener net.Listener
	done     chan struct{}

	mu          sync.Mutex
	connections []net.Conn
}

// NewBlackHole starts a black hole, until t ends.
func NewBlackHole(t TB) *BlackHole {
	t.Helper()
	listener, err := listen()
	if err != nil {
		t.Fatalf("%v", err)
	}
	b := &BlackHole{Addr: "http://" + listener.Addr().String(), listener: listener, done: make(chan struct{})}
	go b.accept()
	t.Cleanup(func() {
		_ = listener.Close() // ends accept
		<-b.done
		for _, connection := range b.connections {
			_ = connection.Close()
		}
	})
	return b
}

func (b *BlackHole) accept() {
	defer close(b.done)
	for {
		connection, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.connections = append(b.connections, connection)
		b.mu.Unlock()
	}
}

// Connections returns the number of accepted connections.
func (b *BlackHole) Connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.connections)
}
