package main

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

// encapsulation wraps Ethernet frames that carry IPv4.
type encapsulation struct {
	name string
	link int // LINKTYPE_ of the result
	wrap func(frame []byte) []byte
}

// bytesOf parses hexadecimal digits with spaces.
func bytesOf(digits string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// between inserts a tag and its EtherType after the MAC addresses. The type of the frame
// follows the tag.
func between(digits string) func([]byte) []byte {
	return func(f []byte) []byte { return slices.Concat(f[:12], bytesOf(digits), f[12:]) }
}

// instead moves the IP datagram of a frame after other bytes.
func instead(digits string, keepMAC bool) func([]byte) []byte {
	return func(f []byte) []byte {
		if keepMAC {
			return slices.Concat(f[:12], bytesOf(digits), f[14:])
		}
		return slices.Concat(bytesOf(digits), f[14:])
	}
}

// inIP puts the result of inner for a frame into IPv4 between two tunnel ends.
func inIP(proto byte, inner func([]byte) []byte) func([]byte) []byte {
	return func(f []byte) []byte {
		data := inner(f)
		head := bytesOf("4500 0000 0000 0000 40 00 0000 0a630001 0a630002")
		binary.BigEndian.PutUint16(head[2:], uint16(20+len(data)))
		head[9] = proto
		fixIPv4(head)
		return slices.Concat(bytesOf("020a63000002 020a63000001 0800"), head, data)
	}
}

// inUDP puts the result of inner for a frame into UDP between two tunnel ends.
func inUDP(port uint16, inner func([]byte) []byte) func([]byte) []byte {
	return inIP(17, func(f []byte) []byte {
		data := inner(f)
		head := make([]byte, 8)
		binary.BigEndian.PutUint16(head, 40000)
		binary.BigEndian.PutUint16(head[2:], port)
		binary.BigEndian.PutUint16(head[4:], uint16(8+len(data)))
		return append(head, data...)
	})
}

// before prepends bytes to the whole frame. beforeIP prepends bytes to its IP datagram.
func before(digits string) func([]byte) []byte {
	return func(f []byte) []byte { return append(bytesOf(digits), f...) }
}

func beforeIP(digits string) func([]byte) []byte { return instead(digits, false) }

// withLength is beforeIP with a 16-bit length filled in: the length of the IP datagram
// plus more.
func withLength(digits string, at, more int) func([]byte) []byte {
	return func(f []byte) []byte {
		head := bytesOf(digits)
		binary.BigEndian.PutUint16(head[at:], uint16(len(f)-14+more))
		return append(head, f[14:]...)
	}
}

// espNull adds ESP in tunnel mode without encryption and with a check value of 12 bytes
// (RFC 2410, RFC 4303).
func espNull(f []byte) []byte {
	ip := f[14:]
	pad := (4 - (len(ip)+2)%4) % 4
	b := append(bytesOf("00001234 00000001"), ip...)
	for i := range pad {
		b = append(b, byte(i+1))
	}
	b = append(b, byte(pad), 4)
	return append(b, bytesOf("abababababababababababab")...)
}

// nflog returns a packet of LINKTYPE_NFLOG that contains only its payload.
func nflog(f []byte) []byte {
	ip := f[14:]
	b := bytesOf("02 00 0000 0000 0900")
	binary.LittleEndian.PutUint16(b[4:], uint16(4+len(ip)))
	return append(b, ip...)
}

// inIPv6 puts IPv4 into IPv6 (RFC 2473).
func inIPv6(f []byte) []byte {
	head := bytesOf("60000000 0000 04 40 20010db8000000000000000000000001 20010db8000000000000000000000002")
	binary.BigEndian.PutUint16(head[4:], uint16(len(f)-14))
	return slices.Concat(bytesOf("020a63000002 020a63000001 86dd"), head, f[14:])
}

// encapsulations lists the tags, tunnels and link types of mirrored frames.
var encapsulations = []encapsulation{
	{"vlan", linkEthernet, between("8100 0007")},
	{"qinq", linkEthernet, between("88a8 000a 8100 0014")},
	{"vn-tag 0x8926", linkEthernet, between("8926 00010002")},                                             // Cisco
	{"e-tag 0x893f", linkEthernet, between("893f 0001 00000000")},                                         // IEEE 802.1BR
	{"cmd 0x8909", linkEthernet, between("8909 01 01 0001 0007")},                                         // Cisco MetaData, a security group
	{"macsec, integrity only", linkEthernet, macsec},                                                      // IEEE 802.1AE
	{"pbb", linkEthernet, before("020000000b02 020000000b01 88e7 00000101")},                              // IEEE 802.1ah
	{"mpls", linkEthernet, instead("8847 0010 0040 0011 0140", true)},                                     // RFC 3032, two labels
	{"pppoe", linkEthernet, pppoe("0021")},                                                                // RFC 2516
	{"pppoe, protocol of one byte", linkEthernet, pppoe("21")},                                            // RFC 1661, 6.5
	{"nsh", linkEthernet, instead("894f 0fc6 01 01 00000a ff 00000000 00000000 00000000 00000000", true)}, // RFC 8300, MD type 1
	{"gre", linkEthernet, inIP(47, beforeIP("0000 0800"))},                                                // RFC 2784
	{"gre, ethernet", linkEthernet, inIP(47, before("0000 6558"))},
	{"gre, key and sequence", linkEthernet, inIP(47, beforeIP("3000 0800 00000007 00000001"))},          // RFC 2890
	{"gre of pptp", linkEthernet, inIP(47, withLength("3001 880b 0000 0005 00000001 ff03 0021", 4, 4))}, // RFC 2637
	{"erspan i", linkEthernet, inIP(47, before("0000 88be"))},
	{"erspan ii", linkEthernet, inIP(47, before("1000 88be 00000001 1064 0001 00000000"))},
	{"erspan iii", linkEthernet, inIP(47, before("1000 22eb 00000001 2064 0001 00000000 00000000"))},
	{"ip in ip", linkEthernet, inIP(4, beforeIP(""))},                                                 // RFC 2003
	{"ip in ipv6", linkEthernet, inIPv6},                                                              // RFC 2473
	{"ah", linkEthernet, inIP(51, beforeIP("04 04 0000 00001234 00000001 abababababababababababab"))}, // RFC 4302, tunnel mode
	{"esp-null", linkEthernet, inIP(50, espNull)},                                                     // RFC 2410
	{"vxlan", linkEthernet, inUDP(4789, before("08000000 00000700"))},                                 // RFC 7348
	{"vxlan, port 8472", linkEthernet, inUDP(8472, before("08000000 00000700"))},
	{"vxlan, reserved bits", linkEthernet, inUDP(4789, before("88000042 00000701"))},
	{"vxlan-gpe", linkEthernet, inUDP(4790, before("0c000003 00000700"))},
	{"vxlan-gpe, ip", linkEthernet, inUDP(4790, beforeIP("0c000001 00000700"))},
	{"geneve", linkEthernet, inUDP(6081, before("0000 6558 00000700"))},         // RFC 8926
	{"l2tpv2", linkEthernet, inUDP(1701, beforeIP("0002 0005 0006 ff03 0021"))}, // RFC 2661
	{"tzsp", linkEthernet, inUDP(37008, before("01 00 0001 01"))},
	{"raw", linkRaw, beforeIP("")},
	{"null", linkNull, beforeIP("02000000")},
	{"loop", linkLoop, beforeIP("00000002")},
	{"ppp", linkPPP, beforeIP("ff03 0021")},
	{"c-hdlc", linkCHDLC, beforeIP("0f00 0800")},
	{"nflog", linkNFLOG, nflog},
	{"linux cooked", linkSLL, beforeIP("0000 0001 0006 020000000001 0000 0800")},
	{"linux cooked v2", linkSLL2, beforeIP("0800 0000 00000002 0001 00 06 020000000001 0000")},
}

// macsec adds a security tag without encryption, and a check value at the end.
func macsec(f []byte) []byte {
	return append(between("88e5 00 00 00000001")(f), bytesOf("abababababababababababababababab")...)
}

// pppoe puts IPv4 into a PPPoE session with the given protocol field.
func pppoe(protocol string) func([]byte) []byte {
	return func(f []byte) []byte {
		p := bytesOf(protocol)
		head := bytesOf("8864 11 00 0007 0000")
		binary.BigEndian.PutUint16(head[6:], uint16(len(p)+len(f)-14))
		return slices.Concat(f[:12], head, p, f[14:])
	}
}
