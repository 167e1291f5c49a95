package rotate

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDiskShowsWholeLines fills a small disk while somebody reads the file as
// it grows. What the reader sees only gets longer, and every line of it is a
// record.
func TestFullDiskShowsWholeLines(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	name := filepath.Join(dir, "records")
	f, err := Open(name, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop, seen := make(chan bool), make(chan []byte)
	go func() {
		var all []byte
		defer func() { seen <- all }()
		r, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		for last := false; ; {
			more, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
				return
			}
			all = append(all, more...)
			if last {
				return
			}
			select {
			case <-stop:
				last = true
			default:
			}
		}
	}()
	ballast := filepath.Join(dir, "ballast")
	written, failed := 0, 0
	for i := range 300 {
		// Large records, as a write of several pages is what is cut short.
		record := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", 9000+i))
		n, err := f.Write([]byte(record))
		switch {
		case err == nil && n == len(record):
			written++
		case n != 0:
			t.Fatalf("%d of %d bytes were written: %v", n, len(record), err)
		default:
			failed++
		}
		// The room that is left changes from one record to the next.
		if err := os.WriteFile(ballast, make([]byte, (i%7)*4096), 0o644); err != nil {
			_ = os.Remove(ballast)
		}
	}
	close(stop)
	all := <-seen
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all, data) {
		t.Errorf("the reader has %d bytes, the file %d", len(all), len(data))
	}
	lines := strings.Split(strings.TrimSuffix(string(all), "\n"), "\n")
	for _, line := range lines {
		var i int
		if _, err := fmt.Sscanf(line, "%d ", &i); err != nil || len(line) != len(fmt.Sprint(i))+1+9000+i {
			t.Fatalf("a line of %d bytes begins %.20q", len(line), line)
		}
	}
	if written == 0 || failed == 0 || len(lines) != written {
		t.Errorf("%d records written, %d failed, %d lines", written, failed, len(lines))
	}
}
