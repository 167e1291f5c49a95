package inventory

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// evidenceRule is one match of a RoleEvidence.
type evidenceRule struct {
	*rules.RoleEvidence
	port    rules.Port
	content match.Content
	joined  string // the roles, as changes show them
	shown   shown
	// required has the bits of the facts without which content never matches.
	required uint64
}

// shown is what a rule was last shown by, in words: the hosts of a network show the same
// on the same port.
type shown struct {
	list     uint64 // the id of a list of facts
	protocol uint8
	port     uint16
	words    string
}

// evidence is what proves roles, and what is known of lists of facts by it.
type evidence struct {
	protocols []string
	any       map[string][]evidenceRule // by protocol, "" for any
	names     map[string]uint64         // the facts that some rule asks for, each with a bit that it may share
	// byProtocol holds the rules for each protocol as session.Heard counts them: its
	// own, then those for any.
	byProtocol [][]evidenceRule
	// bare holds the rules for each protocol that ask for no facts of a server.
	bare [][]*evidenceRule
	// weighed holds what lists of facts prove, by the id of the list; a list takes
	// the place of another.
	weighed [1 << 11]weighing
	// named holds the rules on hosts that name servers name for a service.
	named []evidenceRule
	// announced holds what services prove of the host that serves them, by the name
	// of the service.
	announced map[string][]*evidenceRule
	// byID holds the rules by their ids; nil until another sensor names one.
	byID map[string]*rules.RoleEvidence
}

// weighing is what a list of facts proves.
type weighing struct {
	list     uint64
	protocol uint8           // the one they were read by, as in session.Heard
	last     int32           // the number of facts up to the last that some rule asks for
	services bool            // some are RPC services, which are to be named
	rules    []*evidenceRule // those that the facts fit
}

// source is what a proof was drawn from, so that other rules can draw from it
// again: the facts of a flow, or an announced service. Its zero value is that of
// a proof of another run.
type source struct {
	service  string
	weak     bool // the announcement was seen from one side
	facts    *observe.List
	protocol uint8
	proto    uint8
	port     uint16
	client   bool // the client's end was proven
	// peer is the other end of the flow.
	peer capture.Addr
}

func compileEvidence(packs *rules.Packs, protocols []string) *evidence {
	e := &evidence{protocols: protocols, any: map[string][]evidenceRule{}, names: map[string]uint64{}, announced: map[string][]*evidenceRule{}}
	for _, pack := range packs.All() {
		var list []*rules.RoleEvidence
		for i := range pack.Evidence {
			list = append(list, &pack.Evidence[i])
		}
		for i := range pack.NoEvidence {
			if pack.NoEvidence[i].Vetoes {
				list = append(list, &pack.NoEvidence[i])
			}
		}
		for _, ev := range list {
			for j := range ev.Any {
				m := &ev.Any[j]
				r := evidenceRule{RoleEvidence: ev, port: m.Port, content: match.Compile(m), joined: match.Join(ev.Roles)}
				if ev.End == "named" {
					e.named = append(e.named, r)
					continue
				}
				for _, name := range r.content.Names() {
					if e.names[name] == 0 {
						e.names[name] = 1 << (len(e.names) % 64)
					}
				}
				for _, name := range r.content.Required() {
					r.required |= e.names[name]
				}
				e.any[m.Protocol] = append(e.any[m.Protocol], r)
			}
		}
	}
	e.byProtocol, e.bare = [][]evidenceRule{nil}, [][]*evidenceRule{nil}
	for _, name := range protocols {
		e.byProtocol = append(e.byProtocol, slices.Concat(e.any[name], e.any[""]))
		var bare []*evidenceRule
		for i := range e.any[name] {
			if r := &e.any[name][i]; r.End == "server" && r.content.Empty() {
				bare = append(bare, r)
			}
		}
		e.bare = append(e.bare, bare)
	}
	return e
}

// weigh returns what a list of facts that were read by a protocol proves. The
// result is valid until the next call.
func (e *evidence) weigh(list *observe.List, protocol uint8) *weighing {
	id := list.ID()
	w := &e.weighed[id%uint64(len(e.weighed))]
	if id != 0 && w.list == id && w.protocol == protocol { // 0 is that of any list that flows do not share
		return w
	}
	*w = weighing{list: id, protocol: protocol, rules: w.rules[:0]}
	have := uint64(0)
	for i, f := range list.All() {
		if bit := e.names[f.Name]; bit != 0 {
			w.last = int32(i + 1)
			have |= bit
		}
		w.services = w.services || f.Name == observe.RPCUUID
	}
	for i := range e.byProtocol[protocol] {
		if r := &e.byProtocol[protocol][i]; r.required&^have == 0 && r.content.Match(list.All()).Complete {
			w.rules = append(w.rules, r)
		}
	}
	return w
}

