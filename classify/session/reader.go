package session

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
)

// Config tells a Reader what to read and how much to hold.
type Config struct {
	// Protocols are the protocols to look for, in order of priority; at most 63.
	Protocols []observe.Protocol
	// Announced returns the service that a learned endpoint promises for a flow
	// now, or "".
	Announced func(client, server *capture.Endpoint, proto uint8) string
	// Identities lets observers keep principals and names.
	Identities bool
	// MaxConns bounds the flows whose content is read at a time, MaxBuffered the
	// bytes that their streams and observers hold, and MaxFactBytes those of what was
	// read of all flows.
	MaxConns, MaxBuffered, MaxFactBytes int
}

// Counts counts what limits refused and what observers gave up on.
type Counts struct {
	Conns      uint64 // flows not read, or not read on, because MaxConns were read
	StreamHeld uint64 // flows not read on because an observer wanted to hold too much
	Buffered   uint64 // flows not read on because MaxBuffered was reached
	Violations uint64 // observers that found another protocol
	// Unrecognised counts flows that were given up because they sent what no
	// observer knows, again and again.
	Unrecognised uint64
	Facts        uint64 // fact values refused or dropped
}

// Reader reads the content of flows. It is used by one goroutine.
type Reader struct {
	Counts
	// Announcements counts what may change the answer of Config.Announced for UDP
	// endpoints. The owner keeps it up to date; while it stays the same, a flow is
	// not asked about again.
	Announcements uint32
	// Quiet lists the flows of which nothing more is read. The owner takes them
	// away.
	Quiet []flow.ID

	cfg       Config
	detect    *detector
	observers []pool // by protocol
	lists     *observe.FactLists
	conns     conns
	contents  contents
	doubts    doubts
	buffered  int // bytes that streams and observers hold
	ending    bool
	squeezed  bool // facts of conversations were dropped

	at      hand
	in      observe.Input
	report  observe.Report
	heard   Heard
	deliver [2]deliver // by sender, to the flow at hand
}

// hand is the flow at hand.
type hand struct {
	id    flow.ID
	state *State
	conn  *conn
	proto uint8
	// sides are the flow's ends: A, then B.
	sides [2]*capture.Endpoint
	// packet is the packet that is read, and dir its direction. There is none when
	// the flow has ended.
	packet *capture.Packet
	dir    observe.Direction
	// ack is that of the segment that brought the bytes at hand.
	ack ack
}

// ends returns the client's end and the server's.
func (h *hand) ends() (client, server *capture.Endpoint) {
	side := h.state.Ends.Side(observe.ToServer)
	return h.sides[side], h.sides[1-side]
}

// NewReader returns a Reader.
func NewReader(cfg Config) (*Reader, error) {
	if len(cfg.Protocols) > 63 {
		return nil, errors.New("more than 63 protocols")
	}
	r := &Reader{cfg: cfg, detect: newDetector(cfg.Protocols), lists: observe.NewFactLists()}
	r.observers = make([]pool, len(cfg.Protocols))
	for i, p := range cfg.Protocols {
		o := p.New()
		_, finishes := o.(observe.Finisher)
		_, holds := o.(observe.Holder)
		r.observers[i] = pool{new: p.New, renew: p.Renew, tentative: p.Tentative, finishes: finishes, holds: holds}
	}
	r.conns.max = cfg.MaxConns
	r.report.Identities = cfg.Identities
	r.in.Flow = r.addresses
	for sender := range r.deliver {
		r.deliver[sender] = func(data []byte, gap int, a ack) bool {
			r.at.ack = a
			return r.offer(r.at.conn, sender, data, gap)
		}
	}
	return r, nil
}

// addresses returns the ends of the flow at hand for observers.
func (r *Reader) addresses() (client, server netip.AddrPort) {
	p := r.at.packet
	switch {
	case p == nil:
		c, s := r.at.ends()
		return c.AddrPort(), s.AddrPort()
	case r.at.dir == observe.ToServer:
		return p.Src.AddrPort(), p.Dst.AddrPort()
	}
	return p.Dst.AddrPort(), p.Src.AddrPort()
}

// hold makes the flow of a packet the one at hand.
func (r *Reader) hold(p *capture.Packet, ev *flow.Event, st *State) {
	h := &r.at
	h.id, h.state, h.proto = ev.ID, st, p.Proto
	h.sides = [2]*capture.Endpoint{&p.Src, &p.Dst}
	if ev.Sender() == 1 {
		h.sides = [2]*capture.Endpoint{&p.Dst, &p.Src}
	}
}

