package inventory

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// MaxServerEndpoints bounds the endpoints of one server address.
const MaxServerEndpoints = 16_384

// Limits of the learned endpoints.
const (
	maxEndpoints   = 200_000 // entries in all, ended ones included
	maxPerEndpoint = 64      // entries of one address, protocol and port
)

// Entries that are over are kept to explain flows that wait, until room is
// needed: then those over for longer than pruneAge go, looked for at most once in
// pruneInterval, both in packet time.
const (
	pruneAge      = int64(10 * time.Minute)
	pruneInterval = int64(10 * time.Second)
)

// endpointIdle is how long an entry lives after its last use.
const endpointIdle = int64(24 * time.Hour)

// endpointKey is what entries are keyed by: never the port alone, never the
// client that asked.
type endpointKey struct {
	server capture.Endpoint
	proto  uint8
}

// Endpoint is one service that was announced for one address, protocol and port.
type Endpoint struct {
	key        endpointKey
	service    string // short name, or "UUID vX.Y"
	annotation string
	source     observe.Source
	from       netip.AddrPort
	announced  netip.Addr
	scope      string
	weak       bool
	datagram   bool  // taught by a UDP flow
	learned    int64 // packet time
	used       int64 // packet time of the last use
	idle       int64
	ended      int64 // packet time of its end, or 0
	gone       bool  // no look-up finds it any more
	flows      uint64
	list       *match.Announced // of this service alone; nil until asked for
}

// overAt reports whether the entry no longer held at a packet time.
func (en *Endpoint) overAt(t int64) bool {
	return en.ended != 0 && t > en.ended || en.source != observe.FromSite && t > en.used+en.idle
}

// rank orders sources by how much they prove.
func (en *Endpoint) rank() int {
	r := 0
	switch en.source {
	case observe.FromSite:
		r = 6
	case observe.FromMap:
		r = 5
	case observe.FromLookup:
		r = 4
	case observe.FromBind:
		r = 3
	case observe.FromSDP, observe.FromRedirect, observe.FromPush:
		r = 2
	}
	if en.datagram {
		r = 2
	}
	if en.weak {
		r = 1
	}
	return r
}

// proof returns how well the entry is known.
func (en *Endpoint) proof() Proof {
	switch {
	case en.source == observe.FromSite:
		return SiteFile
	case en.weak:
		return OneSided
	}
	return TwoSided
}

// endpoints is the table of learned endpoints.
type endpoints struct {
	policy  *rules.Policy
	byKey   map[endpointKey][]*Endpoint
	ports   [1 << 16 / 64]uint64 // ports that were ever in byKey, a bit each
	perHost map[capture.Addr]int
	scopes  map[string][]*Endpoint
	all     []*Endpoint // in order of learning
	refused uint64      // by a cap
	media   uint32      // how often a UDP endpoint was learned
	pruned  int64       // packet time of the last prune
	ended   []*Endpoint // what the last call ended

	// alone and together hold the lists of services that flows are judged by, by
	// one service and by the ids of several lists of one.
	alone    map[match.Service]*match.Announced
	together map[string]*match.Announced
	ids      []byte // a key of together
	lastID   uint64
}

func newEndpoints(policy *rules.Policy) *endpoints {
	return &endpoints{
		policy:   policy,
		alone:    map[match.Service]*match.Announced{},
		together: map[string]*match.Announced{},
		byKey:    map[endpointKey][]*Endpoint{},
		perHost:  map[capture.Addr]int{},
		scopes:   map[string][]*Endpoint{},
	}
}

// at returns the entries of an endpoint. Most flows are to ports that no entry
// ever had: that takes no look-up.
func (t *endpoints) at(e *capture.Endpoint, proto uint8) []*Endpoint {
	if !t.ever(e.Port) {
		return nil
	}
	return t.byKey[endpointKey{*e, proto}]
}

// ever says whether an entry ever had a port.
func (t *endpoints) ever(port uint16) bool { return t.ports[port/64]&(1<<(port%64)) != 0 }

