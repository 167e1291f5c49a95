package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest"
)

// flooder writes what an attacker sends, as a capture file of Ethernet frames.
type flooder struct {
	w    *bufio.Writer
	now  time.Duration // since the first frame
	base time.Time
	rand *rand.Rand
	ip   uint16 // identification
}

// attacked is the address of the server of the recording in which a flood comes.
var attacked = [4]byte{10, 0, 0, 25}

func (f *flooder) head() {
	b := make([]byte, 24)
	binary.LittleEndian.PutUint32(b, 0xa1b23c4d)
	copy(b[4:], []byte{2, 0, 4, 0})
	binary.LittleEndian.PutUint32(b[16:], 262144)
	b[20] = linkEthernet
	_, _ = f.w.Write(b)
}

// record writes a frame.
func (f *flooder) record(frame []byte) {
	var b [16]byte
	at := f.base.Add(f.now)
	binary.LittleEndian.PutUint32(b[:], uint32(at.Unix()))
	binary.LittleEndian.PutUint32(b[4:], uint32(at.Nanosecond()))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(b[12:], uint32(len(frame)))
	_, _ = f.w.Write(b[:])
	_, _ = f.w.Write(frame)
}

// packet sends an IPv4 packet, a million a second.
func (f *flooder) packet(proto byte, src, dst [4]byte, field uint16, data []byte) {
	b := make([]byte, 34, 34+len(data))
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45})
	binary.BigEndian.PutUint16(b[16:], uint16(20+len(data)))
	f.ip++
	binary.BigEndian.PutUint16(b[18:], f.ip)
	binary.BigEndian.PutUint16(b[20:], field)
	b[22], b[23] = 64, proto
	copy(b[26:], src[:])
	copy(b[30:], dst[:])
	f.now += time.Microsecond
	f.record(append(b, data...))
}

// end is one end of a flow.
type end struct {
	addr [4]byte
	port uint16
}

func (f *flooder) tcp(src, dst end, seq, ack uint32, flags byte, data string) {
	b := make([]byte, 20, 20+len(data))
	binary.BigEndian.PutUint16(b, src.port)
	binary.BigEndian.PutUint16(b[2:], dst.port)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13], b[14] = 5<<4, flags, 0xff
	f.packet(capture.TCP, src.addr, dst.addr, 0, append(b, data...))
}

func (f *flooder) udp(src, dst end, data string) {
	b := make([]byte, 8, 8+len(data))
	binary.BigEndian.PutUint16(b, src.port)
	binary.BigEndian.PutUint16(b[2:], dst.port)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(data)))
	f.packet(capture.UDP, src.addr, dst.addr, 0, append(b, data...))
}

// source returns a forged client's end.
func (f *flooder) source() end {
	n := f.rand.Uint64()
	return end{[4]byte{172, 16 + byte(n)&15, byte(n >> 8), byte(n >> 16)}, uint16(n>>24) | 1024}
}

// open sets a connection up, and returns both ends.
func (f *flooder) open(port uint16) (client, server end) {
	client, server = f.source(), end{attacked, port}
	f.tcp(client, server, 1000, 0, flagSYN, "")
	f.tcp(server, client, 5000, 1001, flagSYN|flagACK, "")
	f.tcp(client, server, 1001, 5001, flagACK, "")
	return client, server
}

const flagPSH = 8

// flood is a kind of flood. What it does is done n times in the long test, and
// fewer times in the short one.
type floodKind struct {
	name string
	n    int
	do   func(f *flooder, i int)
}

