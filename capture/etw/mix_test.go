package etw_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/etw"
	"github.com/exspan/exspan/capture/etw/etwtest"
)

// recording returns the frames of a recording.
func recording(t testing.TB, name string) []etwtest.Frame {
	t.Helper()
	f, err := capture.OpenFiles([]string{"../../testdata/" + name}, capture.Options{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []etwtest.Frame
	var r capture.RawFrame
	for f.NextFrame(&r) == nil {
		list = append(list, etwtest.Frame{Time: r.Time, Wire: r.WireLength, Data: bytes.Clone(r.Data)})
	}
	if len(list) < 100 || len(f.Errors()) > 0 {
		t.Fatalf("%s: %d frames, %v", name, len(list), f.Errors())
	}
	return list
}

// read returns all packets of a file.
func read(t testing.TB, file []byte) ([]etwtest.Frame, *etw.Report, error) {
	t.Helper()
	r, err := etw.NewReader(bytes.NewReader(file), int64(len(file)), etw.Options{})
	if err != nil {
		return nil, nil, err
	}
	var list []etwtest.Frame
	var f etw.Frame
	for {
		if err := r.Next(&f); errors.Is(err, io.EOF) {
			return list, r.Report(), nil
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, etwtest.Frame{Time: f.Time, Wire: f.Wire, Data: bytes.Clone(f.Data)})
	}
}

// TestMixes packs a recording in all ways that the generator supports. It verifies that
// all packets are read, with their times, lengths and bytes.
func TestMixes(t *testing.T) {
	frames := recording(t, "mail.pcapng")
	for _, o := range []etwtest.Options{
		{},
		{CPUs: 4, Noise: true},
		{CPUs: 4, Split: 3, Noise: true},
		{CPUs: 4, Layers: 3, Split: 5},
		{CPUs: 7, Layers: 8},
		{Bits32: true, Clock: 3, CPUs: 2, Split: 2},
		{Bits32: true, Clock: 2},
		{Clock: 2, CPUs: 3},
		{Clock: 3, Compressed: true, CPUs: 16},
		{Compressed: true, BufferSize: 1 << 20, Noise: true, CPUs: 2},
		{Compressed: true, Split: 2, Layers: 2, CPUs: 2},
		{WiFi: true, CPUs: 2},
		{WiFi: true, Split: 3, Layers: 2},
		{Switch: true, CPUs: 2},
		{Switch: true, Layers: 2, Split: 4},
		{Cut: 128, CPUs: 2},
		{Cut: 128, WiFi: true},
		{Lost: 17},
		{Pktmon: true, Layers: 1},
		{Pktmon: true, Compressed: true, CPUs: 4, Layers: 4},
		{Pktmon: true, Compressed: true, CPUs: 4, Layers: 8, NewIDs: true, Noise: true},
		{Pktmon: true, Compressed: true, CPUs: 16, Layers: 5, NewIDs: true, WiFi: true, Unsummed: true},
		{Pktmon: true, Layers: 4, WiFi: true, Unsummed: true, Clock: 3},
		{Pktmon: true, Layers: 4, Cut: 128, Drops: 5, Reason: 1207, Compressed: true},
		{Pktmon: true, Layers: 4, Cut: 128, WiFi: true, NewIDs: true, Compressed: true},
		{Pktmon: true, Layers: 8, Cut: 96, NewIDs: true},
		{Pktmon: true, Layers: 3, Bits32: true, Clock: 2},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			got, r, err := read(t, etwtest.ETL(frames, o))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Err(); err != nil || r.Unfinished > 0 || r.Short > 0 || r.NotFrames > 0 {
				t.Errorf("damage: %v; %+v", err, r)
			}
			same(t, got, frames, o)
			if r.Lost != uint64(o.Lost) || o.Pktmon && r.Drops != uint64(o.Drops) {
				t.Errorf("%d events lost, %d drops", r.Lost, r.Drops)
			}
		})
	}
}

func same(t *testing.T, got, want []etwtest.Frame, o etwtest.Options) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	// Two packets can have the same microsecond: sort by time, then by content.
	order(got)
	want = append([]etwtest.Frame(nil), want...)
	for i := range want {
		want[i].Time -= want[i].Time % 100
	}
	order(want)
	bad := 0
	for i := range got {
		g, w := got[i], want[i]
		data := w.Data
		if o.Cut > 0 && len(data) > len(g.Data) && len(g.Data) >= o.Cut-34 {
			data = data[:len(g.Data)]
		}
		if g.Time != w.Time || g.Wire != w.Wire || !bytes.Equal(unsum(g.Data), unsum(data)) {
			if bad++; bad <= 3 {
				t.Errorf("packet %d: time %d, %d of %d bytes; want %d, %d of %d", i, g.Time, len(g.Data), g.Wire, w.Time, len(w.Data), w.Wire)
			}
		}
	}
}

// TestShortWiFi cuts frames so short that 802.11 leaves less of a packet than Ethernet
// does. Only the first packet that shows this may be read twice.
func TestShortWiFi(t *testing.T) {
	frames := recording(t, "mail.pcapng")
	got, _, err := read(t, etwtest.ETL(frames, etwtest.Options{Pktmon: true, Layers: 8, Cut: 96, WiFi: true, NewIDs: true}))
	if n := len(got) - len(frames); err != nil || n < 0 || n > 1 {
		t.Errorf("%d packets of %d, %v", len(got), len(frames), err)
	}
}

