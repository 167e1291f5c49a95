package capture

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const windows = "../testdata/windows/"

// seen is a packet as tests compare it.
type seen struct {
	time   int64
	length uint32
	sum    [32]byte
}

func framesOf(t *testing.T, names []string, o Options) ([]seen, *Files) {
	t.Helper()
	o.KeepFrames = true
	f, err := OpenFiles(names, o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []seen
	for {
		b, err := f.Read()
		if errors.Is(err, io.EOF) {
			return list, f
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Packets {
			p := &b.Packets[i]
			list = append(list, seen{p.Time, p.Frame.WireLength, sha256.Sum256(p.Frame.Data)})
		}
		b.Release()
	}
}

// TestWindowsEverywhere reads the same trace from a file, compressed, and from
// standard input, with each of the ways to read ahead.
func TestWindowsEverywhere(t *testing.T) {
	for _, name := range []string{"pktmon.etl", "netsh-layers.etl", "netmon-event.cap", "netmon-1.1.cap"} {
		data, err := os.ReadFile(windows + name)
		if err != nil {
			t.Fatal(err)
		}
		want, f := framesOf(t, []string{windows + name}, Options{})
		if errs := f.Errors(); len(errs) > 0 || len(want) < 90 {
			t.Fatalf("%s: %d packets, %v", name, len(want), errs)
		}
		if !slices.IsSortedFunc(want, func(a, b seen) int { return int(a.time - b.time) }) {
			t.Errorf("%s: not in the order of time", name)
		}
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write(data)
		w.Close()
		zipped := filepath.Join(t.TempDir(), "a file.bin")
		if err := os.WriteFile(zipped, z.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		for how, o := range map[string]Options{"parallel": {Parallel: true}, "pieces": {Pieces: true}, "plain": {}} {
			for from, names := range map[string][]string{"gzip": {zipped}, "file": {windows + name}} {
				if got, f := framesOf(t, names, o); !slices.Equal(got, want) {
					t.Errorf("%s, %s, %s: %d packets, want %d; %v", name, how, from, len(got), len(want), f.Errors())
				}
			}
			o.Stdin = bytes.NewReader(data)
			if got, _ := framesOf(t, []string{"-"}, o); !slices.Equal(got, want) {
				t.Errorf("%s, %s, stdin: %d packets, want %d", name, how, len(got), len(want))
			}
		}
	}
}

// TestWindowsMerged merges a trace with a pcap file of the same network.
func TestWindowsMerged(t *testing.T) {
	names := []string{windows + "pktmon.etl", "../testdata/rpc.pcapng", windows + "netmon-2.3.cap"}
	n := 0
	for _, name := range names {
		list, _ := framesOf(t, []string{name}, Options{})
		n += len(list)
	}
	got, f := framesOf(t, names, Options{})
	if len(got) != n || len(f.Errors()) > 0 {
		t.Errorf("%d packets, want %d; %v", len(got), n, f.Errors())
	}
	if !slices.IsSortedFunc(got, func(a, b seen) int { return int(a.time - b.time) }) {
		t.Error("not in the order of time")
	}
	if traces := f.Traces(); len(traces) != 2 {
		t.Errorf("%d traces", len(traces))
	}
}

// TestWindowsAppearances counts each packet once, or as often as it was seen.
func TestWindowsAppearances(t *testing.T) {
	once, f := framesOf(t, []string{windows + "pktmon-24h2.etl"}, Options{})
	tr := f.Traces()[0]
	all, _ := framesOf(t, []string{windows + "pktmon-24h2.etl"}, Options{AllAppearances: true})
	if tr.Packets != 120 || tr.Packets+tr.Appearances != tr.Events || len(all) < 7*len(once) {
		t.Errorf("%d packets and %d appearances of %d events; %d and %d are of flows", tr.Packets, tr.Appearances, tr.Events, len(once), len(all))
	}
}

// TestWindowsTold checks what the user is told.
func TestWindowsTold(t *testing.T) {
	cab := filepath.Join(t.TempDir(), "NetTrace.cab")
	if err := os.WriteFile(cab, []byte("MSCF\x00\x00\x00\x00 and so on"), 0o600); err != nil {
		t.Fatal(err)
	}
	running := patched(t, "netsh.etl", func(b []byte) []byte { copy(b[0x48+32+16:], make([]byte, 8)); return b })
	lost := patched(t, "pktmon.etl", func(b []byte) []byte { b[0x48+32+48] = 5; return b })
	cut := patched(t, "netsh.etl", func(b []byte) []byte { return b[:len(b)-70_000] })
	clock := patched(t, "netsh.etl", func(b []byte) []byte { b[0x48+32+272] = 7; return b })
	for _, c := range []struct{ file, errors, notes string }{
		{windows + "netsh-no-packets.etl", "without packets: its filters let none through, or there were none; capture with: netsh trace start capture=yes", ""},
		{windows + "pktmon-counters.etl", "with counters only: pktmon ran without --capture, or saw none; capture with: pktmon start --capture --comp nics --pkt-size 0", ""},
		{windows + "pktmon-128.etl", "", "packets were cut to 128 bytes, as pktmon does unless told otherwise; capture whole ones with: pktmon start --capture"},
		{windows + "netmon-2.0.cap", "", "it was read as UTC"},
		{windows + "netmon-2.3.cap", "", ""},
		{windows + "netmon-event.cap", "", ""},
		{cab, "expand NetTrace.cab -F:*.etl .", ""},
		{running, "", "the session was still running, and its last packets are missing; stop it first, with netsh trace stop"},
		{lost, "", "the session lost 5 events: larger buffers or a filter help"},
		{cut, "the file ends inside a buffer: ", ""},
		{clock, "clock type 7 is not known; please report this file", ""},
	} {
		_, f := framesOf(t, []string{c.file}, Options{})
		var notes, errs []string
		for _, tr := range f.Traces() {
			notes = append(notes, tr.Notes...)
		}
		for _, err := range f.Errors() {
			errs = append(errs, err.Error())
		}
		if c.errors == "" && len(errs) > 0 || !strings.Contains(strings.Join(errs, "\n"), c.errors) {
			t.Errorf("%s: errors %q, want %q", c.file, errs, c.errors)
		}
		if !strings.Contains(strings.Join(notes, "\n"), c.notes) {
			t.Errorf("%s: notes %q, want %q", c.file, notes, c.notes)
		}
	}
}

func patched(t *testing.T, name string, change func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(windows + name)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(out, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWindowsDrops checks the drops of a trace: told apart from its packets.
func TestWindowsDrops(t *testing.T) {
	_, f := framesOf(t, []string{windows + "pktmon.etl"}, Options{})
	d := f.Traces()[0].Drops
	if len(d) != 1 || d[0].Reason != "FilteredVLAN" || d[0].Component != "tcpip.sys" || !d[0].Captured || d[0].Packets != 1 || d[0].Proto != TCP {
		b, _ := json.Marshal(d)
		t.Errorf("drops %s", b)
	}
	_, f = framesOf(t, []string{windows + "pktmon.etl"}, Options{Filter: "udp"})
	if d := f.Traces()[0].Drops; len(d) != 0 {
		t.Errorf("%d drops of TCP where only UDP is wanted", len(d))
	}
}
