package bench

import "syscall"

// serverAttributes: the server dies with this process, and does not get the terminal's Ctrl-C.
func serverAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
