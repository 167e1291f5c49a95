// Package flow turns packets into flows: it finds the flow of each packet,
// counts, tells client from server, follows TCP's set-up and end, and says when
// a flow is over. Time is packet time throughout.
package flow

import (
	"encoding/binary"
	"time"

	"github.com/exspan/exspan/capture"
)

// Idle time-outs in packet time. Windows sends TCP keep-alives every 2 h. What still
// comes of a closed connection are FINs and RSTs that are sent again: with pauses that
// double from 0.3 s on (RFC 6298 section 5), the sixth comes within 20 s.
const (
	EstablishedTimeout = 2*time.Hour + 10*time.Minute
	HalfOpenTimeout    = 30 * time.Second
	ClosedTimeout      = 30 * time.Second
	UDPTimeout         = 3 * time.Minute
)

const (
	// renewAfter is the silence after which a SYN with another initial sequence
	// number starts a new flow although no end was seen.
	renewAfter = int64(2 * time.Second)
	// AnswerTimeout is how long a SYN may wait before it counts as unanswered.
	AnswerTimeout = int64(3 * time.Second)
	// soon is the number of seconds in which no flow times out, half-open or not.
	soon = uint32(min(HalfOpenTimeout, ClosedTimeout) / time.Second)
)

// The bits of Flow.Seen.
const (
	SeenSYN      = 1 << iota // a SYN without ACK
	SeenSYNACK               // a SYN with ACK
	SeenFinA                 // a FIN from A
	SeenFinB                 // a FIN from B
	SeenRST                  // an RST
	SeenRefused              // an RST in answer to the SYN
	SeenPayloadA             // payload from A
	SeenPayloadB             // payload from B
	SeenNextA                // next[0] is valid
	SeenNextB                // next[1] is valid
	SeenBegun                // the begin of the streams: a SYN, with ACK or without
	SeenSYNAgain             // a second SYN without ACK
	seenSYNByB               // the SYN came from B
	quiet                    // nobody wants the payload
	usualA                   // a packet of A may be a usual one; see usual
	usualB                   // a packet of B

	SeenPayload = SeenPayloadA | SeenPayloadB // any payload
)

// Flow is one flow: flat, without pointers, owned by its Table. It is two lines
// of the processor's cache long and lies on them: what says whose a packet is and
// what is known of the flow, then what is counted.
type Flow struct {
	// Sides are the flow's ends: A, which sent the first packet, then B.
	Sides [2]capture.Endpoint
	Proto uint8 // capture.TCP, capture.UDP or capture.ESP
	class class
	// Seen is a set of Seen bits.
	Seen uint16
	// VLANs is the tag stack of the first packet.
	VLANs capture.VLANs
	// seen is the table's clock at the last packet, in seconds since its base.
	seen uint32
	// next is the sequence number behind the highest byte seen, by sender.
	next [2]uint32
	// setup is the time from SYN to SYN-ACK in microseconds; 0 when not seen.
	setup uint32

	// First and Last are the times of the earliest and latest packet, in
	// nanoseconds since the Unix epoch.
	First, Last int64
	// packets, bytes and gaps are counted by sender: A, then B.
	packets, bytes [2]uint64
	gaps           [2]uint32
	// Number is the number of the first packet.
	Number uint64
}

// cold is the part of a flow that few packets need. It is stored apart from Flow.
type cold struct {
	isn uint32
	// prev and link chain the flow into a bucket of the timer wheel. Once it has ended,
	// link chains it into the list of held or of free slots, and prev is the second
	// since which it is held.
	prev, link uint32
	bucket     uint16
	tunnel     capture.TunnelID // of the first packet
}

type class uint8

const (
	classNone class = iota // the flow has ended
	classHalfOpen
	classEstablished
	classClosed
	classUDP
	classResetA // by A
	classResetB
)

// timeouts in seconds, by class.
var timeouts = [...]uint32{
	classHalfOpen:    uint32(HalfOpenTimeout / time.Second),
	classEstablished: uint32(EstablishedTimeout / time.Second),
	classClosed:      uint32(ClosedTimeout / time.Second),
	classUDP:         uint32(UDPTimeout / time.Second),
	classResetA:      uint32(ClosedTimeout / time.Second),
	classResetB:      uint32(ClosedTimeout / time.Second),
}

// Packets returns the number of packets of a sender, 0 for A and 1 for B. A
// datagram that was reassembled from fragments is one.
func (f *Flow) Packets(sender int) uint64 { return f.packets[sender] }

