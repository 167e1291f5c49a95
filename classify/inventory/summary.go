package inventory

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// Endpoints returns all entries by server, those of one server in order of
// learning.
func (v *Inventory) Endpoints() []record.EndpointSummary {
	t := v.endpoints
	t.tidy()
	// There can be many: what is compared is made ready, and only that is moved about.
	type place struct {
		family uint8 // 4 or 6, IPv4 first as netip has it
		hi, lo uint64
		port   uint16
		i      int
	}
	order := make([]place, len(t.all))
	for i, en := range t.all {
		a, p := &en.key.server.Addr, &order[i]
		*p = place{6, binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:]), en.key.server.Port, i}
		if a.Is4() {
			p.family = 4
		}
	}
	slices.SortFunc(order, func(a, b place) int {
		switch {
		case a.family != b.family:
			return int(a.family) - int(b.family)
		case a.hi != b.hi:
			return cmp.Compare(a.hi, b.hi)
		case a.lo != b.lo:
			return cmp.Compare(a.lo, b.lo)
		case a.port != b.port:
			return int(a.port) - int(b.port)
		}
		return a.i - b.i
	})
	list := make([]record.EndpointSummary, len(order))
	for i := range order {
		en := t.all[order[i].i]
		list[i] = record.EndpointSummary{
			Server: en.key.server.AddrPort(), UDP: en.key.proto == capture.UDP, LearnedEndpoint: en.Public(), Ended: en.ended != 0, Flows: en.flows,
		}
	}
	return list
}

// Counts counts the endpoints that hold at a packet time, by service and source.
func (v *Inventory) Counts(now int64) []record.EndpointCount {
	type key struct {
		service string
		source  observe.Source
	}
	counts := map[key]int{}
	for _, en := range v.endpoints.all {
		if !en.gone && !en.overAt(now) {
			counts[key{en.service, en.source}]++
		}
	}
	var list []record.EndpointCount
	for k, n := range counts {
		list = append(list, record.EndpointCount{Service: k.service, Source: k.source, Count: n})
	}
	slices.SortFunc(list, func(a, b record.EndpointCount) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Source, b.Source))
	})
	return list
}

// Limits returns how often each limit of the inventory was reached, 0 included.
func (v *Inventory) Limits() []record.NamedCount {
	l := &v.endpoints.limits
	return []record.NamedCount{
		{ID: "endpoints", Name: "learned endpoints refused, as they prove less than those there are", Count: l.refused},
		{ID: "endpoint_services", Name: "services forgotten because their endpoint had too many", Count: l.evicted[0]},
		{ID: "server_endpoints", Name: "learned endpoints forgotten because their server had too many", Count: l.evicted[1]},
		{ID: "all_endpoints", Name: "learned endpoints forgotten because there were too many", Count: l.evicted[2]},
		{ID: "dialogs", Name: "announcements left out because hosts without anything in common used the name of one call", Count: l.dialogs},
		{ID: "dialog_ends", Name: "ends of calls left out that came from hosts which take no part in them", Count: l.ends},
		{ID: "strange_announcements", Name: "announcements for the address of another host", Count: l.strange},
		{ID: "announcement_conflicts", Name: "learned endpoints that other bytes contradict", Count: v.endpoints.conflicts},
		{ID: "hosts", Name: "hosts not remembered", Count: v.hosts.refused},
		{ID: "host_proofs", Name: "proofs of roles left out because their host, or the list of those that wait for the other end's role, had enough", Count: v.hosts.surplus},
		{ID: "host_pairs", Name: "host pairs not remembered", Count: v.Pairs.refused},
	}
}

// Len returns the number of hosts and of endpoints that are remembered.
func (v *Inventory) Len() (hosts, endpoints int) { return len(v.hosts.byAddr), v.endpoints.len() }
