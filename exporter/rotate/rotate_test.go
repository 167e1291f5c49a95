package rotate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// clock is a wall clock that the test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func start() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// files returns the contents of all files in a folder by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was compressed or pruned meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(b)
	}
	return m
}

func write(t *testing.T, f *File, s string) {
	t.Helper()
	if n, err := f.Write([]byte(s)); err != nil || n != len(s) {
		t.Fatalf("Write(%q) = %d, %v", s, n, err)
	}
}

func want(t *testing.T, dir string, contents map[string]string) {
	t.Helper()
	got := files(t, dir)
	for name, c := range contents {
		if got[name] != c {
			t.Errorf("%s holds %q, want %q", name, got[name], c)
		}
	}
	for name := range got {
		if _, ok := contents[name]; !ok {
			t.Errorf("unexpected file %s", name)
		}
	}
}

func TestSize(t *testing.T) {
	dir, c := t.TempDir(), start()
	f, err := Open(filepath.Join(dir, "f"), Options{Size: 10, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "12345\n")
	write(t, f, "123\n") // 10 bytes fit
	write(t, f, "a\n")
	write(t, f, "far more than ten\n") // a record is never split
	write(t, f, "b\n")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, dir, map[string]string{
		"f":                      "b\n",
		"f.20260301T120000Z":     "12345\n123\n",
		"f.20260301T120000Z-001": "a\n",
		"f.20260301T120000Z-002": "far more than ten\n",
	})
}

func TestIntervalAndKeep(t *testing.T) {
	dir, c := t.TempDir(), start()
	for _, name := range []string{"f.note", "f.20260301", "g.20200101T000000Z"} { // not ours
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Open(filepath.Join(dir, "f"), Options{Interval: time.Hour, Keep: 2, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, s := range []string{"1\n", "2\n", "3\n", "4\n"} {
		write(t, f, s)
		c.t = c.t.Add(time.Hour)
	}
	write(t, f, "5\n")
	got := files(t, dir)
	var names []string
	for n := range got {
		names = append(names, n)
	}
	slices.Sort(names)
	if w := "f f.20260301 f.20260301T150000Z f.20260301T160000Z f.note g.20200101T000000Z"; strings.Join(names, " ") != w {
		t.Errorf("files are %v, want %s", names, w)
	}
	if got["f"] != "5\n" || got["f.20260301T160000Z"] != "4\n" {
		t.Errorf("contents are %q", got)
	}
}

func TestAppendsAfterTornLine(t *testing.T) {
	dir, c := t.TempDir(), start()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("{}\n{\"half"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(name, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "{}\n")
	f.Close()
	want(t, dir, map[string]string{"f": "{}\n{\"half\n{}\n"})
}

func TestHead(t *testing.T) {
	dir, c := t.TempDir(), start()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(name, Options{Size: 8, Now: c.now, Head: func() []byte { return []byte("HEAD") }})
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "abcd")
	c.t = c.t.Add(time.Second)
	write(t, f, "e")
	f.Close()
	want(t, dir, map[string]string{"f": "HEADe", "f.20260301T120000Z": "old", "f.20260301T120001Z": "HEADabcd"})
}

func TestReopen(t *testing.T) {
	dir, c := t.TempDir(), start()
	name := filepath.Join(dir, "f")
	f, err := Open(name, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "1\n")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, f, "2\n")
	f.Reopen()
	write(t, f, "3\n")
	f.Close()
	want(t, dir, map[string]string{"f": "3\n", "f.1": "1\n2\n"})
}

func TestDeviceIsLeftAlone(t *testing.T) {
	f, err := Open(os.DevNull, Options{Size: 1, Interval: time.Nanosecond, Now: start().now})
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "1\n")
	write(t, f, "2\n")
	f.Close()
	if st, err := os.Stat(os.DevNull); err != nil || st.Mode().IsRegular() {
		t.Fatal("the device is gone")
	}
}

func TestOpenFails(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "no", "f"), Options{Now: start().now})
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error is %v", err)
	}
}
