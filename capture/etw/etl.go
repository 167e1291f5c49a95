package etw

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

var le = binary.LittleEndian

const (
	bufferHeader = 0x48 // WMI_BUFFER_HEADER
	recordHeader = 32   // the system record at the beginning of the first buffer
	eventHeader  = 80   // EVENT_HEADER

	maxFirst  = 16 << 20 // size of the first buffer in bytes
	maxBuffer = 64 << 20 // size of any buffer in bytes, also after decompression
	// maxRatio is the maximum ratio of decompression. The ratio in real traces is far
	// lower; deflate has the same limit.
	maxRatio   = 1024
	maxBuffers = 1 << 20 // 512 GiB with the buffers that netsh uses
	maxCPUs    = 2048    // the maximum that Windows supports

	flagNumber     = 0x20 // ProcessorIndex is 16 bits wide
	flagCompressed = 0x40

	modeCircular = 0x2
)

// etl is an event trace log. Each of its buffers belongs to one processor. They are in
// the order in which they were flushed.
type etl struct {
	in   io.ReaderAt
	size int64

	buffer  uint32 // buffer size of the session, the maximum size of a buffer
	start   int64  // start of the session as a FILETIME
	header  int64  // start of the session on the raw clock
	clock   uint32
	freq    int64 // frequency of the performance counter in Hz
	mhz     int64 // frequency of the processor in MHz
	mode    uint32
	running bool // the header has no end time

	cpus []*processor
}

// stored describes a buffer in the file.
type stored struct {
	offset   int64
	sequence int64
	length   uint32 // in the file, including the header
	used     uint32 // of the buffer before compression, including the header
	packed   bool
	cut      bool // the file ends inside the buffer
}

// isETL reports whether a file that begins with b is an event trace log. The format has
// no magic number, so isETL checks that the first buffer starts with the logfile header
// as a record.
func isETL(b []byte) bool {
	if len(b) < 0x50 {
		return false
	}
	first := le.Uint32(b)
	kind := b[0x4a]
	least := uint32(recordHeader + 0x110)
	if kind == 1 {
		least = recordHeader + 0x108
	}
	record := uint32(le.Uint16(b[0x4c:]))
	return first >= 0x100 && first <= maxFirst && le.Uint16(b[0x48:]) == 2 && (kind == 1 || kind == 2) &&
		b[0x4b] == 0xc0 && record >= least && record <= first-bufferHeader && le.Uint16(b[0x4e:]) == 0
}

// openETL reads the logfile header and finds the buffers.
func openETL(in io.ReaderAt, size int64, r *Report) (*etl, error) {
	b := make([]byte, bufferHeader+recordHeader+284)
	if n, err := in.ReadAt(b, 0); n < len(b)-4-8 {
		if err == io.EOF {
			err = errors.New("the file ends inside its header")
		}
		return nil, &Error{Offset: int64(n), Reason: err.Error()}
	}
	e := &etl{in: in, size: size}
	if err := e.readHeader(b, r); err != nil {
		return nil, err
	}
	return e, e.index(r)
}

// readHeader reads TRACE_LOGFILE_HEADER. Its 32-bit layout is derived from the alignment
// of the structure; no file with packets from a 32-bit Windows was available.
func (e *etl) readHeader(b []byte, r *Report) error {
	e.header = int64(le.Uint64(b[bufferHeader+16:]))
	h := b[bufferHeader+recordHeader:]
	e.buffer = le.Uint32(h)
	r.Build = le.Uint32(h[8:])
	r.Lost = uint64(le.Uint32(h[48:]))
	e.running = le.Uint64(h[16:]) == 0
	e.mode = le.Uint32(h[32:])
	e.mhz = int64(le.Uint32(h[52:]))
	pointer := le.Uint32(h[44:])
	if pointer != 4 && pointer != 8 {
		pointer = 4 * uint32(b[0x4a])
	}
	if pointer == 8 {
		h = h[256:]
	} else {
		h = h[248:]
	}
	e.freq = int64(le.Uint64(h))
	e.start = int64(le.Uint64(h[8:]))
	e.clock = le.Uint32(h[16:])
	r.LostBuffers = uint64(le.Uint32(h[20:]))
	if e.buffer < bufferHeader || e.buffer > maxBuffer {
		return &Error{Offset: bufferHeader + recordHeader, Reason: fmt.Sprintf("the session's buffers have the impossible size %d", e.buffer)}
	}
	switch e.clock {
	case 2:
		return nil
	case 3:
		if e.mhz > 0 {
			return nil
		}
	case 0, 1:
		if e.freq > 0 {
			return nil
		}
	default:
		return &Error{Offset: bufferHeader + recordHeader, Reason: fmt.Sprintf("clock type %d is not known; please report this file", e.clock)}
	}
	return &Error{Offset: bufferHeader + recordHeader, Reason: fmt.Sprintf("clock type %d without a frequency", e.clock)}
}

