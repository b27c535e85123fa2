//go:build !linux

package bench

import "syscall"

// serverAttributes: nothing that all systems have.
func serverAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
