package session

import (
	"slices"

	"github.com/exspan/exspan/capture"
)

// Limits of what one flow's streams may hold.
const (
	maxHeldBytes   = 64 << 10 // bytes an observer has not used yet, per direction
	maxReorder     = 32       // segments that wait for missing bytes, per direction
	maxReorderSize = 64 << 10 // their bytes
	maxFirstBytes  = 2 << 10  // bytes per direction in which a protocol must show itself
	maxFirstOffers = 64       // offers in which a protocol must show itself
)

// How long segments wait for missing bytes, in nanoseconds of packet time.
const (
	reorderTime = int64(500e6)
	// ackedTime is how long they wait for bytes that the peer has acknowledged.
	// Nobody sends those again, but the sensor may have put packets of the two
	// directions in a wrong order.
	ackedTime = int64(2e6)
)

// ack is the acknowledgement number of a segment, if it has one.
type ack struct {
	number uint32
	valid  bool
}

func ackOf(p *capture.Packet) ack { return ack{p.Ack, p.Flags&capture.ACK != 0} }

// segment is a segment that waits.
type segment struct {
	seq    uint32
	length uint32 // on the wire
	ack    ack
	time   int64
	data   []byte // captured, a copy
}

// deliver takes bytes that are in order, or the number of bytes that are
// missing. Ack is that of the segment that brought the bytes. It reports
// whether more is wanted.
type deliver func(data []byte, gap int, a ack) bool

// stream is one direction of a connection.
type stream struct {
	next  uint32 // the sequence number of the next byte
	begun bool   // next is valid
	// ready is set while an observer waits for the next byte and nothing is kept
	// here; see Reader.account.
	ready bool
	// lost counts the bytes missing before an observer was found, up to its limit.
	lost uint8
	// padding is the number of zero bytes at next that may be no payload.
	padding uint8
	// skip is the number of bytes to come that the observer does not need.
	skip int
	// pending holds the bytes in order that were not used yet: those in which a
	// protocol is looked for, then those that the observer wants more of.
	pending []byte
	hole    *hole // nil unless segments wait
}

