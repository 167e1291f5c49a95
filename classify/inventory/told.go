package inventory

import (
	"crypto/sha256"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

// What other sensors tell stands beside what this one saw and ranks below it. It
// never changes, displaces or ends that.

// told is what is kept of the sensors that tell.
type told struct {
	trusted []string // empty for all
	of      map[string]*teller
	all     amount
	texts   map[string]string // that entries have in common
	// most is what all sensors together may tell, and each what one of them may.
	most, each amount
	counts     ToldCounts
	start      int64 // packet time at which this sensor was first told something
}

// amount is how much of what sensors told is kept, or may be.
type amount struct{ endpoints, hosts int }

// teller is a sensor of which something is kept.
type teller struct {
	name string
	amount
}

// Limits of what is kept of all sensors.
const (
	maxTellers = 1000
	maxTexts   = 4096 // texts that are kept once for all entries
)

// ToldCounts counts facts that were told and not taken in, or too late.
type ToldCounts struct {
	// Quota counts those beyond what one sensor, or all together, may tell; Untrusted
	// those of sensors that the site file does not name; Expired those that nobody should
	// rely on any more; Unknown those that mean nothing here.
	Quota, Untrusted, Expired, Unknown uint64
	// Late counts endpoints that were told later than flows wait for them.
	Late uint64
}

// limit sets the quotas: all sensors together have half of the room, each has half of
// that. An endpoint that is told takes half as much as one that was seen here.
func (t *told) limit(endpoints, hosts int) {
	t.most = amount{endpoints, max(hosts/2, 1)}
	t.each = amount{max(endpoints/2, 1), max(hosts/4, 1)}
}

// trusts reports whether a sensor is believed.
func (t *told) trusts(sensor string) bool {
	return len(t.trusted) == 0 || slices.Contains(t.trusted, sensor)
}

// from returns the counters of a sensor.
func (t *told) from(sensor string) *teller {
	x := t.of[sensor]
	if x == nil {
		if t.of == nil {
			t.of = map[string]*teller{}
		}
		x = &teller{name: sensor}
		t.of[sensor] = x
	}
	return x
}

// room reports whether a sensor may be one of those of which something is kept.
func (t *told) room(sensor string) bool {
	if t.of[sensor] == nil && len(t.of) >= maxTellers {
		maps.DeleteFunc(t.of, func(_ string, x *teller) bool { return x.endpoints == 0 && x.hosts == 0 })
	}
	return t.of[sensor] != nil || len(t.of) < maxTellers
}

// once returns a text that equals s, of which there is one copy for all entries.
func (t *told) once(s string) string {
	if s == "" {
		return ""
	}
	if old, ok := t.texts[s]; ok {
		return old
	}
	if t.texts == nil || len(t.texts) >= maxTexts {
		t.texts = map[string]string{}
	}
	s = strings.Clone(s)
	t.texts[s] = s
	return s
}

// telling is what other sensors say of an endpoint. One sensor tells most of them: what it
// says is in the entry and here, and views is nil.
type telling struct {
	by              *teller // the sensor that proves most
	at, used, ended int64   // as it says; see knowledge.Value
	views           *knowledge.Views
	usedHere        int64 // packet time of the last use that was seen here, or 0
	endedHere       int64 // packet time at which it seemed to end here, or 0
	proof           Proof // as it says
	disputedHere    bool  // something that was seen here contradicts it
}

// views returns what each sensor says of an entry.
func (en *Endpoint) views() knowledge.Views {
	x := en.told
	if x.views != nil {
		return *x.views
	}
	dispute := en.dispute
	if x.disputedHere {
		dispute = ""
	}
	return knowledge.Views{{Sensor: x.by.name, Value: knowledge.Value{At: x.at, Proof: x.proof, Learned: en.learned, Used: x.used, Ended: x.ended, Expires: x.used + en.idle,
		Source: string(en.source), From: en.from, Announced: en.announced, Annotation: en.annotation, Codecs: en.codecs, Dispute: dispute,
		Strange: en.strange, Datagram: en.datagram}}}
}

// endpointView returns what a sensor says of an endpoint as it is kept: an entry ends
// endpointIdle after its last use at the latest.
func (t *told) endpointView(sensor string, f *knowledge.Fact) knowledge.View {
	x := knowledge.View{Sensor: t.once(sensor), Value: f.Value}
	x.Expires = min(max(f.Expires, f.Used), f.Used+endpointIdle)
	x.Source, x.Annotation, x.Codecs, x.Dispute = t.once(f.Source), t.once(f.Annotation), t.once(f.Codecs), t.once(f.Dispute)
	x.Evidence, x.Peer, x.Text, x.Build = "", netip.Addr{}, "", "" // of hosts
	return x
}

// forget returns the room of all views of an entry.
func (t *told) forget(en *Endpoint) {
	for _, x := range en.views() {
		t.from(x.Sensor).endpoints--
		t.all.endpoints--
	}
}

// Tell takes in a fact of another sensor at a packet time. Flows wait as long as hold, in
// nanoseconds, for what explains them. It returns what this sensor can prove with it,
// valid until the next call.
func (v *Inventory) Tell(sensor string, f *knowledge.Fact, now, hold int64) []Change {
	v.changes = v.changes[:0]
	c := &v.told.counts
	if v.told.start == 0 {
		v.told.start = now
	}
	switch {
	case !v.told.trusts(sensor):
		c.Untrusted++
	case f.Kind == knowledge.Endpoint:
		v.tellEndpoint(sensor, f, now, hold)
	case f.Expires < now:
		c.Expired++
	default:
		v.tellHost(sensor, f)
	}
	return v.changes
}

// ToldCounts returns what was not taken in, and the number of facts of endpoints and
// hosts that were.
func (v *Inventory) ToldCounts() (c ToldCounts, endpoints, hosts int) {
	return v.told.counts, v.told.all.endpoints, v.told.all.hosts
}

func (v *Inventory) tellEndpoint(sensor string, f *knowledge.Fact, now, hold int64) {
	t, c := v.endpoints, &v.told.counts
	if !slices.Contains(savedSources, observe.Source(f.Source)) {
		c.Unknown++
		return
	}
	key := endpointKey{capture.EndpointFrom(netip.AddrPortFrom(f.Server, f.Port)), capture.TCP}
	if f.UDP {
		key.proto = capture.UDP
	}
	view := v.told.endpointView(sensor, f)
	for _, en := range t.byKey[key] {
		if en.told != nil && en.service == f.What {
			views := en.views()
			n := len(views)
			if !slices.ContainsFunc(views, func(x knowledge.View) bool { return x.Sensor == sensor }) && !v.roomToTell(sensor, true) {
				return
			}
			if views.Put(view) {
				v.told.from(sensor).endpoints += len(views) - n
				v.told.all.endpoints += len(views) - n
				v.told.retell(en, views)
			}
			return
		}
	}
	if f.Expires < now || f.Ended != 0 && f.Ended+hold < now {
		c.Expired++
		return
	}
	if !v.roomToTell(sensor, true) {
		return
	}
	en := &Endpoint{key: key, service: v.told.once(f.What), told: &telling{}}
	sum := sha256.Sum256([]byte(sensor))
	copy(en.by[:], sum[:]) // its share of the table is that of the sensor
	v.told.retell(en, knowledge.Views{view})
	if !t.roomFor(en) {
		c.Quota++
		return
	}
	v.told.from(sensor).endpoints++
	v.told.all.endpoints++
	t.told++
	if f.UDP {
		t.media++
	}
	t.byKey[key] = append(t.byKey[key], en)
	t.ports[key.server.Port/64] |= 1 << (key.server.Port % 64)
	t.perHost[key.server.Addr]++
	t.all = append(t.all, en)
	if f.Learned > v.told.start && f.Learned+hold < now {
		c.Late++
	}
}

// retell takes over what the views of an entry together say.
func (t *told) retell(en *Endpoint, views knowledge.Views) {
	x, m := en.told, views.Merged()
	x.by, x.at, x.used, x.ended, x.proof, x.views = t.from(m.Sensor), m.At, m.Used, m.Ended, m.Proof, nil
	if len(views) > 1 {
		x.views = &views
	}
	en.annotation, en.source, en.from, en.announced = m.Annotation, observe.Source(m.Source), m.From, m.Announced
	en.codecs, en.strange, en.datagram = m.Codecs, m.Strange, m.Datagram
	if x.disputedHere = x.disputedHere && m.Dispute == ""; !x.disputedHere { // what was seen here stands
		en.dispute = m.Dispute
	}
	en.weak = m.Proof < TwoSided
	en.learned, en.used, en.ended, en.list = m.Learned, max(x.usedHere, m.Used), m.Ended, nil
	en.idle = min(max(m.Expires-m.Used, 0), endpointIdle)
	if here := x.endedHere; here != 0 && m.Used <= here && (m.Ended == 0 || here < m.Ended) {
		en.ended = here
	}
}

// roomToTell reports whether a sensor may tell one thing more.
func (v *Inventory) roomToTell(sensor string, endpoint bool) bool {
	t := &v.told
	if !t.room(sensor) {
		t.counts.Quota++
		return false
	}
	x := t.from(sensor)
	room := x.hosts < t.each.hosts && t.all.hosts < t.most.hosts
	if endpoint {
		room = x.endpoints < t.each.endpoints && t.all.endpoints < t.most.endpoints
	}
	if !room {
		t.counts.Quota++
	}
	return room
}

// tellHost takes in what a sensor proves of a host.
func (v *Inventory) tellHost(sensor string, f *knowledge.Fact) {
	if !v.roomToTell(sensor, false) {
		return
	}
	a := capture.AddrFrom(f.Server)
	isNew := false
	switch f.Kind {
	case knowledge.Version:
		if len(f.Text) <= maxVersion {
			isNew = v.hosts.tellVersion(a, sensor, f.Text, f.Build)
		}
	case knowledge.Name:
		isNew = v.hosts.tellName(f.Server, sensor, f.Text)
	case knowledge.Role:
		p, ok := v.proofOf(sensor, f)
		if !ok {
			v.told.counts.Unknown++
			return
		}
		isNew = v.hosts.prove(a, p, "", "").role
		if p.rule != nil && len(p.rule.Versions) > 0 && !p.weak {
			v.hosts.tellAmong(a, p.rule.Versions)
		}
	}
	if isNew {
		v.told.from(sensor).hosts++
		v.told.all.hosts++
		if v.awaited > 0 {
			v.proved(v.hosts, a)
		}
	}
}

// proofOf returns the proof that a fact is, and whether it means anything here.
func (v *Inventory) proofOf(sensor string, f *knowledge.Fact) (p roleProof, ok bool) {
	p = roleProof{evidence: f.Evidence, weak: f.Proof == WeakEvidence, sensor: sensor, from: source{port: f.Port}}
	if f.Peer.IsValid() {
		p.from.peer = capture.AddrFrom(f.Peer)
	}
	if !strings.HasSuffix(p.evidence, toldBy(sensor)) {
		p.evidence += toldBy(sensor)
	}
	if p.rule = v.evidence.rule(f.What); p.rule != nil {
		p.roles, p.weak = p.rule.Roles, p.weak || p.rule.Weak
		return p, true
	}
	roles, ok := strings.CutPrefix(f.What, "|")
	if !ok {
		return p, false
	}
	for role := range strings.SplitSeq(roles, "|") {
		if !slices.Contains(rules.Roles(), rules.Role(role)) {
			return p, false
		}
		p.roles = append(p.roles, rules.Role(role))
	}
	return p, true
}

// maxVersion bounds the bytes of a version.
const maxVersion = 16

// toldBy words that a sensor told something.
func toldBy(sensor string) string { return ", learned by sensor " + sensor }

// rule returns a rule by its id, or nil.
func (e *evidence) rule(id string) *rules.RoleEvidence {
	if e.byID == nil {
		e.byID = map[string]*rules.RoleEvidence{}
		for _, list := range e.any {
			for i := range list {
				e.byID[list[i].ID] = list[i].RoleEvidence
			}
		}
		for i := range e.named {
			e.byID[e.named[i].ID] = e.named[i].RoleEvidence
		}
	}
	return e.byID[id]
}

// tellVersion takes in the version of a host as a sensor tells it, if none is known.
func (h *hosts) tellVersion(a capture.Addr, sensor, version, build string) bool {
	if h.elsewhere(&a) == &h.internet {
		return false
	}
	x := h.add(a, h.known)
	if x == nil || x.version != "" && (x.versionTold != sensor || x.version == version) {
		return false // the first that was told stands
	}
	x.version, x.build, x.versionTold, x.roles = version, build, sensor, nil
	h.runs(version)
	h.epoch++
	return true
}

// tellName takes in the name of a host as a sensor tells it, if none is known.
func (h *hosts) tellName(a netip.Addr, sensor, name string) bool {
	x := h.add(capture.AddrFrom(a), len(h.byAddr)-h.known)
	if x == nil || x.named || x.name != "" {
		return false
	}
	x.name, x.nameTold = strings.TrimSuffix(strings.ToLower(name), "."), sensor
	return true
}

// tellAmong takes in that a host has one of some versions, if nothing else tells
// which it can have.
func (h *hosts) tellAmong(a capture.Addr, versions []string) {
	if x := h.at(&a); x != nil && x.version == "" && x.among == nil {
		x.among, x.amongTold, x.roles = versions, true, nil
	}
}

// dropUntrusted forgets the endpoints of sensors that are believed no more.
func (v *Inventory) dropUntrusted() {
	t := v.endpoints
	if t.told == 0 {
		return
	}
	untrusted := func(sensor string) bool { return !v.told.trusts(sensor) }
	for _, en := range t.all {
		if en.gone || en.told == nil {
			continue
		}
		views := en.views()
		if !slices.ContainsFunc(views, func(x knowledge.View) bool { return untrusted(x.Sensor) }) {
			continue
		}
		left := slices.Clone(views)
		left.Drop(untrusted)
		if len(left) == 0 {
			t.forget(en)
			continue
		}
		v.told.forget(en)
		for i := range left {
			v.told.from(left[i].Sensor).endpoints++
			v.told.all.endpoints++
		}
		v.told.retell(en, left)
	}
}

// tellAgain tells the hosts what sensors told of the old ones.
func (v *Inventory) tellAgain(old *hosts) {
	for _, x := range v.told.of {
		x.hosts = 0
	}
	v.told.all.hosts = 0
	for a, x := range old.byAddr {
		if v.told.trusts(x.versionTold) && x.versionTold != "" {
			v.tellHost(x.versionTold, &knowledge.Fact{Kind: knowledge.Version, Server: x.addr, Value: knowledge.Value{Text: x.version, Build: x.build}})
		}
		if v.told.trusts(x.nameTold) && x.nameTold != "" {
			v.tellHost(x.nameTold, &knowledge.Fact{Kind: knowledge.Name, Server: x.addr, Value: knowledge.Value{Text: x.name}})
		}
		for i := range x.proofs {
			if p := &x.proofs[i]; p.sensor != "" && v.told.trusts(p.sensor) {
				f := factOf(a, p, 0)
				v.tellHost(p.sensor, &f)
			}
		}
	}
}

// Walk goes through what this sensor learned itself, a part at a time. Its zero value
// begins.
type Walk struct {
	endpoint int
	listed   bool
	hosts    []capture.Addr
}

// walkPart bounds the endpoints or hosts that one call of Facts looks at.
const walkPart = 2048

// Facts appends to list the next facts that this sensor learned itself and that hold
// at a packet time or ended lately. It reports whether there may be more. What changes
// meanwhile may be left out.
func (v *Inventory) Facts(w *Walk, list []knowledge.Fact, now int64) ([]knowledge.Fact, bool) {
	t := v.endpoints
	for n := 0; w.endpoint < len(t.all) && n < walkPart; n++ {
		en := t.all[w.endpoint]
		w.endpoint++
		if en.isShared(now) && en == t.shared(en.key, en.service, now) {
			list = append(list, en.fact(now))
		}
	}
	if w.endpoint < len(t.all) {
		return list, true
	}
	if !w.listed {
		w.listed, w.hosts = true, slices.Collect(maps.Keys(v.hosts.byAddr))
		return list, len(w.hosts) > 0
	}
	n := min(len(w.hosts), walkPart)
	for _, a := range w.hosts[:n] {
		list = v.hosts.appendFacts(list, a, now)
	}
	w.hosts = w.hosts[n:]
	return list, len(w.hosts) > 0
}

// FactsOf appends to list the facts that a change is about.
func (v *Inventory) FactsOf(c *Change, list []knowledge.Fact, now int64) []knowledge.Fact {
	if c.Kind != EndpointChange {
		return v.hosts.appendFacts(list, capture.AddrFrom(c.Host.Addr()), now)
	}
	key := endpointKey{capture.EndpointFrom(c.Host), capture.TCP}
	if c.UDP {
		key.proto = capture.UDP
	}
	if en := v.endpoints.shared(key, c.Value, now); en != nil {
		list = append(list, en.fact(now))
	}
	return list
}

// isShared reports whether an entry is one that other sensors may be told of.
func (en *Endpoint) isShared(now int64) bool {
	return !en.gone && en.told == nil && en.tunnel == 0 && en.source != observe.FromSite && now <= en.used+en.idle
}

// shared returns the entry of an endpoint that others are told of, nil for none: of
// several that differ in their dialog one that holds, and then the last.
func (t *endpoints) shared(key endpointKey, service string, now int64) *Endpoint {
	var best *Endpoint
	for _, en := range t.byKey[key] {
		if en.service == service && en.isShared(now) && (best == nil || bit(en.ended == 0) >= bit(best.ended == 0) && (bit(en.ended == 0) > bit(best.ended == 0) || en.learned >= best.learned)) {
			best = en
		}
	}
	return best
}

// fact returns what others are told of an entry.
func (en *Endpoint) fact(now int64) knowledge.Fact {
	return knowledge.Fact{Kind: knowledge.Endpoint, Server: en.key.server.Addr.Netip(), UDP: en.key.proto == capture.UDP, Port: en.key.server.Port,
		What: en.service, Value: knowledge.Value{Proof: en.proof(), Learned: en.learned, Used: en.used, Ended: en.ended, Expires: en.used + en.idle,
			Source: string(en.source), From: en.from, Announced: en.announced, Annotation: en.annotation, Codecs: en.codecs,
			Dispute: en.dispute, Strange: en.strange, Datagram: en.datagram}}
}

// appendFacts appends what this sensor itself learned of a host. Of hosts of which only
// the name is known nothing is told: any resolver sees many.
func (h *hosts) appendFacts(list []knowledge.Fact, a capture.Addr, now int64) []knowledge.Fact {
	x := h.at(&a)
	if x == nil {
		return list
	}
	begin := len(list)
	host := func(kind Kind, text, build string) knowledge.Fact {
		return knowledge.Fact{Kind: kind, Server: x.addr, Value: knowledge.Value{Proof: TwoSided, Used: now, Expires: now + endpointIdle, Text: text, Build: build}}
	}
	if x.version != "" && !x.bySite && x.versionTold == "" {
		list = append(list, host(VersionChange, x.version, x.build))
	}
	for i := range x.proofs {
		if x.proofs[i].sensor == "" {
			list = append(list, factOf(a, &x.proofs[i], now))
		}
	}
	if len(list) > begin && x.name != "" && !x.named && x.nameTold == "" {
		list = append(list, host(NameChange, x.name, ""))
	}
	return list
}

// factOf returns what others are told of a proof.
func factOf(a capture.Addr, p *roleProof, now int64) knowledge.Fact {
	f := knowledge.Fact{Kind: knowledge.Role, Server: a.Netip(), Value: knowledge.Value{Proof: TwoSided, Used: now, Expires: now + endpointIdle, Evidence: p.evidence}}
	f.What = "|" + match.Join(p.roles)
	if p.rule != nil {
		f.What = p.rule.ID
		if p.rule.Ported() {
			f.Port = p.from.port
		}
		if len(p.rule.Peer) > 0 {
			f.Peer = p.from.peer.Netip()
		}
	}
	if p.weak {
		f.Proof = WeakEvidence
	}
	return f
}
