package parquet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/exspan/exspan/exporter/folder"
)

const (
	blockSize = 1 << 20   // of rows of one hour: that many bytes are written at once
	maxWaits  = 8 << 20   // bytes of rows that wait to be written, of all hours
	grace     = 15 * 60e9 // ns after the end of an hour that its file waits for late flows

	staging = ".exspan" // the folder of parts and of what is not whole, in Options.Dir
)

// Memory is about the number of bytes that a Folder takes at most: rows that wait, and
// a row group that is being written.
const Memory = maxWaits + 56<<20

// Options says where a Folder puts its files.
type Options struct {
	// Dir is the folder, and Realm the name of the address space; "" is "default", as
	// it is for flows without a sensor.
	Dir, Realm string
	// Program is the version of the program, for the files.
	Program string
	// Keep makes what was written survive this process: parts that it leaves are
	// finished by the next Folder with Keep. Without, they are removed, because what
	// made them can be done again.
	Keep bool
	// Mode is the mode of every file, whatever the umask is; 0 means 0640 less the
	// umask.
	Mode fs.FileMode
	// Group is the number of the group that owns every file; nil means the process's
	// own.
	Group *int
	// Now returns the current time. Without, files are finished by Close alone.
	Now func() time.Time
	// Failed is told of errors that no method returns.
	Failed func(error)
	// Progress, if it is not nil, is told again and again while files are written how many
	// rows are in files, and how many were taken in.
	Progress func(written, all uint64)
}

// A Folder is an io.Writer of rows that a Sink encodes. It puts them into files
//
//	realm=REALM/sensor=SENSOR/date=YYYY-MM-DD/HH-ID.parquet
//
// by the hour of their end, in UTC. Rows are appended to a part, one for each hour, in
// blocks that are complete or absent after a crash. When an hour is over, its part
// becomes a file: written aside, and renamed when it is whole. What arrives later
// makes a further file. ID is made from the flows in a file, so that the same flows
// written again replace it.
//
// Its methods can be called by several goroutines.
type Folder struct {
	opt   Options
	own   string // folder of the parts of this process
	lock  *os.File
	queue chan struct{} // wakes the goroutine that finishes files
	ended chan struct{} // it has returned
	ctx   context.Context
	stop  context.CancelFunc

	mu     sync.Mutex
	parts  map[target]*part
	waits  int     // bytes of rows that are not in a part
	number int     // of the next part
	due    []*part // to be finished
	closed bool

	make  maker         // of the goroutine that finishes files
	taken atomic.Uint64 // rows
	done  atomic.Uint64 // rows in files
	lost  atomic.Uint64
	errs  atomic.Uint64
}

// target is where rows belong.
type target struct {
	sensor string
	hour   int64 // since the Unix epoch
}

// part holds the rows of a target that have come so far.
type part struct {
	target target
	name   string
	rows   []byte // not written
	block  []byte // rows as a block that could not be written
	size   int64  // of the file
	count  int    // rows not written
	begun  time.Time
	left   *leftover // where another process left it
}