// learn adds what a flow announced. It returns the entry and whether it is
// new, nil where a limit refused it.
func (t *endpoints) learn(e *observe.Endpoint, service string, datagram bool, now int64) (*Endpoint, bool) {
	proto := uint8(capture.TCP)
	if e.UDP {
		proto = capture.UDP
	}
	key := endpointKey{capture.EndpointFrom(e.Server), proto}
	idle := e.Idle
	if idle == 0 {
		idle = endpointIdle
	}
	candidate := Endpoint{key: key, service: service, annotation: e.Annotation, source: e.Source, from: e.From, announced: e.Announced,
		scope: e.Scope, weak: e.Weak, datagram: datagram, learned: now, used: now, idle: idle}
	list := t.byKey[key]
	for _, en := range list {
		if en.service != service || en.scope != e.Scope || en.overAt(now) {
			continue
		}
		// Known already: another UUID adds, the same one only gains. What proves
		// more takes over, and keeps the time it was first learned.
		en.used = max(en.used, now)
		if en.annotation == "" && e.Annotation != "" {
			en.annotation, en.list = e.Annotation, nil
		}
		if candidate.rank() > en.rank() {
			en.list = nil
			en.source, en.from, en.announced, en.weak, en.datagram = candidate.source, candidate.from, candidate.announced, candidate.weak, candidate.datagram
		}
		return en, false
	}
	full := func() bool {
		return len(t.all) >= maxEndpoints || t.perHost[key.server.Addr] >= MaxServerEndpoints || len(list) >= maxPerEndpoint
	}
	if full() && now-t.pruned >= pruneInterval {
		t.prune(now)
		list = t.byKey[key]
	}
	if full() {
		if len(list) >= maxPerEndpoint && list[0].overAt(now) {
			// History of the same port makes room for what holds now.
			t.forget(list[0])
			list = t.byKey[key]
		} else {
			t.refused++
			return nil, false
		}
	}
	if e.UDP {
		t.media++
	}
	en := new(Endpoint) // what is known already costs none
	*en = candidate
	t.byKey[key] = append(list, en)
	t.ports[key.server.Port/64] |= 1 << (key.server.Port % 64)
	t.perHost[key.server.Addr]++
	t.all = append(t.all, en)
	if en.scope != "" {
		t.scopes[en.scope] = append(t.scopes[en.scope], en)
	}
	return en, true
}

// prune forgets entries that have been over for long.
func (t *endpoints) prune(now int64) {
	t.pruned = now
	var old []*Endpoint
	t.all = slices.DeleteFunc(t.all, func(en *Endpoint) bool {
		if en.gone {
			return true
		}
		if en.gone = en.overAt(now - pruneAge); en.gone {
			old = append(old, en)
		}
		return en.gone
	})
	for _, en := range old {
		t.unlink(en)
	}
}

// forget takes one entry out of every list but that of all, which prune
// tidies.
func (t *endpoints) forget(en *Endpoint) {
	en.gone = true
	t.unlink(en)
}

// unlink takes what is gone out of the lists that an entry is in.
func (t *endpoints) unlink(en *Endpoint) {
	over := func(en *Endpoint) bool { return en.gone }
	if list := slices.DeleteFunc(t.byKey[en.key], over); len(list) > 0 {
		t.byKey[en.key] = list
	} else {
		delete(t.byKey, en.key)
	}
	if t.perHost[en.key.server.Addr]--; t.perHost[en.key.server.Addr] <= 0 {
		delete(t.perHost, en.key.server.Addr)
	}
	if en.scope == "" {
		return
	}
	if list := slices.DeleteFunc(t.scopes[en.scope], over); len(list) > 0 {
		t.scopes[en.scope] = list
	} else {
		delete(t.scopes, en.scope)
	}
}

// endScope ends the entries of a dialog, and returns those that it ended.
func (t *endpoints) endScope(scope string, now int64) []*Endpoint {
	t.ended = t.ended[:0]
	for _, en := range t.scopes[scope] {
		t.end(en, now)
	}
	delete(t.scopes, scope)
	return t.ended
}

func (t *endpoints) end(en *Endpoint, now int64) {
	if en.ended == 0 {
		en.ended = now
		t.ended = append(t.ended, en)
	}
}

// reject ends one service of an endpoint, as its server refused to serve it, and
// returns what it ended.
func (t *endpoints) reject(key endpointKey, service string, now int64) []*Endpoint {
	t.ended = t.ended[:0]
	for _, en := range t.byKey[key] {
		if en.service == service && en.source != observe.FromSite {
			t.end(en, now)
		}
	}
	return t.ended
}

// close ends all services of an endpoint, as its server refused a connection,
// and returns what it ended.
func (t *endpoints) close(key endpointKey, now int64) []*Endpoint {
	t.ended = t.ended[:0]
	for _, en := range t.byKey[key] {
		if en.source != observe.FromSite {
			t.end(en, now)
		}
	}
	return t.ended
}

// learnSite learns the static ports that the site file names.
func (t *endpoints) learnSite(site *rules.Site) {
	if site == nil {
		return
	}
	for _, s := range site.Servers {
		for _, a := range s.Addresses {
			for _, service := range slices.Sorted(maps.Keys(s.StaticPorts)) {
				t.learn(&observe.Endpoint{Server: netip.AddrPortFrom(a, s.StaticPorts[service]), Source: observe.FromSite}, service, false, 0)
			}
		}
	}
}

// endSite ends the entries of the site file.
func (t *endpoints) endSite(now int64) {
	for _, en := range t.all {
		if en.source == observe.FromSite && en.ended == 0 {
			en.ended = now
		}
	}
}

// announced returns a service that holds for an endpoint now, or "".
func (t *endpoints) announced(e *capture.Endpoint, proto uint8, now int64) string {
	for _, en := range t.at(e, proto) {
		if !en.overAt(now) {
			return en.service
		}
	}
	return ""
}