// open makes a packet of the flow of a conn the one that is read. data is what
// is to be shown of it, and dir its direction.
func (r *Reader) open(c *conn, p *capture.Packet, data []byte, dir observe.Direction) {
	r.at.packet, r.at.dir = p, dir
	c.number = p.Number
	in := &r.in
	in.Dir, in.Time, in.Number, in.Handshake = dir, p.Time, p.Number, c.begun
	in.Data, in.Announced = data, c.announced
	r.report.Facts = c.facts
}

// Read reads the payload of a packet. st is the state of its flow. It returns
// what the flow has told, nil for nothing new.
func (r *Reader) Read(p *capture.Packet, ev *flow.Event, st *State) *Heard {
	r.hold(p, ev, st)
	sender := ev.Sender()
	st.flags |= spokeA << sender
	var c *conn
	if st.conn != 0 {
		c = r.conns.at(st.conn)
		if p.Proto == capture.UDP && c.announced == "" && c.asked != r.Announcements {
			r.askAnnounced(c)
		}
		if p.Proto == capture.UDP && c.obs == nil && !st.search.next(sender, p.Time) {
			return nil
		}
	} else {
		if !r.promising(p, ev) {
			return nil
		}
		if c = r.newConn(p, ev); c == nil {
			return nil
		}
		if r.startsWith(c, sender, p) {
			return r.conclude(c)
		}
	}
	if p.Proto == capture.TCP && c.streams[sender].passOver(p) {
		c.number = p.Number
		return nil
	}
	r.at.conn = c
	r.open(c, p, p.Payload, st.Ends.Direction(sender))
	if c.obs != nil && r.conns.contradicted(c, sender, p) {
		c.obs.(observe.Rereader).Again(&r.in, &r.report)
		return r.conclude(c)
	}
	if p.Proto == capture.UDP {
		r.datagram(c, sender, p)
	} else {
		r.in.Datagram, r.in.Cut = false, false
		if int(p.PayloadLength) > len(p.Payload) {
			c.flags |= wasCut
		}
		c.streams.push(sender, p, &r.deliver)
	}
	return r.conclude(c)
}

// Sealed names a flow of ESP, of whose content nothing can be read.
func (r *Reader) Sealed(ev *flow.Event, st *State) {
	if st.Done() {
		return
	}
	if i := r.protocol("esp"); i >= 0 {
		st.proto = uint8(i + 1)
	}
	facts := r.lists.Empty()
	facts.Add(observe.Encryption, "esp")
	r.replaceFacts(&r.contents.of(st).facts, &facts)
	r.quietFlow(ev.ID, st)
}

// protocol returns the index of the protocol with a name, or -1.
func (r *Reader) protocol(name string) int {
	for i := range r.cfg.Protocols {
		if r.cfg.Protocols[i].Name == name {
			return i
		}
	}
	return -1
}

// Closed is to be called for the packet with which both ends of a connection
// have sent their FIN. The flow is read no further if nothing of it is missing.
func (r *Reader) Closed(p *capture.Packet, ev *flow.Event, st *State) *Heard {
	if st.conn == 0 {
		return nil
	}
	c := r.conns.at(st.conn)
	end := ev.Next
	end[ev.Sender()] = p.Seq + p.PayloadLength + 1
	for i := range c.streams {
		if s := &c.streams[i]; s.hole != nil || s.begun && s.next+1 != end[i] {
			return nil
		}
	}
	r.hold(p, ev, st)
	r.open(c, p, p.Payload, st.Ends.Direction(ev.Sender()))
	c.done = true
	return r.conclude(c)
}

// End delivers what waited for missing bytes of a flow that has ended, and ends
// its reading.
func (r *Reader) End(id flow.ID, f *flow.Flow, st *State) *Heard {
	if st.conn == 0 {
		return nil
	}
	c := r.conns.at(st.conn)
	a, b := &f.Sides[0], &f.Sides[1]
	dir := st.Ends.Direction(0)
	r.at = hand{id: id, state: st, conn: c, proto: f.Proto, sides: [2]*capture.Endpoint{a, b}, dir: dir}
	r.in = observe.Input{Dir: dir, Time: f.Last, Number: c.number, Handshake: c.begun, Announced: c.announced,
		Datagram: f.Proto == capture.UDP, Flow: r.in.Flow}
	r.report.Facts = c.facts
	c.streams.flush(&r.deliver)
	r.finish(c)
	h := r.gather(c, true)
	r.release(c, h)
	return h
}

// EndAll is to be called before the last flows end: what they used is not kept
// for others.
func (r *Reader) EndAll() { r.ending = true }

