package session

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/proxy"
)

// pool makes the observers of a protocol.
type pool struct {
	new       func() observe.Observer
	renew     func(observe.Observer)
	spare     []observe.Observer // those given back, as new
	tentative bool
	finishes  bool // the observers are Finishers
	holds     bool // the observers are Holders
}

// maxSpare is how many observers of a protocol are kept for flows to come.
const maxSpare = 1024

// observer returns a new observer of the protocol with an index.
func (r *Reader) observer(i int) observe.Observer {
	k := &r.observers[i]
	last := len(k.spare) - 1
	if last < 0 {
		return k.new()
	}
	o := k.spare[last]
	k.spare = k.spare[:last]
	return o
}

// finish lets the observer of a flow report what is known only at the end.
func (r *Reader) finish(c *conn) {
	if c.obs != nil && r.observers[c.reader-1].finishes {
		c.obs.(observe.Finisher).Finish(&r.report)
	}
}

// takeOff takes the observer off a flow, if there is one, and keeps it for
// another: memory that was used a moment ago is nearer than new memory.
func (r *Reader) takeOff(c *conn) {
	if c.obs == nil {
		return
	}
	if k := &r.observers[c.reader-1]; k.renew != nil && !r.ending && len(k.spare) < maxSpare {
		k.renew(c.obs)
		k.spare = append(k.spare, c.obs)
	}
	c.obs = nil
}

// start puts an observer of the protocol with an index on a flow, for what a
// sender sends.
func (r *Reader) start(c *conn, sender, i int) {
	c.obs, c.reader = r.observer(i), uint8(i+1)
	tentative := r.observers[i].tentative
	c.begun = !r.in.Datagram && c.state.flags&(midA<<sender) == 0
	r.in.Handshake = c.begun
	if sides := r.at.sides; r.in.Datagram && sides[0].Port == sides[1].Port {
		// Nothing tells client from server but who begins, and what came before it
		// began nothing.
		c.state.Ends.Suppose(sender)
		r.in.Dir = c.state.Ends.Direction(sender)
		r.at.dir = r.in.Dir
	}
	if !c.named {
		c.proto = uint8(i + 1)
		c.named = !tentative
		if c.flags &^= lateFind; !c.begun && !r.in.Datagram {
			c.flags |= lateFind
		}
	}
	if tentative && r.in.Announced == "" {
		r.doubt(c)
	}
	if other := &c.streams[1-sender]; other.lost > 0 {
		r.in.Dir, r.in.Data, r.in.Gap = c.state.Ends.Direction(1-sender), nil, int(other.lost)
		if _, err := c.obs.Observe(&r.in, &r.report); err != nil {
			c.obs = r.observer(i)
		}
		r.in.Gap, other.lost = 0, 0
	}
}

// confirm names the flow by a tentative protocol once its observer reported
// something.
func (r *Reader) confirm(c *conn) {
	if !c.named && c.obs != nil && r.report.Changed {
		c.named = true
	}
}

// violated takes an observer off a flow that is not of its protocol.
func (r *Reader) violated(c *conn) {
	r.Violations++
	if c.reader != 0 {
		c.tried |= 1 << (c.reader - 1)
	}
	r.takeOff(c)
	if r.report.Len() == 0 {
		c.named = false
	}
}

// turn swaps client and server of the flow at hand unless they are proven, and
// reports whether it did.
func (r *Reader) turn() bool {
	if !r.at.state.Ends.Turn() {
		return false
	}
	r.at.dir = r.at.dir.Reverse()
	return true
}

// datagram offers one datagram.
func (r *Reader) datagram(c *conn, sender int, p *capture.Packet) {
	r.in.Dir, r.in.Data = r.at.state.Ends.Direction(sender), p.Payload
	r.in.Datagram, r.in.Cut, r.in.Continues = true, int(p.PayloadLength) > len(p.Payload), false
	if len(p.Payload) == 0 {
		return
	}
	for c.obs == nil {
		i, _ := r.find(c, sender, p.Payload, nil)
		if i < 0 {
			if r.in.Cut {
				c.state.flags |= truncated
			}
			if r.at.state.vain(capture.UDP, len(p.Payload)) {
				r.giveUpFor(c, Unrecognised)
			} else if r.report.Len() == 0 {
				// Nothing to remember until the next datagram: no conn is held.
				r.release(c, nil)
			}
			return
		}
		r.start(c, sender, i)
		_, err := c.obs.Observe(&r.in, &r.report)
		if r.datagramResult(c, err) {
			return
		}
	}
	_, err := c.obs.Observe(&r.in, &r.report)
	r.datagramResult(c, err)
}

