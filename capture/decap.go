package capture

import "encoding/binary"

// The slow path of the header walk: encapsulations over IP, whose inner packet is
// the one that counts. A packet is taken for an encapsulation only if what it
// carries decodes.

// UDP ports of encapsulations (IANA).
const (
	portL2TP       = 1701
	portGTP        = 2152
	portTeredo     = 3544
	portESP        = 4500
	portVXLAN      = 4789
	portVXLANGPE   = 4790
	portGeneve     = 6081
	portVXLANLinux = 8472 // Linux' default, from before the number was assigned
	portTZSP       = 37008
)

// ports is a set of UDP ports.
type ports [1 << 16 / 64]uint64

func (s *ports) add(port uint16) { s[port/64] |= 1 << (port % 64) }

// has reports whether either port is in the set.
func (s *ports) has(a, b uint16) bool { return (s[a/64]>>(a%64)|s[b/64]>>(b%64))&1 != 0 }

// usualPorts are the ports that mean an encapsulation where nothing else is said.
var usualPorts = newPorts(nil)

// newPorts returns the ports of encapsulations, with further ones of VXLAN.
func newPorts(vxlan []uint16) *ports {
	s := new(ports)
	for _, port := range [...]uint16{portL2TP, portGTP, portTeredo, portESP, portVXLAN, portVXLANGPE, portGeneve, portVXLANLinux, portTZSP} {
		s.add(port)
	}
	for _, port := range vxlan {
		s.add(port)
	}
	return s
}

// otherProtocol goes on after an IP protocol that is neither TCP nor UDP.
func (d *Decoder) otherProtocol(proto uint8, b []byte, wire int, p *Packet, depth int) Skip {
	if depth >= maxDepth {
		return d.skip(SkipProtocol, UnreadProtocol, uint16(proto))
	}
	a, z := p.Src.Addr, p.Dst.Addr // the outer ones, if it is a tunnel
	switch proto {
	case ICMP, ICMPv6:
		s := icmp(proto, b, wire, p)
		if s == SkipProtocol {
			d.skip(s, UnreadProtocol, uint16(proto))
		}
		return s
	case protoIPv4:
		return d.within(CarrierIP, a, z, p, d.ipv4(b, wire, p, depth+1))
	case protoIPv6:
		return d.within(CarrierIP, a, z, p, d.ipv6(b, wire, p, depth+1))
	case protoGRE:
		carrier := CarrierGRE
		if len(b) >= 4 {
			if t := binary.BigEndian.Uint16(b[2:]); t == etherERSPAN || t == etherERSPAN3 {
				carrier = CarrierERSPAN
			}
		}
		return d.within(carrier, a, z, p, d.gre(b, wire, p, depth+1))
	case ESP:
		return d.esp(b, wire, p, depth+1)
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
	case protoMPLS: // RFC 4023
		return d.within(CarrierIP, a, z, p, d.mpls(b, wire, p, depth+1))
	case protoEtherIP: // RFC 3378
		if len(b) < 2 {
			return cut(wire, 2)
		}
		if b[0]>>4 != 3 {
			return SkipMalformed
		}
		return d.within(CarrierEtherIP, a, z, p, d.ethernet(b[2:], wire-2, p, depth+1))
	}
	return d.skip(SkipProtocol, UnreadProtocol, uint16(proto))
}

