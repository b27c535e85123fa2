package outlet

import (
	"net"
	"syscall"
	"unsafe"
)

// canPush says that a write to the socket itself is possible here.
const canPush = true

// maxVector is the number of blocks in one system call; more take several.
const maxVector = 16

// pushAll writes o.blocks until all is written or the socket takes no more. It is called with the descriptor of the socket,
// which does not block, and always says that it is done: there is no waiting for the socket.
func (o *Outlet) pushAll(fd uintptr) bool {
	blocks := o.blocks
	for len(blocks) > 0 {
		group := blocks[:min(len(blocks), maxVector)]
		blocks = blocks[len(group):]
		n, size, err := pushGroup(fd, group)
		o.took += n
		if err != 0 && err != syscall.EAGAIN {
			o.failed = err
			return true
		}
		if n < size {
			return true
		}
	}
	return true
}

// pushGroup writes blocks, of which there are size bytes, with one system call. RawSyscall is enough: the socket does not
// block, and the scheduler need not be told of a few microseconds.
func pushGroup(fd uintptr, blocks net.Buffers) (n, size int, errno syscall.Errno) {
	var vector [maxVector]syscall.Iovec
	for i, b := range blocks {
		size += len(b)
		vector[i].Base = unsafe.SliceData(b) //nolint:gosec // for writev(2)
		vector[i].SetLen(len(b))
	}
	for {
		var r uintptr
		if len(blocks) == 1 {
			r, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(vector[0].Base)), uintptr(size)) //nolint:gosec // write(2)
		} else {
			r, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&vector)), uintptr(len(blocks))) //nolint:gosec // writev(2)
		}
		switch errno {
		case 0:
			return int(r), size, 0
		case syscall.EINTR:
		default:
			return 0, size, errno
		}
	}
}