// datagramResult acts on what an observer returned for a datagram. It reports
// whether the datagram was taken.
func (r *Reader) datagramResult(c *conn, err error) bool {
	switch {
	case err == nil:
		r.confirm(c)
	case err == observe.ErrDone:
		r.confirm(c)
		c.done = true
	case err == observe.ErrReversed && r.turn():
		r.in.Dir = r.in.Dir.Reverse()
		c.obs = nil
		return false
	default:
		if r.in.Cut {
			c.state.flags |= truncated
		}
		r.violated(c)
		return false
	}
	return true
}

// offer takes bytes of one side in order, or the word that some are missing.
// It reports whether more is wanted.
func (r *Reader) offer(c *conn, sender int, data []byte, gap int) bool {
	if c.done {
		return false
	}
	s := &c.streams[sender]
	if k := min(gap, s.skip); k > 0 {
		s.skip -= k
		gap -= k
	}
	if gap > 0 {
		r.lost(c, sender, gap)
		return !c.done
	}
	if k := min(len(data), s.skip); k > 0 {
		s.skip -= k
		data = data[k:]
	}
	if len(data) == 0 {
		return true
	}
	if c.obs == nil {
		return r.look(c, sender, data)
	}
	if len(s.pending) > 0 {
		s.pending = append(s.pending, data...)
		data = s.pending
	}
	r.feed(c, sender, data)
	return !c.done
}

// lost tells the observer that bytes are missing.
func (r *Reader) lost(c *conn, sender, gap int) {
	s := &c.streams[sender]
	unused := s.pending
	s.pending = s.pending[:0]
	if c.flags&wasCut != 0 {
		c.state.flags |= truncated
	}
	if c.obs == nil {
		// What comes behind them is not the first that the side sends. What the other
		// side sends first still is.
		c.state.flags |= midA << sender
		s.lost = uint8(min(int(s.lost)+gap, 255))
		return
	}
	r.in.Dir, r.in.Data, r.in.Gap = r.at.state.Ends.Direction(sender), unused, gap
	_, err := c.obs.Observe(&r.in, &r.report)
	r.in.Data, r.in.Gap = nil, 0
	switch {
	case err == nil:
	case err == observe.ErrDone:
		c.done = true
	default:
		r.violated(c)
		c.state.flags |= midA | midB
	}
}

// look looks for the protocol of a stream.
func (r *Reader) look(c *conn, sender int, data []byte) bool {
	if c.state.flags&(midA<<sender) != 0 {
		return r.lookMid(c, sender, data)
	}
	s, other := &c.streams[sender], &c.streams[1-sender]
	if len(s.pending)+len(other.pending) == 0 {
		if c.flags &^= bFirst; sender == 1 {
			c.flags |= bFirst
		}
	}
	kept := len(s.pending) > 0
	if kept {
		s.pending = append(s.pending, data...)
		data = s.pending
	}
	if h, more := proxy.Read(data); h.Length > 0 {
		if h.Client.IsValid() {
			r.report.Add(proxy.Client, h.Client.Addr().String())
		}
		rest := append([]byte(nil), data[h.Length:]...)
		s.pending = s.pending[:0]
		return len(rest) == 0 || r.look(c, sender, rest)
	} else if more {
		if !kept {
			r.conns.pend(s, data, 0)
		}
		return true
	}
	i, more := r.find(c, sender, data, other.pending)
	if i < 0 && !more && len(other.pending) > 0 {
		// What the other side sent may be what belongs to nothing.
		if i, more = r.find(c, sender, data, nil); i >= 0 {
			c.state.flags |= midA << (1 - sender)
			other.pending = other.pending[:0]
		}
	}
	c.offers++
	if i >= 0 {
		r.start(c, sender, i)
		r.replay(c, sender, data)
		return !c.done
	}
	if !more || c.offers >= maxFirstOffers || len(data) > maxFirstBytes {
		if !more && !c.named {
			c.state.begunForeign()
		}
		c.state.flags |= midA << sender
		c.offers = 0
		n := len(data)
		c.state.search.firstInVain(n)
		s.pending = s.pending[:0]
		r.inVain(c, n)
		return !c.done
	}
	if !kept {
		r.conns.pend(s, data, 0)
	}
	return true
}

