package table

import (
	"cmp"
	"slices"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/text"
)

// dropper is what dropped packets, and why.
type dropper struct{ by, reason, component string }

func (d dropper) String() string {
	line := d.by + " (" + d.reason
	if d.component != "" {
		line += " in " + d.component
	}
	return line + ")"
}

func dropperOf(d *record.Drop) dropper { return dropper{d.By, d.Reason, d.Component} }

// writeDrops writes which packets the captured computer dropped, by reason and
// place, and of which flows most of them are.
func (s *Sink) writeDrops(p *printer, drops []record.Drop) {
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
	p.heading("DROPPED BY THE CAPTURED COMPUTER")
	for _, t := range list {
		p.spread(plain, "  by "+t.String(), text.Count(t.packets, "packet"))
		for k, d := range t.drops {
			if k == s.t.Options.Examples {
				p.wrap(6, 8, "and of "+text.Count(uint64(len(t.drops)-k), "other flow")+": --all")
				break
			}
			p.spread(plain, "      "+s.dropName(d), text.Count(d.Packets, "packet"))
		}
	}
}

// dropName names the flow of dropped packets as far as it is known.
func (s *Sink) dropName(d *record.Drop) string {
	if d.Proto == 0 {
		return "no flow of TCP, UDP or ICMP"
	}
	src := s.host(d.Src.Addr())
	if d.Dst.Port() == 0 {
		return src + " > " + s.host(d.Dst.Addr())
	}
	return src + " > " + s.end(d.Dst, d.Proto)
}

// writeNeverCaptured writes the flows of which nothing but drops is known. How many
// packets were dropped stands with the drops.
func (s *Sink) writeNeverCaptured(p *printer, drops []record.Drop) {
	for i := range drops {
		if i == maxShown && !s.o.All {
			p.wrap(2, 4, "and "+text.Count(uint64(len(drops)-i), "more dropped flow")+": --all")
			break
		}
		p.spread(plain, "  "+s.dropName(&drops[i]), "dropped by "+dropperOf(&drops[i]).String())
	}
}
