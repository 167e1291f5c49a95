package capture

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The slow path of the header walk: link types other than Ethernet, ICMP, and
// encapsulations, whose inner packet is the one that counts. A packet is taken
// for an encapsulation only if what it carries decodes.

// UDP ports of encapsulations (IANA).
const (
	portGTP    = 2152
	portVXLAN  = 4789
	portGeneve = 6081
)

// link reads the link header of all link types but Ethernet.
func (d *Decoder) link(linkType uint16, b []byte, wire int, p *Packet) Skip {
	switch linkType {
	case LinkRaw, 12, 14, LinkIPv4, LinkIPv6:
		return d.ip(b, wire, p, 0)
	case LinkNull, LinkLoop:
		if len(b) < 4 {
			return cut(wire, 4)
		}
		family := binary.BigEndian.Uint32(b)
		if family > 0xffff {
			family = binary.LittleEndian.Uint32(b)
		}
		switch family {
		case 2, 10, 24, 28, 30: // AF_INET, and AF_INET6 of Linux, NetBSD, FreeBSD, macOS
			return d.ip(b[4:], wire-4, p, 0)
		}
		return SkipNotIP
	case LinkSLL:
		if len(b) < 16 {
			return cut(wire, 16)
		}
		return d.etherType(binary.BigEndian.Uint16(b[14:]), b[16:], wire-16, p, 0)
	case LinkSLL2:
		if len(b) < 20 {
			return cut(wire, 20)
		}
		return d.etherType(binary.BigEndian.Uint16(b), b[20:], wire-20, p, 0)
	}
	return d.foreign(linkType, b, wire, p)
}

// ip reads an IP packet whose version only its first nibble tells.
func (d *Decoder) ip(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) == 0 {
		return cut(wire, 20)
	}
	switch b[0] >> 4 {
	case 4:
		return d.ipv4(b, wire, p, depth)
	case 6:
		return d.ipv6(b, wire, p, depth)
	}
	return SkipNotIP
}

// otherEtherType goes on after an EtherType that is neither IP nor a tag.
func (d *Decoder) otherEtherType(t uint16, b []byte, wire int, p *Packet, depth int) Skip {
	if depth >= maxDepth {
		return SkipProtocol
	}
	switch t {
	case etherMPLS, etherMPLSm:
		return d.mpls(b, wire, p, depth+1)
	case etherPPPoE:
		return d.pppoe(b, wire, p, depth+1)
	case etherPBB: // the service tag before the customer's addresses (IEEE 802.1ah)
		if len(b) < 4 {
			return cut(wire, 4)
		}
		return d.ethernet(b[4:], wire-4, p, depth+1)
	case etherTEB:
		return d.ethernet(b, wire, p, depth+1)
	}
	if t <= 1500 {
		return d.llc(int(t), b, wire, p, depth+1)
	}
	return SkipNotIP
}

// llc reads IEEE 802.2 headers, with SNAP (RFC 1042) or without.
func (d *Decoder) llc(length int, b []byte, wire int, p *Packet, depth int) Skip {
	// Linux cooked captures say 4 for 802.2 instead of a length.
	if length >= 8 && length < wire {
		wire = length
		b = b[:min(len(b), length)]
	}
	if len(b) < 3 {
		return cut(wire, 3)
	}
	switch {
	case b[0] == 0xaa && b[1] == 0xaa && b[2] == 3:
		if len(b) < 8 {
			return cut(wire, 8)
		}
		if oui := uint32(b[3])<<16 | uint32(b[4])<<8 | uint32(b[5]); oui != 0 && oui != 0x0000f8 {
			return SkipNotIP
		}
		t := binary.BigEndian.Uint16(b[6:])
		if t <= 1500 {
			return SkipNotIP
		}
		return d.etherType(t, b[8:], wire-8, p, depth)
	case b[0] == 6 && b[1] == 6 && b[2] == 3:
		return d.ip(b[3:], wire-3, p, depth)
	}
	return SkipNotIP
}

// mpls reads a label stack (RFC 3032). What follows is told by its first
// nibble alone: IPv4, IPv6, or 0 for a pseudowire's control word (RFC 4385)
// with Ethernet behind it.
func (d *Decoder) mpls(b []byte, wire int, p *Packet, depth int) Skip {
	for range maxTags {
		if len(b) < 4 {
			return cut(wire, 4)
		}
		bottom := b[2]&1 != 0
		b, wire = b[4:], wire-4
		if !bottom {
			continue
		}
		if len(b) > 4 && b[0]>>4 == 0 {
			return d.ethernet(b[4:], wire-4, p, depth)
		}
		return d.ip(b, wire, p, depth)
	}
	return SkipMalformed
}

