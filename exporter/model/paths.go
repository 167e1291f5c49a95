package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// paths lists the documented paths with what was seen of each. Those that the
// reference lists as not used are left out.
func (b *Builder) paths(sum *record.Summary) {
	b.m.Versions = b.versions(sum)
	versions := b.m.Versions
	if b.o.Platform {
		versions = append(slices.Clone(versions), rules.Platform)
	}
	roles := rolesOf(sum)
	for _, version := range versions {
		for _, p := range b.o.Packs.Paths(version) {
			if !p.NotUsed {
				b.m.Paths = append(b.m.Paths, b.path(p, roles))
			}
		}
	}
}

// versions returns the versions of which paths were seen or hosts are known, or
// Options.Version.
func (b *Builder) versions(sum *record.Summary) []string {
	known := map[string]bool{}
	for id := range b.t.ByPath {
		if p := b.o.Packs.Path(id); p != nil {
			known[p.Version] = true
		}
	}
	for i := range sum.Hosts {
		known[sum.Hosts[i].Version] = true
	}
	var list []string
	for _, v := range b.o.Packs.Versions() {
		if known[v] && len(b.o.Packs.Paths(v)) > 0 {
			list = append(list, v)
		}
	}
	if list == nil {
		list = []string{b.o.Version}
	}
	return list
}

// rolesOf returns the number of hosts in view that have, or may have, each role.
func rolesOf(sum *record.Summary) map[rules.Role]int {
	roles := map[rules.Role]int{}
	for i := range sum.Hosts {
		host := map[rules.Role]bool{}
		for _, proof := range sum.Hosts[i].Roles {
			for role := range strings.SplitSeq(proof.Role, "|") {
				host[rules.Role(role)] = true
			}
		}
		for role := range host {
			roles[role]++
		}
	}
	return roles
}

// path returns what was seen of p. roles is the number of hosts in view by role.
func (b *Builder) path(p *rules.DataPath, roles map[rules.Role]int) Path {
	r := Path{DataPath: p, State: NotSeen}
	c := b.t.ByPath[p.ID]
	if q := b.better(p); c == nil && q != nil {
		c = b.t.ByPath[q.ID]
		r.Flows, r.Tied, r.First, r.Last, r.State = c.Flows, true, c.First, c.Last, Seen
		r.Why = "packets cannot tell it from " + q.Name + ", which is documented better"
		return r
	}
	if c == nil {
		if why := b.unobservable(p, roles); why != "" {
			r.State, r.Why = NotObservable, why
		}
		return r
	}
	r.Flows, r.Tied, r.First, r.Last, r.State = c.Flows, c.Tied == c.Flows, c.First, c.Last, Seen
	switch {
	case c.Blocked == c.Flows:
		r.State, r.Why = Blocked, fmt.Sprintf("%s, none made it: %s", text.Count(c.Flows, "attempt"), c.Outcome)
	case c.Deviating > 0:
		r.State = Deviating
		if c.Deviating < c.Flows {
			r.Why = fmt.Sprintf("%s of %s", text.Thousands(c.Deviating), text.Count(c.Flows, "flow"))
		}
		r.Why = strings.TrimPrefix(r.Why+"; "+strings.Join(c.Findings, ", "), "; ")
	}
	return r
}

// better returns a path that was seen in the group of p and explains the flows of
// p, because its document is better, or nil.
func (b *Builder) better(p *rules.DataPath) *rules.DataPath {
	if !p.LastResort() {
		return nil
	}
	for _, q := range b.o.Packs.Paths(p.Version) {
		if q.Group == p.Group && b.t.ByPath[q.ID] != nil && common(p.From, q.From) && common(p.To, q.To) {
			return q
		}
	}
	return nil
}

