package inventory

import (
	"cmp"
	"slices"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
)

// MaxServerEndpoints bounds the endpoints of one server address, where Limit does not
// say less.
const MaxServerEndpoints = 16_384

// MaxEndpoints bounds the learned endpoints, ended ones included, where Limit does not
// say less.
const MaxEndpoints = 200_000

// maxPerEndpoint bounds those of one address, protocol and port.
const maxPerEndpoint = 64

// share is the part of a limit, one in so many, that the entries of one source
// can take without being the first to go, and that is emptied at a time.
const share = 16

// endpointLimits counts what limits did to entries.
type endpointLimits struct {
	refused uint64    // that were new and proved less than all there were
	evicted [3]uint64 // by limit: those of one endpoint, of one server, of all
	dialogs uint64    // that strangers announced under the name of a call
	ends    uint64    // ends of calls by hosts that take no part in them
	strange uint64    // announced by hosts that do not own the address
}

// roomFor reports whether there is room for an entry, after evicting others if
// need be.
func (t *endpoints) roomFor(en *Endpoint) bool {
	if t.gone > t.mostPerServer && 2*t.gone > len(t.all) {
		t.tidy()
	}
	if list := t.byKey[en.key]; len(list) >= maxPerEndpoint && !t.evict(list, 0, maxPerEndpoint, en) {
		return false
	}
	if t.perHost[en.key.server.Addr] >= t.mostPerServer {
		if t.refusals[0].server == en.key.server.Addr && t.refusals[0].holds(en) {
			t.limits.refused++
			return false
		}
		var list []*Endpoint
		for _, x := range t.all {
			if !x.gone && x.key.server.Addr == en.key.server.Addr {
				list = append(list, x)
			}
		}
		if !t.evict(list, 1, t.mostPerServer, en) {
			return false
		}
	}
	if t.len()-t.told/2 < t.most { // what others told takes half as much: see told.limit
		return true
	}
	if t.refusals[1].holds(en) {
		t.limits.refused++
		return false
	}
	return t.evict(t.all, 2, t.most, en)
}

// refusal is what was refused last because all there was proved more. To look through
// all for each entry of a flood would take long.
type refusal struct {
	server capture.Addr
	proof  Proof
	time   int64 // packet time; 0 for nothing refused
}

// holds reports whether an entry that proves no more comes within the same second.
func (x *refusal) holds(en *Endpoint) bool {
	return x.time != 0 && en.proof() <= x.proof && en.learned >= x.time && en.learned < x.time+int64(time.Second)
}

// evict makes room in a list for an entry: what is over goes first, then what
// proves least, then what no flow confirmed, then the entries of sources that
// have more than their share, then services without a name, and of those what
// was not used for longest. So who
// announces too much pushes out its own. What proves more than the new entry
// stays. It reports whether there is room.
func (t *endpoints) evict(list []*Endpoint, limit, most int, by *Endpoint) bool {
	type victim struct {
		en    *Endpoint
		over  bool
		proof Proof
		above int // shares that its source has in what is better
	}
	var victims []victim
	now := by.learned
	for _, en := range list {
		if en.gone || en.source == observe.FromSite {
			continue
		}
		if over := en.overAt(now); over || en.proof() <= by.proof() {
			victims = append(victims, victim{en: en, over: over, proof: en.proof()})
		}
	}
	better := func(a, b victim) int {
		return cmp.Or(cmp.Compare(bit(a.over), bit(b.over)), cmp.Compare(b.proof, a.proof), cmp.Compare(bit(b.en.confirmed), bit(a.en.confirmed)), cmp.Compare(a.above, b.above),
			cmp.Compare(bit(match.Unnamed(a.en.service)), bit(match.Unnamed(b.en.service))), cmp.Compare(b.en.used, a.en.used), cmp.Compare(b.en.learned, a.en.learned))
	}
	slices.SortStableFunc(victims, better)
	have := map[capture.Addr]int{}
	for i := range victims {
		v := &victims[i]
		v.above = have[v.en.by] / (most / share)
		have[v.en.by]++
	}
	slices.SortStableFunc(victims, better)
	victims = victims[max(len(victims)-most/share, 0):]
	for _, v := range victims {
		t.forget(v.en)
	}
	if len(victims) == 0 {
		t.limits.refused++
		if limit > 0 {
			t.refusals[limit-1] = refusal{by.key.server.Addr, by.proof(), now}
		}
		return false
	}
	t.limits.evicted[limit] += uint64(len(victims))
	return true
}

// forget takes an entry out of the table.
func (t *endpoints) forget(en *Endpoint) {
	en.gone = true
	t.gone++
	if en.told != nil {
		t.told--
		t.tellers.forget(en)
	}
	if list := slices.DeleteFunc(t.byKey[en.key], func(x *Endpoint) bool { return x == en }); len(list) > 0 {
		t.byKey[en.key] = list
	} else {
		delete(t.byKey, en.key)
	}
	if t.perHost[en.key.server.Addr]--; t.perHost[en.key.server.Addr] <= 0 {
		delete(t.perHost, en.key.server.Addr)
	}
	t.leave(en)
}

// tidy takes what is gone out of the list of all entries.
func (t *endpoints) tidy() {
	t.all = slices.DeleteFunc(t.all, func(en *Endpoint) bool { return en.gone })
	t.gone = 0
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
