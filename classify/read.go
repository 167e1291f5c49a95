package classify

import (
	"math/bits"
	"net/netip"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
)

// readNext takes in a packet that brings payload and nothing else. Nearly every
// one brings the next bytes, or another datagram, of a flow whose observer waits
// for just that and has nothing to report: then this is what is left of all that
// takePacket does with any packet. An engine that counts traffic takes each by
// takePacket; tests hold one against the other.
func (e *Engine) readNext(p *capture.Packet, ev *flow.Event) {
	st := e.stateOf(ev.ID)
	if st.conn == 0 {
		if !st.done {
			e.takePacket(p, ev)
		}
		return
	}
	c, sender := e.conns[st.conn-1], ev.Sender()&1
	s := &c.streams[sender]
	data := p.Payload
	if !s.ready || p.Seq != s.next || s.skip >= len(data) || int(p.PayloadLength) != len(data) {
		switch {
		case p.Proto == capture.UDP: // of which no stream is ready
			e.nextDatagram(c, st, p, ev)
		case s.passOver(p):
			st.said |= saidA << sender
			c.number = p.Number
		default:
			e.takePacket(p, ev)
		}
		return
	}
	if s.skip != 0 {
		data = data[s.skip:]
		s.skip = 0
	}
	s.next += p.PayloadLength
	st.said |= saidA << sender
	in := &e.in
	in.Datagram, in.Cut = false, false
	e.open(c, p, data, st.ends.Direction(sender))
	in.Continues = e.continues(c, sender)
	n, err := c.obs.Observe(in, &e.report)
	if err != nil || n < len(data) || e.report.News() {
		e.followUp(c, ev, data, n, err)
		return
	}
	s.skip = n - len(data)
	c.facts.Dropped = e.report.Dropped
}

// nextDatagram takes in another datagram.
func (e *Engine) nextDatagram(c *conn, st *state, p *capture.Packet, ev *flow.Event) {
	if c.obs == nil || len(p.Payload) == 0 {
		e.takePacket(p, ev)
		return
	}
	if c.media != e.endpoints.media && c.announced == "" {
		e.promise(c, e.of(p, ev))
	}
	sender := ev.Sender()
	st.said |= saidA << sender
	in := &e.in
	in.Datagram, in.Cut, in.Continues = true, int(p.PayloadLength) > len(p.Payload), false
	e.open(c, p, p.Payload, st.ends.Direction(sender))
	n, err := c.obs.Observe(in, &e.report)
	if err != nil || e.report.News() {
		e.followUp(c, ev, p.Payload, n, err)
		return
	}
	c.facts.Dropped = e.report.Dropped
}

// followUp deals with what the observer said of the packet at hand, where it is
// more than to go on. data is what it was shown of the packet.
func (e *Engine) followUp(c *conn, ev *flow.Event, data []byte, n int, err error) {
	s := e.of(e.packet, ev)
	if s.Proto == capture.UDP {
		e.datagramResult(c, err)
	} else {
		e.feedOn(c, ev.Sender(), data, n, err)
	}
	e.afterwards(s, c, e.packet)
}

// read hands a packet's payload to the flow's observer, or looks for one.
func (e *Engine) read(s *slot, p *capture.Packet, ev *flow.Event) {
	sender := ev.Sender()
	var c *conn
	if s.Owner.conn != 0 {
		c = e.conns[s.Owner.conn-1]
		if s.Proto == capture.UDP && c.announced == "" && c.media != e.endpoints.media {
			e.promise(c, s)
		}
	} else {
		if !e.promising(s, p, ev) {
			return
		}
		if c = e.newConn(s, p, ev); c == nil {
			return
		}
		if e.startsWith(c, s, sender, p) {
			return
		}
	}
	e.open(c, p, p.Payload, s.Owner.ends.Direction(sender))
	if s.Proto == capture.UDP {
		e.datagram(c, sender, p)
	} else {
		e.reading, e.in.Datagram, e.in.Cut = c, false, false
		c.streams[sender].push(p, e.deliver[sender])
	}
	e.afterwards(s, c, p)
}

