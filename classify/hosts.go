package classify

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/rules"
)

// Limits of what is kept of hosts.
const (
	maxHosts = 100_000 // hosts with a proven role, and as many with a name alone
	maxProof = 16      // proofs kept of one host
	maxSets  = 4096    // role sets that hosts share
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
	roles   *roleSet // made when asked for
}

// hosts knows who is who.
type hosts struct {
	byAddr map[capture.Addr]*host
	// some has a bit for each address in byAddr, which others may share: of most
	// addresses nothing is known, and that takes no look-up.
	some [1 << 10]uint64
	// recent holds what byAddr has of addresses that were asked for.
	recent [1 << 8]struct {
		addr capture.Addr
		host *host
	}
	// networks go from the longest prefix to the shortest, their roles beside.
	networks     []rules.Network
	networkRoles []roleSet
	// clients says that the site file names networks of clients, so that an
	// unlisted host is not taken for one.
	clients bool
	// known is the number of hosts in byAddr of which more is known than a
	// name: names, of which any resolver sees many, take no place from them.
	known   int
	refused uint64
	// sets holds the role sets of hosts by what they say, so that hosts of equal
	// roles share one.
	sets map[string]*roleSet
}

func newHosts(site *rules.Site) *hosts {
	h := &hosts{byAddr: map[capture.Addr]*host{}, sets: map[string]*roleSet{}}
	if site == nil {
		return h
	}
	for i := range site.Servers {
		s := &site.Servers[i]
		for _, a := range s.Addresses {
			v := s.Version
			if v == "" && slices.ContainsFunc(s.Roles, rules.Role.Exchange) {
				v = site.Version
			}
			h.put(capture.AddrFrom(a), &host{addr: a, name: s.Name, named: true, site: s, version: v})
			h.known = len(h.byAddr)
		}
	}
	h.networks = slices.Clone(site.Networks)
	// The longest prefix that holds an address says what it is.
	slices.SortStableFunc(h.networks, func(a, b rules.Network) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	for _, n := range h.networks {
		h.clients = h.clients || n.Role == rules.Client
		h.networkRoles = append(h.networkRoles, newRoleSet([][]rules.Role{{n.Role}}))
	}
	return h
}

// at returns the host of an address, or nil.
func (h *hosts) at(a *capture.Addr) *host {
	hash := hashOf(a)
	if h.some[hash/64%uint64(len(h.some))]&(1<<(hash%64)) == 0 {
		return nil
	}
	r := &h.recent[hash%uint64(len(h.recent))]
	if r.addr != *a {
		r.addr, r.host = *a, h.byAddr[*a]
	}
	return r.host
}

func (h *hosts) put(a capture.Addr, x *host) {
	h.byAddr[a] = x
	hash := hashOf(&a)
	h.some[hash/64%uint64(len(h.some))] |= 1 << (hash % 64)
	r := &h.recent[hash%uint64(len(h.recent))]
	r.addr, r.host = a, x
}

// hashOf returns a number whose low bits differ between most addresses.
func hashOf(a *capture.Addr) uint64 {
	return (binary.BigEndian.Uint64(a[:8]) ^ binary.BigEndian.Uint64(a[8:])) * 0x9e3779b97f4a7c15 >> 32
}

// add returns the host of an address, made if there is room for one more; nil
// where a limit forbids. have is the number of its kind that is there.
func (h *hosts) add(a capture.Addr, have int) *host {
	if x := h.at(&a); x != nil {
		return x
	}
	if have >= maxHosts {
		h.refused++
		return nil
	}
	x := &host{addr: a.Netip()}
	h.put(a, x)
	return x
}

// name gives a host the name that an answer gave it; the site file's stands.
func (h *hosts) name(a netip.Addr, name string) {
	if x := h.add(capture.AddrFrom(a), len(h.byAddr)-h.known); x != nil && !x.named && x.name == "" {
		x.name = strings.TrimSuffix(strings.ToLower(name), ".")
	}
}

// nameOf returns the name of an address, or "".
func (h *hosts) nameOf(a capture.Addr) string {
	_, name := h.find(&a)
	return name
}

// proven says whether prove would change nothing.
func (h *hosts) proven(a capture.Addr, roles []rules.Role, version string) bool {
	x := h.at(&a)
	if x == nil {
		return false
	}
	return x.site != nil || (version == "" || x.version != "") &&
		slices.ContainsFunc(x.proofs, func(p proof) bool { return slices.Equal(p.roles, roles) })
}

// prove adds evidence for a role. What the site file says of a server stands
// alone.
func (h *hosts) prove(a capture.Addr, roles []rules.Role, weak bool, version, evidence string) {
	x := h.add(a, h.known)
	if x == nil || x.site != nil {
		return
	}
	if len(x.proofs) == 0 && x.version == "" {
		h.known++
	}
	if version != "" && x.version == "" {
		x.version = version
		x.roles = nil
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
	x.roles = nil
}

// roleSet is the set of roles of hosts for one decision. It is shared and not
// changed once made.
type roleSet struct {
	// sets holds one element a role; where the evidence leaves more than one open,
	// the element holds the alternatives.
	sets     [][]rules.Role
	names    []string // as output shows them: "mailbox|cas" for alternatives
	text     string   // of names, for people
	exchange bool     // the host is an Exchange server, or the load balancer before one
	unknown  bool     // no network and no Exchange role is known: it may be a client
	version  string
	id       uint64 // differs between most role sets
}

func newRoleSet(sets [][]rules.Role) roleSet {
	r := roleSet{sets: sets}
	for _, set := range sets {
		if n := joinRoles(set); !slices.Contains(r.names, n) {
			r.names = append(r.names, n)
		}
		all := true
		for _, role := range set {
			all = all && role.Exchange()
		}
		r.exchange = r.exchange || all
	}
	r.text = cmp.Or(strings.Join(r.names, ", "), withoutRole)
	return r
}

const withoutRole = "a host without a role"

// Hosts of which nothing else is known.
var (
	fromInternet = newRoleSet([][]rules.Role{{rules.Internet}})
	fromAnywhere = roleSet{text: withoutRole, unknown: true, id: 1}
)

// of returns the roles of an address.
func (h *hosts) of(a capture.Addr) *roleSet {
	roles, _ := h.find(&a)
	return roles
}

// find returns the roles of an address, and its name or "".
func (h *hosts) find(a *capture.Addr) (*roleSet, string) {
	x := h.at(a)
	switch {
	case x == nil:
		return h.elsewhere(a), ""
	case x.roles != nil:
		return x.roles, x.name
	case x.site == nil && len(x.proofs) == 0 && x.version == "":
		return h.elsewhere(a), x.name
	}
	x.roles = h.share(h.rolesOf(x, a))
	return x.roles, x.name
}

// rolesOf works out the roles of a host of which more is known than its name.
func (h *hosts) rolesOf(x *host, a *capture.Addr) roleSet {
	if x.site != nil {
		var sets [][]rules.Role
		for i := range x.site.Roles {
			sets = append(sets, x.site.Roles[i:i+1])
		}
		r := newRoleSet(sets)
		r.version = x.version
		r.exchange = r.exchange || slices.Contains(x.site.Roles, rules.LB)
		return r
	}
	// A caller from outside does not become a client by calling.
	where := h.elsewhere(a)
	strong := where.has(rules.Internet) || slices.ContainsFunc(x.proofs, func(p proof) bool { return !p.weak })
	var sets [][]rules.Role
	for _, p := range x.proofs {
		if !p.weak || !strong {
			sets = append(sets, p.roles)
		}
	}
	r := newRoleSet(append(explained(sets), where.sets...))
	r.version = x.version
	r.unknown = !r.exchange && where.unknown
	return r
}

// share returns the role set that says the same as r.
func (h *hosts) share(r roleSet) *roleSet {
	key := fmt.Sprintf("%s %t %t %s", r.version, r.exchange, r.unknown, strings.Join(r.names, " "))
	if known := h.sets[key]; known != nil {
		return known
	}
	if len(h.sets) >= maxSets {
		clear(h.sets) // hosts keep those that they have
	}
	r.id = uint64(len(h.sets) + 2)
	h.sets[key] = &r
	return &r
}

// explained leaves out the alternatives that something else explains: a host
// proven to be mailbox|cas may be the cas of cas|gc, and that says no more.
func explained(sets [][]rules.Role) [][]rules.Role {
	exchange := func(set []rules.Role) bool {
		return !slices.ContainsFunc(set, func(r rules.Role) bool { return !r.Exchange() })
	}
	return slices.DeleteFunc(slices.Clone(sets), func(set []rules.Role) bool {
		return !exchange(set) && slices.ContainsFunc(sets, func(other []rules.Role) bool {
			return exchange(other) && slices.ContainsFunc(set, func(r rules.Role) bool { return slices.Contains(other, r) })
		})
	})
}

// elsewhere returns what an address alone says: the role of its network,
// internet, or nothing.
func (h *hosts) elsewhere(a *capture.Addr) *roleSet {
	if len(h.networks) > 0 {
		ip := a.Netip()
		for i := range h.networks {
			if h.networks[i].Prefix.Contains(ip) {
				return &h.networkRoles[i]
			}
		}
	}
	if !local(a) {
		return &fromInternet
	}
	return &fromAnywhere
}

// local says whether an address belongs to no public network: private
// (RFC 1918, RFC 4193), loopback, link-local, shared (RFC 6598), multicast,
// unspecified or broadcast.
func local(a *capture.Addr) bool {
	hi, lo := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	if hi == 0 && lo>>32 == 0xffff {
		switch ip := uint32(lo); {
		case ip>>24 == 10, ip>>20 == 172<<4|1, ip>>16 == 192<<8|168, // private
			ip>>24 == 127, ip>>16 == 169<<8|254, ip>>22 == 100<<2|1, ip>>28 == 0xe, // loopback, link-local, shared, multicast
			ip == 0, ip == 1<<32-1:
			return true
		}
		return false
	}
	return hi>>57 == 0xfc>>1 || hi>>54 == 0xfe80>>6 || hi>>56 == 0xff || // private, link-local, multicast
		hi == 0 && lo <= 1 // unspecified, loopback
}

// fits says whether a host may act in one of the roles. clients says that the
// site file names the networks of clients, so that an unknown host is none.
func (r *roleSet) fits(want []rules.Role, clients bool) bool {
	for _, w := range want {
		if w == rules.Any {
			return true
		}
		for _, set := range r.sets {
			for _, have := range set {
				if have == w || have == rules.GC && w == rules.DC || w == rules.AnyExchange && have.Exchange() {
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
