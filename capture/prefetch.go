package capture

import (
	"io"
	"os"
)

const (
	// headroom is the room before what is read into a block, for the begin of a
	// frame that ends there: one of 64 KiB with its headers. A begin that is longer
	// is copied once more.
	headroom = 68 << 10
	// prefetchGroup is how many blocks go from one goroutine to the other at once.
	prefetchGroup = 2
)

// prefetch reads a file into blocks in a goroutine of its own: to copy what is
// read takes the system as long as it takes to decode it.
type prefetch struct {
	filled chan fillings
	ready  fillings
	taken  int           // how many of ready were taken
	stop   chan struct{} // closed by close
}

type fillings [prefetchGroup]filling

// filling is what one Read brought: n bytes behind the headroom, and its error.
type filling struct {
	blk *block
	n   int
	err error
}

// newPrefetch begins to read in, until close is called or stop is closed.
func newPrefetch(in io.Reader, p *pool, stop <-chan struct{}) *prefetch {
	f := &prefetch{filled: make(chan fillings), taken: prefetchGroup, stop: make(chan struct{})}
	go f.run(in, p, stop)
	return f
}

func (f *prefetch) run(in io.Reader, p *pool, stop <-chan struct{}) {
	defer close(f.filled)
	for ended := false; !ended; {
		var group fillings
		for i := range group {
			if ended {
				break
			}
			b := p.block(0)
			n, err := in.Read(b.buf[headroom:])
			group[i] = filling{b, n, err}
			ended = err != nil
		}
		select {
		case f.filled <- group:
		case <-f.stop:
			return
		case <-stop:
			return
		}
	}
}

// next returns the next filling; after one with an error there is none.
func (f *prefetch) next() filling {
	if f.taken == len(f.ready) {
		f.ready, f.taken = <-f.filled, 0
	}
	next := f.ready[f.taken]
	f.taken++
	if next.blk == nil {
		next.err = os.ErrClosed
	}
	return next
}

// close ends the goroutine as soon as its Read returns.
func (f *prefetch) close() { close(f.stop) }

// fetch is fill where blocks are read ahead.
func (r *reader) fetch(need int) error {
	for range 100 {
		f := r.prefetch.next()
		r.take(f, need)
		if f.err != nil {
			r.inErr, r.inEnded = f.err, true
		}
		if f.n > 0 {
			return nil
		}
		if f.err != nil {
			return r.ended(need)
		}
	}
	r.inErr, r.inEnded = io.ErrNoProgress, true
	return r.ended(need)
}

// take puts a filling behind the rest of the block at hand, which needs need
// bytes from r.off on.
func (r *reader) take(f filling, need int) {
	if f.blk == nil {
		return
	}
	rest := r.blk.buf[r.off:r.end]
	if len(rest) <= headroom {
		off := headroom - len(rest)
		copy(f.blk.buf[off:], rest)
		r.blk.release()
		r.base += int64(r.off - off)
		r.blk, r.off, r.end = f.blk, off, headroom+f.n
		return
	}
	// A frame that is larger than the headroom goes on in a block for all of it.
	if r.end+f.n > len(r.blk.buf) || need > len(r.blk.buf)-r.off {
		b := r.sink.pool.block(max(need, len(rest)) + len(f.blk.buf))
		copy(b.buf, rest)
		r.blk.release()
		r.base += int64(r.off)
		r.blk, r.off, r.end = b, 0, len(rest)
	}
	r.end += copy(r.blk.buf[r.end:], f.blk.buf[headroom:headroom+f.n])
	f.blk.release()
}
