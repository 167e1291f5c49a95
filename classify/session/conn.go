package session

import (
	"bytes"
	"cmp"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
)

// conn is what a flow needs while its content is read. It is given back when
// nothing more can be learned. It fills three lines of the processor's cache; the usual
// packet needs the first two.
type conn struct {
	obs    observe.Observer
	facts  observe.Facts
	number uint64 // of the last packet
	// announced is the service that a learned endpoint promised when
	// Reader.Announcements was asked.
	announced string
	asked     uint32
	reader    uint8 // the protocol of obs: one plus its index
	named     bool  // proto names the flow
	begun     bool  // the observer was found by the first bytes of a side
	done      bool

	streams streams // by sender: A, then B

	state   *State
	tried   uint64 // the set of protocols that refused the flow
	id      flow.ID
	doubted uint16 // its number among the doubtful flows, modulo 1<<16; 0 for none
	held    uint16 // what the observer holds, in units of heldUnit
	counted int32  // its bytes in Reader.buffered
	weighed uint8  // facts that were told when proto named the flow and the server had spoken
	proto   uint8  // that of the first observer: one plus its index
	offers  uint8
	flags   uint8
}

// The bits of conn.flags.
const (
	lateFind  = 1 << iota // the protocol was not found by the flow's first bytes
	bFirst                // B spoke first
	hasTaught             // conns.taught has an entry
	wasCut                // the snap length cut off bytes of a segment
)

// taughtBy is the segment with which an observer last learned endpoints. The observer
// may be offered other bytes in its place.
type taughtBy struct {
	sender int
	seq    uint32
	data   []byte
}

// contradicted reports whether a segment brings other bytes than the one with which the
// observer of c last learned endpoints.
func (k *conns) contradicted(c *conn, sender int, p *capture.Packet) bool {
	if c.flags&hasTaught == 0 {
		return false
	}
	t := k.taught[c.state.conn]
	if sender != t.sender || sequence(p) != t.seq {
		return false
	}
	n := min(len(p.Payload), len(t.data))
	return n > 0 && !bytes.Equal(p.Payload[:n], t.data[:n])
}

// idle reports whether nothing is kept and no observer waits, so that the flow
// can do without the conn until it sends something promising.
func (c *conn) idle() bool {
	a, b := &c.streams[0], &c.streams[1]
	return c.obs == nil && c.tried == 0 && a.hole == nil && b.hole == nil && len(a.pending)+len(b.pending) == 0
}

// connBlock is how many conns are made at a time.
const connBlock = 256

// conns holds conns by their number, which is never 0.
type conns struct {
	max  int
	all  []*conn
	free []uint32
	hand int // where the last sample ended
	// spare holds empty buffers of streams. A stream has one only while something waits
	// in it: few do at a time, so that few buffers serve all.
	spare [][]byte
	// taught holds the segments that taught endpoints, by the number of the conn.
	taught map[uint32]taughtBy
}

func (k *conns) at(n uint32) *conn { return k.all[n-1] }

func (k *conns) used() int { return len(k.all) - len(k.free) }

// take returns the number of a free conn, or 0 where max are in use.
func (k *conns) take() uint32 {
	if len(k.free) == 0 {
		if len(k.all) >= k.max {
			return 0
		}
		block := make([]conn, min(connBlock, k.max-len(k.all)))
		clear(block) // the first access to new memory is best a write: a read first costs a second page fault
		for i := range block {
			k.all = append(k.all, &block[i])
		}
		for i := range block {
			k.free = append(k.free, uint32(len(k.all)-i))
		}
	}
	last := len(k.free) - 1
	n := k.free[last]
	k.free = k.free[:last]
	return n
}

// giveBack frees a conn.
func (k *conns) giveBack(n uint32) {
	c := k.at(n)
	if c.flags&hasTaught != 0 {
		delete(k.taught, n)
	}
	k.giveBackBuffer(&c.streams[0])
	k.giveBackBuffer(&c.streams[1])
	*c = conn{}
	k.free = append(k.free, n)
}

const (
	maxSpareBuffers = 256     // kept for streams to come
	maxSpareBuffer  = 4 << 10 // the bytes of one of them
)

// pend keeps data, which may lie in the stream's own buffer, as what waits in a stream.
// A new buffer has room for so many bytes at least.
func (k *conns) pend(s *stream, data []byte, room int) {
	if cap(s.pending) == 0 {
		if last := len(k.spare) - 1; last >= 0 {
			s.pending, k.spare = k.spare[last], k.spare[:last]
		} else {
			s.pending = make([]byte, 0, max(len(data), room))
		}
	}
	s.pending = append(s.pending[:0], data...)
}

