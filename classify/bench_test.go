package classify

import (
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest/readfile"
	"github.com/exspan/exspan/rules"
)

// recordings returns the captures that come with the source.
func recordings(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../testdata/*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings in testdata")
	}
	return files
}

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	cfg.Packs = testPacks(t)
	e, err := New(cfg, discard{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// BenchmarkReplay puts whole recordings through an engine: flows, observers,
// endpoints and rules.
func BenchmarkReplay(b *testing.B) {
	for _, file := range recordings(b) {
		packets := readfile.Packets(b, file)
		b.Run(strings.TrimSuffix(filepath.Base(file), ".pcapng"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				e := newEngine(b, Config{})
				b.StartTimer()
				if err := e.Batch(&capture.Batch{Packets: packets}); err != nil {
					b.Fatal(err)
				}
				if err := e.Close(nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(packets)), "ns/packet")
		})
	}
}

// TestUnknownFlowsDoNotAllocate sends on flows that nothing is known of: their
// packets cost no memory. Package session has a test of all that is read.
func TestUnknownFlowsDoNotAllocate(t *testing.T) {
	e := newEngine(t, Config{Traffic: true})
	a, b := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.9:50000")), capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.3:443"))
	p := capture.Packet{Number: 1, Time: 1e18, Length: 1040, Frames: 1, Proto: capture.TCP, Flags: capture.ACK, Src: a, Dst: b, Seq: 1,
		Payload: make([]byte, 1000), PayloadLength: 1000, Hash: capture.Hash(a, b, capture.TCP)}
	p.Payload[0] = 0xff
	udp := p
	udp.Proto, udp.Hash = capture.UDP, capture.Hash(a, b, capture.UDP)
	batch := &capture.Batch{Packets: []capture.Packet{p, udp}}
	step := func() {
		for i := range batch.Packets {
			batch.Packets[i].Seq += 1000
			batch.Packets[i].Time += 1e6
			batch.Packets[i].Number++
		}
		if err := e.Batch(batch); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations for two packets of known flows", n)
	}
}

// TestMemoryPerFlow fills an engine with flows of which nothing can be read.
func TestMemoryPerFlow(t *testing.T) {
	const flows = 200_000
	e := newEngine(t, Config{})
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	server := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.3:443"))
	payload := []byte{0xff, 1, 2, 3}
	batch := &capture.Batch{Packets: make([]capture.Packet, 1)}
	for i := range flows {
		a := capture.Endpoint{Addr: capture.AddrFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), Port: 40000}
		batch.Packets[0] = capture.Packet{Number: uint64(i + 1), Time: 1e18, Length: 44, Frames: 1, Proto: capture.UDP, Src: a, Dst: server,
			Payload: payload, PayloadLength: 4, Hash: capture.Hash(a, server, capture.UDP)}
		if err := e.Batch(batch); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (after.HeapAlloc - before.HeapAlloc) / flows
	t.Logf("%d bytes a flow", per)
	if per > 200 { // 144 the flow, 20 the state, 10 to 21 the index, 10 to 21 the pair of hosts
		t.Errorf("%d bytes a flow", per)
	}
	runtime.KeepAlive(e)
}

// TestLinear prints what ten times the packets and ten times the flows cost.
// Machines differ and are busy, so only a gross failure fails.
func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	run := func(packets, flows int) time.Duration {
		e := newEngine(t, Config{})
		server := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.3:443"))
		batch := &capture.Batch{Packets: make([]capture.Packet, 0, 512)}
		start := time.Now()
		for i := range packets {
			n := i % flows
			a := capture.Endpoint{Addr: capture.AddrFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})), Port: 40000}
			batch.Packets = append(batch.Packets, capture.Packet{Number: uint64(i + 1), Time: 1e18, Length: 44, Frames: 1, Proto: capture.TCP,
				Flags: capture.ACK, Src: a, Dst: server, Hash: capture.Hash(a, server, capture.TCP)})
			if len(batch.Packets) == cap(batch.Packets) {
				if err := e.Batch(batch); err != nil {
					t.Fatal(err)
				}
				batch.Packets = batch.Packets[:0]
			}
		}
		if err := e.Close(nil); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	base := run(200_000, 2000)
	more, wider := run(2_000_000, 2000), run(2_000_000, 20_000)
	t.Logf("200,000 packets %v; ten times the packets %.1f times; ten times the flows too %.1f times", base,
		float64(more)/float64(base), float64(wider)/float64(base))
	if slow := 20 * time.Second; more > max(40*base, slow) || wider > max(60*base, slow) {
		t.Errorf("time does not grow with the input")
	}
}

// BenchmarkNew makes an engine, as every start does.
func BenchmarkNew(b *testing.B) {
	packs, err := rules.Embedded()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(Config{Packs: packs}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