// Open returns a Folder, after it has made folders and looked for what earlier
// processes left.
func Open(o Options) (*Folder, error) {
	f := &Folder{opt: o, parts: map[target]*part{}, queue: make(chan struct{}, 1), ended: make(chan struct{})}
	if o.Failed == nil {
		f.opt.Failed = func(error) {}
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	if err := os.MkdirAll(filepath.Join(o.Dir, staging), 0o750); err != nil {
		return nil, err
	}
	f.adopt()
	if err := f.begin(); err != nil {
		return nil, err
	}
	go f.finishParts()
	f.wake()
	return f, nil
}

// kind is the begin of the names of folders of parts.
func (o *Options) kind() string {
	if o.Keep {
		return "keep-"
	}
	return "redo-"
}

// begin makes the folder of parts and locks it.
func (f *Folder) begin() error {
	for range 10 {
		dir, err := os.MkdirTemp(filepath.Join(f.opt.Dir, staging), f.opt.kind())
		if err != nil {
			return err
		}
		// A process that looks for what others left may have taken the folder.
		if lock, err := folder.Lock(dir); err == nil && lock != nil {
			f.own, f.lock = dir, lock
			return nil
		}
	}
	return fmt.Errorf("%s: folders in it cannot be locked", filepath.Join(f.opt.Dir, staging))
}

func (f *Folder) wake() {
	select {
	case f.queue <- struct{}{}:
	default:
	}
}

// Write takes whole rows. Where those that wait cannot be written and there is no more
// room, it takes none and returns why. Otherwise it keeps what cannot be written, and
// tries again with the next call.
func (f *Folder) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	var failed error
	for f.waits > 0 && f.waits+len(p) > maxWaits {
		if failed = f.append(f.largest(), false); failed != nil {
			return 0, failed
		}
	}
	for rest := p; len(rest) > 0; {
		h, row, more, err := next(rest)
		if err != nil {
			return 0, err // a mistake of the caller
		}
		sensor, err := sensorOf(row)
		if err != nil {
			return 0, err
		}
		n := len(rest) - len(more)
		t := f.part(target{sensor, h.hour})
		t.rows = append(t.rows, rest[:n]...)
		t.count++
		f.taken.Add(1)
		f.waits += n
		if len(t.rows) >= blockSize && t.block == nil {
			if err := f.append(t, false); err != nil {
				failed = err
			}
		}
		rest = more
	}
	f.failed(failed)
	return len(p), nil
}

// failed counts err and tells of it, unless it is nil.
func (f *Folder) failed(err error) {
	if err != nil {
		f.errs.Add(1)
		f.opt.Failed(err)
	}
}

// Errors returns the number of errors that no method returned.
func (f *Folder) Errors() uint64 { return f.errs.Load() }

// Lost returns the number of rows that Write took and Close could not write.
func (f *Folder) Lost() uint64 { return f.lost.Load() }

// part returns the part of t, which is new if need be.
func (f *Folder) part(t target) *part {
	p := f.parts[t]
	if p == nil {
		p = &part{target: t}
		f.rename(p)
		if f.opt.Now != nil {
			p.begun = f.opt.Now()
		}
		f.parts[t] = p
	}
	return p
}

// rename gives p the name of a new file.
func (f *Folder) rename(p *part) {
	f.number++
	p.name, p.size = filepath.Join(f.own, fmt.Sprintf("%06d%s", f.number, partSuffix)), 0
}

// largest returns the part with most rows that wait.
func (f *Folder) largest() *part {
	var most *part
	for _, p := range f.parts {
		if most == nil || p.waits() > most.waits() {
			most = p
		}
	}
	return most
}

func (p *part) waits() int { return len(p.rows) + len(p.block) }

// append writes the rows of p that wait as a block. What cannot be written stays.
func (f *Folder) append(p *part, sync bool) error {
	for len(p.rows) > 0 || len(p.block) > 0 {
		if len(p.block) == 0 {
			p.block = appendBlock(p.block[:0], p.rows)
			f.waits += len(p.block) - len(p.rows)
			p.rows = p.rows[:0]
			if cap(p.rows) > 2*blockSize {
				p.rows = nil
			}
		}
		if err := f.appendFile(p, sync); err != nil {
			return err
		}
		f.waits -= len(p.block)
		p.block = nil
	}
	p.count = 0
	return nil
}

// appendFile appends p.block to the file of p, all of it or nothing.
func (f *Folder) appendFile(p *part, sync bool) (err error) {
	file, err := os.OpenFile(p.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err == nil {
			return
		}
		// What may be of the block in the file is cut off, or the rows after it could
		// not be read.
		if os.Truncate(p.name, p.size) != nil && p.size > 0 {
			f.due = append(f.due, &part{target: p.target, name: p.name, size: p.size})
			f.rename(p)
		}
	}()
	var b []byte
	if p.size == 0 {
		b = f.partHead(p.target)
	}
	if b, err = append(b, p.block...), f.chown(file); err != nil {
		return err
	}
	if _, err := file.Write(b); err != nil {
		return err
	}
	if sync && f.opt.Keep {
		if err := file.Sync(); err != nil {
			return err
		}
		if p.size == 0 {
			folder.Sync(f.own)
		}
	}
	p.size += int64(len(b))
	return nil
}

