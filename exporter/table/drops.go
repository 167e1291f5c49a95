package table

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/exspan/exspan/classify/record"
)

// dropper is what dropped packets, and why.
type dropper struct{ by, reason, component string }

func (d dropper) String() string {
	text := d.by + " (" + d.reason
	if d.component != "" {
		text += " in " + d.component
	}
	return text + ")"
}

func dropperOf(d *record.Drop) dropper { return dropper{d.By, d.Reason, d.Component} }

// writeDrops writes which packets the captured computer dropped, by reason and
// place, and of which flows most of them are.
func writeDrops(p *printer, drops []record.Drop) {
	if len(drops) == 0 {
		return
	}
	type total struct {
		dropper
		packets uint64
		drops   []*record.Drop
	}
	var list []total
	for i := range drops {
		by := dropperOf(&drops[i])
		k := slices.IndexFunc(list, func(t total) bool { return t.dropper == by })
		if k < 0 {
			k = len(list)
			list = append(list, total{dropper: by})
		}
		list[k].packets += drops[i].Packets
		list[k].drops = append(list[k].drops, &drops[i])
	}
	slices.SortStableFunc(list, func(a, b total) int { return cmp.Compare(b.packets, a.packets) })
	p.heading("Dropped by the captured computer")
	for i, t := range list {
		if i == maxShown {
			p.rest(len(list)-i, "reason")
			break
		}
		p.wrap(2, 6, "by "+t.String()+": "+count(t.packets, "packet"))
		for k, d := range t.drops {
			if k == maxExamples {
				p.wrap(6, 8, "and of "+count(uint64(len(t.drops)-k), "other flow"))
				break
			}
			p.wrap(6, 8, thousands(d.Packets)+" of "+flowName(d))
		}
	}
}

// flowName names the flow of dropped packets as far as it is known.
func flowName(d *record.Drop) string {
	if d.Proto == 0 {
		return "no flow of TCP, UDP or ICMP"
	}
	return end(d.Src) + " to " + end(d.Dst) + "/" + transport(d.Proto)
}

func end(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// neverCaptured returns the drops of which no packet was captured, of flows that
// are known.
func neverCaptured(drops []record.Drop) []record.Drop {
	var list []record.Drop
	for _, d := range drops {
		if !d.Captured && d.Proto != 0 {
			list = append(list, d)
		}
	}
	return list
}

// writeNeverCaptured writes the flows of which nothing but drops is known. How many
// packets were dropped stands with the drops.
func writeNeverCaptured(p *printer, drops []record.Drop) {
	for i := range drops {
		if i == maxShown {
			p.rest(len(drops)-i, "dropped flow")
			break
		}
		p.wrap(2, 6, "dropped  "+flowName(&drops[i])+" by "+dropperOf(&drops[i]).String())
	}
}