// startsWith reads the packet with which the reading of a stream begins, where it is
// whole, the next of its stream, and shows by itself what it is of: as nearly all do.
// Then nothing of what push, look and replay are for is left to do.
func (e *Engine) startsWith(c *conn, s *slot, sender int, p *capture.Packet) bool {
	st := &c.streams[sender]
	if e.sought.number != p.Number || e.sought.found < 0 || s.Proto != capture.TCP ||
		st.begun && st.next != p.Seq || int(p.PayloadLength) != len(p.Payload) {
		return false
	}
	e.sought.number = 0
	st.begun, st.next = true, p.Seq+p.PayloadLength
	e.in.Datagram, e.in.Cut = false, false
	e.open(c, p, p.Payload, s.Owner.ends.Direction(sender))
	e.start(c, e.sought.found)
	e.feed(c, sender, p.Payload)
	e.afterwards(s, c, p)
	return true
}

// afterwards takes in what came of a packet that was read.
func (e *Engine) afterwards(s *slot, c *conn, p *capture.Packet) {
	if s.Owner.conn != 0 { // else it was given back already
		e.absorb(c)
		e.account(c)
		if c.done {
			e.release(s, c)
		}
	}
	if len(e.unproven) > 0 {
		for _, id := range e.unproven {
			e.giveUp(id)
		}
		e.unproven = e.unproven[:0]
	}
}

// open makes a flow the one that is being read, of which a packet came in a
// direction. data is what is to be shown of it.
func (e *Engine) open(c *conn, p *capture.Packet, data []byte, dir observe.Direction) {
	in := &e.in
	in.Dir, e.sent = dir, dir
	c.number = p.Number
	in.Time, in.Number, in.Handshake = p.Time, p.Number, c.begun
	in.Data, in.Announced, e.packet = data, c.announced, p
	e.report.Facts = c.facts
}

// ends returns the ends of the flow that is being read.
func (e *Engine) ends() (client, server netip.AddrPort) {
	p := e.packet
	if e.sent == observe.ToServer {
		return p.Src.AddrPort(), p.Dst.AddrPort()
	}
	return p.Dst.AddrPort(), p.Src.AddrPort()
}

// turn swaps client and server of the flow that is being read, unless they are
// proven, and says whether it did.
func (e *Engine) turn() bool {
	if !e.slot.Owner.ends.Turn() {
		return false
	}
	e.sent = e.sent.Reverse()
	return true
}

// closed takes in that both ends of a connection have sent their FIN: when
// nothing is missing, nothing more is to be read.
func (e *Engine) closed(s *slot, p *capture.Packet, ev *flow.Event) {
	c := e.conns[s.Owner.conn-1]
	end := ev.Next
	end[ev.Sender()] = p.Seq + p.PayloadLength + 1
	for i := range c.streams {
		if st := &c.streams[i]; st.hole != nil || st.begun && st.next+1 != end[i] {
			return
		}
	}
	c.done = true
	e.open(c, p, p.Payload, s.Owner.ends.Direction(ev.Sender()))
	e.release(s, c)
}

// newConn gives a flow a conn, for a packet that is promising; nil where a limit
// forbids.
func (e *Engine) newConn(s *slot, p *capture.Packet, ev *flow.Event) *conn {
	if len(e.connFree) == 0 {
		if len(e.conns) >= e.cfg.Limits.MaxConns {
			e.counts.conns++
			e.quiet(s)
			return nil
		}
		// Some at a time: fewer to allocate, and so many that they lie on pages of their
		// own, and each begins with a line of the cache.
		block := make([]conn, min(connBlock, e.cfg.Limits.MaxConns-len(e.conns)))
		clear(block) // the first touch of new memory is best a write: after a read it costs another page fault
		for i := range block {
			e.conns = append(e.conns, &block[i])
		}
		for i := range block {
			e.connFree = append(e.connFree, uint32(len(e.conns)-i))
		}
	}
	last := len(e.connFree) - 1
	s.Owner.conn = e.connFree[last]
	e.connFree = e.connFree[:last]
	c := e.conns[s.Owner.conn-1]
	c.begun = ev.What&flow.Begun != 0
	if s.Owner.info != 0 {
		in := e.info(s.Owner.info)
		c.facts = in.facts
		e.facts -= c.facts.Len()
		in.facts = observe.Facts{}
	}
	if c.facts.Len() == 0 {
		c.facts = e.lists.Empty()
	}
	if s.Proto == capture.TCP && c.begun {
		// The handshake says where both streams begin.
		a, b := &c.streams[0], &c.streams[1]
		a.begun, a.next = ev.What&flow.KnownA != 0, ev.Next[0]
		b.begun, b.next = ev.What&flow.KnownB != 0, ev.Next[1]
	}
	if e.sought.number == p.Number {
		c.media, c.announced = e.endpoints.media, e.first.Announced // as seek found it
	} else {
		e.promise(c, s)
	}
	return c
}

