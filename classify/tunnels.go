package classify

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/rules"
)

// tunnels remembers in which tunnels the packets of flows came. Most flows come in
// none, and are not in it.
type tunnels struct {
	of      map[flow.ID][]capture.TunnelID
	table   *capture.Tunnels
	mirrors []netip.Prefix // ends of tunnels that carry what a mirror saw on the wire
	// last is the tunnel met last, and wire the one in which its packets were on the
	// wire.
	last, wire capture.TunnelID

	max      int    // flows that are remembered
	unmarked uint64 // how often one was not
}

// maxFlowTunnels bounds the tunnels that are remembered of one flow: one of each
// direction, and what a mirror that sees packets before and after adds to them.
const maxFlowTunnels = 4

// setSite takes the ends of mirrors from the site file, which may be nil.
func (t *tunnels) setSite(site *rules.Site) {
	t.mirrors, t.last, t.wire = nil, 0, 0
	if site != nil {
		t.mirrors = site.Mirrors
	}
}

// onWire returns the tunnel in which the packets of a tunnel were on the wire: what
// a mirror brings in ERSPAN, VXLAN or TZSP was there without that.
func (t *tunnels) onWire(id capture.TunnelID) capture.TunnelID {
	switch {
	case id == 0:
		return 0
	case id == t.last:
		return t.wire
	case len(t.mirrors) == 0 || t.table == nil:
		return id
	}
	t.last = id
	for id != 0 && id != capture.TunnelOther {
		x := t.table.At(id)
		if !mirrors(x.Carrier) || !t.isMirror(x.Ends[0]) && !t.isMirror(x.Ends[1]) {
			break
		}
		id = x.Inner
	}
	t.wire = id
	return id
}

// mirrors reports whether mirrors use a kind of tunnel.
func mirrors(c capture.Carrier) bool {
	return c == capture.CarrierERSPAN || c == capture.CarrierVXLAN || c == capture.CarrierTZSP
}

func (t *tunnels) isMirror(a capture.Addr) bool {
	return slices.ContainsFunc(t.mirrors, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
}

// note notes that a packet of a flow came in a tunnel. It is also to be called for
// packets of the wire of a flow of which others came in one.
func (t *tunnels) note(id flow.ID, st *state, tunnel capture.TunnelID, isNew bool) {
	tunnel = t.onWire(tunnel)
	known := st.has(inTunnel)
	if tunnel == 0 && !known {
		return
	}
	list := t.of[id]
	if slices.Contains(list, tunnel) || len(list) == maxFlowTunnels {
		return
	}
	if !known && !isNew {
		list = append(list, 0) // those before came on the wire
	}
	if !known && len(t.of) >= t.max {
		t.unmarked++
		return
	}
	if t.of == nil {
		t.of = map[flow.ID][]capture.TunnelID{}
	}
	t.of[id] = append(list, tunnel)
	st.set(inTunnel)
}

// ofFlow returns the tunnels in which packets of a flow came, with 0 for the wire, or
// nil if all of them came on the wire.
func (t *tunnels) ofFlow(id flow.ID, st *state) []capture.TunnelID {
	if !st.has(inTunnel) {
		return nil
	}
	return t.of[id]
}

// describe returns what a tunnel is, in words.
func (t *tunnels) describe(id capture.TunnelID) string {
	if t.table == nil {
		return ""
	}
	x := t.table.At(id)
	return fmt.Sprintf("%s between %s and %s", x.Carrier, x.Ends[0].Netip(), x.Ends[1].Netip())
}

// forget forgets a flow.
func (t *tunnels) forget(id flow.ID, st *state) {
	if st.has(inTunnel) {
		delete(t.of, id)
	}
}
