package model

import (
	"cmp"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/rules"
)

// NewDocumented returns the Model of what is documented for Exchange versions, without
// any capture: one host for each role, and an edge for each leg of each path between
// roles. Paths that are weakly documented, not used, or within one host are left out.
func NewDocumented(packs *rules.Packs, versions ...string) *Model {
	m := &Model{Versions: versions}
	hosts := map[rules.Role]*Host{}
	host := func(r rules.Role) *Host {
		if hosts[r] == nil {
			hosts[r] = &Host{Name: RoleTitle(string(r)), Roles: []string{string(r)}}
			m.Hosts = append(m.Hosts, hosts[r])
		}
		return hosts[r]
	}
	var paths []*rules.DataPath
	gone := map[*rules.DataPath][]rules.Role{}
	for _, v := range versions {
		absent := absentRoles(packs, v)
		for _, p := range packs.Paths(v) {
			paths = append(paths, p)
			gone[p] = absent
		}
	}
	for _, p := range paths {
		if p.NotUsed || p.Local || p.LastResort() {
			continue
		}
		m.Paths = append(m.Paths, Path{DataPath: p, State: Documented})
		for i := range p.Legs {
			l := &p.Legs[i]
			for _, from := range present(p.From, gone[p]) {
				for _, to := range present(p.To, gone[p]) {
					if len(p.OneEnd) > 0 && !slices.Contains(p.OneEnd, from) && !slices.Contains(p.OneEnd, to) || outside(from) && outside(to) {
						continue
					}
					client, server := host(from), host(to)
					if l.Reverse {
						client, server = server, client
					}
					m.Edges = append(m.Edges, documented(p, l, client, server)...)
				}
			}
		}
	}
	slices.SortFunc(m.Hosts, compareHosts)
	slices.SortStableFunc(m.Edges, compareEdges)
	return m
}

// absentRoles returns the roles that servers of a version do not have: those to which it
// must not have any connection, whatever the port.
func absentRoles(packs *rules.Packs, version string) []rules.Role {
	var list []rules.Role
	for _, a := range packs.Absent(version) {
		if len(a.Legs) == 0 && a.Weakness == "" && len(a.Methods) == 0 && len(a.To) == 1 && a.To[0].Exchange() {
			list = append(list, a.To[0])
		}
	}
	return list
}

// present returns roles without those that are gone, unless nothing is left.
func present(roles, gone []rules.Role) []rules.Role {
	left := slices.DeleteFunc(slices.Clone(roles), func(r rules.Role) bool { return slices.Contains(gone, r) })
	if len(left) == 0 {
		return roles
	}
	return left
}

// outside reports whether hosts of a role are none of the organisation's servers. What
// they do among themselves is not documented, though a path may name both.
func outside(r rules.Role) bool {
	switch r {
	case rules.Client, rules.Internet, rules.Relay, rules.ExchangeOnline, rules.Admin:
		return true
	}
	return false
}

// documented returns the edges of a leg between two hosts: one for TCP and one for UDP.
func documented(p *rules.DataPath, l *rules.Leg, client, server *Host) []*Edge {
	var list []*Edge
	for _, proto := range []uint8{capture.TCP, capture.UDP} {
		if proto == capture.TCP && !l.Port.TCP || proto == capture.UDP && !l.Port.UDP {
			continue
		}
		e := &Edge{Client: client, Server: server, Label: p.ID, Name: p.Name, Proto: proto, State: Documented, Leg: l,
			Edge: &tally.Edge{Path: p, IDs: []string{p.ID}, Protocol: l.Protocol}}
		if !l.Port.Dynamic && l.Port.From == l.Port.To {
			e.Port = l.Port.From
		}
		list = append(list, e)
	}
	return list
}

// RoleTitle returns the name of a role for people, or of alternatives joined by "|".
func RoleTitle(role string) string {
	var titles []string
	for r := range strings.SplitSeq(role, "|") {
		titles = append(titles, cmp.Or(roleTitles[rules.Role(r)], r))
	}
	return strings.Join(titles, " or ")
}

var roleTitles = map[rules.Role]string{
	rules.Hub: "Hub Transport", rules.Edge: "Edge Transport", rules.Mailbox: "Mailbox", rules.MailboxLegacy: "Mailbox of an earlier version",
	rules.CAS: "Client Access", rules.UM: "Unified Messaging", rules.DC: "domain controller", rules.GC: "global catalog", rules.ADRMS: "AD RMS",
	rules.Client: "clients", rules.Admin: "administrators", rules.Backup: "backup", rules.PBX: "IP PBX or gateway", rules.OCS: "OCS or Lync",
	rules.LB: "load balancer", rules.Relay: "mail relay", rules.Internet: "internet", rules.DNS: "DNS", rules.Witness: "witness",
	rules.ExchangeOnline: "Exchange Online", rules.AnyExchange: "Exchange server", rules.Any: "any host", "": "unknown",
}
