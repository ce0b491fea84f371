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

// watch is what a Backend knows of documents that others may hold, to tell them of changes. It keeps versions and classes, no values.
//
// Looks read the documents. Neither inotify nor the times of files would do: inotify does not see what other machines write to NFS
// (https://man7.org/linux/man-pages/man7/inotify.7.html), and opening a file is what makes a client of NFS ask the server
// (https://man7.org/linux/man-pages/man5/nfs.5.html, "Close-to-open cache consistency").
type watch struct {
	mu      sync.Mutex
	changed []func(docs ...secrets.Ref) // if there is none, nothing is noted and nobody looks
	docs    []watched                   // the one fetched last at the end
	timer   *time.Timer                 // of the next look
	looking bool                        // a look is due or under way
}

// watched is a document that was asked for.
type watched struct {
	path    string // as Fetch got it
	answer  answer // of the last look; before the first one, of the first Fetch
	differs bool   // a Fetch since then got another answer, so that not everybody holds this one
}

// answer tells the answers to a document apart.
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

// lookLater sets the timer of the next look. Between looks there is no goroutine, and the timer does not keep a Backend alive that
// nobody has any more. The caller holds b.watch.mu.
func (b *Backend) lookLater() {
	backend := weak.Make(b)
	b.watch.looking = true
	b.watch.timer = time.AfterFunc(lookEvery, func() {
		if b := backend.Value(); b != nil {
			b.lookAgain()
		}
	})
}

// lookAgain looks for changes, and then sets the timer of the next look, so that two never run at a time.
func (b *Backend) lookAgain() {
	b.findChanges()
	w := &b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.looking = len(w.docs) > 0; w.looking {
		b.lookLater()
	}
}

// findChanges reads the documents, all in one snapshot, and tells of those that have changed. While it reads, it holds no lock: on a
// dead NFS server, that may take for ever.
func (b *Backend) findChanges() {
	refs := b.watch.refs()
	answers := make([]answer, len(refs))
	const patience = 0 // what is about to appear is a change of the next look
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

// compare notes the answers of a look to refs. It returns the documents that somebody may hold another answer of, and whom to tell.
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

// stop ends the looks, and forgets who is to be told. One that is under way tells nobody any more, unless it has begun to.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed, w.docs = nil, nil
	if w.timer != nil && w.timer.Stop() {
		w.looking = false
	}
}
