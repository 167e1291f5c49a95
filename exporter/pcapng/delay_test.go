package pcapng

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/classify/record"
)

// read returns the packets, with their frames, of a capture given as text.
func read(t *testing.T, name string, data []byte) []capture.Packet {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := capture.OpenFiles([]string{file}, capture.Options{KeepFrames: true})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var all []capture.Packet
	for {
		b, err := src.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Packets...) // the batch is not released, so the frames remain valid
	}
	if errs := src.Errors(); len(errs) > 0 {
		t.Fatal(errs)
	}
	return all
}

// verdictOn returns a verdict on the flow of p.
func verdictOn(p *capture.Packet, status record.Status, ended bool) record.Judged {
	return record.Judged{Record: &record.Record{
		Client: record.Host{Addr: p.Src.Addr.Netip(), Port: p.Src.Port}, Server: record.Host{Addr: p.Dst.Addr.Netip(), Port: p.Dst.Port},
		Proto: p.Proto, Verdict: record.Verdict{Status: status}}, Tags: p.VLANs.String(), Ended: ended}
}

const delayed = `start 2026-01-01T00:00:00Z
@0 udp 10.0.0.1:1 > 10.0.0.5:80 "wanted 1"
@1 udp 10.0.0.1:2 > 10.0.0.5:80 "not wanted"
@2 udp 10.0.0.5:80 > 10.0.0.1:1 "wanted 2"
@9 udp 10.0.0.1:3 > 10.0.0.5:80 "wanted later"
@9 icmp 10.0.0.254 > 10.0.0.1 prohibited udp 10.0.0.1:1 > 10.0.0.5:80
@9 icmp 10.0.0.254 > 10.0.0.1 prohibited udp 10.0.0.1:9 > 10.0.0.5:80
@30 udp 10.0.0.1:1 > 10.0.0.5:80 "wanted 3"
`

func TestDelay(t *testing.T) {
	data, err := capturetest.Compile("delayed", []byte(delayed))
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, "in.pcap", data)
	if len(in) != 7 {
		t.Fatalf("%d packets", len(in))
	}
	var out bytes.Buffer
	var file io.Writer
	d, err := NewDelay(writer(func(p []byte) (int, error) { return file.Write(p) }), []record.Status{record.Unexpected}, false, 10*time.Second, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(d.Head())
	file = d.Sections(&out)
	begin := in[0].Time
	d.Packets(in[:3])
	d.Advance(begin + int64(2*time.Second))
	if d.Written() != 0 {
		t.Fatal("a packet was written before its flow was judged")
	}
	d.Judged(verdictOn(&in[0], record.Unexpected, false))
	d.Judged(verdictOn(&in[1], record.Expected, false))
	d.Packets(in[3:6])
	d.Judged(verdictOn(&in[3], record.Unexpected, false))
	d.Judged(verdictOn(&in[3], record.Unexpected, true)) // it ends before its packet is written
	d.Advance(begin + int64(12*time.Second))
	if d.Written() != 2 {
		t.Errorf("%d packets are written after 12 s, want the two that are 10 s old", d.Written())
	}
	d.Packets(in[6:])
	d.Finish()
	got := read(t, "out.pcapng", out.Bytes())
	want := []int{0, 2, 3, 4, 6}
	if len(got) != len(want) {
		t.Fatalf("%d packets are written, want %d", len(got), len(want))
	}
	for i, w := range want {
		if !bytes.Equal(got[i].Frame.Data, in[w].Frame.Data) || got[i].Time != in[w].Time {
			t.Errorf("packet %d is not packet %d of the input", i, w)
		}
	}
	if d.Written() != 5 || d.Dropped() != 0 {
		t.Errorf("%d written, %d dropped", d.Written(), d.Dropped())
	}
	if !bytes.Contains(out.Bytes(), []byte("exspan: unexpected")) {
		t.Error("the verdict is not the comment")
	}
	d.Judged(verdictOn(&in[0], record.Unexpected, true))
	d.Judged(verdictOn(&in[1], record.Expected, true))
	if len(d.flows) != 0 || d.bytes != 0 {
		t.Errorf("%d flows and %d bytes are held after the last flow has ended", len(d.flows), d.bytes)
	}
}

