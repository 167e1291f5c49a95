package classify

import (
	"fmt"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

// evidenceRule is one match of a RoleEvidence.
type evidenceRule struct {
	*rules.RoleEvidence
	match *rules.Match
}

// compileEvidence arranges the evidence of a pack by the protocol it needs.
func compileEvidence(into map[string][]evidenceRule, pack *rules.Pack) {
	for i := range pack.Evidence {
		ev := &pack.Evidence[i]
		for j := range ev.Any {
			m := &ev.Any[j]
			into[m.Protocol] = append(into[m.Protocol], evidenceRule{ev, m})
		}
	}
}

// weigh holds a flow's facts against what proves roles.
func (e *Engine) weigh(s *slot, protocol string, facts *observe.Facts) {
	server := s.Server()
	for _, key := range [...]string{protocol, ""} {
		for _, r := range e.evidence[key] {
			if !portFits(r.match.Port, server.Port, s.Proto) {
				continue
			}
			if m := matchFacts(r.match.Facts, facts); !m.complete {
				continue
			}
			addr := server.Addr
			if r.End == "client" {
				addr = s.Client().Addr
			}
			e.hosts.prove(addr, r.Roles, r.Weak, r.Version, reading(r.match, protocol, facts, server.Port))
		}
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
	for _, r := range e.evidence[protocol] {
		if want := r.match.Facts["rpc.interface"]; r.End == "server" && len(r.match.Facts) == 1 && matchValue("rpc.interface", want, en.service) == byName {
			e.hosts.prove(en.key.server.Addr, r.Roles, r.Weak, r.Version,
				fmt.Sprintf("%s announced at port %d by %s", en.service, en.key.server.Port, en.from))
		}
	}
}

func portFits(p rules.Port, port uint16, proto uint8) bool {
	if !p.TCP && !p.UDP {
		return true
	}
	return transport(p, proto) && p.Contains(port)
}

// reading words what was read on a flow: the first fact that fits, or the
// protocol.
func reading(m *rules.Match, protocol string, facts *observe.Facts, port uint16) string {
	var b strings.Builder
	for _, f := range facts.All() {
		if want := m.Facts[f.Name]; want != nil && matchValue(f.Name, want, f.Value) != noMatch {
			fmt.Fprintf(&b, "%s=%s", f.Name, f.Value)
			break
		}
	}
	if b.Len() == 0 {
		b.WriteString(protocol)
	}
	fmt.Fprintf(&b, " on port %d", port)
	return b.String()
}

// absorb takes in what an observer reported about a flow.
func (e *Engine) absorb(s *slot, c *conn, p *capture.Packet) {
	r := &c.report
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
	if !r.Changed {
		return
	}
	r.Changed = false
	for _, f := range r.All() {
		if f.Name == "rpc.uuid" {
			r.Add("rpc.interface", e.serviceName(f.Value))
		}
	}
	r.Changed = false
	if c.named {
		e.weigh(s, e.protocols[c.proto-1].Name, &r.Facts)
	}
	if e.traffic != nil && s.Owner.label == 0 && !s.Owner.over {
		e.trySettle(s, Learned)
	}
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
