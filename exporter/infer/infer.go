// Package infer writes a site file from what traffic proves: servers with their
// roles and the evidence, versions, and, marked as guesses, static ports and the
// networks of clients. Hosts that matter and are not recognised stand in it as
// comments.
package infer

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

const (
	maxUnknown  = 1000 // hosts that are not recognised
	maxMembers  = 100_000
	maxTrusts   = 1000
	maxActs     = 8  // of a host
	minClients  = 2  // client hosts in a network that is guessed to be one of clients
	clientBits  = 24 // prefix length of such a network, IPv4
	clientBits6 = 64 // the same, IPv6
	pinnedFrom  = 59531
	pinnedTo    = 60554 // the range for pinned ports of Exchange 2010; see rules.Pinned
)

// Options say what is known and how the file begins.
type Options struct {
	// Site is what the operator knows already, or nil. It is written as it is.
	Site *rules.Site
	// Title names the input; Date is the day of writing, as 2026-11-28.
	Title, Date string
}

// Sink collects records and writes the site file on Close.
type Sink struct {
	w       io.Writer
	o       Options
	unknown map[netip.Addr]*unknown
	members map[netip.Addr]bool // hosts that log on to the domain
	trusts  [][2]netip.Addr     // hosts that trust each other's own certificates for mail
	acts    map[netip.Addr][]act
}

// act is a documented part that a host plays in a flow.
type act struct {
	roles []rules.Role // that the documents name for it
	text  string       // "2010.cas.mrs on port 808"
}

// unknown is a host without a role that talks with an Exchange server.
type unknown struct {
	name  string
	flows uint64
	with  []string // "64327/tcp from mb1"
}

// New returns a sink that writes to w when it is closed.
func New(w io.Writer, o Options) *Sink {
	return &Sink{w: w, o: o, unknown: map[netip.Addr]*unknown{}, members: map[netip.Addr]bool{}, acts: map[netip.Addr][]act{}}
}

// Write looks for hosts without a role, and for members of the domain.
func (s *Sink) Write(r *record.Record) error {
	if r.Protocol == "kerberos" && r.Outcome == record.Answered && len(s.members) < maxMembers {
		s.members[r.Client.Addr] = true
	}
	if pair := [2]netip.Addr{r.Client.Addr, r.Server.Addr}; r.Protocol == "smtp" && has(r, "smtp.tls", "x-anonymoustls") &&
		has(r, "tls.client_self_signed", "yes") && len(s.trusts) < maxTrusts && !slices.Contains(s.trusts, pair) {
		s.trusts = append(s.trusts, pair)
	}
	if r.State == "active" || r.Verdict.Status == record.Unrelated {
		return nil
	}
	s.follows(r)
	if len(r.Client.Roles) == 0 {
		s.meets(&r.Client, &r.Server, r, "to")
	}
	if len(r.Server.Roles) == 0 {
		s.meets(&r.Server, &r.Client, r, "from")
	}
	return nil
}

func (s *Sink) meets(h, other *record.Host, r *record.Record, how string) {
	u := s.unknown[h.Addr]
	if u == nil {
		if len(s.unknown) >= maxUnknown {
			return
		}
		u = &unknown{name: strings.Clone(h.Name)}
		s.unknown[h.Addr] = u
	}
	u.flows++
	what := fmt.Sprintf("%d/%s %s %s", r.Server.Port, capture.ProtoName(r.Proto), how, cmp.Or(other.Name, other.Addr.String()))
	if len(u.with) < 4 && !slices.Contains(u.with, what) {
		u.with = append(u.with, what)
	}
}

// server is an entry of the file.
type server struct {
	name    string
	addrs   []netip.Addr
	roles   []rules.Role
	oneOf   []rules.Role // alternatives that traffic leaves open
	version string
	proofs  []string // "hub: smtp.banner=... on port 25"
	ports   []port
	partial bool // it may have more roles
	given   bool // by the operator's site file
}

type port struct {
	service string
	number  uint16
	guess   bool
}

// Close writes the file.
func (s *Sink) Close(sum *record.Summary) error {
	servers := s.given()
	open := []string{} // hosts whose role traffic leaves open
	var clients []netip.Addr
	decisions := map[netip.Addr]*found{}
	for i := range sum.Hosts {
		h := &sum.Hosts[i]
		if h.Inside != "" {
			continue // the network inside a tunnel may be another one
		}
		f := decide(h, s.members[h.Addr], s.acts[h.Addr])
		decisions[h.Addr] = &f
	}
	s.guessEdges(decisions)
	for i := range sum.Hosts {
		h := &sum.Hosts[i]
		if s.isGiven(h.Addr) {
			continue
		}
		f := decisions[h.Addr]
		switch {
		case h.Inside != "":
			if len(h.Roles) > 0 {
				open = append(open, s.openHost(h)+"; seen inside "+h.Inside+" alone, and another network may have that address")
			}
		case len(f.roles) == 1 && f.roles[0] == rules.Client && f.oneOf == nil && !f.open:
			clients = append(clients, h.Addr)
		case !f.open && !onlyPlaces(slices.Concat(f.roles, f.oneOf)):
			servers = add(servers, h, f)
		case !f.open && f.oneOf == nil && len(f.roles) > 0: // it is known where the host is
		case len(h.Roles) > 0:
			open = append(open, s.openHost(h))
		}
	}
	s.ports(servers, sum)
	_, err := io.WriteString(s.w, s.file(servers, s.networks(clients, servers, sum), open))
	return err
}