// concerned reports whether the facts that a flow has reported since they were weighed
// last may prove anything. Lists that many flows share are known, and so are looked up
// faster than their facts are.
func (e *evidence) concerned(h *session.Heard) bool {
	list := h.Facts.List()
	if id := list.ID(); id != 0 && e.weighed[id%uint64(len(e.weighed))].list == id {
		return true
	}
	all := list.All()
	for i := min(h.Weighed, len(all)); i < len(all); i++ {
		if all[i].Name == observe.RPCUUID || e.names[all[i].Name] != 0 {
			return true
		}
	}
	return false
}

// weigh takes in the facts of a flow: it names the RPC services among them, and
// holds them against what proves roles.
func (v *Inventory) weigh(h *session.Heard) {
	if !v.evidence.concerned(h) {
		return
	}
	w := v.evidence.weigh(h.Facts.List(), h.Protocol)
	if w.services {
		v.nameServices(h.Facts)
		w = v.evidence.weigh(h.Facts.List(), h.Protocol)
	}
	hosts := v.hostsIn(h.Within)
	if int(w.last) <= h.Weighed || hosts == nil {
		return
	}
	for _, r := range w.rules {
		if !match.Port(r.port, h.Server.Port, h.Proto) {
			continue
		}
		for _, client := range [...]bool{true, false} {
			addr := &h.Server.Addr
			switch {
			case client && r.End == "server", !client && r.End == "client":
				continue
			case client:
				addr = &h.Client.Addr
			case !h.ServerSpoke:
				continue // a server that never answered proves nothing
			}
			if hosts.proven(addr, r, h.Server.Port) {
				continue
			}
			w := awaiting{*addr, r, v.evidence.words(r, h),
				source{facts: h.Facts.List(), protocol: h.Protocol, proto: h.Proto, port: h.Server.Port, client: client},
				Change{Proof: sides(h), Announcer: h.Server.AddrPort(), Time: h.Time}}
			if w.from.peer = h.Client.Addr; client {
				w.from.peer = h.Server.Addr
			}
			v.await(hosts, &w)
		}
	}
}

// words tells, in words, by what the facts of a flow show what a rule asks for.
func (e *evidence) words(r *evidenceRule, h *session.Heard) string {
	s, list := &r.shown, h.Facts.List().ID()
	if s.words != "" && list != 0 && s.list == list && s.protocol == h.Protocol && s.port == h.Server.Port {
		return s.words
	}
	what := e.protocols[h.Protocol-1]
	if f, ok := r.content.First(h.Facts.All()); ok {
		what = f.Name + "=" + f.Value
	}
	*s = shown{list, h.Protocol, h.Server.Port, what + " on port " + strconv.Itoa(int(h.Server.Port))}
	return s.words
}

// weighName holds the service for which a server named a host against what proves
// roles. A name server speaks for others: what it must be itself is the rule's Peer.
func (v *Inventory) weighName(hosts *hosts, n *observe.HostName, h *session.Heard) {
	addr, fact := capture.AddrFrom(n.Addr), []observe.Fact{{Name: observe.DNSService, Value: n.Service}}
	for i := range v.evidence.named {
		r := &v.evidence.named[i]
		if !r.content.Match(fact).Complete || hosts.proven(&addr, r, 0) {
			continue
		}
		v.await(hosts, &awaiting{addr, r, fmt.Sprintf("named for %s by %s", n.Service, h.Server.AddrPort()), source{peer: h.Server.Addr},
			Change{Proof: sides(h), Announcer: h.Server.AddrPort(), Time: h.Time}})
	}
}

// weighBare proves of a server that names hosts what its protocol alone proves: most
// such answers report no facts.
func (v *Inventory) weighBare(hosts *hosts, h *session.Heard) {
	for _, r := range v.evidence.bare[h.Protocol] {
		if !hosts.proven(&h.Server.Addr, r, h.Server.Port) {
			v.await(hosts, &awaiting{h.Server.Addr, r, v.evidence.protocols[h.Protocol-1] + " on port " + strconv.Itoa(int(h.Server.Port)),
				source{protocol: h.Protocol, proto: h.Proto, port: h.Server.Port, peer: h.Client.Addr},
				Change{Proof: sides(h), Announcer: h.Server.AddrPort(), Time: h.Time}})
		}
	}
}

