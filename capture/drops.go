package capture

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/exspan/exspan/capture/etw"
)

// Drop is a number of packets of one flow that Windows says it dropped, at one
// place for one reason.
type Drop struct {
	// Src and Dst are the ends of the packets, in their direction, and Proto is TCP,
	// UDP, ICMP or ICMPv6; 0 where the flow cannot be told, and the ends are zero.
	Src, Dst Endpoint
	Proto    uint8
	// Reason is Windows' own name: "INET_ReceiveInspection". Filter reports whether it
	// means that a filter or a policy forbade the packets: a firewall's, as a rule.
	Reason string
	Filter bool
	By     string // what drops packets for this reason: "the Windows firewall or another filter of its platform"
	// Component is the part of Windows that dropped them: "tcpip.sys".
	Component string
	Packets   uint64
	Captured  bool  // some of them were captured before they were dropped
	First     int64 // when, in nanoseconds since the Unix epoch
	Last      int64
}

// maxDrops is how many drops of different flows, reasons and places are told apart
// in one file.
const maxDrops = 1 << 16

// drops collects the drops of one file.
type drops struct {
	index  map[dropKey]int
	found  []drop
	filter *filter
	dec    Decoder
}

type dropKey struct {
	src, dst  Endpoint
	proto     uint8
	reason    uint32
	component uint32
}

type drop struct {
	key         dropKey
	packets     uint64
	captured    bool
	first, last int64
}

func (d *drops) init(o Options) (err error) {
	d.index = map[dropKey]int{}
	d.filter, err = newFilter(o.Filter, LinkEthernet)
	return err
}

// add counts one drop.
func (d *drops) add(e *etw.Drop) {
	if d.filter != nil && !d.filter.match(e.Data, e.Wire) {
		return
	}
	k := dropKey{reason: e.Reason, component: e.Point.Component}
	var p Packet
	if d.dec.Decode(LinkEthernet, e.Data, e.Wire, &p) == SkipNone {
		k.src, k.dst, k.proto = p.Src, p.Dst, p.Proto
	}
	i, ok := d.index[k]
	if !ok && len(d.found) >= maxDrops {
		k = dropKey{reason: e.Reason, component: e.Point.Component}
		i, ok = d.index[k]
		if !ok && len(d.found) >= 2*maxDrops {
			return
		}
	}
	if !ok {
		i = len(d.found)
		d.index[k] = i
		d.found = append(d.found, drop{key: k, first: e.Time})
	}
	f := &d.found[i]
	f.packets++
	f.captured = f.captured || e.Captured
	f.first, f.last = min(f.first, e.Time), max(f.last, e.Time)
}

// list returns the drops, most packets first. Components have their names at the
// end of a trace only.
func (d *drops) list(r *etw.Report) []Drop {
	list := make([]Drop, len(d.found))
	for i, f := range d.found {
		list[i] = Drop{
			Src: f.key.src, Dst: f.key.dst, Proto: f.key.proto, Reason: etw.Reason(f.key.reason), Filter: etw.Forbids(f.key.reason), By: etw.Dropper(f.key.reason),
			Component: componentName(r, f.key.component), Packets: f.packets, Captured: f.captured, First: f.first, Last: f.last,
		}
	}
	slices.SortStableFunc(list, func(a, b Drop) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.First, b.First))
	})
	return list
}

// componentName names a component as people find it: by its driver's file.
func componentName(r *etw.Report, number uint32) string {
	c, ok := r.Component(uint16(number))
	if ok && c.Name != "" {
		return c.Name
	}
	return fmt.Sprintf("component %d", number)
}
