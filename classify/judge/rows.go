package judge

import (
	"slices"
	"strconv"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// legRef is a leg with its path, in pack order.
type legRef struct {
	path  *rules.DataPath
	order int
	leg   *rules.Leg
	tests match.Facts
}

// ruleset is the paths of one version, arranged for look-up.
type ruleset struct {
	version  string
	tcp, udp []span               // legs with port numbers
	dynamic  map[string][]*legRef // legs with announced ports, by protocol
	local    []rules.LocalPort
}

// span is a run of ports that the same legs name. It ends where the next begins.
type span struct {
	first uint16
	legs  []*legRef
}

func compile(pack *rules.Pack, site *rules.Site) *ruleset {
	rs := &ruleset{version: pack.Version, dynamic: map[string][]*legRef{}, local: slices.Clone(pack.LocalOnly)}
	var static []*legRef
	for i := range pack.Paths {
		p := &pack.Paths[i]
		if p.NotUsed || p.Local {
			rs.own(p)
			continue
		}
		for j := range p.Legs {
			ref := &legRef{p, i, &p.Legs[j], match.Compile(p.Legs[j].Facts)}
			if site.Port(ref.leg).Dynamic {
				rs.dynamic[ref.leg.Protocol] = append(rs.dynamic[ref.leg.Protocol], ref)
			} else {
				static = append(static, ref)
			}
		}
	}
	rs.tcp = spans(static, site, capture.TCP)
	rs.udp = spans(static, site, capture.UDP)
	return rs
}

// own takes in a path that explains no flow between hosts.
func (rs *ruleset) own(p *rules.DataPath) {
	for i := range p.Legs {
		if l := &p.Legs[i]; p.Local && !l.Port.Dynamic {
			rs.local = append(rs.local, rules.LocalPort{Port: l.Port, Note: p.Name, Source: p.Source})
		}
	}
}

// spans arranges the legs of one transport by port, in pack order for each.
func spans(legs []*legRef, site *rules.Site, proto uint8) []span {
	firsts := []int{0}
	for _, ref := range legs {
		if port := site.Port(ref.leg); match.Transport(port, proto) {
			firsts = append(firsts, int(port.From), int(port.To)+1)
		}
	}
	slices.Sort(firsts)
	var list []span
	for _, first := range slices.Compact(firsts) {
		if first <= 0xffff {
			list = append(list, span{first: uint16(first)})
		}
	}
	for _, ref := range legs {
		port := site.Port(ref.leg)
		if !match.Transport(port, proto) {
			continue
		}
		for i := spanOf(list, port.From); i < len(list) && list[i].first <= port.To; i++ {
			list[i].legs = append(list[i].legs, ref)
		}
	}
	return list
}

// spanOf returns the index of the span that a port is in.
func spanOf(list []span, port uint16) int {
	i, end := 0, len(list)
	for i < end {
		if middle := (i + end) / 2; list[middle].first <= port {
			i = middle + 1
		} else {
			end = middle
		}
	}
	return i - 1
}

// hit is a leg that fits a subject, roles aside.
type hit struct {
	*legRef
	service      int // in Subject.Announced.Services, or -1
	specific     int // facts that fit by name
	confidence   record.Confidence
	mismatch     bool // the port fits, the protocol that was read does not
	undocumented bool // a dynamic port outside the documented range
}

// rank orders hits: what rests on content goes by how specific it is, then by
// confidence.
func (h *hit) rank() int {
	r := int(h.confidence)
	if h.confidence > record.ByPort {
		r += 10 * (h.specific + 1)
	}
	if h.mismatch {
		r -= 1000
	}
	return r
}

// hitsOf returns the legs that fit a subject, roles aside, in buf.
func (j *Judge) hitsOf(rs *ruleset, s *Subject, buf []hit) []hit {
	buf = buf[:0]
	static := rs.tcp
	if s.Proto == capture.UDP {
		static = rs.udp
	}
	for _, ref := range static[spanOf(static, s.Port)].legs {
		if h, ok := s.fitStatic(ref); ok {
			buf = append(buf, h)
		}
	}
	switch {
	case s.Protocol != "" && s.Announced == nil:
		for _, m := range j.spokenFor(rs, s) {
			if h, ok := s.fitSpoken(m); ok {
				buf = append(buf, h)
			}
		}
	case s.Protocol != "":
		buf = s.fitAllDynamic(rs.dynamic[s.Protocol], buf)
	case s.Announced != nil:
		for i, x := range s.Announced.Services {
			if !slices.ContainsFunc(s.Announced.Services[:i], func(y match.Service) bool { return y.Protocol == x.Protocol }) {
				buf = s.fitAllDynamic(rs.dynamic[x.Protocol], buf)
			}
		}
	}
	return buf
}

func (s *Subject) fitAllDynamic(refs []*legRef, buf []hit) []hit {
	for _, ref := range refs {
		if h, ok := s.fitDynamic(ref); ok {
			buf = append(buf, h)
		}
	}
	return buf
}

// fitStatic holds a subject against a leg with a port number.
func (s *Subject) fitStatic(ref *legRef) (hit, bool) {
	h := hit{legRef: ref, service: -1, confidence: record.ByPort}
	l := ref.leg
	if s.Protocol != "" && l.Protocol != "" && s.Protocol != l.Protocol {
		h.mismatch = !s.Late || !carries(l.Protocol, s.Protocol)
		return h, true
	}
	own := ref.tests.Match(s.Facts.All())
	switch {
	case own.Contradicted:
		return hit{}, false
	case s.Protocol != "" && l.Protocol != "" && own.Complete:
		h.confidence, h.specific = record.Observed, own.Specific
		h.service = s.serviceFor(ref)
	default:
		if i := s.serviceFor(ref); i >= 0 {
			h.service, h.confidence, h.specific = i, s.trust(i), len(ref.tests)
		}
	}
	if !s.liftsCap(h.service) {
		h.confidence = min(h.confidence, capOf(l))
	}
	return h, true
}

// spoken is which legs with announced ports a list of facts speaks for by
// itself. It is kept by the id of the list.
type spoken struct {
	list     uint64
	by       *ruleset
	protocol string
	legs     []legMatch
}

// legMatch is a leg of which every attribute fits, some of them by name.
type legMatch struct {
	*legRef
	specific int
}

// spokenFor returns the legs with announced ports that a subject's protocol and
// facts speak for by themselves.
func (j *Judge) spokenFor(rs *ruleset, s *Subject) []legMatch {
	id := s.Facts.ID()
	known := &j.spoken[id%uint64(len(j.spoken))]
	if id != 0 && known.list == id && known.by == rs && known.protocol == s.Protocol {
		return known.legs
	}
	var legs []legMatch
	for _, ref := range rs.dynamic[s.Protocol] {
		if own := ref.tests.Match(s.Facts.All()); own.Complete {
			legs = append(legs, legMatch{ref, own.Specific})
		}
	}
	if id != 0 { // 0 is that of any list that flows do not share
		*known = spoken{id, rs, s.Protocol, legs}
	}
	return legs
}

// fitSpoken compares a subject to whose endpoint nothing was announced with a
// leg that its facts speak for.
func (s *Subject) fitSpoken(m legMatch) (hit, bool) {
	l := m.leg
	return hit{
		legRef: m.legRef, service: -1, specific: m.specific, confidence: min(record.Observed, capOf(l)), undocumented: s.outside(l),
	}, match.Transport(l.Port, s.Proto)
}

// outside says whether the port is outside the range that is documented for a
// leg whose port is announced.
func (s *Subject) outside(l *rules.Leg) bool {
	return l.Port.From != 0 && (s.Port < l.Port.From || s.Port > l.Port.To)
}

// fitDynamic holds a subject against a leg whose port is announced: the
// content or the announcement must speak for it, the number never does.
func (s *Subject) fitDynamic(ref *legRef) (hit, bool) {
	h := hit{legRef: ref, service: -1}
	l := ref.leg
	if !match.Transport(l.Port, s.Proto) || s.Protocol != "" && s.Protocol != l.Protocol {
		return h, false
	}
	own := ref.tests.Match(s.Facts.All())
	if own.Contradicted {
		return h, false
	}
	h.service = s.serviceFor(ref)
	switch {
	case s.Protocol != "" && own.Complete:
		h.confidence, h.specific = record.Observed, own.Specific
	case h.service >= 0:
		h.confidence, h.specific = s.trust(h.service), len(ref.tests)
	default:
		return h, false
	}
	if !s.liftsCap(h.service) {
		h.confidence = min(h.confidence, capOf(l))
	}
	h.undocumented = s.outside(l)
	return h, true
}

// carries says whether a protocol can carry another, or turn into it under way.
// Where the first bytes of a flow were not seen, the inner one on a port of the
// outer one is no mismatch.
func carries(outer, inner string) bool {
	switch inner {
	case "tls":
		switch outer {
		case "smtp", "imap", "pop3", "nntp", "ldap", "nmf", "http":
			return true
		}
	case "dcerpc":
		return outer == "http" || outer == "smb"
	}
	return false
}

// trust returns the confidence of a match that rests on the announced service
// with an index.
func (s *Subject) trust(service int) record.Confidence {
	if s.Announced.Services[service].Weak {
		return record.ByPattern
	}
	return record.Learned
}

// liftsCap reports whether the service with an index was announced, so that the
// cap of a leg does not hold. A bind only uses the endpoint.
func (s *Subject) liftsCap(service int) bool {
	return service >= 0 && !s.Announced.Services[service].Weak && s.Announced.Services[service].Source != observe.FromBind
}

func capOf(l *rules.Leg) record.Confidence {
	switch l.MaxConfidence {
	case "port":
		return record.ByPort
	case "pattern":
		return record.ByPattern
	}
	return record.Observed
}

// serviceFor returns the index of the strongest announced service that fits a
// leg, or -1.
func (s *Subject) serviceFor(ref *legRef) int {
	if s.Announced == nil {
		return -1
	}
	for i := range s.Announced.Services {
		if x := &s.Announced.Services[i]; x.Protocol == ref.leg.Protocol && ref.tests.Announces(x) {
			return i
		}
	}
	return -1
}

// sides returns the roles of a leg's client and server.
func sides(p *rules.DataPath, l *rules.Leg) (from, to []rules.Role) {
	if l.Reverse {
		return p.To, p.From
	}
	return p.From, p.To
}

// fits reports whether the roles of both ends fit the path of a hit.
func (h *hit) fits(client, server *match.RoleSet) bool {
	from, to := sides(h.path, h.leg)
	if one := h.path.OneEnd; len(one) > 0 && !client.Fits(one) && !server.Fits(one) {
		return false
	}
	return side(h.path, client, from) && side(h.path, server, to)
}

func side(p *rules.DataPath, r *match.RoleSet, want []rules.Role) bool {
	return r.Fits(want) || p.External && slices.Contains(want, rules.Client) && r.Has(rules.Internet)
}

// why words what a hit rests on, up to the announced service, and returns that
// service's index or -1.
func (h *hit) why(s *Subject) (string, int) {
	switch {
	case h.mismatch:
		return "port " + s.portName() + ", where " + s.Protocol + " was read instead of " + h.leg.Protocol, -1
	case h.confidence == record.ByPort:
		return "port " + s.portName() + " and roles only", -1
	}
	if f, ok := h.tests.First(s.Facts.All()); ok {
		return f.Name + "=" + f.Value, h.service
	}
	if s.Protocol != "" {
		return s.Protocol + " on " + s.portName(), h.service
	}
	return "", h.service
}

func (s *Subject) portName() string {
	transport := "/tcp"
	if s.Proto == capture.UDP {
		transport = "/udp"
	}
	return string(append(strconv.AppendUint(make([]byte, 0, 9), uint64(s.Port), 10), transport...))
}