func TestDelayLimit(t *testing.T) {
	data, err := capturetest.Compile("delayed", []byte(delayed))
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, "in.pcap", data)
	d, err := NewDelay(io.Discard, []record.Status{record.Unexpected}, false, time.Hour, 10*size(in[0].Frame))
	if err != nil {
		t.Fatal(err)
	}
	d.Judged(verdictOn(&in[1], record.Expected, false))
	for range 1000 {
		d.Packets(in[:2])
	}
	if d.bytes > 11*size(in[0].Frame) {
		t.Errorf("%d bytes are held", d.bytes)
	}
	// Packets of flows without a verdict are lost and counted. The others are not
	// selected.
	if n := d.Dropped(); n < 990 || n > 1000 {
		t.Errorf("%d packets count as dropped, want about 995", n)
	}
	d.Judged(verdictOn(&in[0], record.Unexpected, false))
	before := d.Dropped()
	for range 100 {
		d.Packets(in[:2])
	}
	if d.Dropped() != before || d.Written() < 95 {
		t.Errorf("%d written, %d more dropped", d.Written(), d.Dropped()-before)
	}
}

// TestDelayShrinks gives a Delay room for ten packets, a second apart.
func TestDelayShrinks(t *testing.T) {
	data, err := capturetest.Compile("delayed", []byte(delayed))
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, "in.pcap", data)
	d, err := NewDelay(io.Discard, []record.Status{record.Unexpected}, false, time.Minute, 10*size(in[0].Frame)+(&judged{}).size())
	if err != nil {
		t.Fatal(err)
	}
	add := func(n int) {
		for range n {
			in[0].Time += int64(time.Second)
			d.Packets(in[:1])
			d.Advance(in[0].Time)
		}
	}
	add(10)
	if got := d.Short(); got != 0 {
		t.Errorf("packets wait for %v though there is room", got)
	}
	add(90)
	if got := d.Short(); got != 10*time.Second || d.Short() != 0 {
		t.Errorf("packets wait for %v, want 10s, told once", got)
	}
}

// TestDelayRotates begins a new file after every packet: each must be readable.
func TestDelayRotates(t *testing.T) {
	data, err := capturetest.Compile("delayed", []byte(delayed))
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, "in.pcap", data)
	other := in[1] // on a link of another type
	other.Frame = &capture.Frame{LinkType: capture.LinkRaw, WireLength: other.Frame.WireLength, Data: other.Frame.Data[14:]}
	packets := []capture.Packet{in[0], other, in[0], other}
	var files [][]byte
	d, err := NewDelay(writer(func(p []byte) (int, error) {
		files = append(files, bytes.Clone(p))
		return len(p), nil
	}), []record.Status{record.Unexpected}, false, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	d.Judged(verdictOn(&in[0], record.Unexpected, false))
	d.Judged(verdictOn(&in[1], record.Unexpected, false))
	d.Packets(packets)
	d.Finish()
	if len(files) != 4 {
		t.Fatalf("%d writes", len(files))
	}
	for i, f := range files {
		got := read(t, "out.pcapng", append(d.Head(), f...))
		if len(got) != 1 || got[0].Frame.LinkType != packets[i].Frame.LinkType || !bytes.Equal(got[0].Frame.Data, packets[i].Frame.Data) {
			t.Errorf("file %d does not hold packet %d", i, i)
		}
	}
	if got := read(t, "out.pcapng", append(d.Head(), bytes.Join(files, nil)...)); len(got) != 4 {
		t.Errorf("one file of all holds %d packets", len(got))
	}
}

// TestDelayLoses loses each packet in turn: what is left stays readable.
func TestDelayLoses(t *testing.T) {
	data, err := capturetest.Compile("delayed", []byte(delayed))
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, "in.pcap", data)
	other := in[1] // on a link of another type
	other.Frame = &capture.Frame{LinkType: capture.LinkRaw, WireLength: other.Frame.WireLength, Data: other.Frame.Data[14:]}
	packets := []capture.Packet{in[0], other, in[0], other}
	for _, described := range []bool{false, true} {
		for lost := range packets {
			for _, fails := range []bool{false, true} { // on the way, or in the file
				var out bytes.Buffer
				n := 0
				var file io.Writer
				d, err := NewDelay(writer(func(p []byte) (int, error) {
					if n++; n == lost+1 && !fails {
						return len(p), nil
					}
					return file.Write(p)
				}), []record.Status{record.Unexpected}, false, 0, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				if described {
					if err := d.Describe(capture.LinkEthernet, "eth1"); err != nil {
						t.Fatal(err)
					}
				}
				file = d.Sections(writer(func(p []byte) (int, error) {
					if n == lost+1 && fails {
						return 0, io.ErrShortWrite
					}
					return out.Write(p)
				}))
				out.Write(d.Head())
				if has := bytes.Contains(out.Bytes(), []byte("eth1")); has != described {
					t.Errorf("the head describes the interface: %t", has)
				}
				d.Judged(verdictOn(&in[0], record.Unexpected, false))
				d.Judged(verdictOn(&in[1], record.Unexpected, false))
				d.Packets(packets)
				d.Finish()
				got := read(t, "out.pcapng", out.Bytes())
				var want []capture.Packet
				want = append(append(want, packets[:lost]...), packets[lost+1:]...)
				if len(got) != len(want) {
					t.Fatalf("packet %d lost: %d packets", lost, len(got))
				}
				for i := range got {
					if got[i].Frame.LinkType != want[i].Frame.LinkType || !bytes.Equal(got[i].Frame.Data, want[i].Frame.Data) {
						t.Errorf("packet %d lost: packet %d is another one", lost, i)
					}
				}
			}
		}
	}
}

