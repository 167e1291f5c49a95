// Package etw reads the capture formats of Windows: event trace logs (.etl) with packets
// from ndiscap (netsh trace, New-NetEventSession) or pktmon, and the files of Network
// Monitor 1 to 3 (.cap), which can hold the same events. It needs neither Windows nor its
// libraries.
//
// The layouts are documented by Microsoft for event tracing (TRACE_LOGFILE_HEADER,
// EVENT_HEADER, [MS-XCA]), shown by its etl2pcapng and its parsers for Network Monitor,
// and confirmed by real files. Comments mark details for which there is only one source,
// or none.
package etw

import (
	"fmt"
	"io"
)

// Error describes why a file cannot be read or ended early, and at which position.
type Error struct {
	Offset int64
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

// Is reports whether this package reads files that begin with head. head must have
// HeadSize bytes, or be the whole file.
func Is(head []byte) bool { return isETL(head) || isNetMon(head) }

// HeadSize is the number of bytes that Is needs.
const HeadSize = 0x50

// Options determines how a file is read.
type Options struct {
	// AllAppearances delivers a packet for each layer, filter and adapter at which
	// Windows saw it, instead of once.
	AllAppearances bool
	// Drop is called for each packet that Windows reports as dropped. The drop is valid
	// only during the call. It has no data if the packet is not a frame.
	Drop func(*Drop)
}

// Frame is a packet as an Ethernet frame. 802.11 frames and raw IP packets are converted
// to Ethernet.
type Frame struct {
	Time int64  // nanoseconds since the Unix epoch
	Wire uint32 // bytes on the wire
	Data []byte // valid until the next call
	// Link is the pcap link type: Ethernet, except for frames of Network Monitor with
	// another link type.
	Link  uint16
	Point Point
	// Key is the same for all appearances of a packet and for its drop. It is zero for
	// packets that Network Monitor captured itself.
	Key uint64
}

// Point is a place in the Windows network stack where a packet was seen.
type Point struct {
	Component uint32 // component of pktmon, or LowerIfIndex of ndiscap
	Port      uint32 // port of a virtual switch of ndiscap, or edge of pktmon
	Event     uint16 // id of the event, because ndiscap and pktmon use different numbers
	Direction uint16
}

// Drop is a packet that Windows dropped, according to pktmon.
type Drop struct {
	Frame
	Reason   uint32 // PKTMON_DROP_REASON
	Location uint32 // PKTMON_DROP_LOCATION
	// Captured reports whether Next also returned the packet.
	Captured bool
}

// Reader reads one file.
type Reader struct {
	opt     Options
	report  Report
	log     *etl
	cap     *netmon
	heap    []*stream // streams of log, with that of the earliest packet first
	once    once
	dropped once
	wlan    []byte // an 802.11 frame converted to Ethernet
	drop    Drop
}

// NewReader returns a reader of the file in, which has size bytes and a beginning for
// which Is reports true. The error is an *Error.
func NewReader(in io.ReaderAt, size int64, o Options) (*Reader, error) {
	r := &Reader{opt: o}
	r.once.init()
	r.dropped.init()
	head := make([]byte, HeadSize)
	n, err := in.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, &Error{Reason: err.Error()}
	}
	if isNetMon(head[:n]) {
		r.cap, err = openNetMon(in, size, &r.report)
		return r, err
	}
	if r.log, err = openETL(in, size, &r.report); err != nil {
		return nil, err
	}
	r.report.Running = r.log.running
	for _, p := range r.log.cpus {
		s := &stream{cpu: p, parts: parts{cpu: p.number}}
		s.cpu.in.in = in
		if s.next(&r.report) {
			r.heap = append(r.heap, s)
		}
	}
	for k := len(r.heap)/2 - 1; k >= 0; k-- {
		r.sift(k)
	}
	return r, nil
}

// Report returns everything that the reader learned besides packets. It is complete once
// Next has returned io.EOF.
func (r *Reader) Report() *Report { return &r.report }