// prove adds what a rule proves of one of hosts. c has what is to be told of it.
func (v *Inventory) prove(hosts *hosts, a capture.Addr, r *evidenceRule, evidence string, from source, c Change) {
	version := r.Version
	build := ""
	if r.BuildFact != "" && from.facts != nil {
		for _, f := range from.facts.All() {
			if f.Name == r.BuildFact {
				id := v.packs.Identify(f.Value)
				version, build = cmp.Or(id.Version, version), id.String()
			}
		}
	}
	if len(r.Versions) > 0 && version == "" && !r.Weak && !from.weak {
		hosts.among(a, r.Versions)
	}
	n := hosts.prove(a, roleProof{rule: r.RoleEvidence, roles: r.Roles, evidence: evidence, weak: r.Weak || from.weak, from: from}, version, build)
	c.Host, c.Evidence = netip.AddrPortFrom(a.Netip(), 0), evidence
	switch {
	case r.Weak || from.weak:
		c.Proof = WeakEvidence
	case hosts.outer != nil:
		c.Proof = Tunnelled
	}
	if n.role && len(r.Roles) > 0 {
		c.Kind, c.Value = RoleChange, r.joined
		v.changes = append(v.changes, c)
	}
	if n.version {
		c.Kind, c.Value = VersionChange, version
		v.changes = append(v.changes, c)
	}
	if v.awaited > 0 && (n.role || n.version) {
		v.proved(hosts, a)
	}
}

// weighEndpoint holds a learned endpoint against what proves roles: an endpoint
// mapper that announces a service speaks for its host.
func (v *Inventory) weighEndpoint(en *Endpoint, now int64) {
	if en.datagram || en.told != nil || en.source == observe.FromSite || v.endpoints.protocolOf(en) != rpc {
		return
	}
	hosts := v.hostsIn(en.tunnel)
	if hosts == nil {
		return
	}
	for _, r := range v.evidence.rulesFor(en.service) {
		if !hosts.proven(&en.key.server.Addr, r, 0) {
			v.prove(hosts, en.key.server.Addr, r, fmt.Sprintf("%s announced at port %d by %s", en.service, en.key.server.Port, en.from),
				source{service: en.service, weak: en.weak}, Change{Proof: en.proof(), Announcer: en.from, Time: now})
		}
	}
}

const rpc = "dcerpc" // the protocol of services that endpoint mappers announce

// maxAnnounced bounds the services of which it is remembered what they prove.
const maxAnnounced = 4096

// rulesFor returns the rules by which an announced service proves something of its
// host.
func (e *evidence) rulesFor(service string) []*evidenceRule {
	list, known := e.announced[service]
	if known {
		return list
	}
	for _, key := range [...]string{rpc, ""} {
		for i := range e.any[key] {
			if r := &e.any[key][i]; r.End == "server" && r.content.NamesInterface(service) {
				list = append(list, r)
			}
		}
	}
	if len(e.announced) >= maxAnnounced {
		clear(e.announced)
	}
	e.announced[service] = list
	return list
}

// nameServices adds the short names of the RPC services among facts.
func (v *Inventory) nameServices(facts *observe.Facts) {
	for _, f := range facts.All() {
		if f.Name == observe.RPCUUID {
			facts.Add(observe.RPCInterface, v.serviceName(f.Value))
		}
	}
}

// reweigh draws from what was learned under other rules what these rules see in
// it, for the hosts of the wire or of a tunnel. A proof of another run stays if these
// rules could give it.
func (v *Inventory) reweigh(old, hosts *hosts) {
	for a, x := range old.byAddr {
		if x.site != nil {
			continue
		}
		if x.name != "" && x.nameTold == "" {
			hosts.name(x.addr, x.name)
		}
		for _, p := range x.proofs {
			switch {
			case p.sensor != "":
			case p.from.facts != nil:
				v.drawAgain(hosts, a, p.evidence, p.from)
			case p.from.service != "":
				for _, r := range v.evidence.rulesFor(p.from.service) {
					v.prove(hosts, a, r, p.evidence, p.from, Change{})
				}
			default:
				v.keep(hosts, a, x, p)
			}
		}
	}
}

// drawAgain draws from the facts of a flow what these rules see in them.
func (v *Inventory) drawAgain(hosts *hosts, a capture.Addr, evidence string, from source) {
	for _, r := range slices.Clone(v.evidence.weigh(from.facts, from.protocol).rules) {
		if match.Port(r.port, from.port, from.proto) && (r.End == "both" || (r.End == "client") == from.client) {
			v.await(hosts, &awaiting{a, r, evidence, from, Change{}})
		}
	}
}

// keep keeps a proof whose source is not known.
func (v *Inventory) keep(hosts *hosts, a capture.Addr, x *host, p roleProof) {
	for _, list := range v.evidence.any {
		for i := range list {
			if r := &list[i]; slices.Equal(r.Roles, p.roles) && r.Weak == p.weak {
				version, build := x.version, x.build
				if x.versionTold != "" {
					version, build = "", ""
				}
				hosts.prove(a, p, version, build)
				return
			}
		}
	}
}
