package tally

import (
	"net/netip"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/record"
)

// JoinedKey is where the two legs of a conversation lead: to a load balancer, and on
// to a server.
type JoinedKey struct{ Outer, Inner netip.AddrPort }

// Joined counts the conversations of two legs.
type Joined struct {
	Conversations uint64
	// From is the address that the inner leg comes from, Client that of the first
	// client.
	From, Client netip.Addr
	// Clients reports whether there are others.
	Clients bool
}

// outerLeg is a leg that waits for others.
type outerLeg struct {
	client, server netip.AddrPort
	first          time.Time
}

// waitingLegs are the legs that wait for others, by conversation: the last ones, because
// most conversations never show another leg.
type waitingLegs struct{ young, old map[string]outerLeg }

// maxWaiting bounds young, and so old.
const maxWaiting = MaxPairs / 2

// of returns the leg of a conversation, and whether there is one.
func (w *waitingLegs) of(conversation string) (outerLeg, bool) {
	leg, ok := w.young[conversation]
	if !ok {
		leg, ok = w.old[conversation]
	}
	return leg, ok
}

// put makes leg the one of a conversation.
func (w *waitingLegs) put(conversation string, leg outerLeg) {
	if len(w.young) >= maxWaiting {
		w.young, w.old = nil, w.young
	}
	if w.young == nil {
		w.young = map[string]outerLeg{}
	}
	w.young[strings.Clone(conversation)] = leg
}

// leg counts a flow that is a leg of a conversation. Of its legs, which come in any
// order, the one that begins first is the outer one.
func (t *Tally) leg(r *record.Record) {
	x := outerLeg{netip.AddrPortFrom(r.Client.Addr, r.Client.Port), netip.AddrPortFrom(r.Server.Addr, r.Server.Port), r.First}
	outer, known := t.waiting.of(r.Conversation)
	if !known || outer.client == x.client && outer.server == x.server { // the client uses its port again
		t.waiting.put(r.Conversation, x)
		return
	}
	inner := x
	if x.first.Before(outer.first) {
		outer, inner = x, outer
		t.waiting.put(r.Conversation, outer)
	}
	j := t.Joined.at(JoinedKey{outer.server, inner.server}, hint(inner.server))
	if j == nil {
		return
	}
	if j.Conversations++; j.Conversations == 1 {
		j.From, j.Client = inner.client.Addr(), outer.client.Addr()
		t.name(r)
	}
	j.Clients = j.Clients || j.Client != outer.client.Addr()
}