// hole is what waits in a stream: for missing bytes of its own, or because the
// first segment acknowledges bytes of the other direction that did not come yet.
type hole struct {
	early []segment // by sequence number
	size  int       // their bytes
	since int64     // when the first of them began to wait
	acked bool      // the peer has acknowledged the missing bytes
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

// sequence returns the sequence number of the first byte of a packet's payload.
func sequence(p *capture.Packet) uint32 {
	if p.Flags&capture.SYN != 0 {
		return p.Seq + 1 // RFC 7413
	}
	return p.Seq
}

// zeros is what pads a short frame.
var zeros [maxPadding]byte

// maxPadding is the number of bytes by which a frame with an acknowledgement
// alone, of 54 bytes, is shorter than Ethernet allows.
const maxPadding = 6

// padding returns the length of a packet's payload if it may be what pads an
// acknowledgement: some senders count the padding as payload. It is, if the next
// segment begins where it began. Otherwise it returns 0.
func padding(p *capture.Packet) uint8 {
	if n := len(p.Payload); n > 0 && n <= maxPadding && p.Flags == capture.ACK && string(p.Payload) == string(zeros[:n]) {
		return uint8(n)
	}
	return 0
}

// lags reports whether a segment of the other direction acknowledges bytes that
// the stream did not deliver yet. One byte more is a FIN.
func (s *stream) lags(a ack) bool {
	d := a.number - s.next
	return a.valid && s.begun && d > 1 && d < 1<<30
}

// streams are the two directions of a connection: what A sends, then what B
// sends.
type streams [2]stream

// push takes a segment with payload and delivers what is in order: bytes, and
// gaps where bytes are given up. Repeats are dropped and overlaps trimmed; the
// first copy of a byte wins. What acknowledges bytes of the other direction is
// delivered behind them.
func (ss *streams) push(sender int, p *capture.Packet, to *[2]deliver) {
	s, other, seq, a := &ss[sender], &ss[1-sender], sequence(p), ackOf(p)
	if !s.begun {
		s.begun, s.next = true, seq
	}
	if before(s.next, seq) && seq-s.next > 1<<30 {
		return // nothing a window allows
	}
	if s.padding > 0 {
		if n := uint32(s.padding); before(s.next, seq) && s.hole == nil && !s.accept(s.next, n, zeros[:n], ack{}, to[sender]) {
			return
		}
		s.padding = 0
	}
	if n := padding(p); n > 0 && seq == s.next && s.hole == nil {
		s.padding = n
		return
	}
	if h := other.hole; h != nil && a.valid && !before(a.number, h.early[0].seq) {
		h.acked = true
	}
	if s.hole == nil && !before(s.next, seq) && !other.lags(a) {
		if s.accept(seq, p.PayloadLength, p.Payload, a, to[sender]) && other.hole != nil {
			ss.advance(p.Time, false, to)
		}
		return
	}
	if end := seq + p.PayloadLength; before(s.next, end) {
		s.keep(p, seq, a)
	}
	ss.advance(p.Time, false, to)
}

// accept delivers a segment that begins at or before the next byte.
func (s *stream) accept(seq, length uint32, data []byte, a ack, to deliver) bool {
	end := seq + length
	if !before(s.next, end) {
		return true // a repeat
	}
	skip := s.next - seq
	s.next = end
	missing := int(length) - len(data) // cut by the snap length
	if int(skip) < len(data) {
		if !to(data[skip:], 0, a) {
			return false
		}
	} else {
		missing = int(length - skip)
	}
	return missing <= 0 || to(nil, missing, ack{})
}

// keep stores a copy of a segment that has to wait.
func (s *stream) keep(p *capture.Packet, seq uint32, a ack) {
	if s.hole == nil {
		s.hole = &hole{since: p.Time}
	}
	h := s.hole
	i, found := slices.BinarySearchFunc(h.early, seq, func(e segment, seq uint32) int { return int(int32(e.seq - seq)) })
	if found && h.early[i].length >= p.PayloadLength {
		return
	}
	h.early = slices.Insert(h.early, i, segment{seq, p.PayloadLength, a, p.Time, slices.Clone(p.Payload)})
	h.size += len(p.Payload)
	if i == 0 {
		h.acked = false // the missing bytes are others now
	}
}

// advance delivers what can be delivered, and gives up what was waited for long
// enough, or all that is missing.
func (ss *streams) advance(now int64, all bool, to *[2]deliver) {
	for {
		for moved := true; moved; {
			moved = false
			for side := range ss {
				some, more := ss.drain(side, to[side])
				if !more {
					return
				}
				moved = moved || some
			}
		}
		side := ss.overdue(now, all)
		if side < 0 || !ss.giveUp(side, to) {
			return
		}
	}
}

// drain delivers the waiting segments of a direction that are in order now, and
// whose acknowledgements the other direction has reached. It reports whether
// there were some, and whether more is wanted.
func (ss *streams) drain(side int, to deliver) (some, more bool) {
	s, other := &ss[side], &ss[1-side]
	h := s.hole
	if h == nil {
		return false, true
	}
	n := 0
	for n < len(h.early) && !before(s.next, h.early[n].seq) && !other.lags(h.early[n].ack) {
		e := h.early[n]
		h.size -= len(e.data)
		n++
		if !s.accept(e.seq, e.length, e.data, e.ack, to) {
			return true, false
		}
	}
	h.early = slices.Delete(h.early, 0, n)
	switch {
	case len(h.early) == 0:
		s.hole = nil
	case n > 0:
		h.since, h.acked = h.early[0].time, false
	}
	return n > 0, true
}

// overdue returns the direction whose first waiting segment has waited long
// enough, or -1.
func (ss *streams) overdue(now int64, all bool) int {
	found := -1
	for side := range ss {
		s := &ss[side]
		h := s.hole
		if h == nil {
			continue
		}
		limit := ackedTime
		if before(s.next, h.early[0].seq) && !h.acked {
			limit = reorderTime
		}
		if !all && len(h.early) <= maxReorder && h.size <= maxReorderSize && now-h.since <= limit {
			continue
		}
		if found < 0 || h.early[0].time < ss[found].hole.early[0].time {
			found = side
		}
	}
	return found
}

// giveUp gives the bytes up that the first waiting segment of a direction waits
// for: of its own direction, or else those of the other one that it
// acknowledges. It reports whether more is wanted.
func (ss *streams) giveUp(side int, to *[2]deliver) bool {
	s, other := &ss[side], &ss[1-side]
	first := &s.hole.early[0]
	if gap := first.seq - s.next; int32(gap) > 0 {
		s.next = first.seq
		return to[side](nil, int(gap), ack{})
	}
	end := first.ack.number
	if h := other.hole; h != nil && before(h.early[0].seq, end) {
		end = h.early[0].seq
	}
	if !other.lags(ack{end, true}) { // its segments wait for this one
		first.ack.valid = false
		return true
	}
	gap := end - other.next
	other.next = end
	return to[1-side](nil, int(gap), ack{})
}

// flush gives up every missing byte: nothing more will come.
func (ss *streams) flush(to *[2]deliver) { ss.advance(0, true, to) }
