package communityid

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	tcp = 6
	udp = 17
)

// The values are those of the specification's baseline and of Zeek's own test
// of its implementation.
func TestV1(t *testing.T) {
	tests := []struct {
		proto uint8
		a, b  string
		want  string
	}{
		{tcp, "1.2.3.4:1122", "5.6.7.8:3344", "1:wCb3OG7yAFWelaUydu0D+125CLM="},
		{udp, "1.2.3.4:1122", "5.6.7.8:3344", "1:0Mu9InQx6z4ZiCZM/7HXi2WMhOg="},
		{tcp, "128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{udp, "192.168.1.52:54585", "8.8.8.8:53", "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
	}
	for _, tt := range tests {
		a, b := netip.MustParseAddrPort(tt.a), netip.MustParseAddrPort(tt.b)
		mapped := netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
		for i, ends := range [][2]netip.AddrPort{{a, b}, {b, a}, {mapped, b}} {
			if got := V1(tt.proto, ends[0], ends[1]); got != tt.want {
				t.Errorf("%d %s %s, order %d: %s, want %s", tt.proto, tt.a, tt.b, i, got, tt.want)
			}
		}
	}
}

// TestTshark compares with Wireshark's own implementation on every packet of
// two captures, one of which holds IPv6.
func TestTshark(t *testing.T) {
	corpus := os.Getenv("EXSPAN_CORPUS")
	if corpus == "" {
		t.Skip("EXSPAN_CORPUS is not set")
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark")
	}
	six := 0
	for _, file := range []string{"mapi/dof-small-device.pcapng", "mapi/mapi.pcap"} {
		cmd := exec.Command(tshark, "-r", filepath.Join(corpus, file), "--enable-protocol", "communityid",
			"-Y", "(tcp || udp) && !icmp && !icmpv6", "-T", "fields", "-e", "_ws.col.Protocol",
			"-e", "ip.src", "-e", "ipv6.src", "-e", "tcp.srcport", "-e", "udp.srcport",
			"-e", "ip.dst", "-e", "ipv6.dst", "-e", "tcp.dstport", "-e", "udp.dstport", "-e", "communityid")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark: %v", err)
		}
		lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(lines) < 500 {
			t.Fatalf("%s: only %d packets", file, len(lines))
		}
		for _, line := range lines {
			f := strings.Split(line, "\t")
			proto := uint8(tcp)
			if f[3] == "" {
				proto = udp
			}
			if f[2] != "" {
				six++
			}
			got := V1(proto, addrPort(t, f[1]+f[2], f[3]+f[4]), addrPort(t, f[5]+f[6], f[7]+f[8]))
			if got != f[9] {
				t.Errorf("%s: %q: %s, want %s", file, line, got, f[9])
			}
		}
	}
	if six == 0 {
		t.Error("no IPv6 packet was compared")
	}
}

func addrPort(t *testing.T, addr, port string) netip.AddrPort {
	t.Helper()
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(n))
}

func TestAllocs(t *testing.T) {
	a, b := netip.MustParseAddrPort("1.2.3.4:1122"), netip.MustParseAddrPort("5.6.7.8:3344")
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buf = AppendV1(buf[:0], tcp, a, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendV1(b *testing.B) {
	x, y := netip.MustParseAddrPort("1.2.3.4:1122"), netip.MustParseAddrPort("5.6.7.8:3344")
	var buf []byte
	for b.Loop() {
		buf = AppendV1(buf[:0], tcp, x, y)
	}
}
