package classify

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/rules"
)

func TestTunnelsOfFlows(t *testing.T) {
	x := tunnels{max: 3}
	var states [5]state
	x.note(1, &states[1], 0, true)
	x.note(2, &states[2], 5, true)
	x.note(2, &states[2], 5, false)
	x.note(3, &states[3], 0, true)
	x.note(3, &states[3], 6, false) // after packets on the wire
	x.note(2, &states[2], 0, false)
	for range 10 {
		x.note(4, &states[4], 7, true)
	}
	for id, want := range map[int][]capture.TunnelID{1: nil, 2: {5, 0}, 3: {0, 6}, 4: {7}} {
		if got := x.of[flow.ID(id)]; !slices.Equal(got, want) {
			t.Errorf("flow %d came in %v, want %v", id, got, want)
		}
	}
	x.forget(2, &states[2])
	if len(x.of) != 2 {
		t.Errorf("%d flows are remembered", len(x.of))
	}
}

// TestMirrorsAreTheWire reads the frames that a mirror sends in VXLAN, with and
// without its name in the site file.
func TestMirrorsAreTheWire(t *testing.T) {
	packets, table := tunnelledPackets(t)
	for _, c := range []struct {
		mirrors []netip.Prefix
		wire    bool
	}{
		{nil, false},
		{[]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, false},
		{[]netip.Prefix{packets.end}, true},
	} {
		x := tunnels{table: table}
		x.setSite(&rules.Site{Mirrors: c.mirrors})
		for range 2 { // the second time as remembered
			if got := x.onWire(packets.id); (got == 0) != c.wire {
				t.Errorf("mirrors %v: tunnel %d", c.mirrors, got)
			}
		}
		if x.onWire(0) != 0 || x.onWire(capture.TunnelOther) != capture.TunnelOther {
			t.Error("the wire is no tunnel, and unknown ones stay so")
		}
	}
}

type tunnelled struct {
	id  capture.TunnelID
	end netip.Prefix
}

// tunnelledPackets reads a capture whose first frames come in VXLAN.
func tunnelledPackets(t *testing.T) (tunnelled, *capture.Tunnels) {
	t.Helper()
	src, err := capture.OpenFiles([]string{"../testdata/faults/poisoning/p_v1-epm-inside-vxlan-to-8.8.8.8.pcap"}, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	b, err := src.Read()
	if err != nil {
		t.Fatal(err)
	}
	id := b.Packets[0].Tunnel
	a := b.Tunnels.At(id).Ends[0].Netip()
	return tunnelled{id, netip.PrefixFrom(a, a.BitLen())}, b.Tunnels
}