// account keeps the sum of what streams hold, and gives the flow at hand up
// where it is too much. It says which streams are ready for readNext.
func (e *Engine) account(c *conn) {
	a, b, n := &c.streams[0], &c.streams[1], 0
	if a.hole == nil && b.hole == nil && len(a.rest)+len(b.rest) == 0 { // as nearly always
		a.ready, b.ready = a.begun, b.begun
	} else {
		a.ready = a.begun && a.hole == nil && len(a.rest) == 0
		b.ready = b.begun && b.hole == nil && len(b.rest) == 0
		n = a.held() + b.held()
	}
	if c.obs == nil {
		a.ready, b.ready = false, false
	}
	e.buffered += n - int(c.counted)
	c.counted = int32(n)
	if n > 0 && e.buffered > e.cfg.Limits.MaxBuffered {
		e.counts.buffered++
		c.done = true
	}
}

// release gives a conn back and keeps its facts.
func (e *Engine) release(s *slot, c *conn) {
	if c.obs != nil || c.done {
		e.quiet(s)
	}
	if e.finish(c) {
		e.absorb(c)
	}
	if len(e.report.Streams) > 0 {
		e.moreOf(s).streams = e.report.Streams
		if e.calls != nil {
			e.calls.AddStreams(e.report.Streams)
		}
		e.report.Streams = nil
	}
	if c.named {
		s.Owner.proto = c.proto
		if s.Owner.said &^= late; c.late {
			s.Owner.said |= late
		}
	}
	if n := c.facts.Len(); e.facts+n > e.cfg.Limits.MaxFacts {
		e.counts.facts += uint64(n)
	} else if n > 0 {
		e.infoOf(s).facts = c.facts
		e.facts += n
	}
	e.buffered -= int(c.counted)
	e.takeOff(c)
	a, b := c.streams[0].room(), c.streams[1].room()
	*c = conn{}
	c.streams[0].rest, c.streams[1].rest = a, b
	e.connFree = append(e.connFree, s.Owner.conn)
	s.Owner.conn = 0
}

// kind is what the engine needs of a protocol for every flow, near to each other.
type kind struct {
	detect    func(*observe.First) observe.Match
	renew     func(observe.Observer)
	spare     []observe.Observer // those given back, as new
	tentative bool
	finishes  bool // its observers are Finishers
}

// maxSpare is how many observers of a protocol are kept for flows to come.
const maxSpare = 1024

// finish lets the observer of a flow say what is known only at the end, and says
// whether there is one that does.
func (e *Engine) finish(c *conn) bool {
	if c.obs == nil || !e.kinds[c.reader-1].finishes {
		return false
	}
	c.obs.(observe.Finisher).Finish(&e.report)
	return true
}

// takeOff takes the observer off a flow, if there is one, and keeps it for another.
// Most flows get one that another had: memory that was used a moment ago is nearer
// than new memory.
func (e *Engine) takeOff(c *conn) {
	if c.obs == nil {
		return
	}
	if k := &e.kinds[c.reader-1]; k.renew != nil && !e.ending && len(k.spare) < maxSpare {
		k.renew(c.obs)
		k.spare = append(k.spare, c.obs)
	}
	c.obs = nil
}

// observer returns a new observer of a protocol.
func (e *Engine) observer(i int) observe.Observer {
	k := &e.kinds[i]
	last := len(k.spare) - 1
	if last < 0 {
		return e.protocols[i].New()
	}
	o := k.spare[last]
	k.spare = k.spare[:last]
	return o
}

