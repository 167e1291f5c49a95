// Package capture turns frames of capture files and interfaces into packets.
//
// It is the only package that imports gopacket: handles, link types, BPF
// expressions, writing and rare encapsulations are gopacket's, while files are
// read by our own block reader and frames are decoded in place.
package capture

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// IP protocol numbers that a Packet can have (IANA "Protocol Numbers").
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ESP    = 50
	ICMPv6 = 58
)

// TCP flag bits as in the header's 14th byte (RFC 9293 section 3.1).
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	PSH = 0x08
	ACK = 0x10
)

// Addr is an IP address without a pointer: 16 bytes in network order, IPv4 as
// an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2). It can be compared
// and used as a map key.
type Addr [16]byte

// AddrFrom returns a as an Addr; zones are dropped.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// Netip returns the address as a netip.Addr, IPv4-mapped addresses as IPv4.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Is4 reports whether the address is an IPv4 address.
func (a Addr) Is4() bool {
	return a[0] == 0 && a[1] == 0 && a[2] == 0 && a[3] == 0 && a[4] == 0 && a[5] == 0 &&
		a[6] == 0 && a[7] == 0 && a[8] == 0 && a[9] == 0 && a[10] == 0xff && a[11] == 0xff
}

// Hash returns a number whose high bits differ between most addresses. Anybody can find
// addresses with equal numbers, so it is for caches, where one takes the place of another.
func (a *Addr) Hash() uint64 {
	return (binary.BigEndian.Uint64(a[:8]) ^ binary.BigEndian.Uint64(a[8:])) * 0x9e3779b97f4a7c15
}

func (a Addr) String() string { return a.Netip().String() }

// Endpoint is one end of a packet: an address and a port. The port is 0 for
// protocols without ports.
type Endpoint struct {
	Addr Addr
	Port uint16
}

// AddrPort returns e as a netip.AddrPort.
func (e Endpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(e.Addr.Netip(), e.Port) }

// EndpointFrom returns a as an Endpoint.
func EndpointFrom(a netip.AddrPort) Endpoint { return Endpoint{a.Addr().As16(), a.Port()} }

// VLANs is the stack of VLAN identifiers of a frame (IEEE 802.1Q, 802.1ad):
// at most five tags, outermost first. The zero value is an untagged frame.
// The count is in the low four bits, then 12 bits a tag, outermost lowest.
type VLANs uint64

// MaxVLANs is the largest number of tags that VLANs keeps.
const MaxVLANs = 5

// Push returns v with id as its new innermost tag. More than MaxVLANs tags are
// not kept.
func (v VLANs) Push(id uint16) VLANs {
	n := v & 0xf
	if n == MaxVLANs {
		return v
	}
	return (v &^ 0xf) | VLANs(id&0xfff)<<(4+12*n) | (n + 1)
}

// String returns the identifiers outermost first, joined by dots: "10.20".
func (v VLANs) String() string {
	var b []byte
	for i := range v & 0xf {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(v>>(4+12*i))&0xfff, 10)
	}
	return string(b)
}

// Packet is what one frame says about a flow: a flat value, owned by the
// caller and overwritten by each read. Addresses and ports are those of the
// innermost IP packet.
//
// It fills two cache lines: packets go from one processor's cache to another's.
// The first has all that is asked of a packet of a flow that is known, the second
// what says which flow that is.
type Packet struct {
	// Payload is the captured part of the TCP or UDP payload. It points into
	// the reader's buffer and is valid until the packet's batch is released.
	Payload []byte
	// Number counts frames in the order they were read, from 1. A datagram
	// reassembled from fragments has the number of the frame that completed it.
	Number uint64
	// Time is when the frame was captured, in nanoseconds since the Unix epoch.
	Time int64
	// PayloadLength is the length in bytes of the TCP or UDP payload on the
	// wire. It is more than len(Payload) where the frame was cut by the snap
	// length.
	PayloadLength uint32
	// Seq and Ack are the TCP sequence and acknowledgement numbers; valid iff
	// Proto is TCP (Ack iff the ACK flag is set).
	Seq, Ack uint32
	// Proto is TCP, UDP, ICMP, ICMPv6 or ESP; other protocols are not delivered. ESP
	// has no ports, and as payload all that is behind the IP header.
	Proto uint8
	// Flags holds the TCP flags; valid iff Proto is TCP.
	Flags uint8
	// Frames is the number of frames the packet was made of: 1, or more for a
	// reassembled datagram.
	Frames uint16
	// Interface is the index of the interface the frame was read from, in the
	// order of the source's description; 0 where there is only one.
	Interface uint16
	// Quoted is the protocol of the packet that an ICMP error quotes, TCP or
	// UDP; valid iff Proto is ICMP or ICMPv6. ICMP messages that quote neither
	// are not delivered.
	Quoted uint8
	// ICMPType and ICMPCode are valid iff Proto is ICMP or ICMPv6.
	ICMPType, ICMPCode uint8
	// Tunnel names the tunnel that carried the packet, in the batch's Tunnels; 0 for
	// the wire. What was said in a tunnel says nothing of what happens outside it,
	// unless the tunnel is a mirror's.
	Tunnel TunnelID

	// Hash is that of the ends and the protocol; see the function Hash.
	Hash uint64
	// VLANs holds the tags of the frame, outermost first.
	VLANs VLANs
	// Src and Dst are the packet's ends. For an ICMP error they are the ends of
	// the quoted packet, in the quoted packet's direction.
	Src, Dst Endpoint
	// Length is the IP packet's length in bytes as its header says: IPv4 total
	// length, IPv6 40 plus payload length. For a reassembled datagram it is
	// the sum over its fragments.
	Length uint32
	// Frame is the frame itself, and is valid as long as Payload; nil unless the
	// reader was asked to keep frames (for writing them again).
	Frame *Frame
}

