package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

// pollInterval is how often a backend polls for changes.
const pollInterval = 500 * time.Millisecond

// reports collects the changes that a backend reports. Each call is one string: its documents, sorted.
type reports struct {
	backend secrets.Backend // keeps it from being collected
	mu      sync.Mutex
	calls   []string
}

// watch registers for the changes of b.
func watch(b secrets.Backend) *reports {
	r := &reports{backend: b}
	b.Info().OnChange(func(docs ...secrets.Ref) {
		keys := make([]string, len(docs))
		for i, doc := range docs {
			keys[i] = doc.String()
		}
		slices.Sort(keys)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls = append(r.calls, strings.Join(keys, " "))
	})
	return r
}

// take returns the calls since the last take.
func (r *reports) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.calls = nil }()
	return r.calls
}

// next returns what the next poll of a backend reports. It must be called in a bubble.
func (r *reports) next() []string {
	time.Sleep(pollInterval)
	synctest.Wait()
	runtime.KeepAlive(r.backend)
	return r.take()
}

// fetchAll fetches keys as a Client does; they may be missing.
func fetchAll(ctx context.Context, b secrets.Backend, keys ...string) {
	for _, key := range keys {
		ref, err := secrets.ParseRef(key)
		if err != nil {
			panic(err)
		}
		ref = b.Info().Resolve(ref)
		_, _ = b.Fetch(ctx, secrets.Ref{Path: ref.Path, Version: ref.Version})
	}
}

// keepTime writes content to the file in place and restores its modification time.
func keepTime(t *testing.T, path, content string) {
	t.Helper()
	is := is.New(t)
	was, err := os.Stat(path)
	is.NoErr(err)
	is.NoErr(os.WriteFile(path, []byte(content), 0o600))
	is.NoErr(os.Chtimes(path, was.ModTime(), was.ModTime()))
}

// change is a step of TestChanges, and what the next poll reports after it.
type change struct {
	name string
	do   func(t *testing.T, dir string)
	want []string
}

