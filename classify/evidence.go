package classify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
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

// weigh holds a flow's facts, and what is noted of them, against what proves roles.
// reader is its protocol, seen is how many of the facts were held against it before.
func (e *Engine) weigh(s *slot, reader uint8, facts *observe.Facts, w *weighing, seen int) {
	if w.reader != reader {
		e.evidence.weigh(w, reader, facts)
	}
	if w.last <= seen {
		return
	}
	for _, r := range w.rules {
		if !portFits(r.port, s.Server().Port, s.Proto) {
			continue
		}
		server := s.Server()
		addr := server.Addr
		if r.End == "client" {
			addr = s.Client().Addr
		} else if !s.Spoke(observe.ToClient) {
			continue // who was asked and never answered proves nothing
		}
		if e.hosts.proven(addr, r.Roles, r.Version) {
			continue
		}
		what := e.protocols[reader-1].Name
		if f, ok := fitting(r.tests, facts); ok {
			what = f.Name + "=" + f.Value
		}
		e.hosts.prove(addr, r.Roles, r.Weak, r.Version, fmt.Sprintf("%s on port %d", what, server.Port))
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

// absorb takes in what an observer has just told of the flow that is being read.
func (e *Engine) absorb(c *conn) {
	r, s := &e.report, &e.slot
	if r.Learned() {
		e.learn(r, s, e.packet)
	}
	if !r.Changed {
		return
	}
	var n *note // nil for no facts
	if r.Len() > 0 {
		if n = noteOf(&r.Facts); !n.named {
			n = e.nameServices(&r.Facts)
		}
	}
	r.Changed = false
	c.facts = r.Facts
	if c.named {
		if n != nil {
			e.weigh(s, c.proto, &c.facts, &n.weighing, int(c.weighed))
		}
		c.weighed = int32(c.facts.Len())
	}
	if e.traffic != nil {
		e.newFacts(s)
	}
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
func (e *Engine) learn(r *observe.Report, s *slot, p *capture.Packet) {
	datagram := s.Proto == capture.UDP
	for i := range r.Endpoints {
		ep := &r.Endpoints[i]
		if ep.End {
			e.endpoints.endScope(ep.Scope, p.Time)
			continue
		}
		if en, isNew := e.endpoints.learn(ep, e.serviceName(ep.Service), datagram, p.Time); isNew {
			e.weighEndpoint(en)
		}
	}
	clear(r.Endpoints)
	r.Endpoints = r.Endpoints[:0]
	for _, service := range r.Rejected {
		e.endpoints.reject(endpointKey{s.Server(), s.Proto}, e.serviceName(service), p.Time)
	}
	r.Rejected = r.Rejected[:0]
	for _, n := range r.Names {
		e.hosts.name(n.Addr, n.Name)
	}
	r.Names = r.Names[:0]
	if e.calls != nil {
		for i := range r.Calls {
			e.calls.Add(&r.Calls[i])
		}
	}
	clear(r.Calls)
	r.Calls = r.Calls[:0]
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
