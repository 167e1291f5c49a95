package model

import (
	"slices"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// maxOpen bounds the kinds of flows that are kept because they may follow a path that
// was not seen.
const maxOpen = 4096

// openFlow is what a flow that was left undetermined shows.
type openFlow struct {
	client, server rules.Role
	proto          uint8
	port           uint16
}

// leaveOpen notes r if it was left undetermined because of how it was captured.
func (b *Builder) leaveOpen(r *record.Record) {
	switch r.Verdict.Reason {
	case record.OneDirection, record.Truncated, record.NotBegun:
	default:
		return
	}
	if b.open == nil {
		b.open = map[openFlow]record.Reason{}
	}
	for client := range r.Client.AllRoles() {
		for server := range r.Server.AllRoles() {
			if len(b.open) < maxOpen {
				b.open[openFlow{rules.Role(client), rules.Role(server), r.Proto, r.Server.Port}] = r.Verdict.Reason
			}
		}
	}
}

// mayBe returns why nothing tells whether flows that were left undetermined follow p,
// or "" if there are none.
func (b *Builder) mayBe(p *rules.DataPath) string {
	var found record.Reason
	for x, reason := range b.open {
		if !slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return fits(p, &l, &x) }) {
			continue
		}
		found = max(found, reason) // the same for every order of the map
	}
	switch found {
	case record.OneDirection:
		return "flows that may be it were captured in one direction only"
	case record.Truncated:
		return "flows that may be it were cut by the snap length"
	case record.NotBegun:
		return "flows that may be it began before the capture"
	}
	return ""
}

// fits reports whether a leg of p documents the ends and the port of x. Dynamic ports
// without a documented range are those from 1024 on.
func fits(p *rules.DataPath, l *rules.Leg, x *openFlow) bool {
	from, to := p.From, p.To
	if l.Reverse {
		from, to = to, from
	}
	switch {
	case x.proto == 6 && !l.Port.TCP, x.proto == 17 && !l.Port.UDP, l.Port.IP != "":
		return false
	case l.Port.From == 0 && (!l.Port.Dynamic || x.port < 1024), !l.Port.Contains(x.port):
		return false
	}
	return slices.Contains(from, x.client) && slices.Contains(to, x.server)
}
