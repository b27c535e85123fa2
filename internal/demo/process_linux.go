package demo

import "syscall"

// childAttributes: the server dies with the demo, and does not get the terminal's Ctrl-C.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