// A poll reports each change once. The control: a poll without a change reports nothing.
func TestChanges(t *testing.T) {
	t.Parallel()
	writing := func(files map[string]string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			write(t, dir, files)
		}
	}
	removing := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			is.New(t).NoErr(os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		keys  []string // that are fetched
		steps []change
	}{
		{"a file", map[string]string{"token": "1", "other": "1"}, []string{"token"}, []change{
			{"written in place", writing(map[string]string{"token": "2"}), []string{"token"}},
			{"of the same size and time", func(t *testing.T, dir string) {
				t.Helper()
				keepTime(t, filepath.Join(dir, "token"), "3")
			}, []string{"token"}},
			{"replaced by a rename", func(t *testing.T, dir string) {
				t.Helper()
				write(t, dir, map[string]string{"new": "4"})
				is.New(t).NoErr(os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "token")))
			}, []string{"token"}},
			{"deleted", removing("token"), []string{"token"}},
			{"appears", writing(map[string]string{"token": "4"}), []string{"token"}},
			{"written with the same content", writing(map[string]string{"token": "4"}), nil},
			{"a newline is added", writing(map[string]string{"token": "4\n"}), nil}, // not part of a text
			{"touched", func(t *testing.T, dir string) {
				t.Helper()
				is.New(t).NoErr(os.Chtimes(filepath.Join(dir, "token"), time.Now(), time.Now()))
			}, nil},
			{"a file that was not fetched", writing(map[string]string{"other": "2"}), nil},
		}},
		{"a file that was never there", nil, []string{"token"}, []change{
			{"appears", writing(map[string]string{"token": "1"}), []string{"token"}},
		}},
		{"a directory as a document", map[string]string{"db/user": "1", "db/password": "1", "db/sub/x": "1"}, []string{"db"}, []change{
			{"one file changes", writing(map[string]string{"db/password": "2"}), []string{"db"}},
			{"a file is added", writing(map[string]string{"db/port": "1"}), []string{"db"}},
			{"a file is removed", removing("db/port"), []string{"db"}},
			{"a file below it", writing(map[string]string{"db/sub/x": "2"}), nil},
			{"a file that is not text", writing(map[string]string{"db/keystore": "\xff"}), []string{"db"}},
			{"that file changes", writing(map[string]string{"db/keystore": "\xfe"}), nil}, // the answer is the same error
			{"that file is removed", removing("db/keystore"), []string{"db"}},
			{"a file replaces the directory", func(t *testing.T, dir string) {
				t.Helper()
				removing("db")(t, dir)
				write(t, dir, map[string]string{"db": "{}"})
			}, []string{"db"}},
		}},
		{"fields of a directory", map[string]string{"db/user": "1", "db/password": "1"}, []string{"db#password", "db#missing"}, []change{
			{"one changes", writing(map[string]string{"db/password": "2"}), []string{"db/password"}},
			{"another changes", writing(map[string]string{"db/user": "2"}), nil},
			{"the missing one appears", writing(map[string]string{"db/missing": "1"}), []string{"db"}},
			{"all are removed", removing("db"), []string{"db db/password"}},
		}},
		{"a directory and its names", map[string]string{"db/user": "1"}, []string{"db", "db#missing"}, []change{
			{"both change", writing(map[string]string{"db/other": "1"}), []string{"db"}},
		}},
		{"two documents", map[string]string{"a": "1", "b": "1", "c": "1"}, []string{"a", "b", "c"}, []change{
			{"both change", writing(map[string]string{"a": "2", "b": "2"}), []string{"a b"}},
			{"the directory is deleted", removing(""), []string{"a b c"}},
			{"and created again", writing(map[string]string{"a": "3", "b": "3"}), []string{"a b c"}},
			{"one changes", writing(map[string]string{"a": "3", "b": "4"}), []string{"b"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(tree(t, map[string]string{"d/": ""}), "d")
				write(t, dir, tt.files)
				b := backend(t, dir)
				changes(t, b, dir, tt.keys, tt.steps)
				is.New(t).NoErr(b.Close())
			})
		})
	}
}

// changes does the steps in dir and checks what b reports after each. It must be called in a bubble.
func changes(t *testing.T, b *file.Backend, dir string, keys []string, steps []change) {
	t.Helper()
	r := watch(b)
	fetchAll(t.Context(), b, keys...)
	for _, step := range steps {
		step.do(t, dir)
		if got := r.next(); !slices.Equal(got, step.want) {
			t.Errorf("%s: the poll reports %q, want %q", step.name, got, step.want)
		}
		if got := r.next(); len(got) != 0 {
			t.Errorf("%s: the poll without a change reports %q", step.name, got)
		}
	}
}

// A caller that fetches between two polls may hold another answer than callers before it. The poll reports the change for both.
func TestAFetchBetweenPollsDoesNotHideAChange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		steps []string // contents to write, or "fetch"
		want  []string
	}{
		{"no change", []string{"fetch"}, nil},
		{"a change", []string{"2"}, []string{"token"}},
		{"a fetch sees it first", []string{"2", "fetch"}, []string{"token"}},
		{"a change that is undone after a fetch", []string{"2", "fetch", "1"}, []string{"token"}},
		{"a change that is undone without a fetch", []string{"2", "1"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				dir := tree(t, map[string]string{"token": "1"})
				b := backend(t, dir)
				r := watch(b)
				fetchAll(t.Context(), b, "token")
				is.Equal(len(r.next()), 0)
				for _, step := range tt.steps {
					if step == "fetch" {
						fetchAll(t.Context(), b, "token")
					} else {
						write(t, dir, map[string]string{"token": step})
					}
				}
				is.Equal(r.next(), tt.want)
				is.Equal(len(r.next()), 0)
			})
		})
	}
}