// TestNetMonVersions verifies that all frames are read, at the time resolution of the
// version.
func TestNetMonVersions(t *testing.T) {
	frames := recording(t, "web.pcapng")
	for _, v := range []struct {
		major, minor byte
		resolution   int64
	}{{1, 1, 1e6}, {2, 0, 1e3}, {2, 1, 1e3}, {2, 2, 1e3}, {2, 3, 100}} {
		got, r, err := read(t, etwtest.NetMon(frames, v.major, v.minor))
		if err != nil || r.Err() != nil || len(got) != len(frames) {
			t.Fatalf("%d.%d: %d frames of %d, %v, %v", v.major, v.minor, len(got), len(frames), err, r.Err())
		}
		for i, f := range frames {
			if got[i].Time != f.Time-f.Time%v.resolution || got[i].Wire != f.Wire || !bytes.Equal(got[i].Data, f.Data) {
				t.Fatalf("%d.%d: frame %d differs", v.major, v.minor, i)
			}
		}
		if r.LocalTime != (v.major == 1 || v.minor < 3) {
			t.Errorf("%d.%d: local time is %v", v.major, v.minor, r.LocalTime)
		}
	}
}

// TestDamaged cuts and changes files. The reader must not panic, and it must read the
// packets of an uncompressed trace before the damage.
func TestDamaged(t *testing.T) {
	frames := recording(t, "rpc.pcapng")[:300]
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, file := range [][]byte{
		etwtest.ETL(frames, etwtest.Options{CPUs: 2, Split: 3}),
		etwtest.ETL(frames, etwtest.Options{Pktmon: true, Compressed: true, Layers: 4, CPUs: 3, BufferSize: 16 << 10}),
		etwtest.NetMon(frames, 2, 3),
		etwtest.NetMon(frames, 1, 1),
	} {
		for range 300 {
			b := bytes.Clone(file)
			if rnd.IntN(2) == 0 {
				b = b[:rnd.IntN(len(b))]
			}
			for range rnd.IntN(20) {
				if len(b) > 0 {
					b[rnd.IntN(len(b))] = byte(rnd.Uint32())
				}
			}
			if !etw.Is(b[:min(len(b), etw.HeadSize)]) {
				continue
			}
			if list, _, err := read(t, b); err == nil && len(list) > 20*len(frames) {
				t.Errorf("%d packets of %d", len(list), len(frames))
			}
		}
	}
	file := etwtest.ETL(frames, etwtest.Options{})
	for _, n := range []int{len(file) - 1, len(file) / 2, 80_000} {
		got, r, err := read(t, file[:n])
		if err != nil || len(got) == 0 || r.Err() == nil {
			t.Fatalf("cut at %d: %d packets, %v", n, len(got), err)
		}
		for i, f := range got {
			if !bytes.Equal(f.Data, frames[i].Data) {
				t.Fatalf("cut at %d: packet %d differs", n, i)
			}
		}
	}
}

// TestBomb verifies that a buffer that claims more than its bytes can hold is refused,
// and that a plausible one is read without its whole size in memory.
func TestBomb(t *testing.T) {
	file := etwtest.ETL(recording(t, "rpc.pcapng")[:100], etwtest.Options{Pktmon: true, Compressed: true, BufferSize: 32 << 10})
	second := int(file[0]) | int(file[1])<<8 | int(file[2])<<16
	b := bytes.Clone(file)
	copy(b[second+0x30:], []byte{0, 0, 0, 0x40}) // 1 GiB
	_, r, err := read(t, b)
	if err != nil || r.Err() == nil {
		t.Errorf("a buffer of 1 GiB: %v, %v", err, r)
	}
}

func FuzzETL(f *testing.F) {
	frames := recording(f, "rpc.pcapng")[:40]
	f.Add(etwtest.ETL(frames, etwtest.Options{CPUs: 2, Split: 3, BufferSize: 8 << 10, Noise: true}))
	f.Add(etwtest.ETL(frames, etwtest.Options{Switch: true, WiFi: true, Bits32: true, Clock: 3, BufferSize: 8 << 10}))
	f.Add(etwtest.ETL(frames, etwtest.Options{Pktmon: true, Compressed: true, Layers: 4, Drops: 2, BufferSize: 8 << 10}))
	f.Fuzz(fuzzed)
}

func FuzzNetMon(f *testing.F) {
	frames := recording(f, "rpc.pcapng")[:20]
	f.Add(etwtest.NetMon(frames, 2, 3))
	f.Add(etwtest.NetMon(frames, 1, 1))
	f.Add(etwtest.NetMon(frames, 2, 0))
	f.Fuzz(fuzzed)
}

// fuzzed reads arbitrary bytes and verifies that the frames are consistent.
func fuzzed(t *testing.T, b []byte) {
	r, err := etw.NewReader(bytes.NewReader(b), int64(len(b)), etw.Options{Drop: func(d *etw.Drop) { _ = d.Data }})
	if err != nil {
		return
	}
	var f etw.Frame
	for r.Next(&f) == nil {
		if int(f.Wire) < len(f.Data) || len(f.Data) > 300<<10 || f.Time < 0 {
			t.Fatalf("a frame of %d bytes, %d on the wire, at %d", len(f.Data), f.Wire, f.Time)
		}
	}
	_, _, _ = r.Report().Notes(), r.Report().Empty(), r.Report().Format()
}