// chown gives a file the mode and the group of the options.
func (f *Folder) chown(file *os.File) error {
	if f.opt.Group != nil {
		if err := file.Chown(-1, *f.opt.Group); err != nil {
			return err
		}
	}
	if f.opt.Mode != 0 {
		return file.Chmod(f.opt.Mode)
	}
	return nil
}

// Flush writes the rows that wait, and begins to finish the files of hours that are
// over. To be called at least once a minute: what was written before the last call
// survives a crash.
func (f *Folder) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.failed(f.flush())
	if f.opt.Now != nil {
		now := f.opt.Now()
		for t, p := range f.parts {
			over := time.Unix((t.hour+1)*3600, 0).Add(grace)
			if p.waits() == 0 && now.After(over) && now.Sub(p.begun) > time.Hour {
				delete(f.parts, t)
				f.due = append(f.due, p)
			}
		}
	}
	f.wake()
}

func (f *Folder) flush() error {
	for _, p := range f.parts {
		if err := f.append(p, true); err != nil {
			return err // it would be the same with the others
		}
	}
	return nil
}

// Close finishes all files. Where ctx ends before that, what is left is finished by the
// next Folder with Keep, and Close returns ctx's error.
func (f *Folder) Close(ctx context.Context) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	err := f.flush()
	f.closed = true
	for _, p := range f.parts {
		f.lost.Add(uint64(p.count))
		if p.size > 0 {
			f.due = append(f.due, p)
		}
	}
	f.parts = nil
	f.mu.Unlock()
	stop := context.AfterFunc(ctx, f.stop)
	defer stop()
	close(f.queue)
	<-f.ended
	err = errors.Join(err, f.finishDue())
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.due) == 0 && err == nil {
		f.clear()
	} else if err == nil {
		err = ctx.Err()
	}
	f.stop()
	f.unlock()
	return err
}

// Abandon drops what was written and not finished, unless it was to be kept.
func (f *Folder) Abandon() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	f.mu.Unlock()
	f.stop()
	close(f.queue)
	<-f.ended
	if f.opt.Keep {
		_ = os.Remove(f.own) // if nothing was written
	} else {
		f.clear()
	}
	f.unlock()
}

// clear removes the folder of parts, and the one around it if no other process uses
// it.
func (f *Folder) clear() {
	_ = os.RemoveAll(f.own)
	_ = os.Remove(filepath.Join(f.opt.Dir, staging))
}

func (f *Folder) unlock() {
	if f.lock != nil {
		_ = f.lock.Close()
	}
}

// leftover is the folder of parts of a process that has ended.
type leftover struct {
	dir   string
	lock  *os.File
	parts int // not finished
}

// adopt takes what earlier processes left: parts that were to be kept are finished,
// the others removed.
func (f *Folder) adopt() {
	dir := filepath.Join(f.opt.Dir, staging)
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.failed(err)
		return
	}
	for _, e := range entries {
		keep := strings.HasPrefix(e.Name(), "keep-")
		if !e.IsDir() || keep && !f.opt.Keep || !keep && !strings.HasPrefix(e.Name(), "redo-") {
			continue
		}
		l := &leftover{dir: filepath.Join(dir, e.Name())}
		if l.lock, err = folder.Lock(l.dir); l.lock == nil || err != nil {
			continue // in use
		}
		if keep {
			names, _ := filepath.Glob(filepath.Join(l.dir, "*"+partSuffix))
			for _, name := range names {
				f.due = append(f.due, &part{name: name, left: l})
				l.parts++
			}
		}
		l.drop()
	}
}

// drop removes the folder if nothing of it is left to be finished.
func (l *leftover) drop() {
	if l.parts == 0 {
		_ = os.RemoveAll(l.dir)
		_ = l.lock.Close()
	}
}
