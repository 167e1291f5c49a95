//go:build unix

package classify

import (
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/capture/capturetest/readfile"
	"github.com/exspan/exspan/rules"
)

// Each conversation is between 10.0.0.9 and 10.0.0.5, which takeAll replaces.
const (
	// An endpoint mapper announces a service, which a second connection uses.
	announcing = `start 2010-03-04T09:14:00Z
handshake 10.0.0.9:1050 > 10.0.0.5:135
tcp 10.0.0.9:1050 > 10.0.0.5:135 rpc-bind(epmapper)
tcp 10.0.0.5:135 > 10.0.0.9:1050 rpc-bind-ack(135)
tcp 10.0.0.9:1050 > 10.0.0.5:135 epm-map(emsmdb)
tcp 10.0.0.5:135 > 10.0.0.9:1050 epm-mapped(emsmdb 46861)
fin 10.0.0.9:1050 > 10.0.0.5:135
tcp 10.0.0.9:1051 > 10.0.0.5:46861 rpc-request(11)
tcp 10.0.0.5:46861 > 10.0.0.9:1051 rpc-response()
`
	// The banner of a server proves a role.
	greeting = `start 2010-03-04T09:14:00Z
handshake 10.0.0.9:1050 > 10.0.0.5:110
tcp 10.0.0.5:110 > 10.0.0.9:1050 "+OK The Microsoft Exchange POP3 service is ready.\r\n"
fin 10.0.0.9:1050 > 10.0.0.5:110
`
	// Nothing can be read of this one.
	silent = `start 2010-03-04T09:14:00Z
udp 10.0.0.9:40000 > 10.0.0.5:40001 "\xff\x01\x02\x03"
udp 10.0.0.5:40001 > 10.0.0.9:40000 "\xff\x01\x02\x03"
`
)

// conversation returns the packets of a text.
func conversation(t *testing.T, text string) []capture.Packet {
	t.Helper()
	data, err := capturetest.Compile("text", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "text.pcap")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return readfile.Packets(t, file)
}

// processor returns the time that this process has used of the processors.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Skip(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// converse feeds a new engine with a conversation again and again, of other clients and
// servers in turn, and returns the time that this took of the processors.
func converse(t *testing.T, packets []capture.Packet, times, clients, servers int) time.Duration {
	t.Helper()
	old := [2]capture.Addr{capture.AddrFrom(netip.MustParseAddr("10.0.0.9")), capture.AddrFrom(netip.MustParseAddr("10.0.0.5"))}
	e := newEngine(t, Config{Limits: Limits{MaxEndpoints: 1 << 19, MaxHosts: 1 << 19, MaxPairs: 1 << 20, MaxFlows: 1 << 21}})
	begin := processor(t)
	batch := &capture.Batch{Packets: make([]capture.Packet, 0, 512)}
	feed := func() {
		if err := e.Batch(batch); err != nil {
			t.Fatal(err)
		}
		batch.Packets = batch.Packets[:0]
	}
	number := uint64(0)
	for i := range times {
		c, s := i%clients, i%servers
		ends := [2]capture.Addr{
			capture.AddrFrom(netip.AddrFrom4([4]byte{10, byte(64 + c>>16), byte(c >> 8), byte(c)})),
			capture.AddrFrom(netip.AddrFrom4([4]byte{10, byte(128 + s>>16), byte(s >> 8), byte(s)}))}
		for _, p := range packets {
			for _, end := range []*capture.Endpoint{&p.Src, &p.Dst} {
				if end.Addr == old[0] {
					end.Addr = ends[0]
				} else if end.Addr == old[1] {
					end.Addr = ends[1]
				}
			}
			number++
			p.Number, p.Time, p.Hash = number, packets[0].Time+int64(number)*1000, capture.Hash(p.Src, p.Dst, p.Proto)
			if batch.Packets = append(batch.Packets, p); len(batch.Packets) == cap(batch.Packets) {
				feed()
			}
		}
	}
	feed()
	if err := e.Close(nil); err != nil {
		t.Fatal(err)
	}
	return processor(t) - begin
}