// giveBackBuffer takes the buffer off a stream in which nothing waits any more.
func (k *conns) giveBackBuffer(s *stream) {
	if n := cap(s.pending); n > 0 && n <= maxSpareBuffer && len(k.spare) < maxSpareBuffers {
		k.spare = append(k.spare, s.pending[:0])
	}
	s.pending = nil
}

// newConn gives the flow at hand a conn, for a packet that is promising; nil
// where a limit forbids.
func (r *Reader) newConn(p *capture.Packet, ev *flow.Event) *conn {
	st := r.at.state
	if st.conn = r.conns.take(); st.conn == 0 {
		if v := r.conns.victim(1 << 16); v != nil {
			r.evict(v, TooMany)
			st.conn = r.conns.take()
		}
	}
	if st.conn == 0 {
		r.Conns++
		r.abandon(r.at.id, st, TooMany)
		return nil
	}
	c := r.conns.at(st.conn)
	c.id, c.state = r.at.id, st
	if st.content != 0 {
		k := r.contents.at(st.content)
		c.facts, k.facts = k.facts, observe.Facts{}
	}
	if c.facts.Len() == 0 {
		c.facts = r.lists.Empty()
	}
	if p.Proto == capture.TCP && ev.What&flow.Begun != 0 {
		// The handshake says where both streams begin.
		for side := range c.streams {
			s := &c.streams[side]
			s.begun, s.next = ev.What&(flow.KnownA<<side) != 0, ev.Next[side]
			if st.flags&(midA<<side) == 0 {
				s.padding = st.search.padding(side)
				s.next -= uint32(s.padding)
			} else if side == ev.Sender() {
				s.begun = false
			}
		}
	}
	if last := &r.detect.last; last.number == p.Number && (last.index >= 0 || last.more) {
		c.asked, c.announced = r.Announcements, r.detect.first.Announced // as seek found it
	} else {
		r.askAnnounced(c)
	}
	return c
}

// askAnnounced notes what a learned endpoint promises for the flow at hand now.
func (r *Reader) askAnnounced(c *conn) {
	client, server := r.at.ends()
	c.asked, c.announced = r.Announcements, r.cfg.Announced(client, server, r.at.proto)
}

// account keeps the sum of what streams hold, and gives a flow up where it is
// too much. It sets which streams are ready for Next.
func (r *Reader) account(c *conn) {
	a, b, n := &c.streams[0], &c.streams[1], 0
	if a.hole == nil && b.hole == nil && len(a.pending)+len(b.pending) == 0 { // as nearly always
		a.ready, b.ready = a.begun && a.padding == 0, b.begun && b.padding == 0
		if cap(a.pending)+cap(b.pending) > 0 {
			r.conns.giveBackBuffer(a)
			r.conns.giveBackBuffer(b)
		}
	} else {
		whole := a.hole == nil && b.hole == nil // what waits in one may wait for the other
		a.ready = a.begun && whole && a.padding == 0 && len(a.pending) == 0
		b.ready = b.begun && whole && b.padding == 0 && len(b.pending) == 0
		n = a.held() + b.held()
	}
	if c.obs == nil {
		a.ready, b.ready = false, false
	}
	if due(c.number) || r.at.packet.PayloadLength >= largePayload {
		c.held = r.heldBy(c)
	}
	n += int(c.held) * heldUnit
	r.buffered += n - int(c.counted)
	c.counted = int32(n)
	if n == 0 || r.buffered <= r.cfg.MaxBuffered {
		return
	}
	// The flow pays for what it holds, unless that is little.
	if v := r.conns.victim(n); v != nil && v != c && n < smallShare {
		r.Counts.Buffered++
		r.evict(v, TooMuch)
	} else {
		r.Counts.Buffered++
		r.giveUpFor(c, TooMuch)
	}
}

const (
	// heldUnit is the number of bytes in which conn.held counts.
	heldUnit = 64
	// smallShare is the number of bytes up to which a flow is read on where streams
	// and observers hold too much in all, at the expense of one that holds more.
	smallShare = 4 << 10
)

// due reports whether it is time to ask an observer what it holds: with one
// packet of many, as most observers hold nothing.
func due(number uint64) bool { return number%32 == 0 }

// largePayload is the length from which a payload makes it time in any case.
const largePayload = 1 << 10

// heldBy returns what the observer of a flow holds, in units of heldUnit.
func (r *Reader) heldBy(c *conn) uint16 {
	n := 0
	if c.flags&hasTaught != 0 {
		n = cap(r.conns.taught[c.state.conn].data)
	}
	if c.obs != nil && r.observers[c.reader-1].holds {
		n += c.obs.(observe.Holder).Held()
	}
	return uint16(min(n/heldUnit, 1<<16-1))
}