// onlyPlaces reports whether roles say where a host is, and not what it does.
func onlyPlaces(roles []rules.Role) bool {
	return !slices.ContainsFunc(roles, func(r rules.Role) bool { return r != rules.Client && r != rules.Internet })
}

// given returns the servers of the operator's site file.
func (s *Sink) given() []*server {
	if s.o.Site == nil {
		return nil
	}
	var list []*server
	for _, x := range s.o.Site.Servers {
		e := &server{name: x.Name, addrs: x.Addresses, roles: x.Roles, oneOf: x.OneOf, version: x.Version, partial: x.Partial, given: true}
		for _, service := range slices.Sorted(maps.Keys(x.StaticPorts)) {
			e.ports = append(e.ports, port{service, x.StaticPorts[service], false})
		}
		list = append(list, e)
	}
	return list
}

// isGiven reports whether the operator's site file has a server or a network
// with an address.
func (s *Sink) isGiven(a netip.Addr) bool {
	if s.o.Site == nil {
		return false
	}
	return slices.ContainsFunc(s.o.Site.Servers, func(x rules.Server) bool { return slices.Contains(x.Addresses, a) }) ||
		slices.ContainsFunc(s.o.Site.Networks, func(n rules.Network) bool { return n.Prefix.Contains(a) })
}

// add adds a host to the servers. Addresses of the same name are one server.
func add(servers []*server, h *record.HostSummary, f *found) []*server {
	i := slices.IndexFunc(servers, func(x *server) bool { return h.Name != "" && strings.EqualFold(x.name, h.Name) && !x.given })
	if i < 0 {
		i = len(servers)
		servers = append(servers, &server{name: h.Name, version: h.Version, partial: true})
	}
	e := servers[i]
	e.addrs = append(e.addrs, h.Addr)
	for _, r := range f.roles {
		if !slices.Contains(e.roles, r) {
			e.roles = append(e.roles, r)
		}
	}
	if e.oneOf == nil {
		e.oneOf = f.oneOf
	}
	if slices.ContainsFunc(e.oneOf, func(r rules.Role) bool { return slices.Contains(e.roles, r) }) {
		e.oneOf = nil // another address told
	}
	for _, p := range f.proofs {
		if !slices.Contains(e.proofs, p) {
			e.proofs = append(e.proofs, p)
		}
	}
	e.version = cmp.Or(e.version, h.Version)
	return servers
}

// ports guesses static ports: those that a mapper announced in the range that is
// documented for them, if a service has no other.
func (s *Sink) ports(servers []*server, sum *record.Summary) {
	for _, e := range servers {
		if e.given {
			continue
		}
		seen := map[string][]uint16{}
		for i := range sum.Endpoints {
			p := &sum.Endpoints[i]
			if slices.Contains(e.addrs, p.Server.Addr()) && !p.UDP && !slices.Contains(seen[p.Service], p.Server.Port()) {
				seen[p.Service] = append(seen[p.Service], p.Server.Port())
			}
		}
		for _, service := range []string{"emsmdb", "nspi", "rfr"} {
			if p := seen[service]; len(p) == 1 && p[0] >= pinnedFrom && p[0] <= pinnedTo {
				e.ports = append(e.ports, port{service, p[0], true})
			}
		}
	}
}

// network is an entry of the file.
type network struct {
	cidr  netip.Prefix
	role  rules.Role
	hosts int // that the guess rests on; 0 for one of the operator's
}

// networks guesses networks of clients: those in which several hosts are proven
// to be clients and none to be anything else.
func (s *Sink) networks(clients []netip.Addr, servers []*server, sum *record.Summary) []network {
	var list []network
	if s.o.Site != nil {
		for _, n := range s.o.Site.Networks {
			list = append(list, network{cidr: n.Prefix, role: n.Role})
		}
	}
	guesses := map[netip.Prefix]int{}
	for _, a := range clients {
		bits := clientBits
		if a.Is6() {
			bits = clientBits6
		}
		if p, err := a.Prefix(bits); err == nil {
			guesses[p]++
		}
	}
	for p, n := range guesses {
		other := slices.ContainsFunc(sum.Hosts, func(h record.HostSummary) bool {
			return p.Contains(h.Addr) && !slices.Contains(clients, h.Addr)
		})
		for a := range s.unknown {
			other = other || p.Contains(a)
		}
		for _, e := range servers {
			other = other || slices.ContainsFunc(e.addrs, p.Contains)
		}
		if n >= minClients && !other {
			list = append(list, network{p, rules.Client, n})
		}
	}
	slices.SortFunc(list, func(a, b network) int {
		return cmp.Or(a.cidr.Addr().Compare(b.cidr.Addr()), a.cidr.Bits()-b.cidr.Bits())
	})
	return list
}

// openHost returns a comment on a host whose role traffic leaves open.
func (s *Sink) openHost(h *record.HostSummary) string {
	var parts []string
	for _, p := range h.Roles {
		part := strings.ReplaceAll(p.Role, "|", " or ")
		if rules.Role(p.Role) == rules.AnyExchange {
			part = "some Exchange server"
		}
		if p.Evidence != "" {
			part += " (" + p.Evidence + ")"
		}
		parts = append(parts, part)
	}
	name := h.Addr.String()
	if h.Name != "" {
		name += " " + h.Name
	}
	return name + ": " + strings.Join(parts, "; ")
}