// TestSlopes prints what is taken of the processors as work grows tenfold, and by which
// power of the work the time grows: 1 is linear. It is for make slopes.
func TestSlopes(t *testing.T) {
	if os.Getenv("EXSPAN_SLOPES") == "" {
		t.Skip("EXSPAN_SLOPES=1 runs it")
	}
	// least is the least of some runs, each followed by one of another size, as a machine
	// is never quiet for long.
	least := func(sizes [2]int, run func(n int) time.Duration) (took [2]time.Duration) {
		for range 5 {
			for i, n := range sizes {
				if d := run(n); took[i] == 0 || d < took[i] {
					took[i] = d
				}
			}
		}
		return took
	}
	quiet, greets, announces := conversation(t, silent), conversation(t, greeting), conversation(t, announcing)
	for _, c := range []struct {
		what  string
		most  int
		units func(n int) int
		run   func(n int) time.Duration
	}{
		{"packets", 4_000_000, nil, func(n int) time.Duration { return converse(t, quiet, n/len(quiet), 1000, 10) }},
		{"flows", 1_000_000, nil, func(n int) time.Duration { return converse(t, quiet, n, n, 10) }},
		{"endpoints", 200_000, nil, func(n int) time.Duration { return converse(t, announces, n, 1000, n) }},
		{"hosts", 100_000, nil, func(n int) time.Duration { return converse(t, greets, n, 1000, n) }},
	} {
		took := least([2]int{c.most / 10, c.most}, c.run)
		power := math.Log10(float64(took[1]) / float64(took[0]))
		t.Logf("%-10s %9d in %8v, %9d in %8v: %6.0f and %6.0f ns each, growing by the power %.2f", c.what, c.most/10, took[0].Round(time.Millisecond), c.most,
			took[1].Round(time.Millisecond), float64(took[0])/float64(c.most/10), float64(took[1])/float64(c.most), power)
		// More than fits the processor's caches costs more for each.
		if power > 1.25 {
			t.Errorf("the time of %s grows by the power %.2f", c.what, power)
		}
	}
	slopeOfRules(t)
}

// slopeOfRules compares the rules of all versions with those of one.
func slopeOfRules(t *testing.T) {
	var packets [][]capture.Packet
	for _, file := range recordings(t) {
		packets = append(packets, readfile.Packets(t, file))
	}
	run := func(versions ...string) time.Duration {
		packs, err := rules.Embedded(versions...)
		if err != nil {
			t.Fatal(err)
		}
		total := time.Duration(0)
		for _, p := range packets {
			e, err := New(Config{Packs: packs}, discard{})
			if err != nil {
				t.Fatal(err)
			}
			begin := processor(t)
			for turn := range 200 {
				for i := range p {
					p[i].Src.Addr[13], p[i].Dst.Addr[13] = byte(turn), byte(turn) // the second octet of IPv4
					p[i].Hash = capture.Hash(p[i].Src, p[i].Dst, p[i].Proto)
				}
				if err := e.Batch(&capture.Batch{Packets: p}); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Close(nil); err != nil {
				t.Fatal(err)
			}
			total += processor(t) - begin
		}
		return total
	}
	all := rules.EmbeddedVersions()
	one, every := run("2010"), run()
	for range 5 {
		one, every = min(one, run("2010")), min(every, run())
	}
	t.Logf("rules of %d versions instead of one: %v instead of %v, %+.1f %%", len(all), every.Round(time.Millisecond), one.Round(time.Millisecond), 100*(float64(every)/float64(one)-1))
	if float64(every) > 1.05*float64(one) { // 3 % are wanted, and the machine is not that exact
		t.Error("more rules cost more than 5 %")
	}
}