// covered returns a path with a better document that explains every flow of p, or
// nil.
func (b *Builder) covered(p *rules.DataPath) *rules.DataPath {
	if !p.LastResort() {
		return nil
	}
	for _, q := range b.o.Packs.Paths(p.Version) {
		if q.LastResort() || !common(p.From, q.From) || !common(p.To, q.To) {
			continue
		}
		if !slices.ContainsFunc(p.Legs, func(l rules.Leg) bool {
			return !slices.ContainsFunc(q.Legs, func(m rules.Leg) bool { return covers(&m, &l) })
		}) {
			return q
		}
	}
	return nil
}

// covers reports whether every flow of a leg is also one of another leg m.
func covers(m, l *rules.Leg) bool {
	if m.Reverse != l.Reverse || m.Protocol != l.Protocol || m.Port.Dynamic != l.Port.Dynamic || len(m.Either)+len(m.Without) > 0 ||
		m.Port.From != 0 && (l.Port.From == 0 || !m.Port.Contains(l.Port.From) || !m.Port.Contains(l.Port.To)) ||
		l.Port.TCP && !m.Port.TCP || l.Port.UDP && !m.Port.UDP {
		return false
	}
	for _, f := range m.Facts {
		i := slices.IndexFunc(l.Facts, func(g rules.Fact) bool { return g.Name == f.Name })
		if i < 0 || slices.ContainsFunc(l.Facts[i].Values, func(v string) bool { return !slices.Contains(f.Values, v) }) {
			return false
		}
	}
	return true
}

func common(a, b []rules.Role) bool {
	return slices.ContainsFunc(a, func(r rules.Role) bool { return slices.Contains(b, r) })
}

// hidden reports whether a capture of one direction may hide a path: no leg that
// carries the service has a TCP port by which either direction shows it. Announced
// ports and content are in one direction, and so may all packets of UDP be.
func hidden(p *rules.DataPath) bool {
	return !slices.ContainsFunc(p.Legs, func(l rules.Leg) bool {
		return l.Auth != rules.NotApplicable && l.Port.TCP && !l.Port.Dynamic && !l.ContentOnly && len(l.Facts)+len(l.Either) == 0
	}) || p.Conditions.NamesDecide
}

// unobservable returns why a path cannot be seen from where the capture was
// taken, or "". Of a capture in which no Exchange server takes part, nothing is
// known.
func (b *Builder) unobservable(p *rules.DataPath, roles map[rules.Role]int) string {
	exchange := false
	for role := range roles {
		exchange = exchange || role.Exchange()
	}
	if b.t.Flows() == 0 || !exchange {
		return ""
	}
	if p.Local {
		return "documented within one host only"
	}
	if q := b.covered(p); q != nil {
		return "its flows count as " + q.Name + ", which is documented better"
	}
	for _, side := range [][]rules.Role{p.From, p.To} {
		if !inView(side, roles, b.t.Roles) {
			return "no host in view is " + strings.Join(names(side), " or ")
		}
	}
	// Two hosts of a role are needed for what is documented between its like.
	if len(p.From) == 1 && len(p.To) == 1 && p.From[0] == p.To[0] && p.From[0].Exchange() && roles[p.From[0]] == 1 {
		return "only one host in view is " + string(p.From[0])
	}
	for ends := range b.sealed {
		if slices.Contains(p.From, ends[0]) && slices.Contains(p.To, ends[1]) {
			return "IPsec between hosts of these roles hides what it carries"
		}
	}
	if why := b.mayBe(p); why != "" {
		return why
	}
	if b.t.OneWay > b.t.Flows()/2 && hidden(p) {
		return "most flows were captured in one direction only, which may hide what shows it"
	}
	return ""
}

// inView reports whether a host has one of the roles. Roles that say where a host
// is, rather than what it does, are in view where a flow had such an end.
func inView(side []rules.Role, hosts map[rules.Role]int, ends map[string]bool) bool {
	return slices.ContainsFunc(side, func(r rules.Role) bool {
		return r == rules.Any || hosts[r] > 0 || ends[string(r)]
	})
}

func names(roles []rules.Role) []string {
	list := make([]string, len(roles))
	for i, r := range roles {
		list[i] = string(r)
	}
	return list
}
