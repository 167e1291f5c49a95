package etw

import (
	"io"
)

const (
	fileChunk = 64 << 10 // maximum number of bytes read from a file at once
	fewChunk  = 8 << 10  // the same for the first read, if little may be needed
	maxRecord = 64 << 10 // the size of a record has 16 bits
)

// window is the part in memory of a range of a file that is read from start to end.
type window struct {
	in       io.ReaderAt
	chunk    int
	next     int64 // offset of the next read
	end      int64 // end of the range
	buf      []byte
	off, fil int // the unused bytes in buf
	err      error
}

// open starts a new range and reuses the memory of the window. The first read has first
// bytes.
func (w *window) open(off, end int64, first int) {
	w.next, w.end, w.chunk, w.off, w.fil, w.err = off, end, first, 0, 0, nil
}

// peek returns the bytes in memory. There are at least n bytes, unless the range has
// fewer.
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

// position returns the offset of the next byte in the file.
func (w *window) position() int64 { return w.next - int64(w.fil-w.off) }

func (w *window) skip(n int) { w.off += n }
