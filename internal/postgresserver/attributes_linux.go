package postgresserver

import "syscall"

// attributes makes a child run as the user of credential, or as that of the tests if it is nil. The kernel tells the child to stop when
// the test process ends, in whatever way.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Pdeathsig: stopNow}
}
