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
	// skip is the number of bytes to come that the observer does not need.
	skip int
	// rest holds the bytes in order that the observer has not used yet.
	rest []byte
	// early holds segments behind a hole, by sequence number.
	early     []segment
	earlySize int
	since     int64 // when the hole opened
}

func (s *stream) reset() {
	*s = stream{rest: s.rest[:0], early: s.early[:0]}
	if cap(s.rest) > 4<<10 {
		s.rest = nil
	}
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
		if len(s.early) > maxReorder || s.earlySize > maxReorderSize || p.Time-s.since > reorderTime {
			s.giveUp(deliver)
		}
		return
	}
	if !s.accept(p.Seq, p.PayloadLength, p.Payload, deliver) {
		return
	}
	s.drain(deliver)
	if len(s.early) > 0 && p.Time-s.since > reorderTime {
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

// keep stores a copy of a segment that came early.
func (s *stream) keep(p *capture.Packet) {
	i, found := slices.BinarySearchFunc(s.early, p.Seq, func(e segment, seq uint32) int { return int(int32(e.seq - seq)) })
	if found && s.early[i].length >= p.PayloadLength {
		return
	}
	if len(s.early) == 0 {
		s.since = p.Time
	}
	s.early = slices.Insert(s.early, i, segment{p.Seq, p.PayloadLength, p.Time, slices.Clone(p.Payload)})
	s.earlySize += len(p.Payload)
}

// drain delivers the early segments that are in order now.
func (s *stream) drain(deliver func([]byte, int) bool) {
	n := 0
	for n < len(s.early) && !before(s.next, s.early[n].seq) {
		e := s.early[n]
		s.earlySize -= len(e.data)
		n++
		if !s.accept(e.seq, e.length, e.data, deliver) {
			return
		}
	}
	if n > 0 {
		s.early = slices.Delete(s.early, 0, n)
		if len(s.early) > 0 {
			s.since = s.early[0].time
		}
	}
}

// giveUp declares the hole before the early segments lost.
func (s *stream) giveUp(deliver func([]byte, int) bool) {
	if len(s.early) == 0 {
		return
	}
	gap := s.early[0].seq - s.next
	s.next = s.early[0].seq
	if deliver(nil, int(gap)) {
		s.drain(deliver)
	}
}

// flush gives up every hole: nothing more will come.
func (s *stream) flush(deliver func([]byte, int) bool) {
	for len(s.early) > 0 {
		n := len(s.early)
		s.giveUp(deliver)
		if len(s.early) >= n {
			return
		}
	}
}

// conn is what a flow needs while its content is read. It is given back when
// nothing more can be learned.
type conn struct {
	streams [2]stream // by sender: A, then B
	report  observe.Report
	obs     observe.Observer
	reader  uint8 // the protocol of obs: its index in Engine.protocols, plus one
	proto   uint8 // the one that names the flow, or may: that of the first observer
	named   bool  // the protocol names the flow
	late    bool  // it was not found by the flow's first bytes
	// tried is the set of protocols that said no.
	tried uint64
	// first holds the bytes per sender in which a protocol is looked for;
	// firstSide the sender that spoke first.
	first     [2][]byte
	firstSide int
	offers    int
	counted   int    // bytes in Engine.buffered
	weighed   int    // facts that were held against the evidence for roles
	media     uint64 // endpoints.media when in.Announced was looked up
	// deliverers, made once per conn so that no closure is made per packet
	deliver [2]func(data []byte, gap int) bool
	in      observe.Input
	slot    *slot
	packet  *capture.Packet
	done    bool
}
