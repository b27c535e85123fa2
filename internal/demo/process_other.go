//go:build !linux

package demo

import "syscall"

// childAttributes: nothing that all systems have.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
