package capture

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

const conversation = `
start 2026-01-02T09:14:03.123456789Z
handshake 10.0.0.1:1050 > 10.0.0.2:135
tcp 10.0.0.1:1050 > 10.0.0.2:135 "request" vlan=10.20
udp [2001:db8::1]:1051 > [2001:db8::2]:53 zero(40) frag=16
icmp 10.0.0.254 > 10.0.0.1 prohibited tcp 10.0.0.1:1051 > 10.0.0.2:443
udp 10.0.0.1:1 > 10.0.0.2:9 "cut off" snap=44
`

// compiled writes text as a capture file and returns its name.
func compiled(t testing.TB, text string) string {
	t.Helper()
	b, err := capturetest.Compile("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return written(t, "in.pcap", b)
}

func written(t testing.TB, name string, b []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}

// packets reads a source to its end and returns copies of all packets.
func packets(t testing.TB, s Source) (all []Packet, st Stats) {
	t.Helper()
	for {
		bt, err := s.Read()
		if err == io.EOF {
			return all, st
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range bt.Packets {
			p.Payload = append([]byte(nil), p.Payload...)
			if p.Frame != nil {
				f := *p.Frame
				f.Data = append([]byte(nil), f.Data...)
				p.Frame = &f
			}
			all = append(all, p)
		}
		st = bt.Stats
		bt.Release()
	}
}

// TestWriter writes packets with comments and lets tshark and our own reader
// read them.
func TestWriter(t *testing.T) {
	in := compiled(t, conversation)
	s, err := OpenFiles([]string{in}, Options{KeepFrames: true})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.pcapng")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f, "exspan test")
	if err != nil {
		t.Fatal(err)
	}
	before, _ := packets(t, s)
	for i := range before {
		comment := ""
		if i%2 == 0 {
			comment = "deviating: 2010.mailbox.mapi, größer"
		}
		if err := w.Write(&before[i], comment); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(&Packet{}, ""); err != errNoFrame {
		t.Errorf("a packet without a frame: %v", err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()

	r, err := OpenFiles([]string{out}, Options{KeepFrames: true})
	if err != nil {
		t.Fatal(err)
	}
	after, _ := packets(t, r)
	if errs := r.Errors(); len(errs) > 0 || len(after) != len(before) || len(after) != 7 {
		t.Fatalf("%d packets became %d, errors %v", len(before), len(after), errs)
	}
	for i := range before {
		b, a := before[i], after[i]
		if a.Time != b.Time || a.Hash != b.Hash || string(a.Frame.Data) != string(b.Frame.Data) || a.Frame.WireLength != b.Frame.WireLength || a.Number != b.Number {
			t.Errorf("packet %d:\n before %+v\n after %+v", i, b, a)
		}
	}

	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	text, err := exec.Command("tshark", "-n", "-r", out, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.comment").Output()
	if err != nil {
		t.Fatal(err)
	}
	const want = "1767345243.123456789\t60\t60\tdeviating: 2010.mailbox.mapi, größer\n" +
		"1767345243.124456789\t60\t60\t\n" +
		"1767345243.125456789\t60\t60\tdeviating: 2010.mailbox.mapi, größer\n" +
		"1767345243.126456789\t69\t69\t\n" +
		"1767345243.127456789\t78\t78\tdeviating: 2010.mailbox.mapi, größer\n" +
		"1767345243.127456789\t78\t78\tdeviating: 2010.mailbox.mapi, größer\n" +
		"1767345243.127456789\t78\t78\tdeviating: 2010.mailbox.mapi, größer\n" +
		"1767345243.128456789\t70\t70\t\n" +
		"1767345243.129456789\t60\t44\tdeviating: 2010.mailbox.mapi, größer\n"
	if string(text) != want {
		t.Errorf("tshark reads\n%s, want\n%s", text, want)
	}
	if b, err := exec.Command("capinfos", out).CombinedOutput(); err != nil {
		t.Errorf("capinfos: %v\n%s", err, b)
	}
}
