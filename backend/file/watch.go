package file

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/seed-5482dd03/secrets"
)

const (
	// lookEvery is the pause between two looks. A look at ten files takes about 0.3 ms.
	lookEvery = 500 * time.Millisecond
	// maxWatched bounds what a look costs (100 files: about 2 ms), also if keys come from outside. Few programs have handles on more.
	maxWatched = 100
)

// watch finds changes of documents that a Client may hold, and reports them. It keeps versions and classes of errors, no values.
//
// A look reads the documents. Neither inotify nor the times of files would do. inotify does not see what other machines write to NFS
// (https://man7.org/linux/man-pages/man7/inotify.7.html). Only opening a file makes an NFS client ask the server
// (https://man7.org/linux/man-pages/man5/nfs.5.html, "Close-to-open cache consistency").
type watch struct {
	mu      sync.Mutex
	changed []func(docs ...secrets.Ref) // without one, nothing is noted and no look runs
	docs    []watched                   // in order of their last Fetch
	timer   *time.Timer                 // of the next look
	looking bool                        // a look is due or under way
}

// watched is a document that somebody has fetched.
type watched struct {
	path    string // as Fetch got it
	answer  answer // of the last look, or of the first Fetch if there was no look yet
	differs bool   // a Fetch since then got another answer: two holders may differ
}

// answer identifies what a Fetch of a document returned.
type answer struct {
	version string
	class   error
}

func answerOf(s secrets.Secret, err error) answer {
	return answer{s.Meta().Version, secrets.Class(err)}
}

// onChange registers changed, which looks call with the documents that have changed, until Close.
func (b *Backend) onChange(changed func(docs ...secrets.Ref)) {
	w := &b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = append(w.changed, changed)
}

// note remembers what a Fetch of ref has answered.
func (b *Backend) note(ref secrets.Ref, s secrets.Secret, err error) {
	w := &b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changed) == 0 || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	document := ref
	document.Path = strings.TrimSuffix(ref.Path, namesOf)
	if check(document) != nil { // no file will ever answer it
		return
	}
	got := answerOf(s, err)
	doc := watched{path: ref.Path, answer: got}
	if at := w.find(ref.Path); at >= 0 {
		doc = w.docs[at]
		doc.differs = doc.differs || doc.answer != got
		w.docs = slices.Delete(w.docs, at, at+1)
	}
	w.docs = append(w.docs, doc)
	w.docs = slices.Delete(w.docs, 0, max(0, len(w.docs)-maxWatched))
	if !w.looking {
		b.lookLater()
	}
}

// find returns where in w.docs the document path is, or -1. The caller holds w.mu.
func (w *watch) find(path string) int {
	return slices.IndexFunc(w.docs, func(d watched) bool { return d.path == path })
}

// lookLater sets the timer of the next look. Between looks there is no goroutine. The timer does not keep a dropped Backend alive. The
// caller holds b.watch.mu.
func (b *Backend) lookLater() {
	backend := weak.Make(b)
	b.watch.looking = true
	b.watch.timer = time.AfterFunc(lookEvery, func() {
		if b := backend.Value(); b != nil {
			b.lookAgain()
		}
	})
}

// lookAgain looks for changes. Then it sets the timer of the next look: two looks never run at the same time.
func (b *Backend) lookAgain() {
	b.findChanges()
	w := &b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.looking = len(w.docs) > 0; w.looking {
		b.lookLater()
	}
}

// findChanges reads all documents in one snapshot and reports those that have changed. It holds no lock meanwhile: on a dead NFS server,
// a read may take forever.
func (b *Backend) findChanges() {
	refs := b.watch.refs()
	answers := make([]answer, len(refs))
	const patience = 0 // the next look reports what appears later
	b.read(context.Background(), patience, refs, func(i int, s secrets.Secret, err error) { answers[i] = answerOf(s, err) })
	docs, changed := b.watch.compare(refs, answers)
	if len(docs) == 0 {
		return
	}
	for _, tell := range changed {
		tell(docs...)
	}
}

func (w *watch) refs() []secrets.Ref {
	w.mu.Lock()
	defer w.mu.Unlock()
	refs := make([]secrets.Ref, len(w.docs))
	for i, doc := range w.docs {
		refs[i].Path = doc.path
	}
	return refs
}

// compare stores the answers of a look to refs. It returns the documents of which a Client may hold another answer, and the functions to
// call.
func (w *watch) compare(refs []secrets.Ref, answers []answer) (docs []secrets.Ref, changed []func(docs ...secrets.Ref)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, ref := range refs {
		at := w.find(ref.Path)
		if at < 0 || !w.docs[at].differs && w.docs[at].answer == answers[i] {
			continue
		}
		w.docs[at] = watched{path: ref.Path, answer: answers[i]}
		ref.Path = strings.TrimSuffix(ref.Path, namesOf)
		if !slices.Contains(docs, ref) {
			docs = append(docs, ref)
		}
	}
	return docs, slices.Clone(w.changed)
}

// stop ends the looks and drops the functions to call. A look under way calls none of them, unless it has already begun to.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed, w.docs = nil, nil
	if w.timer != nil && w.timer.Stop() {
		w.looking = false
	}
}
