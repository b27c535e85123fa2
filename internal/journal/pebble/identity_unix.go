//go:build unix

package pebble

import (
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

func osFileNumber(info vfs.FileInfo) (device, inode uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	device = uint64(st.Dev)
	if unix.Major(device) == 0 {
		device = 0
	}
	return device, st.Ino
}
