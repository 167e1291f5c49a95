// Package firewall makes firewall rules of what is documented and was seen.
package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// Options say which rules are made.
type Options struct {
	Packs *rules.Packs
	Site  *rules.Site // or nil
	// Version is the Exchange version of hosts of which none is known.
	Version string
	// Strict lists the ports of pairs that Microsoft does not support to be filtered,
	// which otherwise may use any.
	Strict bool
}

// Plan is a set of firewall rules.
type Plan struct {
	// Support holds what Microsoft says about filters, with the documents.
	Support []string
	Strict  bool
	Rules   []Rule
	// Exchange holds the addresses of the Exchange servers. What reaches or leaves one of
	// them and is in no rule is rejected; nothing else is touched.
	Exchange []netip.Prefix
	servers  []string // their titles
	// Refused lists what was seen and did not become a rule, with the reason.
	Refused []string
}

// Rule allows connections.
type Rule struct {
	From, To Ends
	Proto    string  // "tcp", "udp" or "any"
	Ports    []Range // of the server; none for any
	For      string  // the name of the path or of the group
	Paths    []string
	Pin      string // how to pin the dynamic port, or ""
	Note     string
	// Names are names of the Windows Firewall rules of Exchange setup that admit it.
	Names []string
	// RPC reports that the ports are dynamic ones of RPC.
	RPC bool
}

// Ends are hosts and networks.
type Ends struct {
	Any      bool
	Prefixes []netip.Prefix
	Titles   []string // for people
}

// Range is a range of ports, both included.
type Range struct{ From, To uint16 }

func (r Range) String() string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

func (e *Ends) key() string {
	if e.Any {
		return fmt.Sprint(e.Titles)
	}
	return fmt.Sprint(e.Prefixes)
}

// add adds ends that are not there yet. Any holds all others.
func (e *Ends) add(o *Ends) {
	if o.Any && !e.Any {
		*e = Ends{Any: true}
	}
	for i, t := range o.Titles {
		switch {
		case e.Any && !o.Any || slices.Contains(e.Titles, t) && o.Any:
		case o.Any:
			e.Titles = append(e.Titles, t)
		case !slices.Contains(e.Prefixes, o.Prefixes[i]):
			e.Prefixes, e.Titles = append(e.Prefixes, o.Prefixes[i]), append(e.Titles, t)
		}
	}
}

type planner struct {
	o     Options
	p     Plan
	free  freeHosts
	rules []Rule
	seen  map[string]bool
}

// freeHosts are the hosts of pairs that are not filtered: servers among themselves, and
// with their peers.
type freeHosts struct{ servers, peers Ends }

// New makes the rules for a Model.
func New(m *model.Model, o Options) *Plan {
	x := &planner{o: o, seen: map[string]bool{}}
	x.p.Strict = o.Strict
	x.unfiltered(m)
	if !o.Strict && len(x.free.servers.Prefixes) > 0 {
		x.freePairs()
	}
	for _, e := range m.Edges {
		x.edge(e)
	}
	x.p.Rules = append(x.p.Rules, merge(x.rules)...)
	if m.More > 0 {
		x.refuse(text.Count(m.More, "flow") + ": there were too many different ones")
	}
	return &x.p
}

// known lists the hosts of the site file and of the Model that are known one by one.
func (x *planner) known(m *model.Model) []*model.Host {
	var list []*model.Host
	known := map[netip.Addr]bool{}
	if x.o.Site != nil {
		for i := range x.o.Site.Servers {
			s := &x.o.Site.Servers[i]
			var roles []string
			for _, r := range s.Roles {
				roles = append(roles, string(r))
			}
			if len(s.OneOf) > 0 {
				var open []string
				for _, r := range s.OneOf {
					open = append(open, string(r))
				}
				roles = append(roles, strings.Join(open, "|"))
			}
			for _, a := range s.Addresses {
				known[a] = true
				list = append(list, &model.Host{Addr: a, Name: s.Name, Roles: roles, Version: cmp.Or(s.Version, x.o.Site.Version, x.o.Version)})
			}
		}
	}
	for _, h := range m.Hosts {
		if !h.Many() && !known[h.Addr.Unmap()] {
			list = append(list, &model.Host{Addr: h.Addr.Unmap(), Name: h.Name, Roles: h.Roles, Version: cmp.Or(h.Version, x.o.Version)})
		}
	}
	return list
}

