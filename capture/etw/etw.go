// Package etw reads the captures that Windows itself makes: event trace logs
// (.etl) with the packets of ndiscap (netsh trace, New-NetEventSession) or of
// pktmon, and the files of Network Monitor 1 to 3 (.cap), which can hold the same
// events. It needs neither Windows nor a library of it.
//
// The layouts are those that Microsoft documents for event tracing
// (TRACE_LOGFILE_HEADER, EVENT_HEADER, [MS-XCA]), that its etl2pcapng and its
// parsers for Network Monitor show, and that real files confirm. Where only one
// source, or none, stands behind a detail, the code says so.
package etw

import (
	"fmt"
	"io"
)

// Error says where and why a file cannot be read, or ended early.
type Error struct {
	Offset int64
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

// Is reports whether a file that begins with head is one that this package reads.
// It takes HeadSize bytes to tell.
func Is(head []byte) bool { return isETL(head) || isNetMon(head) }

// HeadSize is how many bytes Is looks at.
const HeadSize = 0x50

// Options say how a file is read.
type Options struct {
	// AllAppearances delivers a packet at each layer, filter and adapter where
	// Windows saw it, instead of once.
	AllAppearances bool
	// Drop is told of each packet of which Windows says that it dropped it. The drop is
	// valid during the call, and has no data where that is no frame.
	Drop func(*Drop)
}

// Frame is a packet as an Ethernet frame. 802.11 and raw IP become Ethernet.
type Frame struct {
	Time int64  // nanoseconds since the Unix epoch
	Wire uint32 // bytes on the wire
	Data []byte // valid until the next call
	// Link is the pcap link type: Ethernet's, but for a frame of Network Monitor that
	// came with another.
	Link  uint16
	Point Point
	// Key is the same for the appearances of a packet, and for the drop of it. It is
	// zero for packets that Network Monitor captured itself.
	Key uint64
}

// Point is where in Windows' network stack a packet was seen.
type Point struct {
	Component uint32 // pktmon's component; ndiscap's LowerIfIndex
	Port      uint32 // of a virtual switch, where ndiscap saw it; pktmon's edge
	Event     uint16 // the event's id, as ndiscap and pktmon number differently
	Direction uint16
}

// Drop is a packet that Windows dropped, as pktmon reports it.
type Drop struct {
	Frame
	Reason   uint32 // PKTMON_DROP_REASON
	Location uint32 // PKTMON_DROP_LOCATION
	// Captured reports whether the packet is among those that Next returned.
	Captured bool
}

// Reader reads one file.
type Reader struct {
	opt     Options
	report  Report
	log     *etl
	cap     *netmon
	heap    []*stream // of log; the stream with the earliest packet first
	once    once
	dropped once
	wlan    []byte // an 802.11 frame as Ethernet
	drop    Drop
}

// NewReader returns a reader of the file in, which has size bytes and for which Is
// holds. The error is an *Error.
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

// Report returns what the reader learned besides packets. It is complete when Next
// has returned io.EOF.
func (r *Reader) Report() *Report { return &r.report }

// Next puts the next packet into f, in the order of time. At the end it returns
// io.EOF.
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

// earliest returns the stream with the earliest packet. The one that it returned
// before goes on to its next packet first: until then, that packet stayed valid.
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

// sift moves stream k down to its place.
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

// take turns what was seen into a frame and reports whether it is one to deliver.
func (r *Reader) take(a *appearance, f *Frame) bool {
	f.Time, f.Point, f.Link, f.Key = a.time, a.point, linkEthernet, 0
	ok := r.frame(a, f)
	if ok && !a.whole {
		f.Key = r.once.key(f, a.link == link80211 || a.link == linkSniff)
	}
	if a.drop {
		r.report.Drops++
		// Several layers may report the drop of one packet.
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
		return true // Network Monitor's own: each is there once
	}
	first := r.once.first(f)
	if !first {
		r.report.Appearances++
	}
	return first || r.opt.AllAppearances
}

// stream is what one processor, or Network Monitor, saw.
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

// before orders by time, then by processor.
func (s *stream) before(o *stream) bool {
	return s.seen.time < o.seen.time || s.seen.time == o.seen.time && s.cpu.number < o.cpu.number
}

// event returns the header and the user data of an EVENT_HEADER record. Other
// records hold no packets.
func event(b []byte) (header, data []byte, ok bool) {
	if b[3] != 0xc0 || b[2] != 0x12 && b[2] != 0x13 || len(b) < eventHeader {
		return nil, nil, false
	}
	header, data = b[:eventHeader], b[eventHeader:]
	if le.Uint16(header[4:])&1 == 0 {
		return header, data, true
	}
	for { // extended items: stacks, SIDs and the like
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
