//go:build unix

package file_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// One swap by Kubernetes is reported in one call. So is a volume that is deleted and created again.
func TestASwapIsReportedInOneCall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mount string
		keys  []string
		both  string
	}{
		{"", []string{"user", "password"}, "password user"},
		{"db", []string{"db#user", "db#password"}, "db/password db/user"},
		{"db", []string{"db"}, "db"},
	} {
		t.Run(tt.both, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				mount := filepath.Join(dir, tt.mount)
				is.New(t).NoErr(os.MkdirAll(mount, 0o755))
				v := newVolume(t, mount, pair("", 1))
				changes(t, backend(t, dir), dir, tt.keys, []change{
					{"a swap", func(*testing.T, string) { v.update(pair("", 2)) }, []string{tt.both}},
					{"a swap without a change", func(*testing.T, string) { v.update(pair("", 2)) }, nil},
					{"files that are not swapped yet", func(*testing.T, string) { v.write("..v4", pair("", 4)) }, nil},
					{"the swap", func(*testing.T, string) { v.swap("..v4") }, []string{tt.both}},
					{"the volume is deleted", func(t *testing.T, _ string) {
						t.Helper()
						is.New(t).NoErr(os.RemoveAll(mount))
					}, []string{tt.both}},
					{"the volume is created again", func(t *testing.T, _ string) {
						t.Helper()
						is.New(t).NoErr(os.MkdirAll(mount, 0o755))
						newVolume(t, mount, pair("", 1))
					}, []string{tt.both}},
				})
			})
		})
	}
}

// A swap during a poll is reported in one call too.
func TestASwapDuringAPollIsReportedInOneCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		v := newVolume(t, dir, pair("", 1))
		b := backend(t, dir)
		var reads atomic.Int64
		b.OnRead(func(string) {
			if reads.Add(1) == 3 { // after the two fetches, the poll has read the first file and not the second
				v.update(pair("", 2))
			}
		})
		r := watch(b)
		fetchAll(t.Context(), b, "user", "password")
		got := slices.Concat(r.next(), r.next())
		is.Equal(got, []string{"password user"})
		is.True(reads.Load() > 4) // the control: the poll read the files again
	})
}

// A link with a new target changes the documents below it.
func TestANewTargetOfALinkIsAChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := tree(t, map[string]string{"1/token": "1", "2/token": "2", "same/token": "2"})
		link(t, dir, "1", "current")
		lead := func(target string) func(t *testing.T, dir string) {
			return func(t *testing.T, dir string) {
				t.Helper()
				link(t, dir, target, "new")
				is.New(t).NoErr(os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "current")))
			}
		}
		changes(t, backend(t, dir), dir, []string{"current/token"}, []change{
			{"elsewhere", lead("2"), []string{"current/token"}},
			{"to the same content", lead("same"), nil},
			{"out of the directory", lead(".."), []string{"current/token"}},
			{"into it again", lead("1"), []string{"current/token"}},
		})
	})
}

// A caller that fetches a document only when a change is reported is at most one poll behind. The control does not fetch.
func TestAReportedChangeIsEnoughToStayCurrent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		names := []string{"a", "b", "c", "d"}
		files := make(map[string]string, len(names))
		for _, name := range names {
			files[name] = "0"
		}
		dir := tree(t, files)
		b := backend(t, dir)
		var (
			mu            sync.Mutex
			held, control = make(map[string]string), make(map[string]string)
		)
		hold := func(name string) {
			s, err := b.Fetch(t.Context(), secrets.Ref{Path: name})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			held[name] = s.Reveal()
		}
		reported := make(chan string, 1000)
		b.Info().OnChange(func(docs ...secrets.Ref) {
			for _, doc := range docs {
				reported <- doc.Path
			}
		})
		for _, name := range names {
			hold(name)
		}
		maps.Copy(control, held)

		const lasts = 20 * time.Second
		begin := time.Now()
		var all sync.WaitGroup
		for _, name := range names {
			all.Go(func() {
				for n := 1; time.Since(begin) < lasts; n++ {
					tmp := filepath.Join(dir, name+".tmp")
					if err := os.WriteFile(tmp, []byte(strconv.Itoa(n)), 0o600); err != nil {
						t.Error(err)
					}
					if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(rand.IntN(4)) * pollInterval / 2) // often at the moment of a poll
				}
			})
			all.Go(func() {
				for time.Since(begin) < lasts {
					fetchAll(t.Context(), b, name)
					time.Sleep(pollInterval / 4)
				}
			})
		}
		stop := make(chan struct{})
		var holder sync.WaitGroup
		holder.Go(func() {
			for {
				select {
				case name := <-reported:
					hold(name)
				case <-stop:
					return
				}
			}
		})
		all.Wait()
		time.Sleep(pollInterval)
		synctest.Wait()
		close(stop)
		holder.Wait()
		is.NoErr(b.Close())
		for _, name := range names {
			content, err := os.ReadFile(filepath.Join(dir, name))
			is.NoErr(err)
			is.Equal(held[name], string(content))
			is.True(control[name] != string(content))
		}
	})
}
