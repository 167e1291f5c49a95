package capture

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

// readConversation returns what the packets of a file say, without their times, a line
// each.
func readConversation(t *testing.T, file string) (lines string, tunnels map[string]int, stats Stats) {
	t.Helper()
	s, err := OpenFiles([]string{file}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b strings.Builder
	tunnels = map[string]int{}
	for {
		bt, err := s.Read()
		if err != nil {
			break
		}
		for i := range bt.Packets {
			p := &bt.Packets[i]
			fmt.Fprintln(&b, describe(p))
			tunnel := ""
			for id := p.Tunnel; id != 0; {
				t := bt.Tunnels.At(id)
				tunnel += fmt.Sprintf("%v %v-%v ", t.Carrier, t.Ends[0], t.Ends[1])
				id = t.Inner
			}
			tunnels[strings.TrimSpace(tunnel)]++
		}
		stats = bt.Stats
		bt.Release()
	}
	if errs := s.Errors(); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return b.String(), tunnels, stats
}

// TestEncapsulationFiles reads one SMTP conversation in several encapsulations: all
// have to give the same packets, and to tell of the outer ends.
func TestEncapsulationFiles(t *testing.T) {
	const outer = "192.0.2.1-192.0.2.2"
	plain, _, _ := readConversation(t, "../testdata/faults/encapsulations/c-hdlc104.pcap")
	if n := strings.Count(plain, "\n"); n != 13 || !strings.Contains(plain, "10.0.0.25:25") {
		t.Fatalf("%d packets:\n%s", n, plain)
	}
	// Of the same tags there are a recording and one with other ends.
	small, _, _ := readConversation(t, "../testdata/faults/02-cmd-sgt.pcap")
	for _, c := range []struct{ file, tunnel, want string }{
		{"encapsulations/80211-105", "", plain},
		{"encapsulations/br893f", "", plain},
		{"encapsulations/cmd8909", "", plain},
		{"encapsulations/vntag8926", "", plain},
		{"encapsulations/macsec-integrity-only", "", plain},
		{"encapsulations/nflog239", "", plain},
		{"encapsulations/vxlan8472-linux", "vxlan " + outer, plain},
		{"encapsulations/vxlan-gpe4790", "vxlan " + outer, plain},
		{"encapsulations/l2tpv2", "l2tp " + outer, plain},
		{"encapsulations/gre-pptp-v1", "gre " + outer, plain},
		{"encapsulations/esp-null-tunnel", "esp-null " + outer, plain},
		{"02c-etag", "", small},
		{"03-vxlan8472", "vxlan " + outer, small},
		{"04-tzsp", "tzsp " + outer, small},
	} {
		got, tunnels, _ := readConversation(t, filepath.Join("../testdata/faults", c.file+".pcap"))
		if got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.file, got, c.want)
		}
		if len(tunnels) != 1 || tunnels[c.tunnel] == 0 {
			t.Errorf("%s: carried by %v, want %q", c.file, tunnels, c.tunnel)
		}
	}
}

// TestOpaque holds that what cannot be read is counted by its name.
func TestOpaque(t *testing.T) {
	for file, want := range map[string]string{
		"encapsulations/sctp132": "SCTP (IP protocol 132)",
	} {
		_, _, stats := readConversation(t, filepath.Join("../testdata/faults", file+".pcap"))
		if u := stats.Unread[0]; u.String() != want || u.Frames != stats.Frames || stats.Missed() != stats.Frames {
			t.Errorf("%s: %v: %d of %d frames, %d missed", file, u, u.Frames, stats.Frames, stats.Missed())
		}
	}
	var u Unreads
	for i := range uint16(100) {
		u.add(UnreadEtherType, i, 2)
		u.add(UnreadEtherType, 3, 1)
	}
	if u[1].Number != 3 || u[1].Frames != 102 || u[maxUnread-1] != (Unread{UnreadOther, 0, 2 * (100 - maxUnread + 1)}) {
		t.Errorf("%v", u)
	}
	var d Decoder
	var p Packet
	arp := bytesOf("ffffffffffff 020000000001 0806 0001 0800 0604 0001")
	if s := d.Decode(LinkEthernet, arp, uint32(len(arp)), &p); s != SkipNotIP || d.unread != (unread{UnreadEtherType, etherARP}) {
		t.Errorf("ARP: %v %v", s, d.unread)
	}
	if u := (Unread{UnreadEtherType, etherARP, 1}); u.String() != "ARP (EtherType 0x0806)" || !u.Control() {
		t.Errorf("ARP: %v", u)
	}
}

