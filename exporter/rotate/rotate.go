// Package rotate writes files that are begun anew when they are large or old.
package rotate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Options says when a file is begun anew and what becomes of the old ones.
type Options struct {
	// Size is the number of bytes beyond which nothing more is added to a file;
	// 0 means no limit.
	Size int64
	// Interval is the age at which a file is begun anew; 0 means no limit. A file
	// to which nothing is written is left alone.
	Interval time.Duration
	// Keep is how many old files are kept; 0 means all.
	Keep int
	// Head returns what every file begins with; nil for nothing. What a file
	// with a head has from an earlier run is put aside, else it is added to.
	Head func() []byte
	// Now tells the time; it names old files.
	Now func() time.Time
}

// File is a file that is begun anew. The file in use has the name given; an old
// one has the time at which it was put aside behind its name, as in
// "flows.ndjson.20060102T150405Z". Its methods are for one goroutine, but for
// Reopen.
type File struct {
	name    string
	opt     Options
	file    *os.File
	regular bool
	size    int64
	begun   time.Time
	reopen  atomic.Bool
}

// Open opens or makes the named file. A device or a pipe is written to as it
// is, and never begun anew.
func Open(name string, o Options) (*File, error) {
	f := &File{name: name, opt: o}
	if o.Head != nil {
		if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			if err := f.putAside(); err != nil {
				return nil, err
			}
		}
	}
	return f, f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(f.name, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if errors.Is(err, fs.ErrPermission) {
		file, err = os.OpenFile(f.name, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	f.file, f.regular, f.size, f.begun = file, st.Mode().IsRegular(), st.Size(), f.opt.Now()
	var head []byte
	switch {
	case f.opt.Head != nil:
		head = f.opt.Head()
	case f.regular && f.size > 0:
		// A program that was killed may have left half a line.
		var last [1]byte
		if _, err := file.ReadAt(last[:], f.size-1); err == nil && last[0] != '\n' {
			head = []byte("\n")
		}
	}
	if _, err := f.add(head); err != nil {
		_ = file.Close()
		f.file = nil
		return err
	}
	return nil
}

// add writes p whole or not at all: room is reserved first, so that a full disk
// does not cut it short, and where that is not possible what was written is taken
// back.
func (f *File) add(p []byte) (int, error) {
	if f.regular && len(p) > 0 {
		if err := reserve(f.file, f.size, int64(len(p))); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(p)
	if err != nil {
		if n > 0 && f.regular && f.file.Truncate(f.size) == nil {
			n = 0
		}
		return n, err
	}
	f.size += int64(n)
	return n, nil
}

// Reopen makes the next Write open the file by its name again, as a program
// that renamed it wants. It may be called by any goroutine.
func (f *File) Reopen() { f.reopen.Store(true) }

// Write adds p, which should be whole records, to the file or to a new one.
// After an error it can be tried again with the next records.
func (f *File) Write(p []byte) (int, error) {
	if f.reopen.Swap(false) && f.file != nil && f.regular {
		_ = f.file.Close()
		f.file = nil
	}
	if f.file != nil && f.regular && f.due(len(p)) {
		if err := f.putAside(); err != nil {
			return 0, err
		}
	}
	if f.file == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	return f.add(p)
}

func (f *File) due(more int) bool {
	return f.opt.Size > 0 && f.size > 0 && f.size+int64(more) > f.opt.Size ||
		f.opt.Interval > 0 && f.opt.Now().Sub(f.begun) >= f.opt.Interval
}

const stamp = "20060102T150405Z"

// putAside gives the file in use its old name, and removes the oldest ones.
func (f *File) putAside() error {
	if f.file != nil {
		err := f.file.Close()
		f.file = nil
		if err != nil {
			return err
		}
	}
	old := f.name + "." + f.opt.Now().UTC().Format(stamp)
	for i, name := 1, old; ; i++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			old = name
			break
		}
		name = fmt.Sprintf("%s-%03d", old, i)
	}
	if err := os.Rename(f.name, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.prune()
}

func (f *File) prune() error {
	if f.opt.Keep <= 0 {
		return nil
	}
	entries, err := os.ReadDir(filepath.Dir(f.name))
	if err != nil {
		return err
	}
	var old []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(f.name)+".")
		if ok && len(rest) >= len(stamp) {
			if _, err := time.Parse(stamp, rest[:len(stamp)]); err == nil {
				old = append(old, e.Name())
			}
		}
	}
	slices.Sort(old)
	for len(old) > f.opt.Keep {
		if err := os.Remove(filepath.Join(filepath.Dir(f.name), old[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		old = old[1:]
	}
	return nil
}

// Close closes the file in use.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