// finishReading delivers what waited for a hole to be filled, and releases the
// conn of a flow that ended.
func (e *Engine) finishReading(s *slot) {
	if s.Owner.conn == 0 {
		return
	}
	c := e.conns[s.Owner.conn-1]
	p := &e.lastly
	p.Time, p.Number, p.Src, p.Dst = s.Last, c.number, *s.a, *s.b
	e.slot = *s
	e.open(c, p, p.Payload, s.Owner.ends.Direction(0))
	e.reading, e.in.Datagram, e.in.Cut = c, s.Proto == capture.UDP, false
	for side := range c.streams {
		if !c.done {
			c.streams[side].flush(e.deliver[side])
		}
	}
	e.absorb(c)
	e.release(s, c)
}

// datagram offers one datagram.
func (e *Engine) datagram(c *conn, sender int, p *capture.Packet) {
	dir := e.slot.Owner.ends.Direction(sender)
	e.in.Dir, e.in.Data = dir, p.Payload
	e.in.Datagram, e.in.Cut, e.in.Continues = true, int(p.PayloadLength) > len(p.Payload), false
	if len(p.Payload) == 0 {
		return
	}
	for c.obs == nil {
		i, _ := e.find(c, sender, p.Payload, nil)
		if i < 0 {
			e.slot.Owner.tries++
			c.done = e.slot.Owner.tries >= maxTries
			if e.report.Len() == 0 && !c.done {
				// Nothing to remember until the next datagram: no conn is held.
				e.release(&e.slot, c)
			}
			return
		}
		e.start(c, i)
		_, err := c.obs.Observe(&e.in, &e.report)
		if !e.datagramResult(c, err) {
			continue
		}
		return
	}
	_, err := c.obs.Observe(&e.in, &e.report)
	e.datagramResult(c, err)
}

// datagramResult deals with an observer's word on a datagram. It says whether
// the datagram is dealt with.
func (e *Engine) datagramResult(c *conn, err error) bool {
	switch {
	case err == nil:
		e.confirm(c)
	case err == observe.ErrDone:
		e.confirm(c)
		c.done = true
	case err == observe.ErrReversed && e.turn():
		e.in.Dir = e.in.Dir.Reverse()
		c.obs = nil
		return false
	default:
		e.violated(c)
		return false
	}
	return true
}

// start puts the observer of a protocol on a flow.
func (e *Engine) start(c *conn, i int) {
	c.obs, c.reader = e.observer(i), uint8(i+1)
	tentative := e.kinds[i].tentative
	if !c.named {
		c.proto = uint8(i + 1)
		c.named = !tentative
		c.late = !c.begun && !e.in.Datagram
	}
	if tentative && e.in.Announced == "" {
		e.doubt(c)
	}
}

// maxDoubtful bounds the flows whose protocol rests on a first packet that
// proves little: who has not proven itself while as many others began is given
// up. Real media take a tenth of a second.
const maxDoubtful = 4096

// doubt takes note of a doubtful flow, in the place of one that began long ago.
func (e *Engine) doubt(c *conn) {
	id := &e.doubts[e.doubted%maxDoubtful]
	if *id != 0 && *id != e.slot.id {
		e.unproven = append(e.unproven, *id)
	}
	*id = e.slot.id
	e.doubted++
	c.doubted = e.doubted
}

// giveUp ends the reading of a flow if it began as a doubtful one long ago, and
// has not proven itself until now.
func (e *Engine) giveUp(id flow.ID) {
	s := slot{Owner: e.stateOf(id), id: id}
	if s.Owner.conn == 0 {
		return
	}
	if c := e.conns[s.Owner.conn-1]; c.doubted != 0 && c.doubted+maxDoubtful <= e.doubted && !c.named && c.facts.Len() == 0 {
		c.obs, c.done = nil, true
		e.release(&s, c)
	}
}

// confirm names the flow by a tentative protocol once its observer reported
// something.
func (e *Engine) confirm(c *conn) {
	if !c.named && c.obs != nil && e.report.Changed {
		c.named = true
	}
}

// violated takes an observer off a flow that is not of its protocol.
func (e *Engine) violated(c *conn) {
	e.counts.violations++
	if c.reader != 0 {
		c.tried |= 1 << (c.reader - 1)
	}
	e.takeOff(c)
	if e.report.Len() == 0 {
		c.named = false
	}
}

