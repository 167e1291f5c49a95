package classify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// evidenceRule is one match of a RoleEvidence.
type evidenceRule struct {
	*rules.RoleEvidence
	port  rules.Port
	tests []factTest
}

// evidence is what proves roles, by the protocol it needs.
type evidence struct {
	rules map[string][]evidenceRule
	names []string // the facts that some rule asks for: others change nothing
	// byReader holds the rules for each of Engine.protocols: its own, then those
	// for any.
	byReader [][]evidenceRule
}

// weighing is what facts prove.
type weighing struct {
	reader uint8           // the protocol they were read by, as in state.proto; 0 before
	last   int             // how many facts there are up to the last that some rule asks for
	rules  []*evidenceRule // those that the facts fit
}

func compileEvidence(packs *rules.Packs, protocols []observe.Protocol) *evidence {
	e := &evidence{rules: map[string][]evidenceRule{}}
	for _, pack := range packs.All() {
		for i := range pack.Evidence {
			ev := &pack.Evidence[i]
			for j := range ev.Any {
				m := &ev.Any[j]
				r := evidenceRule{RoleEvidence: ev, port: m.Port, tests: testsOf(m.Facts)}
				for _, t := range r.tests {
					if !slices.Contains(e.names, t.name) {
						e.names = append(e.names, t.name)
					}
				}
				e.rules[m.Protocol] = append(e.rules[m.Protocol], r)
			}
		}
	}
	for i := range protocols {
		e.byReader = append(e.byReader, slices.Concat(e.rules[protocols[i].Name], e.rules[""]))
	}
	return e
}

// weigh finds out what a flow's facts prove; reader is its protocol.
func (e *evidence) weigh(w *weighing, reader uint8, facts *observe.Facts) {
	*w = weighing{reader: reader}
	for i, f := range facts.All() {
		if slices.Contains(e.names, f.Name) {
			w.last = i + 1
		}
	}
	for i := range e.byReader[reader-1] {
		if r := &e.byReader[reader-1][i]; matchFacts(r.tests, facts).complete {
			w.rules = append(w.rules, r)
		}
	}
}

// weigh holds the facts of a flow that its protocol names, and what is noted of
// them, against what proves roles.
func (e *Engine) weigh(h *session.Heard, w *weighing) {
	if w.reader != h.Protocol {
		e.evidence.weigh(w, h.Protocol, h.Facts)
	}
	if w.last <= h.Weighed {
		return
	}
	for _, r := range w.rules {
		if !portFits(r.port, h.Server.Port, h.Proto) {
			continue
		}
		addr := h.Server.Addr
		if r.End == "client" {
			addr = h.Client.Addr
		} else if !h.ServerSpoke {
			continue // a server that never answered proves nothing
		}
		if e.hosts.proven(addr, r.Roles, r.Version) {
			continue
		}
		what := e.protocols[h.Protocol-1].Name
		if f, ok := fitting(r.tests, h.Facts); ok {
			what = f.Name + "=" + f.Value
		}
		e.hosts.prove(addr, r.Roles, r.Weak, r.Version, fmt.Sprintf("%s on port %d", what, h.Server.Port))
	}
}

// weighEndpoint holds a learned endpoint against what proves roles: an
// endpoint mapper that announces a service speaks for its host.
func (e *Engine) weighEndpoint(en *entry) {
	if en.weak || en.datagram || en.source == observe.FromSite {
		return
	}
	protocol := en.protocol()
	if protocol != "dcerpc" {
		return
	}
	for _, key := range [...]string{protocol, ""} {
		for _, r := range e.evidence.rules[key] {
			if r.End == "server" && len(r.tests) == 1 && r.tests[0].name == observe.RPCInterface && r.tests[0].match(en.service) == byName {
				e.hosts.prove(en.key.server.Addr, r.Roles, r.Weak, r.Version,
					fmt.Sprintf("%s announced at port %d by %s", en.service, en.key.server.Port, en.from))
			}
		}
	}
}

func portFits(p rules.Port, port uint16, proto uint8) bool {
	if !p.TCP && !p.UDP {
		return true
	}
	return transport(p, proto) && p.Contains(port)
}

// absorb takes in what a flow has just told.
func (e *Engine) absorb(h *session.Heard) {
	e.learn(h)
	if !h.Changed {
		return
	}
	if h.Facts.Len() > 0 {
		n := noteOf(h.Facts)
		if !n.named {
			n = e.nameServices(h.Facts)
			e.reader.Amended(h)
		}
		if h.Protocol != 0 {
			e.weigh(h, &n.weighing)
		}
	}
	e.newFacts(h.ID)
}

// nameServices adds the short names of the RPC services among facts, and returns the
// note of what they are then.
func (e *Engine) nameServices(facts *observe.Facts) *note {
	some := false
	for _, f := range facts.All() {
		if f.Name == observe.RPCUUID {
			some = true
			facts.Add(observe.RPCInterface, e.serviceName(f.Value))
		}
	}
	n := noteOf(facts)
	n.named = !some
	return n
}

// learn takes what a flow told of others.
func (e *Engine) learn(h *session.Heard) {
	for i := range h.Endpoints {
		ep := &h.Endpoints[i]
		if ep.End {
			e.endpoints.endScope(ep.Scope, h.Time)
			continue
		}
		if en, isNew := e.endpoints.learn(ep, e.serviceName(ep.Service), h.Proto == capture.UDP, h.Time); isNew {
			e.weighEndpoint(en)
		}
	}
	e.reader.Announcements = e.endpoints.media
	for _, service := range h.Rejected {
		e.endpoints.reject(endpointKey{h.Server, h.Proto}, e.serviceName(service), h.Time)
	}
	for _, n := range h.Names {
		e.hosts.name(n.Addr, n.Name)
	}
	if e.calls != nil {
		for i := range h.Calls {
			e.calls.Add(&h.Calls[i])
		}
		if len(h.Streams) > 0 {
			e.calls.AddStreams(h.Streams)
		}
	}
}

// announced returns what a learned endpoint promises for a flow now. Media come
// from either end.
func (e *Engine) announced(client, server *capture.Endpoint, proto uint8) string {
	a := ""
	if e.endpoints.ever(server.Port) {
		a = e.endpoints.announced(*server, proto, e.clock)
	}
	if a == "" && proto == capture.UDP && e.endpoints.ever(client.Port) {
		a = e.endpoints.announced(*client, proto, e.clock)
	}
	return a
}

// serviceName returns the short name of an RPC service written "UUID vX.Y",
// and any other service as it is.
func (e *Engine) serviceName(service string) string {
	uuid, version, ok := strings.Cut(service, " v")
	if !ok || len(uuid) != 36 {
		return service
	}
	if name, ok := e.cfg.Packs.InterfaceName(uuid, version); ok {
		return name
	}
	return service
}
