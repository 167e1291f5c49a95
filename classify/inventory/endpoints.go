package inventory

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
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
	by         capture.Addr // the host that has it announced: who asked, or who announces itself
	codecs     string       // see observe.Endpoint.Codecs
	dispute    string       // what contradicts the entry, in words; empty for nothing
	dialog     *dialog      // that ends the entry; nil for none
	tunnel     capture.TunnelID
	weak       bool  // its form is all that speaks for it
	strange    bool  // announced by a host that does not own the address
	datagram   bool  // taught by a UDP flow
	confirmed  bool  // a flow to the endpoint spoke the protocol
	gone       bool  // no look-up finds it any more
	learned    int64 // packet time
	used       int64 // packet time of the last use
	idle       int64
	ended      int64 // packet time of its end, or 0
	doubted    int64 // packet time at which the server seemed to end it, or 0
	flows      uint64
	list       *match.Announced // of this service alone; nil until asked for
	told       *telling         // what other sensors say of it; nil for what was seen here
}

// overAt reports whether the entry no longer held at a packet time.
func (en *Endpoint) overAt(t int64) bool {
	return en.ended != 0 && t > en.ended || en.source != observe.FromSite && t > en.used+en.idle
}

// proof returns how well the entry is known.
func (en *Endpoint) proof() Proof {
	switch {
	case en.source == observe.FromSite:
		return SiteFile
	case en.strange:
		return WeakEvidence
	case en.told != nil:
		return Remote
	case en.weak:
		return OneSided
	}
	return TwoSided
}

// shown returns how well the entry is known to those who saw what it rests on.
func (en *Endpoint) shown() Proof {
	if en.told != nil && !en.strange && !en.weak {
		return TwoSided
	}
	return en.proof()
}

// rank orders entries by how much they prove: by their proof, and by their
// source where that is equal.
func (en *Endpoint) rank() int {
	r := 4 * int(en.proof())
	switch {
	case en.weak || en.datagram:
	case en.source == observe.FromMap:
		r += 3
	case en.source == observe.FromLookup:
		r += 2
	case en.source == observe.FromBind:
		r++
	}
	return r
}

// hearing tells how an announcement was heard.
type hearing struct {
	service  string
	by       capture.Addr // as Endpoint.by
	to       capture.Addr // the other host of the flow
	tunnel   capture.TunnelID
	strange  bool
	datagram bool
	time     int64 // packet time
}

// endpoints is the table of learned endpoints.
type endpoints struct {
	policy  *rules.Policy
	byKey   map[endpointKey][]*Endpoint
	ports   [1 << 16 / 64]uint64 // ports that were ever in byKey, a bit each
	perHost map[capture.Addr]int
	dialogs map[string][]*dialog // by scope
	all     []*Endpoint          // in order of learning, some of them gone
	gone    int                  // of all
	media   uint32               // how often a UDP endpoint was learned
	told    int                  // entries that other sensors told
	tellers *told                // the sensors that tell
	ended   []*Endpoint          // what the last call ended

	most, mostPerServer int // entries in all, of which two that are told count as one, and of one server address
	limits              endpointLimits
	refusals            [2]refusal // of one server, and of all
	conflicts           uint64     // entries that other bytes contradict
	lists               lists
}

