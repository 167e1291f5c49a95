package inventory

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// MaxHosts bounds the hosts with a proven role, and as well those with a name
// alone, where Limit does not say less.
const MaxHosts = 100_000

// Limits of what is kept of hosts.
const (
	maxProof = 16   // proofs kept of one host
	maxSets  = 4096 // role sets that hosts share
)

// roleProof is one role, or alternatives, and what proves it.
type roleProof struct {
	rule     *rules.RoleEvidence // nil for a proof of another run
	roles    []rules.Role        // empty where only the version is proven
	evidence string
	weak     bool // counts only where nothing else is known
	from     source
	sensor   string // that saw it; empty for this one
}

// host is what is known of one address.
type host struct {
	addr    netip.Addr
	name    string
	named   bool // by the site file
	site    *rules.Server
	proofs  []roleProof
	version string
	build   string        // the build number with the update it belongs to, if that is how the version is known
	bySite  bool          // the site file tells the version
	among   []string      // the versions that it can have by what it showed, oldest first; nil for any
	epoch   uint32        // hosts.assumes when roles were made
	vetoed  bool          // it is no Exchange server
	behind  *capture.Addr // an Exchange server that it sends requests on to, or nil
	// versionTold and nameTold are the sensors that told the version and the name;
	// empty if this one saw them.
	versionTold, nameTold string
	amongTold             bool           // what among rests on was told by another sensor
	vetoTold              bool           // as vetoed, told or seen; it counts against weak evidence alone
	roles                 *match.RoleSet // made when asked for
}

// hosts is what is known of hosts, by address.
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
	networkRoles []match.RoleSet
	// organisation is the newest version of the hosts whose version is known, given
	// the one that the operator gave; either may be empty.
	organisation, given string
	epoch               uint32 // counts what may change the version that is assumed of a host
	versions            uint32 // counts the hosts whose version became known
	// outer is what is known of the wire, for the hosts inside a tunnel; nil for those
	// of the wire itself.
	outer *hosts
	// awaiting holds, by the other end of their flow, the proofs that wait for its role.
	awaiting map[capture.Addr][]awaiting
	// internet and anywhere are the roles of hosts of which nothing else is known.
	internet, anywhere match.RoleSet
	// known is the number of hosts in byAddr of which more is known than a
	// name: names, of which any resolver sees many, take no place from them.
	known   int
	max     int    // of known, and of the others
	refused uint64 // hosts for which there was no room
	surplus uint64 // proofs of hosts that had maxProof
	// sets holds the role sets of hosts by what they say, so that hosts of equal
	// roles share one.
	sets   map[string]*match.RoleSet
	key    []byte // one of sets
	lastID uint64
	policy *rules.Policy
}

