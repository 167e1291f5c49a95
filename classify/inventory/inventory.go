// Package inventory keeps what is known of the network: learned endpoints,
// hosts with their roles, versions and names, and the directions in which pairs
// of hosts were seen to talk.
package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// Proof grades how well something is known, weakest first.
type Proof = knowledge.Proof

// The grades; knowledge describes them.
const (
	Unproven     = knowledge.Unproven
	WeakEvidence = knowledge.WeakEvidence
	Tunnelled    = knowledge.Tunnelled
	Remote       = knowledge.Remote
	OneSided     = knowledge.OneSided
	TwoSided     = knowledge.TwoSided
	SiteFile     = knowledge.SiteFile
)

// Change is one thing that was learned, or that ended.
type Change struct {
	// Kind tells what changed. Ended reports whether it no longer holds.
	Kind  Kind
	Ended bool
	Proof Proof
	// Evidence is what proves it, in words.
	Evidence string
	// Announcer sent the packet that told it.
	Announcer netip.AddrPort
	// Time is the packet time in nanoseconds since the Unix epoch.
	Time int64
	// Host is the host that it is about; its port is that of the endpoint, or 0.
	Host netip.AddrPort
	// UDP reports whether the endpoint is one of UDP.
	UDP bool
	// Value is the service, the roles joined by "|", the version or the name.
	Value string
}

// Kind is what a Change is about.
type Kind = knowledge.Kind

// The kinds.
const (
	EndpointChange = knowledge.Endpoint
	RoleChange     = knowledge.Role
	VersionChange  = knowledge.Version
	NameChange     = knowledge.Name
)

// Inventory is what is known of the network. It is used by one goroutine.
type Inventory struct {
	// Pairs remembers in which directions pairs of hosts talked.
	Pairs Pairs

	endpoints *endpoints
	hosts     *hosts
	inside    map[capture.TunnelID]*hosts // those known from what tunnels carry
	site      *rules.Site
	evidence  *evidence
	packs     *rules.Packs
	named     map[string]string // the names that packs has for services
	given     string
	relays    []netip.Prefix // that announce for others
	maxHosts  int
	changes   []Change
	awaited   int // the proofs that hosts.awaiting holds, of all hosts
	told      told
}

// New returns an inventory that knows what the site file tells; site may be nil.
// Protocols are the names of the protocols that session.Heard.Protocol counts.
// Version is the Exchange version of servers of which nothing tells it, as the
// operator gave it, or empty.
func New(packs *rules.Packs, site *rules.Site, protocols []string, version string) *Inventory {
	v := &Inventory{Pairs: newPairs(), endpoints: newEndpoints(packs.Policy()), given: version, maxHosts: MaxHosts}
	v.told.limit(v.endpoints.most, v.maxHosts)
	v.endpoints.tellers = &v.told
	v.setRules(packs, site, protocols)
	return v
}

func (v *Inventory) setRules(packs *rules.Packs, site *rules.Site, protocols []string) {
	v.packs, v.site, v.hosts, v.inside = packs, site, newHosts(packs.Policy(), site, v.given), nil
	v.named = map[string]string{}
	v.hosts.max = v.maxHosts
	v.evidence = compileEvidence(packs, protocols)
	v.awaited = 0
	v.relays, v.told.trusted = nil, nil
	if site != nil {
		v.relays, v.told.trusted = site.Relays, site.Sensors
	}
	v.endpoints.learnSite(site)
}

// Limit bounds what is remembered: a number of learned endpoints, of hosts whose
// roles are known and as many of which only the name is, and of pairs. It is at most
// what the package allows in any case.
func (v *Inventory) Limit(endpoints, hosts, pairs int) {
	v.endpoints.most = min(endpoints, MaxEndpoints)
	v.endpoints.mostPerServer = min(max(v.endpoints.most/4, share), MaxServerEndpoints)
	v.maxHosts = min(hosts, MaxHosts)
	v.hosts.max, v.Pairs.max = v.maxHosts, pairs
	v.told.limit(v.endpoints.most, v.maxHosts)
}

// Reload replaces the rules and the site file at a packet time. What was learned
// stays, as far as the new rules draw the same from it: roles are weighed again.
func (v *Inventory) Reload(packs *rules.Packs, site *rules.Site, now int64) {
	old, inside, protocols := v.hosts, v.inside, v.evidence.protocols
	v.endpoints.endSite(now)
	v.endpoints.setPolicy(packs.Policy())
	v.setRules(packs, site, protocols)
	v.dropUntrusted()
	v.weighAgain(old, v.hosts)
	for tunnel, old := range inside {
		v.weighAgain(old, v.hostsIn(tunnel))
	}
	for _, en := range v.endpoints.all {
		if !en.gone {
			v.weighEndpoint(en, 0)
		}
	}
	v.tellAgain(old)
	v.changes = v.changes[:0]
}

// Hear takes in what the content of a flow told, and returns what is new. The
// result is valid until the next call.
func (v *Inventory) Hear(h *session.Heard) []Change {
	v.changes = v.changes[:0]
	if len(h.Endpoints)+len(h.Rejected)+len(h.Names) > 0 {
		v.hearOthers(h)
	}
	if h.Changed && h.Facts.Len() > 0 {
		v.weigh(h)
	}
	return v.changes
}

