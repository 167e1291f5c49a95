package classify

import (
	"net/netip"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
)

// counting is a sink that implements record.Counter.
type counting struct {
	records, flows, packets, bytes uint64
	whole                          bool // it needs every record
}

func (c *counting) add(flows, packets, bytes uint64) {
	c.flows += flows
	c.packets += packets
	c.bytes += bytes
}

func (c *counting) Write(r *record.Record) error {
	c.records++
	c.add(1, r.Packets[0]+r.Packets[1], r.Bytes[0]+r.Bytes[1])
	return nil
}

func (c *counting) Close(*record.Summary) error { return nil }

func (c *counting) CountUnrelated() func(flows, packets, bytes uint64) {
	if c.whole {
		return nil
	}
	return c.add
}

// TestCounter verifies that a record.Counter gets no record of a connection attempt
// between hosts that have nothing to do with Exchange, and counts it with its traffic.
func TestCounter(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     Config
		sink    counting
		records uint64
	}{
		{"by number", Config{}, counting{}, 0},
		{"a sink that needs every record", Config{}, counting{whole: true}, 5},
		{"every record is explained", Config{Explain: func(*record.Record) func([]record.Candidate) { return nil }}, counting{}, 5},
		{"traffic is counted as it passes", Config{Traffic: true}, counting{}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Packs = testPacks(t)
			e, err := New(c.cfg, &c.sink)
			if err != nil {
				t.Fatal(err)
			}
			server := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.3:5000"))
			for i := range uint64(10) {
				client := capture.EndpointFrom(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), uint16(40000+i/2)))
				p := capture.Packet{Number: i + 1, Time: 1e18, Length: 44, Frames: 1, Proto: capture.TCP, Flags: capture.SYN, Src: client, Dst: server,
					Seq: 1, Hash: capture.Hash(client, server, capture.TCP)}
				if err := e.Batch(&capture.Batch{Packets: []capture.Packet{p}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Close(nil); err != nil {
				t.Fatal(err)
			}
			if s := c.sink; s.flows != 5 || s.packets != 10 || s.bytes != 440 || s.records != c.records {
				t.Errorf("%+v, want 5 flows of 10 packets and 440 bytes, %d by a record", s, c.records)
			}
		})
	}
}