func newEndpoints(policy *rules.Policy) *endpoints {
	return &endpoints{
		policy: policy,
		most:   MaxEndpoints, mostPerServer: MaxServerEndpoints,
		lists:   newLists(),
		byKey:   map[endpointKey][]*Endpoint{},
		perHost: map[capture.Addr]int{},
		dialogs: map[string][]*dialog{},
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

// ever reports whether an entry ever had a port.
func (t *endpoints) ever(port uint16) bool { return t.ports[port/64]&(1<<(port%64)) != 0 }

// len returns the number of entries.
func (t *endpoints) len() int { return len(t.all) - t.gone }

// learn adds what a flow announced. It returns the entry and whether it is
// new, nil where a limit refused it.
func (t *endpoints) learn(e *observe.Endpoint, h hearing) (*Endpoint, bool) {
	candidate := candidateOf(e, &h)
	var d *dialog
	if e.Scope != "" {
		var room bool
		if d, room = t.dialogFor(e.Scope, h.by, h.to); !room {
			t.limits.dialogs++
			return nil, false
		}
	}
	candidate.dialog = d
	for _, en := range t.byKey[candidate.key] {
		if en.told == nil && en.service == h.service && en.dialog == d && (d != nil || e.Scope == "") && en.tunnel == h.tunnel && !en.overAt(h.time) {
			t.again(en, &candidate)
			if e.Disputed {
				t.contradict(en, twoAnswers)
			}
			return en, false
		}
	}
	if !t.roomFor(&candidate) {
		return nil, false
	}
	if e.UDP {
		t.media++
	}
	en := new(Endpoint) // what is known already costs none
	*en = candidate
	if e.Scope != "" {
		t.enter(en, e.Scope, &h)
	}
	key := en.key
	t.byKey[key] = append(t.byKey[key], en)
	t.ports[key.server.Port/64] |= 1 << (key.server.Port % 64)
	t.perHost[key.server.Addr]++
	t.all = append(t.all, en)
	if e.Disputed {
		t.contradict(en, twoAnswers)
	}
	return en, true
}

// candidateOf returns the entry that an announcement makes.
func candidateOf(e *observe.Endpoint, h *hearing) Endpoint {
	proto := uint8(capture.TCP)
	if e.UDP {
		proto = capture.UDP
	}
	idle := e.Idle
	if idle == 0 {
		idle = endpointIdle
	}
	return Endpoint{key: endpointKey{capture.EndpointFrom(e.Server), proto}, service: h.service, annotation: e.Annotation,
		source: e.Source, from: e.From, announced: e.Announced, by: h.by, codecs: e.Codecs, tunnel: h.tunnel,
		weak: e.Weak, strange: h.strange, datagram: h.datagram, learned: h.time, used: h.time, idle: idle}
}

// again takes in an announcement of what is known already: another UUID adds,
// the same one only gains. What proves more takes over, and keeps the time at
// which the entry was first learned.
func (t *endpoints) again(en, candidate *Endpoint) {
	en.used = max(en.used, candidate.used)
	if en.annotation == "" && candidate.annotation != "" {
		en.annotation, en.list = candidate.annotation, nil
	}
	if candidate.rank() < en.rank() {
		return
	}
	en.doubted = 0
	if candidate.rank() > en.rank() {
		en.list = nil
		en.source, en.from, en.announced, en.by = candidate.source, candidate.from, candidate.announced, candidate.by
		en.weak, en.strange, en.datagram, en.codecs = candidate.weak, candidate.strange, candidate.datagram, candidate.codecs
	}
}

// end ends an entry.
func (t *endpoints) end(en *Endpoint, now int64) {
	if en.ended != 0 {
		return
	}
	en.ended = now
	if en.told != nil { // what others say is theirs to end
		en.told.endedHere = now
		return
	}
	t.ended = append(t.ended, en)
}

// reject takes in that a server refused to serve one service of an endpoint, as
// a flow showed in a tunnel. It ends what no more than a bind proves, and returns
// that. What an endpoint mapper announced stays: the refusal may be forged, and
// the flows to come show what is right.
func (t *endpoints) reject(key endpointKey, service string, tunnel capture.TunnelID, now int64) []*Endpoint {
	t.ended = t.ended[:0]
	for _, en := range t.byKey[key] {
		switch {
		case en.service != service || en.tunnel != tunnel || en.source == observe.FromSite || en.overAt(now):
		case en.source == observe.FromBind || en.shown() < TwoSided:
			t.end(en, now)
		default:
			en.doubted = now
			t.contradict(en, rejected)
		}
	}
	return t.ended
}

// close takes in that a server refused a connection to an endpoint. A reset is
// seen from one side, so it ends what is known from one side, and returns that.
func (t *endpoints) close(key endpointKey, tunnel capture.TunnelID, now int64) []*Endpoint {
	t.ended = t.ended[:0]
	for _, en := range t.byKey[key] {
		switch {
		case en.tunnel != tunnel || en.source == observe.FromSite || en.overAt(now):
		case en.shown() < TwoSided:
			t.end(en, now)
		default:
			en.doubted = now
		}
	}
	return t.ended
}

// What contradicts an entry, in words.
const (
	twoAnswers   = "the endpoint mapper seemed to give two answers at once"
	rejected     = "the server was seen to reject the service later"
	otherContent = "the server was seen to send what the service does not"
)

// contradict notes what contradicts an entry. The entry stays, and flows that
// rest on it say so.
func (t *endpoints) contradict(en *Endpoint, what string) {
	if en.dispute == "" && en.source != observe.FromSite {
		en.dispute, en.list = what, nil
		if en.told != nil {
			en.told.disputedHere = true
		}
		t.conflicts++
	}
}

// learnSite learns the static ports that the site file names. An entry that
// endSite has just ended, because an earlier site file named it too, holds again.
func (t *endpoints) learnSite(site *rules.Site) {
	if site == nil {
		return
	}
	for _, s := range site.Servers {
		for _, a := range s.Addresses {
			for _, service := range slices.Sorted(maps.Keys(s.StaticPorts)) {
				en, _ := t.learn(&observe.Endpoint{Server: netip.AddrPortFrom(a, s.StaticPorts[service]), Source: observe.FromSite}, hearing{service: service})
				if en != nil {
					en.ended = 0
				}
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

// announced returns a service that holds for an endpoint now, or "". What a
// stranger announced is no reason to read a flow in another way. What was seen here
// comes before what others told.
func (t *endpoints) announced(e *capture.Endpoint, proto uint8, now int64) string {
	list := t.at(e, proto)
	for _, en := range list {
		if en.told == nil && !en.strange && !en.overAt(now) {
			return en.service
		}
	}
	if t.told > 0 {
		for _, en := range list {
			if !en.strange && !en.overAt(now) {
				return en.service
			}
		}
	}
	return ""
}

// Flow is what Find asks of a flow.
type Flow struct {
	Client, Server *capture.Endpoint
	Proto          uint8
	// First and Last are the packet times of its first and last packet.
	First, Last int64
	// Tunnels are those in which its packets came; none means the wire.
	Tunnels []capture.TunnelID
	// Protocol was read of it, or is empty. Facts are what was read.
	Protocol string
	Facts    *observe.List
}

// explains reports whether an entry can explain a flow to its endpoint: what is
// said inside a tunnel explains nothing outside it, and what a stranger says
// only a flow that shows by itself what it is.
func (t *endpoints) explains(en *Endpoint, f *Flow) bool {
	switch {
	case en.source == observe.FromSite:
		return true
	case en.tunnel == capture.TunnelOther:
		return false
	case len(f.Tunnels) > 0 && !slices.Contains(f.Tunnels, en.tunnel), len(f.Tunnels) == 0 && en.tunnel != 0:
		return false
	}
	return !en.strange || f.Protocol == t.protocolOf(en) && en.carries(f.Facts)
}

// carries reports whether facts show a codec that was announced.
func (en *Endpoint) carries(facts *observe.List) bool {
	if en.codecs == "" {
		return en.source != observe.FromSDP
	}
	for _, x := range facts.All() {
		if x.Name == codecFact && slices.Contains(strings.Fields(en.codecs), x.Value) {
			return true
		}
	}
	return false
}

// codecFact is the fact that names the codec of RTP packets.
const codecFact = "rtp.codec"

// lookup returns the entries that explain a flow to an endpoint, those that prove
// most first: entries that held during the flow; where there are none, entries
// learned after it, because a session may be older than the first question about
// its port. The result is valid until the next call.
func (t *endpoints) lookup(key endpointKey, f *Flow, buf []*Endpoint) []*Endpoint {
	buf = buf[:0]
	list := t.byKey[key]
	for _, en := range list {
		if en.learned <= f.Last && !en.overAt(f.First) && t.explains(en, f) {
			buf = append(buf, en)
		}
	}
	if len(buf) == 0 {
		for _, en := range list {
			if en.learned > f.Last && t.explains(en, f) {
				buf = append(buf, en)
			}
		}
	}
	if len(buf) < 2 {
		return buf
	}
	slices.SortStableFunc(buf, func(a, b *Endpoint) int {
		order := cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(min(a.doubted, 1), min(b.doubted, 1)))
		if order == 0 && a.told == nil && b.told == nil { // else the first that was told stays first: times that others tell can be made up
			order = cmp.Compare(a.learned, b.learned)
		}
		return order
	})
	if t.told > 0 {
		buf = seenFirst(buf)
	}
	return buf
}

// seenFirst leaves out of sorted entries what others told of a service that was
// seen here.
func seenFirst(list []*Endpoint) []*Endpoint {
	return slices.DeleteFunc(list, func(en *Endpoint) bool {
		return en.told != nil && slices.ContainsFunc(list, func(x *Endpoint) bool { return x != nil && x.told == nil && x.service == en.service })
	})
}

// protocolOf returns the protocol that an announced service speaks.
func (t *endpoints) protocolOf(en *Endpoint) string {
	return cmp.Or(t.policy.ProtocolOf(string(en.source)), en.service)
}

// Find returns the entries that explain a flow, in buf, the one that proves most
// first. Media come from where they are wanted, or through NAT, so the end that
// was announced may be the one that sent first.
func (v *Inventory) Find(f *Flow, buf []*Endpoint) []*Endpoint {
	t := v.endpoints
	if t.ever(f.Server.Port) || f.Proto == capture.UDP && t.ever(f.Client.Port) {
		return t.find(f, buf)
	}
	return buf[:0]
}

// find returns what Find returns of a flow with a port that was ever announced.
func (t *endpoints) find(f *Flow, buf []*Endpoint) []*Endpoint {
	buf = t.lookup(endpointKey{*f.Server, f.Proto}, f, buf)
	if len(buf) == 0 && f.Proto == capture.UDP {
		buf = t.lookup(endpointKey{*f.Client, f.Proto}, f, buf)
	}
	return buf
}

// Ever reports whether an endpoint with a port was ever known.
func (v *Inventory) Ever(port uint16) bool { return v.endpoints.ever(port) }

// Use notes that a flow used an endpoint. Other reports whether the flow began
// with what is not the protocol, and its server took part in that.
func (v *Inventory) Use(f *Flow, other bool) {
	t := v.endpoints
	for _, en := range t.at(f.Server, f.Proto) {
		if en.overAt(f.First) || !t.explains(en, f) {
			continue
		}
		en.used = max(en.used, f.Last)
		if en.told != nil {
			en.told.usedHere = en.used
		}
		switch protocol := t.protocolOf(en); {
		case f.Protocol == protocol:
			en.confirmed = true
		case protocol == rpc && other && en.learned < f.Last:
			t.contradict(en, otherContent)
		}
	}
}

// Service returns the short name of the service, or "UUID vX.Y".
func (en *Endpoint) Service() string { return en.service }

// Origin returns who announced the endpoint, the packet time, and the sensor that saw
// it, which is empty for this one.
func (en *Endpoint) Origin() (from netip.AddrPort, learned int64, sensor string) {
	if en.told != nil {
		sensor = en.told.by.name
	}
	return en.from, en.learned, sensor
}

// Count counts one more flow that was labelled through the endpoint.
func (en *Endpoint) Count() { en.flows++ }

// Public returns the endpoint as records show it.
func (en *Endpoint) Public() record.LearnedEndpoint {
	p := record.LearnedEndpoint{Service: en.service, Annotation: en.annotation, Source: en.source, From: en.from, Announced: en.announced}
	if en.source != observe.FromSite {
		p.Learned = time.Unix(0, en.learned).UTC()
	}
	if en.told != nil {
		p.Sensor = en.told.by.name
	}
	return p
}
