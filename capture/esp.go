package capture

import "encoding/binary"

const lenESP = 8 // SPI and sequence number (RFC 4303 section 2)

// esp reads ESP (RFC 4303): the packet inside where it is not encrypted, else ESP
// itself.
func (d *Decoder) esp(b []byte, wire int, p *Packet, depth int) Skip {
	a, z := p.Src.Addr, p.Dst.Addr
	outer := *p
	if s := d.espNull(b, wire, p, depth); s != SkipOpaque {
		return d.within(CarrierESP, a, z, p, s)
	}
	*p = outer
	d.unread = unread{}
	if wire < lenESP {
		return SkipMalformed
	}
	p.Proto, p.Src.Port, p.Dst.Port = ESP, 0, 0
	p.Seq, p.Ack, p.Flags = 0, 0, 0
	p.Quoted, p.ICMPType, p.ICMPCode = 0, 0, 0
	p.PayloadLength, p.Payload = uint32(wire), b
	p.Hash = hash(&p.Src, &p.Dst, ESP)
	return SkipNone
}

// espNull reads ESP with the null encryption algorithm (RFC 2410), from its own
// header on. Nothing in the packet says that it is null: what is taken for the
// trailer and for the packet inside has to prove it. It returns SkipOpaque if
// there is no proof.
func (d *Decoder) espNull(b []byte, wire int, p *Packet, depth int) Skip {
	if len(b) < wire { // the trailer is cut off
		return d.skip(SkipOpaque, UnreadProtocol, ESP)
	}
	// The lengths of integrity check values (RFC 8221 section 6), and of the
	// initialisation vector of AES-GMAC (RFC 4543).
	for _, icv := range [...]int{12, 16, 24, 32, 0} {
		for _, vector := range [...]int{0, 8} {
			from, trailer := lenESP+vector, len(b)-icv-2
			if from > trailer {
				continue
			}
			pad, next := int(b[trailer]), b[trailer+1]
			if pad > trailer-from || !padded(b[trailer-pad:trailer]) {
				continue
			}
			in := b[from : trailer-pad]
			switch next {
			case protoIPv4:
				if len(in) >= 20 && in[0]>>4 == 4 && int(binary.BigEndian.Uint16(in[2:])) == len(in) && checksum(0, in[:min(len(in), int(in[0]&0xf)*4)]) == 0xffff {
					return d.ipv4(in, len(in), p, depth)
				}
			case protoIPv6:
				if len(in) >= 40 && in[0]>>4 == 6 && int(binary.BigEndian.Uint16(in[4:]))+40 == len(in) && in[7] != 0 {
					return d.ipv6(in, len(in), p, depth)
				}
			case TCP, UDP:
				if len(in) >= 8 && checksum(pseudo(p, next, len(in)), in) == 0xffff {
					p.Length -= uint32(min(int(p.Length), len(b)-len(in)))
					return d.transport(next, in, len(in), p, depth)
				}
			}
		}
	}
	return d.skip(SkipOpaque, UnreadProtocol, ESP)
}

// padded reports whether b is ESP's padding: 1, 2, 3 and so on (RFC 4303 section
// 2.4).
func padded(b []byte) bool {
	for i, v := range b {
		if v != byte(i+1) {
			return false
		}
	}
	return true
}

// checksum adds the 16-bit words of b to sum, in ones' complement (RFC 1071).
func checksum(sum uint32, b []byte) uint32 {
	for len(b) >= 2 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// pseudo returns the sum of the pseudo-header of p (RFC 9293 section 3.1, RFC 8200
// section 8.1).
func pseudo(p *Packet, proto uint8, length int) uint32 {
	sum := uint32(proto) + uint32(length)
	for _, a := range [...]*Addr{&p.Src.Addr, &p.Dst.Addr} {
		if a.Is4() {
			sum = checksum(sum, a[12:])
		} else {
			sum = checksum(sum, a[:])
		}
	}
	return sum
}
