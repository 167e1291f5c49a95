package capture

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// A LentFrame is a frame in memory that a Lender lends.
type LentFrame struct {
	Data []byte
	Wire uint32 // length on the wire
	Time int64  // nanoseconds since the Unix epoch
}

// A Lender delivers frames in blocks of memory that it gets back, as an AF_PACKET ring
// does.
type Lender interface {
	// Lend waits for the next block, and returns its number. What is in it is valid
	// until Return is called with that number. If nothing arrives, Lend returns an
	// error with Timeout() true, after 500 ms or so.
	Lend() (block int, err error)
	// Next puts the next frame of the block into f, or returns false if there is none.
	Next(f *LentFrame) bool
	// Return gives a block back. It may be called by any goroutine, even after Close.
	Return(block int)
	// Close ends capturing. It is never called while Lend or Next run.
	Close()
}

// Lent is a Source that reads the frames of a Lender. It decodes them where they
// are, in the goroutine that calls Read.
type Lent struct {
	in   Lender
	face iface
	sink sink
	// copies is set if frames are copied, so that blocks go back at once.
	copies bool
	number int      // of the block at hand
	blk    *block   // that, or what its frames are copied into; nil for none
	used   int      // bytes of copies in blk
	lent   []*block // by number

	reading sync.Mutex // held by Read and Close
	closing atomic.Bool
	once    sync.Once
}

// NewLent returns a source that reads in, whose frames have the given link type. If
// its batches may be held for long, copied keeps the lender from running out of
// blocks: then frames are copied. Of the options, those apply that apply to
// NewSource. Read does not return ticks.
func NewLent(in Lender, linkType int, copied bool, o Options) (*Lent, error) {
	l := &Lent{in: in, face: iface{link: uint16(linkType)}, copies: copied,
		sink: sink{pool: newPool(pieceSize), keep: o.KeepFrames, dec: o.decoder(), copies: newCopies(o.DuplicateWindow)}}
	var err error
	if l.face.filter, err = newFilter(o.Filter, l.face.link); err != nil {
		return nil, err
	}
	l.face.plain = l.face.link == LinkEthernet && l.face.filter == nil
	return l, nil
}

// Read implements Source. After Close, the error is io.EOF.
func (l *Lent) Read() (*Batch, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	for l.blk == nil {
		if l.closing.Load() {
			return nil, io.EOF
		}
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	bt := l.sink.pool.batch()
	bt.refer(l.blk)
	var f LentFrame
	for full := false; !full; {
		if !l.in.Next(&f) {
			l.giveBack()
			break
		}
		if l.copies {
			l.copy(bt, &f)
		}
		full = l.sink.frame(bt, &l.face, f.Data, f.Wire, f.Time)
	}
	l.sink.finish(bt)
	if bt.n == 0 {
		bt.Tick = f.Time
	}
	return &bt.Batch, nil
}

// next waits for a block.
func (l *Lent) next() error {
	n, err := l.in.Lend()
	if err != nil {
		if t := (interface{ Timeout() bool })(nil); errors.As(err, &t) && t.Timeout() {
			return nil
		}
		return err
	}
	l.number = n
	if l.copies {
		l.blk, l.used = l.sink.pool.block(0), 0
		return nil
	}
	for n >= len(l.lent) {
		number := len(l.lent)
		l.lent = append(l.lent, &block{free: func() { l.in.Return(number) }})
	}
	l.blk = l.lent[n]
	l.blk.refs.Store(1)
	return nil
}

// copy copies the data of f, which goes into bt.
func (l *Lent) copy(bt *fileBatch, f *LentFrame) {
	if len(f.Data) > len(l.blk.buf)-l.used {
		l.blk.release()
		l.blk, l.used = l.sink.pool.block(len(f.Data)), 0
		bt.refer(l.blk)
	}
	f.Data = append(l.blk.buf[l.used:l.used:l.used+len(f.Data)], f.Data...)
	l.used += len(f.Data)
}

// giveBack ends the use of the block at hand, of which batches may still need it.
func (l *Lent) giveBack() {
	l.blk.release()
	l.blk = nil
	if l.copies {
		l.in.Return(l.number)
	}
}

// Close ends the capture. It waits for a Read under way.
func (l *Lent) Close() error {
	l.closing.Store(true)
	l.once.Do(func() {
		l.reading.Lock()
		defer l.reading.Unlock()
		if l.blk != nil {
			l.giveBack()
		}
		l.in.Close()
	})
	return nil
}
