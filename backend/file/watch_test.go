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

// lookEvery is how often a backend looks for changes.
const lookEvery = 500 * time.Millisecond

// reports is what a backend has said about changes. Each call is a text of its documents, in order.
type reports struct {
	backend secrets.Backend // which is not collected meanwhile
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

// next returns what the next look of a backend reports. It must be called in a bubble.
func (r *reports) next() []string {
	time.Sleep(lookEvery)
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

// keepTime writes content into the file where it lies, and sets back when it was modified.
func keepTime(t *testing.T, path, content string) {
	t.Helper()
	is := is.New(t)
	was, err := os.Stat(path)
	is.NoErr(err)
	is.NoErr(os.WriteFile(path, []byte(content), 0o600))
	is.NoErr(os.Chtimes(path, was.ModTime(), was.ModTime()))
}

// change is a step of TestChanges, and what the next look reports after it.
type change struct {
	name string
	do   func(t *testing.T, dir string)
	want []string
}

// A look reports what has changed since the last one, once. Before each change, a look that finds none is the control.
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
			{"written where it lies", writing(map[string]string{"token": "2"}), []string{"token"}},
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
			{"a newline more", writing(map[string]string{"token": "4\n"}), nil}, // it is no part of a text
			{"touched", func(t *testing.T, dir string) {
				t.Helper()
				is.New(t).NoErr(os.Chtimes(filepath.Join(dir, "token"), time.Now(), time.Now()))
			}, nil},
			{"another that nobody asked for", writing(map[string]string{"other": "2"}), nil},
		}},
		{"a file that was never there", nil, []string{"token"}, []change{
			{"appears", writing(map[string]string{"token": "1"}), []string{"token"}},
		}},
		{"a directory as a document", map[string]string{"db/user": "1", "db/password": "1", "db/sub/x": "1"}, []string{"db"}, []change{
			{"one file changes", writing(map[string]string{"db/password": "2"}), []string{"db"}},
			{"a file more", writing(map[string]string{"db/port": "1"}), []string{"db"}},
			{"a file less", removing("db/port"), []string{"db"}},
			{"a file below it", writing(map[string]string{"db/sub/x": "2"}), nil},
			{"a file that is no text", writing(map[string]string{"db/keystore": "\xff"}), []string{"db"}},
			{"that file changes", writing(map[string]string{"db/keystore": "\xfe"}), nil}, // the answer is the same error
			{"it is removed", removing("db/keystore"), []string{"db"}},
			{"a file in its place", func(t *testing.T, dir string) {
				t.Helper()
				removing("db")(t, dir)
				write(t, dir, map[string]string{"db": "{}"})
			}, []string{"db"}},
		}},
		{"fields of a directory", map[string]string{"db/user": "1", "db/password": "1"}, []string{"db#password", "db#missing"}, []change{
			{"one changes", writing(map[string]string{"db/password": "2"}), []string{"db/password"}},
			{"another changes", writing(map[string]string{"db/user": "2"}), nil},
			{"the missing one appears", writing(map[string]string{"db/missing": "1"}), []string{"db"}},
			{"all are gone", removing("db"), []string{"db db/password"}},
		}},
		{"a directory and its names", map[string]string{"db/user": "1"}, []string{"db", "db#missing"}, []change{
			{"both change", writing(map[string]string{"db/other": "1"}), []string{"db"}},
		}},
		{"two documents", map[string]string{"a": "1", "b": "1", "c": "1"}, []string{"a", "b", "c"}, []change{
			{"both change", writing(map[string]string{"a": "2", "b": "2"}), []string{"a b"}},
			{"the directory is deleted", removing(""), []string{"a b c"}},
			{"and made again", writing(map[string]string{"a": "3", "b": "3"}), []string{"a b c"}},
			{"one of them is as it was", writing(map[string]string{"a": "3", "b": "4"}), []string{"b"}},
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

// changes does the steps below dir, and looks at what b reports. It must be called in a bubble.
func changes(t *testing.T, b *file.Backend, dir string, keys []string, steps []change) {
	t.Helper()
	r := watch(b)
	fetchAll(t.Context(), b, keys...)
	for _, step := range steps {
		step.do(t, dir)
		if got := r.next(); !slices.Equal(got, step.want) {
			t.Errorf("%s: the look reports %q, want %q", step.name, got, step.want)
		}
		if got := r.next(); len(got) != 0 {
			t.Errorf("%s: the look without a change reports %q", step.name, got)
		}
	}
}

// Who fetches between two looks may hold another answer than those who fetched before. Both must hear of it.
func TestFetchesBetweenLooks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		steps []string // contents to write, or "fetch"
		want  []string
	}{
		{"no change", []string{"fetch"}, nil},
		{"a change", []string{"2"}, []string{"token"}},
		{"a fetch sees it first", []string{"2", "fetch"}, []string{"token"}},
		{"a fetch has seen what is gone again", []string{"2", "fetch", "1"}, []string{"token"}},
		{"nobody has seen what is gone again", []string{"2", "1"}, nil},
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

// The first answer to a document counts from the fetch on. What is no answer about a document does not.
func TestWhatIsNotedOfADocument(t *testing.T) {
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
		fetchAll(t.Context(), b, "token?version=1") // no file will ever answer it
		write(t, dir, map[string]string{"cancelled": "2", "before": "2", "token": "2"})
		is.Equal(len(r.next()), 0)

		fetchAll(t.Context(), b, "cancelled", "before", "token") // the control
		write(t, dir, map[string]string{"cancelled": "3", "before": "3", "token": "3"})
		is.Equal(r.next(), []string{"before cancelled token"})
	})
}