// hearOthers takes in what a flow told of endpoints and names.
func (v *Inventory) hearOthers(h *session.Heard) {
	for i := range h.Endpoints {
		ep := &h.Endpoints[i]
		if ep.End {
			for _, en := range v.endpoints.endDialog(ep.Scope, h.Client.Addr, h.Server.Addr, h.Time) {
				v.ended(en, h)
			}
			continue
		}
		if en, isNew := v.endpoints.learn(ep, v.hearing(ep, h)); isNew {
			v.changed(Change{Kind: EndpointChange, Proof: en.proof(), Evidence: string(en.source), Announcer: en.from,
				Host: en.key.server.AddrPort(), UDP: en.key.proto == capture.UDP, Value: en.service}, h)
			v.weighEndpoint(en, h.Time)
		}
	}
	for _, service := range h.Rejected {
		for _, en := range v.endpoints.reject(endpointKey{h.Server, h.Proto}, v.serviceName(service), h.Tunnel, h.Time) {
			v.ended(en, h)
		}
	}
	if len(h.Names) == 0 {
		return
	}
	hosts := v.hostsIn(h.Within)
	if hosts == nil {
		return
	}
	if h.ServerSpoke {
		v.weighBare(hosts, h)
	}
	for i := range h.Names {
		n := &h.Names[i]
		if n.Service != "" && h.ServerSpoke {
			v.weighName(hosts, n, h)
		}
		if name, isNew := hosts.name(n.Addr, n.Name); isNew {
			v.changed(Change{Kind: NameChange, Proof: sides(h), Evidence: "a name server's answer", Announcer: h.Server.AddrPort(),
				Host: netip.AddrPortFrom(n.Addr, 0), Value: name}, h)
		}
	}
}

// hearing tells how a flow announced an endpoint. Who announces must own: the
// address is that of the sender, or the site file names the sender as a relay.
func (v *Inventory) hearing(ep *observe.Endpoint, h *session.Heard) hearing {
	x := hearing{service: v.serviceName(ep.Service), by: capture.AddrFrom(ep.From.Addr()), to: h.Client.Addr, tunnel: h.Tunnel,
		datagram: h.Proto == capture.UDP, time: h.Time}
	if x.by == x.to {
		x.to = h.Server.Addr
	}
	switch ep.Source {
	case observe.FromSDP, observe.FromRedirect:
		from := ep.From.Addr().Unmap()
		x.strange = ep.Server.Addr().Unmap() != from && !slices.ContainsFunc(v.relays, func(p netip.Prefix) bool { return p.Contains(from) })
		if x.strange {
			v.endpoints.limits.strange++
		}
	case observe.FromMap, observe.FromLookup, observe.FromBind:
		x.by = h.Client.Addr // who asked
	}
	return x
}

// sides returns the proof that a flow gives.
func sides(h *session.Heard) Proof {
	if h.ServerSpoke {
		return TwoSided
	}
	return OneSided
}

func (v *Inventory) changed(c Change, h *session.Heard) {
	c.Time = h.Time
	v.changes = append(v.changes, c)
}

func (v *Inventory) ended(en *Endpoint, h *session.Heard) {
	v.changed(Change{Kind: EndpointChange, Ended: true, Proof: en.proof(), Evidence: string(en.source), Announcer: h.Server.AddrPort(),
		Host: en.key.server.AddrPort(), UDP: en.key.proto == capture.UDP, Value: en.service}, h)
}

// Refused takes in that a server refused a connection, as a packet in a tunnel
// showed. It returns what ended, valid until the next call.
func (v *Inventory) Refused(server capture.Endpoint, tunnel capture.TunnelID, now int64) []Change {
	v.changes = v.changes[:0]
	for _, en := range v.endpoints.close(endpointKey{server, capture.TCP}, tunnel, now) {
		v.changes = append(v.changes, Change{Kind: EndpointChange, Ended: true, Proof: en.proof(), Evidence: "connection refused", Time: now,
			Announcer: server.AddrPort(), Host: server.AddrPort(), Value: en.service})
	}
	return v.changes
}

// maxNamed bounds the services of which the names are remembered.
const maxNamed = 4096

// serviceName returns the short name of an RPC service written "UUID vX.Y", and
// any other service as it is.
func (v *Inventory) serviceName(service string) string {
	name, known := v.named[service]
	if known {
		return name
	}
	uuid, version, ok := strings.Cut(service, " v")
	if !ok || len(uuid) != 36 {
		return service
	}
	if name, ok = v.packs.InterfaceName(uuid, version); !ok {
		name = service
	}
	if len(v.named) >= maxNamed {
		clear(v.named)
	}
	v.named[service] = name
	return name
}

// Announced returns the service that a learned endpoint promises for a flow at a
// packet time, or "". Media come from either end.
func (v *Inventory) Announced(client, server *capture.Endpoint, proto uint8, now int64) string {
	t := v.endpoints
	if proto != capture.UDP {
		if !t.ever(server.Port) {
			return ""
		}
		return t.announced(server, proto, now)
	}
	if t.media == 0 {
		return ""
	}
	return cmp.Or(t.announced(server, proto, now), t.announced(client, proto, now))
}

// Known reports whether something is known to be served at an endpoint at a
// packet time.
func (v *Inventory) Known(e *capture.Endpoint, proto uint8, now int64) bool {
	for _, en := range v.endpoints.at(e, proto) {
		if !en.strange && !en.overAt(now) {
			return true
		}
	}
	return false
}

// MediaAnnounced counts the announcements of UDP endpoints. What Announced
// returns for a UDP flow does not change while the count stays the same, but for
// endpoints that end.
func (v *Inventory) MediaAnnounced() uint32 { return v.endpoints.media }
