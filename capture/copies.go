package capture

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// DuplicateWindow is the usual time within which a second frame with the same
// packet is a copy that the mirror made, and no packet of its own: a switch that
// mirrors both directions of a port, two VLANs, or both sides of a router shows
// frames twice, some microseconds to a millisecond apart. No host sends a segment
// again that soon, and none sends two datagrams that are alike.
const DuplicateWindow = 2 * time.Millisecond

const (
	// recentBits says how many packets are remembered, two in each place: more than
	// there are in the window at a million a second.
	recentBits = 11
	// Looking at a packet costs half as much as decoding it, so packets are looked at
	// as long as copies show: the first watchFirst, watchOn after each copy, and
	// watchAgain after each watchPause. The begin and the end of connections always are.
	watchFirst = 1 << 12
	watchOn    = 1 << 18
	watchAgain = 1 << 10
	watchPause = 1 << 16
	// mirrorsTwice is how many copies within mirrorsTime of each other prove that a link
	// shows frames twice, so that an acknowledgement without an IP identification may be
	// a copy. A quiet link is silent for many seconds between two connections.
	mirrorsTwice = 4
	mirrorsTime  = int64(time.Minute)
	// tickBits is the resolution of remembered times: 2^tickBits ns, some 8 us.
	tickBits = 13
)

// copies recognises copies of packets.
type copies struct {
	window int64 // nanoseconds; 0 is off
	// watch counts packets down: while it is more than watchPause all are looked at.
	watch  int
	proven int   // copies within mirrorsTime of each other
	last   int64 // time of the last copy
	// recent holds what was seen: from the lowest bit, the print of the packet (32 bits),
	// that of the way that it came (8), and its time (24).
	recent [1 << recentBits][2]uint64
}

// newCopies returns what recognises copies within a window; 0 is off.
func newCopies(window time.Duration) copies {
	return copies{window: int64(window), watch: watchPause + watchFirst}
}

// watching reports whether every packet is to be looked at, and not only those that
// begin or end a connection.
func (c *copies) watching() bool { return c.watch > watchPause && c.window != 0 }

// passed counts packets that were read.
func (c *copies) passed(n int) {
	if c.watch -= n; c.watch <= 0 {
		c.watch = watchPause + watchAgain
	}
}

// wants reports whether p is to be looked at.
func (c *copies) wants(p *Packet) bool {
	edge := p.Flags&(SYN|FIN|RST) != 0 // flags are TCP's, and 0 for all others
	return edge && c.window != 0 || c.watching()
}

// seenCommon is seen for a packet that common has read. Its frame begins at off in
// buf.
func (c *copies) seenCommon(p *Packet, buf []byte, off uint) bool {
	ip := uint(uint32(off)) + lenEther + lenTag*uint(p.VLANs&0xf)
	if ip+5 >= uint(len(buf)) {
		return false // never: common has read it
	}
	id := uint64(buf[ip+4])<<8 | uint64(buf[ip+5])
	if id == 0 || p.Proto != TCP || buf[ip]>>4 != 4 {
		return c.seen(p, buf[ip:], buf[off:ip])
	}
	mark := printOf(p, id<<40)
	entry := newEntry(mark, p.Time)
	if place := c.place(mark); !c.like(place[0], entry) && !c.like(place[1], entry) {
		place[1], place[0] = place[0], entry
		return false
	}
	c.found(p)
	return true
}

