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

// leg counts a flow that is a leg of a conversation. Of its legs, which come in any
// order, the one that begins first is the outer one.
func (t *Tally) leg(r *record.Record) {
	x := outerLeg{netip.AddrPortFrom(r.Client.Addr, r.Client.Port), netip.AddrPortFrom(r.Server.Addr, r.Server.Port), r.First}
	outer, known := t.open[r.Conversation]
	if !known {
		if t.open == nil {
			t.open = map[string]outerLeg{}
		}
		if len(t.open) < MaxPairs {
			t.open[strings.Clone(r.Conversation)] = x
		} else {
			t.Joined.More++
		}
		return
	}
	inner := x
	if x.first.Before(outer.first) {
		outer, inner = x, outer
		t.open[r.Conversation] = outer
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
