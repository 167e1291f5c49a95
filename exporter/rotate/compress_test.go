package rotate

import (
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// settle waits until a file is there, and no file that is not compressed but the one
// in use.
func settle(t *testing.T, dir string, names ...string) map[string]string {
	t.Helper()
	var got map[string]string
	for range 500 {
		got = files(t, dir)
		good := len(got) == len(names)
		for _, n := range names {
			_, ok := got[n]
			good = good && ok
		}
		if good {
			return got
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("files are %q, want %q", got, names)
	return nil
}

func gunzip(t *testing.T, data string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCompress(t *testing.T) {
	dir, c := t.TempDir(), start()
	// Earlier processes were killed before they compressed this, and while they did.
	for name, text := range map[string]string{"f.20260228T000000Z": "earlier\n", ".f.20260228T000000Z.gz": "half"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	failed := func(err error) { t.Error(err) }
	f, err := Open(filepath.Join(dir, "f"), Options{Interval: time.Hour, Compress: true, Keep: 3, Mode: 0o604, Now: c.now, Failed: failed})
	if err != nil {
		t.Fatal(err)
	}
	got := settle(t, dir, "f", "f.20260228T000000Z.gz")
	if s := gunzip(t, got["f.20260228T000000Z.gz"]); s != "earlier\n" {
		t.Errorf("the file of an earlier process holds %q", s)
	}
	long := strings.Repeat("0123456789\n", 100_000)
	write(t, f, long)
	c.t = c.t.Add(time.Hour)
	write(t, f, "b\n")
	got = settle(t, dir, "f", "f.20260228T000000Z.gz", "f.20260301T130000Z.gz")
	if gunzip(t, got["f.20260301T130000Z.gz"]) != long || got["f"] != "b\n" {
		t.Error("a compressed file is not what was written")
	}
	for name, mode := range map[string]fs.FileMode{"f": 0o604, "f.20260301T130000Z.gz": 0o604, "f.20260228T000000Z.gz": 0o600} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s has the mode %v, want %v (%v)", name, st.Mode().Perm(), mode, err)
		}
	}
	// Compressed files count as old ones, and no name is used again.
	for _, s := range []string{"c\n", "d\n"} {
		c.t = c.t.Add(time.Hour)
		write(t, f, s)
	}
	settle(t, dir, "f", "f.20260301T130000Z.gz", "f.20260301T140000Z.gz", "f.20260301T150000Z.gz")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	g, err := Open(filepath.Join(dir, "f"), Options{Interval: time.Hour, Compress: true, Head: func() []byte { return []byte("HEAD") }, Now: c.now, Failed: failed})
	if err != nil {
		t.Fatal(err)
	}
	settle(t, dir, "f", "f.20260301T130000Z.gz", "f.20260301T140000Z.gz", "f.20260301T150000Z.gz", "f.20260301T150000Z-001.gz")
	g.Close()
}

// TestCompressFails compresses what cannot be read.
func TestCompressFails(t *testing.T) {
	dir, c := t.TempDir(), start()
	if err := os.MkdirAll(filepath.Join(dir, ".f.20260301T130000Z.gz", "full"), 0o755); err != nil { // where the result should go
		t.Fatal(err)
	}
	errs := make(chan error, 10)
	f, err := Open(filepath.Join(dir, "f"), Options{Interval: time.Hour, Compress: true, Now: c.now, Failed: func(err error) { errs <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, "a\n")
	c.t = c.t.Add(time.Hour)
	write(t, f, "b\n")
	select {
	case <-errs:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody is told")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "f.20260301T130000Z")); err != nil || string(b) != "a\n" {
		t.Errorf("the old file holds %q (%v)", b, err)
	}
}