// seen reports whether p, which is to be looked at and whose IP header is ip, is a
// copy of a packet within the window before it. way is the frame up to its IP header.
//
// A packet is known by its ends, IP identification, sequence numbers, flags and
// length; a datagram, and a segment without an identification (IPv6, or 0), by its
// payload and checksum too. Without an identification, a segment without payload is
// a copy only where TTL, MAC addresses or VLANs differ, or where the link is known
// to show frames twice: acknowledgements may be repeated at once.
func (c *copies) seen(p *Packet, ip, way []byte) bool {
	id, ttl, transport := uint16(0), uint8(0), []byte(nil)
	switch {
	case len(ip) < 20:
		return false
	case ip[0] == 4<<4|lenIPv4/4:
		id, ttl, transport = binary.BigEndian.Uint16(ip[4:]), ip[8], ip[20:]
	case ip[0]>>4 == 4:
		id, ttl, transport = binary.BigEndian.Uint16(ip[4:]), ip[8], ip[min(int(ip[0]&0xf)*4, len(ip)):]
	case len(ip) >= 40:
		ttl, transport = ip[7], ip[40:]
	default:
		return false
	}
	more := uint64(id) << 40
	path, sure := uint64(0), true
	if id == 0 || p.Proto != TCP {
		more ^= unlike(p, id, transport)
		if sure = id != 0 || p.PayloadLength > 0; !sure {
			path = fold(sample(way)^hashKeys[0], uint64(p.VLANs)<<8^uint64(ttl)^hashKeys[1]) & 0xff
		}
	}
	mark := printOf(p, more)
	entry := newEntry(mark, p.Time) | path<<32
	place := c.place(mark)
	switch {
	case !c.like(place[0], entry) && !c.like(place[1], entry):
		place[1], place[0] = place[0], entry
		return false
	case sure:
		c.found(p)
	case sameWay(place[0], entry) || sameWay(place[1], entry): // it came the same way
		if c.proven < mirrorsTwice || p.Time-c.last >= mirrorsTime {
			return false
		}
		fallthrough
	default:
		c.watch = max(c.watch, watchPause+watchOn)
	}
	return true
}

// printOf returns a number for p that its copies share. more is what tells it apart
// besides what p holds.
func printOf(p *Packet, more uint64) uint64 {
	// The hash of the ends is that of both directions.
	a := p.Hash ^ bits.RotateLeft64(binary.LittleEndian.Uint64(p.Src.Addr[8:])^uint64(p.Src.Port), 23) ^ uint64(p.PayloadLength)<<32
	return fold(a, (uint64(p.Seq)<<32|uint64(p.Ack))^uint64(p.Flags)<<56^more^hashKeys[3])
}

// place returns where packets with a print are remembered.
func (c *copies) place(print uint64) *[2]uint64 { return &c.recent[print>>(64-recentBits)] }

// newEntry returns what is remembered of a packet, without the way that it came.
func newEntry(print uint64, time int64) uint64 {
	return uint64(uint32(print)) | uint64(time)>>tickBits<<40
}

// found takes in that p is certainly a copy.
func (c *copies) found(p *Packet) {
	if p.Time-c.last >= mirrorsTime {
		c.proven = 0
	}
	c.proven++
	c.last = p.Time
	c.watch = max(c.watch, watchPause+watchOn)
}

// like reports whether two entries are of the same packet, the second one within the
// window.
func (c *copies) like(e, entry uint64) bool {
	return uint32(e) == uint32(entry) && (entry>>40-e>>40)&(1<<24-1) <= uint64(c.window)>>tickBits
}

// sameWay reports whether two entries are of the same packet, and it came the same way.
func sameWay(e, entry uint64) bool { return (e^entry)&(1<<40-1) == 0 }

// unlike hashes what tells packets apart that have no IP identification, and
// datagrams.
func unlike(p *Packet, id uint16, transport []byte) uint64 {
	h, checksum := sample(p.Payload), 16
	switch p.Proto {
	case TCP:
	case UDP:
		checksum = 6
	case ESP: // its sequence number tells all packets apart
		return h
	default: // ICMP: its own header, and the packet that it quotes
		return sample(transport)
	}
	if id == 0 && len(transport) >= checksum+2 {
		h ^= uint64(binary.BigEndian.Uint16(transport[checksum:])) << 16
	}
	return h
}

// sample hashes the length of a payload, its first 16 bytes (as many as the header
// of RTP has, and some) and its last 8.
func sample(b []byte) uint64 {
	n := uint64(len(b))
	switch {
	case n >= 16:
		return fold(binary.LittleEndian.Uint64(b)^hashKeys[1], binary.LittleEndian.Uint64(b[8:])^n) ^ binary.LittleEndian.Uint64(b[n-8:])
	case n >= 8:
		return fold(binary.LittleEndian.Uint64(b)^hashKeys[1], binary.LittleEndian.Uint64(b[n-8:])^n)
	case n >= 4:
		return fold(uint64(binary.LittleEndian.Uint32(b))^hashKeys[1], uint64(binary.LittleEndian.Uint32(b[n-4:]))^n)
	}
	h := n
	for _, v := range b {
		h = h<<8 | uint64(v)
	}
	return fold(h^hashKeys[1], hashKeys[2])
}
