package classify

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// legRef is a leg with its path, in pack order.
type legRef struct {
	path  *rules.DataPath
	order int
	leg   *rules.Leg
	tests []factTest
}

// factTest is what one attribute of a Match asks for.
type factTest struct {
	name   string
	values []string
}

func testsOf(facts []rules.Fact) []factTest {
	tests := make([]factTest, len(facts))
	for i, f := range facts {
		tests[i] = factTest{f.Name, f.Values}
	}
	return tests
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
			ref := &legRef{p, i, &p.Legs[j], testsOf(p.Legs[j].Facts)}
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
		if port := site.Port(ref.leg); transport(port, proto) {
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
		if !transport(port, proto) {
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

// subject is a flow as rules see it.
type subject struct {
	proto    uint8
	port     uint16
	protocol string
	facts    *observe.Facts
	entries  []*entry // learned endpoints of the server's end, strongest first
	client   *roleSet
	server   *roleSet
	payload  bool
	begun    bool  // the begin of the flow was seen
	late     bool  // the protocol was not found by the flow's first bytes
	reader   uint8 // what protocol names: its index in Engine.protocols, plus one
	// clientName and serverName are the names of the ends, or empty.
	clientName, serverName string
}

// hit is a leg that fits a subject, roles aside.
type hit struct {
	*legRef
	entry        *entry
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

// hits appends the legs that fit a subject, roles aside.
func (rs *ruleset) hits(s *subject, buf []hit) []hit {
	buf = buf[:0]
	static := rs.tcp
	if s.proto == capture.UDP {
		static = rs.udp
	}
	for _, ref := range static[spanOf(static, s.port)].legs {
		if h, ok := s.fitStatic(ref); ok {
			buf = append(buf, h)
		}
	}
	if s.protocol != "" && len(s.entries) == 0 {
		for _, m := range rs.proven(s) {
			if h, ok := s.fitProven(m); ok {
				buf = append(buf, h)
			}
		}
	} else if s.protocol != "" {
		for _, ref := range rs.dynamic[s.protocol] {
			if h, ok := s.fitDynamic(ref); ok {
				buf = append(buf, h)
			}
		}
	} else if len(s.entries) > 0 {
		for _, protocol := range announcedProtocols(s.entries) {
			for _, ref := range rs.dynamic[protocol] {
				if h, ok := s.fitDynamic(ref); ok {
					buf = append(buf, h)
				}
			}
		}
	}
	return buf
}

// announcedProtocols returns the protocols that entries promise.
func announcedProtocols(entries []*entry) []string {
	var out []string
	for _, en := range entries {
		if p := en.protocol(); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// protocol returns the protocol of an announced service: what a mapper or a
// bind names is RPC, what SDP names is media.
func (en *entry) protocol() string {
	switch en.source {
	case observe.FromMap, observe.FromLookup, observe.FromBind, observe.FromSite:
		return "dcerpc"
	case observe.FromSDP:
		return "rtp"
	}
	return en.service
}

func transport(p rules.Port, proto uint8) bool {
	return p.TCP && proto == capture.TCP || p.UDP && proto == capture.UDP
}

// fitStatic holds a subject against a leg with a port number.
func (s *subject) fitStatic(ref *legRef) (hit, bool) {
	h := hit{legRef: ref, confidence: record.ByPort}
	l := ref.leg
	if s.protocol != "" && l.Protocol != "" && s.protocol != l.Protocol {
		h.mismatch = !s.late || !carries(l.Protocol, s.protocol)
		return h, true
	}
	own := matchFacts(ref.tests, s.facts)
	switch {
	case own.contradicted:
		return hit{}, false
	case s.protocol != "" && l.Protocol != "" && own.complete:
		h.confidence, h.specific = record.Observed, own.specific
		h.entry = s.entryFor(ref)
	default:
		if en := s.entryFor(ref); en != nil {
			h.entry, h.confidence, h.specific = en, en.confidence(), len(ref.tests)
		}
	}
	if !h.entry.liftsCap() {
		h.confidence = min(h.confidence, capOf(l))
	}
	return h, true
}

// note is what follows from a list of facts, whoever they are of.
type note struct {
	weighing weighing
	named    bool // no fact is an RPC service that wants a name; see nameServices
	matching matching
}

// noteOf returns the note of facts that are not empty.
func noteOf(facts *observe.Facts) *note {
	list := facts.List()
	n, ok := list.Note.(*note)
	if !ok {
		n = &note{}
		list.Note = n
	}
	return n
}

// matching is which legs with announced ports facts speak for by themselves.
type matching struct {
	by       *ruleset
	protocol string
	legs     []legMatch
}

// legMatch is a leg of which every attribute fits, some of them by name.
type legMatch struct {
	*legRef
	specific int
}

// proven returns the legs with announced ports that a subject's protocol and
// facts speak for by themselves.
func (rs *ruleset) proven(s *subject) []legMatch {
	m := &matching{}
	if s.facts.Len() > 0 {
		if m = &noteOf(s.facts).matching; m.by == rs && m.protocol == s.protocol {
			return m.legs
		}
	}
	*m = matching{by: rs, protocol: s.protocol}
	for _, ref := range rs.dynamic[s.protocol] {
		if own := matchFacts(ref.tests, s.facts); own.complete {
			m.legs = append(m.legs, legMatch{ref, own.specific})
		}
	}
	return m.legs
}

// fitProven holds a subject that has no learned endpoint against a leg that
// its facts speak for.
func (s *subject) fitProven(m legMatch) (hit, bool) {
	l := m.leg
	return hit{
		legRef: m.legRef, specific: m.specific, confidence: min(record.Observed, capOf(l)), undocumented: s.outside(l),
	}, transport(l.Port, s.proto)
}

// outside says whether the port is outside the range that is documented for a
// leg whose port is announced.
func (s *subject) outside(l *rules.Leg) bool {
	return l.Port.From != 0 && (s.port < l.Port.From || s.port > l.Port.To)
}

// fitDynamic holds a subject against a leg whose port is announced: the
// content or the announcement must speak for it, the number never does.
func (s *subject) fitDynamic(ref *legRef) (hit, bool) {
	h := hit{legRef: ref}
	l := ref.leg
	if !transport(l.Port, s.proto) || s.protocol != "" && s.protocol != l.Protocol {
		return h, false
	}
	own := matchFacts(ref.tests, s.facts)
	if own.contradicted {
		return h, false
	}
	h.entry = s.entryFor(ref)
	switch {
	case s.protocol != "" && own.complete:
		h.confidence, h.specific = record.Observed, own.specific
	case h.entry != nil:
		h.confidence, h.specific = h.entry.confidence(), len(ref.tests)
	default:
		return h, false
	}
	if !h.entry.liftsCap() {
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

func (en *entry) confidence() record.Confidence {
	if en.weak {
		return record.ByPattern
	}
	return record.Learned
}

// liftsCap says whether somebody announced the endpoint, so that the cap of a
// leg does not hold. A bind only uses it.
func (en *entry) liftsCap() bool {
	return en != nil && !en.weak && en.source != observe.FromBind
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

// entryFor returns the strongest learned endpoint whose service fits a leg, or nil.
func (s *subject) entryFor(ref *legRef) *entry {
	for _, en := range s.entries {
		if en.protocol() != ref.leg.Protocol {
			continue
		}
		fits := true
		for _, test := range ref.tests {
			switch test.name {
			case observe.RPCInterface:
				fits = fits && test.match(en.service) != noMatch
			case observe.RPCAnnotation:
				fits = fits && en.annotation != "" && test.match(en.annotation) != noMatch
			default:
				fits = false
			}
		}
		if fits {
			return en
		}
	}
	return nil
}

// factMatch says how a leg's facts compare with a flow's.
type factMatch struct {
	complete     bool // every attribute has a value that fits
	contradicted bool // an attribute has values, and none fits
	specific     int  // attributes that fit by name
}

func matchFacts(tests []factTest, have *observe.Facts) factMatch {
	m := factMatch{complete: true}
	all := have.All()
	for i := range tests {
		test := &tests[i]
		best, any := noMatch, false
		for j := range all {
			if all[j].Name == test.name {
				any = true
				best = max(best, test.match(all[j].Value))
			}
		}
		switch {
		case best == byName:
			m.specific++
		case best == bySet:
		case any:
			m.contradicted, m.complete = true, false
		default:
			m.complete = false
		}
	}
	return m
}

const (
	noMatch = iota
	bySet   // through a word that stands for a set
	byName
)

// match holds one value against the values wanted.
func (t *factTest) match(have string) int {
	best := noMatch
	for _, w := range t.values {
		switch {
		case t.name == observe.RPCInterface && w == rules.Unnamed:
			if unnamed(have) {
				best = bySet
			}
		case rules.Fits(w, have):
			if w != "*" {
				return byName
			}
			best = bySet
		}
	}
	return best
}

// fitting returns the first fact that one of the tests asks for.
func fitting(tests []factTest, have *observe.Facts) (observe.Fact, bool) {
	for _, f := range have.All() {
		for i := range tests {
			if tests[i].name == f.Name && tests[i].match(f.Value) != noMatch {
				return f, true
			}
		}
	}
	return observe.Fact{}, false
}

// unnamed says whether an interface is written as its UUID, because no pack
// names it.
func unnamed(service string) bool {
	return len(service) > 36 && service[8] == '-' && service[36] == ' '
}

// sides returns the roles of a leg's client and server.
func sides(p *rules.DataPath, l *rules.Leg) (from, to []rules.Role) {
	if l.Reverse {
		return p.To, p.From
	}
	return p.From, p.To
}

// fits says whether the roles of both ends fit a hit's path.
func (h *hit) fits(client, server *roleSet, clients bool) bool {
	from, to := sides(h.path, h.leg)
	if one := h.path.OneEnd; len(one) > 0 && !client.fits(one, clients) && !server.fits(one, clients) {
		return false
	}
	return side(h.path, client, from, clients) && side(h.path, server, to, clients)
}

func side(p *rules.DataPath, r *roleSet, want []rules.Role, clients bool) bool {
	if r.fits(want, clients) {
		return true
	}
	return p.External && slices.Contains(want, rules.Client) && r.has(rules.Internet)
}

func (r *roleSet) has(role rules.Role) bool {
	for _, set := range r.sets {
		if slices.Contains(set, role) {
			return true
		}
	}
	return false
}

// why words what a hit rests on.
func (h *hit) why(s *subject) string {
	switch {
	case h.mismatch:
		return "port " + portName(s) + ", where " + s.protocol + " was read instead of " + h.leg.Protocol
	case h.confidence == record.ByPort:
		return "port " + portName(s) + " and roles only"
	}
	why := ""
	if f, ok := fitting(h.tests, s.facts); ok {
		why = f.Name + "=" + f.Value
	} else if s.protocol != "" {
		why = s.protocol + " on " + portName(s)
	}
	switch {
	case h.entry == nil:
		return why
	case why == "":
		return h.entry.why(true)
	}
	return why + ", " + h.entry.why(false)
}

func portName(s *subject) string {
	transport := "/tcp"
	if s.proto == capture.UDP {
		transport = "/udp"
	}
	return string(append(strconv.AppendUint(make([]byte, 0, 9), uint64(s.port), 10), transport...))
}

// why words where an endpoint was learned.
func (en *entry) why(named bool) string {
	what := "endpoint"
	if named {
		what = "endpoint of " + en.service
	}
	at := time.Unix(0, en.learned).UTC().Format("15:04:05")
	switch en.source {
	case observe.FromSite:
		return what + " named by the site file"
	case observe.FromBind:
		return fmt.Sprintf("%s known from a bind at %s", what, at)
	default:
		return fmt.Sprintf("%s learned from %s at %s", what, en.from, at)
	}
}
