package postgresserver

import "syscall"

// attributes makes a child run as the user of credential (nil: the tests' own user). The kernel stops the child when the test process ends
// for any reason.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Pdeathsig: stopNow}
}
