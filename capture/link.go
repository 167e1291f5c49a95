package capture

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Link types, as numbered in capture files (LINKTYPE_ values of
// https://www.tcpdump.org/linktypes.html).
const (
	LinkNull     = 0   // BSD loopback, address family in the writer's byte order
	LinkEthernet = 1   // IEEE 802.3
	LinkPPP      = 9   // PPP, with or without the HDLC framing's two bytes
	LinkPPPHDLC  = 50  // PPP in HDLC-like framing (RFC 1662)
	LinkPPPoE    = 51  // PPPoE, from its own header on
	LinkRaw      = 101 // IPv4 or IPv6 without a link header; also seen as 12 and 14
	LinkCHDLC    = 104 // Cisco HDLC
	Link80211    = 105 // IEEE 802.11, with or without the frame check sequence
	LinkLoop     = 108 // OpenBSD loopback, address family in network byte order
	LinkSLL      = 113 // Linux cooked capture v1
	LinkPrism    = 119 // Prism header before IEEE 802.11
	LinkRadiotap = 127 // radiotap header before IEEE 802.11
	LinkAVS      = 163 // AVS header before IEEE 802.11
	LinkPPPD     = 166 // PPP in HDLC-like framing, the direction in place of the address
	LinkPPPDir   = 204 // PPP after a byte for the direction
	LinkIPv4     = 228 // IPv4 without a link header
	LinkIPv6     = 229 // IPv6 without a link header
	LinkNFLOG    = 239 // Linux netfilter log messages
	LinkSLL2     = 276 // Linux cooked capture v2
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
		return d.skip(SkipNotIP, UnreadFamily, uint16(family))
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
	case LinkPPP, LinkPPPHDLC:
		return d.ppp(b, wire, p, 0)
	case LinkPPPD: // the direction is in place of the first of two bytes of framing
		if len(b) < 2 {
			return cut(wire, 2)
		}
		return d.ppp(b[2:], wire-2, p, 0)
	case LinkPPPDir:
		if len(b) < 1 {
			return cut(wire, 1)
		}
		return d.ppp(b[1:], wire-1, p, 0)
	case LinkPPPoE:
		return d.pppoe(b, wire, p, 0)
	case LinkCHDLC: // address, control, and the protocol as an EtherType
		if len(b) < 4 {
			return cut(wire, 4)
		}
		return d.etherType(binary.BigEndian.Uint16(b[2:]), b[4:], wire-4, p, 0)
	case LinkNFLOG:
		return d.nflog(b, wire, p)
	case Link80211:
		return d.wlan(b, wire, p)
	case LinkRadiotap:
		return d.radiotap(b, wire, p)
	case LinkPrism, LinkAVS:
		return d.prism(b, wire, p)
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
	return d.skip(SkipNotIP, UnreadVersion, uint16(b[0]>>4))
}

// nflog reads a message of Linux's netfilter log
// (https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html): a header of 4 bytes
// and attributes, each padded to 4 bytes, whose lengths and types are in the
// writer's byte order. The attribute of type 9 holds the IP packet.
func (d *Decoder) nflog(b []byte, wire int, p *Packet) Skip {
	const payload = 9
	if len(b) < 4 {
		return cut(wire, 4)
	}
	family := uint16(b[0])
	b, wire = b[4:], wire-4
	for len(b) >= 4 {
		n, kind := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
		if kind&0xff == 0 { // types are small: it was a big-endian machine
			n, kind = int(binary.BigEndian.Uint16(b)), kind>>8
		}
		if n < 4 || n > wire {
			return SkipMalformed
		}
		if kind&0x7fff == payload {
			return d.ip(b[4:min(n, len(b))], n-4, p, 0)
		}
		n = (n + 3) &^ 3
		if n > len(b) {
			return cut(wire, n)
		}
		b, wire = b[n:], wire-n
	}
	if wire > len(b) {
		return SkipTruncated
	}
	return d.skip(SkipNotIP, UnreadFamily, family)
}

// wlan reads a data frame of IEEE 802.11-2020 (section 9.3.2.1) that is not
// encrypted. Whether a frame check sequence ends it makes no difference, because
// the IP header says where the packet ends.
func (d *Decoder) wlan(b []byte, wire int, p *Packet) Skip {
	const (
		toDS, fromDS  = 1, 2
		protected     = 0x40
		order         = 0x80
		qos, noData   = 8, 4 // of the subtype
		dataType      = 2
		aggregated    = 0x80 // of the QoS control field
		leastDataSize = 24
	)
	if len(b) < 2 {
		return cut(wire, 2)
	}
	kind, subtype, flags := b[0]>>2&3, b[0]>>4, b[1]
	if kind != dataType || subtype&noData != 0 {
		return d.skip(SkipNotIP, UnreadWLAN, uint16(b[0]))
	}
	n := leastDataSize
	if flags&(toDS|fromDS) == toDS|fromDS {
		n += 6 // a fourth address
	}
	if subtype&qos != 0 {
		if len(b) < n+2 {
			return cut(wire, n+2)
		}
		if b[n]&aggregated != 0 {
			return d.skip(SkipOpaque, UnreadWLAN, uint16(b[0])) // several frames in one
		}
		n += 2
		if flags&order != 0 {
			n += 4 // the HT control field
		}
	}
	if flags&protected != 0 {
		return d.skip(SkipOpaque, UnreadWLAN, uint16(b[0]))
	}
	if len(b) < n {
		return cut(wire, n)
	}
	return d.llc(0, b[n:], wire-n, p, 1)
}

// radiotap reads the header of http://www.radiotap.org/: all of it is left out but
// its length, and the flag that says that the header behind it is padded.
func (d *Decoder) radiotap(b []byte, wire int, p *Packet) Skip {
	if len(b) < 8 {
		return cut(wire, 8)
	}
	n := int(binary.LittleEndian.Uint16(b[2:]))
	if b[0] != 0 || n < 8 {
		return SkipMalformed
	}
	if len(b) < n {
		return cut(wire, n)
	}
	const hasTime, hasFlags, more, dataPad = 1, 2, 1 << 31, 0x20
	present := binary.LittleEndian.Uint32(b[4:])
	at, word := 8, present
	for word&more != 0 && at+4 <= n {
		word = binary.LittleEndian.Uint32(b[at:])
		at += 4
	}
	padded := false
	if present&hasFlags != 0 {
		if present&hasTime != 0 {
			at = (at+7)&^7 + 8
		}
		padded = at < n && b[at]&dataPad != 0
	}
	b, wire = b[n:], wire-n
	if padded { // take the padding out, in a copy: such frames are rare
		if h := wlanHeader(b); h > 0 && h%4 != 0 {
			pad := 4 - h%4
			if len(b) >= h+pad {
				b = append(append(make([]byte, 0, len(b)), b[:h]...), b[h+pad:]...)
				wire -= pad
			}
		}
	}
	return d.wlan(b, wire, p)
}

// wlanHeader returns the length of the header of an IEEE 802.11 data frame, or 0.
func wlanHeader(b []byte) int {
	if len(b) < 2 || b[0]>>2&3 != 2 {
		return 0
	}
	n := 24
	if b[1]&3 == 3 {
		n += 6
	}
	if b[0]&0x80 != 0 {
		n += 2
	}
	return n
}

// prism reads the two older headers before IEEE 802.11: both begin with a number
// that tells them apart, and their length.
func (d *Decoder) prism(b []byte, wire int, p *Packet) Skip {
	if len(b) < 8 {
		return cut(wire, 8)
	}
	n := int(binary.BigEndian.Uint32(b[4:]))
	if magic := binary.BigEndian.Uint32(b); magic>>16 != 0x8021 { // not AVS
		if n = int(binary.LittleEndian.Uint32(b[4:])); binary.LittleEndian.Uint32(b) != 0x44 && magic != 0x44 {
			return d.wlan(b, wire, p) // some drivers leave the header out
		} else if magic == 0x44 {
			n = int(binary.BigEndian.Uint32(b[4:]))
		}
	}
	if n < 8 || n > 1<<10 {
		return SkipMalformed
	}
	if len(b) < n {
		return cut(wire, n)
	}
	return d.wlan(b[n:], wire-n, p)
}

// foreign finds the IP packet in a frame of another link type with gopacket's
// decoders (FDDI, packet filter logs and the like). They panic on some inputs.
func (d *Decoder) foreign(linkType uint16, b []byte, wire int, p *Packet) (s Skip) {
	if linkType > 255 || layers.LinkTypeMetadata[linkType].Name == "" {
		return d.skip(SkipLinkType, UnreadLink, linkType)
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
		return d.skip(SkipLinkType, UnreadLink, linkType)
	}
	return d.skip(SkipNotIP, UnreadLink, linkType)
}