// A poll compares with the first fetch after a registration. Cancelled fetches and keys that no file can have are not polled.
func TestOnlyFetchedDocumentsArePolled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"cancelled": "1", "before": "1"})
		b := backend(t, dir)
		fetchAll(t.Context(), b, "before") // nobody has registered
		r := watch(b)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		fetchAll(ended, b, "cancelled")
		fetchAll(t.Context(), b, "token?version=1") // no file can have this key
		write(t, dir, map[string]string{"cancelled": "2", "before": "2", "token": "2"})
		is.Equal(len(r.next()), 0)

		fetchAll(t.Context(), b, "cancelled", "before", "token") // the control
		write(t, dir, map[string]string{"cancelled": "3", "before": "3", "token": "3"})
		is.Equal(r.next(), []string{"before cancelled token"})
	})
}

// A poll reads the 100 documents that were fetched last.
func TestAPollReadsTheDocumentsFetchedLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const all, kept = 200, 100
		files := make(map[string]string, all)
		keys := make([]string, all)
		for i := range keys {
			keys[i] = fmt.Sprintf("f%03d", i)
			files[keys[i]] = "1"
		}
		dir := tree(t, files)
		b := backend(t, dir)
		r := watch(b)
		fetchAll(t.Context(), b, keys...)
		fetchAll(t.Context(), b, keys[all-kept]) // becomes the one fetched last
		fetchAll(t.Context(), b, keys[0])        // replaces the oldest one
		for i := range 2 * kept {                // keys that no file can have replace none
			fetchAll(t.Context(), b, "f?version="+strconv.Itoa(i))
		}
		for key := range files {
			files[key] = "2"
		}
		write(t, dir, files)
		want := slices.Concat(keys[:1], keys[all-kept:all-kept+1], keys[all-kept+2:])
		is.Equal(r.next(), []string{strings.Join(want, " ")})
	})
}

// Close ends polling and nothing else. A later registration starts it again.
func TestCloseEndsPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": "1"})
		b := backend(t, dir)
		r := watch(b)
		fetchAll(t.Context(), b, "token")
		write(t, dir, map[string]string{"token": "2"})
		is.Equal(r.next(), []string{"token"}) // the control

		write(t, dir, map[string]string{"token": "3"})
		is.NoErr(b.Close())
		is.NoErr(b.Close())
		got, err := get(t, b, "token")
		is.NoErr(err)
		is.Equal(got, "3")
		write(t, dir, map[string]string{"token": "4"})
		time.Sleep(10 * pollInterval)
		is.Equal(len(r.next()), 0)

		watch(b)
		fetchAll(t.Context(), b, "token")
		time.Sleep(pollInterval / 2)
		is.NoErr(b.Close()) // cancels the scheduled poll
		again := watch(b)
		fetchAll(t.Context(), b, "token")
		write(t, dir, map[string]string{"token": "5"})
		time.Sleep(pollInterval / 2)
		synctest.Wait()
		is.Equal(len(again.take()), 0)
		time.Sleep(pollInterval / 2)
		synctest.Wait()
		is.Equal(again.take(), []string{"token"})
		is.Equal(len(r.take()), 0)
		is.NoErr(b.Close())
	})
}

// A backend that two Clients share reports changes to both.
func TestEveryRegistrationGetsTheChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": "1"})
		b := backend(t, dir)
		first, second := watch(b), watch(b)
		fetchAll(t.Context(), b, "token")
		write(t, dir, map[string]string{"token": "2"})
		is.Equal(first.next(), []string{"token"})
		is.Equal(second.take(), []string{"token"})
	})
}

// With WithCaching, nothing polls. Without it, polling starts with a registration and a fetch.
func TestPollingNeedsARegistrationAndAFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": "1"})
		is.True(backend(t, dir, file.WithCaching()).Info().OnChange == nil)

		b := backend(t, dir)
		var reads atomic.Int64
		b.OnRead(func(string) { reads.Add(1) })
		fetchAll(t.Context(), b, "token")
		time.Sleep(10 * pollInterval)
		is.Equal(reads.Load(), int64(1)) // no registration
		watch(b)
		time.Sleep(10 * pollInterval)
		is.Equal(reads.Load(), int64(1)) // no fetch since
		fetchAll(t.Context(), b, "token")
		time.Sleep(10*pollInterval + pollInterval/2)
		synctest.Wait()
		is.Equal(reads.Load(), int64(2+10))
		is.NoErr(b.Close())
	})
}