// promising looks at the payload of a flow that is not being read, and says
// whether there may be something to read: most that is nothing known costs no
// conn.
func (e *Engine) promising(s *slot, p *capture.Packet, ev *flow.Event) bool {
	if len(p.Payload) == 0 {
		return false
	}
	sender := ev.Sender()
	handshake := s.Proto == capture.TCP && ev.What&flow.Begun != 0
	if handshake && ev.What&(flow.KnownA<<sender) != 0 && p.Seq != ev.Next[sender] {
		return true // not the first bytes: they have to be put in order
	}
	i, more := e.seek(s, 0, s.Owner.ends.Direction(sender), p.Payload, nil)
	e.sought = sought{p.Number, i, more}
	if i >= 0 || more && handshake {
		return true
	}
	// Somewhere in the middle any segment, and of datagrams any, may begin with
	// something that can be read, so a few are looked at.
	s.Owner.tries++
	if handshake || s.Owner.tries >= maxTries {
		e.quiet(s)
	}
	return false
}

// promise takes note of what a learned endpoint promises for a flow now.
func (e *Engine) promise(c *conn, s *slot) {
	c.media = e.endpoints.media
	client, server := s.ends()
	c.announced = e.announced(client, server, s.Proto)
}

// announced returns what a learned endpoint promises for a flow. Media come
// from either end.
func (e *Engine) announced(client, server *capture.Endpoint, proto uint8) string {
	a := ""
	if e.endpoints.ever(server.Port) {
		a = e.endpoints.announced(*server, proto, e.clock)
	}
	if a == "" && proto == capture.UDP && e.endpoints.ever(client.Port) {
		a = e.endpoints.announced(*client, proto, e.clock)
	}
	return a
}

// sought is what was found in the payload of the packet with a number.
type sought struct {
	number uint64
	found  int
	more   bool
}

// find looks for the protocol of bytes that one side of a flow sent, among
// those that have not said no.
func (e *Engine) find(c *conn, sender int, data, other []byte) (int, bool) {
	if e.sought.number == e.packet.Number && c.tried == 0 && len(other) == 0 && len(data) == len(e.packet.Payload) {
		e.sought.number = 0
		return e.sought.found, e.sought.more
	}
	return e.seek(&e.slot, c.tried, e.slot.Owner.ends.Direction(sender), data, other)
}

// seek looks for the protocol of a flow's first bytes; see detect.
func (e *Engine) seek(s *slot, tried uint64, dir observe.Direction, data, other []byte) (int, bool) {
	set, datagram := e.streams, s.Proto == capture.UDP
	if len(other) == 0 {
		set = e.beginning(datagram, dir, data)
	}
	if set &^= tried; set == 0 {
		return -1, false
	}
	f := &e.first
	client, server := s.ends()
	f.Datagram, f.Announced = datagram, e.announced(client, server, s.Proto)
	f.ClientPort, f.ServerPort = client.Port, server.Port
	return e.detect(set, dir, data, other)
}

// beginning returns the protocols that can begin with the first bytes of data.
func (e *Engine) beginning(datagram bool, dir observe.Direction, data []byte) uint64 {
	var can uint64
	if datagram {
		can = e.beginsUDP[data[0]]
	} else {
		if can = e.begins[dir][data[0]]; can == 0 {
			can = e.firstByte(dir, data[:1])
		}
		can &= e.streams
	}
	if can&e.text != 0 && len(data) > 2 && isText(data[0]) && !(isText(data[1]) && isText(data[2])) {
		can &^= e.text
	}
	return can
}

// isText says whether a byte is ASCII text.
func isText(b byte) bool { return b >= ' ' && b <= '~' || b == '\t' || b == '\r' || b == '\n' }

// detect looks for the protocol of first bytes, of the flow that first tells of:
// those of a set expected on the server's port first, then its others in order. It
// returns the protocol's index, or -1 and whether more bytes may tell.
func (e *Engine) detect(set uint64, dir observe.Direction, data, other []byte) (int, bool) {
	f := &e.first
	if dir == observe.ToServer {
		f.ToServer, f.ToClient = data, other
	} else {
		f.ToServer, f.ToClient = other, data
	}
	on := &e.onTCP
	if f.Datagram {
		on = &e.onUDP
	}
	expected := on.at(f.ServerPort) & set
	i, more := e.ask(expected, true)
	if i < 0 && !more {
		i, more = e.ask(set&^expected, false)
	}
	f.ToServer, f.ToClient = nil, nil
	return i, more
}

