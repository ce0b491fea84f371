package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// A handle polls at most ten times a second, so the test rotates many documents.
const (
	rotatedDocuments = 250
	rotationsOfEach  = 40
	readersOfEach    = 8 // of each kind
)

// login is a user and a password of one version.
type login struct{ User, Password string }

func loginOf(s secrets.Secret) (l login, err error) { return l, s.JSON(&l) }

// version returns the version that l is of, and whether user and password are of the same.
func (l login) version() (n int, same bool) {
	user, password := strings.TrimPrefix(l.User, "u"), strings.TrimPrefix(l.Password, "p")
	n, err := strconv.Atoi(user)
	return n, user == password && err == nil
}

// session must not be used after its end.
type session struct {
	login
	ends atomic.Int64
}

// use reports whether s is usable, for a while.
func (s *session) use() bool {
	usable := s.ends.Load() == 0
	runtime.Gosched()
	return usable && s.ends.Load() == 0
}

// rotated is one document that rotates, and its readers.
type rotated struct {
	path           string
	handle         *secrets.Handle
	login          *secrets.Live[login]
	session        *secrets.Live[*session]
	user, password *secrets.Handle         // a control, of some: the same as two documents
	naive          atomic.Pointer[session] // a control: it ends the old one at once
}

// rotation is the whole test.
type rotation struct {
	*testing.T

	backend   *secretstest.Backend
	client    *secrets.Client
	documents []*rotated
	readers   []chan *rotated // each is told of the documents that change

	mu       sync.Mutex
	sessions []*session

	reads, torn, back, late, tornControl, lateControl atomic.Int64
}

func (r *rotation) check(err error) {
	if err != nil {
		r.Error(err)
	}
}

// open logs in, as the build of a Live.
func (r *rotation) open(s secrets.Secret) (*session, error) {
	l, err := loginOf(s)
	made := &session{login: l}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = append(r.sessions, made)
	return made, err
}

func (r *rotation) set(path string, n int) {
	r.backend.Set(path, fmt.Sprintf(`{"user":"u%d","password":"p%d"}`, n, n))
	r.backend.Set(path+"/user", fmt.Sprintf("u%d", n))
	r.backend.Set(path+"/password", fmt.Sprintf("p%d", n))
}

func (r *rotation) watch(key string) *secrets.Handle {
	h, err := r.client.Watch(r.Context(), key)
	if err != nil {
		r.Fatal(err)
	}
	return h
}

func (r *rotation) add(path string, isControl bool) {
	r.set(path, 0)
	d := &rotated{path: path, handle: r.watch(path)}
	if isControl {
		d.user, d.password = r.watch(path+"/user"), r.watch(path+"/password")
	}
	var err error
	d.login, err = secrets.Derive(d.handle, loginOf)
	r.check(err)
	d.session, err = secrets.Derive(d.handle, r.open, secrets.Closing(func(s *session) { s.ends.Add(1) }))
	r.check(err)
	d.naive.Store(new(session))
	r.documents = append(r.documents, d)
}

// rotate replaces the value of d again and again, and waits until it is seen.
func (r *rotation) rotate(d *rotated) {
	for n := 1; n <= rotationsOfEach; n++ {
		changed, byLogin, bySession := d.handle.Changed(), d.login.Changed(), d.session.Changed()
		r.set(d.path, n)
		if n%2 == 0 || d.user != nil {
			r.client.Invalidate(d.path, d.path+"/user", d.path+"/password")
		} else {
			_, err := r.client.Refresh(context.Background(), d.path)
			r.check(err)
		}
		<-changed
		for _, reader := range r.readers {
			select {
			case reader <- d:
			default: // the reader is busy
			}
		}
		<-byLogin
		<-bySession
		if got, _ := d.login.Load().version(); got != n {
			r.Errorf("a Live of %s shows version %d after the rotation to %d", d.path, got, n)
		}
	}
}