// lookMid looks for the protocol of a stream past its first bytes. Any segment
// may begin with something that can be read, so each is looked at alone.
func (r *Reader) lookMid(c *conn, sender int, data []byte) bool {
	if !c.state.search.next(sender, r.in.Time) {
		return true
	}
	if i, _ := r.find(c, sender, data, nil); i >= 0 {
		r.start(c, sender, i)
		r.feed(c, sender, data)
	} else {
		r.inVain(c, len(data))
	}
	return !c.done
}

// inVain notes that n bytes of a flow were looked at in vain.
func (r *Reader) inVain(c *conn, n int) {
	if c.state.vain(r.at.proto, n) {
		r.giveUpFor(c, Unrecognised)
	}
}

// replay feeds a new observer what was seen before it was found, beginning
// with the side that spoke first.
func (r *Reader) replay(c *conn, sender int, data []byte) {
	var sides [2][]byte
	sides[sender], sides[1-sender] = data, c.streams[1-sender].pending
	for i := range c.streams {
		c.streams[i].pending = c.streams[i].pending[:0] // the bytes stay where they are until theirs are offered
	}
	first := 0
	if c.flags&bFirst != 0 {
		first = 1
	}
	for _, side := range [2]int{first, 1 - first} {
		if len(sides[side]) > 0 && !c.done {
			r.offer(c, side, sides[side], 0)
		}
	}
}

// feed offers bytes to the observer until it uses no more of them, and keeps
// the others for the next offer. data may be the stream's pending bytes.
func (r *Reader) feed(c *conn, sender int, data []byte) {
	n, err := r.show(c, sender, data)
	r.feedOn(c, sender, data, n, err)
}

// show offers bytes to the observer.
func (r *Reader) show(c *conn, sender int, data []byte) (int, error) {
	r.in.Dir, r.in.Data = r.at.state.Ends.Direction(sender), data
	r.in.Continues = r.continues(c, sender)
	return c.obs.Observe(&r.in, &r.report)
}

// feedOn acts on what the observer returned for data.
func (r *Reader) feedOn(c *conn, sender int, data []byte, n int, err error) {
	s := &c.streams[sender]
	for {
		if err != nil {
			if data = r.exception(c, sender, data, n, err); data == nil {
				s.pending = s.pending[:0]
				return
			}
		} else {
			if !c.named {
				r.confirm(c)
			}
			if n <= 0 {
				break
			}
			if n >= len(data) {
				s.skip = n - len(data)
				s.pending = s.pending[:0]
				return
			}
			data = data[n:]
		}
		n, err = r.show(c, sender, data)
	}
	if len(data) > maxHeldBytes {
		r.StreamHeld++
		r.giveUpFor(c, TooMuch)
		return
	}
	r.conns.pend(s, data, 512)
}

// continues reports whether the segment at hand acknowledges everything that
// was offered from the other side.
func (r *Reader) continues(c *conn, sender int) bool {
	other := &c.streams[sender^1]
	return r.at.ack.valid && other.begun && r.at.ack.number == other.next
}

// exception acts on an error of an observer. It returns the bytes to offer
// next, nil for none.
func (r *Reader) exception(c *conn, sender int, data []byte, n int, err error) []byte {
	switch {
	case err == observe.ErrDone:
		r.confirm(c)
		c.done = true
		return nil
	case err == observe.ErrUpgrade:
		return r.upgrade(c, sender, data, n)
	case err == observe.ErrReversed && r.turn():
		c.obs = r.observer(int(c.reader - 1))
		return data
	default:
		r.violated(c)
		if i, _ := r.find(c, sender, data, nil); i >= 0 {
			r.start(c, sender, i)
			return data
		}
		if c.done = r.report.Len() > 0; !c.done { // else what was read says what the flow is
			if c.begun && !c.named {
				c.state.begunForeign()
			}
			c.state.flags |= midA << sender
			r.inVain(c, len(data))
		}
		return nil
	}
}

// upgrade puts the observer of the protocol that the report names on a flow. n
// bytes of data were used. It returns the bytes to offer next, nil for none.
func (r *Reader) upgrade(c *conn, sender int, data []byte, n int) []byte {
	i := r.protocol(r.report.Next)
	r.report.Next = ""
	if i < 0 {
		c.done = true
		return nil
	}
	r.finish(c)
	c.obs, c.reader = r.observer(i), uint8(i+1)
	c.begun, r.in.Handshake = true, true // the new protocol starts here
	other := &c.streams[1-sender]
	if len(other.pending) > 0 {
		waiting := append([]byte(nil), other.pending...)
		other.pending = other.pending[:0]
		r.feed(c, 1-sender, waiting)
	}
	if n = max(n, 0); c.done || c.obs == nil || n >= len(data) {
		return nil
	}
	return data[n:]
}
