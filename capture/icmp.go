package capture

import "encoding/binary"

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
