package classify

import (
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/inventory"
	"github.com/exspan/exspan/classify/judge"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/classify/session"
)

// subject is a flow as the judge sees it, with what its record shows besides.
type subject struct {
	judge.Subject
	facts                  *observe.Facts
	entries                []*inventory.Endpoint // announced for the server's end, the one that proves most first
	clientName, serverName string
	clientAddr, serverAddr *capture.Addr
}

// subjectOf returns a flow as the judge sees it, with an outcome. The result is
// valid until the next call.
func (e *Engine) subjectOf(s *slot, outcome record.Outcome) *subject {
	client, server := s.ends()
	sub := &e.subject
	sub.entries, sub.Announced = sub.entries[:0], nil
	if e.inventory.Ever(server.Port) || e.inventory.Ever(client.Port) {
		client, server = e.announcedFor(s, client, server)
	}
	protocol, late, facts := e.reader.Content(&s.State)
	if sub.Protocol = ""; protocol != 0 {
		sub.Protocol = e.protocols[protocol-1].Name
	}
	sub.Proto, sub.Port, sub.Outcome, sub.Dropped = s.Proto, server.Port, outcome, ""
	sub.Payload, sub.Begun = s.Seen&flow.SeenPayload != 0, s.Proto != capture.TCP || s.Begun()
	tunnels := e.tunnels.ofFlow(s.id, s.state)
	sub.Client, sub.clientName = e.inventory.Host(&client.Addr, tunnels)
	sub.Server, sub.serverName = e.inventory.Host(&server.Addr, tunnels)
	sub.clientAddr, sub.serverAddr = &client.Addr, &server.Addr
	sub.Late, sub.facts = late, facts
	sub.Facts, sub.Foreign = facts.List(), s.Foreign()
	sub.Blind = blindOf(s)
	return sub
}

// blindOf returns what kept the content of a flow from being seen whole.
func blindOf(s *slot) judge.Blind {
	switch {
	case s.Truncated():
		return judge.Truncated
	case s.Proto != capture.TCP:
		return judge.Whole
	case s.BothWays():
		if !s.Begun() && s.Seen&flow.SeenPayload != 0 {
			return judge.LateStart
		}
	case s.Packets(s.Ends.Side(observe.ToServer)) > 0:
		if s.Seen&flow.SeenPayload != 0 {
			return judge.ClientAlone
		}
	case s.Packets(0)+s.Packets(1) > 2: // more than a SYN-ACK or a refusal
		return judge.ServerAlone
	}
	return judge.Whole
}

// announcedFor sets the announced endpoints of the subject. It returns the ends of the
// flow, which may have been turned.
func (e *Engine) announcedFor(s *slot, client, server *capture.Endpoint) (*capture.Endpoint, *capture.Endpoint) {
	sub := &e.subject
	f, _ := e.find(s, client, server)
	sub.entries = e.inventory.Find(f, sub.entries)
	if len(sub.entries) == 0 && s.Proto == capture.TCP {
		// What was announced tells who is the server, unless the handshake did.
		f.Client, f.Server = server, client
		if sub.entries = e.inventory.Find(f, sub.entries); len(sub.entries) > 0 {
			if s.Ends.Turn() {
				client, server = server, client
			} else {
				sub.entries = sub.entries[:0]
			}
		}
	}
	sub.Announced = e.inventory.Services(sub.entries)
	return client, server
}

// find returns the flow in the form in which learned endpoints are looked up, and whether
// its protocol was found later than by its first bytes. The result is valid until the
// next call.
func (e *Engine) find(s *slot, client, server *capture.Endpoint) (f *inventory.Flow, late bool) {
	protocol, late, facts := e.reader.Content(&s.State)
	f = &e.lookup
	f.Client, f.Server, f.Proto, f.First, f.Last = client, server, s.Proto, s.First, s.Last
	f.Protocol, f.Facts, f.Tunnels = "", facts.List(), e.tunnels.ofFlow(s.id, s.state)
	if protocol != 0 {
		f.Protocol = e.protocols[protocol-1].Name
	}
	return f, late
}

// mayBeFinal reports whether a verdict of the subject can be final before all is
// known: one on an Exchange server's flow that rests on more than the port.
func (s *subject) mayBeFinal() bool {
	return (s.Client.Exchange || s.Server.Exchange || s.Server.Front) && (s.Protocol != "" || len(s.entries) > 0)
}

