package inventory

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/record"
)

// maxInside bounds the tunnels whose hosts are kept apart.
const maxInside = 64

// hostsIn returns the hosts that what a tunnel carries tells of, or those of the wire
// for 0. What is said inside a tunnel proves nothing of hosts outside it: the two may
// be networks of their own with the same addresses, and anyone may send a packet in a
// tunnel. It returns nil for tunnels that cannot be told apart.
func (v *Inventory) hostsIn(tunnel capture.TunnelID) *hosts {
	if tunnel == 0 {
		return v.hosts
	}
	h := v.inside[tunnel]
	if h == nil {
		if tunnel == capture.TunnelOther {
			v.hosts.refused++
			return nil
		}
		if len(v.inside) >= maxInside {
			v.forgetTunnel()
		}
		h = newHosts(v.packs.Policy(), v.site, v.given)
		h.outer = v.hosts
		if v.inside == nil {
			v.inside = map[capture.TunnelID]*hosts{}
		}
		v.inside[tunnel] = h
	}
	// All tunnels together have as much room as the wire.
	h.max = v.maxHosts
	for _, other := range v.inside {
		if other != h {
			h.max -= max(other.known, len(other.byAddr)-other.known)
		}
	}
	return h
}

// forgetTunnel gives up the tunnel that tells of the fewest hosts: one who makes
// tunnels pushes out his own.
func (v *Inventory) forgetTunnel() {
	var least capture.TunnelID
	for tunnel, h := range v.inside {
		if l := v.inside[least]; l == nil || h.known < l.known || h.known == l.known && tunnel < least {
			least = tunnel
		}
	}
	for _, list := range v.inside[least].awaiting {
		v.awaited -= len(list)
	}
	delete(v.inside, least)
	v.hosts.refused++
}

// Host returns the roles of an address and its name, or "". Tunnels are those in which
// the packets of the flow came whose end the address is; none means the wire. What is
// known of the wire holds in a tunnel of which nothing else is known.
func (v *Inventory) Host(a *capture.Addr, tunnels []capture.TunnelID) (*match.RoleSet, string) {
	if len(tunnels) == 0 { // as nearly always
		return v.hosts.find(a)
	}
	return v.hostIn(a, tunnels)
}

func (v *Inventory) hostIn(a *capture.Addr, tunnels []capture.TunnelID) (*match.RoleSet, string) {
	inside := ""
	for _, tunnel := range tunnels {
		h := v.inside[tunnel]
		if h == nil {
			continue
		}
		x := h.at(a)
		switch {
		case x == nil:
		case len(x.proofs) > 0 || x.version != "" && !x.bySite:
			return h.find(a)
		case inside == "":
			inside = x.name
		}
	}
	set, name := v.hosts.find(a)
	return set, cmp.Or(name, inside)
}

// weighAgain draws from what was learned under other rules what these rules see in
// it, and what waited waits again.
func (v *Inventory) weighAgain(old, hosts *hosts) {
	if hosts == nil {
		return
	}
	v.reweigh(old, hosts)
	for _, list := range old.awaiting {
		for i := range list {
			v.drawAgain(hosts, list[i].host, list[i].evidence, list[i].from)
		}
	}
}

// Hosts returns the hosts whose roles are known, by address. An address that is known
// from inside tunnels alone has the description of one in Inside.
func (v *Inventory) Hosts(describe func(capture.TunnelID) string) []record.HostSummary {
	list := v.hosts.summaries()
	known := make(map[netip.Addr]bool, len(list))
	for i := range list {
		known[list[i].Addr] = true
	}
	for _, tunnel := range slices.Sorted(maps.Keys(v.inside)) {
		for _, h := range v.inside[tunnel].summaries() {
			if !known[h.Addr] {
				known[h.Addr] = true
				h.Inside = describe(tunnel)
				list = append(list, h)
			}
		}
	}
	slices.SortFunc(list, func(a, b record.HostSummary) int { return a.Addr.Compare(b.Addr) })
	return list
}

// summaries returns the hosts whose roles are known.
func (h *hosts) summaries() []record.HostSummary {
	var list []record.HostSummary
	for a, x := range h.byAddr {
		if x.site == nil && len(x.proofs) == 0 {
			continue // most have a name alone
		}
		hs := record.HostSummary{Addr: x.addr, Name: x.name, Version: x.version, Build: x.build}
		if x.site != nil {
			for _, r := range x.site.Roles {
				hs.Roles = append(hs.Roles, record.RoleProof{Role: string(r), Evidence: "site file"})
			}
			if len(x.site.OneOf) > 0 {
				hs.Roles = append(hs.Roles, record.RoleProof{Role: match.Join(x.site.OneOf), Evidence: "site file"})
			}
		} else {
			hs.Roles, hs.Hints = h.proofsOf(x, &a)
			if set, _ := h.find(&a); hs.Version == "" && set.Front && set.Source == record.ByTraffic {
				hs.Version = set.Version
			}
		}
		if len(hs.Roles) > 0 {
			list = append(list, hs)
		}
	}
	return list
}