// Bytes returns the IP bytes of a sender.
func (f *Flow) Bytes(sender int) uint64 { return f.bytes[sender] }

// GapBytes returns the TCP payload bytes of a sender that were never seen.
func (f *Flow) GapBytes(sender int) uint64 { return uint64(f.gaps[sender]) }

// SetupTime returns the time from SYN to SYN-ACK, or 0 when not both were seen.
func (f *Flow) SetupTime() time.Duration { return time.Duration(f.setup) * time.Microsecond }

// BothWays reports whether packets were seen in both directions.
func (f *Flow) BothWays() bool { return f.packets[0] > 0 && f.packets[1] > 0 }

// Live reports whether the flow has not ended. A place without a flow is not live.
func (f *Flow) Live() bool { return f.class != classNone }

// Begun reports whether the begin of the streams was seen: payload that was read
// starts at their first byte.
func (f *Flow) Begun() bool { return f.Seen&SeenBegun != 0 }

// usual marks the senders whose packets Follow may take the short way from now on:
// not the first packet of either end, and of TCP, only those that continue bytes
// that were seen, on a connection that is set up.
func (f *Flow) usual() {
	if f.class == classHalfOpen {
		return
	}
	if finAlone(f.Seen, 0) || finAlone(f.Seen, 1) {
		f.Seen &^= usualA | usualB
		return
	}
	usual := uint16(usualA)
	if f.packets[1] > 0 {
		usual |= usualB
	}
	if f.Proto == capture.TCP {
		usual &= f.Seen & (SeenNextA | SeenNextB) * (usualA / SeenNextA)
		if f.class >= classResetA { // what its sender still sends is no usual packet
			usual &^= usualA << (f.class - classResetA)
		}
	}
	f.Seen |= usual
}

// finAlone reports whether a set of Seen bits has a FIN of a sender and no payload: the
// FIN may have overtaken the payload, so it does not tell where that begins.
func finAlone(seen uint16, sender int) bool {
	return seen&(SeenFinA|SeenPayloadA)<<sender == SeenFinA<<sender
}

// sender returns the sender of a packet, 0 for A and 1 for B, and whether the packet
// belongs to the flow.
func (f *Flow) sender(p *capture.Packet, proto uint8) (sender int, ok bool) {
	there := differ(&f.Sides[0], &p.Src) | differ(&f.Sides[1], &p.Dst)
	back := differ(&f.Sides[0], &p.Dst) | differ(&f.Sides[1], &p.Src)
	if there != 0 {
		sender, there = 1, back
	}
	return sender, there|uint64(f.Proto^proto) == 0
}

// differ compares two ends in three loads, where == calls a function. It returns
// 0 for the same end.
func differ(a, b *capture.Endpoint) uint64 {
	return uint64(a.Port^b.Port) | lower(&a.Addr) ^ lower(&b.Addr) | upper(&a.Addr) ^ upper(&b.Addr)
}

// upper and lower are the halves of an address, as numbers.
func upper(a *capture.Addr) uint64 { return binary.NativeEndian.Uint64(a[:8]) }
func lower(a *capture.Addr) uint64 { return binary.NativeEndian.Uint64(a[8:]) }

// sequence follows the sequence numbers of a TCP segment and counts what is
// missing. A hole is counted when it opens and taken back as far as later
// segments fill it.
func (t *Table) sequence(f *Flow, sender int, p *capture.Packet) {
	n := p.PayloadLength
	if p.Flags&capture.SYN != 0 {
		n++
	}
	if p.Flags&capture.FIN != 0 {
		n++
	}
	if n == 0 {
		return
	}
	have := uint16(SeenNextA) << sender
	end := p.Seq + n
	if f.Seen&have == 0 {
		f.Seen |= have
		f.next[sender] = end
		return
	}
	switch d := int32(p.Seq - f.next[sender]); {
	case d == 0:
		f.next[sender] = end
	case d > 0:
		if p.Flags&(capture.RST|capture.SYN) == 0 && d < 1<<30 {
			f.gaps[sender] += uint32(d)
			t.Missing += uint64(d)
		}
		f.next[sender] = end
	default:
		if int32(end-f.next[sender]) > 0 {
			f.next[sender] = end
		} else if g := f.gaps[sender]; g > 0 && p.PayloadLength > 1 {
			late := min(g, p.PayloadLength)
			f.gaps[sender] = g - late
			t.Late += uint64(late)
		}
	}
}
