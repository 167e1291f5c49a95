// Package communityid computes Community ID flow hashes, by which the same flow
// is found again in the records of other tools (Zeek, Suricata, Wireshark ...).
//
// Source: https://github.com/corelight/community-id-spec, version 1.
package communityid

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// esp is the IP protocol without ports that can be the protocol of a flow.
const esp = 50

// V1 returns the Community ID version 1 with seed 0 of a TCP, UDP, SCTP or ESP flow
// between a and b: "1:" and the Base64 form of a SHA-1 hash. The order of the
// ends does not matter. proto is the IP protocol number; IPv4-mapped IPv6
// addresses count as IPv4. ICMP, whose types stand in for ports, is not served.
// SHA-1 is what the specification asks for; nothing secret rests on it.
func V1(proto uint8, a, b netip.AddrPort) string {
	return string(AppendV1(nil, proto, a, b))
}

// AppendV1 appends what V1 returns to dst.
func AppendV1(dst []byte, proto uint8, a, b netip.AddrPort) []byte {
	aa, ba := a.Addr().Unmap(), b.Addr().Unmap()
	ap, bp := a.Port(), b.Port()
	if c := aa.Compare(ba); c > 0 || c == 0 && ap > bp {
		aa, ba, ap, bp = ba, aa, bp, ap
	}
	// seed (2), addresses (4 or 16 each), protocol, padding, ports (2 each).
	var buf [2 + 16 + 16 + 2 + 4]byte
	n := 2
	n += put(buf[n:], aa)
	n += put(buf[n:], ba)
	buf[n] = proto
	binary.BigEndian.PutUint16(buf[n+2:], ap)
	binary.BigEndian.PutUint16(buf[n+4:], bp)
	if n += 6; proto == esp {
		n -= 4
	}
	sum := sha1.Sum(buf[:n])
	dst = append(dst, "1:"...)
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

func put(dst []byte, a netip.Addr) int {
	if a.Is4() {
		b := a.As4()
		return copy(dst, b[:])
	}
	b := a.As16()
	return copy(dst, b[:])
}
