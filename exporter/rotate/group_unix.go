//go:build unix

package rotate

import (
	"io/fs"
	"os"
	"syscall"
)

// sameGroup gives a file the group of another.
func sameGroup(file *os.File, other fs.FileInfo) error {
	st, ok := other.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return file.Chown(-1, int(st.Gid))
}
