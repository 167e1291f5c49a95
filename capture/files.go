package capture

import (
	"errors"
	"io"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options says how captures are read.
type Options struct {
	// Filter is a BPF expression in libpcap's language; empty takes every
	// frame. It applies to frames with VLAN tags too; see FilterExpression.
	Filter string
	// KeepFrames sets Packet.Frame, for writing the frames again.
	KeepFrames bool
	// Parallel reads in a goroutine of its own that is a few batches ahead of
	// Read. What is delivered is the same.
	Parallel bool
	// Pieces is for callers of Fetch and Decode in goroutines of their own. What may
	// be slow is read as with Parallel.
	Pieces bool
	// Progress is told how many bytes of the files were read, and how many
	// there are in all as far as that is known: standard input counts as 0. It
	// is called by Read.
	Progress func(read, total int64)
	// Stdin is what the name "-" reads; nil means os.Stdin.
	Stdin io.Reader
	// AllAppearances reads a packet of a trace of Windows at each layer and adapter
	// where it was seen, instead of once.
	AllAppearances bool
	// Frames is for callers of NextFrame instead of Read.
	Frames bool
	// Fragments bounds the reassembly of IP fragments.
	Fragments FragmentLimits
	// VXLANPorts are UDP ports of VXLAN besides 4789 and 8472.
	VXLANPorts []uint16
	// DuplicateWindow is the time within which a second frame with the same packet is
	// a copy, and skipped; 0 takes every frame for a packet. See DuplicateWindow.
	DuplicateWindow time.Duration
	// Tunnels describes the tunnels that packets come in. It can be shared by sources
	// whose packets are taken in together; nil means one of the source's own.
	Tunnels *Tunnels
}

// Files is a Source that reads capture files as one, in time order.
type Files struct {
	opt   Options
	sink  sink
	in    []*input // a heap, the input with the earliest frame first
	merge bool
	batch uint64 // number of the batch being merged
	total int64  // bytes of all files
	read  atomic.Int64
	shown int64 // what Progress was told
	named int   // files that were named, of which ended have ended
	ended atomic.Int64
	// shownFrame is set while the earliest frame is the one that NextFrame returned.
	shownFrame bool
	ahead      chan []*fileBatch
	group      int          // batches sent at a time
	pieces     *pieces      // what the file is read by, with Options.Pieces
	ready      []*fileBatch // what Read has received and not returned
	stop       chan struct{}

	mu     sync.Mutex
	errs   []error
	traces []*Trace
	closed bool
	open   map[io.Closer]struct{}

	handles openFiles
	small   *pool // of blocks where many files are open
}

// OpenFiles returns a source that reads the named capture files: pcap, pcapng, and
// what package etw reads of Windows' own, plain or compressed with gzip or zstd;
// "-" is standard input. Several
// files are merged by time, and at equal times in the order of names; within
// each file the order stays as it is. Packet.Interface is then the number of
// the file.
//
// A file that cannot be opened or is damaged ends there, with its error among
// those that Errors returns; the other files go on. The error of OpenFiles
// itself concerns the options.
//
// A batch can be without packets, its Stats telling of frames that were
// skipped. Batches may be released in any order and by any goroutine. The
// memory taken is about 3 MiB, and 64 KiB for each further file that is being
// read, 8 KiB where there are more than 64; three times as much more if it is
// compressed, and what its compression takes. Files of a series that do not overlap
// in time are read one after the other. At most 128 regular files are open at a time.
func OpenFiles(names []string, o Options) (*Files, error) {
	if err := CheckFilter(o.Filter); err != nil {
		return nil, err
	}
	f := &Files{opt: o, named: len(names), merge: len(names) > 1 || o.Frames, group: groupSize, stop: make(chan struct{}), open: make(map[io.Closer]struct{})}
	f.handles.limit, f.small = maxOpen, newPool(smallSize)
	size := blockSize
	if f.merge {
		size = mergeSize
	}
	f.sink = sink{pool: newPool(size), filter: o.Filter, keep: o.KeepFrames, names: o.Frames, dec: o.decoder(), copies: newCopies(o.DuplicateWindow)}
	for i, name := range names {
		in := &input{name: name, index: i, time: math.MinInt64}
		if name == "-" {
			f.group = 1
		} else {
			st, err := os.Stat(name)
			if err != nil {
				f.errs = append(f.errs, opening(err))
				f.ended.Add(1)
				continue
			}
			if in.regular = st.Mode().IsRegular(); in.regular {
				f.total += st.Size()
				if len(names) > 1 {
					in.time = f.peek(in)
				}
			} else {
				f.group = 1
			}
		}
		f.in = append(f.in, in)
	}
	f.heapify()
	slow := f.group == 1 // nothing waits for more of it then
	switch {
	case o.Pieces && !slow && len(f.in) > 0 && !f.merge:
		f.openPieces()
	case o.Parallel || o.Pieces && slow:
		f.ahead = make(chan []*fileBatch)
		go f.run()
	}
	return f, nil
}

// decoder returns a decoder as the options want it.
func (o *Options) decoder() Decoder {
	d := Decoder{Fragments: o.Fragments, VXLANPorts: o.VXLANPorts, Tunnels: o.Tunnels}
	if d.Tunnels == nil {
		d.Tunnels = new(Tunnels)
	}
	return d
}

// opening makes an error of os.Stat read like one of os.Open, which it stands
// in for.
func opening(err error) error {
	if p, ok := err.(*os.PathError); ok {
		p.Op = "open"
	}
	return err
}

// input is one file.
type input struct {
	name    string
	index   int
	regular bool
	time    int64 // of the frame that comes next
	r       *reader
	batch   uint64 // the last batch that refers to r's block, and that block
	blk     *block
	trace   *translator // of a trace of Windows
}

// open opens the file and reads its first bytes to see whether it is
// compressed.
func (f *Files) openInput(i *input, read *atomic.Int64) error {
	var in io.Reader = os.Stdin
	var file io.Closer
	if i.name != "-" {
		if i.regular && f.merge {
			o, err := f.handles.openFile(i.name)
			if err != nil {
				return err
			}
			in, file = o, o
		} else {
			o, err := os.Open(i.name)
			if err != nil {
				return err
			}
			in, file = o, o
		}
	} else if f.opt.Stdin != nil {
		in = f.opt.Stdin
	}
	blocks, chunk := f.sink.pool, aheadSize
	if f.merge && f.inUse() >= manyOpen {
		blocks, chunk = f.small, smallSize
	}
	plain, err := decompress(counter{in, read}, file, chunk)
	if err != nil {
		_ = plain.Close()
		return &FileError{File: i.name, Reason: err.Error()}
	}
	plain = f.translate(i, plain, file, read)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		_ = plain.Close()
		return os.ErrClosed
	}
	f.open[plain] = struct{}{}
	i.r = newReader(i.name, plain, &f.sink, blocks)
	i.r.merge, i.r.file = f.merge, uint16(i.index)
	return nil
}

