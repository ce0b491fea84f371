package faultlink_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/faultlink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo starts a server that returns each line, and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewReader(c); ; {
					line, err := lines.ReadString('\n')
					if err != nil {
						return
					}
					if _, err := c.Write([]byte(line)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// send sends a line and returns the error of the answer.
func send(t *testing.T, c net.Conn) error {
	t.Helper()
	is := is.New(t)
	_, err := c.Write([]byte("x\n"))
	is.NoErr(err) // sending succeeds
	is.NoErr(c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)))
	n, err := c.Read(make([]byte, 8))
	is.True(err != nil || n == 2)
	return err
}

func TestSwallow(t *testing.T) {
	is := is.New(t)
	link := faultlink.New(t, echo(t))
	old := dial(t, link.Addr)
	is.NoErr(send(t, old)) // the control
	link.Swallow()
	is.True(errors.Is(send(t, old), os.ErrDeadlineExceeded)) // open, without an answer
	is.NoErr(send(t, dial(t, link.Addr)))
	is.True(errors.Is(send(t, old), os.ErrDeadlineExceeded)) // permanently
	is.Equal(link.Accepted(), 2)
}

func TestSwallowAll(t *testing.T) {
	is := is.New(t)
	link := faultlink.New(t, echo(t))
	old := dial(t, link.Addr)
	is.NoErr(send(t, old))
	link.SwallowAll()
	silent := dial(t, link.Addr)
	for _, c := range []net.Conn{old, silent} {
		is.True(errors.Is(send(t, c), os.ErrDeadlineExceeded))
	}
	link.Swallow()
	is.NoErr(send(t, dial(t, link.Addr)))
	is.True(errors.Is(send(t, silent), os.ErrDeadlineExceeded))
}

// The end of a connection is forwarded, unless the connection swallows.
func TestEnd(t *testing.T) {
	for _, swallow := range []bool{false, true} {
		is := is.New(t)
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		is.NoErr(err)
		link := faultlink.New(t, listener.Addr().String())
		client := dial(t, link.Addr)
		server, err := listener.Accept()
		is.NoErr(err)
		_, err = server.Write([]byte("x\n"))
		is.NoErr(err)
		_, err = client.Read(make([]byte, 8)) // the link has registered it by then
		is.NoErr(err)
		if swallow {
			link.Swallow()
		}
		is.NoErr(server.Close())
		is.NoErr(listener.Close())
		is.NoErr(client.SetReadDeadline(time.Now().Add(100 * time.Millisecond)))
		_, err = client.Read(make([]byte, 8))
		is.Equal(errors.Is(err, os.ErrDeadlineExceeded), swallow)
	}
}