// replaceAtOnce follows d with a holder that ends the old session as soon as there is a new one.
func (r *rotation) replaceAtOnce(d *rotated) {
	for !errors.Is(d.handle.Err(), secrets.ErrClosed) {
		changed := d.handle.Changed()
		l, err := loginOf(d.handle.Secret())
		r.check(err)
		d.naive.Swap(&session{login: l}).ends.Add(1)
		<-changed
	}
}

// read reads each document that changes, until there is none. one reads a document, and returns the login that it saw.
func (r *rotation) read(changing <-chan *rotated, one func(d *rotated) login) {
	last := make(map[*rotated]int)
	for d := range changing {
		for range 2 {
			n, same := one(d).version()
			if !same {
				r.torn.Add(1)
			}
			if n < last[d] {
				r.back.Add(1)
			}
			last[d] = n
			r.reads.Add(1)
			runtime.Gosched()
		}
	}
}

func (r *rotation) readHandle(d *rotated) (l login) {
	s := d.handle.Secret()
	user, err := s.Field("user")
	r.check(err)
	password, err := s.Field("password")
	r.check(err)
	return login{user.Reveal(), password.Reveal()}
}

func (r *rotation) readLogin(d *rotated) login { return d.login.Load() }

func (r *rotation) useSession(d *rotated) (l login) {
	r.check(d.session.Use(func(s *session) error {
		if !s.use() {
			r.late.Add(1)
		}
		l = s.login
		return nil
	}))
	return l
}

// readControls reads in the wrong ways.
func (r *rotation) readControls(d *rotated) login {
	if d.user != nil {
		user := d.user.Secret().Reveal()
		runtime.Gosched()
		if _, same := (login{user, d.password.Secret().Reveal()}).version(); !same {
			r.tornControl.Add(1)
		}
	}
	if !d.naive.Load().use() {
		r.lateControl.Add(1)
	}
	return d.login.Load()
}

// A credential changes 10,000 times under its readers. No reader gets a user and a password of two versions, an older version after a newer
// one, or a session that has ended. The controls show that the readers detect these faults.
func TestTenThousandRotations(t *testing.T) {
	is := is.New(t)
	backend := secretstest.NewBackend(nil)
	r := &rotation{T: t, backend: backend, client: open(t, backend)}
	for i := range rotatedDocuments {
		r.add(fmt.Sprintf("database-%d", i), i%10 == 0)
	}
	var rotators, followers, readers sync.WaitGroup
	for i := range 4 * readersOfEach {
		changing := make(chan *rotated, 1)
		r.readers = append(r.readers, changing)
		readers.Go(func() {
			r.read(changing, []func(*rotated) login{r.readHandle, r.readLogin, r.useSession, r.readControls}[i%4])
		})
	}
	for _, d := range r.documents {
		followers.Go(func() { r.replaceAtOnce(d) })
		rotators.Go(func() { r.rotate(d) })
	}
	rotators.Wait()
	for _, reader := range r.readers {
		close(reader)
	}
	readers.Wait()
	for _, d := range r.documents {
		r.check(d.handle.Close())
	}
	followers.Wait()

	ends := make(map[int64]int)
	for _, s := range r.sessions {
		ends[s.ends.Load()]++
	}
	t.Logf("%d rotations, %d reads: %d torn pairs (control: %d), %d uses after the end (control: %d), %d versions that go back; "+
		"%d sessions, by how often each has ended: %v", rotatedDocuments*rotationsOfEach, r.reads.Load(), r.torn.Load(), r.tornControl.Load(),
		r.late.Load(), r.lateControl.Load(), r.back.Load(), len(r.sessions), ends)
	is.Equal(r.torn.Load(), int64(0))
	is.Equal(r.late.Load(), int64(0))
	is.Equal(r.back.Load(), int64(0))
	is.Equal(ends, map[int64]int{1: rotatedDocuments * (rotationsOfEach + 1)})
	is.True(r.tornControl.Load() > 0)
	is.True(r.lateControl.Load() > 0)
}
