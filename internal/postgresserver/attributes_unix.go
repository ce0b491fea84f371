//go:build unix && !linux

package postgresserver

import "syscall"

// attributes makes a child run as the user of credential (nil: the tests' own user). A child may outlive a killed test process.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential}
}
