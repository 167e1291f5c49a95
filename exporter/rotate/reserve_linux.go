package rotate

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve sets n bytes of disk aside behind the first size bytes of a file,
// whose length stays. What is then written there is not cut short by a full
// disk, so that who reads the file never sees half a record that is taken back.
// File systems that cannot do that reserve nothing.
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