// A look reads the documents that were fetched last, and no more than 100.
func TestTheDocumentsFetchedLastAreLookedAt(t *testing.T) {
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
		fetchAll(t.Context(), b, keys[all-kept]) // it becomes the one fetched last
		fetchAll(t.Context(), b, keys[0])        // and so the next oldest one leaves
		for i := range 2 * kept {                // keys that no file has take no place
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

// Close ends the looks, and nothing else. Who registers afterwards begins them anew.
func TestCloseEndsTheLooks(t *testing.T) {
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
		time.Sleep(10 * lookEvery)
		is.Equal(len(r.next()), 0)

		watch(b)
		fetchAll(t.Context(), b, "token")
		time.Sleep(lookEvery / 2)
		is.NoErr(b.Close()) // the look that was due is none any more
		again := watch(b)
		fetchAll(t.Context(), b, "token")
		write(t, dir, map[string]string{"token": "5"})
		time.Sleep(lookEvery / 2)
		synctest.Wait()
		is.Equal(len(again.take()), 0)
		time.Sleep(lookEvery / 2)
		synctest.Wait()
		is.Equal(again.take(), []string{"token"})
		is.Equal(len(r.take()), 0)
		is.NoErr(b.Close())
	})
}

// A backend that two Clients have tells both.
func TestTwoRegistrations(t *testing.T) {
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

// With a cache, nothing looks at a slow file system. By default, nothing does before somebody registers and asks for a document.
func TestWhoLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": "1"})
		is.True(backend(t, dir, file.WithCaching()).Info().OnChange == nil)

		b := backend(t, dir)
		var reads atomic.Int64
		b.OnRead(func(string) { reads.Add(1) })
		fetchAll(t.Context(), b, "token")
		time.Sleep(10 * lookEvery)
		is.Equal(reads.Load(), int64(1)) // nobody has registered
		watch(b)
		time.Sleep(10 * lookEvery)
		is.Equal(reads.Load(), int64(1)) // nobody has asked
		fetchAll(t.Context(), b, "token")
		time.Sleep(10*lookEvery + lookEvery/2)
		synctest.Wait()
		is.Equal(reads.Load(), int64(2+10))
		is.NoErr(b.Close())
	})
}

// A look that hangs, as on a dead NFS server, holds up nothing but looks. There is never a second one beside it.
func TestALookThatHangs(t *testing.T) {
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
		time.Sleep(10 * lookEvery)
		synctest.Wait()
		is.Equal(reads.Load(), int64(2))
		got, err := get(t, b, "token")
		is.NoErr(err)
		is.Equal(got, "2")

		is.NoErr(b.Close())
		again := watch(b)
		fetchAll(t.Context(), b, "token")
		write(t, dir, map[string]string{"token": "3"})
		is.Equal(len(again.next()), 0) // the look still hangs

		close(alive)
		is.Equal(again.next(), []string{"token"})
		is.Equal(len(r.take()), 0) // it was closed while the look hung
		is.Equal(len(again.next()), 0)
	})
}

// Between two looks there is no goroutine. It is not parallel, so that no other test has one.
func TestNoGoroutineBetweenLooks(t *testing.T) { //nolint:paralleltest // as said
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		goroutines := func() bool {
			stacks := make([]byte, 1<<20)
			return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "file.(*Backend).lookAgain")
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
		time.Sleep(lookEvery)
		synctest.Wait()
		is.True(goroutines()) // the control: a look is under way
		close(read)
		synctest.Wait()
		is.True(!goroutines()) // and the bubble ends without Close
		runtime.KeepAlive(b)
	})
}

// A backend that nobody has any more is collected, though nobody has closed it.
func TestADroppedBackendIsCollected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := tree(t, map[string]string{"token": "1"})
		var dropped, kept atomic.Bool
		begin := func(collected *atomic.Bool) *file.Backend {
			b := backend(t, dir)
			b.Info().OnChange(func(...secrets.Ref) { runtime.KeepAlive(b) }) // as a Client, it leads back to the backend
			fetchAll(t.Context(), b, "token")
			runtime.AddCleanup(b, func(c *atomic.Bool) { c.Store(true) }, collected)
			return b
		}
		begin(&dropped)
		b := begin(&kept)
		time.Sleep(3 * lookEvery)
		synctest.Wait()
		for i := 0; i < 1_000 && !dropped.Load(); i++ {
			runtime.GC()
			runtime.Gosched()
		}
		is.True(dropped.Load())
		is.True(!kept.Load()) // the control
		runtime.KeepAlive(b)
		time.Sleep(3 * lookEvery) // the timer of the dropped one finds nothing
	})
}

func BenchmarkLook(b *testing.B) {
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
				backend.Look()
			}
		})
	}
}
