package capture

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// row is what one frame says in either reading.
type row struct {
	proto    uint8
	src, dst netip.AddrPort
	length   uint32
}

func (r row) String() string {
	return fmt.Sprintf("%d %v > %v %d bytes", r.proto, r.src, r.dst, r.length)
}

// corpus returns the capture files below $EXSPAN_CORPUS.
func corpus(t *testing.T) (dir string, files []string) {
	dir = os.Getenv("EXSPAN_CORPUS")
	if dir == "" {
		t.Skip("EXSPAN_CORPUS names no folder")
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Ext(path) != ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, files
}

// ours reads a file with this package: a row a frame with TCP or UDP that was
// not reassembled.
func ours(t *testing.T, file string) (map[uint64]row, map[uint64]bool, error) {
	t.Helper()
	s, err := OpenFiles([]string{file}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rows, fragments := map[uint64]row{}, map[uint64]bool{}
	for {
		bt, err := s.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range bt.Packets {
			p := &bt.Packets[i]
			if p.Proto != TCP && p.Proto != UDP {
				continue
			}
			if p.Frames > 1 {
				fragments[p.Number] = true
				continue
			}
			rows[p.Number] = row{p.Proto, p.Src.AddrPort(), p.Dst.AddrPort(), p.Length}
		}
		bt.Release()
	}
	if e := s.Errors(); len(e) > 0 {
		err = e[0]
	}
	return rows, fragments, err
}

type theirRow struct {
	row
	protocols string
	fragment  bool
}

// theirs reads a file with tshark.
func theirs(t *testing.T, file string) map[uint64]theirRow {
	t.Helper()
	fields := []string{"frame.number", "frame.protocols", "ip.src", "ip.dst", "ip.len", "ipv6.src", "ipv6.dst", "ipv6.plen",
		"tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "ip.flags.mf", "ip.frag_offset", "ipv6.fraghdr.offset", "ipv6.fraghdr.more"}
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "occurrence=a", "-E", "separator=\t", "-E", "aggregator=,",
		"-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, _ := exec.Command("tshark", args...).Output() // a damaged file is an error, after its frames
	rows := map[uint64]theirRow{}
	sc := bufio.NewScanner(strings.NewReader(string(out)))
	sc.Buffer(nil, 1<<20)
	last := func(s string) string { return s[strings.LastIndexByte(s, ',')+1:] }
	for sc.Scan() {
		w := strings.Split(sc.Text(), "\t")
		if len(w) != len(fields) {
			continue
		}
		number, _ := strconv.ParseUint(w[0], 10, 64)
		layers := strings.Split(w[1], ":")
		network, transport := "", ""
		for _, l := range layers {
			switch l {
			case "ip", "ipv6":
				network, transport = l, ""
			case "tcp", "udp":
				transport = l
			}
		}
		// What ICMP quotes is no packet.
		if network == "" || transport == "" || slices.Contains(layers, "icmp") || slices.Contains(layers, "icmpv6") {
			continue
		}
		r := theirRow{protocols: w[1]}
		addrs := w[2:5]
		if network == "ipv6" {
			addrs = w[5:8]
		}
		n, _ := strconv.ParseUint(last(addrs[2]), 10, 32)
		r.length = uint32(n)
		if network == "ipv6" {
			r.length += 40
		}
		r.proto = TCP
		ports := w[8:10]
		if transport == "udp" {
			r.proto, ports = UDP, w[10:12]
		}
		end := func(a, p string) netip.AddrPort {
			addr, _ := netip.ParseAddr(last(a))
			port, _ := strconv.ParseUint(last(p), 10, 16)
			return netip.AddrPortFrom(addr, uint16(port))
		}
		r.src, r.dst = end(addrs[0], ports[0]), end(addrs[1], ports[1])
		r.fragment = strings.ContainsAny(w[12], "1T") || strings.Trim(w[13], "0,") != "" ||
			strings.Trim(w[14], "0,") != "" || strings.ContainsAny(w[15], "1T")
		rows[number] = r
	}
	return rows
}

// tsharkOdd lists what tshark reads differently, and why ours stays.
var tsharkOdd = map[string]map[uint64]string{
	"malformed/tcp_header_heapoverflow.pcap": {1: "a TCP header of 12 bytes: malformed, no flow is counted from it"},
	"malformed/udp-length-heapoverflow.pcap": {1: "a UDP length below 8: malformed"},
	"span/pcap_flow_lab_showcase.pcap":       {1319: "MikroTik EoIP, a GRE of its own (version 1, type 0x6400), is not read"},
}

// TestTsharkAgrees holds every frame of the corpus against tshark's reading:
// the same ends, protocol and IP length of the innermost packet, fragments
// left out on both sides.
func TestTsharkAgrees(t *testing.T) {
	dir, files := corpus(t)
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	frames := 0
	for _, file := range files {
		name, _ := filepath.Rel(dir, file)
		us, fragments, err := ours(t, file)
		them := theirs(t, file)
		if err != nil {
			t.Logf("%s: %v", name, err)
		}
		bad := 0
		for n, want := range them {
			got, ok := us[n]
			if want.fragment || fragments[n] {
				continue
			}
			if _, odd := tsharkOdd[name][n]; odd && !ok {
				continue
			}
			frames++
			if !ok || got != want.row {
				if bad++; bad <= 3 {
					t.Errorf("%s frame %d:\n  ours %v\ntshark %v %s", name, n, got, want.row, want.protocols)
				}
			}
		}
		for n, got := range us {
			if _, ok := them[n]; !ok {
				if bad++; bad <= 3 {
					t.Errorf("%s frame %d:\n  ours %v\ntshark nothing", name, n, got)
				}
			}
		}
		if bad > 3 {
			t.Errorf("%s: %d frames in all", name, bad)
		}
	}
	t.Logf("%d frames of %d files", frames, len(files))
}
