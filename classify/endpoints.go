package classify

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// Limits of the learned endpoints.
const (
	maxEndpoints       = 200_000 // entries in all, ended ones included
	maxServerEndpoints = 16_384  // entries of one server address
	maxPerEndpoint     = 64      // entries of one address, protocol and port
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

// entry is one service at one endpoint.
type entry struct {
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
}

// overAt says whether the entry was over at a packet time.
func (en *entry) overAt(t int64) bool {
	return en.ended != 0 && t > en.ended || en.source != observe.FromSite && t > en.used+en.idle
}

// rank orders sources by how much they prove.
func (en *entry) rank() int {
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

// endpoints is the table of learned endpoints.
type endpoints struct {
	byKey   map[endpointKey][]*entry
	ports   [1 << 16 / 64]uint64 // ports that were ever in byKey, a bit each
	perHost map[capture.Addr]int
	scopes  map[string][]*entry
	all     []*entry // in order of learning
	refused uint64   // by a cap
	media   uint32   // how often a UDP endpoint was learned
	pruned  int64    // packet time of the last prune
	revised uint64   // how often an entry came to say something else
}

func newEndpoints() *endpoints {
	return &endpoints{
		byKey:   map[endpointKey][]*entry{},
		perHost: map[capture.Addr]int{},
		scopes:  map[string][]*entry{},
	}
}

// at returns the entries of an endpoint. Most flows are to ports that no entry
// ever had: that takes no look-up.
func (t *endpoints) at(e *capture.Endpoint, proto uint8) []*entry {
	if !t.ever(e.Port) {
		return nil
	}
	return t.byKey[endpointKey{*e, proto}]
}

// ever says whether an entry ever had a port.
func (t *endpoints) ever(port uint16) bool { return t.ports[port/64]&(1<<(port%64)) != 0 }

// learn adds what a flow announced. It returns the entry and whether it is
// new, nil where a limit refused it.
func (t *endpoints) learn(e *observe.Endpoint, service string, datagram bool, now int64) (*entry, bool) {
	proto := uint8(capture.TCP)
	if e.UDP {
		proto = capture.UDP
	}
	key := endpointKey{capture.EndpointFrom(e.Server), proto}
	idle := e.Idle
	if idle == 0 {
		idle = endpointIdle
	}
	candidate := entry{key: key, service: service, annotation: e.Annotation, source: e.Source, from: e.From, announced: e.Announced,
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
			en.annotation = e.Annotation
			t.revised++
		}
		if candidate.rank() > en.rank() {
			t.revised++
			en.source, en.from, en.announced, en.weak, en.datagram = candidate.source, candidate.from, candidate.announced, candidate.weak, candidate.datagram
		}
		return en, false
	}
	full := func() bool {
		return len(t.all) >= maxEndpoints || t.perHost[key.server.Addr] >= maxServerEndpoints || len(list) >= maxPerEndpoint
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
	en := new(entry) // what is known already costs none
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
	var old []*entry
	t.all = slices.DeleteFunc(t.all, func(en *entry) bool {
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
func (t *endpoints) forget(en *entry) {
	en.gone = true
	t.unlink(en)
}

// unlink takes what is gone out of the lists that an entry is in.
func (t *endpoints) unlink(en *entry) {
	over := func(en *entry) bool { return en.gone }
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

// endScope ends the entries of a dialog.
func (t *endpoints) endScope(scope string, now int64) {
	for _, en := range t.scopes[scope] {
		if en.ended == 0 {
			en.ended = now
		}
	}
	delete(t.scopes, scope)
}

// reject ends one service of an endpoint: its server said that it does not
// serve it.
func (t *endpoints) reject(key endpointKey, service string, now int64) {
	for _, en := range t.byKey[key] {
		if en.service == service && en.ended == 0 && en.source != observe.FromSite {
			en.ended = now
		}
	}
}

// close ends all services of an endpoint: its server refused a connection.
func (t *endpoints) close(key endpointKey, now int64) {
	for _, en := range t.byKey[key] {
		if en.ended == 0 && en.source != observe.FromSite {
			en.ended = now
		}
	}
}

// known says whether something is known to be served at an endpoint now.
func (t *endpoints) known(e capture.Endpoint, proto uint8, now int64) bool {
	for _, en := range t.at(&e, proto) {
		if !en.overAt(now) {
			return true
		}
	}
	return false
}

// announced returns a service announced for an endpoint now, or "".
func (t *endpoints) announced(e capture.Endpoint, proto uint8, now int64) string {
	for _, en := range t.at(&e, proto) {
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
func (t *endpoints) lookup(key endpointKey, first, last int64, buf []*entry) []*entry {
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
	slices.SortStableFunc(buf, func(a, b *entry) int {
		if c := cmp.Compare(b.rank(), a.rank()); c != 0 {
			return c
		}
		return cmp.Compare(a.learned, b.learned)
	})
	return buf
}

// public returns the entry as sinks see it.
func (en *entry) public() record.LearnedEndpoint {
	p := record.LearnedEndpoint{Service: en.service, Annotation: en.annotation, Source: en.source, From: en.from, Announced: en.announced}
	if en.source != observe.FromSite {
		p.Learned = time.Unix(0, en.learned).UTC()
	}
	return p
}
