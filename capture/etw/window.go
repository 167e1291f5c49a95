package etw

import (
	"io"
)

const (
	fileChunk = 64 << 10 // how much is read of a file at a time, at most
	fewChunk  = 8 << 10  // and at first, of a stretch of which little may be needed
	maxRecord = 64 << 10 // a record's size is a 16-bit number
)

// window is the part of a file that is in memory, of a stretch that is read from
// its begin to its end.
type window struct {
	in       io.ReaderAt
	chunk    int
	next     int64 // where the next read begins
	end      int64 // where the stretch ends
	buf      []byte
	off, fil int // the part of buf that was read and not used
	err      error
}

// open starts a new stretch. The window's memory is used again.
// Of that, first bytes are read at first.
func (w *window) open(off, end int64, first int) {
	w.next, w.end, w.chunk, w.off, w.fil, w.err = off, end, first, 0, 0, nil
}

// peek returns what is in memory, at least n bytes unless the stretch has fewer.
func (w *window) peek(n int) []byte {
	if w.fil-w.off < n && w.next < w.end && w.err == nil {
		w.read(n)
	}
	return w.buf[w.off:w.fil]
}

func (w *window) read(n int) {
	rest := w.buf[w.off:w.fil]
	if n > len(w.buf) {
		buf := make([]byte, max(n, fileChunk))
		copy(buf, rest)
		w.buf = buf
	} else {
		copy(w.buf, rest)
	}
	w.off, w.fil = 0, len(rest)
	want := min(int64(max(n, w.chunk, w.fil)), int64(len(w.buf)), w.end-w.next+int64(w.fil)) - int64(w.fil)
	w.chunk = min(2*w.chunk, fileChunk)
	got, err := w.in.ReadAt(w.buf[w.fil:w.fil+int(want)], w.next)
	w.fil += got
	w.next += int64(got)
	if int64(got) < want {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		w.err = err
	}
}

// position returns where in the file the next byte stands.
func (w *window) position() int64 { return w.next - int64(w.fil-w.off) }

func (w *window) skip(n int) { w.off += n }