// ask asks a set of protocols in order.
func (e *Engine) ask(set uint64, onPort bool) (_ int, more bool) {
	e.first.OnPort = onPort
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(set)
		switch e.kinds[i].detect(&e.first) {
		case observe.Yes:
			return i, false
		case observe.More:
			more = true
		}
	}
	return -1, more
}

// met marks an entry of begins that was worked out.
const met = 1 << 63

// firstByte works out which protocols can begin one direction of a stream with
// a byte: one that refuses it refuses what begins with it.
func (e *Engine) firstByte(dir observe.Direction, data []byte) uint64 {
	can := uint64(met)
	f := observe.First{ClientPort: anyPort, ServerPort: anyPort}
	if dir == observe.ToServer {
		f.ToServer = data
	} else {
		f.ToClient = data
	}
	for i := range e.protocols {
		if e.streams&(1<<i) == 0 {
			continue
		}
		for _, f.OnPort = range [...]bool{true, false} {
			if e.protocols[i].Detect(&f) != observe.No {
				can |= 1 << i
			}
		}
	}
	e.begins[dir][data[0]] = can
	return can
}

// anyPort is one that no protocol expects.
const anyPort = 1024

// ports has a set of protocols for each port.
type ports struct {
	index [1 << 16]uint8 // into sets
	sets  []uint64       // the first is empty
}

// add adds a protocol to the set of a port.
func (p *ports) add(port uint16, bit uint64) {
	set := p.at(port) | bit
	i := slices.Index(p.sets, set)
	if i < 0 {
		i = len(p.sets)
		p.sets = append(p.sets, set)
	}
	p.index[port] = uint8(i)
}

// at returns the set of a port.
func (p *ports) at(port uint16) uint64 { return p.sets[p.index[port]] }

// offer takes bytes of one side in order, or the word that some are missing.
// It says whether more is wanted.
func (e *Engine) offer(c *conn, sender int, data []byte, gap int) bool {
	if c.done {
		return false
	}
	s := &c.streams[sender]
	if k := min(gap, s.skip); k > 0 {
		s.skip -= k
		gap -= k
	}
	if gap > 0 {
		e.lost(c, sender, gap)
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
		return e.look(c, sender, data)
	}
	if len(s.rest) > 0 {
		s.rest = append(s.rest, data...)
		data = s.rest
	}
	e.feed(c, sender, data)
	return !c.done
}

// lost tells the observer that bytes are missing.
func (e *Engine) lost(c *conn, sender, gap int) {
	s := &c.streams[sender]
	s.rest = s.rest[:0]
	if c.obs == nil {
		c.streams[1-sender].rest = c.streams[1-sender].rest[:0]
		c.begun, e.in.Handshake = false, false
		return
	}
	e.in.Dir, e.in.Data, e.in.Gap = e.slot.Owner.ends.Direction(sender), nil, gap
	_, err := c.obs.Observe(&e.in, &e.report)
	e.in.Gap = 0
	switch {
	case err == nil:
	case err == observe.ErrDone:
		c.done = true
	default:
		e.violated(c)
		c.begun, e.in.Handshake = false, false
	}
}

// look looks for the protocol of a stream.
func (e *Engine) look(c *conn, sender int, data []byte) bool {
	if !c.begun {
		// Somewhere in the middle: any segment may begin with something that can be
		// read, so each is looked at alone.
		if i, _ := e.find(c, sender, data, nil); i >= 0 {
			e.start(c, i)
			e.feed(c, sender, data)
			return !c.done
		}
		e.slot.Owner.tries++
		c.done = e.slot.Owner.tries >= maxTries
		return !c.done
	}
	s, other := &c.streams[sender], &c.streams[1-sender]
	if len(s.rest)+len(other.rest) == 0 {
		c.second = sender == 1
	}
	first := len(s.rest) == 0
	if !first {
		s.rest = append(s.rest, data...)
		data = s.rest
	}
	i, more := e.find(c, sender, data, other.rest)
	c.offers++
	if i >= 0 {
		e.start(c, i)
		e.replay(c, sender, data)
		return !c.done
	}
	if !more || c.offers >= maxFirstOffers || len(data) > maxFirstBytes {
		c.done = true
		return false
	}
	if first {
		s.rest = append(s.rest[:0], data...)
	}
	return true
}

