package rotate

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve allocates n bytes of disk behind the first size bytes of a file, without
// changing the length of the file (fallocate(2) with FALLOC_FL_KEEP_SIZE). A full
// disk then cannot cut the next write short, so no reader of the file ever sees
// half a record. On a file system without that function, reserve does nothing.
func reserve(file *os.File, size, n int64) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, size, n); !errors.Is(failed, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	switch {
	case errors.Is(failed, unix.ENOSPC), errors.Is(failed, unix.EDQUOT), errors.Is(failed, unix.EFBIG):
		return &os.PathError{Op: "write", Path: file.Name(), Err: failed}
	}
	return nil
}
