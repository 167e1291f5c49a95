package flow

import (
	"slices"

	"github.com/exspan/exspan/capture"
)

// The bits of Event.What.
const (
	New        = 1 << iota      // the packet is the first of its flow
	SYN                         // a SYN without ACK
	SYNACK                      // a SYN with ACK
	Answer                      // the first packet of B
	OtherVLAN                   // the packet's tag stack is not the first packet's
	Reset                       // an RST
	Refused                     // the flow was refused, by an RST or by ICMP port unreachable
	Prohibited                  // an ICMP error says that the flow is administratively prohibited
	KnownA     = SeenNextA      // Next[0] is valid
	KnownB     = SeenNextB      // Next[1] is valid
	Begun      = SeenBegun      // the begin of the streams was seen
	Closed     = 1 << iota      // both ends have sent a FIN now
	Ended                       // the flow is over; there is no packet
	Second                      // another second began; there is no flow
	Quote                       // an ICMP error that quotes a packet of the flow
	fromB      = 1 << senderBit // B sent the packet
)

// senderBit is the position of the sender in Event.What.
const senderBit = 15

// Event is what a reader of flows has to know of a packet.
type Event struct {
	ID     ID
	What   uint16
	Packet uint16 // its index in the batch
	// Next holds the sequence numbers that would have continued the streams of A
	// and B before the packet.
	Next [2]uint32
	// Clock is the packet time then; see Table.Clock.
	Clock int64
	_     int64 // fills 32 bytes: places in a list of events are then found in fewer steps
}

// Sender returns the sender of the packet, 0 for A and 1 for B; of an ICMP error,
// the sender of the packet that it quotes.
func (e *Event) Sender() int { return int(e.What / fromB) }

// Follow tracks the packets of a batch, of less than 65,536, from the one with the
// index first on. It appends what has to be known of each: the flows that it ended,
// then the packet itself if it says anything new about its flow, carries payload
// that is wanted, or if Every is set. What Warm found helps where batches are
// warmed from their begin, WarmSize packets at a time, each run before it is
// followed.
//
// Nearly all packets are of a live flow, and what was to come next there. Those are
// dealt with here, in few steps, all others by followAny, which could do it for any.
func (t *Table) Follow(batch []capture.Packet, first int, events []Event) []Event {
	t.Packets += uint64(len(batch) - first)
	// Beyond the events there are, the next one is put where there is room, and counts
	// if it is wanted.
	n, room := len(events), events[:cap(events)]
	for i := max(first, 0); i < len(batch); i++ {
		if n == len(room) {
			room = append(room, Event{})
			room = room[:cap(room)]
		}
		p := &batch[i]
		id, f := t.hints[uint(i)%WarmSize], t.hinted[uint(i)%WarmSize]
		// Packets go there and back, and with payload and without, in no order that a
		// processor could guess: no branch depends on it.
		sender, other := 0, 1
		if lower(&p.Src.Addr) != lower(&f.Sides[0].Addr) {
			sender, other = 1, 0
		}
		src, dst := &f.Sides[sender], &f.Sides[other]
		known := ID(0)
		if id != 0 && p.Src.Port == src.Port && p.Dst.Port == dst.Port && p.Src.Addr == src.Addr && p.Dst.Addr == dst.Addr && p.Proto == f.Proto && p.VLANs == f.VLANs {
			known = id
			now, length, seen := p.Time, p.PayloadLength, f.Seen
			if now >= t.clock.now && now < t.clock.until && t.clock.tick-f.seen < soon && seen&(usualA<<sender) != 0 &&
				p.Flags&(capture.SYN|capture.FIN|capture.RST) == 0 && (p.Seq == f.next[sender] || length == 0) {
				bytes := uint64(p.Length)
				t.IPBytes += bytes
				f.bytes[sender] += bytes
				f.packets[sender]++
				t.clock.now, f.Last, f.seen = now, now, t.clock.tick
				payload := uint16(0)
				if length > 0 {
					payload = 1
				}
				f.Seen = seen | payload*SeenPayloadA<<sender
				ev := &room[n]
				ev.ID, ev.Packet, ev.What = id, uint16(i), seen&(KnownA|KnownB|Begun)|uint16(sender<<senderBit)
				ev.Next, ev.Clock = f.next, now
				wanted := payload &^ (seen / quiet)
				if t.Every {
					wanted = 1
				}
				n += int(wanted)
				if p.Proto != capture.TCP { // whose Seq and next stay 0
					length = 0
				}
				f.next[sender] += length
				continue
			}
		}
		t.events = room[:n]
		t.followAny(p, known, sender, i)
		n, room = len(t.events), t.events[:cap(t.events)]
	}
	t.events = nil
	return room[:n]
}