// all reports whether a host has one of the roles, whichever of open ones it has.
func all(hostRoles []string, roles []rules.Role) bool {
	return slices.ContainsFunc(hostRoles, func(alternatives string) bool {
		for r := range strings.SplitSeq(alternatives, "|") {
			if !slices.Contains(roles, rules.Role(r)) {
				return false
			}
		}
		return true
	})
}

// unfiltered finds the hosts among which Microsoft does not support filters.
func (x *planner) unfiltered(m *model.Model) {
	policy := x.o.Packs.Policy()
	var peers []rules.Role
	list := x.known(m)
	for _, h := range list {
		if h.Exchange() {
			x.p.Exchange = append(x.p.Exchange, netip.PrefixFrom(h.Addr, h.Addr.BitLen()))
			x.p.servers = append(x.p.servers, h.Title())
		}
		u := policy.UnfilteredIn(h.Version)
		if u == nil || !all(h.Roles, u.Servers) {
			continue
		}
		if s := u.Text + " (" + u.Source + ")."; !slices.Contains(x.p.Support, s) {
			x.p.Support = append(x.p.Support, s)
		}
		peers = append(peers, u.Peers...)
		x.free.servers.add(single(h.Addr, h.Title()))
	}
	for _, h := range list {
		if one := single(h.Addr, h.Title()); all(h.Roles, peers) && !slices.Contains(x.free.servers.Prefixes, one.Prefixes[0]) {
			x.free.peers.add(one)
		}
	}
}

func single(a netip.Addr, title string) *Ends {
	a = a.Unmap()
	return &Ends{Prefixes: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, Titles: []string{title}}
}

// whole returns a network of the site file.
func whole(n *rules.Network) *Ends {
	return &Ends{Prefixes: []netip.Prefix{n.Prefix}, Titles: []string{string(n.Role) + " " + n.Prefix.String()}}
}

// freePairs makes the rules for what is not filtered.
func (x *planner) freePairs() {
	add := func(from, to Ends, what string) {
		if len(from.Prefixes) > 0 && len(to.Prefixes) > 0 {
			x.p.Rules = append(x.p.Rules, Rule{From: from, To: to, Proto: "any", For: what})
		}
	}
	if len(x.free.servers.Prefixes) > 1 {
		add(x.free.servers, x.free.servers, "Exchange servers among themselves, not to be filtered")
	}
	add(x.free.servers, x.free.peers, "Exchange servers and directory, not to be filtered")
	add(x.free.peers, x.free.servers, "directory and Exchange servers, not to be filtered")
}

// isFree reports whether a pair of hosts is not filtered.
func (x *planner) isFree(a, b netip.Prefix) bool {
	servers, peers := x.free.servers.Prefixes, x.free.peers.Prefixes
	as, bs := slices.Contains(servers, a), slices.Contains(servers, b)
	return as && bs || as && slices.Contains(peers, b) || bs && slices.Contains(peers, a)
}

func (x *planner) refuse(what string) {
	if !x.seen[what] {
		x.seen[what] = true
		x.p.Refused = append(x.p.Refused, what)
	}
}

// opens reports whether a violation means that the flow is not the documented one,
// so that a rule for it would open what nobody documents.
func opens(id record.FindingID) bool {
	switch id {
	case record.FindingExternalSource, record.FindingWrongDirection, record.FindingProtocolMismatch:
		return true
	}
	return false
}

// edge makes the rule for an edge, or says why there is none.
func (x *planner) edge(e *model.Edge) {
	what := fmt.Sprintf("%s > %s %d/%s", e.Client.Title(), e.Server.Title(), e.Port, capture.ProtoName(e.Proto))
	switch {
	case e.State == model.Unexpected:
		x.refuse(what + ", unexpected: " + cmp.Or(e.Why, string(e.Reason)))
		return
	case e.Path == nil && !e.Allowed:
		x.refuse(what + ", undetermined: " + cmp.Or(e.Why, string(e.Reason), e.Name))
		return
	case e.Expected == 0 && slices.ContainsFunc(e.Violations, opens):
		var ids []string
		for _, id := range e.Violations {
			ids = append(ids, string(id))
		}
		x.refuse(what + ", " + e.Name + ": " + strings.Join(ids, ", "))
		return
	case e.Proto != capture.TCP && e.Proto != capture.UDP, e.Server.Addr.IsMulticast(), e.Server.Addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return // no firewall between networks sees it, or it has no ports
	}
	x.allow(e)
}