// pppoe reads a PPPoE session header (RFC 2516 section 4) and the PPP protocol.
func (d *Decoder) pppoe(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 8 {
		return cut(wire, 8)
	}
	if b[0] != 0x11 || b[1] != 0 {
		return SkipMalformed
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	b, wire = b[6:], wire-6
	if length < 2 {
		return SkipMalformed
	}
	if length < wire {
		wire = length
		b = b[:min(len(b), length)]
	}
	return d.ppp(b, wire, p, depth)
}

// ppp reads a PPP protocol field (RFC 1661 section 2) and what follows.
func (d *Decoder) ppp(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 2 {
		return cut(wire, 2)
	}
	switch binary.BigEndian.Uint16(b) {
	case 0x0021:
		return d.ipv4(b[2:], wire-2, p, depth)
	case 0x0057:
		return d.ipv6(b[2:], wire-2, p, depth)
	case 0x0281:
		return d.mpls(b[2:], wire-2, p, depth)
	}
	return SkipNotIP
}

// otherProtocol goes on after an IP protocol that is neither TCP nor UDP.
func (d *Decoder) otherProtocol(proto uint8, b []byte, wire int, p *Packet, depth int) Skip {
	if depth >= maxDepth {
		return SkipProtocol
	}
	switch proto {
	case ICMP, ICMPv6:
		return icmp(proto, b, wire, p)
	case protoIPv4:
		return d.ipv4(b, wire, p, depth+1)
	case protoIPv6:
		return d.ipv6(b, wire, p, depth+1)
	case protoGRE:
		return d.gre(b, wire, p, depth+1)
	case protoAH: // RFC 4302 section 2
		if len(b) < 12 {
			return cut(wire, 12)
		}
		n := int(b[1])*4 + 8
		if n < 12 {
			return SkipMalformed
		}
		if len(b) < n {
			return cut(wire, n)
		}
		return d.extensions(b[0], b[n:], wire-n, p, depth+1)
	case protoEtherIP: // RFC 3378
		if len(b) < 2 {
			return cut(wire, 2)
		}
		if b[0]>>4 != 3 {
			return SkipMalformed
		}
		return d.ethernet(b[2:], wire-2, p, depth+1)
	}
	return SkipProtocol
}

// gre reads a GRE header (RFC 2784, RFC 2890). Version 1, PPTP's, carries PPP
// that may be compressed or encrypted, and is not read.
func (d *Decoder) gre(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 4 {
		return cut(wire, 4)
	}
	flags, t := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if flags&0x4007 != 0 { // source routing, or a version other than 0
		return SkipProtocol
	}
	n := 4
	for _, bit := range [...]uint16{0x8000, 0x2000, 0x1000} { // checksum, key, sequence number
		if flags&bit != 0 {
			n += 4
		}
	}
	if len(b) < n {
		return cut(wire, n)
	}
	b, wire = b[n:], wire-n
	switch t {
	case etherERSPAN:
		if flags&0x1000 == 0 { // type I has no sequence number and no header of its own
			return d.ethernet(b, wire, p, depth)
		}
		if len(b) < 8 {
			return cut(wire, 8)
		}
		if b[0]>>4 != 1 {
			return SkipMalformed
		}
		return d.ethernet(b[8:], wire-8, p, depth)
	case etherERSPAN3:
		if len(b) < 12 {
			return cut(wire, 12)
		}
		if b[0]>>4 != 2 {
			return SkipMalformed
		}
		n = 12
		if b[11]&1 != 0 { // a platform-specific subheader follows
			n = 20
		}
		if len(b) < n {
			return cut(wire, n)
		}
		if b[10]>>2&0x1f == 2 { // an IP packet without an Ethernet header
			return d.ip(b[n:], wire-n, p, depth)
		}
		return d.ethernet(b[n:], wire-n, p, depth)
	}
	s := d.etherType(t, b, wire, p, depth)
	if s == SkipNotIP {
		s = SkipProtocol
	}
	return s
}

// tunnel reads the encapsulations over UDP. If the payload of p is none of
// them, p stays as it is and ok is false.
func (d *Decoder) tunnel(p *Packet, depth int) (s Skip, ok bool) {
	if depth >= maxDepth {
		return SkipNone, false
	}
	outer := *p
	b, wire := p.Payload, int(p.PayloadLength)
	s = SkipMalformed
	switch p.Dst.Port {
	case portVXLAN: // RFC 7348 section 5: the I flag is set, the last byte is reserved
		if len(b) > 8 && b[0]&0x08 != 0 && b[7] == 0 {
			s = d.ethernet(b[8:], wire-8, p, depth+1)
		}
	case portGeneve: // RFC 8926 section 3.4
		if len(b) > 8 && b[0]>>6 == 0 && b[7] == 0 {
			if n := 8 + int(b[0]&0x3f)*4; len(b) > n {
				s = d.etherType(binary.BigEndian.Uint16(b[2:]), b[n:], wire-n, p, depth+1)
			}
		}
	case portGTP:
		if n, good := gtpHeader(b, wire); good {
			s = d.ip(b[n:], wire-n, p, depth+1)
		}
	}
	switch s {
	case SkipNone, SkipFragment, SkipLimit, SkipProtocol:
		return s, true
	}
	*p = outer
	return SkipNone, false
}

// gtpHeader returns the length of a GTP-U header of version 1 that carries a
// user's packet (3GPP TS 29.281 section 5.1).
func gtpHeader(b []byte, wire int) (n int, ok bool) {
	if len(b) < 8 || b[0]>>4 != 3 || b[1] != 0xff || int(binary.BigEndian.Uint16(b[2:]))+8 != wire {
		return 0, false
	}
	if b[0]&0x07 == 0 {
		return 8, true
	}
	n = 12
	for range maxExtensions {
		if len(b) < n {
			return 0, false
		}
		if b[0]&0x04 == 0 || b[n-1] == 0 { // no extension header follows
			return n, true
		}
		if len(b) <= n || b[n] == 0 {
			return 0, false
		}
		n += int(b[n]) * 4
	}
	return 0, false
}

// icmp reads an ICMP error (RFC 792, RFC 4443) and the addresses and ports of
// the packet that it quotes.
func icmp(proto uint8, b []byte, wire int, p *Packet) Skip {
	if len(b) < 8 {
		return cut(wire, 8)
	}
	t, code := b[0], b[1]
	if proto == ICMP {
		switch t {
		case 3, 4, 5, 11, 12: // unreachable, source quench, redirect, time exceeded, parameter problem
		default:
			return SkipProtocol
		}
	} else if t < 1 || t > 4 { // unreachable, too big, time exceeded, parameter problem
		return SkipProtocol
	}
	b, wire = b[8:], wire-8
	if len(b) < 20 {
		return cut(wire, 20)
	}
	var src, dst Addr
	var quoted uint8
	switch b[0] >> 4 {
	case 4:
		header := int(b[0]&0xf) * 4
		if header < 20 {
			return SkipMalformed
		}
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return SkipProtocol // a later fragment, without ports
		}
		quoted = b[9]
		setMapped(&src, b[12:16])
		setMapped(&dst, b[16:20])
		if len(b) < header {
			return cut(wire, header)
		}
		b, wire = b[header:], wire-header
	case 6:
		if len(b) < 40 {
			return cut(wire, 40)
		}
		src, dst, quoted = Addr(b[8:24]), Addr(b[24:40]), b[6]
		b, wire = b[40:], wire-40
		for i := 0; quoted == protoHopByHop || quoted == protoRouting || quoted == protoDestOpts || quoted == protoFragment; i++ {
			if len(b) < 8 {
				return cut(wire, 8)
			}
			n := 8
			if quoted == protoFragment {
				if binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
					return SkipProtocol
				}
			} else {
				n += int(b[1]) * 8
			}
			quoted = b[0]
			if len(b) < n {
				return cut(wire, n)
			}
			if i == maxExtensions {
				return SkipMalformed
			}
			b, wire = b[n:], wire-n
		}
	default:
		return SkipMalformed
	}
	if quoted != TCP && quoted != UDP {
		return SkipProtocol
	}
	if len(b) < 4 {
		return cut(wire, 4)
	}
	p.Proto, p.Quoted, p.ICMPType, p.ICMPCode = proto, quoted, t, code
	p.Src = Endpoint{src, binary.BigEndian.Uint16(b)}
	p.Dst = Endpoint{dst, binary.BigEndian.Uint16(b[2:])}
	p.Seq, p.Ack, p.Flags = 0, 0, 0
	p.PayloadLength, p.Payload = 0, nil
	p.Hash = hash(&p.Src, &p.Dst, quoted)
	return SkipNone
}

// foreign finds the IP packet in a frame of another link type with gopacket's
// decoders (PPP, IEEE 802.11, radiotap and the like). They panic on some
// inputs.
func (d *Decoder) foreign(linkType uint16, b []byte, wire int, p *Packet) (s Skip) {
	if linkType > 255 || layers.LinkTypeMetadata[linkType].Name == "" {
		return SkipLinkType
	}
	defer func() {
		if recover() != nil {
			s = SkipPanic
		}
	}()
	packet := gopacket.NewPacket(b, layers.LinkType(linkType), gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	for _, l := range packet.Layers() {
		if t := l.LayerType(); t == layers.LayerTypeIPv4 || t == layers.LayerTypeIPv6 {
			ip := append(append([]byte(nil), l.LayerContents()...), l.LayerPayload()...)
			return d.ip(ip, max(len(ip), wire-(len(b)-len(ip))), p, 0)
		}
	}
	if packet.ErrorLayer() != nil {
		return SkipLinkType
	}
	return SkipNotIP
}
