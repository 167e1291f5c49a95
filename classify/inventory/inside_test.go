package inventory

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/rules"
)

// TestManyTunnels proves hosts in more tunnels than are remembered. Tunnels with one host
// each push out each other, and not the tunnel with several; all tunnels together have as
// much room as the wire; and the wire keeps what it knows.
func TestManyTunnels(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	v := New(packs, nil, nil, "")
	v.Limit(MaxEndpoints, 100, 100)
	prove := func(tunnel capture.TunnelID, n int) bool {
		h := v.hostsIn(tunnel)
		a := capture.AddrFrom(netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", tunnel>>8, tunnel&255, n)))
		return h != nil && h.prove(a, roleProof{roles: []rules.Role{rules.Hub}, evidence: "test"}, "", "").role
	}
	known := func(tunnel capture.TunnelID, n int) bool {
		a := capture.AddrFrom(netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", tunnel>>8, tunnel&255, n)))
		set, _ := v.Host(&a, []capture.TunnelID{tunnel})
		return set.Known == match.Proven
	}
	for n := range 5 {
		prove(0, n)
		prove(1, n)
	}
	for tunnel := capture.TunnelID(2); tunnel < 500; tunnel++ {
		if !prove(tunnel, 1) {
			t.Fatalf("nothing is proven in tunnel %d", tunnel)
		}
		if len(v.inside) > maxInside {
			t.Fatalf("%d tunnels are remembered", len(v.inside))
		}
	}
	for n := range 5 {
		if !known(0, n) || !known(1, n) {
			t.Errorf("host %d is forgotten: on the wire %t, in the tunnel %t", n, known(0, n), known(1, n))
		}
	}
	if known(2, 1) || !known(499, 1) || v.hosts.refused == 0 {
		t.Errorf("the first tunnel is known: %t, the last: %t; %d refused", known(2, 1), known(499, 1), v.hosts.refused)
	}
	sum := 0
	for n := range 200 {
		prove(499, n)
	}
	for _, h := range v.inside {
		sum += h.known
	}
	if sum != 100 {
		t.Errorf("%d hosts are known in tunnels, not 100", sum)
	}
	if prove(capture.TunnelOther, 1) {
		t.Error("tunnels that cannot be told apart prove something")
	}
}