// gre reads a GRE header (RFC 2784, RFC 2890).
func (d *Decoder) gre(b []byte, wire int, p *Packet, depth int) Skip {
	const checksum, key, sequence, ack = 0x8000, 0x2000, 0x1000, 0x0080
	if len(b) < 4 {
		return cut(wire, 4)
	}
	flags, t := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	pptp := flags&7 == 1 && t == etherPPP
	if flags&0x4000 != 0 || flags&7 != 0 && !pptp { // source routing, or a version that is not known
		return d.skip(SkipProtocol, UnreadProtocol, protoGRE)
	}
	n := 4
	for _, bit := range [...]uint16{checksum, key, sequence} {
		if flags&bit != 0 {
			n += 4
		}
	}
	if pptp && flags&ack != 0 { // RFC 2637 section 4.1
		n += 4
	}
	if len(b) < n {
		return cut(wire, n)
	}
	if pptp { // in place of the key: the length of the payload, and the call
		if flags&key == 0 {
			return SkipMalformed
		}
		length := int(binary.BigEndian.Uint16(b[4:]))
		if length == 0 { // an acknowledgement alone
			return d.skip(SkipProtocol, UnreadProtocol, protoGRE)
		}
		wire = min(wire, n+length)
		b = b[:min(len(b), wire)]
	}
	b, wire = b[n:], wire-n
	switch t {
	case etherERSPAN:
		if flags&sequence == 0 { // type I has no sequence number and no header of its own
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
		return d.erspan3(b, wire, p, depth)
	}
	s := d.etherType(t, b, wire, p, depth)
	if s == SkipNotIP {
		s = SkipProtocol
	}
	return s
}

// erspan3 reads a header of ERSPAN type III (draft-foschiano-erspan section 4.3).
func (d *Decoder) erspan3(b []byte, wire int, p *Packet, depth int) Skip {
	n := 12
	if len(b) < n {
		return cut(wire, n)
	}
	if b[0]>>4 != 2 {
		return SkipMalformed
	}
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

// tunnel reads the encapsulations over UDP. If the payload of p is none of
// them, p stays as it is and ok is false.
func (d *Decoder) tunnel(p *Packet, depth int) (s Skip, ok bool) {
	if depth >= maxDepth {
		return SkipNone, false
	}
	outer := *p
	carrier, s := d.overUDP(p, depth+1)
	switch s {
	case SkipNone, SkipFragment, SkipLimit, SkipProtocol, SkipOpaque:
		return d.within(carrier, outer.Src.Addr, outer.Dst.Addr, p, s), true
	case SkipNotIP:
		if carrier != CarrierNone && d.unread == (unread{UnreadEtherType, etherARP}) {
			return s, true
		}
	}
	*p = outer
	return SkipNone, false
}

// overUDP reads what the port of a UDP datagram says that it carries.
func (d *Decoder) overUDP(p *Packet, depth int) (c Carrier, s Skip) {
	b, wire := p.Payload, int(p.PayloadLength)
	src, dst := p.Src.Port, p.Dst.Port
	switch dst {
	case portVXLANGPE: // draft-ietf-nvo3-vxlan-gpe section 3.1: the P flag says what the last byte of the first word is
		if len(b) > 8 && b[0]&0x0c == 0x0c {
			return CarrierVXLAN, d.nextProtocol(b[3], b[8:], wire-8, p, depth)
		}
	case portGeneve: // RFC 8926 section 3.4
		if len(b) > 8 && b[0]>>6 == 0 && b[7] == 0 {
			if n := 8 + int(b[0]&0x3f)*4; len(b) > n {
				return CarrierGeneve, d.etherType(binary.BigEndian.Uint16(b[2:]), b[n:], wire-n, p, depth)
			}
		}
		return CarrierNone, SkipMalformed
	case portGTP:
		if n, good := gtpHeader(b, wire); good {
			return CarrierGTP, d.ip(b[n:], wire-n, p, depth)
		}
		return CarrierNone, SkipMalformed
	case portTZSP:
		if n, good := tzspHeader(b); good {
			if t := binary.BigEndian.Uint16(b[2:]); t == 18 {
				return CarrierTZSP, d.wlan(b[n:], wire-n, p)
			}
			return CarrierTZSP, d.ethernet(b[n:], wire-n, p, depth)
		}
	}
	switch {
	case src == portL2TP || dst == portL2TP:
		if n, good := l2tpHeader(b); good {
			return CarrierL2TP, d.ppp(b[n:], wire-n, p, depth)
		}
	case src == portESP || dst == portESP: // RFC 3948 section 2: four zeros come before IKE
		if len(b) > 8 && binary.BigEndian.Uint32(b) != 0 {
			if s := d.espNull(b, wire, p, depth); s != SkipOpaque {
				return CarrierESP, s
			}
			return CarrierNone, SkipMalformed
		}
	case src == portTeredo || dst == portTeredo:
		if n, good := teredoHeader(b); good && binary.BigEndian.Uint16(b[n+4:])+40 == uint16(wire-n) {
			return CarrierTeredo, d.ipv6(b[n:], wire-n, p, depth)
		}
	}
	// RFC 7348 section 5: the I flag is set; other bits are reserved, and ignored.
	if (dst == portVXLAN || dst == portVXLANLinux || dst == portVXLANGPE || d.isVXLAN(dst)) && len(b) > 8 && b[0]&0x08 != 0 {
		return CarrierVXLAN, d.ethernet(b[8:], wire-8, p, depth)
	}
	return CarrierNone, SkipMalformed
}

// isVXLAN reports whether a port is one of the further ones of VXLAN.
func (d *Decoder) isVXLAN(port uint16) bool {
	for _, v := range d.VXLANPorts {
		if v == port {
			return true
		}
	}
	return false
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

// tzspHeader returns the length of a header of TZSP that carries a frame of
// Ethernet or IEEE 802.11: version 1, type 0 (received) or 1 (to be sent), the
// kind of frame, and tagged fields up to the end tag.
func tzspHeader(b []byte) (n int, ok bool) {
	const ethernet, wlan, end, padding = 1, 18, 1, 0
	if len(b) < 5 || b[0] != 1 || b[1] > 1 {
		return 0, false
	}
	if t := binary.BigEndian.Uint16(b[2:]); t != ethernet && t != wlan {
		return 0, false
	}
	for n = 4; n < len(b); {
		switch b[n] {
		case end:
			return n + 1, true
		case padding:
			n++
		default:
			if n+1 >= len(b) {
				return 0, false
			}
			n += 2 + int(b[n+1])
		}
	}
	return 0, false
}

// l2tpHeader returns the length of the header of an L2TPv2 data message (RFC 2661
// section 3.1).
func l2tpHeader(b []byte) (n int, ok bool) {
	const control, length, sequence, offset = 0x8000, 0x4000, 0x0800, 0x0200
	if len(b) < 6 {
		return 0, false
	}
	flags := binary.BigEndian.Uint16(b)
	if flags&control != 0 || flags&0x0f != 2 {
		return 0, false
	}
	n = 6
	if flags&length != 0 {
		n += 2
	}
	if flags&sequence != 0 {
		n += 4
	}
	if flags&offset != 0 {
		if len(b) < n+2 {
			return 0, false
		}
		n += 2 + int(binary.BigEndian.Uint16(b[n:]))
	}
	return n, n < len(b)
}

// teredoHeader returns the length of what comes before the IPv6 packet of a Teredo
// datagram (RFC 4380 section 5.1.1).
func teredoHeader(b []byte) (n int, ok bool) {
	const authentication, origin = 1, 0
	if len(b) > 4 && b[0] == 0 && b[1] == authentication {
		n = 13 + int(b[2]) + int(b[3])
	}
	if len(b) > n+8 && b[n] == 0 && b[n+1] == origin {
		n += 8
	}
	return n, len(b) >= n+40 && b[n]>>4 == 6
}
