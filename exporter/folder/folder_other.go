//go:build !unix

package folder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Lock locks a folder for as long as the file that it returns is open: Windows
// removes no file that is open. It returns nil if another process has the lock.
func Lock(dir string) (*os.File, error) {
	name := filepath.Join(dir, "lock")
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// Sync does nothing, because folders cannot be synchronised.
func Sync(string) {}
