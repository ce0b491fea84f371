//go:build unix && !linux

package postgresserver

import "syscall"

// attributes makes a child run as the user of credential, or as that of the tests if it is nil. A child may outlive a test process that
// was killed.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential}
}
