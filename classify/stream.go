package classify

import (
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
)

// Limits of what one flow's streams may hold.
const (
	maxHeldBytes   = 64 << 10 // bytes an observer has not used yet, per direction
	maxReorder     = 32       // segments waiting for a hole to be filled, per direction
	maxReorderSize = 64 << 10 // their bytes
	reorderTime    = int64(500e6)
	maxFirstBytes  = 2 << 10 // bytes per direction in which a protocol must show itself
	maxFirstOffers = 64      // offers after which a flow stays unrecognised
	maxTries       = 6       // the same for datagrams, and for segments of a flow whose begin was not seen
)

// segment is one that came before its time.
type segment struct {
	seq    uint32
	length uint32 // on the wire
	time   int64
	data   []byte // captured, a copy
}

// stream puts the segments of one direction in order.
type stream struct {
	next  uint32
	begun bool
	// ready says that an observer waits for the next byte: there is one, and nothing
	// is kept here. See account.
	ready bool
	// skip is the number of bytes to come that the observer does not need.
	skip int
	// rest holds the bytes in order that nobody has used yet: those in which a
	// protocol is looked for, then those that the observer wants more of.
	rest []byte
	hole *hole // nil unless bytes are missing
}

// hole is where a stream waits for missing bytes.
type hole struct {
	early []segment // behind it, by sequence number
	size  int       // their bytes
	since int64     // when it opened
}

// room returns the room of rest, for another flow: none if it is large.
func (s *stream) room() []byte {
	if cap(s.rest) > 4<<10 {
		return nil
	}
	return s.rest[:0]
}

// held returns the number of bytes that the stream keeps.
func (s *stream) held() int {
	n := len(s.rest)
	if s.hole != nil {
		n += s.hole.size
	}
	return n
}

// before says whether sequence number a comes before b.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// push takes a segment with payload and delivers what is in order: bytes, and
// gaps where bytes are given up. Repeats are dropped and overlaps trimmed;
// the first copy of a byte wins.
func (s *stream) push(p *capture.Packet, deliver func(data []byte, gap int) bool) {
	if !s.begun {
		s.begun, s.next = true, p.Seq
	}
	if before(s.next, p.Seq) {
		if p.Seq-s.next > 1<<30 {
			return // nothing a window allows
		}
		s.keep(p)
		if h := s.hole; len(h.early) > maxReorder || h.size > maxReorderSize || p.Time-h.since > reorderTime {
			s.giveUp(deliver)
		}
		return
	}
	if !s.accept(p.Seq, p.PayloadLength, p.Payload, deliver) {
		return
	}
	s.drain(deliver)
	if s.hole != nil && p.Time-s.hole.since > reorderTime {
		s.giveUp(deliver)
	}
}

// accept delivers a segment that begins at or before the next byte.
func (s *stream) accept(seq, length uint32, data []byte, deliver func([]byte, int) bool) bool {
	end := seq + length
	if !before(s.next, end) {
		return true // a repeat
	}
	skip := s.next - seq
	s.next = end
	missing := int(length) - len(data) // cut by the snap length
	if int(skip) < len(data) {
		if !deliver(data[skip:], 0) {
			return false
		}
	} else {
		missing = int(length - skip)
	}
	return missing <= 0 || deliver(nil, missing)
}

// passOver takes the next segment if nothing of it is needed, and says whether
// it did.
func (s *stream) passOver(p *capture.Packet) bool {
	if p.Seq != s.next || !s.ready || s.skip < int(p.PayloadLength) {
		return false
	}
	s.next += p.PayloadLength
	s.skip -= int(p.PayloadLength)
	return true
}

// keep stores a copy of a segment that came early.
func (s *stream) keep(p *capture.Packet) {
	if s.hole == nil {
		s.hole = &hole{since: p.Time}
	}
	h := s.hole
	i, found := slices.BinarySearchFunc(h.early, p.Seq, func(e segment, seq uint32) int { return int(int32(e.seq - seq)) })
	if found && h.early[i].length >= p.PayloadLength {
		return
	}
	h.early = slices.Insert(h.early, i, segment{p.Seq, p.PayloadLength, p.Time, slices.Clone(p.Payload)})
	h.size += len(p.Payload)
}

// drain delivers the early segments that are in order now.
func (s *stream) drain(deliver func([]byte, int) bool) {
	h := s.hole
	if h == nil {
		return
	}
	n := 0
	for n < len(h.early) && !before(s.next, h.early[n].seq) {
		e := h.early[n]
		h.size -= len(e.data)
		n++
		if !s.accept(e.seq, e.length, e.data, deliver) {
			return
		}
	}
	h.early = slices.Delete(h.early, 0, n)
	switch {
	case len(h.early) == 0:
		s.hole = nil
	case n > 0:
		h.since = h.early[0].time
	}
}

// giveUp declares the hole before the early segments lost.
func (s *stream) giveUp(deliver func([]byte, int) bool) {
	h := s.hole
	if h == nil {
		return
	}
	gap := h.early[0].seq - s.next
	s.next = h.early[0].seq
	if deliver(nil, int(gap)) {
		s.drain(deliver)
	}
}

// flush gives up every hole: nothing more will come.
func (s *stream) flush(deliver func([]byte, int) bool) {
	for s.hole != nil {
		n := len(s.hole.early)
		s.giveUp(deliver)
		if s.hole != nil && len(s.hole.early) >= n {
			return
		}
	}
}

// conn is what a flow needs while its content is read. It is given back when
// nothing more can be learned. There are many, and each packet needs another: it is
// three lines of the processor's cache, and what the usual packet needs is in the
// first two.
type conn struct {
	obs    observe.Observer
	facts  observe.Facts
	number uint64 // of the last packet
	// announced is the service that a learned endpoint promised when media was
	// endpoints.media.
	announced string
	media     uint32
	reader    uint8 // the protocol of obs: its index in Engine.protocols, plus one
	named     bool  // the protocol names the flow
	begun     bool  // the next bytes of both streams are their first
	done      bool

	streams [2]stream // by sender: A, then B

	tried   uint64 // the set of protocols that said no
	doubted uint64 // the count of doubtful flows when this was one, or 0
	counted int32  // bytes in Engine.buffered
	weighed int32  // facts that were held against the evidence for roles
	proto   uint8  // the one that names the flow, or may: that of the first observer
	offers  uint8
	late    bool // it was not found by the flow's first bytes
	second  bool // B spoke first
}

// warm touches both lines that the usual packet needs.
func (c *conn) warm() uint64 { return c.number + uint64(c.streams[0].next) }

// connBlock is how many conns are made at a time.
const connBlock = 256