// Frame is a whole captured frame, with those that belong before it.
type Frame struct {
	LinkType   uint16 // LINKTYPE_ value
	WireLength uint32 // its length on the wire
	Data       []byte
	// Earlier holds the frames that came before this one and that a reassembled
	// datagram was made of; nil if there are none.
	Earlier []EarlierFrame
}

// EarlierFrame is a frame with a part of a datagram that a later frame
// completed.
type EarlierFrame struct {
	Time       int64 // as Packet.Time
	WireLength uint32
	Data       []byte
}

// Skip is why a frame became no packet: a count with a reason, never an error.
type Skip uint8

// The reasons, a closed list.
const (
	SkipNone      Skip = iota
	SkipNotIP          // ARP, STP, LLDP and the like
	SkipProtocol       // IP, but neither TCP, UDP nor an ICMP error about them
	SkipFragment       // part of a datagram that is not complete yet
	SkipTruncated      // cut by the snap length before the ports
	SkipMalformed      // a header contradicts itself
	SkipLinkType       // a link type that is not read
	SkipLimit          // a fragment refused by a limit
	SkipFiltered       // did not match the BPF expression
	SkipPanic          // a decoder panicked and was recovered
	SkipOpaque         // encrypted or compressed: MACsec, PPP, IEEE 802.11
	SkipDuplicate      // a copy that the mirror made of the frame before
	NumSkips           // how many reasons there are
)

var skipNames = [NumSkips]string{"", "not_ip", "protocol", "fragment", "truncated", "malformed", "link_type", "limit", "filtered", "panic", "opaque", "duplicate"}

func (s Skip) String() string { return skipNames[s] }

// Stats counts what a reader has read since it was opened.
type Stats struct {
	Frames     uint64           // frames read, delivered or not
	Bytes      uint64           // their captured bytes
	Packets    uint64           // packets delivered
	Truncated  uint64           // delivered packets whose payload was cut by the snap length
	SnapLength uint32           // of the frames of those, the length on the wire of the longest
	Skipped    [NumSkips]uint64 // frames not delivered, by reason
	Unread     Unreads          // frames not delivered, by what they are
	Fragments  FragmentStats    // datagrams that came in fragments
}

// Add adds the counts of o.
func (s *Stats) Add(o *Stats) {
	s.Frames += o.Frames
	s.Bytes += o.Bytes
	s.Packets += o.Packets
	s.Truncated += o.Truncated
	s.SnapLength = max(s.SnapLength, o.SnapLength)
	for i := range s.Skipped {
		s.Skipped[i] += o.Skipped[i]
	}
	s.Unread.Add(&o.Unread)
	s.Fragments.Reassembled += o.Fragments.Reassembled
	s.Fragments.Expired += o.Fragments.Expired
	s.Fragments.Evicted += o.Fragments.Evicted
	s.Fragments.Refused += o.Fragments.Refused
	s.Fragments.Overlapping += o.Fragments.Overlapping
}

// ProtoName returns the name of the protocol of a flow in lower case: tcp, udp, esp,
// or its number.
func ProtoName(proto uint8) string {
	switch proto {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ESP:
		return "esp"
	}
	return strconv.Itoa(int(proto))
}
