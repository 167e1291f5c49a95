package classify

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/rules"
)

// Limits of what is kept of hosts.
const (
	maxHosts = 100_000 // hosts with a name or a proven role
	maxProof = 16      // proofs kept of one host
)

// proof is one role, or alternatives, and what proves it.
type proof struct {
	roles    []rules.Role
	evidence string
	weak     bool // counts only where nothing else is known
}

// host is what is known of one address.
type host struct {
	addr    netip.Addr
	name    string
	named   bool // by the site file
	site    *rules.Server
	proofs  []proof
	version string
}

// hosts knows who is who.
type hosts struct {
	byAddr   map[capture.Addr]*host
	networks []rules.Network
	// clients says that the site file names networks of clients, so that an
	// unlisted host is not taken for one.
	clients bool
	// changes counts what was learned, so that results can be cached.
	changes uint64
	refused uint64
}

func newHosts(site *rules.Site) *hosts {
	h := &hosts{byAddr: map[capture.Addr]*host{}}
	if site == nil {
		return h
	}
	for i := range site.Servers {
		s := &site.Servers[i]
		for _, a := range s.Addresses {
			v := s.Version
			if v == "" {
				v = site.Version
			}
			h.byAddr[capture.AddrFrom(a)] = &host{addr: a, name: s.Name, named: true, site: s, version: v}
		}
	}
	h.networks = slices.Clone(site.Networks)
	// The longest prefix that holds an address says what it is.
	slices.SortStableFunc(h.networks, func(a, b rules.Network) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	for _, n := range h.networks {
		h.clients = h.clients || n.Role == rules.Client
	}
	return h
}

// get returns the host of an address, made if need be; nil where a limit
// forbids.
func (h *hosts) get(a capture.Addr) *host {
	if x := h.byAddr[a]; x != nil {
		return x
	}
	if len(h.byAddr) >= maxHosts {
		h.refused++
		return nil
	}
	x := &host{addr: a.Netip()}
	h.byAddr[a] = x
	return x
}

// name gives a host the name that an answer gave it; the site file's stands.
func (h *hosts) name(a netip.Addr, name string) {
	if x := h.get(capture.AddrFrom(a)); x != nil && !x.named && x.name == "" {
		x.name = strings.TrimSuffix(strings.ToLower(name), ".")
	}
}

// nameOf returns the name of an address, or "".
func (h *hosts) nameOf(a capture.Addr) string {
	if x := h.byAddr[a]; x != nil {
		return x.name
	}
	return ""
}

// prove adds evidence for a role. What the site file says of a server stands
// alone.
func (h *hosts) prove(a capture.Addr, roles []rules.Role, weak bool, version, evidence string) {
	x := h.get(a)
	if x == nil || x.site != nil {
		return
	}
	if version != "" && x.version == "" {
		x.version = version
		h.changes++
	}
	for _, p := range x.proofs {
		if slices.Equal(p.roles, roles) {
			return
		}
	}
	if len(x.proofs) >= maxProof {
		h.refused++
		return
	}
	x.proofs = append(x.proofs, proof{roles, evidence, weak})
	h.changes++
}

// roles is the set of roles of one host for one decision. Every element holds
// the alternatives that the evidence leaves open.
type roleSet struct {
	sets     [][]rules.Role
	exchange bool // the host is an Exchange server
	site     bool // the site file says so
	unknown  bool // no network and no Exchange role is known: it may be a client
	version  string
}

// of returns the roles of an address.
func (h *hosts) of(a capture.Addr) roleSet {
	x := h.byAddr[a]
	var r roleSet
	if x != nil && x.site != nil {
		r.site, r.version = true, x.version
		for i := range x.site.Roles {
			r.sets = append(r.sets, x.site.Roles[i:i+1])
			r.exchange = r.exchange || x.site.Roles[i].Exchange() || x.site.Roles[i] == rules.LB
		}
		return r
	}
	if x != nil {
		r.version = x.version
		strong := slices.ContainsFunc(x.proofs, func(p proof) bool { return !p.weak })
		for _, p := range x.proofs {
			if p.weak && strong {
				continue
			}
			r.sets = append(r.sets, p.roles)
			all := true
			for _, role := range p.roles {
				all = all && role.Exchange()
			}
			r.exchange = r.exchange || all
		}
	}
	ip := a.Netip()
	for i := range h.networks {
		if h.networks[i].Prefix.Contains(ip) {
			r.sets = append(r.sets, []rules.Role{h.networks[i].Role})
			return r
		}
	}
	if !local(ip) {
		r.sets = append(r.sets, []rules.Role{rules.Internet})
		return r
	}
	r.unknown = !r.exchange
	return r
}

// local says whether an address belongs to no public network: private
// (RFC 1918, RFC 4193), loopback, link-local, shared (RFC 6598), multicast,
// unspecified or broadcast.
func local(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() ||
		sharedSpace.Contains(a) || a == broadcast
}

var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
	broadcast   = netip.MustParseAddr("255.255.255.255")
)

// fits says whether a host may act in one of the roles. strict tells a fit by
// what is known from one because nothing is known.
func (r *roleSet) fits(want []rules.Role, clients bool) bool {
	for _, w := range want {
		if w == rules.Any {
			return true
		}
		for _, set := range r.sets {
			for _, have := range set {
				if have == w || have == rules.GC && w == rules.DC {
					return true
				}
			}
		}
		if w == rules.Client && r.unknown && !clients {
			return true
		}
	}
	return false
}

// names returns the set as output shows it: "mailbox|cas" for alternatives.
func (r *roleSet) names() []string {
	var out []string
	for _, set := range r.sets {
		s := joinRoles(set)
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func joinRoles(set []rules.Role) string {
	var b strings.Builder
	for i, r := range set {
		if i > 0 {
			b.WriteByte('|')
		}
		b.WriteString(string(r))
	}
	return b.String()
}