// TestTunnels holds nested tunnels, both directions of one, and the limit.
func TestTunnels(t *testing.T) {
	d := Decoder{Tunnels: new(Tunnels)}
	decode := func(frame []byte) TunnelID {
		t.Helper()
		var p Packet
		if s := d.Decode(LinkEthernet, frame, uint32(len(frame)), &p); s != SkipNone {
			t.Fatalf("skipped: %v", s)
		}
		return p.Tunnel
	}
	inner := build(t, eth(0x0800), inner4(), tcpLayer())
	in := func(carried []byte, from, to string, port string) []byte {
		ip := netip.MustParseAddr(from).AsSlice()
		head := append(bytesOf("45 00 0000 0000 0000 40 11 0000"), ip...)
		head = append(head, netip.MustParseAddr(to).AsSlice()...)
		head = append(head, bytesOf("c000 "+port+" 0000 0000 08 000000 000005 00")...)
		return append(append(bytesOf("020000000002 020000000001 0800"), head...), carried...)
	}
	there, back := decode(in(inner, "192.0.2.1", "192.0.2.2", "12b5")), decode(in(inner, "192.0.2.2", "192.0.2.1", "12b5"))
	if there == 0 || there != back {
		t.Errorf("the directions of a tunnel: %d and %d", there, back)
	}
	if other := decode(in(inner, "192.0.2.1", "192.0.2.3", "12b5")); other == there || other == 0 {
		t.Errorf("another end, the same tunnel: %d", other)
	}
	if plain := decode(inner); plain != 0 {
		t.Errorf("the wire: %d", plain)
	}
	nested := d.Tunnels.At(decode(in(in(inner, "192.0.2.1", "192.0.2.2", "12b5"), "198.51.100.1", "198.51.100.2", "2118")))
	if nested.Inner != there || nested.Carrier != CarrierVXLAN || nested.Ends[0].String() != "198.51.100.1" {
		t.Errorf("nested: %v, within %d", nested, there)
	}
	for i := range maxTunnels + 10 {
		d.Tunnels.id(Tunnel{Carrier: CarrierGRE, Ends: [2]Addr{{1: byte(i >> 8), 2: byte(i), 3: 1}}})
	}
	if id := d.Tunnels.id(Tunnel{Carrier: CarrierGTP}); id != TunnelOther || d.Tunnels.Refused() == 0 || d.Tunnels.At(id) != (Tunnel{}) {
		t.Errorf("beyond the limit: %d, %d refused", id, d.Tunnels.Refused())
	}
	if bytes.Compare(nested.Ends[0][:], nested.Ends[1][:]) > 0 {
		t.Error("the ends are not in order")
	}
}

// TestFurtherVXLAN reads VXLAN on a port that the options name.
func TestFurtherVXLAN(t *testing.T) {
	inner := build(t, eth(0x0800), inner4(), tcpLayer())
	frame := build(t, eth(0x0800), ip4(17), udpPort(5555), bytesOf("08 000000 000005 00"), bytesOf(fmt.Sprintf("%x", inner)))
	for _, d := range []Decoder{{}, {VXLANPorts: []uint16{5555}}} {
		var p Packet
		if s := d.Decode(LinkEthernet, frame, uint32(len(frame)), &p); s != SkipNone || (p.Proto == TCP) != (len(d.VXLANPorts) > 0) {
			t.Errorf("ports %v: %v %s", d.VXLANPorts, s, describe(&p))
		}
	}
}

// TestEncapsulationsListed holds that each encapsulation listed has a case among
// those of TestDecode.
func TestEncapsulationsListed(t *testing.T) {
	cases := map[string]string{ // where the name is not that of a case
		"Ethernet": "ethernet", "raw IP": "raw", "BSD loopback": "null", "Cisco HDLC": "cisco hdlc", "Linux cooked": "sll", "Netfilter log": "nflog",
		"IEEE 802.11": "802.11", "LLC and SNAP": "llc snap", "VLAN tags": "vlan", "Cisco MetaData": "cisco metadata", "provider backbone bridges": "mac in mac",
		"IP in IP": "ip in ip", "ESP": "esp null", "ERSPAN": "erspan", "L2TPv2": "l2tp", "GTP-U": "gtp",
	}
	for _, e := range Encapsulations() {
		name := cases[e.Name]
		if name == "" {
			name = strings.ToLower(e.Name)
		}
		found := false
		for _, c := range decodeCases(t) {
			found = found || strings.HasPrefix(c.name, name)
		}
		if !found || e.Where == "" {
			t.Errorf("%s: no case named %s", e.Name, name)
		}
	}
}
