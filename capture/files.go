package capture

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
)

// Options says how captures are read.
type Options struct {
	// Filter is a BPF expression in libpcap's language; empty takes every
	// frame. Frames with VLAN tags are matched as if they had none; see
	// FilterExpression.
	Filter string
	// KeepFrames sets Packet.Frame, for writing the frames again.
	KeepFrames bool
	// Parallel decodes in goroutines of their own, one a file, that are a few
	// batches ahead. What is delivered is the same.
	Parallel bool
	// Progress is told how many bytes of the files were read and how many there
	// are in all (0 if that is not known, as for standard input). It is called
	// by Read, about once in a quarter of a MiB.
	Progress func(read, total int64)
	// Stdin is what the name "-" reads; nil means os.Stdin.
	Stdin io.Reader
	// Fragments bounds the reassembly of IP fragments.
	Fragments FragmentLimits
}

// Files is a Source that reads capture files as one, in time order.
type Files struct {
	opt    Options
	pool   *pool
	in     []*input
	errs   []error
	read   atomic.Int64 // bytes, of all files
	total  int64
	closed bool
}

// OpenFiles returns a source that reads the named capture files: pcap and
// pcapng, plain or compressed with gzip or zstd; "-" is standard input. Several
// files are merged by time, and at equal times in the order of names; within
// each file the order stays as it is.
//
// A file that cannot be opened or is damaged ends there, with its error among
// those that Errors returns; the other files go on. The error of OpenFiles
// itself concerns the options only.
func OpenFiles(names []string, o Options) (*Files, error) {
	f := &Files{opt: o, pool: newPool()}
	for _, name := range names {
		in, err := f.open(name)
		if err != nil {
			f.errs = append(f.errs, err)
			continue
		}
		f.in = append(f.in, in)
	}
	return f, nil
}

// input is one open file.
type input struct {
	r     *reader
	file  io.Closer
	ahead chan *fileBatch
	stop  chan struct{}
}

func (f *Files) open(name string) (*input, error) {
	var in io.Reader = os.Stdin
	if f.opt.Stdin != nil {
		in = f.opt.Stdin
	}
	i := &input{}
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if st, err := file.Stat(); err == nil {
			f.total += st.Size()
		}
		in, i.file = file, file
	}
	i.r = newReader(name, in, f.pool, &readerOptions{filter: f.opt.Filter, keep: f.opt.KeepFrames})
	i.r.dec.Fragments = f.opt.Fragments
	return i, nil
}

// Errors returns why files could not be read or ended early, in the order in
// which that was found. It is complete when Read has returned io.EOF.
func (f *Files) Errors() []error { return f.errs }

// Read returns the next batch, or io.EOF when all files have ended.
func (f *Files) Read() (*Batch, error) {
	for len(f.in) > 0 {
		bt, err := f.in[0].r.read()
		if err == nil {
			return &bt.Batch, nil
		}
		if !errors.Is(err, io.EOF) {
			f.errs = append(f.errs, err)
		}
		f.in = f.in[1:]
	}
	return nil, io.EOF
}

// Close closes the files.
func (f *Files) Close() error {
	return nil
}
