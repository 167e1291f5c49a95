package capture

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/exspan/exspan/capture/capturetest"
)

// build serialises layers of gopacket, lengths and checksums filled in.
func build(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	for i, l := range ls {
		switch l := l.(type) {
		case *layers.TCP:
			l.SetNetworkLayerForChecksum(network(ls[:i]))
		case *layers.UDP:
			l.SetNetworkLayerForChecksum(network(ls[:i]))
		}
	}
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), b.Bytes()...)
}

func network(ls []gopacket.SerializableLayer) gopacket.NetworkLayer {
	for i := len(ls) - 1; i >= 0; i-- {
		if n, ok := ls[i].(gopacket.NetworkLayer); ok {
			return n
		}
	}
	return nil
}

func eth(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: t}
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}}
}

func inner4() *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next,
		SrcIP: netip.MustParseAddr("2001:db8::1").AsSlice(), DstIP: netip.MustParseAddr("2001:db8::2").AsSlice()}
}

func tcpLayer() *layers.TCP {
	return &layers.TCP{SrcPort: 1050, DstPort: 135, Seq: 1001, Ack: 5001, PSH: true, ACK: true, Window: 65535}
}

func udpPort(p layers.UDPPort) *layers.UDP { return &layers.UDP{SrcPort: 50000, DstPort: p} }

func tag(id uint16, t layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Type: t}
}