// event returns a place for the next event, with all fields to be set.
func (t *Table) event() *Event {
	k := len(t.events)
	if k < cap(t.events) {
		t.events = t.events[:k+1]
	} else {
		t.events = append(t.events, Event{})
	}
	return &t.events[k]
}

// followAny follows any packet: one of the live flow id, sent by sender, or if id is 0,
// of one that has to be found.
func (t *Table) followAny(p *capture.Packet, id ID, sender, index int) {
	t.IPBytes += uint64(p.Length)
	tick := t.clock.tick
	if p.Proto == capture.ICMP || p.Proto == capture.ICMPv6 {
		id, sender, what := t.Quoted(p)
		t.passed(tick)
		if what != 0 || t.Every {
			t.events = append(t.events, Event{ID: id, What: what | Quote | uint16(sender<<senderBit), Packet: uint16(index), Clock: t.clock.now})
		}
		return
	}
	id, f, sender, isNew := t.track(p, id, sender)
	if t.clock.tick != tick || len(t.ended) > 0 {
		t.passed(tick)
	}
	f.usual()
	what := uint16(0)
	if isNew {
		what = New
	} else {
		if sender == 1 && f.packets[1] == 1 {
			what = Answer
		}
		if p.VLANs != f.VLANs {
			what |= OtherVLAN
		}
	}
	if p.Proto == capture.TCP && (p.Flags&(capture.RST|capture.SYN) != 0 || t.closed) {
		switch {
		case p.Flags&capture.RST != 0:
			what |= Reset
			if f.Seen&SeenRefused != 0 {
				what |= Refused
			}
		case p.Flags&capture.SYN == 0:
		case p.Flags&capture.ACK == 0:
			what |= SYN
		default:
			what |= SYNACK
		}
		if t.closed {
			what |= Closed
		}
	}
	if what == 0 && !t.Every && (p.PayloadLength == 0 || f.Seen&quiet != 0) {
		return
	}
	known := t.before.seen & (KnownA | KnownB)
	for side := 0; side < 2 && t.before.seen&(SeenFinA|SeenFinB) != 0; side++ {
		if finAlone(t.before.seen, side) {
			known &^= KnownA << side
		}
	}
	ev := t.event()
	ev.ID, ev.Packet, ev.What = id, uint16(index), what|f.Seen&Begun|known|uint16(sender<<senderBit)
	ev.Next, ev.Clock = t.before.next, t.clock.now
}

// Idle moves the clock where nothing arrives; now is the time in nanoseconds
// since the Unix epoch.
func (t *Table) Idle(now int64, events []Event) []Event {
	tick := t.clock.tick
	t.events = events
	t.Advance(now)
	t.passed(tick)
	events, t.events = t.events, nil
	return events
}

// passed tells what the passing of time brought, in order of the flows' first
// packets.
func (t *Table) passed(tick uint32) {
	if len(t.ended) > 1 {
		t.sort(t.ended)
	}
	t.events = slices.Grow(t.events, len(t.ended)+1) // at once, as there can be very many
	for _, id := range t.ended {
		t.events = append(t.events, Event{ID: id, What: Ended, Clock: t.clock.now})
	}
	t.ended = t.ended[:0]
	if t.clock.tick != tick {
		t.events = append(t.events, Event{What: Second, Clock: t.clock.now})
	}
}

// Quoted finds the live flow that an ICMP error quotes, and the sender of the
// quoted packet. It says what the error means for a flow whose client sent
// that packet: Prohibited (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1),
// Refused (port unreachable), or nothing, as where the other end has answered.
// The ID is 0 when no such flow is known.
func (t *Table) Quoted(p *capture.Packet) (id ID, sender int, what uint16) {
	t.advance(p.Time)
	id, sender = t.find(p, p.Quoted)
	if id == 0 {
		return 0, 0, 0
	}
	// Only an answer to what the client sent says anything about the path.
	if f := t.At(id); f.Seen&SeenSYNACK != 0 || f.packets[1-sender] > 0 {
		return id, sender, 0
	}
	switch {
	case p.Proto == capture.ICMP && p.ICMPType == 3 && (p.ICMPCode == 9 || p.ICMPCode == 10 || p.ICMPCode == 13),
		p.Proto == capture.ICMPv6 && p.ICMPType == 1 && (p.ICMPCode == 1 || p.ICMPCode == 5 || p.ICMPCode == 6):
		what = Prohibited
	case p.Proto == capture.ICMP && p.ICMPType == 3 && p.ICMPCode == 3,
		p.Proto == capture.ICMPv6 && p.ICMPType == 1 && p.ICMPCode == 4:
		what = Refused
	}
	return id, sender, what
}