// sample is the number of conns among which a victim is looked for.
const sample = 32

// victim returns the flow that is to be read no further so that others can be,
// out of a sample: one of which a single side was seen, before one of which a single
// side sent payload, before one that has told nothing, and that before others; of
// equal ones the one that holds most, in steps of the bytes given, then the one that
// was silent for longest. It returns nil if no flow is read.
func (k *conns) victim(step int) *conn {
	var worst *conn
	rank := func(c *conn) int {
		switch {
		case c.state.bothSpoke() && c.facts.Len() > 0:
			return 0
		case c.state.bothSpoke():
			return 1
		case c.streams[0].begun && c.streams[1].begun:
			return 2
		}
		return 3
	}
	for range min(sample, len(k.all)) {
		if k.hand++; k.hand >= len(k.all) {
			k.hand = 0
		}
		c := k.all[k.hand]
		if c.state == nil {
			continue // it is free
		}
		if worst == nil || cmp.Or(rank(c)-rank(worst), int(c.counted)/step-int(worst.counted)/step, cmp.Compare(worst.number, c.number)) > 0 {
			worst = c
		}
	}
	return worst
}

// evict ends the reading of a flow in favour of others. What it has told stays.
func (r *Reader) evict(c *conn, why Reason) {
	if why == TooMany {
		r.Conns++
	}
	c.state.flags |= uint16(why) * reason
	r.quiet(c)
	r.giveBack(c)
}

// release gives the conn of the flow at hand back and keeps what it has told.
func (r *Reader) release(c *conn, h *Heard) {
	if c.obs != nil || c.done {
		r.quiet(c)
	}
	if h != nil && len(h.Streams) > 0 {
		r.contents.keepStreams(c.state, h.Streams)
	}
	r.giveBack(c)
}

// giveBack gives a conn back and keeps its facts.
func (r *Reader) giveBack(c *conn) {
	st := c.state
	if c.named {
		st.proto = c.proto
		if st.flags &^= foundLate; c.flags&lateFind != 0 {
			st.flags |= foundLate
		}
	}
	if c.facts.Len() > 0 {
		k := r.contents.of(st)
		k.facts, k.both = c.facts, st.bothSpoke()
	}
	r.buffered -= int(c.counted)
	r.takeOff(c)
	r.conns.giveBack(st.conn)
	st.conn = 0
}

// quiet ends the reading of a flow.
func (r *Reader) quiet(c *conn) { r.quietFlow(c.id, c.state) }

func (r *Reader) quietFlow(id flow.ID, st *State) {
	if st.flags&done == 0 {
		st.flags |= done
		r.Quiet = append(r.Quiet, id)
	}
}

// abandon ends the reading of a flow that is not being read, for a reason.
func (r *Reader) abandon(id flow.ID, st *State, why Reason) {
	if why == Unrecognised {
		r.Unrecognised++
	}
	st.flags |= uint16(why) * reason
	r.quietFlow(id, st)
}

// giveUpFor ends the reading of a flow, for a reason.
func (r *Reader) giveUpFor(c *conn, why Reason) {
	if why == Unrecognised {
		r.Unrecognised++
	}
	c.state.flags |= uint16(why) * reason
	c.done = true
}

// maxDoubtful bounds the flows whose protocol rests on a first packet that
// proves little: one that has not proven itself while as many others began is
// given up. Real media take a tenth of a second.
const maxDoubtful = 4096

// doubts are the flows that began as doubtful ones, the last maxDoubtful of
// them.
type doubts struct {
	conns [maxDoubtful]uint32 // their numbers
	count uint32
	due   []uint32 // may be given up after the packet at hand
}

// doubt notes the flow at hand as a doubtful one.
func (r *Reader) doubt(c *conn) {
	d := &r.doubts
	n := &d.conns[d.count%maxDoubtful]
	if *n != 0 && *n != c.state.conn {
		d.due = append(d.due, *n)
	}
	*n = c.state.conn
	d.count++
	c.doubted = max(uint16(d.count), 1)
}

// endDoubts gives the flows up that began as doubtful ones long ago and have
// not proven themselves until now.
func (r *Reader) endDoubts() {
	for _, n := range r.doubts.due {
		if c := r.conns.at(n); c.doubted != 0 && uint16(r.doubts.count)-c.doubted >= maxDoubtful && !c.named && c.facts.Len() == 0 {
			c.obs = nil
			r.quiet(c)
			r.giveBack(c)
		}
	}
	r.doubts.due = r.doubts.due[:0]
}
