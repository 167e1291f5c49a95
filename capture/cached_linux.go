package capture

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readCached reads what the system has in memory of a file from off on, and says
// nothing of the rest: preadv2(2) with RWF_NOWAIT. As that cannot wait, Go need not be
// told of it: it takes the processor away from a goroutine that is in the system for
// longer than 20 µs, as copying a piece takes, and wakes another thread for that.
func readCached(file syscall.RawConn, b []byte, off int64) int {
	iov := unix.Iovec{Base: unsafe.SliceData(b)}
	iov.SetLen(len(b))
	n, errno := uintptr(0), syscall.Errno(0)
	err := file.Control(func(fd uintptr) {
		// Of the offset the system puts two halves together, one of which has it all where
		// a word has 64 bits.
		n, _, errno = syscall.RawSyscall6(unix.SYS_PREADV2, fd, uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), uintptr(off>>32), unix.RWF_NOWAIT)
	})
	if err != nil || errno != 0 {
		return 0
	}
	return int(n)
}