func newHosts(policy *rules.Policy, site *rules.Site, version string) *hosts {
	h := &hosts{byAddr: map[capture.Addr]*host{}, sets: map[string]*match.RoleSet{}, policy: policy, given: version, max: MaxHosts,
		awaiting: map[capture.Addr][]awaiting{}}
	h.internet = h.roleSet(match.Certain, [][]rules.Role{{rules.Internet}})
	h.anywhere = h.roleSet(match.Unknown, nil)
	if site == nil {
		return h
	}
	for i := range site.Servers {
		s := &site.Servers[i]
		for _, a := range s.Addresses {
			v := s.Version
			if v == "" && slices.ContainsFunc(slices.Concat(s.Roles, s.OneOf), func(r rules.Role) bool { return policy.Exchange(r) || r == rules.LB }) {
				v = site.Version
			}
			h.put(capture.AddrFrom(a), &host{addr: a, name: s.Name, named: true, site: s, version: v, bySite: v != ""})
			h.runs(v)
			h.known = len(h.byAddr)
		}
	}
	h.networks = slices.Clone(site.Networks)
	// The longest prefix that holds an address says what it is.
	slices.SortStableFunc(h.networks, func(a, b rules.Network) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	for _, n := range h.networks {
		h.anywhere.Known = match.Unlisted // others are neither of the networks nor clients
		h.networkRoles = append(h.networkRoles, h.roleSet(match.Certain, [][]rules.Role{{n.Role}}))
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
func hashOf(a *capture.Addr) uint64 { return a.Hash() >> 32 }

// add returns the host of an address, made if there is room for one more; nil
// where a limit forbids. have is the number of its kind that is there.
func (h *hosts) add(a capture.Addr, have int) *host {
	if x := h.at(&a); x != nil {
		return x
	}
	if have >= h.max {
		h.refused++
		return nil
	}
	x := &host{addr: a.Netip()}
	h.put(a, x)
	return x
}

// name gives a host the name that an answer gave it, and reports whether that is
// news. The site file's name stands.
func (h *hosts) name(a netip.Addr, name string) (string, bool) {
	x := h.add(capture.AddrFrom(a), len(h.byAddr)-h.known)
	if x == nil || x.named || x.name != "" && x.nameTold == "" {
		return "", false
	}
	x.name, x.nameTold = strings.TrimSuffix(strings.ToLower(name), "."), ""
	return x.name, true
}

// proven reports whether a rule would prove nothing new of a host.
func (h *hosts) proven(a *capture.Addr, r *evidenceRule, port uint16) bool {
	x := h.at(a)
	if x == nil {
		return false
	}
	if x.site != nil && x.version != "" {
		return true
	}
	if (x.version == "" || x.versionTold != "") && (r.Version != "" || r.BuildFact != "") {
		return false
	}
	for i := range x.proofs {
		if p := &x.proofs[i]; p.rule == r.RoleEvidence && p.sensor == "" && p.same(r.RoleEvidence, port) {
			return true
		}
	}
	return false
}

// same reports whether a proof is that of a rule, on a port where that matters.
func (p *roleProof) same(rule *rules.RoleEvidence, port uint16) bool {
	return p.rule == rule && (p.from.port == port || !rule.Ported())
}

// news is what a proof told that was not known.
type news struct{ role, version bool }

// prove adds evidence for a role or a version. What the site file says of a
// server stands alone, and a host of the internet is none of ours, whatever it
// shows.
func (h *hosts) prove(a capture.Addr, p roleProof, version, build string) (n news) {
	if h.elsewhere(&a) == &h.internet {
		return n
	}
	x := h.add(a, h.known)
	if x == nil {
		return n
	}
	if version != "" && (x.version == "" || x.versionTold != "" && p.sensor == "") && !p.weak {
		x.version, x.build, x.versionTold = version, build, p.sensor
		x.roles = nil
		h.runs(version)
		h.versions++
		n.version = true
	}
	if x.site != nil {
		return n
	}
	if p.rule != nil && len(p.rule.Peer) > 0 && slices.Contains(p.roles, rules.LB) && (p.sensor == "" || x.behind == nil) {
		peer := p.from.peer // its own, so that p need not be moved to the heap
		x.behind = &peer
	}
	if len(x.proofs) == 0 {
		h.known++
	}
	if p.rule != nil && p.rule.Vetoes {
		x.vetoed, x.vetoTold, x.roles = x.vetoed || p.sensor == "", true, nil
	}
	seen, at := 0, len(x.proofs)
	for i := range x.proofs {
		old := &x.proofs[i]
		if old.sensor == "" {
			seen++
		}
		if p.rule != nil && old.same(p.rule, p.from.port) || p.rule == nil && slices.Equal(old.roles, p.roles) {
			if old.sensor == "" || p.sensor != "" && (p.weak || !old.weak) {
				return n
			}
			at = i // what was seen here takes the place of what was told, and proof that of weak evidence
		}
	}
	if p.sensor == "" && seen >= maxProof || p.sensor != "" && len(x.proofs)-seen >= maxProof {
		h.surplus++
		return n
	}
	if at < len(x.proofs) {
		x.proofs = slices.Delete(x.proofs, at, at+1)
	}
	if p.sensor == "" { // what was seen here comes first
		x.proofs = slices.Insert(x.proofs, seen, p)
	} else {
		x.proofs = append(x.proofs, p)
	}
	x.roles = nil
	n.role = true
	return n
}

// runs takes in that a host runs a version.
func (h *hosts) runs(version string) {
	if version != rules.Online && match.Newer(version, h.organisation) {
		h.organisation = version
		h.epoch++
	}
}

// among takes in that a host has one of some versions.
func (h *hosts) among(a capture.Addr, versions []string) {
	if h.elsewhere(&a) == &h.internet {
		return
	}
	x := h.add(a, h.known)
	if x == nil || x.version != "" {
		return
	}
	left := versions
	if x.among != nil && !x.amongTold {
		left = slices.DeleteFunc(slices.Clone(x.among), func(v string) bool { return !slices.Contains(versions, v) })
	}
	if len(left) > 0 { // else what it shows contradicts itself
		x.among, x.amongTold, x.roles = left, false, nil
	}
}

// assume returns the version that is assumed of a host of which none is known, and
// why.
func (h *hosts) assume(x *host) (string, record.VersionSource) {
	fits := func(v string) bool { return v != "" && (x.among == nil || slices.Contains(x.among, v)) }
	switch {
	case fits(h.given):
		return h.given, record.ByFlag
	case fits(h.organisation):
		return h.organisation, record.ByOrganisation
	case h.outer != nil && fits(h.outer.organisation):
		return h.outer.organisation, record.ByOrganisation
	case x.among == nil || slices.Contains(x.among, match.DefaultVersion):
		return match.DefaultVersion, record.ByDefault
	}
	return x.among[0], record.ByDefault
}

// rolesFor returns what a proof proves of a host of a version.
func (p *roleProof) rolesFor(version string) []rules.Role {
	if p.rule == nil {
		return p.roles
	}
	return p.rule.RolesFor(version, p.from.port)
}

// roleSet returns a role set with an id of its own.
func (h *hosts) roleSet(known match.Knowledge, sets [][]rules.Role) match.RoleSet {
	r := match.NewRoleSet(h.policy, known, sets)
	h.lastID++
	r.ID = h.lastID
	return r
}

// find returns the roles of an address, and its name or "".
func (h *hosts) find(a *capture.Addr) (*match.RoleSet, string) {
	x := h.at(a)
	switch {
	case x == nil && len(h.networks) == 0 && private4(a): // most hosts: elsewhere would say the same
		return &h.anywhere, ""
	case x == nil:
		return h.elsewhere(a), ""
	case x.roles != nil && (x.version != "" || x.epoch == h.assumes(x)):
		return x.roles, x.name
	case x.site == nil && len(x.proofs) == 0 && x.version == "":
		return h.elsewhere(a), x.name
	}
	x.roles = h.rolesOf(x, a)
	return x.roles, x.name
}

// versionOf returns the version that a host has, or is assumed to have.
func (h *hosts) versionOf(x *host) string {
	if x.version != "" {
		return x.version
	}
	version, _ := h.assume(x)
	return version
}

// rolesOf works out the roles of a host of which more is known than its name.
func (h *hosts) rolesOf(x *host, a *capture.Addr) *match.RoleSet {
	if x.site != nil {
		var sets [][]rules.Role
		for i := range x.site.Roles {
			sets = append(sets, x.site.Roles[i:i+1])
		}
		known := match.Certain
		if len(x.site.OneOf) > 0 {
			sets, known = append(sets, x.site.OneOf), match.Proven
		} else if x.site.Partial {
			known = match.Proven
		}
		r := match.NewRoleSet(h.policy, known, sets)
		r.Static = x.site.StaticPorts
		r.Exchange = r.Exchange || slices.Contains(x.site.Roles, rules.LB) || slices.ContainsFunc(sets, h.publishes)
		h.setVersion(&r, x)
		return h.share(r)
	}
	where := h.elsewhere(a)
	if where.Known == match.Certain {
		return where // the site file names the role of the network
	}
	sets, of := h.weighed(x, where.Known)
	known := match.Proven
	if len(of) == 0 || of[0].weak {
		known = where.Known
	}
	sets = h.explained(sets)
	r := match.NewRoleSet(h.policy, known, sets)
	r.Exchange = r.Exchange || slices.ContainsFunc(sets, h.publishes)
	r.Front = !r.Exchange && r.Has(rules.LB)
	h.setVersion(&r, x)
	if r.Front && x.behind != nil {
		// A load balancer is judged by the version of what is behind it.
		set, _ := h.find(x.behind)
		r.Version, r.Source = set.Version, set.Source
	}
	return h.share(r)
}

// weighed returns what is proven of a host, and the proofs of it. Weak evidence
// counts only where nothing else is known.
func (h *hosts) weighed(x *host, where match.Knowledge) (sets [][]rules.Role, of []*roleProof) {
	version := h.versionOf(x)
	strong := false
	for i := range x.proofs {
		p := &x.proofs[i]
		roles := p.rolesFor(version)
		switch {
		case len(roles) == 0 || (x.vetoed || x.vetoTold && p.weak) && slices.ContainsFunc(roles, h.exchange) || p.weak && strong:
			continue
		case p.weak && len(roles) == 1 && roles[0] == rules.Client && where == match.Unknown:
			continue // any host may be a client, and servers call the same services
		case !p.weak && !strong:
			strong, sets, of = true, nil, nil
		}
		sets, of = append(sets, roles), append(of, p)
	}
	return h.narrowed(sets), of
}

// publishes reports whether a set of roles is that of an Exchange server or of a
// load balancer in front of one: what goes to either is Exchange's.
func (h *hosts) publishes(set []rules.Role) bool {
	return slices.ContainsFunc(set, h.exchange) &&
		!slices.ContainsFunc(set, func(r rules.Role) bool { return r != rules.LB && !h.exchange(r) })
}

// setVersion sets the version of a host's role set, if it is an Exchange server.
func (h *hosts) setVersion(r *match.RoleSet, x *host) {
	x.epoch = h.assumes(x)
	switch {
	case x.bySite:
		r.Version, r.Source = x.version, record.BySite
	case x.version != "":
		r.Version, r.Source = x.version, record.ByTraffic
	case r.Exchange:
		r.Version, r.Source = h.assume(x)
		r.Among = x.among
	}
}

func (h *hosts) exchange(role rules.Role) bool {
	return role == rules.AnyExchange || h.policy.Exchange(role)
}

// share returns the role set that says the same as r.
func (h *hosts) share(r match.RoleSet) *match.RoleSet {
	h.key = appendKey(h.key[:0], &r)
	if known := h.sets[string(h.key)]; known != nil {
		return known
	}
	if len(h.sets) >= maxSets {
		clear(h.sets) // hosts keep those that they have
	}
	h.lastID++
	set := new(match.RoleSet) // and not r, which would be moved to the heap in any case
	*set = r
	set.ID = h.lastID
	h.sets[string(h.key)] = set
	return set
}

// appendKey appends what a role set says, apart from its ID. No part of it holds a
// zero byte.
func appendKey(b []byte, r *match.RoleSet) []byte {
	b = append(b, byte(r.Known))
	for _, is := range [...]bool{r.Exchange, r.Front} {
		b = strconv.AppendBool(b, is)
	}
	b = append(append(b, r.Version...), 0)
	b = append(append(b, r.Source...), 0)
	for _, list := range [...][]string{r.Names, r.Among} {
		for _, s := range list {
			b = append(append(b, s...), 0)
		}
		b = append(b, 0)
	}
	if len(r.Static) == 0 { // as nearly always
		return b
	}
	for _, service := range slices.Sorted(maps.Keys(r.Static)) {
		b = append(append(b, service...), 0)
		b = binary.BigEndian.AppendUint16(b, r.Static[service])
	}
	return b
}

// explained leaves out what something else explains: a host proven to be
// mailbox|cas may be the cas of cas|gc, and is more than any-exchange.
func (h *hosts) explained(sets [][]rules.Role) [][]rules.Role {
	exchange := func(set []rules.Role) bool {
		return !slices.ContainsFunc(set, func(r rules.Role) bool { return !h.exchange(r) })
	}
	return slices.DeleteFunc(slices.Clone(sets), func(set []rules.Role) bool {
		return slices.ContainsFunc(sets, func(other []rules.Role) bool {
			if slices.Contains(set, rules.AnyExchange) {
				return !slices.Contains(other, rules.AnyExchange) && exchange(other)
			}
			return !exchange(set) && exchange(other) && slices.ContainsFunc(set, func(r rules.Role) bool { return slices.Contains(other, r) })
		})
	})
}

// narrowed leaves out of alternatives the roles that a server does not have beside
// another role that is proven: a host proven to be a hub is not the edge of
// hub|edge, as Edge Transport has a server of its own.
func (h *hosts) narrowed(sets [][]rules.Role) [][]rules.Role {
	alone := func(r rules.Role) bool { return slices.Contains(h.policy.Alone, r) }
	for _, set := range sets {
		if slices.Contains(set, rules.AnyExchange) || slices.ContainsFunc(set, func(r rules.Role) bool { return !h.exchange(r) || alone(r) != alone(set[0]) }) {
			continue // it does not tell on which side the host is
		}
		out := slices.Clone(sets)
		for i, other := range sets {
			left := slices.DeleteFunc(slices.Clone(other), func(r rules.Role) bool { return h.policy.Exchange(r) && alone(r) != alone(set[0]) })
			if len(left) > 0 {
				out[i] = left
			}
		}
		return out
	}
	return sets
}

// elsewhere returns what an address alone says: the role of its network,
// internet, or nothing.
func (h *hosts) elsewhere(a *capture.Addr) *match.RoleSet {
	if len(h.networks) > 0 {
		ip := a.Netip()
		for i := range h.networks {
			if h.networks[i].Prefix.Contains(ip) {
				return &h.networkRoles[i]
			}
		}
	}
	if local(a) {
		return &h.anywhere
	}
	return &h.internet
}

// private4 reports whether an address belongs to one of the private networks of
// IPv4 that most hosts belong to: 10.0.0.0/8 and 192.168.0.0/16.
func private4(a *capture.Addr) bool {
	hi, lo := binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])
	return hi == 0 && (lo<<24 == 10<<56|0xffff<<40 || lo<<16 == 168<<56|192<<48|0xffff<<32)
}

// local reports whether an address belongs to no public network: private
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

// assumes returns a count that changes whenever the version may that is assumed of a
// host. A load balancer is judged by the version of what is behind it.
func (h *hosts) assumes(x *host) uint32 {
	n := h.epoch
	if h.outer != nil {
		n += h.outer.epoch
	}
	if x.behind != nil {
		n += h.versions
	}
	return n
}

// proofsOf returns the roles of a host that traffic proves, and weak evidence that
// does not count beside them. Of several proofs of a role, one that needs no other to
// tell it comes first.
func (h *hosts) proofsOf(x *host, a *capture.Addr) (list, hints []record.RoleProof) {
	set, _ := h.find(a)
	sets, of := h.weighed(x, h.elsewhere(a).Known)
	for _, name := range set.Names {
		best := -1
		for i := range of {
			if match.Join(sets[i]) != name {
				continue
			}
			if alone := match.Join(of[i].rolesFor(h.versionOf(x))) == name; best < 0 || alone {
				best = i
				if alone {
					break
				}
			}
		}
		if best >= 0 {
			list = append(list, record.RoleProof{Role: name, Evidence: of[best].evidence, Weak: of[best].weak})
		}
	}
	for i := range x.proofs {
		p := &x.proofs[i]
		if roles := p.rolesFor(h.versionOf(x)); p.weak && len(roles) > 0 && !slices.Contains(of, p) {
			hints = append(hints, record.RoleProof{Role: match.Join(roles), Evidence: p.evidence, Weak: true})
		}
	}
	return list, hints
}
