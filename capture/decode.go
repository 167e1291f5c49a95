package capture

import "encoding/binary"

// IP protocol numbers that are walked through (IANA).
const (
	protoHopByHop = 0
	protoIPv4     = 4
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoAH       = 51
	protoDestOpts = 60
	protoEtherIP  = 97
	protoMPLS     = 137
)

const (
	maxDepth      = 8  // encapsulations in one frame
	maxExtensions = 16 // IPv6 extension headers in one packet
	maxTags       = 16 // VLAN tags or MPLS labels in a row
)

// Decoder turns frames into packets. It keeps the IP fragments whose datagrams
// are not complete yet, and nothing else. The zero value is ready; it is used
// by one goroutine.
type Decoder struct {
	// Fragments bounds the reassembly; zero fields mean the defaults.
	Fragments FragmentLimits
	// VXLANPorts are UDP ports of VXLAN besides 4789 and 8472. They are set before
	// the first frame is decoded.
	VXLANPorts []uint16
	// Tunnels describes what Packet.Tunnel names; nil means one of its own, made when
	// the first tunnel is met.
	Tunnels *Tunnels

	network []byte // the innermost packet, from its IP header on
	ports   *ports
	last    Tunnel // the one met last, and its ID
	lastID  TunnelID
	unread  unread // of the frame skipped last
	frags   fragments
}

// Decode reads one captured frame of the given link type into p. The wire
// length is the frame's length before the snap length cut it. p.Number and
// p.Time are the caller's (fragments age by p.Time), so are Interface and Frame;
// where Frame is set, frames of fragments are kept, and added to Frame.Earlier
// when their datagram is complete. All other fields are set when SkipNone is
// returned, and have no meaning when the frame is skipped. Payload points into
// frame, unless p.Frames is more than 1.
//
// Nothing is allocated, fragments excepted.
func (d *Decoder) Decode(linkType uint16, frame []byte, wireLength uint32, p *Packet) Skip {
	p.VLANs, p.Frames, p.Tunnel = 0, 1, 0
	d.unread = unread{}
	wire := max(int(min(wireLength, 1<<30)), len(frame))
	if linkType == LinkEthernet {
		return d.ethernet(frame, wire, p, 0)
	}
	return d.link(linkType, frame, wire, p)
}

// In everything below b holds the captured bytes from a header on, and wire is
// the number of bytes from there to the end of the frame on the wire, as far
// as the headers before it tell: never less than len(b).

func (d *Decoder) ethernet(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 14 {
		return cut(wire, 14)
	}
	t := binary.BigEndian.Uint16(b[12:])
	if t == etherIPv4 {
		return d.ipv4(b[14:], wire-14, p, depth)
	}
	return d.etherType(t, b[14:], wire-14, p, depth)
}

// etherType walks over tags to the network header.
func (d *Decoder) etherType(t uint16, b []byte, wire int, p *Packet, depth int) Skip {
	for range maxTags {
		switch t {
		case etherIPv4:
			return d.ipv4(b, wire, p, depth)
		case etherIPv6:
			return d.ipv6(b, wire, p, depth)
		case etherVLAN, etherQinQ, etherQinQ1, etherQinQ2, etherQinQ3:
			if len(b) < 4 {
				return cut(wire, 4)
			}
			p.VLANs = p.VLANs.Push(binary.BigEndian.Uint16(b))
			t = binary.BigEndian.Uint16(b[2:])
			b, wire = b[4:], wire-4
		default:
			return d.otherEtherType(t, b, wire, p, depth)
		}
	}
	return SkipMalformed
}

// ipv4 reads an IPv4 header (RFC 791 section 3.1).
func (d *Decoder) ipv4(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 20 {
		return cut(wire, 20)
	}
	header := int(b[0]&0xf) * 4
	if b[0]>>4 != 4 || header < 20 {
		return SkipMalformed
	}
	d.network = b
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		total = wire // segmentation offload: the card fills it in later
	}
	if total < header {
		return SkipMalformed
	}
	p.Length = uint32(total)
	if wire > total {
		wire = total // the rest pads the frame
		if len(b) > total {
			b = b[:total]
		}
	}
	if len(b) < header {
		return cut(wire, header)
	}
	setMapped(&p.Src.Addr, b[12:16])
	setMapped(&p.Dst.Addr, b[16:20])
	proto := b[9]
	if f := binary.BigEndian.Uint16(b[6:]) & 0x3fff; f != 0 {
		return d.fragment4(proto, f, b, header, wire, p, depth)
	}
	if proto == TCP {
		return tcp(b[header:], wire-header, p)
	}
	return d.transport(proto, b[header:], wire-header, p, depth)
}

// setMapped sets a to the IPv4-mapped address of 4 bytes, in place and as two
// words: the hash reads it as two words, and would wait for stores of another
// width to drain.
func setMapped(a *Addr, b []byte) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], mapped(binary.LittleEndian.Uint32(b)))
}