// lookup returns the entries that explain a flow to an endpoint between two
// packet times, those that prove most first: entries that held during the flow;
// where there are none, entries learned after it, because a session may be older
// than the first question about its port. The result is valid until the next
// call.
func (t *endpoints) lookup(key endpointKey, first, last int64, buf []*Endpoint) []*Endpoint {
	buf = buf[:0]
	list := t.byKey[key]
	for _, en := range list {
		if en.learned <= last && !en.overAt(first) {
			buf = append(buf, en)
		}
	}
	if len(buf) == 0 {
		for _, en := range list {
			if en.learned > last {
				buf = append(buf, en)
			}
		}
	}
	slices.SortStableFunc(buf, func(a, b *Endpoint) int {
		if c := cmp.Compare(b.rank(), a.rank()); c != 0 {
			return c
		}
		return cmp.Compare(a.learned, b.learned)
	})
	return buf
}

// maxLists bounds the lists that are shared.
const maxLists = 4096

// listOf returns the services of entries as flows are judged by them, nil for no
// entries.
func (t *endpoints) listOf(entries []*Endpoint) *match.Announced {
	switch len(entries) {
	case 0:
		return nil
	case 1:
		return t.listOfOne(entries[0])
	}
	t.ids = t.ids[:0]
	for _, en := range entries {
		t.ids = binary.BigEndian.AppendUint64(t.ids, t.listOfOne(en).ID)
	}
	if known := t.together[string(t.ids)]; known != nil {
		return known
	}
	a := &match.Announced{ID: t.nextID()}
	for _, en := range entries {
		a.Services = append(a.Services, t.listOfOne(en).Services...)
	}
	if len(t.together) >= maxLists {
		clear(t.together)
	}
	t.together[string(t.ids)] = a
	return a
}

func (t *endpoints) listOfOne(en *Endpoint) *match.Announced {
	if en.list != nil {
		return en.list
	}
	service := match.Service{Name: en.service, Annotation: en.annotation, Source: en.source, Protocol: t.protocolOf(en), Weak: en.weak}
	if en.list = t.alone[service]; en.list != nil {
		return en.list
	}
	en.list = &match.Announced{Services: []match.Service{service}, ID: t.nextID()}
	if len(t.alone) >= maxLists {
		clear(t.alone) // entries keep those that they have
	}
	t.alone[service] = en.list
	return en.list
}

func (t *endpoints) nextID() uint64 {
	t.lastID++
	return t.lastID
}

// setPolicy replaces the policy.
func (t *endpoints) setPolicy(policy *rules.Policy) {
	t.policy = policy
	clear(t.alone)
	clear(t.together)
	for _, en := range t.all {
		en.list = nil
	}
}

// protocolOf returns the protocol that an announced service speaks.
func (t *endpoints) protocolOf(en *Endpoint) string {
	return cmp.Or(t.policy.ProtocolOf(string(en.source)), en.service)
}

// Find returns the entries that explain a flow between two packet times, in buf,
// the one that proves most first. Media come from where they are wanted, or
// through NAT, so the end that was announced may be the one that sent first.
func (v *Inventory) Find(client, server *capture.Endpoint, proto uint8, first, last int64, buf []*Endpoint) []*Endpoint {
	buf = buf[:0]
	if v.endpoints.ever(server.Port) {
		buf = v.endpoints.lookup(endpointKey{*server, proto}, first, last, buf)
	}
	if len(buf) == 0 && proto == capture.UDP && v.endpoints.ever(client.Port) {
		buf = v.endpoints.lookup(endpointKey{*client, proto}, first, last, buf)
	}
	return buf
}

// Services returns the services of entries as flows are judged by them, nil for
// no entries.
func (v *Inventory) Services(entries []*Endpoint) *match.Announced {
	return v.endpoints.listOf(entries)
}

// Use notes that a flow used an endpoint between two packet times.
func (v *Inventory) Use(server *capture.Endpoint, proto uint8, first, last int64) {
	for _, en := range v.endpoints.at(server, proto) {
		if !en.overAt(first) {
			en.used = max(en.used, last)
		}
	}
}

// Service returns the short name of the service, or "UUID vX.Y".
func (en *Endpoint) Service() string { return en.service }

// Origin returns who announced the endpoint, and the packet time.
func (en *Endpoint) Origin() (from netip.AddrPort, learned int64) { return en.from, en.learned }

// Count counts one more flow that was labelled through the endpoint.
func (en *Endpoint) Count() { en.flows++ }

// Public returns the endpoint as records show it.
func (en *Endpoint) Public() record.LearnedEndpoint {
	p := record.LearnedEndpoint{Service: en.service, Annotation: en.annotation, Source: en.source, From: en.from, Announced: en.announced}
	if en.source != observe.FromSite {
		p.Learned = time.Unix(0, en.learned).UTC()
	}
	return p
}
