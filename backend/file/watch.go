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
	// pollInterval is the pause between two polls. Polling ten files takes about 0.3 ms.
	pollInterval = 500 * time.Millisecond
	// maxWatched bounds the cost of a poll (100 files: about 2 ms), even if keys come from outside. Few programs have handles on more.
	maxWatched = 100
)

// watch finds changes of fetched documents and reports them. It keeps versions and error classes, not values.
//
// A poll reads the documents. inotify does not report what other machines write to NFS
// (https://man7.org/linux/man-pages/man7/inotify.7.html), and file times may be cached: an NFS client contacts the server only when a file
// is opened (https://man7.org/linux/man-pages/man5/nfs.5.html, "Close-to-open cache consistency").
type watch struct {
	mu      sync.Mutex
	changed []func(docs ...secrets.Ref) // if empty, nothing is noted and no poll runs
	docs    []watched                   // in order of their last Fetch
	timer   *time.Timer                 // of the next poll
	polling bool                        // a poll is scheduled or running
}

// watched is a document that was fetched.
type watched struct {
	path    string // as passed to Fetch
	answer  answer // of the last poll, or of the first Fetch if there was no poll yet
	differs bool   // a later Fetch got another answer: two callers may hold different ones
}

// answer identifies what a Fetch of a document returned.
type answer struct {
	version string
	class   error
}

func answerOf(s secrets.Secret, err error) answer {
	return answer{s.Meta().Version, secrets.Class(err)}
}

// onChange registers changed: until Close, polls call it with the documents that have changed.
func (b *Backend) onChange(changed func(docs ...secrets.Ref)) {
	w := &b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = append(w.changed, changed)
}

// note records the answer of a Fetch of ref.
func (b *Backend) note(ref secrets.Ref, s secrets.Secret, err error) {
	w := &b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changed) == 0 || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	document := ref
	document.Path = strings.TrimSuffix(ref.Path, namesOf)
	if check(document) != nil { // no file can have this name
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
	if !w.polling {
		b.schedulePoll()
	}
}

// find returns the index of the document path in w.docs, or -1. The caller holds w.mu.
func (w *watch) find(path string) int {
	return slices.IndexFunc(w.docs, func(d watched) bool { return d.path == path })
}

// schedulePoll sets the timer of the next poll. Between polls, no goroutine runs. The timer does not keep a dropped Backend alive. The
// caller holds b.watch.mu.
func (b *Backend) schedulePoll() {
	backend := weak.Make(b)
	b.watch.polling = true
	b.watch.timer = time.AfterFunc(pollInterval, func() {
		if b := backend.Value(); b != nil {
			b.poll()
		}
	})
}

// poll looks for changes, then schedules the next poll, so two polls never run at the same time.
func (b *Backend) poll() {
	b.findChanges()
	w := &b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.polling = len(w.docs) > 0; w.polling {
		b.schedulePoll()
	}
}

// findChanges reads all documents in one snapshot and reports those that have changed. It reads without a lock: on a dead NFS server, a
// read may take forever.
func (b *Backend) findChanges() {
	refs := b.watch.refs()
	answers := make([]answer, len(refs))
	const patience = 0 // the next poll reports what appears later
	b.read(context.Background(), patience, refs, func(i int, s secrets.Secret, err error) { answers[i] = answerOf(s, err) })
	docs, changed := b.watch.compare(refs, answers)
	if len(docs) == 0 {
		return
	}
	for _, report := range changed {
		report(docs...)
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

// compare stores the answers of a poll to refs. It returns the documents for which a Client may hold another answer, and the functions to
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

// stop ends polling and drops the registered functions. A running poll does not call them, unless it has already begun to.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed, w.docs = nil, nil
	if w.timer != nil && w.timer.Stop() {
		w.polling = false
	}
}
