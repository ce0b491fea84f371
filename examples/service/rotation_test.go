//go:build vault && unix

package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/postgresserver"
)

// No request fails while the password changes in a real PostgreSQL and, a little later, in the files.
func TestRotation(t *testing.T) {
	is := is.New(t)
	server := postgresserver.Start(t)
	dir := t.TempDir()
	is.NoErr(os.Mkdir(filepath.Join(dir, "database"), 0o700))
	set := func(field, value string) {
		name := filepath.Join(dir, "database", field)
		is.NoErr(os.WriteFile(name+".new", []byte(value), 0o600))
		is.NoErr(os.Rename(name+".new", name))
	}
	server.Must(t, `CREATE ROLE shop LOGIN PASSWORD 'first'`)
	set("username", "shop")
	set("password", "first")
	t.Setenv("SECRET_MANAGER_PATH", dir)
	host, port, err := net.SplitHostPort(server.Addr)
	is.NoErr(err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.NoErr(err)
	addr := listener.Addr().String()
	is.NoErr(listener.Close())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, slog.New(slog.DiscardHandler), "host="+host+" port="+port+" dbname=postgres sslmode=disable", addr)
	}()
	get := func() (int, error) {
		resp, err := http.Get("http://" + addr + "/time") //nolint:noctx // the test's deadline ends it
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	for { // until it serves
		if status, err := get(); err == nil && status == http.StatusOK {
			break
		}
	}
	var answered, failed atomic.Int64
	var running sync.WaitGroup
	over := make(chan struct{})
	for range 8 {
		running.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if status, err := get(); err != nil || status != http.StatusOK {
					failed.Add(1)
				}
				answered.Add(1)
			}
		})
	}
	for _, password := range []string{"second", "third"} {
		server.Must(t, `ALTER ROLE shop PASSWORD '`+password+`'`)
		<-time.After(500 * time.Millisecond)
		set("password", password)
		<-time.After(2 * time.Second)
	}
	close(over)
	running.Wait()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	is.NoErr(<-done)
	t.Logf("%d requests, %d failed", answered.Load(), failed.Load())
	is.True(answered.Load() > 0)
	is.Equal(failed.Load(), int64(0))
}
