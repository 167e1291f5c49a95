// Package rotate writes to files that it replaces when they are large or old.
package rotate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options holds when a File starts a new file, and what becomes of old ones.
type Options struct {
	// Size is the maximum size of a file in bytes; 0 means no limit. A single Write
	// of more bytes gets a file of its own.
	Size int64
	// Interval is the maximum age of a file; 0 means no limit. The age is checked
	// when something is written.
	Interval time.Duration
	// Keep is the number of old files to keep; 0 means all.
	Keep int
	// Compress compresses old files with gzip (RFC 1952), in a goroutine. ".gz" is
	// appended to their names.
	Compress bool
	// Mode is the mode of every file, whatever the umask is; 0 means 0640 less the
	// umask.
	Mode fs.FileMode
	// Group is the number of the group that owns every file; nil means the process's
	// own. The process has to belong to that group (chown(2)).
	Group *int
	// Head returns the bytes that every file begins with; nil means none. Open
	// renames an existing file if there is a Head, and appends to it if not.
	Head func() []byte
	// Now returns the current time. Old files are named by it.
	Now func() time.Time
	// Failed, unless it is nil, is told when an old file could not be compressed. That
	// file stays as it is.
	Failed func(error)
}

// A File is an io.WriteCloser that starts a new file as Options has it. The file in
// use has the given name; an old one has the time of its renaming appended, as in
// "flows.ndjson.20060102T150405Z". Whoever reads the file in use sees it only grow, and
// each line that ends with a newline is whole; what follows the last newline is still
// being written. Only one goroutine may call its methods, except
// Reopen.
type File struct {
	name    string
	opt     Options
	file    *os.File
	regular bool
	size    int64
	empty   int64 // the size of a new file with nothing in it but its head, or -1
	begun   time.Time
	reopen  atomic.Bool
	packing sync.WaitGroup // the goroutine that compresses
	pack    chan bool      // asks it to look for old files; nil unless they are compressed
	stop    context.CancelFunc
}

// Open opens or creates the named file. It never replaces a device or a pipe.
func Open(name string, o Options) (*File, error) {
	f := &File{name: name, opt: o}
	if o.Compress {
		var ctx context.Context
		ctx, f.stop = context.WithCancel(context.Background())
		f.pack = make(chan bool, 1)
		f.packing.Go(func() { f.compressAll(ctx) })
	}
	if err := f.begin(); err != nil {
		f.endPacking()
		return nil, err
	}
	f.wakePacking() // for what an earlier process left
	return f, nil
}

// begin opens the file for the first time.
func (f *File) begin() error {
	name := f.name
	if f.opt.Head != nil {
		if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			if err := f.archive(); err != nil {
				return err
			}
		}
	}
	return f.open()
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
	if f.regular {
		if err := f.own(st); err != nil {
			_ = file.Close()
			f.file = nil
			return err
		}
	}
	var head []byte
	switch {
	case f.opt.Head != nil:
		head = f.opt.Head()
	case f.regular && f.size > 0:
		// A process that was killed may have left half a line.
		var last [1]byte
		if _, err := file.ReadAt(last[:], f.size-1); err == nil && last[0] != '\n' {
			head = []byte("\n")
		}
	}
	f.empty = -1
	isNew := f.size == 0
	if _, err := f.add(head); err != nil {
		_ = file.Close()
		f.file = nil
		return err
	}
	if isNew {
		f.empty = f.size
	}
	return nil
}

// own gives the file its group and mode, unless it has them. The group comes first,
// because a change of it may take bits of the mode away.
func (f *File) own(st fs.FileInfo) error {
	if f.opt.Group != nil {
		if err := f.file.Chown(-1, *f.opt.Group); err != nil {
			return err
		}
	}
	if f.opt.Mode != 0 && st.Mode().Perm() != f.opt.Mode {
		return f.file.Chmod(f.opt.Mode)
	}
	return nil
}

// add writes all of p or nothing. It reserves room first, so that a full disk does
// not cut p short. Where that is not possible, it truncates the file after a short
// write.
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

// Reopen makes the next Write open the file by its name again, for programs such
// as logrotate that rename it. It may be called by any goroutine.
func (f *File) Reopen() { f.reopen.Store(true) }

// Write appends p, which should hold complete records, to the file or to a new
// one. After an error, Write can be called again with the next records.
func (f *File) Write(p []byte) (int, error) {
	if f.reopen.Swap(false) && f.file != nil && f.regular {
		_ = f.file.Close()
		f.file = nil
	}
	if f.file != nil && f.regular && f.due(len(p)) {
		if err := f.archive(); err != nil {
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

// due reports whether more bytes belong to a new file. A file with nothing in it does
// not age.
func (f *File) due(more int) bool {
	if f.size == f.empty {
		f.begun = f.opt.Now()
		return false
	}
	return f.opt.Size > 0 && f.size > 0 && f.size+int64(more) > f.opt.Size ||
		f.opt.Interval > 0 && f.opt.Now().Sub(f.begun) >= f.opt.Interval
}

const stamp = "20060102T150405Z"

// archive renames the file in use, and removes the oldest files.
func (f *File) archive() error {
	if f.file != nil {
		err := f.file.Close()
		f.file = nil
		if err != nil {
			return err
		}
	}
	old := f.name + "." + f.opt.Now().UTC().Format(stamp)
	for i, name := 1, old; ; i++ {
		if !exists(name) && !exists(name+packed) {
			old = name
			break
		}
		name = fmt.Sprintf("%s-%03d", old, i)
	}
	if err := os.Rename(f.name, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.wakePacking()
	return f.prune()
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// old returns the names of the old files without their folder, the oldest first.
func (f *File) old() ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(f.name))
	if err != nil {
		return nil, err
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
	slices.SortFunc(old, func(a, b string) int {
		return strings.Compare(strings.TrimSuffix(a, packed), strings.TrimSuffix(b, packed))
	})
	return old, nil
}

func (f *File) prune() error {
	if f.opt.Keep <= 0 {
		return nil
	}
	old, err := f.old()
	if err != nil {
		return err
	}
	for len(old) > f.opt.Keep {
		if err := os.Remove(filepath.Join(filepath.Dir(f.name), old[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		old = old[1:]
	}
	return nil
}

// Close closes the file in use. An old file that is being compressed stays as it is;
// the next Open compresses it.
func (f *File) Close() error {
	f.endPacking()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
