package capture

import "encoding/binary"

// EtherTypes (IEEE registration authority).
const (
	etherIPv4    = 0x0800
	etherARP     = 0x0806
	etherTEB     = 0x6558 // transparent Ethernet bridging
	etherVLAN    = 0x8100
	etherIPv6    = 0x86dd
	etherMPLS    = 0x8847
	etherMPLSm   = 0x8848
	etherPPPoE   = 0x8864
	etherPPP     = 0x880b
	etherQinQ    = 0x88a8
	etherMACsec  = 0x88e5
	etherPBB     = 0x88e7
	etherCMD     = 0x8909 // Cisco MetaData, with the security group tag
	etherVNTag   = 0x8926
	etherETag    = 0x893f // IEEE 802.1BR
	etherNSH     = 0x894f
	etherERSPAN  = 0x88be // types I and II
	etherERSPAN3 = 0x22eb
	etherQinQ1   = 0x9100 // tags before 802.1ad
	etherQinQ2   = 0x9200
	etherQinQ3   = 0x9300
)

// otherEtherType goes on after an EtherType that is neither IP nor a VLAN tag.
func (d *Decoder) otherEtherType(t uint16, b []byte, wire int, p *Packet, depth int) Skip {
	if depth >= maxDepth {
		return d.skip(SkipProtocol, UnreadEtherType, t)
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
	case etherVNTag: // 4 bytes: direction, pointer, destination, looped, version, source
		return d.tagged(4, b, wire, p, depth)
	case etherETag: // 6 bytes (IEEE 802.1BR-2012 section 7.5)
		return d.tagged(6, b, wire, p, depth)
	case etherCMD: // version, length in words, and as many options
		if len(b) < 2 {
			return cut(wire, 2)
		}
		if b[0] != 1 {
			return SkipMalformed
		}
		return d.tagged(2+4*int(max(b[1], 1)), b, wire, p, depth)
	case etherMACsec:
		return d.macsec(b, wire, p, depth+1)
	case etherNSH:
		return d.nsh(b, wire, p, depth+1)
	case etherPPP:
		return d.ppp(b, wire, p, depth+1)
	}
	if t <= 1500 {
		return d.llc(int(t), b, wire, p, depth+1)
	}
	return d.skip(SkipNotIP, UnreadEtherType, t)
}

// tagged goes on behind a tag of n bytes and the EtherType that ends it.
func (d *Decoder) tagged(n int, b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < n+2 {
		return cut(wire, n+2)
	}
	return d.etherType(binary.BigEndian.Uint16(b[n:]), b[n+2:], wire-n-2, p, depth+1)
}

// macsec reads a frame that MACsec (IEEE 802.1AE-2018 sections 9.3 to 9.7) signs
// and does not encrypt. The integrity check value, 16 bytes with all cipher
// suites of the standard, ends it.
func (d *Decoder) macsec(b []byte, wire int, p *Packet, depth int) Skip {
	const (
		version, hasSCI    = 0x80, 0x20
		encrypted, changed = 0x08, 0x04
		lenICV             = 16
	)
	n := 6
	if len(b) < n {
		return cut(wire, n)
	}
	if b[0]&version != 0 {
		return SkipMalformed
	}
	if b[0]&(encrypted|changed) != 0 {
		return d.skip(SkipOpaque, UnreadEtherType, etherMACsec)
	}
	if b[0]&hasSCI != 0 {
		n += 8
	}
	if wire -= lenICV; wire < n+2 {
		return SkipMalformed
	}
	return d.tagged(n, b[:min(len(b), wire)], wire, p, depth)
}

// nsh reads a network service header (RFC 8300 section 2.2).
func (d *Decoder) nsh(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < 8 {
		return cut(wire, 8)
	}
	n := int(b[1]&0x3f) * 4
	if b[0]>>6 != 0 || n < 8 {
		return SkipMalformed
	}
	if len(b) < n {
		return cut(wire, n)
	}
	return d.nextProtocol(b[3], b[n:], wire-n, p, depth)
}

// nextProtocol goes on after a Next Protocol field of NSH (RFC 8300 section 2.2)
// or VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe section 3.2), whose numbers agree.
func (d *Decoder) nextProtocol(next uint8, b []byte, wire int, p *Packet, depth int) Skip {
	if depth >= maxDepth {
		return d.skip(SkipProtocol, UnreadEtherType, etherNSH)
	}
	switch next {
	case 1:
		return d.ipv4(b, wire, p, depth)
	case 2:
		return d.ipv6(b, wire, p, depth)
	case 3:
		return d.ethernet(b, wire, p, depth)
	case 4:
		return d.nsh(b, wire, p, depth+1)
	case 5:
		return d.mpls(b, wire, p, depth+1)
	}
	return d.skip(SkipNotIP, UnreadEtherType, etherNSH)
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
		t := binary.BigEndian.Uint16(b[6:])
		if oui := uint32(b[3])<<16 | uint32(b[4])<<8 | uint32(b[5]); oui != 0 && oui != 0x0000f8 {
			return d.skip(SkipNotIP, UnreadSNAP, t)
		}
		if t <= 1500 {
			return d.skip(SkipNotIP, UnreadSNAP, t)
		}
		return d.etherType(t, b[8:], wire-8, p, depth)
	case b[0] == 6 && b[1] == 6 && b[2] == 3:
		return d.ip(b[3:], wire-3, p, depth)
	}
	return d.skip(SkipNotIP, UnreadLLC, uint16(b[0]))
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
	if len(b) < 7 {
		return cut(wire, 7)
	}
	if b[0] != 0x11 || b[1] != 0 {
		return SkipMalformed
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	b, wire = b[6:], wire-6
	if length < 1 {
		return SkipMalformed
	}
	if length < wire {
		wire = length
		b = b[:min(len(b), length)]
	}
	return d.ppp(b, wire, p, depth)
}

// ppp reads a PPP protocol field and what follows. The two bytes of HDLC-like
// framing (RFC 1662 section 3.1) may come before it, and it may have one byte
// instead of two: then its lowest bit is set (RFC 1661 section 6.5).
func (d *Decoder) ppp(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b, wire = b[2:], wire-2
	}
	if len(b) < 1 {
		return cut(wire, 1)
	}
	protocol, n := uint16(b[0]), 1
	if b[0]&1 == 0 {
		if len(b) < 2 {
			return cut(wire, 2)
		}
		protocol, n = binary.BigEndian.Uint16(b), 2
	}
	b, wire = b[n:], wire-n
	switch protocol {
	case 0x0021:
		return d.ipv4(b, wire, p, depth)
	case 0x0057:
		return d.ipv6(b, wire, p, depth)
	case 0x0281:
		return d.mpls(b, wire, p, depth)
	case 0x00fb, 0x00fd, 0x0053, 0x0055: // compressed (RFC 1962) or encrypted (RFC 1968)
		return d.skip(SkipOpaque, UnreadPPP, protocol)
	}
	return d.skip(SkipNotIP, UnreadPPP, protocol)
}