// inUse returns how many files are being read.
func (f *Files) inUse() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

func (f *Files) closeInput(i *input) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := i.r.in.(io.Closer)
	delete(f.open, c)
	_ = c.Close() // of a file that was only read
	i.r.blk.release()
	i.r = nil
}

// peek returns the time of a file's first frame, so that it need not be open
// before its turn comes. A file without a readable frame has its turn at once.
func (f *Files) peek(i *input) int64 {
	if f.openInput(i, new(atomic.Int64)) != nil {
		return math.MinInt64
	}
	defer f.closeInput(i)
	if i.r.next() != nil {
		return math.MinInt64
	}
	return i.r.head.time
}

// Errors returns why files could not be read or ended early, in the order in
// which that was found. It is complete when Read has returned io.EOF.
func (f *Files) Errors() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]error(nil), f.errs...)
}

// end takes the first input off the heap; err says why it ended.
func (f *Files) end(err error) {
	i := f.in[0]
	if i.r != nil {
		f.closeInput(i)
	}
	f.mu.Lock()
	if i.trace != nil && i.trace.done.Load() {
		f.traces = append(f.traces, &i.trace.told)
	}
	if !errors.Is(err, io.EOF) && !f.closed {
		f.errs = append(f.errs, err)
	}
	f.mu.Unlock()
	f.ended.Add(1)
	last := len(f.in) - 1
	f.in[0] = f.in[last]
	f.in = f.in[:last]
	f.sift(0)
}

// Ended returns how many files have ended, and how many there are in all. It may be
// called by any goroutine.
func (f *Files) Ended() (ended, all int) { return int(f.ended.Load()), f.named }

// Read returns the next batch, or io.EOF when all files have ended.
func (f *Files) Read() (*Batch, error) {
	var bt *fileBatch
	if f.ahead != nil {
		if len(f.ready) == 0 {
			select {
			case f.ready = <-f.ahead:
			case <-f.stop:
			}
		}
		if len(f.ready) > 0 {
			bt, f.ready = f.ready[0], f.ready[1:]
		}
	} else {
		bt = f.next()
	}
	f.tell()
	if bt == nil {
		return nil, io.EOF
	}
	return &bt.Batch, nil
}

