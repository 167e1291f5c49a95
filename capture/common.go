package capture

import "encoding/binary"

// Lengths of headers without options.
const (
	lenEther = 14
	lenTag   = 4
	lenIPv4  = 20
	lenIPv6  = 40
	lenTCP   = 20

	leastCommon = lenEther + lenIPv4 + lenTCP
)

// commonKind says what common has read.
type commonKind uint8

// The kinds. See sink.quiet for what else is asked of each.
const (
	commonTCP    commonKind = iota // a segment within a connection
	commonUDP                      // a datagram
	commonEdge                     // a segment with SYN, FIN or RST
	commonTunnel                   // a datagram from or to one of the usualPorts
	notCommon                      // nothing
)

// common reads an Ethernet frame of the shape that nearly all have, in one go:
// two tags at most, IPv4 without options or IPv6 without extension headers, TCP
// or UDP, and nothing of the packet cut off. It returns notCommon for any other frame
// and for any that looks odd. Otherwise a Decoder would have set the same fields,
// unless the ports of a datagram mean an encapsulation; see Decoder.done.
//
// A Decoder takes two and a half times as many instructions. So what counts here
// is that the compiler sees the lengths: headers are read from arrays, and
// lengths are unsigned, which leaves one check of the bounds for each. That works
// only within one function, so common is a long one.
func common(b []byte, p *Packet) commonKind {
	if len(b) < leastCommon {
		return notCommon
	}
	h := (*[leastCommon]byte)(b)
	tags := VLANs(0)
	kind := binary.BigEndian.Uint16(h[12:])
	if kind != etherIPv4 && (kind == etherVLAN || kind == etherQinQ) {
		if len(b) < lenTag+leastCommon {
			return notCommon
		}
		b = b[lenTag:] // as if the frame began there
		h = (*[leastCommon]byte)(b)
		tags = tags.Push(binary.BigEndian.Uint16(h[10:]))
		if kind = binary.BigEndian.Uint16(h[12:]); kind == etherVLAN {
			if len(b) < lenTag+leastCommon {
				return notCommon
			}
			b = b[lenTag:]
			h = (*[leastCommon]byte)(b)
			tags = tags.Push(binary.BigEndian.Uint16(h[10:]))
			kind = binary.BigEndian.Uint16(h[12:])
		}
	}
	var x *[lenTCP]byte // the header that carries the ports
	var src, dst uint64
	var proto uint8
	var length, header uint // of the IP packet; of all headers, so far to x
	switch kind {
	case etherIPv4:
		if h[14] != 4<<4|lenIPv4/4 || binary.LittleEndian.Uint16(h[20:])&0xff3f != 0 { // options, or a fragment
			return notCommon
		}
		x = (*[lenTCP]byte)(h[lenEther+lenIPv4:])
		length, header, proto = uint(binary.BigEndian.Uint16(h[16:])), lenEther+lenIPv4, h[23]
		src, dst = mapped(binary.LittleEndian.Uint32(h[26:])), mapped(binary.LittleEndian.Uint32(h[30:]))
		binary.LittleEndian.PutUint64(p.Src.Addr[:8], 0)
		binary.LittleEndian.PutUint64(p.Dst.Addr[:8], 0)
		binary.LittleEndian.PutUint64(p.Src.Addr[8:], src)
		binary.LittleEndian.PutUint64(p.Dst.Addr[8:], dst)
	case etherIPv6:
		if h[14]>>4 != 6 || len(b) < lenEther+lenIPv6+lenTCP {
			return notCommon
		}
		h := (*[lenEther + lenIPv6 + lenTCP]byte)(b)
		x = (*[lenTCP]byte)(h[lenEther+lenIPv6:])
		length, header, proto = lenIPv6+uint(binary.BigEndian.Uint16(h[18:])), lenEther+lenIPv6, h[20]
		p.Src.Addr = Addr(h[22:38])
		p.Dst.Addr = Addr(h[38:54])
		src, dst = addrWord(&p.Src.Addr), addrWord(&p.Dst.Addr)
	default:
		return notCommon
	}
	sport, dport := binary.BigEndian.Uint16(x[:]), binary.BigEndian.Uint16(x[2:])
	p.Src.Port, p.Dst.Port = sport, dport
	p.Hash = hashWords(src^uint64(sport), dst^uint64(dport), proto)
	p.Proto, p.Frames, p.VLANs, p.Tunnel, p.Length = proto, 1, tags, 0, uint32(length)
	p.Quoted, p.ICMPType, p.ICMPCode = 0, 0, 0
	end := lenEther + length
	what := commonTCP
	switch proto {
	case TCP:
		if x[12] < lenTCP/4<<4 {
			return notCommon
		}
		header += uint(x[12]>>4) * 4
		flags := x[13]
		p.Flags = flags
		if flags&(SYN|FIN|RST) != 0 {
			what = commonEdge
		}
		p.Seq, p.Ack = binary.BigEndian.Uint32(x[4:]), binary.BigEndian.Uint32(x[8:])
	case UDP:
		if header+uint(binary.BigEndian.Uint16(x[4:])) != end {
			return notCommon
		}
		header += 8
		what = commonUDP
		if usualPorts.has(sport, dport) {
			what = commonTunnel
		}
		p.Flags, p.Seq, p.Ack = 0, 0, 0
	default:
		return notCommon
	}
	if header > end || end > uint(len(b)) {
		return notCommon
	}
	p.PayloadLength = uint32(end - header)
	p.Payload = b[header:end:end] // what follows pads the frame
	return what
}