// mapped returns the second half of an IPv4-mapped address. All of it is in
// little-endian order.
func mapped(v4 uint32) uint64 { return 0xffff<<16 | uint64(v4)<<32 }

// ipv6 reads an IPv6 header (RFC 8200 section 3).
func (d *Decoder) ipv6(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 40 {
		return cut(wire, 40)
	}
	if b[0]>>4 != 6 {
		return SkipMalformed
	}
	d.network = b
	total := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if total == 40 {
		total = wire // segmentation offload or a jumbogram
	}
	p.Length = uint32(total)
	if wire > total {
		wire = total
		if len(b) > total {
			b = b[:total]
		}
	}
	p.Src.Addr = Addr(b[8:24])
	p.Dst.Addr = Addr(b[24:40])
	if next := b[6]; next == TCP || next == UDP {
		return d.transport(next, b[40:], wire-40, p, depth)
	}
	return d.extensions(b[6], b[40:], wire-40, p, depth)
}

// extensions walks over IPv6 extension headers (RFC 8200 section 4).
func (d *Decoder) extensions(next uint8, b []byte, wire int, p *Packet, depth int) Skip {
	for range maxExtensions {
		var n int
		switch next {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(b) < 8 {
				return cut(wire, 8)
			}
			n = int(b[1])*8 + 8
		case protoFragment:
			if len(b) < 8 {
				return cut(wire, 8)
			}
			if binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 {
				return d.fragment6(b, wire, p, depth)
			}
			n = 8 // an atomic fragment (RFC 6946)
		default:
			return d.transport(next, b, wire, p, depth)
		}
		next = b[0]
		if len(b) < n {
			return cut(wire, n)
		}
		b, wire = b[n:], wire-n
	}
	return SkipMalformed
}

// transport reads the header that carries the ports.
func (d *Decoder) transport(proto uint8, b []byte, wire int, p *Packet, depth int) Skip {
	switch proto {
	case TCP:
		return tcp(b, wire, p)
	case UDP:
		return d.udp(b, wire, p, depth)
	}
	return d.otherProtocol(proto, b, wire, p, depth)
}

// tcp reads a TCP header (RFC 9293 section 3.1).
func tcp(b []byte, wire int, p *Packet) Skip {
	if len(b) < 14 {
		return cut(wire, 20)
	}
	header := int(b[12]>>4) * 4
	if header < 20 || header > wire {
		return SkipMalformed
	}
	p.Proto = TCP
	p.Src.Port = binary.BigEndian.Uint16(b)
	p.Dst.Port = binary.BigEndian.Uint16(b[2:])
	p.Seq = binary.BigEndian.Uint32(b[4:])
	p.Ack = binary.BigEndian.Uint32(b[8:])
	p.Flags = b[13]
	p.Quoted, p.ICMPType, p.ICMPCode = 0, 0, 0
	p.PayloadLength = uint32(wire - header)
	p.Payload = b[min(header, len(b)):]
	p.Hash = hash(&p.Src, &p.Dst, TCP)
	return SkipNone
}

// udp reads a UDP header (RFC 768).
func (d *Decoder) udp(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 8 {
		return cut(wire, 8)
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length == 0 || length > wire {
		length = wire // offload, a jumbogram, or a datagram whose end is elsewhere
	}
	if length < 8 {
		return SkipMalformed
	}
	p.Proto = UDP
	p.Src.Port = binary.BigEndian.Uint16(b)
	p.Dst.Port = binary.BigEndian.Uint16(b[2:])
	p.Seq, p.Ack, p.Flags = 0, 0, 0
	p.Quoted, p.ICMPType, p.ICMPCode = 0, 0, 0
	p.PayloadLength = uint32(length - 8)
	p.Payload = b[8:min(length, len(b))]
	if d.tunnelPorts().has(p.Src.Port, p.Dst.Port) {
		if s, ok := d.tunnel(p, depth); ok {
			return s
		}
	}
	p.Hash = hash(&p.Src, &p.Dst, UDP)
	return SkipNone
}

// tunnelPorts returns the UDP ports that mean an encapsulation.
func (d *Decoder) tunnelPorts() *ports {
	if d.ports == nil {
		if d.ports = usualPorts; len(d.VXLANPorts) > 0 {
			d.ports = newPorts(d.VXLANPorts)
		}
	}
	return d.ports
}

// done reports whether nothing is left to decode of what common has read.
func (d *Decoder) done(what commonKind, p *Packet) bool {
	switch what {
	case notCommon:
		return false
	case commonUDP, commonTunnel:
		return !d.tunnelPorts().has(p.Src.Port, p.Dst.Port)
	}
	return true
}

// cut says why fewer than need bytes are there: the snap length, or a frame or
// packet that ends before its header does.
func cut(wire, need int) Skip {
	if wire < need {
		return SkipMalformed
	}
	return SkipTruncated
}