// Next reads the next packet, in the order of time, into f. It returns io.EOF at the end.
func (r *Reader) Next(f *Frame) error {
	for {
		s := r.earliest()
		if s == nil {
			return io.EOF
		}
		if r.take(&s.seen, f) {
			r.report.Packets++
			if f.Wire > uint32(len(f.Data)) {
				r.report.Cut++
			}
			r.report.Forgotten = r.once.full
			return nil
		}
	}
}

// earliest returns the stream with the earliest packet. It first advances the stream that
// it returned before, whose packet was valid until now.
func (r *Reader) earliest() *stream {
	if r.cap != nil {
		return r.cap.next(&r.report)
	}
	if len(r.heap) == 0 {
		return nil
	}
	if s := r.heap[0]; s.taken {
		if !s.next(&r.report) {
			last := len(r.heap) - 1
			r.heap[0] = r.heap[last]
			r.heap = r.heap[:last]
		}
		r.sift(0)
	}
	if len(r.heap) == 0 {
		return nil
	}
	r.heap[0].taken = true
	return r.heap[0]
}

// sift moves stream k down to its position in the heap.
func (r *Reader) sift(k int) {
	for {
		c := 2*k + 1
		if c >= len(r.heap) {
			return
		}
		if c+1 < len(r.heap) && r.heap[c+1].before(r.heap[c]) {
			c++
		}
		if !r.heap[c].before(r.heap[k]) {
			return
		}
		r.heap[k], r.heap[c] = r.heap[c], r.heap[k]
		k = c
	}
}

// take converts an appearance to a frame and reports whether to deliver it.
func (r *Reader) take(a *appearance, f *Frame) bool {
	f.Time, f.Point, f.Link, f.Key = a.time, a.point, linkEthernet, 0
	ok := r.frame(a, f)
	if ok && !a.whole {
		f.Key = r.once.key(f, a.link == link80211 || a.link == linkSniff)
	}
	if a.drop {
		r.report.Drops++
		// Several layers can report the drop of the same packet.
		if (!ok || r.dropped.first(f)) && r.opt.Drop != nil {
			if !ok {
				f.Data = nil
			}
			r.drop = Drop{Frame: *f, Reason: a.reason, Location: a.location, Captured: ok && r.once.knows(f)}
			r.opt.Drop(&r.drop)
		}
		return false
	}
	if !ok {
		r.report.NotFrames++
		return false
	}
	if a.whole {
		return true // packets that Network Monitor captured occur only once
	}
	first := r.once.first(f)
	if !first {
		r.report.Appearances++
	}
	return first || r.opt.AllAppearances
}

// stream is the sequence of packets from one processor, or from Network Monitor.
type stream struct {
	cpu   *processor
	parts parts
	seen  appearance
	taken bool
}

// next finds the next packet and reports whether there is one.
func (s *stream) next(r *Report) bool {
	s.taken = false
	for {
		b := s.cpu.record(r)
		if b == nil {
			return false
		}
		h, data, ok := event(b)
		if ok && s.parts.packet(h, data, s.cpu.log.nanoseconds(int64(le.Uint64(h[16:]))), &s.seen, r) {
			return true
		}
	}
}

// before orders streams by time, then by processor.
func (s *stream) before(o *stream) bool {
	return s.seen.time < o.seen.time || s.seen.time == o.seen.time && s.cpu.number < o.cpu.number
}

// event returns the header and the user data of an EVENT_HEADER record. Other records
// contain no packets.
func event(b []byte) (header, data []byte, ok bool) {
	if b[3] != 0xc0 || b[2] != 0x12 && b[2] != 0x13 || len(b) < eventHeader {
		return nil, nil, false
	}
	header, data = b[:eventHeader], b[eventHeader:]
	if le.Uint16(header[4:])&1 == 0 {
		return header, data, true
	}
	for { // extended items: stacks, SIDs and others
		if len(data) < 8 {
			return header, nil, false
		}
		size, more := int(le.Uint16(data)), le.Uint16(data[4:])&1 != 0
		if size < 8 || size > len(data) {
			return header, nil, false
		}
		if data = data[size:]; !more {
			return header, data, true
		}
	}
}
