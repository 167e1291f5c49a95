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
// stream is never nil and has to be closed. chunk is how many bytes are
// decompressed at a time.
func decompress(r io.Reader, file io.Closer, chunk int) (*stream, error) {
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
	switch what, advice := detect(head[:]); what {
	case contentGzip:
		open = func() (io.Reader, error) { return gzip.NewReader(r) }
	case contentZstd:
		open = func() (io.Reader, error) {
			return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		}
	case contentRefused:
		return s, errors.New(advice)
	default:
		s.Reader = r
		return s, nil
	}
	s.ahead(chunk, func() (io.Reader, error) {
		in, err := open()
		if err != nil {
			return nil, decompressing(unexpected(err))
		}
		return in, nil
	}, decompressing)
	return s, nil
}

func decompressing(err error) error { return fmt.Errorf("decompressing: %w", err) }

// ahead makes a goroutine read ahead of s what open returns, size bytes at a time. Its
// errors are told as wrap makes them, unless that is nil.
func (s *stream) ahead(size int, open func() (io.Reader, error), wrap func(error) error) {
	s.stop = make(chan struct{})
	a := &ahead{size: size, full: make(chan chunk, aheadChunks), empty: make(chan []byte, aheadChunks), stop: s.stop, wrap: wrap}
	go a.run(open)
	s.Reader = a
}

const (
	aheadChunks = 3
	aheadSize   = 128 << 10
)

type chunk struct {
	b   []byte
	err error
}

// ahead reads a stream that takes work some chunks ahead of its reader.
type ahead struct {
	full  chan chunk
	empty chan []byte
	stop  chan struct{}
	wrap  func(error) error
	size  int // of a chunk
	now   chunk
	off   int
}

func (a *ahead) run(open func() (io.Reader, error)) {
	defer close(a.full)
	r, err := open()
	switch c := r.(type) {
	case *zstd.Decoder:
		defer c.Close()
	case *translator:
		defer c.close()
	}
	if err != nil {
		a.send(chunk{err: err})
		return
	}
	for made := 0; ; {
		var b []byte
		if made < aheadChunks {
			made++
			b = make([]byte, a.size)
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
		if err != nil && err != io.EOF && a.wrap != nil {
			err = a.wrap(err)
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
			a.empty <- a.now.b[:a.size] // never full: there are as many chunks
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