// nanoseconds converts the time stamp of a record to nanoseconds since the Unix epoch.
func (e *etl) nanoseconds(raw int64) int64 {
	if e.clock == 2 {
		return unixNano(raw)
	}
	d, unit, f := raw-e.header, int64(10_000_000), e.freq
	if e.clock == 3 {
		unit, f = 10, e.mhz
	}
	if f == unit && e.start >= 0 && d >= 0 && d <= math.MaxInt64-e.start {
		return unixNano(d + e.start) // the usual case, without a division
	}
	q, rest := d/f, d%f
	if rest < 0 {
		q, rest = q-1, rest+f
	}
	if limit := math.MaxInt64 / 2 / unit; q > limit || q < -limit || f > math.MaxInt64/unit {
		return math.MaxInt64 // no clock shows such a time
	}
	ft := q*unit + rest*unit/f
	if sum := ft + e.start; e.start >= 0 && (ft < 0 || sum >= ft) {
		return unixNano(sum)
	}
	return math.MaxInt64
}

// epoch is 1 January 1970 as a FILETIME: 100 ns units since 1 January 1601.
const epoch = 116_444_736_000_000_000

// unixNano converts a FILETIME to nanoseconds since the Unix epoch. Times before the
// epoch become the epoch, and times that do not fit become the latest that does.
func unixNano(ft int64) int64 {
	switch {
	case ft < epoch:
		return 0
	case ft-epoch > math.MaxInt64/100:
		return math.MaxInt64
	}
	return (ft - epoch) * 100
}

// index finds the buffers. It does not trust the count in the header, which is wrong in
// the file of a running session.
func (e *etl) index(r *Report) error {
	cpus := map[uint16]*processor{}
	var b [bufferHeader]byte
	buffers := 0
	for off := int64(0); off < e.size; {
		if n, err := e.in.ReadAt(b[:], off); n < len(b) {
			if err != io.EOF {
				return &Error{Offset: off, Reason: err.Error()}
			}
			r.damage(off, "the file ends inside a buffer's header: %d of %d bytes", n, len(b))
			break
		}
		s := stored{offset: off, length: le.Uint32(b[:]), used: le.Uint32(b[0x30:]), sequence: int64(le.Uint64(b[0x18:]))}
		if s.length == 0 {
			break // the tail of a file that was allocated in advance; one source
		}
		flags := le.Uint16(b[0x34:])
		s.packed = flags&flagCompressed != 0
		s.cut = int64(s.length) > e.size-off
		if s.length < bufferHeader || s.length > maxBuffer {
			r.damage(off, "a buffer of the impossible length %d", s.length)
			break
		}
		if s.cut {
			r.damage(off, "the file ends inside a buffer: %d of %d bytes", e.size-off, s.length)
			s.length = uint32(e.size - off)
		}
		if buffers++; buffers > maxBuffers {
			r.damage(off, "more than %d buffers, which are not read", maxBuffers)
			break
		}
		number := le.Uint16(b[0x28:])
		if flags&flagNumber == 0 {
			number &= 0xff
		}
		p := cpus[number]
		if p == nil {
			if len(cpus) == maxCPUs {
				r.damage(off, "buffers of more than %d processors", maxCPUs)
				break
			}
			p = &processor{number: number, log: e}
			cpus[number] = p
			e.cpus = append(e.cpus, p)
		}
		p.buffers = append(p.buffers, s)
		off += int64(s.length)
	}
	slices.SortFunc(e.cpus, func(a, b *processor) int { return cmp.Compare(a.number, b.number) })
	for _, p := range e.cpus {
		if e.mode&modeCircular != 0 { // the oldest buffer need not be the first; inferred, no such file with packets was available
			slices.SortStableFunc(p.buffers, func(a, b stored) int { return cmp.Compare(a.sequence, b.sequence) })
		}
	}
	return nil
}