// allow makes the rules for an edge: from each of the client's places to each of the
// server's.
func (x *planner) allow(e *model.Edge) {
	from, to := x.ends(e.Client), x.ends(e.Server)
	if !from.Any && len(from.Prefixes) == 0 || !to.Any && len(to.Prefixes) == 0 {
		if e.State != model.Documented {
			x.refuse(fmt.Sprintf("%s > %s %s: name the network in the site file", e.Client.Title(), e.Server.Title(), e.Name))
		}
		return
	}
	if from.Any && to.Any {
		return // of a path that leaves it open which end is outside
	}
	r := Rule{From: from, To: to, Proto: capture.ProtoName(e.Proto), For: e.Name, Paths: e.IDs}
	if e.Allowed {
		r.For = e.Why
	}
	if e.State == model.Blocked {
		r.Note = "blocked so far: " + string(e.Outcome)
	}
	version := cmp.Or(e.Server.Version, x.o.Version)
	for _, id := range e.IDs {
		if p := x.o.Packs.Path(id); p != nil {
			version = p.Version
			for _, n := range p.FirewallRules {
				if !slices.Contains(r.Names, n) {
					r.Names = append(r.Names, n)
				}
			}
		}
	}
	mapper := x.ports(e, version, &r)
	for _, r := range x.filtered(r) {
		x.rules = append(x.rules, r)
		if mapper {
			r.Ports, r.Pin, r.Note, r.RPC = []Range{{135, 135}}, "", "", false
			x.rules = append(x.rules, r)
		}
	}
}

// filtered returns a rule without pairs of hosts that are not filtered anyway, and
// without those of a host with itself.
func (x *planner) filtered(r Rule) []Rule {
	if r.From.Any || r.To.Any {
		return []Rule{r}
	}
	var list []Rule
	for i, from := range r.From.Prefixes {
		one := r
		one.From, one.To = Ends{Prefixes: r.From.Prefixes[i : i+1], Titles: r.From.Titles[i : i+1]}, Ends{}
		for j, to := range r.To.Prefixes {
			if from == to && from.IsSingleIP() || !x.o.Strict && x.isFree(from, to) {
				continue
			}
			one.To.Prefixes, one.To.Titles = append(one.To.Prefixes, to), append(one.To.Titles, r.To.Titles[j])
		}
		if len(one.To.Prefixes) > 0 {
			list = append(list, one)
		}
	}
	return list
}

// ends returns where a host is, for a rule.
func (x *planner) ends(h *model.Host) Ends {
	var e Ends
	for _, role := range h.Roles {
		switch rules.Role(role) {
		case rules.Internet, rules.Any:
			return Ends{Any: true, Titles: []string{"any"}}
		case rules.ExchangeOnline:
			return Ends{Any: true, Titles: []string{"Exchange Online (any)"}}
		}
	}
	if !h.Many() {
		if n := x.o.Site.Network(h.Addr); n != nil && (h.Is(rules.Client) || h.Is(rules.Admin)) {
			return *whole(n)
		}
		return *single(h.Addr, h.Title())
	}
	if x.o.Site == nil {
		return e
	}
	// Servers of a role that shares no host with others are meant only by its name.
	alone := x.o.Packs.Policy().Alone
	fits := func(role rules.Role) bool {
		return h.Is(role) || h.Is(rules.AnyExchange) && role.Exchange() && !slices.Contains(alone, role)
	}
	for i := range x.o.Site.Servers {
		if s := &x.o.Site.Servers[i]; slices.ContainsFunc(s.Roles, fits) {
			for _, a := range s.Addresses {
				e.add(single(a, cmp.Or(s.Name, a.String())))
			}
		}
	}
	for _, n := range x.o.Site.Networks {
		if fits(n.Role) {
			e.add(whole(&n))
		}
	}
	return e
}
