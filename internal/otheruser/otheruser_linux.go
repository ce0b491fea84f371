package otheruser

import (
	"os"
	"runtime"
	"syscall"
)

// TB is the subset of *testing.T that Nobody uses.
type TB interface {
	Helper()
	Log(args ...any)
}

// nobody owns no files.
const nobody = 65534

// Nobody calls f on a thread with the file permissions of a user that owns nothing: see setfsuid(2). The thread ends with f. If the test
// does not run as root, f keeps the permissions of its own user, and the test logs that.
func Nobody(t TB, f func()) {
	t.Helper()
	root := os.Geteuid() == 0
	if !root {
		t.Log("the tests do not run as root: f keeps the file permissions of their own user")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		if root {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0) //nolint:errcheck // it returns the previous ID
		}
		f()
	}()
	<-done
}
