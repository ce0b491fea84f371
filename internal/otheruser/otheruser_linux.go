package otheruser

import (
	"os"
	"runtime"
	"syscall"
)

// TB is what Nobody asks of a test.
type TB interface {
	Helper()
	Log(args ...any)
}

// nobody owns no files.
const nobody = 65534

// Nobody calls f on a thread whose rights to files are those of a user without any: see setfsuid(2). The thread ends with f. If the test
// does not run as root, f keeps the rights of its own user, and the test says so.
func Nobody(t TB, f func()) {
	t.Helper()
	root := os.Geteuid() == 0
	if !root {
		t.Log("the tests do not run as root: they go without the rights of their own user, not with those of another")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		if root {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0) //nolint:errcheck // it returns what was before
		}
		f()
	}()
	<-done
}
