package session

import (
	"slices"

	"github.com/exspan/exspan/capture"
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

// segment is a segment that came early.
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
	// ready is set while an observer waits for the next byte and nothing is kept
	// here; see Reader.account.
	ready bool
	// skip is the number of bytes to come that the observer does not need.
	skip int
	// pending holds the bytes in order that were not used yet: those in which a
	// protocol is looked for, then those that the observer wants more of.
	pending []byte
	hole    *hole // nil unless bytes are missing
}

// hole is where a stream waits for missing bytes.
type hole struct {
	early []segment // behind it, by sequence number
	size  int       // their bytes
	since int64     // when it opened
}

// room returns the room of pending, for another flow: none if it is large.
func (s *stream) room() []byte {
	if cap(s.pending) > 4<<10 {
		return nil
	}
	return s.pending[:0]
}

// held returns the number of bytes that the stream keeps.
func (s *stream) held() int {
	n := len(s.pending)
	if s.hole != nil {
		n += s.hole.size
	}
	return n
}

// before reports whether sequence number a comes before b.
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
