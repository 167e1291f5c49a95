//go:build (cgo || windows) && !nopcap

package capture

import (
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcap"
)

// TestFilter counts what expressions leave of the same packets without tags,
// with one tag and with two: always the same.
func TestFilter(t *testing.T) {
	for _, tags := range []string{"", " vlan=10", " vlan=10.20"} {
		name := compiled(t, strings.ReplaceAll(`
tcp 10.0.0.1:1050 > 10.0.0.2:135 "a"TAG
tcp 10.0.0.2:135 > 10.0.0.1:1050 "b"TAG
udp 10.0.0.1:1051 > 10.0.0.3:53 "c"TAG
udp [2001:db8::1]:1051 > [2001:db8::2]:53 "d"TAG
`, "TAG", tags))
		for expr, want := range map[string]string{
			"":                          "abcd",
			"host 10.0.0.2":             "ab",
			"not host 10.0.0.2":         "cd",
			"port 53":                   "cd",
			"tcp dst port 135":          "a",
			"ip6":                       "d",
			"udp and not ip6":           "c",
			"net 10.0.0.0/8 and port 1": "",
			"src portrange 1050-1051":   "acd",
		} {
			ps, st, errs := readAll(t, []string{name}, Options{Filter: expr})
			got := ""
			for _, p := range ps {
				got += string(p.Payload)
			}
			if got != want || len(errs) > 0 || st.Skipped[SkipFiltered] != uint64(4-len(want)) || st.Frames != 4 {
				t.Errorf("%q with tags %q: %q, want %q; %+v %v", expr, tags, got, want, st, errs)
			}
		}
	}
	// An expression that speaks of tags means them.
	name := compiled(t, "udp 10.0.0.1:1 > 10.0.0.2:1 vlan=10\nudp 10.0.0.1:1 > 10.0.0.2:1 vlan=20\nudp 10.0.0.1:1 > 10.0.0.2:1")
	if ps, _, _ := readAll(t, []string{name}, Options{Filter: "vlan 10 and udp"}); len(ps) != 1 || ps[0].Number != 1 {
		t.Errorf("vlan 10: %s", lines(ps))
	}
}

// TestFilterLinks has the same expression on every link type.
func TestFilterLinks(t *testing.T) {
	for _, link := range []string{"ethernet", "raw", "sll", "sll2", "null", "loop"} {
		name := compiled(t, "link "+link+"\nudp 10.0.0.1:1 > 10.0.0.2:53\nudp 10.0.0.1:1 > 10.0.0.3:53\nudp [2001:db8::1]:1 > [2001:db8::2]:53")
		for expr, want := range map[string]int{"host 10.0.0.2": 1, "udp port 53": 3, "not host 10.0.0.2": 2, "ip6": 1} {
			if ps, _, errs := readAll(t, []string{name}, Options{Filter: expr}); len(ps) != want || len(errs) > 0 {
				t.Errorf("%s on %s: %d packets, want %d; %v", expr, link, len(ps), want, errs)
			}
		}
	}
}

func TestFilterErrors(t *testing.T) {
	_, err := OpenFiles(nil, Options{Filter: "prot 25"})
	if err == nil || !strings.HasPrefix(err.Error(), `filter "prot 25": `) || !strings.Contains(err.Error(), "syntax error") {
		t.Error(err)
	}
	if err := CheckFilter("host 10.0.0.1 and tcp"); err != nil {
		t.Error(err)
	}
	// A file whose link type does not know the expression ends with an error.
	name := written(t, "x.pcap", little().head(magicPcap, 147).b)
	_, _, errs := readAll(t, []string{name}, Options{Filter: "ip"})
	if len(errs) != 1 {
		t.Error(errs)
	}
}

func TestFilterExpression(t *testing.T) {
	const want = "(not (ether proto 0x8100 or ether proto 0x88a8 or ether proto 0x9100) and (port 25))" +
		" or (vlan and ((not (ether proto 0x8100 or ether proto 0x88a8 or ether proto 0x9100) and (port 25)) or (vlan and (port 25))))"
	for _, c := range []struct {
		expr string
		link int
		want string
	}{
		{"port 25", LinkEthernet, want}, {"port 25", LinkRaw, "port 25"}, {"vlan 5", LinkEthernet, "vlan 5"}, {"  ", LinkEthernet, ""},
	} {
		if got := FilterExpression(c.expr, c.link); got != c.want {
			t.Errorf("%q: %q", c.expr, got)
		}
	}
}

// TestFilterMachine holds our BPF machine against libpcap's on the corpus.
func TestFilterMachine(t *testing.T) {
	_, files := corpus(t)
	for _, expr := range []string{"tcp", "not port 53", "ip6 or arp", "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", "greater 300",
		"ip[2:2] - ((ip[0] & 0xf) << 2) > 100", "host 192.168.0.2 and portrange 100-2000", "ip proto 17 and ip[6:2] & 0x1fff = 0",
		"ether[0] & 1 != 0", "len % 7 = 3", "vlan and tcp"} {
		for _, name := range files {
			n, err := pcap.OpenOffline(name)
			if err != nil {
				continue
			}
			link := n.LinkType()
			if link != layers.LinkTypeEthernet {
				n.Close()
				continue
			}
			theirs, err := pcap.NewBPF(link, maxFrame, expr)
			if err != nil {
				t.Fatal(err)
			}
			code, err := compile(expr, uint8(link))
			if err != nil {
				t.Fatal(err)
			}
			ours := filter{code: code, link: uint16(link)}
			for i := 1; ; i++ {
				data, info, err := n.ZeroCopyReadPacketData()
				if err != nil {
					break
				}
				if len(data) == 0 {
					continue // gopacket panics
				}
				if a, b := ours.match(data, uint32(info.Length)), theirs.Matches(info, data); a != b {
					t.Errorf("%q, %s frame %d: %v, libpcap %v", expr, name, i, a, b)
				}
			}
			n.Close()
		}
	}
}

// TestVerify refuses programs that could leave themselves or their memory.
func TestVerify(t *testing.T) {
	ret := instruction{op: bpfRet}
	for name, code := range map[string][]instruction{
		"empty":             nil,
		"no return":         {{op: bpfLd}},
		"jump out":          {{op: bpfJmp | 0x10, jt: 1}, ret},
		"jump far out":      {{op: bpfJmp, k: 1 << 31}, ret},
		"store out":         {{op: bpfSt, k: 16}, ret},
		"load out":          {{op: bpfLd | bpfMem, k: 16}, ret},
		"load index out":    {{op: bpfLdx | bpfMem, k: 99}, ret},
		"store index out":   {{op: bpfStx, k: 16}, ret},
		"jump out if false": {{op: bpfJmp | 0x10, jf: 7}, ret},
	} {
		if verify(code) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := verify([]instruction{{op: bpfJmp | 0x10, jf: 1}, ret, ret}); err != nil {
		t.Error(err)
	}
}

func BenchmarkFilter(b *testing.B) {
	data := build(b, eth(layers.EthernetTypeIPv4), inner4(), tcpLayer(), gopacket.Payload(make([]byte, 500)))
	f, err := newFilter("host 10.0.0.2 and not port 53", LinkEthernet)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.match(data, uint32(len(data)))
	}
}
