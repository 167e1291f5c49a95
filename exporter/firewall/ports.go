package firewall

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/rules"
)

var rangeText = regexp.MustCompile(`\b(\d{3,5})-(\d{3,5})\b`)

// ports sets the ports of a rule. It reports whether the client also has to ask the
// server's endpoint mapper.
func (x *planner) ports(e *model.Edge, version string, r *Rule) (mapper bool) {
	l := e.Leg
	switch {
	case l == nil:
		r.Ports = []Range{{e.Port, e.Port}}
		return false
	case !l.Port.Dynamic && e.Port != 0:
		r.Ports = []Range{{e.Port, e.Port}}
		return false
	case !l.Port.Dynamic:
		p := x.o.Site.Port(l)
		r.Ports = []Range{{p.From, p.To}}
		return false
	}
	mapper = e.Proto == capture.TCP && l.Protocol == "dcerpc" && e.Source != observe.FromSDP
	if port := x.pinned(e); port != 0 {
		r.Ports = []Range{{port, port}}
		return mapper
	}
	r.RPC = mapper
	low, high := l.Port.From, l.Port.To
	pin := x.pin(e, version)
	if low == 0 && pin != nil {
		low, high = widest(pin.Default)
	}
	if low == 0 {
		low, high = 1024, 65535
	}
	r.Ports = []Range{{low, high}}
	if e.Port != 0 && (e.Port < low || e.Port > high) {
		r.Ports = append(r.Ports, Range{e.Port, e.Port})
		r.Note = strings.TrimPrefix(r.Note+fmt.Sprintf("; seen at %d, outside the documented range", e.Port), "; ")
	}
	if pin != nil && pin.Where != "" {
		r.Pin = "pin it: " + pin.Where
		if pin.Value != "" {
			r.Pin += ", " + pin.Value
		}
		if pin.Range != "" {
			r.Pin += " = " + pin.Range
		}
	}
	return mapper
}

// pinned returns the port to which the site file pins the service of an edge, or 0.
func (x *planner) pinned(e *model.Edge) uint16 {
	if e.Pinned() {
		return e.Port
	}
	if s := x.o.Site.Server(e.Server.Addr); s != nil {
		return s.StaticPorts[e.Service]
	}
	return 0
}

// pin returns how the service of an edge can be pinned, or nil if no document says so.
func (x *planner) pin(e *model.Edge, version string) *rules.Pinned {
	services := []string{e.Service}
	if e.Service == "" { // of a documented edge
		services = nil
		for _, f := range e.Leg.Facts {
			if f.Name == "rpc.interface" {
				services = f.Values
			}
		}
	}
	var best *rules.Pinned
	for _, v := range []string{version, rules.Platform} {
		for _, p := range x.o.Packs.Pinned(v) {
			if !slices.ContainsFunc(services, func(s string) bool { return slices.Contains(p.Interfaces, s) }) || fixedPort(p.Default) {
				continue
			}
			if best == nil || best.Where == "" && p.Where != "" {
				best = p
			}
		}
	}
	return best
}

// fixedPort reports whether the default port is a number, as that of RPC over HTTP.
func fixedPort(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// widest returns the range that holds all ranges in a text, or 0.
func widest(s string) (low, high uint16) {
	for _, m := range rangeText.FindAllStringSubmatch(s, -1) {
		a, errA := strconv.ParseUint(m[1], 10, 16)
		b, errB := strconv.ParseUint(m[2], 10, 16)
		if errA != nil || errB != nil || a > b {
			continue
		}
		if low == 0 || uint16(a) < low {
			low = uint16(a)
		}
		high = max(high, uint16(b))
	}
	return low, high
}

// merge joins rules that differ in their ends alone, where that allows nothing more.
func merge(list []Rule) []Rule {
	// what is the same for rules that may be joined
	service := func(r *Rule) string {
		return fmt.Sprint(r.Proto, r.Ports, r.For, r.Paths, r.Pin, r.Note)
	}
	list = join(list, func(r *Rule) string { return service(r) + " to " + r.To.key() }, func(a, b *Rule) { a.From.add(&b.From) })
	for i := range list {
		list[i].From.sort()
	}
	list = join(list, func(r *Rule) string { return service(r) + " from " + r.From.key() }, func(a, b *Rule) { a.To.add(&b.To) })
	for i := range list {
		list[i].To.sort()
	}
	// The same ends and the same service by other names.
	list = join(list, func(r *Rule) string {
		return fmt.Sprint(r.From.key(), r.To.key(), r.Proto, r.Ports, r.Pin, r.Note)
	}, func(a, b *Rule) {
		if !slices.Contains(strings.Split(a.For, "; "), b.For) {
			a.For += "; " + b.For
		}
		a.Paths, a.Names = union(a.Paths, b.Paths), union(a.Names, b.Names)
	})
	// Several ports of the same service.
	list = join(list, func(r *Rule) string {
		return fmt.Sprint(r.From.key(), r.To.key(), r.Proto, r.For, r.Pin, r.Note, r.RPC, r.Ports[0] == Range{135, 135})
	}, func(a, b *Rule) {
		a.Paths, a.Names = union(a.Paths, b.Paths), union(a.Names, b.Names)
		a.Ports = slices.Clone(a.Ports)
		for _, x := range b.Ports {
			if !slices.Contains(a.Ports, x) {
				a.Ports = append(a.Ports, x)
			}
		}
		slices.SortFunc(a.Ports, func(x, y Range) int { return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To)) })
	})
	slices.SortStableFunc(list, func(a, b Rule) int {
		return cmp.Or(strings.Compare(strings.Join(a.To.Titles, ","), strings.Join(b.To.Titles, ",")),
			strings.Compare(strings.Join(a.From.Titles, ","), strings.Join(b.From.Titles, ",")),
			strings.Compare(a.Proto, b.Proto), cmp.Compare(a.Ports[0].From, b.Ports[0].From), strings.Compare(a.For, b.For))
	})
	return list
}

func union(a, b []string) []string {
	a = slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// join joins the rules of the same key, in the place of the first of them.
func join(list []Rule, key func(*Rule) string, with func(a, b *Rule)) []Rule {
	index := map[string]int{}
	var out []Rule
	for i := range list {
		k := key(&list[i])
		if at, ok := index[k]; ok {
			with(&out[at], &list[i])
			continue
		}
		index[k] = len(out)
		r := list[i]
		r.From.Prefixes, r.From.Titles = slices.Clone(r.From.Prefixes), slices.Clone(r.From.Titles)
		r.To.Prefixes, r.To.Titles = slices.Clone(r.To.Prefixes), slices.Clone(r.To.Titles)
		out = append(out, r)
	}
	return out
}

// sort sorts the ends by address.
func (e *Ends) sort() {
	if len(e.Titles) != len(e.Prefixes) {
		return // any
	}
	order := make([]int, len(e.Prefixes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(e.Prefixes[a].Addr().Compare(e.Prefixes[b].Addr()), cmp.Compare(e.Prefixes[a].Bits(), e.Prefixes[b].Bits()))
	})
	p, t := slices.Clone(e.Prefixes), slices.Clone(e.Titles)
	for i, from := range order {
		e.Prefixes[i], e.Titles[i] = p[from], t[from]
	}
}
