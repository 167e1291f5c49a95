package classify

import (
	"net/netip"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/communityid"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dcerpc"
	"github.com/exspan/exspan/classify/observe/http"
	"github.com/exspan/exspan/classify/observe/proxy"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// legs joins the flows that are legs of one conversation on both sides of a load
// balancer or proxy. Three things prove that: both flows carry the random value of the
// same TLS hello; both carry the id or the ticket of one TLS session, and one leads to
// where the other comes from; or one of them names the client of the other. Time alone
// proves nothing, so the address of a client with several connections to a load balancer
// joins none of them. Legs are joined while both are live: what the inner one says, the
// outer one has caused.
type legs struct {
	// isLive reports whether a flow is live and a leg, and each calls a function for
	// every flow that is.
	isLive func(*legPlace) bool
	each   func(func(*legPlace))
	pairs  map[legEnds]legList // live flows by their hosts; nil until a flow names a client
	ties   map[uint64]legPlace // flows by the random values that they carry
	of     map[flow.ID]string  // conversations of flows that are joined
	site   *rules.Site         // nil for none
	// nameless holds lists of facts that name no client, by their IDs.
	nameless [256]*observe.List
	wait     int    // hellos until ties of ended flows are looked for again
	refused  uint64 // flows that found no room
}

// The limits of a legs.
const (
	maxLegPairs = 1 << 14
	maxTies     = 1 << 15
	maxJoined   = 1 << 16
)

// legEnds are the hosts of a flow.
type legEnds struct{ client, server capture.Addr }

// leg is a flow that can be joined with others.
type leg struct {
	id                     flow.ID // 0 for none
	clientPort, serverPort uint16
	web                    bool // it can carry HTTP, else mail protocols
}

// legList holds n live flows of two hosts. It has no room for excess further flows.
type legList struct {
	legs   [8]leg
	n      uint8
	excess uint32
}

// legPlace is where a leg is found.
type legPlace struct {
	legEnds
	leg
}

// conversation returns the id under which a leg and what it causes go: its own
// Community ID.
func (p *legPlace) conversation() string {
	return communityid.V1(capture.TCP, netip.AddrPortFrom(p.client.Netip(), p.clientPort), netip.AddrPortFrom(p.server.Netip(), p.serverPort))
}

// balanced reports whether a protocol passes through load balancers, with TLS or
// without.
func balanced(protocol string) bool { return protocol == "tls" || protocol == "http" || mail(protocol) }

func mail(protocol string) bool {
	return protocol == "smtp" || protocol == "imap" || protocol == "pop3"
}

// mailPort reports whether a TCP port is that of SMTP, POP3 or IMAP4, with TLS or
// without.
func mailPort(port uint16) bool {
	switch port {
	case 25, 465, 587, 110, 995, 143, 993:
		return true
	}
	return false
}

// hear takes in what a flow has told. isNew reports whether the flow has just become a
// leg.
func (l *legs) hear(h *session.Heard, web, isNew bool) {
	at := legPlace{legEnds{h.Client.Addr, h.Server.Addr}, leg{h.ID, h.Client.Port, h.Server.Port, web}}
	if isNew && l.pairs != nil {
		l.add(&at)
	}
	for _, tie := range h.Ties {
		l.tie(tie, &at)
	}
	facts := h.Facts.List()
	known := &l.nameless[facts.ID()%uint64(len(l.nameless))]
	if !h.Changed || facts == nil || *known == facts {
		return
	}
	client, ok := clientNamed(facts)
	if !ok {
		*known = facts
		return
	}
	if l.of[h.ID] != "" {
		return
	}
	if l.pairs == nil {
		l.index()
	}
	if outer, found := l.outer(&at, client); found && outer.web == at.web {
		l.join(&outer, &at)
	}
}

// clientNamed returns the client of another leg that the facts of a flow name. A flow
// that names several clients belongs to no single one.
func clientNamed(facts *observe.List) (client netip.Addr, ok bool) {
	if !facts.Any(proxy.Client) && !facts.Any(http.ForwardedFor) && !facts.Any(dcerpc.ClientIP) {
		return client, false
	}
	for _, name := range [...]string{proxy.Client, http.ForwardedFor, dcerpc.ClientIP} {
		value, n := "", 0
		for _, f := range facts.All() {
			if f.Name == name {
				value = f.Value
				n++
			}
		}
		if n == 1 {
			if a, err := netip.ParseAddr(value); err == nil {
				return a.Unmap(), true
			}
		}
	}
	return client, false
}

// index collects the live flows by their hosts, and keeps the collection from now on.
func (l *legs) index() {
	l.pairs = map[legEnds]legList{}
	l.each(l.add)
}

// add takes in a live flow.
func (l *legs) add(at *legPlace) {
	list, known := l.pairs[at.legEnds]
	if !known && len(l.pairs) >= maxLegPairs {
		l.refused++
		return
	}
	if int(list.n) < len(list.legs) {
		list.legs[list.n] = at.leg
		list.n++
	} else {
		list.excess++
	}
	l.pairs[at.legEnds] = list
}

// tie takes in a random value of a TLS hello that a flow carries.
func (l *legs) tie(tie uint64, at *legPlace) {
	if l.ties == nil {
		l.ties = map[uint64]legPlace{}
	}
	if p, known := l.ties[tie]; known && p.id != at.id {
		other := p // on the heap, which few need
		switch {
		case tie&observe.SessionTie != 0 && (other.id == 0 || l.isLive(&other)):
			l.tieSession(tie, &other, at)
			return
		case l.isLive(&other):
			l.join(&other, at)
			return
		}
	}
	switch {
	case len(l.ties) < maxTies:
		l.ties[tie] = *at
	case l.wait > 0:
		l.wait--
		l.refused++
	default:
		// Those of flows that have ended make room. It takes long to look for them, so
		// it is not done again soon.
		for t, p := range l.ties {
			if !l.isLive(&p) {
				delete(l.ties, t)
			}
		}
		if l.wait = maxTies / 8; len(l.ties) < maxTies {
			l.ties[tie] = *at
		} else {
			l.refused++
		}
	}
}

// tieSession takes in that two live flows carry the id or the ticket of one session.
// They are legs if one comes from the host that the other leads to. Otherwise a client
// has resumed its session while the first connection was live: that session proves
// nothing any more.
func (l *legs) tieSession(tie uint64, other, at *legPlace) {
	switch {
	case other.id == 0: // it proves nothing
	case other.server == at.client && other.client != at.server:
		l.join(other, at)
	case at.server == other.client && at.client != other.server:
		l.join(at, other)
	default:
		l.ties[tie] = legPlace{}
	}
}

// outer returns the only live flow of a client to the host that inner comes from.
func (l *legs) outer(inner *legPlace, client netip.Addr) (legPlace, bool) {
	ends := legEnds{capture.AddrFrom(client), inner.client}
	if p, ok := l.only(ends); ok || l.site == nil {
		return p, ok
	}
	from := inner.client.Netip()
	for i := range l.site.Servers {
		s := &l.site.Servers[i]
		if !slices.Contains(s.Addresses, from) {
			continue
		}
		for _, a := range s.Addresses {
			ends.server = capture.AddrFrom(a)
			if p, ok := l.only(ends); ok {
				return p, true
			}
		}
	}
	return legPlace{}, false
}

// only returns the only live flow of two hosts.
func (l *legs) only(ends legEnds) (legPlace, bool) {
	list := l.pairs[ends]
	return legPlace{ends, list.legs[0]}, list.n == 1 && list.excess == 0
}

// join makes two flows legs of one conversation, unless they belong to others.
func (l *legs) join(outer, inner *legPlace) {
	if l.of == nil {
		l.of = map[flow.ID]string{}
	}
	a, b := l.of[outer.id], l.of[inner.id]
	switch {
	case a != "" && b != "":
	case len(l.of)+2 > maxJoined:
		l.refused++
	case b != "":
		l.of[outer.id] = b
	default:
		if a == "" {
			a = outer.conversation()
			l.of[outer.id] = a
		}
		l.of[inner.id] = a
	}
}

// ended takes a flow that has ended out of those that others can be joined with. a
// and b are its hosts, in any order.
func (l *legs) ended(id flow.ID, a, b capture.Addr) {
	if l.pairs == nil {
		return
	}
	both := [...]legEnds{{a, b}, {b, a}}
	for _, ends := range both {
		list := l.pairs[ends]
		for i := range list.legs {
			if list.legs[i].id == id {
				list.n--
				list.legs[i], list.legs[list.n] = list.legs[list.n], leg{}
				l.put(ends, list)
				return
			}
		}
	}
	for _, ends := range both {
		if list := l.pairs[ends]; list.excess > 0 {
			list.excess--
			l.put(ends, list)
			return
		}
	}
}

// put keeps the flows of two hosts.
func (l *legs) put(ends legEnds, list legList) {
	if list.n == 0 && list.excess == 0 {
		delete(l.pairs, ends)
	} else {
		l.pairs[ends] = list
	}
}
