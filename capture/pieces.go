package capture

import (
	"os"
	"sync/atomic"
	"syscall"
)

const (
	// pieceSize is how much of a file one Fetch reads.
	pieceSize = 256 << 10
	// headroom is the room before a piece in its block, for the begin of a frame that
	// ends in the piece: one of 64 KiB with its headers. A begin that is longer is
	// copied once more.
	headroom = 68 << 10
	// maxFetched is how many pieces may be fetched and not decoded.
	maxFetched = 32
)

// pieces is a file that is read a piece at a time, by several goroutines: to copy
// what is read takes the system longer than it takes to decode it.
type pieces struct {
	in   *os.File
	conn syscall.RawConn // of in
	pool *pool
	read *atomic.Int64 // counts the bytes read
	next int           // the piece that take returns next
	ring [maxFetched]piece
}

// piece is what was read of a file: n bytes behind the headroom, and the error that
// ended it.
type piece struct {
	number int
	blk    *block // nil for a place without a piece
	n      int
	err    error
}

// openPieces opens the only input, to be read in pieces unless it is compressed.
func (f *Files) openPieces() {
	f.sink.pool.size = headroom + pieceSize
	if err := f.openInput(f.in[0], &f.read); err != nil {
		f.end(err)
		return
	}
	r := f.in[0].r
	s := r.in.(*stream)
	file, ok := s.file.(*os.File)
	if !ok || s.stop != nil {
		return
	}
	if conn, err := file.SyscallConn(); err == nil {
		f.read.Store(0) // the first bytes are read again
		f.pieces = &pieces{in: file, conn: conn, pool: f.sink.pool, read: &f.read}
		r.pieces = f.pieces
	}
}

// fetch reads a piece into its place. Other pieces may be fetched and taken
// meanwhile.
func (p *pieces) fetch(number int) {
	b := p.pool.block(0)
	buf, off := b.buf[headroom:headroom+pieceSize], int64(number)*pieceSize
	n, err := readCached(p.conn, buf, off), error(nil)
	if n < len(buf) {
		var more int
		more, err = p.in.ReadAt(buf[n:], off+int64(n))
		n += more
	}
	p.read.Add(int64(n))
	p.ring[number%maxFetched] = piece{number, b, n, err}
}

// take returns the next piece, which it reads if it was not fetched. After one with
// an error there is none.
func (p *pieces) take() piece {
	at := &p.ring[p.next%maxFetched]
	if at.blk == nil || at.number != p.next {
		p.fetch(p.next)
	}
	next := *at
	at.blk = nil
	p.next++
	return next
}

// decode takes the next piece, and appends to list what it and the rest of the one
// before hold, in batches.
func (r *reader) decode(list []*Batch) ([]*Batch, error) {
	if err := r.fill(max(r.need, 1)); err != nil {
		return list, err
	}
	for {
		bt, need, err := r.batch()
		if bt != nil {
			list = append(list, &bt.Batch)
		}
		if err != nil || need > 0 {
			r.need = need
			return list, err
		}
	}
}

// put puts a piece behind the rest of the block at hand, which needs need bytes
// from r.off on.
func (r *reader) put(p piece, need int) {
	if p.err != nil {
		r.inErr, r.inEnded = p.err, true
	}
	rest := r.blk.buf[r.off:r.end]
	if len(rest) <= headroom {
		off := headroom - len(rest)
		copy(p.blk.buf[off:], rest)
		r.blk.release()
		r.base += int64(r.off - off)
		r.blk, r.off, r.end = p.blk, off, headroom+p.n
		return
	}
	// A frame that is larger than the headroom goes on in a block for all of it.
	if r.end+p.n > len(r.blk.buf) || need > len(r.blk.buf)-r.off {
		b := r.pool.block(max(need, len(rest)) + len(p.blk.buf))
		copy(b.buf, rest)
		r.blk.release()
		r.base += int64(r.off)
		r.blk, r.off, r.end = b, 0, len(rest)
	}
	r.end += copy(r.blk.buf[r.end:], p.blk.buf[headroom:headroom+p.n])
	p.blk.release()
}
