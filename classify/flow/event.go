package flow

import "github.com/exspan/exspan/capture"

// The bits of Event.What.
const (
	New        = 1 << iota // the packet is the first of its flow
	SYN                    // a SYN without ACK
	SYNACK                 // a SYN with ACK
	Answer                 // the first packet of B
	OtherVLAN              // the packet's tag stack is not the first packet's
	Reset                  // an RST
	Refused                // the flow was refused, by an RST or by ICMP port unreachable
	Prohibited             // an ICMP error says that the flow is administratively prohibited
	Closed                 // both ends have sent a FIN now
	Ended                  // the flow is over; there is no packet
	Second                 // another second began; there is no flow
	Begun                  // the begin of the streams was seen
	KnownA                 // Next[0] is valid
	KnownB                 // Next[1] is valid
	Quote                  // an ICMP error that quotes a packet of the flow
	fromB                  // B sent the packet
)

// Event is what somebody who reads flows has to know of a packet.
type Event struct {
	ID     ID
	What   uint16
	Packet uint16 // its index in the batch
	// Next holds the sequence numbers that would have continued the streams of A
	// and B before the packet.
	Next [2]uint32
	// Clock is the highest packet time until then.
	Clock int64
}

// Sender returns who sent the packet, 0 for A and 1 for B; of an ICMP error, who
// sent what it quotes.
func (e *Event) Sender() int { return int(e.What / fromB) }

// Follow tracks a packet and appends what has to be known: the flows that it
// ended, then the packet itself if it says anything new about its flow, carries
// payload that is wanted, or if Every is set. index is the packet's place in its
// batch, less than 65,536. What Warm found helps where batches are warmed from
// their begin, WarmSize packets at a time, each run before it is followed.
func (t *Table) Follow(p *capture.Packet, index int, events []Event) []Event {
	tick := t.tick
	t.Packets++
	t.IPBytes += uint64(p.Length)
	if p.Proto == capture.ICMP || p.Proto == capture.ICMPv6 {
		id, sender, what := t.Quoted(p)
		events = t.passed(tick, events)
		if what != 0 || t.Every {
			events = append(events, Event{ID: id, What: what | Quote | uint16(sender)*fromB, Packet: uint16(index), Clock: t.clock})
		}
		return events
	}
	id, f, sender, isNew := t.track(p, t.hints[uint(index)%WarmSize])
	if t.tick != tick || len(t.ended) > 0 {
		events = t.passed(tick, events)
	}
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
		return events
	}
	if f.Seen&(SeenSYN|SeenSYNACK) != 0 {
		what |= Begun
	}
	what |= (t.before.seen&(SeenNextA|SeenNextB))/SeenNextA*KnownA | uint16(sender)*fromB
	return append(events, Event{ID: id, What: what, Packet: uint16(index), Next: t.before.next, Clock: t.clock})
}

// Idle moves the clock where nothing arrives; now is the time in nanoseconds
// since the Unix epoch.
func (t *Table) Idle(now int64, events []Event) []Event {
	tick := t.tick
	t.Advance(now)
	return t.passed(tick, events)
}

// passed appends what the passing of time brought, in order of the flows'
// first packets.
func (t *Table) passed(tick uint32, events []Event) []Event {
	if len(t.ended) > 1 {
		t.sort(t.ended)
	}
	for _, id := range t.ended {
		events = append(events, Event{ID: id, What: Ended, Clock: t.clock})
	}
	t.ended = t.ended[:0]
	if t.tick != tick {
		events = append(events, Event{What: Second, Clock: t.clock})
	}
	return events
}

// Quoted finds the live flow that an ICMP error quotes, and the sender of the
// quoted packet. It says what the error means for a flow whose client sent
// that packet: Prohibited (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1),
// Refused (port unreachable), or nothing, as where the other end has answered.
// The ID is 0 when no such flow is known.
func (t *Table) Quoted(p *capture.Packet) (id ID, sender int, what uint16) {
	t.Advance(p.Time)
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
