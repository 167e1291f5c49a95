package session

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
)

// Next reads the payload of a packet that says nothing else of its flow. It
// does what Read does, in few steps where the packet brings the next bytes, or
// another datagram, of a flow whose observer waits for just that and has
// nothing to report. Nearly all packets are of that kind.
func (r *Reader) Next(p *capture.Packet, ev *flow.Event, st *State) *Heard {
	if st.conn == 0 {
		if st.flags&done != 0 || r.isNothing(p, ev, st) {
			return nil
		}
		return r.Read(p, ev, st)
	}
	c, sender := r.conns.all[st.conn-1], ev.Sender()&1
	s, other := &c.streams[sender], &c.streams[sender^1]
	data, a := p.Payload, ackOf(p)
	if !s.ready || p.Seq != s.next || s.skip >= len(data) || int(p.PayloadLength) != len(data) || len(data) <= maxPadding || other.lags(a) {
		switch {
		case p.Proto == capture.UDP: // no stream of which is ready
			return r.nextDatagram(c, st, p, ev)
		case s.passOver(p):
			st.flags |= spokeA << sender
			c.number = p.Number
			return nil
		}
		return r.Read(p, ev, st)
	}
	if s.skip != 0 {
		data = data[s.skip:]
		s.skip = 0
	}
	s.next += p.PayloadLength
	st.flags |= spokeA << sender
	in := &r.in
	in.Datagram, in.Cut = false, false
	r.open(c, p, data, st.Ends.Direction(sender))
	in.Continues = a.valid && other.begun && a.number == other.next
	n, err := c.obs.Observe(in, &r.report)
	if err == nil && n >= len(data) && !r.report.News() && !due(p.Number) {
		s.skip = n - len(data)
		c.facts.Dropped = r.report.Dropped
		return nil
	}
	r.hold(p, ev, st)
	r.at.conn, r.at.ack = c, a
	r.feedOn(c, sender, data, n, err)
	return r.conclude(c)
}

// isNothing reports whether a packet of a flow that is not being read begins
// nothing that can be read. It does then what Read would do. It leaves to Read what
// may be the first bytes of a stream.
func (r *Reader) isNothing(p *capture.Packet, ev *flow.Event, st *State) bool {
	sender := ev.Sender()
	if len(p.Payload) <= maxPadding || p.Proto == capture.TCP && st.flags&(midA<<sender) == 0 {
		return false
	}
	if st.search.next(sender, p.Time) {
		dir := st.Ends.Direction(sender)
		if set := r.candidates(p.Proto, p.Src.Port, p.Dst.Port, dir, p.Payload); set != 0 {
			r.hold(p, ev, st)
			if i, _ := r.choose(set, dir, p.Payload, nil); i >= 0 {
				return false
			}
		}
		if int(p.PayloadLength) > len(p.Payload) {
			st.flags |= truncated
		}
		if st.vain(p.Proto, len(p.Payload)) {
			r.abandon(ev.ID, st, Unrecognised)
		}
	}
	st.flags |= spokeA << sender
	return true
}

// nextDatagram does what Read does with another datagram.
func (r *Reader) nextDatagram(c *conn, st *State, p *capture.Packet, ev *flow.Event) *Heard {
	if c.obs == nil || len(p.Payload) == 0 {
		return r.Read(p, ev, st)
	}
	if c.asked != r.Announcements && c.announced == "" {
		r.hold(p, ev, st)
		r.askAnnounced(c)
	}
	sender := ev.Sender()
	st.flags |= spokeA << sender
	in := &r.in
	in.Datagram, in.Cut, in.Continues = true, int(p.PayloadLength) > len(p.Payload), false
	r.open(c, p, p.Payload, st.Ends.Direction(sender))
	_, err := c.obs.Observe(in, &r.report)
	if err == nil && !r.report.News() && !due(p.Number) {
		c.facts.Dropped = r.report.Dropped
		return nil
	}
	r.hold(p, ev, st)
	r.at.conn = c
	r.datagramResult(c, err)
	return r.conclude(c)
}

// startsWith reads the packet with which the reading of a stream begins, where
// it is whole, the next of its stream, and shows by itself which protocol it is
// of, as nearly all do. Then nothing of what push, look and replay are for is
// left to do. It reports whether it did.
func (r *Reader) startsWith(c *conn, sender int, p *capture.Packet) bool {
	s, last := &c.streams[sender], &r.detect.last
	seq, a := sequence(p), ackOf(p)
	if last.number != p.Number || last.index < 0 || p.Proto != capture.TCP ||
		s.begun && s.next != seq || int(p.PayloadLength) != len(p.Payload) || c.streams[1-sender].lags(a) {
		return false
	}
	last.number = 0
	s.begun, s.next, s.padding = true, seq+p.PayloadLength, 0
	r.in.Datagram, r.in.Cut = false, false
	r.at.conn, r.at.ack = c, a
	r.open(c, p, p.Payload, r.at.state.Ends.Direction(sender))
	r.start(c, sender, last.index)
	r.feed(c, sender, p.Payload)
	return true
}

// passOver takes the next segment if nothing of it is needed, and reports
// whether it did.
func (s *stream) passOver(p *capture.Packet) bool {
	if p.Seq != s.next || !s.ready || s.skip < int(p.PayloadLength) {
		return false
	}
	s.next += p.PayloadLength
	s.skip -= int(p.PayloadLength)
	return true
}
