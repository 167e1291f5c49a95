package rtp

import "encoding/binary"

// Packet types of RTCP (RFC 3550 section 12.1).
const (
	senderReport   = 200
	receiverReport = 201
	goodbye        = 203
	application    = 204
	lastRTCP       = 207 // of RFC 3550, RFC 4585 and RFC 3611
)

// isRTCP reports whether a datagram whose first bytes look like RTCP is RTCP or SRTCP
// although nothing announced it. The parts of RTCP must fill the datagram (RFC 3550
// appendix A.2), and one that stands alone must have a content that fits its length. cut
// reports that the end of the datagram was not captured. Then its first part counts.
func isRTCP(b []byte, cut bool) bool {
	if !cut && isSRTCP(b) {
		return true
	}
	parts := 0
	for rest := b; len(rest) > 0; parts++ {
		if len(rest) < 4 || rest[0]>>6 != 2 || rest[1] < senderReport || rest[1] > lastRTCP {
			return cut && parts > 0 && len(rest) < 4
		}
		n := 4 * (int(binary.BigEndian.Uint16(rest[2:])) + 1)
		if n > len(rest) {
			return cut && parts > 0
		}
		if parts == 0 && (n == len(b) || cut) && !fitsLength(rest[:n]) {
			return false
		}
		rest = rest[n:]
	}
	return true
}

// fitsLength reports whether the content of a part fits its length.
func fitsLength(p []byte) bool {
	count := int(p[0] & 31)
	switch p[1] {
	case senderReport:
		return len(p) == 28+24*count
	case receiverReport:
		return len(p) == 8+24*count && count > 0
	case application:
		if len(p) < 12 {
			return false
		}
		for _, c := range p[8:12] {
			if c < ' ' || c > '~' {
				return false
			}
		}
		return true
	case goodbye:
		if at := 4 + 4*count; count > 0 && len(p) > at {
			return (at+1+int(p[at])+3)&^3 == len(p)
		}
	}
	return false
}

// maxIndex is the index from which on an SRTCP packet does not prove itself: nothing in
// it can be read but its first header and the index, which counts packets.
const maxIndex = 1 << 14

// isSRTCP reports whether a datagram is an encrypted SRTCP packet (RFC 3711 section 3.4):
// with the flag E and a plausible index before an authentication tag of 80 or 32 bits.
func isSRTCP(b []byte) bool {
	n := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
	for _, tag := range [...]int{10, 4} {
		if at := len(b) - tag - 4; at >= n && at%4 == 0 && b[at]&0x80 != 0 && binary.BigEndian.Uint32(b[at:])&^(1<<31) < maxIndex {
			return true
		}
	}
	return false
}
