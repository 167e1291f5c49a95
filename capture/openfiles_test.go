package capture

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestOpenFiles reads three files in turn of which one can be open.
func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	name := func(i int) string { return filepath.Join(dir, string(rune('a'+i))) }
	o := openFiles{limit: 1}
	var files [3]*lazyFile
	for i := range files {
		if err := os.WriteFile(name(i), []byte{byte(i), 10, 20, 30}, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := o.openFile(name(i))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = f
	}
	var b [1]byte
	for round, want := range []byte{0, 10, 20} {
		for i, f := range files {
			if round == 0 {
				want = byte(i)
			}
			if n, err := f.Read(b[:]); n != 1 || err != nil || b[0] != want {
				t.Errorf("file %d: %d bytes, %v, %v; want %d", i, n, b, err, want)
			}
			if o.open.Len() != 1 || o.open.Front().Value != f || o.open.Back().Value != f {
				t.Errorf("%d files are open", o.open.Len())
			}
		}
	}
	// One is replaced while it is closed, another is closed for good.
	if err := os.WriteFile(name(9), []byte{1, 2, 3, 4}, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name(9), name(0)); err != nil {
		t.Fatal(err)
	}
	var e *FileError
	if _, err := files[0].Read(b[:]); !errors.As(err, &e) || e.File != name(0) {
		t.Errorf("error %v", err)
	}
	if err := files[1].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := files[1].Read(b[:]); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if n, err := files[2].Read(b[:]); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := files[2].Read(b[:]); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
	// While one is read, another is opened besides.
	if err := files[2].acquire(); err != nil {
		t.Fatal(err)
	}
	if f, err := o.openFile(name(1)); err != nil || o.open.Len() != 2 {
		t.Errorf("%d open, %v", o.open.Len(), err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := files[2].Close(); err != nil {
		t.Fatal(err)
	}
	if o.open.Len() != 1 {
		t.Errorf("%d open while one is read", o.open.Len())
	}
	files[2].release()
	if o.open.Len() != 0 || o.open.Front() != nil || o.open.Back() != nil {
		t.Errorf("%d open at the end", o.open.Len())
	}
}
