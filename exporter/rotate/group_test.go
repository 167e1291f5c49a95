//go:build unix

package rotate

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has more than one group for sure")
	}
	dir, c, group := t.TempDir(), start(), 12345
	name := filepath.Join(dir, "f")
	f, err := Open(name, Options{Interval: time.Hour, Compress: true, Mode: 0o640, Group: &group, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, "a\n")
	c.t = c.t.Add(time.Hour)
	write(t, f, "b\n")
	settle(t, dir, "f", "f.20260301T130000Z.gz")
	for _, name := range []string{name, name + ".20260301T130000Z.gz"} {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if gid := st.Sys().(*syscall.Stat_t).Gid; int(gid) != group || st.Mode().Perm() != 0o640 {
			t.Errorf("%s has the group %d and the mode %v", name, gid, st.Mode())
		}
	}
}
