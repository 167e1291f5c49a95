package capturetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

const sample = `
start 2026-01-02T09:14:03Z
host mb1 10.0.0.2
host dc1 2001:db8::1
handshake 10.0.0.1:1050 > mb1:135   # a comment
+0.010 tcp 10.0.0.1:1050 > mb1:135 "EHLO\r\n"
    hex(05 00
        0b 03) zero(2) @part.bin
tcp mb1:135 > 10.0.0.1:1050 "0123456789" mss=4 vlan=10.20
lost tcp mb1:135 > 10.0.0.1:1050 zero(100)
@1 fin 10.0.0.1:1050 > mb1:135
udp [2001:db8::7]:1051 > dc1:9 zero(40) frag=16
icmp 10.0.0.254 > 10.0.0.1 prohibited tcp 10.0.0.1:1051 > mb1:443
icmp 2001:db8::fe > 2001:db8::7 prohibited udp [2001:db8::7]:1051 > dc1:9
udp 10.0.0.1:1 > mb1:9 "cut off" snap=44
tcp 10.0.0.9:5 > mb1:80 S seq=77 times=2
raw hex(ffffffffffff 020000000001 0806 0001)
`

// TestTshark verifies the compiled packets with tshark.
func TestTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	file := compileTo(t, sample)
	out, err := exec.Command("tshark", "-n", "-r", file, "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE",
		"-o", "tcp.relative_sequence_numbers:FALSE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
		"-T", "fields", "-E", "separator=,", "-E", "occurrence=f",
		"-e", "frame.time_epoch", "-e", "frame.len", "-e", "ieee8021ad.id", "-e", "vlan.id", "-e", "tcp.flags", "-e", "tcp.seq", "-e", "tcp.ack", "-e", "tcp.len",
		"-e", "ip.checksum.status", "-e", "tcp.checksum.status", "-e", "udp.checksum.status", "-e", "icmp.checksum.status",
		"-e", "icmpv6.checksum.status", "-e", "icmp.code", "-e", "icmpv6.code", "-e", "ipv6.fraghdr.offset").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := `1767345243.000000000,60,,,0x0002,1000,0,0,1,1,,,,,,
1767345243.001000000,60,,,0x0012,5000,1001,0,1,1,,,,,,
1767345243.002000000,60,,,0x0010,1001,5001,0,1,1,,,,,,
1767345243.012000000,69,,,0x0018,1001,5001,15,1,1,,,,,,
1767345243.013000000,66,10,20,0x0018,5001,1016,4,1,1,,,,,,
1767345243.013000000,66,10,20,0x0018,5005,1016,4,1,1,,,,,,
1767345243.013000000,64,10,20,0x0018,5009,1016,2,1,1,,,,,,
1767345244.000000000,60,,,0x0011,1016,5111,0,1,1,,,,,,
1767345244.001000000,60,,,0x0011,5111,1017,0,1,1,,,,,,
1767345244.002000000,60,,,0x0010,1017,5112,0,1,1,,,,,,
1767345244.003000000,78,,,,,,,,,2,,,,,0
1767345244.003000000,78,,,,,,,,,,,,,,2
1767345244.003000000,78,,,,,,,,,,,,,,4
1767345244.004000000,70,,,,1000,,,1,,,1,,13,,
1767345244.005000000,110,,,,,,,,,3,,1,,1,
1767345244.006000000,60,,,,,,,1,,2,,,,,
1767345244.007000000,60,,,0x0002,77,0,0,1,1,,,,,,
1767345244.008000000,60,,,0x0002,77,0,0,1,1,,,,,,
1767345244.009000000,16,,,,,,,,,,,,,,
`
	compare(t, string(out), want)
}

func compileTo(t *testing.T, text string) string {
	t.Helper()
	b, err := CompileFS("sample", []byte(text), fstest.MapFS{"part.bin": {Data: []byte("abc")}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sample.pcap")
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, a, b)
		}
	}
}