// verdictOf returns the verdict on a subject. It must not be changed.
func (e *Engine) verdictOf(s *subject) *record.Verdict {
	v := e.judge.Verdict(&s.Subject)
	if !v.Open() {
		return &v.Verdict
	}
	o := judge.Origin{Client: s.clientAddr.Netip(), Server: s.serverAddr.Netip()}
	if v.Service >= 0 {
		o.From, o.Learned, o.Sensor = s.entries[v.Service].Origin()
	}
	return e.judge.Word(v, o)
}

// used returns the announced endpoint that a flow used, nil for none: one whose
// service was read on the flow, else the one that proves most.
func (s *subject) used() *inventory.Endpoint {
	if len(s.entries) == 0 {
		return nil
	}
	for _, en := range s.entries {
		if s.Facts.Has(observe.RPCInterface, en.Service()) {
			return en
		}
	}
	if !s.Facts.Any(observe.RPCInterface) {
		return s.entries[0]
	}
	return nil
}

// absorb takes in what a flow has just told.
func (e *Engine) absorb(h *session.Heard) {
	before := h.Facts.List()
	list := e.tunnels.ofFlow(h.ID, e.flows.stateOf(h.ID))
	if h.Tunnel != 0 {
		h.Tunnel = e.tunnels.onWire(h.Tunnel)
	} else if h.Ended && len(list) > 0 {
		h.Tunnel = list[0]
	}
	h.Within = h.Tunnel
	if i := slices.IndexFunc(list, func(t capture.TunnelID) bool { return t != 0 }); i >= 0 {
		h.Within = list[i]
	}
	if changes := e.inventory.Hear(h); len(changes) > 0 {
		e.learned(changes)
	}
	e.reader.Announcements = e.inventory.MediaAnnounced()
	if h.Facts.List() != before {
		e.reader.Amended(h)
	}
	if h.Proto == capture.TCP && (h.Changed || len(h.Ties) > 0) {
		e.joinLegs(h)
	}
	if e.calls != nil {
		for i := range h.Calls {
			e.calls.Add(&h.Calls[i])
		}
		if len(h.Streams) > 0 {
			e.calls.AddStreams(h.Streams)
		}
	}
	if h.Changed {
		e.newFacts(h.ID)
	}
}

// joinLegs looks for the other legs of a flow's conversation.
func (e *Engine) joinLegs(h *session.Heard) {
	st := e.flows.stateOf(h.ID)
	protocol, isNew := "", !st.has(isLeg)
	if h.Protocol != 0 {
		protocol = e.protocols[h.Protocol-1].Name
	}
	web := !mail(protocol) && !mailPort(h.Server.Port)
	if isNew {
		if h.Ended || len(h.Ties) == 0 && !balanced(protocol) {
			return
		}
		if st.set(isLeg); !web {
			st.set(mailLeg)
		}
	}
	e.legs.hear(h, web, isNew)
}

// isLiveLeg reports whether p is a live flow that legs knows.
func (e *Engine) isLiveLeg(p *legPlace) bool {
	if st := e.flows.stateOf(p.id); !st.has(isLeg) || st.has(ended) {
		return false
	}
	now := e.placeOf(p.id)
	if now.client == p.server && now.server == p.client { // its ends were turned since
		return now.clientPort == p.serverPort && now.serverPort == p.clientPort
	}
	return now.legEnds == p.legEnds && now.clientPort == p.clientPort && now.serverPort == p.serverPort
}

// eachLeg calls f for every live flow that legs knows.
func (e *Engine) eachLeg(f func(*legPlace)) {
	for id := range e.flows.marked(isLeg) {
		if !e.flows.stateOf(id).has(ended) {
			p := e.placeOf(id)
			f(&p)
		}
	}
}

// placeOf returns the place of a live leg.
func (e *Engine) placeOf(id flow.ID) legPlace {
	s := e.flows.at(id)
	client, server := s.ends()
	return legPlace{legEnds{client.Addr, server.Addr}, leg{id, client.Port, server.Port, !s.has(mailLeg)}}
}

// announced returns the service that a learned endpoint promises for a flow now,
// or "".
func (e *Engine) announced(client, server *capture.Endpoint, proto uint8) string {
	return e.inventory.Announced(client, server, proto, e.clock)
}