func bytesOf(s string) gopacket.Payload {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// describe prints what a packet says on one line.
func describe(p *Packet) string {
	s := fmt.Sprintf("%d %v > %v len %d payload %d", p.Proto, p.Src.AddrPort(), p.Dst.AddrPort(), p.Length, p.PayloadLength)
	if len(p.Payload) > 0 {
		s += fmt.Sprintf(" %q", p.Payload)
	}
	if p.Proto == TCP {
		s += fmt.Sprintf(" seq %d ack %d flags %#x", p.Seq, p.Ack, p.Flags)
	}
	if p.Proto == ICMP || p.Proto == ICMPv6 {
		s += fmt.Sprintf(" quotes %d type %d/%d", p.Quoted, p.ICMPType, p.ICMPCode)
	}
	if p.VLANs != 0 {
		s += " vlan " + p.VLANs.String()
	}
	if p.Frames != 1 {
		s += fmt.Sprintf(" frames %d", p.Frames)
	}
	return s
}

const (
	tcp4 = `6 10.0.0.1:1050 > 10.0.0.2:135 len 42 payload 2 "hi" seq 1001 ack 5001 flags 0x18`
	tcp6 = `6 [2001:db8::1]:1050 > [2001:db8::2]:135 len 62 payload 2 "hi" seq 1001 ack 5001 flags 0x18`
)

type decodeCase struct {
	name string
	link uint16
	data []byte
	want string
}

// decodeCases returns a frame of each link type, tag and encapsulation, and what it
// says. gopacket writes the headers where it can.
func decodeCases(t testing.TB) []decodeCase {
	t.Helper()
	hi := gopacket.Payload("hi")
	inner := func(l ...gopacket.SerializableLayer) []gopacket.SerializableLayer {
		return append(l, inner4(), tcpLayer(), hi)
	}
	raw4 := build(t, inner()...)
	raw6 := build(t, ip6(layers.IPProtocolTCP), tcpLayer(), hi)
	ether := build(t, inner(eth(layers.EthernetTypeIPv4))...)
	with := func(prefix string, b []byte) []byte { return append(bytesOf(prefix), b...) }
	gre := func(t uint16) *layers.GRE { return &layers.GRE{Protocol: layers.EthernetType(t)} }
	greSeq := func(t uint16) *layers.GRE {
		return &layers.GRE{Protocol: layers.EthernetType(t), SeqPresent: true, KeyPresent: true, ChecksumPresent: true}
	}
	over := func(b []byte, ls ...gopacket.SerializableLayer) []byte {
		return build(t, append(append([]gopacket.SerializableLayer{eth(layers.EthernetTypeIPv4)}, ls...), gopacket.Payload(b))...)
	}
	return []decodeCase{
		{"ethernet", LinkEthernet, ether, tcp4},
		{"ethernet ipv6", LinkEthernet, build(t, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolTCP), tcpLayer(), hi), tcp6},
		{"padding is no payload", LinkEthernet, append(ether[:len(ether):len(ether)], 0, 0, 0, 0, 0, 0), tcp4},
		{"raw", LinkRaw, raw4, tcp4},
		{"raw 12", 12, raw4, tcp4},
		{"raw 14", 14, raw6, tcp6},
		{"ipv4", LinkIPv4, raw4, tcp4},
		{"ipv6", LinkIPv6, raw6, tcp6},
		{"null little-endian", LinkNull, with("02000000", raw4), tcp4},
		{"null big-endian", LinkNull, with("00000002", raw4), tcp4},
		{"null freebsd ipv6", LinkNull, with("1c000000", raw6), tcp6},
		{"loop macos ipv6", LinkLoop, with("0000001e", raw6), tcp6},
		{"sll", LinkSLL, with("0000 0001 0006 020000000001 0000 0800", raw4), tcp4},
		{"sll vlan", LinkSLL, with("0000 0001 0006 020000000001 0000 8100 0064 0800", raw4), tcp4 + " vlan 100"},
		{"sll2", LinkSLL2, with("0800 0000 00000001 0001 00 06 020000000001 0000", raw4), tcp4},
		{"sll2 ipv6", LinkSLL2, with("86dd 0000 00000001 0001 00 06 020000000001 0000", raw6), tcp6},
		{"ppp", LinkPPP, with("0021", raw4), tcp4},
		{"ppp with framing", LinkPPPHDLC, with("ff03 0021", raw4), tcp4},
		{"ppp protocol of one byte", LinkPPP, with("21", raw4), tcp4},
		{"ppp ipv6 of one byte", LinkPPP, with("ff03 57", raw6), tcp6},
		{"ppp with direction", LinkPPPDir, with("00 ff03 0021", raw4), tcp4},
		{"ppp of pppd", LinkPPPD, with("01 03 0021", raw4), tcp4},
		{"ppp compressed", LinkPPP, with("00fd", raw4), "skip opaque"},
		{"ppp control", LinkPPP, with("c021", raw4), "skip not_ip"},
		{"pppoe as link", LinkPPPoE, with("1100 0001 002c 0021", raw4), tcp4},
		{"cisco hdlc", LinkCHDLC, with("0f00 0800", raw4), tcp4},
		{"cisco hdlc control", LinkCHDLC, with("8f00 8035", raw4), "skip not_ip"},
		{"nflog", LinkNFLOG, with("02 00 0000 0800 0100 08000300 2e00 0900", raw4), tcp4},
		{"nflog big-endian", LinkNFLOG, with("02 00 0000 0008 0001 08000300 002e 0009", raw4), tcp4},
		{"nflog without a packet", LinkNFLOG, with("02 00 0000 0800 0100 08000300", nil), "skip not_ip"},
		{"802.11", Link80211, with("0802 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), tcp4},
		{"802.11 with check sequence", Link80211, append(with("0802 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), 1, 2, 3, 4), tcp4},
		{"802.11 qos, four addresses", Link80211, with("8803 0000 020000000001 020000000002 020000000003 1000 020000000004 0000 aaaa03 000000 86dd", raw6), tcp6},
		{"802.11 encrypted", Link80211, with("0842 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), "skip opaque"},
		{"802.11 beacon", Link80211, with("8000 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), "skip not_ip"},
		{"802.11 aggregated", Link80211, with("8802 0000 020000000001 020000000002 020000000003 1000 8000 aaaa03 000000 0800", raw4), "skip opaque"},
		{"radiotap", LinkRadiotap, with("0000 0900 02000000 10 0802 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), tcp4},
		{"radiotap with padding", LinkRadiotap, with("0000 1100 03000000 0000000000000000 20 8802 0000 020000000001 020000000002 020000000003 1000 0000 0000 aaaa03 000000 0800", raw4), tcp4},
		{"prism", LinkPrism, with("44000000 0c000000 00000000 0802 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), tcp4},
		{"avs", LinkAVS, with("80211001 0000000c 00000000 0802 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), tcp4},
		{"vn-tag", LinkEthernet, with("020000000002 020000000001 8926 00010002 8100 000a 0800", raw4), tcp4 + " vlan 10"},
		{"e-tag", LinkEthernet, with("020000000002 020000000001 893f 000000010000 0800", raw4), tcp4},
		{"cisco metadata", LinkEthernet, with("020000000002 020000000001 8909 01 01 0001 0005 0800", raw4), tcp4},
		{"cisco metadata with two options", LinkEthernet, with("020000000002 020000000001 8909 01 02 0001 0005 0001 0006 86dd", raw6), tcp6},
		{"cisco metadata of another version", LinkEthernet, with("020000000002 020000000001 8909 02 01 0001 0005 0800", raw4), "skip malformed"},
		{"macsec", LinkEthernet, append(with("020000000002 020000000001 88e5 20 00 00000001 0200000000010001 0800", raw4), make([]byte, 16)...), tcp4},
		{"macsec without sci", LinkEthernet, append(with("020000000002 020000000001 88e5 00 00 00000001 86dd", raw6), make([]byte, 16)...), tcp6},
		{"macsec encrypted", LinkEthernet, append(with("020000000002 020000000001 88e5 2c 00 00000001 0200000000010001 0800", raw4), make([]byte, 16)...), "skip opaque"},
		{"nsh", LinkEthernet, with("020000000002 020000000001 894f 0fc2 02 01 00000001", raw4), tcp4},
		{"nsh with context", LinkEthernet, with("020000000002 020000000001 894f 0fc6 01 03 00000001 00000000 00000000 00000000 00000000", ether), tcp4},
		{"vlan", LinkEthernet, build(t, inner(eth(0x8100), tag(10, 0x0800))...), tcp4 + " vlan 10"},
		{"qinq", LinkEthernet, build(t, inner(eth(0x88a8), tag(10, 0x8100), tag(20, 0x0800))...), tcp4 + " vlan 10.20"},
		{"old qinq", LinkEthernet, build(t, inner(eth(0x9100), tag(10, 0x9200), tag(20, 0x8100), tag(30, 0x0800))...), tcp4 + " vlan 10.20.30"},
		{"llc snap", LinkEthernet, with("020000000002 020000000001 0032 aaaa03 000000 0800", raw4), tcp4},
		{"mac in mac", LinkEthernet, with("020000000002 020000000001 88e7 00000001", ether), tcp4},
		{"mpls", LinkEthernet, build(t, inner(eth(0x8847), &layers.MPLS{Label: 16, TTL: 1}, &layers.MPLS{Label: 17, StackBottom: true, TTL: 1})...), tcp4},
		{"pseudowire", LinkEthernet, with("020000000002 020000000001 8847 00010101 00000000", ether), tcp4},
		{"pppoe", LinkEthernet, build(t, inner(eth(0x8864), &layers.PPPoE{Version: 1, Type: 1, Length: 44}, &layers.PPP{PPPType: 0x21})...), tcp4},
		{"gre", LinkEthernet, over(raw4, ip4(47), gre(0x0800)), tcp4},
		{"gre with all fields", LinkEthernet, over(raw4, ip4(47), greSeq(0x0800)), tcp4},
		{"gre bridging", LinkEthernet, over(ether, ip4(47), gre(0x6558)), tcp4},
		{"erspan I", LinkEthernet, over(ether, ip4(47), gre(0x88be)), tcp4},
		{"erspan II", LinkEthernet, over(with("1064 0001 00000000", ether), ip4(47), &layers.GRE{Protocol: 0x88be, SeqPresent: true}), tcp4},
		{"erspan III", LinkEthernet, over(with("2064 0001 00000000 0000 0000", ether), ip4(47), &layers.GRE{Protocol: 0x22eb, SeqPresent: true}), tcp4},
		{"erspan III with subheader", LinkEthernet, over(with("2064 0001 00000000 0000 0001 0000000000000000", ether), ip4(47), &layers.GRE{Protocol: 0x22eb, SeqPresent: true}), tcp4},
		{"ip in ip", LinkEthernet, over(raw4, ip4(4)), tcp4},
		{"6in4", LinkEthernet, over(raw6, ip4(41)), tcp6},
		{"4in6", LinkEthernet, build(t, eth(0x86dd), ip6(4), gopacket.Payload(raw4)), tcp4},
		{"ah", LinkEthernet, over(with("06 04 0000 00000001 00000001 000000000000000000000000", raw4[20:]), ip4(51)),
			`6 192.0.2.1:1050 > 192.0.2.2:135 len 66 payload 2 "hi" seq 1001 ack 5001 flags 0x18`},
		{"etherip", LinkEthernet, over(with("3000", ether), ip4(97)), tcp4},
		{"vxlan", LinkEthernet, over(ether, ip4(17), udpPort(4789), &layers.VXLAN{ValidIDFlag: true, VNI: 5}), tcp4},
		{"geneve", LinkEthernet, over(with("01 00 6558 000005 00 00000000", ether), ip4(17), udpPort(6081)), tcp4},
		{"gtp", LinkEthernet, over(with("30 ff 002a 00000001", raw4), ip4(17), udpPort(2152)), tcp4},
		{"gtp with extension", LinkEthernet, over(with("34 ff 0032 00000001 0000 00 85 01 0000 00", raw4), ip4(17), udpPort(2152)), tcp4},
		{"vxlan with reserved bits", LinkEthernet, over(with("ff ffffff 000005 ff", ether), ip4(17), udpPort(4789)), tcp4},
		{"vxlan of linux", LinkEthernet, over(with("08 000000 000005 00", ether), ip4(17), udpPort(8472)), tcp4},
		{"vxlan-gpe", LinkEthernet, over(with("0c 0000 01 000005 00", raw4), ip4(17), udpPort(4790)), tcp4},
		{"vxlan-gpe with nsh", LinkEthernet, over(with("0c 0000 04 000005 00 0fc2 02 02 00000001", raw6), ip4(17), udpPort(4790)), tcp6},
		{"vxlan with arp", LinkEthernet, over(with("08 000000 000005 00 ffffffffffff 020000000001 0806 0001 0800 0604 0001", nil), ip4(17), udpPort(4789)), "skip not_ip"},
		{"pptp", LinkEthernet, over(with("3081 880b 002e 0001 00000001 00000001 ff03", with("21", append(raw4, 0))), ip4(47)), tcp4},
		{"pptp acknowledgement", LinkEthernet, over(with("2081 880b 0000 0001 00000001", nil), ip4(47)), "skip protocol"},
		{"l2tp", LinkEthernet, over(with("0002 0001 0002 ff03 0021", raw4), ip4(17), udpPort(1701)), tcp4},
		{"l2tp with all fields", LinkEthernet, over(with("4a02 003d 0001 0002 0001 0002 0003 000000 0021", raw4), ip4(17), udpPort(1701)), tcp4},
		{"l2tp control", LinkEthernet, over(with("c802 000c 0001 0000 0000 0000", nil), ip4(17), udpPort(1701)),
			`17 192.0.2.1:50000 > 192.0.2.2:1701 len 40 payload 12 "\xc8\x02\x00\f\x00\x01\x00\x00\x00\x00\x00\x00"`},
		{"teredo", LinkEthernet, over(raw6, ip4(17), udpPort(3544)), tcp6},
		{"teredo with indications", LinkEthernet, over(with("0001 0000 0000000000000000 00 0000 1234 01020304", raw6), ip4(17), udpPort(3544)), tcp6},
		{"tzsp", LinkEthernet, over(with("01 00 0001 0a 01 ff 00 01", ether), ip4(17), udpPort(37008)), tcp4},
		{"tzsp 802.11", LinkEthernet, over(with("01 00 0012 01 0802 0000 020000000001 020000000002 020000000003 1000 aaaa03 000000 0800", raw4), ip4(17), udpPort(37008)), tcp4},
		{"mpls in ip", LinkEthernet, over(with("00010101", raw4), ip4(137)), tcp4},
		{"esp null, tunnel", LinkEthernet, over(append(with("00000001 00000001", raw4), bytesOf("01 02 02 04 000000000000000000000000")...), ip4(50)), tcp4},
		{"esp null, tunnel, ipv6, gmac", LinkEthernet, over(append(with("00000001 00000001 0000000000000001", raw6), bytesOf("01 02 02 29 00000000000000000000000000000000")...), ip4(50)), tcp6},
		{"esp null over udp", LinkEthernet, over(append(with("00000001 00000001", raw4), bytesOf("01 02 02 04 000000000000000000000000")...), ip4(17), udpPort(4500)), tcp4},
		{"esp null, transport", LinkEthernet, over(append(with("00000001 00000001", build(t, ip4(6), tcpLayer(), hi)[20:]), bytesOf("01 01 06 000000000000000000000000")...), ip4(50)),
			`6 192.0.2.1:1050 > 192.0.2.2:135 len 42 payload 2 "hi" seq 1001 ack 5001 flags 0x18`},
		{"esp", LinkEthernet, over(append(with("00000001 00000001", raw4), bytesOf("01 03 02 04 000000000000000000000000")...), ip4(50)),
			`50 192.0.2.1:0 > 192.0.2.2:0 len 86 payload 66 "\x00\x00\x00\x01\x00\x00\x00\x01E\x00\x00*\x00\x00\x00\x00@\x06f\xcc\n\x00\x00\x01\n\x00\x00\x02\x04\x1a\x00\x87\x00\x00\x03\xe9\x00\x00\x13\x89P\x18\xff\xff\x17L\x00\x00hi\x01\x03\x02\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`},
		{"no vxlan", LinkEthernet, build(t, eth(0x0800), ip4(17), udpPort(4789), gopacket.Payload("not a tunnel at all")),
			`17 192.0.2.1:50000 > 192.0.2.2:4789 len 47 payload 19 "not a tunnel at all"`},
		{"no gtp", LinkEthernet, build(t, eth(0x0800), ip4(17), udpPort(2152), bytesOf("30 ff 0001 00000001 45")),
			`17 192.0.2.1:50000 > 192.0.2.2:2152 len 37 payload 9 "0\xff\x00\x01\x00\x00\x00\x01E"`},
		{"gtp with a ping", LinkEthernet, over(with("30 ff 001c 00000001 4500 001c 0000 0000 4001 0000 0a000001 0a000002 08 00 0000 00000000", nil), ip4(17), udpPort(2152)), "skip protocol"},
		{"ipv6 extensions", LinkRaw, build(t, ip6(0), bytesOf("2b 00 0000 0000 0000 3c 00 0000 0000 0000 06 00 0000 0000 0000"), gopacket.Payload(raw6[40:])),
			strings.Replace(tcp6, "len 62", "len 86", 1)},
		{"ipv6 atomic fragment", LinkRaw, build(t, ip6(44), bytesOf("06 00 0000 00000001"), gopacket.Payload(raw6[40:])),
			strings.Replace(tcp6, "len 62", "len 70", 1)},
		{"ipv4 options", LinkRaw, with("46 00 002e 0000 0000 40 06 0000 0a000001 0a000002 01010100", raw4[20:]), strings.Replace(tcp4, "len 42", "len 46", 1)},
		{"total length 0", LinkRaw, with("45 00 0000 0000 0000 40 06 0000 0a000001 0a000002", raw4[20:]), tcp4},
		{"icmp", LinkRaw, with("45 00 0038 0000 0000 40 01 0000 0a0000fe 0a000001 03 0d 0000 00000000", raw4[:28]),
			"1 10.0.0.1:1050 > 10.0.0.2:135 len 56 payload 0 quotes 6 type 3/13"},
		{"icmpv6", LinkRaw, build(t, ip6(58), bytesOf("01 01 0000 00000000"), gopacket.Payload(raw6[:48])),
			"58 [2001:db8::1]:1050 > [2001:db8::2]:135 len 96 payload 0 quotes 6 type 1/1"},
		{"ping", LinkRaw, with("45 00 001c 0000 0000 40 01 0000 0a0000fe 0a000001 08 00 0000 00000000", nil), "skip protocol"},
		{"arp", LinkEthernet, with("ffffffffffff 020000000001 0806 0001 0800 0604 0001", nil), "skip not_ip"},
		{"stp", LinkEthernet, with("0180c2000000 020000000001 0026 424203 0000 00 00 00", nil), "skip not_ip"},
		{"sctp", LinkRaw, with("45 00 0020 0000 0000 40 84 0000 0a0000fe 0a000001 0001 0002 00000000 00000000", nil), "skip protocol"},
		{"a link type that is not read", 147, raw4, "skip link_type"},
		{"header length below 20", LinkRaw, with("44 00 0028 0000 0000 40 06 0000 0a000001 0a000002", raw4[20:]), "skip malformed"},
		{"total length below header", LinkRaw, with("45 00 0010 0000 0000 40 06 0000 0a000001 0a000002", raw4[20:]), "skip malformed"},
		{"wrong version", LinkIPv4, with("55", raw4[1:]), "skip not_ip"},
		{"tcp header below 20", LinkRaw, with("45 00 0028 0000 0000 40 06 0000 0a000001 0a000002 041a 0087 00000001 00000001 40 02 0000 00000000", nil), "skip malformed"},
		{"tcp header beyond the packet", LinkRaw, with("45 00 0028 0000 0000 40 06 0000 0a000001 0a000002 041a 0087 00000001 00000001 f0 02 0000 00000000", nil), "skip malformed"},
		{"udp length below 8", LinkRaw, with("45 00 001c 0000 0000 40 11 0000 0a000001 0a000002 041a 0087 0007 0000", nil), "skip malformed"},
		{"nothing", LinkEthernet, nil, "skip malformed"},
		{"endless tags", LinkEthernet, with("020000000002 020000000001"+strings.Repeat("8100 0001", 40)+"0800", raw4), "skip malformed"},
		{"endless encapsulation", LinkRaw, nested(20), "skip protocol"},
	}
}

// TestDecode holds each link type, tag and encapsulation against the packet that
// was put into it.
func TestDecode(t *testing.T) {
	for _, c := range decodeCases(t) {
		var d Decoder
		var p Packet
		got := ""
		if s := d.Decode(c.link, c.data, uint32(len(c.data)), &p); s != SkipNone {
			got = "skip " + s.String()
		} else {
			got = describe(&p)
			if p.Hash != Hash(p.Src, p.Dst, max(p.Quoted, p.Proto*uint8(b2i(p.Quoted == 0)))) {
				t.Errorf("%s: hash", c.name)
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// nested is n IPv4 headers in each other.
func nested(n int) (b []byte) {
	for ; n > 0; n-- {
		h := append([]byte(nil), bytesOf("45 00 0000 0000 0000 40 04 0000 0a000001 0a000002")...)
		h[2], h[3] = byte((20+len(b))>>8), byte(20+len(b))
		b = append(h, b...)
	}
	return b
}

// TestSnap cuts a packet at every length: it is truncated until the flags are
// there, and says then how much payload there was.
func TestSnap(t *testing.T) {
	whole := build(t, eth(layers.EthernetTypeIPv4), inner4(), tcpLayer(), gopacket.Payload("payload"))
	var d Decoder
	var p Packet
	for n := range whole {
		s := d.Decode(LinkEthernet, whole[:n:n], uint32(len(whole)), &p)
		switch {
		case n < 14+20+14:
			if s != SkipTruncated {
				t.Errorf("%d bytes: %v", n, s)
			}
		case s != SkipNone || p.PayloadLength != 7 || len(p.Payload) != max(0, n-54) || p.Flags != PSH|ACK || p.Length != 47:
			t.Errorf("%d bytes: %v %s", n, s, describe(&p))
		}
		// A frame that really is that short contradicts itself in the IP length,
		// but is read as far as it goes.
		if s := d.Decode(LinkEthernet, whole[:n:n], uint32(n), &p); s == SkipNone && n < 54 {
			t.Errorf("%d bytes on the wire: %s", n, describe(&p))
		}
	}
}

func TestHash(t *testing.T) {
	a := EndpointFrom(netip.MustParseAddrPort("10.0.0.1:1050"))
	b := EndpointFrom(netip.MustParseAddrPort("10.0.0.2:135"))
	if Hash(a, b, TCP) != Hash(b, a, TCP) {
		t.Error("not symmetric")
	}
	if Hash(a, b, TCP) == Hash(a, b, UDP) {
		t.Error("the protocol has no part in it")
	}
	// Neighbouring keys spread over a table of 4,096 slots as chance has it: of
	// 65,536 no slot gets more than 50 (mean 16; chance of more below 1e-6).
	var low, high [4096]int
	for i := range 65536 {
		b.Port, b.Addr[15] = uint16(i), byte(i>>8)
		h := Hash(a, b, TCP)
		low[h&4095]++
		high[h>>52]++
	}
	for i := range low {
		if low[i] > 50 || high[i] > 50 {
			t.Fatalf("slot %d: %d and %d", i, low[i], high[i])
		}
	}
}

// TestDecodeAllocs holds the promise that packets cost no allocation.
func TestDecodeAllocs(t *testing.T) {
	ether := build(t, eth(0x8100), tag(10, 0x0800), inner4(), tcpLayer(), gopacket.Payload("payload"))
	tunnel := build(t, eth(0x0800), ip4(17), udpPort(4789), &layers.VXLAN{ValidIDFlag: true}, gopacket.Payload(ether))
	var d Decoder
	var p Packet
	if n := testing.AllocsPerRun(1000, func() {
		for _, b := range [][]byte{ether, tunnel} {
			if d.Decode(LinkEthernet, b, uint32(len(b)), &p) != SkipNone {
				t.Fatal("skipped")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	payload := gopacket.Payload(bytes.Repeat([]byte("x"), 500))
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"ipv4", build(b, eth(layers.EthernetTypeIPv4), inner4(), tcpLayer(), payload)},
		{"vlan-ipv6", build(b, eth(0x8100), tag(10, 0x86dd), ip6(layers.IPProtocolTCP), tcpLayer(), payload)},
		{"vxlan", build(b, eth(0x0800), ip4(17), udpPort(4789), &layers.VXLAN{ValidIDFlag: true},
			gopacket.Payload(build(b, eth(layers.EthernetTypeIPv4), inner4(), tcpLayer(), payload)))},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d Decoder
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				d.Decode(LinkEthernet, c.data, uint32(len(c.data)), &p)
			}
		})
	}
}

// FuzzDecode compares with gopacket wherever that decodes a frame without
// errors into nothing but link header, tags, IP and TCP or UDP.
func FuzzDecode(f *testing.F) {
	c, err := capturetest.Parse("seed", []byte(conversation), nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, frame := range c.Frames {
		f.Add(uint16(LinkEthernet), frame.Data)
	}
	for _, c := range decodeCases(f) {
		f.Add(c.link, c.data)
	}
	ether := build(f, eth(layers.EthernetTypeIPv4), inner4(), tcpLayer(), gopacket.Payload("x"))
	f.Add(uint16(LinkRaw), ether[14:])
	f.Add(uint16(LinkNull), append([]byte{2, 0, 0, 0}, ether[14:]...))
	f.Add(uint16(LinkSLL), append([]byte(bytesOf("0000 0001 0006 020000000001 0000 0800")), ether[14:]...))
	f.Add(uint16(LinkSLL2), append([]byte(bytesOf("0800 0000 00000001 0001 00 06 020000000001 0000")), ether[14:]...))
	f.Add(uint16(LinkEthernet), build(f, eth(0x0800), ip4(17), udpPort(4789), &layers.VXLAN{ValidIDFlag: true}, gopacket.Payload(ether)))
	f.Add(uint16(LinkEthernet), build(f, eth(0x0800), ip4(47), &layers.GRE{Protocol: 0x6558}, gopacket.Payload(ether)))
	f.Add(uint16(LinkEthernet), build(f, eth(0x86dd), ip6(0), bytesOf("2b 00 0000 0000 0000 3c 00 0000 0000 0000 06 00 0000 0000 0000"), tcpLayer()))
	f.Fuzz(func(t *testing.T, link uint16, frame []byte) {
		var d Decoder
		var p Packet
		agree(t, frame)
		s := d.Decode(link, frame, uint32(len(frame)), &p)
		if s == SkipNone {
			if int(p.PayloadLength) < len(p.Payload) || p.Length == 0 || p.Frames != 1 {
				t.Fatalf("%+v", p)
			}
			if p.Proto != TCP && p.Proto != UDP && p.Proto != ESP && p.Quoted != TCP && p.Quoted != UDP {
				t.Fatalf("%+v", p)
			}
		}
		if s == SkipPanic {
			t.Fatal("panic")
		}
		want, ok := oracle(link, frame)
		if !ok {
			return
		}
		if s != SkipNone {
			t.Fatalf("skipped as %v; gopacket reads %s", s, describe(&want))
		}
		if describe(&p) != describe(&want) {
			t.Fatalf("\n    ours %s\ngopacket %s", describe(&p), describe(&want))
		}
	})
}

// oracle reads a frame with gopacket. ok is false where gopacket finds errors,
// or layers whose reading differs on purpose.
func oracle(link uint16, frame []byte) (p Packet, ok bool) {
	switch link {
	case LinkEthernet, LinkRaw, LinkNull, LinkSLL:
	default:
		return p, false
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	packet := gopacket.NewPacket(frame, layers.LinkType(link), gopacket.DecodeOptions{})
	p.Frames = 1
	total, tags := 0, 0
	for _, l := range packet.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet, *layers.LinuxSLL, *layers.Loopback:
		case *layers.Dot1Q:
			if tags++; tags > MaxVLANs {
				return p, false
			}
			p.VLANs = p.VLANs.Push(l.VLANIdentifier)
		case *layers.IPv4:
			if total != 0 || l.Version != 4 || l.Length == 0 || l.Flags&layers.IPv4MoreFragments != 0 || l.FragOffset != 0 {
				return p, false
			}
			total = int(l.Length)
			src, _ := netip.AddrFromSlice(l.SrcIP)
			dst, _ := netip.AddrFromSlice(l.DstIP)
			p.Src.Addr, p.Dst.Addr = AddrFrom(src), AddrFrom(dst)
		case *layers.IPv6:
			if total != 0 || l.Version != 6 || l.Length == 0 || l.HopByHop != nil && l.NextHeader == 0 && len(l.HopByHop.Options) > 0 {
				return p, false // a jumbogram's length may stand in an option
			}
			total = 40 + int(l.Length)
			src, _ := netip.AddrFromSlice(l.SrcIP)
			dst, _ := netip.AddrFromSlice(l.DstIP)
			p.Src.Addr, p.Dst.Addr = AddrFrom(src), AddrFrom(dst)
		case *layers.IPv6HopByHop, *layers.IPv6Routing, *layers.IPv6Destination:
		case *layers.TCP:
			if packet.Metadata().Truncated || total == 0 {
				return p, false
			}
			p.Proto, p.Length = TCP, uint32(total)
			p.Src.Port, p.Dst.Port = uint16(l.SrcPort), uint16(l.DstPort)
			p.Seq, p.Ack, p.Flags = l.Seq, l.Ack, l.Contents[13]
			p.Payload, p.PayloadLength = l.Payload, uint32(len(l.Payload))
			return p, true
		case *layers.UDP:
			if packet.Metadata().Truncated || total == 0 || l.Length < 8 {
				return p, false
			}
			if usualPorts.has(uint16(l.SrcPort), uint16(l.DstPort)) {
				return p, false
			}
			p.Proto, p.Length = UDP, uint32(total)
			p.Src.Port, p.Dst.Port = uint16(l.SrcPort), uint16(l.DstPort)
			p.Payload, p.PayloadLength = l.Payload, uint32(len(l.Payload))
			return p, true
		default:
			return p, false
		}
	}
	return p, false
}
