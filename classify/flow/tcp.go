package flow

import (
	"time"

	"github.com/exspan/exspan/capture"
)

// window is by how much the sequence number of an RST or a FIN may differ from the
// one expected: the largest window without scaling (RFC 9293 section 3.1). Where
// the sensor missed packets, one behind them looks as if it was ahead.
const window = 1 << 16

// client returns the end that began the flow: 0 for A, 1 for B.
func (f *Flow) client() int {
	if f.Seen&seenSYNByB != 0 {
		return 1
	}
	return 0
}

// inWindow reports whether a segment of sender can be of this connection.
func (f *Flow) inWindow(sender int, p *capture.Packet) bool {
	if f.Seen&(SeenNextA<<sender) == 0 {
		return true
	}
	d := int32(p.Seq - f.next[sender])
	return -window <= d && d <= window
}

// transition follows TCP's set-up and end.
func (t *Table) transition(id ID, f *Flow, sender int, p *capture.Packet) {
	was := f.class
	switch {
	case p.Flags&capture.RST != 0:
		t.reset(id, f, sender, p)
	case p.Flags&(capture.SYN|capture.ACK) == capture.SYN:
		t.syn(id, f, sender, p)
	case p.Flags&capture.SYN != 0:
		t.synAck(f, sender, p)
	case f.class == classHalfOpen:
		// Something other than a SYN on a half-open flow: the sensor missed the answer.
		// A lone acknowledgement is no sign of a connection, three are.
		if p.PayloadLength > 0 || f.Seen&SeenSYN == 0 && (sender == 1 || f.packets[0] > 2) || f.Seen&SeenSYN != 0 && sender != f.client() {
			f.class = classEstablished
		}
	case f.class == classResetA && sender == 0, f.class == classResetB && sender == 1:
		// An end that has reset a connection sends nothing more on it: the RST was
		// another host's, or an older one.
		if f.inWindow(sender, p) && f.Seen&SeenRefused == 0 {
			f.Seen &^= SeenRST
			f.class = classEstablished
		}
	}
	if p.Flags&(capture.FIN|capture.RST) == capture.FIN && f.inWindow(sender, p) {
		f.Seen |= SeenFinA << sender
		if f.Seen&(SeenFinA|SeenFinB) == SeenFinA|SeenFinB {
			t.closed = t.closed || was != classClosed
			f.class = classClosed
		}
	}
	if f.class != was && timeouts[f.class] < timeouts[was] {
		t.unschedule(id)
		t.schedule(uint32(id), f)
	}
}

// reset takes in an RST, if the other end does (RFC 9293 section 3.10.7.3 for a SYN
// that waits for its answer, section 3.10.7.4 for other states): for a SYN it has to
// acknowledge that, else its sequence number has to be in the window.
func (t *Table) reset(id ID, f *Flow, sender int, p *capture.Packet) {
	waiting := f.Seen&(SeenSYN|SeenSYNACK) == SeenSYN && f.Seen&SeenPayload&^(SeenPayloadA<<f.client()) == 0
	switch {
	case waiting && sender != f.client():
		// With data in the SYN, anything up to its end may be acknowledged.
		first := t.cold(id).isn + 1
		if p.Flags&capture.ACK == 0 || p.Ack-first > f.next[f.client()]-first {
			return
		}
		f.Seen |= SeenRefused
	case f.packets[0]+f.packets[1] == 1:
		// The RST may have overtaken the SYN that it answers: see renews.
		if p.Flags&capture.ACK != 0 {
			t.cold(id).isn = p.Ack - 1
		}
	case !f.inWindow(sender, p):
		return
	}
	f.Seen |= SeenRST
	if f.class != classClosed {
		f.class = classResetA + class(sender)
		f.Seen &^= usualA << sender
	}
}

// syn takes in a SYN without ACK.
func (t *Table) syn(id ID, f *Flow, sender int, p *capture.Packet) {
	r := t.cold(id)
	switch {
	case f.Seen&SeenSYN == 0:
		if t.overtaken(id, f, p) && sender == 1 {
			f.Seen |= SeenRefused
		}
		r.isn = p.Seq
		if sender == 1 {
			f.Seen |= seenSYNByB
		}
		f.Seen |= SeenSYN | SeenBegun
	case sender != f.client():
	default:
		f.Seen |= SeenSYNAgain
		if p.Seq != r.isn && f.Seen&SeenSYNACK == 0 {
			r.isn = p.Seq // the last one counts
			f.Seen &^= SeenNextA << sender
		}
		if f.Seen&SeenRefused != 0 { // it is tried again
			f.class = classHalfOpen
		}
	}
}

// synAck takes in a SYN with ACK.
func (t *Table) synAck(f *Flow, sender int, p *capture.Packet) {
	if f.Seen&(SeenSYN|SeenSYNACK) == SeenSYN {
		f.setup = uint32(min(max((p.Time-f.First)/int64(time.Microsecond), 1), 1<<32-1))
	}
	if f.Seen&(SeenPayloadA<<sender) == 0 {
		f.Seen &^= SeenNextA << sender // the last one counts
	}
	f.Seen &^= SeenRST | SeenRefused
	f.Seen |= SeenSYNACK | SeenBegun
	f.class = classEstablished
}

// overtaken reports whether all that a flow has is an RST that answers the SYN p.
func (t *Table) overtaken(id ID, f *Flow, p *capture.Packet) bool {
	return f.Seen&(SeenSYN|SeenSYNACK|SeenPayload|SeenRST) == SeenRST && f.Sides[0] == p.Dst && t.cold(id).isn == p.Seq
}

// renews reports whether a packet on a known key begins another flow, although the
// old one has not timed out: a SYN with another initial sequence number after its
// end or after a silence.
func (t *Table) renews(id ID, f *Flow, p *capture.Packet) bool {
	if p.Proto != capture.TCP || p.Flags&(capture.SYN|capture.ACK) != capture.SYN {
		return false
	}
	if f.Seen&SeenSYN != 0 && t.cold(id).isn == p.Seq || t.overtaken(id, f, p) {
		return false
	}
	// Where the clock goes back, the seconds that are counted tell of the silence.
	return f.Seen&(SeenFinA|SeenFinB|SeenRST) != 0 || p.Time-f.Last > renewAfter || t.clock.tick-f.seen > uint32(renewAfter/int64(time.Second))+1
}
