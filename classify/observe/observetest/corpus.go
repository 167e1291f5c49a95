package observetest

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// NeedTshark skips the test if tshark is not installed.
func NeedTshark(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
}

// Corpus returns the path of a capture file in the folder that EXSPAN_CORPUS names. It
// skips the test if EXSPAN_CORPUS is unset or tshark is missing.
func Corpus(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("EXSPAN_CORPUS")
	if dir == "" {
		t.Skip("EXSPAN_CORPUS is not set")
	}
	file := filepath.Join(dir, name)
	if _, err := os.Stat(file); err != nil {
		t.Skip(err)
	}
	NeedTshark(t)
	return file
}

// Tshark runs tshark on a file and returns the requested fields, one row for each packet
// that matches the display filter. Commas separate several values of a field in one
// packet. Tshark passes extra on to tshark. Like Flows, it skips the test if tshark is not
// installed.
func Tshark(t testing.TB, file, filter string, fields []string, extra ...string) [][]string {
	t.Helper()
	NeedTshark(t)
	args := append([]string{"-n", "-r", file, "-T", "fields", "-E", "separator=/t"}, extra...)
	if filter != "" {
		args = append(args, "-Y", filter)
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		t.Fatalf("tshark %s: %v: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	var rows [][]string
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		rows = append(rows, strings.Split(sc.Text(), "\t"))
	}
	return rows
}

// Flow is one TCP or UDP conversation of a capture file.
type Flow struct {
	// Stream is the number that tshark gives it (tcp.stream or udp.stream).
	Stream int
	UDP    bool
	// Client and Server are determined by SYN or SYN-ACK. Otherwise the end with the
	// lower port is the server.
	Client, Server netip.AddrPort
	// Midstream reports that neither SYN nor SYN-ACK was seen.
	Midstream bool
	Segments  []Segment
	// First is the number of the first frame. Frames holds the frame numbers of Segments.
	First  int
	Frames []int
}

// Options returns the options for the flow's observer.
func (f *Flow) Options() Options {
	return Options{Client: f.Client, Server: f.Server, Datagram: f.UDP, Midstream: f.Midstream}
}

// Flows reads a capture file with tshark and returns its conversations in the order of
// their first packets. TCP bytes are in order: repetitions are dropped, late segments are
// sorted in, and holes become gaps. The filter may be empty.
func Flows(t testing.TB, file, filter string) []*Flow {
	t.Helper()
	cond := "(tcp or udp) and not icmp and not icmpv6"
	if filter != "" {
		cond += " and (" + filter + ")"
	}
	rows := Tshark(t, file, cond, []string{"frame.number", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.stream", "tcp.srcport",
		"tcp.dstport", "tcp.seq_raw", "tcp.flags", "tcp.payload", "udp.stream", "udp.srcport", "udp.dstport", "udp.payload"},
		"-E", "occurrence=l", "-o", "tcp.desegment_tcp_streams:false", "-o", "tcp.no_subdissector_on_error:true")
	type key struct {
		udp    bool
		stream int
	}
	flows := map[key]*flowBuilder{}
	var order []*flowBuilder
	for _, r := range rows {
		for len(r) < 15 {
			r = append(r, "")
		}
		src, dst := r[1], r[2]
		if src == "" {
			src, dst = r[3], r[4]
		}
		udp := r[5] == ""
		stream, sport, dport, payload := r[5], r[6], r[7], r[10]
		if udp {
			stream, sport, dport, payload = r[11], r[12], r[13], r[14]
		}
		from, err1 := netip.ParseAddrPort(join(src, sport))
		to, err2 := netip.ParseAddrPort(join(dst, dport))
		n, err3 := strconv.Atoi(stream)
		data, err4 := hex.DecodeString(strings.ReplaceAll(payload, ":", ""))
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			continue
		}
		k := key{udp, n}
		f := flows[k]
		frame, _ := strconv.Atoi(r[0])
		if f == nil {
			f = &flowBuilder{Flow: Flow{Stream: n, UDP: udp, Client: from, Server: to, Midstream: true, First: frame}}
			if from.Port() < to.Port() {
				f.Client, f.Server = to, from
			}
			flows[k] = f
			order = append(order, f)
		}
		flags, _ := strconv.ParseUint(strings.TrimPrefix(r[9], "0x"), 16, 32)
		seq, _ := strconv.ParseUint(r[8], 10, 32)
		f.packets = append(f.packets, packet{frame, from, data, uint32(seq), byte(flags)})
		if !udp && flags&2 != 0 {
			f.Midstream = false
			f.Client, f.Server = from, to
			if flags&0x10 != 0 {
				f.Client, f.Server = to, from
			}
		}
	}
	out := make([]*Flow, 0, len(order))
	for _, f := range order {
		f.build()
		out = append(out, &f.Flow)
	}
	return out
}

func join(addr, port string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]:" + port
	}
	return addr + ":" + port
}

type packet struct {
	frame int
	from  netip.AddrPort
	data  []byte
	seq   uint32
	flags byte
}

type flowBuilder struct {
	Flow
	packets []packet
}

func (f *flowBuilder) add(frame int, s Segment) {
	f.Segments = append(f.Segments, s)
	f.Frames = append(f.Frames, frame)
}

func (f *flowBuilder) build() {
	if f.UDP {
		for _, p := range f.packets {
			f.add(p.frame, Segment{Dir: f.dir(p), Data: p.data})
		}
		return
	}
	var next [2]uint32
	var known [2]bool
	var late [2][]packet
	deliver := func(d observe.Direction, p packet) {
		if old := int32(next[d] - p.seq); old > 0 {
			if int(old) >= len(p.data) {
				return
			}
			p.data = p.data[old:]
		}
		f.add(p.frame, Segment{Dir: d, Data: p.data})
		next[d] += uint32(len(p.data))
	}
	drain := func(d observe.Direction, all bool) {
		for len(late[d]) > 0 {
			slices.SortStableFunc(late[d], func(a, b packet) int { return int(int32(a.seq - b.seq)) })
			p := late[d][0]
			if hole := int32(p.seq - next[d]); hole > 0 {
				if !all && len(late[d]) < 16 {
					return
				}
				f.add(p.frame, Lost(d, int(hole)))
				next[d] = p.seq
			}
			late[d] = late[d][1:]
			deliver(d, p)
		}
	}
	for _, p := range f.packets {
		d := f.dir(p)
		if p.flags&2 != 0 {
			if !known[d] {
				next[d], known[d] = p.seq+1, true
			}
			continue
		}
		if len(p.data) == 0 {
			continue
		}
		if !known[d] {
			next[d], known[d] = p.seq, true
		}
		if int32(p.seq-next[d]) > 0 {
			late[d] = append(late[d], p)
		} else {
			deliver(d, p)
		}
		drain(d, false)
	}
	drain(observe.ToServer, true)
	drain(observe.ToClient, true)
}

func (f *flowBuilder) dir(p packet) observe.Direction {
	if p.from == f.Client {
		return observe.ToServer
	}
	return observe.ToClient
}