// TestDelayBurst checks that a burst leaves no memory behind: the packets that are held
// afterwards take what they took before.
func TestDelayBurst(t *testing.T) {
	data, err := capturetest.Compile("delayed", []byte(delayed))
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, "in.pcap", data)[:1]
	d, err := NewDelay(io.Discard, []record.Status{record.Unexpected}, false, time.Second, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	begin := in[0].Time
	add := func(n int, step time.Duration) {
		for range n {
			in[0].Time += int64(step)
			d.Packets(in)
			d.Advance(in[0].Time)
		}
	}
	add(10_000, time.Millisecond)
	if n := len(d.held.pieces); n != 1000/pieceSize+1 && n != 1000/pieceSize+2 {
		t.Fatalf("1,000 packets are held in %d pieces", n)
	}
	add(100_000, 0)
	if n := len(d.held.pieces); n < 100_000/pieceSize {
		t.Fatalf("101,000 packets are held in %d pieces", n)
	}
	add(2_000, time.Millisecond)
	if n := len(d.held.pieces); n > 1000/pieceSize+2 || len(d.spare) > spareRoom {
		t.Errorf("1,000 packets are held in %d pieces after a burst, and %d rooms are spare", n, len(d.spare))
	}
	if held := d.held.oldest().time; held <= in[0].Time-int64(time.Second) || held < begin {
		t.Errorf("a packet is held for %v", time.Duration(in[0].Time-held))
	}
	d.Finish()
	if !d.held.empty() || d.bytes != 0 || len(d.flows) != 0 {
		t.Errorf("%d pieces, %d flows and %d bytes are left", len(d.held.pieces), len(d.flows), d.bytes)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestDelayForgets checks that flows that stay open for long take bounded memory.
func TestDelayForgets(t *testing.T) {
	const limit = 64 << 10
	data, err := capturetest.Compile("one", []byte("start 2026-01-01T00:00:00Z\n@0 udp 10.0.0.1:1 > 10.0.0.5:80 \"x\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	in := read(t, "in.pcap", data)
	d, err := NewDelay(io.Discard, []record.Status{record.Unexpected}, false, 10*time.Second, limit)
	if err != nil {
		t.Fatal(err)
	}
	const flows = 5000
	at := func(i int) []capture.Packet {
		p := in[0]
		p.Src.Port, p.Time = uint16(i+1), p.Time+int64(i)*int64(time.Second)
		return []capture.Packet{p}
	}
	most := 0
	for i := range flows {
		packets := at(i)
		d.Packets(packets)
		d.Judged(verdictOn(&packets[0], record.Unexpected, false))
		d.Advance(packets[0].Time)
		most = max(most, d.bytes)
		if len(d.flows) > limit/2/256+16 {
			t.Fatalf("%d flows are remembered after %d", len(d.flows), i+1)
		}
	}
	if most > limit || most < limit/2 {
		t.Errorf("%d bytes at most, the limit is %d", most, limit)
	}
	d.Finish()
	if n := d.Written(); n != flows {
		t.Errorf("%d packets of %d were written", n, flows)
	}
	// The first flow has its place; one of the middle has none.
	for _, i := range []int{0, flows / 2} {
		d.Packets(at(i))
		d.Finish()
	}
	if d.Written() != flows+1 || d.Dropped() != 1 {
		t.Errorf("then %d were written and %d dropped", d.Written()-flows, d.Dropped())
	}
	for i := range flows {
		d.Judged(verdictOn(&at(i)[0], record.Unexpected, true))
	}
	if len(d.flows) > 0 || d.bytes != 0 || d.known != 0 {
		t.Errorf("%d flows and %d bytes are left", len(d.flows), d.bytes)
	}
}
