//go:build unix

package folder

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock locks a folder for as long as the file that it returns is open, which a killed
// process ends too. It returns nil if another process has the lock, or has
// removed the folder.
func Lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		mine, ferr := f.Stat()
		named, nerr := os.Stat(dir)
		if ferr == nil && nerr == nil && os.SameFile(mine, named) {
			return f, nil
		}
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = nil
	}
	return nil, err
}

// Sync makes the names in a folder survive a crash of the machine, where the file
// system can.
func Sync(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		_ = f.Close()
	}
}
