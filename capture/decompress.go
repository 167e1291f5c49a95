package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// stream is an uncompressed stream. Its Read returns soon after Close.
type stream struct {
	io.Reader
	file io.Closer // or nil
	once sync.Once
	stop chan struct{} // or nil
	err  error
}

func (s *stream) Close() error {
	s.once.Do(func() {
		if s.stop != nil {
			close(s.stop)
		}
		if s.file != nil {
			s.err = s.file.Close()
		}
	})
	return s.err
}

// maxWindow is the largest zstd window that is read, and so the memory that
// takes: 128 MiB, the limit of zstd(1) too.
const maxWindow = 128 << 20

// decompress looks at the first bytes of r and returns the stream without
// compression. Compressed streams are read by a goroutine of their own. The
// stream is never nil and has to be closed.
func decompress(r io.Reader, file io.Closer) (*stream, error) {
	s := &stream{file: file}
	var head [4]byte
	n, err := io.ReadFull(r, head[:])
	r = io.MultiReader(bytes.NewReader(head[:n]), r)
	if n < len(head) {
		if err == io.ErrUnexpectedEOF || err == io.EOF {
			err = nil // the format's reader knows what to say
		}
		s.Reader = r
		return s, err
	}
	var open func() (io.Reader, error)
	switch {
	case head[0] == 0x1f && head[1] == 0x8b:
		open = func() (io.Reader, error) { return gzip.NewReader(r) }
	case head == [4]byte{0x28, 0xb5, 0x2f, 0xfd}:
		open = func() (io.Reader, error) {
			return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		}
	case head == [4]byte{0x04, 0x22, 0x4d, 0x18}:
		return s, errors.New("compressed with lz4, which is not read; use lz4 -d first")
	case head == [4]byte{0xfd, '7', 'z', 'X'}:
		return s, errors.New("compressed with xz, which is not read; use xz -dc first")
	case head[0] == 'B' && head[1] == 'Z' && head[2] == 'h':
		return s, errors.New("compressed with bzip2, which is not read; use bzip2 -dc first")
	default:
		s.Reader = r
		return s, nil
	}
	s.stop = make(chan struct{})
	a := &ahead{full: make(chan chunk, aheadChunks), empty: make(chan []byte, aheadChunks), stop: s.stop}
	go a.run(open)
	s.Reader = a
	return s, nil
}

const (
	aheadChunks = 3
	aheadSize   = 128 << 10
)

type chunk struct {
	b   []byte
	err error
}

// ahead reads a compressed stream some chunks ahead of its reader.
type ahead struct {
	full  chan chunk
	empty chan []byte
	stop  chan struct{}
	now   chunk
	off   int
}

func (a *ahead) run(open func() (io.Reader, error)) {
	defer close(a.full)
	r, err := open()
	if z, ok := r.(*zstd.Decoder); ok {
		defer z.Close()
	}
	if err != nil {
		a.send(chunk{err: fmt.Errorf("decompressing: %w", unexpected(err))})
		return
	}
	for made := 0; ; {
		var b []byte
		if made < aheadChunks {
			made++
			b = make([]byte, aheadSize)
		} else {
			select {
			case b = <-a.empty:
			case <-a.stop:
				return
			}
		}
		n := 0
		for err = nil; n < len(b) && err == nil; {
			var m int
			m, err = r.Read(b[n:])
			n += m
		}
		if err != nil && err != io.EOF {
			err = fmt.Errorf("decompressing: %w", err)
		}
		if !a.send(chunk{b[:n], err}) || err != nil {
			return
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (a *ahead) send(c chunk) bool {
	select {
	case a.full <- c:
		return true
	case <-a.stop:
		return false
	}
}

func (a *ahead) Read(b []byte) (int, error) {
	for a.off == len(a.now.b) {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.b != nil {
			a.empty <- a.now.b[:aheadSize] // never full: there are as many chunks
		}
		a.now, a.off = chunk{}, 0
		select {
		case c, ok := <-a.full:
			if !ok {
				return 0, io.EOF
			}
			a.now = c
		case <-a.stop:
			return 0, io.EOF
		}
	}
	n := copy(b, a.now.b[a.off:])
	a.off += n
	return n, nil
}
