package capture

import (
	"container/list"
	"errors"
	"io"
	"os"
	"sync"
)

// maxOpen is how many files are open at a time. Of thousands that overlap in time, all
// are being read, and a process may open 1024 on many systems.
const maxOpen = 128

// openFiles bounds how many regular files are open. Those that were read longest ago are
// closed, and opened again when they are read again.
type openFiles struct {
	mu    sync.Mutex
	limit int
	open  list.List // of *lazyFile with an open file, the one that was read last first
}

// lazyFile is a regular file that may be closed between reads. One goroutine uses it.
type lazyFile struct {
	files *openFiles
	name  string
	info  os.FileInfo   // of the file that was opened first
	off   int64         // of the next Read
	file  *os.File      // nil while it is closed
	place *list.Element // in files.open while it is open
	busy  bool          // it is being read
	ended bool          // Close was called
}

// openFile returns the named file, which is regular.
func (o *openFiles) openFile(name string) (*lazyFile, error) {
	l := &lazyFile{files: o, name: name}
	if err := l.acquire(); err != nil {
		return nil, err
	}
	defer l.release()
	var err error
	if l.info, err = l.file.Stat(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// acquire opens the file, unless it is open, and keeps it so until release.
func (l *lazyFile) acquire() error {
	o := l.files
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.ended {
		return os.ErrClosed
	}
	if l.file != nil {
		o.open.MoveToFront(l.place)
	} else {
		for x := o.open.Back(); x != nil && o.open.Len() >= o.limit; {
			idle := x.Value.(*lazyFile)
			if x = x.Prev(); !idle.busy {
				idle.shut()
			}
		}
		file, err := os.Open(l.name)
		if err != nil {
			return err
		}
		if l.info != nil {
			if st, err := file.Stat(); err != nil || !os.SameFile(st, l.info) {
				_ = file.Close() // it was only read
				return &FileError{l.name, -1, "the file was replaced while it was read"}
			}
		}
		l.file, l.place = file, o.open.PushFront(l)
	}
	l.busy = true
	return nil
}

// release ends what acquire began.
func (l *lazyFile) release() {
	l.files.mu.Lock()
	defer l.files.mu.Unlock()
	l.busy = false
	if l.ended && l.file != nil {
		l.shut()
	}
}

// shut closes the file, which is open.
func (l *lazyFile) shut() {
	_ = l.file.Close() // it was only read
	l.files.open.Remove(l.place)
	l.file, l.place = nil, nil
}

// Read reads what comes next.
func (l *lazyFile) Read(b []byte) (int, error) {
	n, err := l.ReadAt(b, l.off)
	l.off += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt is that of os.File.
func (l *lazyFile) ReadAt(b []byte, off int64) (int, error) {
	if err := l.acquire(); err != nil {
		return 0, err
	}
	defer l.release()
	return l.file.ReadAt(b, off)
}

// Stat returns what is known of the file since it was opened first.
func (l *lazyFile) Stat() (os.FileInfo, error) { return l.info, nil }

// Close closes the file for good. A read under way ends first.
func (l *lazyFile) Close() error {
	l.files.mu.Lock()
	defer l.files.mu.Unlock()
	l.ended = true
	if l.file != nil && !l.busy {
		l.shut()
	}
	return nil
}