// tell tells how much was read.
func (f *Files) tell() {
	if n := f.read.Load(); f.opt.Progress != nil && n != f.shown {
		f.shown = n
		f.opt.Progress(n, f.total)
	}
}

// Fetch reads piece n of the input, counted from 0, into memory, as far as the
// input can be had so: that is a plain file, and needs Options.Pieces. Several
// goroutines may each fetch another piece, up to 32 ahead of Decode.
func (f *Files) Fetch(n int) {
	if f.pieces != nil {
		f.pieces.fetch(n)
	}
}

// Decode appends the next batches to list: those of the next piece, or some. At the
// end of the input it returns io.EOF, with what came last. It is an alternative to
// Read, and used by one goroutine at a time.
func (f *Files) Decode(list []*Batch) (_ []*Batch, err error) {
	if f.pieces != nil {
		if len(f.in) == 0 {
			return list, io.EOF
		}
		if list, err = f.in[0].r.decode(list); err != nil {
			f.end(err)
			err = io.EOF
		}
		f.tell()
		return list, err
	}
	for range f.group {
		b, err := f.Read()
		if err != nil {
			return list, err
		}
		list = append(list, b)
	}
	return list, nil
}

// run reads ahead. Waking the other goroutine costs more than decoding a
// hundred packets, so batches go in groups; but each by itself where the input
// may be slow.
func (f *Files) run() {
	defer close(f.ahead)
	for ended := false; !ended; {
		group := make([]*fileBatch, 0, f.group)
		for len(group) < f.group && !ended {
			if bt := f.next(); bt != nil {
				group = append(group, bt)
			} else {
				ended = true
			}
		}
		if len(group) == 0 {
			return
		}
		select {
		case f.ahead <- group:
		case <-f.stop:
			return
		}
	}
}

// next returns the next batch, or nil at the end.
func (f *Files) next() *fileBatch {
	if f.merge {
		return f.nextMerged()
	}
	for len(f.in) > 0 {
		i := f.in[0]
		if i.r == nil {
			if err := f.openInput(i, &f.read); err != nil {
				f.end(err)
				continue
			}
		}
		bt, err := i.r.read()
		if err == nil {
			return bt
		}
		f.end(err)
	}
	return nil
}

// nextMerged decodes the frames of all inputs in the order of their times.
func (f *Files) nextMerged() *fileBatch {
	n := f.sink.stats.Frames
	bt := f.sink.pool.batch()
	f.batch++
	for len(f.in) > 0 {
		i := f.in[0]
		if i.r == nil {
			if err := f.openInput(i, &f.read); err != nil {
				f.end(err)
				continue
			}
		} else {
			if i.batch != f.batch || i.blk != i.r.blk {
				i.batch, i.blk = f.batch, i.r.blk
				bt.refer(i.blk)
			}
			h := &i.r.head
			full := f.sink.frame(bt, h.iface, h.data, h.wire, h.time)
			if full || f.sink.stats.Frames-n == 8*batchSize {
				f.advance(i)
				break
			}
		}
		f.advance(i)
	}
	if f.sink.stats.Frames == n {
		bt.done()
		return nil
	}
	f.sink.finish(bt)
	return bt
}

// advance finds the next frame of the first input on the heap.
func (f *Files) advance(i *input) {
	if err := i.r.next(); err != nil {
		f.end(err)
		return
	}
	i.time = i.r.head.time
	f.sift(0)
}

func (f *Files) heapify() {
	for k := len(f.in)/2 - 1; k >= 0; k-- {
		f.sift(k)
	}
}

// sift moves input k down to its place.
func (f *Files) sift(k int) {
	for {
		c := 2*k + 1
		if c >= len(f.in) {
			return
		}
		if c+1 < len(f.in) && f.in[c+1].before(f.in[c]) {
			c++
		}
		if !f.in[c].before(f.in[k]) {
			return
		}
		f.in[k], f.in[c] = f.in[c], f.in[k]
		k = c
	}
}

func (i *input) before(o *input) bool {
	return i.time < o.time || i.time == o.time && i.index < o.index
}

// Close closes the files. With Options.Parallel, and of what may be slow with
// Options.Pieces, a Read under way returns at once; otherwise it returns when the
// operating system returns from reading.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	close(f.stop)
	var err error
	for c := range f.open {
		err = errors.Join(err, c.Close())
	}
	return err
}

// counter counts the bytes read.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}