// A poll that hangs, as on a dead NFS server, delays only polls. Two polls never run at the same time.
func TestAHangingPollDelaysOnlyPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"hung": "1", "token": "1"})
		b := backend(t, dir)
		alive := make(chan struct{})
		var reads atomic.Int64
		b.OnRead(func(path string) {
			if path == "hung" && reads.Add(1) == 2 {
				<-alive
			}
		})
		r := watch(b)
		fetchAll(t.Context(), b, "hung", "token")
		write(t, dir, map[string]string{"hung": "2", "token": "2"})
		time.Sleep(10 * pollInterval)
		synctest.Wait()
		is.Equal(reads.Load(), int64(2))
		got, err := get(t, b, "token")
		is.NoErr(err)
		is.Equal(got, "2")

		is.NoErr(b.Close())
		again := watch(b)
		fetchAll(t.Context(), b, "token")
		write(t, dir, map[string]string{"token": "3"})
		is.Equal(len(again.next()), 0) // the poll still hangs

		close(alive)
		is.Equal(again.next(), []string{"token"})
		is.Equal(len(r.take()), 0) // Close came while the poll hung
		is.Equal(len(again.next()), 0)
	})
}

// The test is not parallel: other tests have such goroutines.
func TestNoGoroutineRunsBetweenPolls(t *testing.T) { //nolint:paralleltest // see above
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		goroutines := func() bool {
			stacks := make([]byte, 1<<20)
			return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "file.(*Backend).poll")
		}
		b := backend(t, tree(t, map[string]string{"token": "1"}))
		read := make(chan struct{})
		var reads atomic.Int64
		b.OnRead(func(string) {
			if reads.Add(1) == 2 {
				<-read
			}
		})
		watch(b)
		fetchAll(t.Context(), b, "token")
		is.True(!goroutines())
		time.Sleep(pollInterval)
		synctest.Wait()
		is.True(goroutines()) // the control: a poll is running
		close(read)
		synctest.Wait()
		is.True(!goroutines()) // the bubble ends without Close
		runtime.KeepAlive(b)
	})
}

// A backend without references is collected, even if it was not closed.
func TestADroppedBackendIsCollected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": "1"})
		var dropped, kept atomic.Bool
		begin := func(collected *atomic.Bool) *file.Backend {
			b := backend(t, dir)
			b.Info().OnChange(func(...secrets.Ref) { runtime.KeepAlive(b) }) // refers to the backend, as a Client does
			fetchAll(t.Context(), b, "token")
			runtime.AddCleanup(b, func(c *atomic.Bool) { c.Store(true) }, collected)
			return b
		}
		begin(&dropped)
		b := begin(&kept)
		time.Sleep(3 * pollInterval)
		synctest.Wait()
		for i := 0; i < 1_000 && !dropped.Load(); i++ {
			runtime.GC()
			runtime.Gosched()
		}
		is.True(dropped.Load())
		is.True(!kept.Load()) // the control
		runtime.KeepAlive(b)
		time.Sleep(3 * pollInterval) // the timer of the dropped backend does nothing
	})
}

func BenchmarkPoll(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(n)+" documents", func(b *testing.B) {
			dir := b.TempDir()
			backend, err := file.New(dir)
			if err != nil {
				b.Fatal(err)
			}
			defer backend.Close()
			backend.Info().OnChange(func(...secrets.Ref) { b.Error("a change") })
			for i := range n {
				name := "f" + strconv.Itoa(i)
				if err := os.WriteFile(filepath.Join(dir, name), []byte(canary), 0o600); err != nil {
					b.Fatal(err)
				}
				fetchAll(b.Context(), backend, name)
			}
			b.ReportAllocs()
			for b.Loop() {
				backend.Poll()
			}
		})
	}
}