// conclude settles what came of a packet that was read, and returns what its
// flow has told.
func (r *Reader) conclude(c *conn) (h *Heard) {
	if r.at.state.conn != 0 { // else the conn was given back
		r.account(c)
		if c.done {
			r.finish(c)
		}
		if c.done || r.report.News() {
			h = r.gather(c, c.done)
		}
		if r.contents.bytes > r.cfg.MaxFactBytes {
			r.shed(c)
		}
		if c.done || c.idle() {
			r.release(c, h)
		}
	}
	if len(r.doubts.due) > 0 {
		r.endDoubts()
	}
	return h
}

// gather takes what observers reported away from the report. It returns nil if
// that is nothing. last reports whether the reading of the flow ends.
func (r *Reader) gather(c *conn, last bool) *Heard {
	from, h := &r.report, &r.heard
	// Facts that were told before the server spoke are told again at the end.
	again := last && c.named && int(c.weighed) < c.facts.Len() && r.serverSpoke()
	if !from.News() && len(from.Streams) == 0 && !again {
		return nil
	}
	client, server := r.at.ends()
	h.ID, h.Client, h.Server, h.Proto = r.at.id, *client, *server, r.at.proto
	h.Time, h.Number, h.Tunnel, h.Ended = r.in.Time, r.in.Number, 0, r.at.packet == nil
	if !h.Ended {
		h.Tunnel = r.at.packet.Tunnel
	}
	h.ServerSpoke = r.serverSpoke()
	h.Facts, h.Changed, h.Protocol, h.Weighed = &from.Facts, from.Changed || again, 0, int(c.weighed)
	if c.named {
		h.Protocol = c.proto
	}
	if h.Changed {
		from.Changed = false
		r.keepFacts(c)
	}
	if len(from.Endpoints) > 0 && h.Proto == capture.TCP && !h.Ended {
		r.keepTaught(c, r.at.packet)
	}
	h.Streams, from.Streams = from.Streams, nil
	// Mostly there were facts alone, both before and now, so all other lists are empty.
	if learned := from.Learned(); learned || h.learned {
		h.learned = learned
		// The report gets the room of what was told before.
		clear(h.Endpoints)
		clear(h.Calls)
		h.Endpoints, from.Endpoints = from.Endpoints, h.Endpoints[:0]
		h.Calls, from.Calls = from.Calls, h.Calls[:0]
		h.Rejected, from.Rejected = from.Rejected, h.Rejected[:0]
		h.Names, from.Names = from.Names, h.Names[:0]
		h.Ties, from.Ties = from.Ties, h.Ties[:0]
	}
	return h
}

// serverSpoke reports whether the server of the flow at hand has sent payload.
func (r *Reader) serverSpoke() bool {
	return r.at.state.Spoke(r.at.state.Ends.Side(observe.ToClient))
}

// keepTaught keeps the segment with which an observer learned endpoints, if it may
// be offered others in its place.
func (r *Reader) keepTaught(c *conn, p *capture.Packet) {
	sender := r.at.state.Ends.Side(r.at.dir)
	s := &c.streams[sender]
	if _, ok := c.obs.(observe.Rereader); ok && !r.conns.contradicted(c, sender, p) && s.next == sequence(p)+p.PayloadLength && r.report.Endpoints[0].Source != observe.FromBind {
		if r.conns.taught == nil {
			r.conns.taught = map[uint32]taughtBy{}
		}
		r.conns.taught[c.state.conn] = taughtBy{sender, sequence(p), bytes.Clone(p.Payload)}
		c.flags |= hasTaught
	}
}

// keepFacts takes the facts of the report over to a conn.
func (r *Reader) keepFacts(c *conn) {
	r.replaceFacts(&c.facts, &r.report.Facts)
	if c.named && r.serverSpoke() {
		c.weighed = uint8(c.facts.Len())
	}
}

// Amended takes over the facts that were added to those of h.
func (r *Reader) Amended(h *Heard) {
	h.Facts.Changed = false
	st := r.at.state
	switch {
	case st.conn != 0:
		r.keepFacts(r.conns.at(st.conn))
	case st.content != 0:
		r.replaceFacts(&r.contents.at(st.content).facts, h.Facts)
	}
}

// Reading returns the number of flows whose content is being read.
func (r *Reader) Reading() int { return r.conns.used() }

// Buffered returns the number of bytes that streams and observers hold.
func (r *Reader) Buffered() int { return r.buffered }

// FactBytes returns the number of bytes that is held of what was read of flows.
func (r *Reader) FactBytes() int { return r.contents.bytes }