// TestLinks verifies with tshark that the same packet follows every link header.
func TestLinks(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	for name := range links {
		for _, ends := range []string{"10.0.0.1:1050 > 10.0.0.2:135", "[2001:db8::1]:1050 > [2001:db8::2]:135"} {
			file := compileTo(t, "link "+name+"\ntcp "+ends+" \"x\"\n")
			out, err := exec.Command("tshark", "-n", "-r", file, "-T", "fields", "-e", "tcp.dstport", "-e", "tcp.payload").Output()
			if err != nil || string(out) != "135\t78\n" {
				t.Errorf("%s %s: %q, %v", name, ends, out, err)
			}
		}
	}
}

// TestErrors compares every mistake with its message.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"bogus", `x:1: unknown statement "bogus"`},
		{"\n\ntcp 10.0.0.1:1 > 10.0.0.2", `x:3: "10.0.0.2" is not an address and port`},
		{"tcp 10.0.0.1:1 10.0.0.2:2", `x:1: want two ends: ADDRESS:PORT > ADDRESS:PORT`},
		{"tcp a:1 > 10.0.0.2:2", `x:1: "a:1" is not an address and port`},
		{"tcp 10.0.0.1:1 > [::1]:2", `x:1: one end is IPv4, the other IPv6`},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 Q", `x:1: "Q" is neither payload nor option`},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 nix=1", `x:1: unknown option "nix"`},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 seq=x", `x:1: seq= wants a number, not "x"`},
		{"udp 10.0.0.1:1 > 10.0.0.2:2 frag=7", `x:1: frag= wants a multiple of 8`},
		{"udp 10.0.0.1:1 > 10.0.0.2:2 vlan=4096", `x:1: vlan= wants numbers up to 4095, not "4096"`},
		{"udp 10.0.0.1:1 > 10.0.0.2:2 @file", `x:1: @file: no files here`},
		{"udp 10.0.0.1:1 > 10.0.0.2:2 zero(70000)", `x:1: 70008 bytes do not fit into an IP packet; mss= cuts a payload into segments`},
		{`tcp 10.0.0.1:1 > 10.0.0.2:2 "a`, `x:1: a string without end, or with a wrong escape: "a`},
		{`tcp 10.0.0.1:1 > 10.0.0.2:2 hex(00`, `x:1: a parenthesis without end: hex(00`},
		{`tcp 10.0.0.1:1 > 10.0.0.2:2 hex(0g)`, `x:1: hex(0g): encoding/hex: invalid byte: U+0067 'g'`},
		{"handshake 10.0.0.1:1 > 10.0.0.2:2 S", `x:1: handshake wants nothing after the two ends but options, not "S"`},
		{"icmp 10.0.0.1 > 10.0.0.2 3 tcp 1.1.1.1:1 > 2.2.2.2:2", `x:1: "3" is not an ICMP type and code such as 3/13`},
		{"icmp 10.0.0.1 > 10.0.0.2 3/1 sctp 1.1.1.1:1 > 2.2.2.2:2", `x:1: an ICMP error quotes tcp or udp, not "sctp"`},
		{"+x udp 10.0.0.1:1 > 10.0.0.2:2", `x:1: "+x" is not a time such as +0.010, +10ms or @2.5`},
		{"+1", `x:1: a time without a statement`},
		{"lost", `x:1: lost wants a statement`},
		{"link fddi", `x:1: link wants one of ethernet, raw, sll, sll2, null, loop`},
		{"snap many", `x:1: snap wants a number of bytes`},
		{"host mb1", `x:1: host wants a name and an address`},
		{"host mb1 nowhere", `x:1: host wants an address, not "nowhere"`},
		{"start today", `x:1: start wants a time such as 2026-01-02T09:14:03Z, not "today"`},
		{"bogus\nlink x", "x:1: unknown statement \"bogus\"\nx:2: link wants one of ethernet, raw, sll, sll2, null, loop"},
	} {
		_, err := Compile("x", []byte(c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(sample))
	for name := range generators {
		f.Add([]byte("udp 10.0.0.1:1 > 10.0.0.2:2 " + name + "(emsmdb 40001/http ntlm privacy call 3)"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("times=")) || bytes.Contains(text, []byte("zero(")) {
			t.Skip("large on purpose")
		}
		_, _ = Compile("x", text)
	})
}