var floods = []floodKind{
	{"SYN", 10_000_000, func(f *flooder, i int) { f.tcp(f.source(), end{attacked, 443}, uint32(i), 0, flagSYN, "") }},
	{"ACK", 10_000_000, func(f *flooder, i int) { f.tcp(f.source(), end{attacked, 443}, uint32(i), 7, flagACK, "") }},
	{"UDP", 10_000_000, func(f *flooder, i int) { f.udp(f.source(), end{attacked, uint16(f.rand.Uint32())}, "hello world 1234") }},
	{"segments", 5_000_000, func(f *flooder, i int) {
		f.tcp(f.source(), end{attacked, 25}, uint32(i), 7, flagACK|flagPSH, "\x17\x03\x03\x00\x40 lone records")
	}},
	{"connections", 2_000_000, func(f *flooder, i int) { f.open(443) }},
	{"requests", 1_000_000, func(f *flooder, i int) {
		c, s := f.open(80)
		f.tcp(c, s, 1001, 5001, flagACK|flagPSH, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: h%d.example.com\r\nX: ", i, i))
	}},
	{"facts", 100_000, func(f *flooder, i int) {
		c, s := f.open(80)
		seq := uint32(1001)
		for k := range 12 {
			m := fmt.Sprintf("GET /%08d%02d%s HTTP/1.1\r\nHost: %08d%02d%s\r\n\r\n", i, k, strings.Repeat("p", 170), i, k, strings.Repeat("h", 170))
			f.tcp(c, s, seq, 5001, flagACK|flagPSH, m)
			seq += uint32(len(m))
		}
	}},
	{"early segments", 20_000, func(f *flooder, i int) {
		c, s := f.open(25)
		for k := range 30 {
			f.tcp(c, s, 2001+uint32(k)*2000, 5001, flagACK|flagPSH, strings.Repeat("e", 1400))
		}
	}},
	{"endless answers of the mapper", 10_000, func(f *flooder, i int) {
		c, s := f.open(135)
		request := make([]byte, 124)
		copy(request, []byte{5, 0, 0, 3, 0x10, 0, 0, 0, byte(len(request)), 0, 0, 0, 2})
		request[22] = 3
		f.tcp(c, s, 1001, 5001, flagACK|flagPSH, string(request))
		answer := make([]byte, 1424)
		copy(answer, []byte{5, 0, 2, 1, 0x10, 0, 0, 0, 0x90, 5, 0, 0, 2})
		for k := range uint32(44) {
			f.tcp(s, c, 5001+1424*k, 1125, flagACK|flagPSH, string(answer))
			answer[3] = 0
		}
	}},
	{"RTP sources", 20_000, func(f *flooder, i int) {
		c := f.source()
		for k := range 5 + 32*8 {
			b := make([]byte, 32)
			b[0] = 0x80
			source, payload := max(k-5, 0)/8, max(k-5, 0)%8
			b[1] = 96 + byte(payload)
			binary.BigEndian.PutUint16(b[2:], uint16(k))
			binary.BigEndian.PutUint32(b[4:], uint32(160*k))
			binary.BigEndian.PutUint32(b[8:], uint32(100*i+source+1))
			f.udp(c, end{attacked, 40000}, string(b))
		}
	}},
	{"SIP dialogs", 2_000, func(f *flooder, i int) {
		c := f.source()
		for d := range 1024 {
			f.udp(c, end{attacked, 5060}, fmt.Sprintf("INVITE sip:u@h SIP/2.0\r\nVia: SIP/2.0/UDP 1.1.1.1;branch=z9\r\nFrom: <sip:a@x>;tag=t\r\nTo: <sip:b@y>\r\n"+
				"Call-ID: %08x%08x%s\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n", i, d, strings.Repeat("c", 230)))
		}
	}},
	{"endpoints", 1_000_000, func(f *flooder, i int) {
		c, s := f.source(), end{[4]byte{13, byte(i >> 16), byte(i >> 8), byte(i)}, 49152}
		syntax := make([]byte, 20)
		binary.LittleEndian.PutUint32(syntax, uint32(i))
		ndr := "\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60\x02\x00\x00\x00"
		bind := "\x05\x00\x0b\x03\x10\x00\x00\x00\x48\x00\x00\x00\x01\x00\x00\x00\xd0\x16\xd0\x16\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00" + string(syntax) + ndr
		ack := "\x05\x00\x0c\x03\x10\x00\x00\x00\x38\x00\x00\x00\x01\x00\x00\x00\xd0\x16\xd0\x16\x01\x00\x00\x00\x02\x001\x00\x01\x00\x00\x00\x00\x00\x00\x00" + ndr
		f.tcp(c, s, 1000, 0, flagSYN, "")
		f.tcp(s, c, 5000, 1001, flagSYN|flagACK, "")
		f.tcp(c, s, 1001, 5001, flagACK|flagPSH, bind)
		f.tcp(s, c, 5001, 1001+uint32(len(bind)), flagACK|flagPSH, ack)
	}},
	{"names", 500_000, func(f *flooder, i int) {
		c, s := f.source(), end{attacked, 53}
		name := ""
		for l := range 4 {
			name += fmt.Sprintf("\x3b%010d%s", 4*i+l, strings.Repeat("n", 49))
		}
		question := name + "\x00\x00\x01\x00\x01"
		f.udp(c, s, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"+question)
		f.udp(s, c, "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"+question+"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04"+
			string([]byte{12, byte(i >> 16), byte(i >> 8), byte(i)}))
	}},
	{"tiny fragments", 2_000_000, func(f *flooder, i int) {
		f.ip = uint16(i / 8000)
		f.packet(capture.UDP, [4]byte{172, 16, 0, byte(i / 8000)}, attacked, 0x2000|uint16(i%8000), make([]byte, 8))
	}},
	{"first fragments", 1_000_000, func(f *flooder, i int) { f.packet(capture.UDP, f.source().addr, attacked, 0x2000, make([]byte, 1480)) }},
}

// write writes a capture with a recording, cut in two halves between which the flood
// comes.
func (f *flooder) write(w io.Writer, recording []capturetest.Frame, k *floodKind, n int) error {
	f.w, f.rand, f.base, f.now = bufio.NewWriterSize(w, 1<<20), rand.New(rand.NewPCG(1, 2)), recording[0].Time, 0
	f.head()
	half, shift := len(recording)/2, time.Duration(0)
	for i, frame := range recording {
		if i == half {
			start := f.now
			for j := range n {
				k.do(f, j)
			}
			shift = f.now - start
		}
		f.now = frame.Time.Sub(f.base) + shift
		f.record(frame.Data)
	}
	return f.w.Flush()
}

// floodedFlow is what the records of a flow of the recording say.
type floodedFlow struct {
	verdicts string
	packets  int
}

// TestFloods sends floods while a recorded conversation goes on. The peak of memory
// must stay below --max-memory, what was given up must be counted, and the
// conversation's flows must keep their verdicts. With EXSPAN_FLOODS the floods have
// their full size.
func TestFloods(t *testing.T) {
	long := os.Getenv("EXSPAN_FLOODS") != ""
	recording, err := readFrames(testdata("mail.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	verdicts := func(args []string, k *floodKind, n int) (flows map[string]floodedFlow, limits string, peak int, took time.Duration) {
		cmd := exspan(t, args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		// A process inherits the peak of the one that starts it.
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = new(flooder).write(in, recording.Frames, k, n) // that it failed shows in what is read
			_ = in.Close()
		}()
		flows = map[string]floodedFlow{}
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Bytes()
			if bytes.Contains(line, []byte("Limits reached")) {
				limits = lines.Text()
			}
			if !bytes.HasPrefix(line, []byte("{")) || bytes.Contains(line, []byte(`"172.`)) || bytes.Contains(line, []byte(`"state":"active"`)) {
				continue
			}
			var r jsonRecord
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatal(err)
			}
			flow := flowOf(r)
			// A connection that is cut after its handshake looks like those of a flood, and
			// can become two records.
			x, n := flows[flow], r.object("packets")
			x.packets += n.number("to_server") + n.number("to_client")
			if v := verdictOf(r); !strings.Contains(x.verdicts, v) {
				x.verdicts += v + "; "
			}
			flows[flow] = x
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, stderr.String())
		}
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return flows, limits + stderr.String(), int(usage.Maxrss) << 10, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	memory, factor := 128<<20, 25
	if long {
		memory, factor = 512<<20, 1
	}
	max := fmt.Sprintf("%dMiB", memory>>20)
	site := testdata("mail.site.yaml")
	commands := [][]string{
		{"monitor", "-r", "-", "--ndjson", "-", "--web.listen-address", "", "--interim", "0", "--site", site, "--max-memory", max},
		{"analyze", "-q", "--format", "ndjson", "--site", site, "--max-memory", max, "-"},
	}
	for _, args := range commands {
		want, _, _, _ := verdicts(args, &floods[0], 0)
		if len(want) < 10 {
			t.Fatalf("%s: %d flows", args[0], len(want))
		}
		for i := range floods {
			k := &floods[i]
			t.Run(args[0]+" "+k.name, func(t *testing.T) {
				n := k.n / factor
				got, limits, peak, took := verdicts(args, k, n)
				t.Logf("%d times: peak %d MiB, %.1f s; %s", n, peak>>20, took.Seconds(), strings.TrimSpace(limits))
				if peak > memory {
					t.Errorf("a peak of %d MiB", peak>>20)
				}
				for flow, v := range want {
					if got[flow] != v {
						t.Errorf("%s: %+v, without the flood %+v", flow, got[flow], v)
					}
				}
			})
		}
	}
}