// replay feeds a new observer what was seen before it was found, beginning
// with the side that spoke first.
func (e *Engine) replay(c *conn, sender int, data []byte) {
	var sides [2][]byte
	sides[sender], sides[1-sender] = data, c.streams[1-sender].rest
	for i := range c.streams {
		c.streams[i].rest = c.streams[i].rest[:0] // the bytes stay where they are until theirs are offered
	}
	first := 0
	if c.second {
		first = 1
	}
	for _, side := range [2]int{first, 1 - first} {
		if len(sides[side]) > 0 && !c.done {
			e.offer(c, side, sides[side], 0)
		}
	}
}

// feed offers bytes to the observer until it uses no more of them, and keeps
// the rest for the next offer. data may be the stream's rest itself.
func (e *Engine) feed(c *conn, sender int, data []byte) {
	n, err := e.show(c, sender, data)
	e.feedOn(c, sender, data, n, err)
}

// show offers bytes to the observer.
func (e *Engine) show(c *conn, sender int, data []byte) (int, error) {
	e.in.Dir, e.in.Data = e.slot.Owner.ends.Direction(sender), data
	e.in.Continues = e.continues(c, sender)
	return c.obs.Observe(&e.in, &e.report)
}

// feedOn goes on with what the observer said of data.
func (e *Engine) feedOn(c *conn, sender int, data []byte, n int, err error) {
	s := &c.streams[sender]
	for {
		if err != nil {
			if data = e.exception(c, sender, data, n, err); data == nil {
				s.rest = s.rest[:0]
				return
			}
		} else {
			if !c.named {
				e.confirm(c)
			}
			if n <= 0 {
				break
			}
			if n >= len(data) {
				s.skip = n - len(data)
				s.rest = s.rest[:0]
				return
			}
			data = data[n:]
		}
		n, err = e.show(c, sender, data)
	}
	if len(data) > maxHeldBytes {
		e.counts.streamHeld++
		c.done = true
		return
	}
	if cap(s.rest) == 0 {
		s.rest = make([]byte, 0, max(len(data), 512))
	}
	s.rest = append(s.rest[:0], data...)
}

// continues says whether the segment at hand acknowledges everything that was
// offered from the other side.
func (e *Engine) continues(c *conn, sender int) bool {
	p, other := e.packet, &c.streams[sender^1]
	return p.Ack == other.next && other.begun && p.Flags&capture.ACK != 0
}

// exception deals with what an observer said besides a number of bytes. It
// returns the bytes to offer next, nil for none.
func (e *Engine) exception(c *conn, sender int, data []byte, n int, err error) []byte {
	switch {
	case err == observe.ErrDone:
		e.confirm(c)
		c.done = true
		return nil
	case err == observe.ErrUpgrade:
		next := e.report.Next
		e.report.Next = ""
		for i := range e.protocols {
			if e.protocols[i].Name != next {
				continue
			}
			e.finish(c)
			c.obs, c.reader = e.observer(i), uint8(i+1)
			c.begun, e.in.Handshake = true, true // the new protocol starts here
			other := &c.streams[1-sender]
			if len(other.rest) > 0 {
				waiting := append([]byte(nil), other.rest...)
				other.rest = other.rest[:0]
				e.feed(c, 1-sender, waiting)
			}
			if n = max(n, 0); c.done || c.obs == nil || n >= len(data) {
				return nil
			}
			return data[n:]
		}
		c.done = true
		return nil
	case err == observe.ErrReversed && e.turn():
		c.obs = e.observer(int(c.reader - 1))
		return data
	default:
		e.violated(c)
		if i, _ := e.find(c, sender, data, nil); i >= 0 {
			e.start(c, i)
			return data
		}
		c.done = true
		return nil
	}
}
