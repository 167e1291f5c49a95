package etw

import (
	"encoding/binary"
	"unicode/utf16"
)

const linkEthernet = 1 // LINKTYPE_ETHERNET

var be = binary.BigEndian

// frame converts an appearance to an Ethernet frame and reports whether it is one.
func (r *Reader) frame(a *appearance, f *Frame) bool {
	f.Data = a.data
	switch a.link {
	case linkEther:
	case linkOther:
		f.Link = a.kind
	case linkKnown:
		if !knownType(a.data) && !r.fromWLAN(a.data, f) {
			return false
		}
	case linkSniff:
		r.fromWLAN(a.data, f)
	case link80211:
		if !r.fromWLAN(a.data, f) {
			return false
		}
	case linkIP:
		if !r.fromIP(a.data, f) {
			return false
		}
	default:
		return false
	}
	n := len(f.Data)
	if a.original > 0 || a.whole {
		// A conversion changes the length on the wire by as much as that of the frame.
		f.Wire = clampLength(max(n, a.original-len(a.data)+n))
		return true
	}
	f.Wire = clampLength(n)
	if p := layer3(f.Data); a.point.Event != 160 && p.length > 0 {
		// ndiscap does not record the original length of a truncated packet. The IP
		// header states it.
		f.Wire = clampLength(max(n, p.offset+p.length))
	}
	return true
}

// knownType reports whether b begins with an Ethernet header whose type cannot come from
// an 802.11 header.
func knownType(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	switch be.Uint16(b[12:]) {
	case 0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x88cc, 0x888e:
		return true
	}
	return false
}

// fromWLAN converts an 802.11 data frame (IEEE 802.11 section 9.3.2.1) to Ethernet and
// reports whether it is one. Drivers deliver decrypted frames, in which the Protected bit
// may still be set. A frame without an LLC header may be an aggregate.
func (r *Reader) fromWLAN(b []byte, f *Frame) bool {
	if len(b) < 24 || b[0]&0x0f != 0x08 {
		return false
	}
	head := 24
	if b[1]&3 == 3 {
		head += 6
	}
	if b[0]&0x80 != 0 {
		head += 2
	}
	if len(b) < head+8 || [6]byte(b[head:]) != [6]byte{0xaa, 0xaa, 3} {
		return false
	}
	to, from := b[4:10], b[10:16]
	switch b[1] & 3 {
	case 1: // to the distribution system
		to = b[16:22]
	case 2: // from the distribution system
		from = b[16:22]
	case 3:
		to, from = b[16:22], b[24:30]
	}
	r.wlan = append(append(append(r.wlan[:0], to...), from...), b[head+6:]...)
	f.Data = r.wlan
	return true
}

// fromIP adds an Ethernet header without addresses to an IP packet.
func (r *Reader) fromIP(b []byte, f *Frame) bool {
	if len(b) == 0 {
		return false
	}
	kind := [2]byte{0x08, 0x00}
	switch b[0] >> 4 {
	case 4:
	case 6:
		kind = [2]byte{0x86, 0xdd}
	default:
		return false
	}
	r.wlan = append(append(append(r.wlan[:0], make([]byte, 12)...), kind[:]...), b...)
	f.Data = r.wlan
	return true
}

// ip describes the IP packet in an Ethernet frame.
type ip struct {
	kind   uint16 // EtherType after VLAN tags
	offset int    // offset of the data after the Ethernet header
	length int    // length of the IP packet as stated, or as captured if not stated; 0 if it is not IP
	proto  uint8
	head   int // length of the IP header in bytes
}

func layer3(b []byte) ip {
	if len(b) < 14 {
		return ip{offset: len(b)}
	}
	p := ip{kind: be.Uint16(b[12:]), offset: 14}
	for (p.kind == 0x8100 || p.kind == 0x88a8) && len(b) >= p.offset+4 {
		p.kind = be.Uint16(b[p.offset+2:])
		p.offset += 4
	}
	b = b[p.offset:]
	switch {
	case p.kind == 0x0800 && len(b) >= 20:
		p.head, p.length, p.proto = int(b[0]&15)*4, int(be.Uint16(b[2:])), b[9]
		if p.length == 0 { // the adapter will split it into segments
			p.length = len(b)
		}
	case p.kind == 0x86dd && len(b) >= 40:
		p.head, p.length, p.proto = 40, 40+int(be.Uint16(b[4:])), b[6]
		if p.length == 40 {
			p.length = len(b)
		}
	}
	return p
}

func utf16Text(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = le.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}
