package judge

import (
	"cmp"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// legRef is a leg with its row, in pack order.
type legRef struct {
	row     *row
	leg     *rules.Leg
	content match.Content
}

// row is a data path, or traffic that a version must not have.
type row struct {
	path     *rules.DataPath // nil for an absent row
	absent   *rules.Absent
	version  string // whose server must not have it
	order    int
	from, to []rules.Role
	outward  bool // it leads to servers on the internet, of which no others are known
}

// ruleset is the paths of one version, arranged for look-up.
type ruleset struct {
	version string
	pack    *rules.Pack // until it is compiled
	paths   table
	unused  table // paths that the reference lists and Exchange does not use
	absent  table // what the version must not have
	local   []rules.LocalPort
	rpc     []*row // those with a leg of RPC at an announced port
	open    []*row // those whose high ports nothing announces
}

// table holds legs by port.
type table struct {
	tcp, udp []span               // legs with port numbers
	dynamic  map[string][]*legRef // legs with announced ports, by protocol
	movable  []*legRef            // legs whose port an administrator may have changed
}

// span is a run of ports that the same legs name. It ends where the next begins.
type span struct {
	first uint16
	legs  []*legRef
}

// compiled returns a ruleset ready for use. Most captures need the rules of one
// version, so the others are never compiled.
func (j *Judge) compiled(rs *ruleset) *ruleset {
	if rs.pack != nil {
		*rs = compile(j.packs, rs.pack, j.site)
	}
	return rs
}

// compile arranges the paths of a pack for look-up, with what its version must not
// have.
func compile(packs *rules.Packs, pack *rules.Pack, site *rules.Site) ruleset {
	policy := packs.Policy()
	rs := ruleset{version: pack.Version, local: slices.Clone(pack.LocalOnly)}
	var paths, unused, absent []*legRef
	for i := range pack.Paths {
		p := &pack.Paths[i]
		r := &row{path: p, order: i, from: p.From, to: p.To, outward: outward(p.To)}
		refs := legsOf(r, p.Legs)
		switch {
		case p.NotUsed:
			unused = append(unused, refs...)
			continue
		case p.Local:
			for i := range p.Legs {
				if l := &p.Legs[i]; !l.Port.Dynamic && l.Port.IP == "" {
					rs.local = append(rs.local, rules.LocalPort{Port: l.Port, Note: p.Name, Source: p.Source})
				}
			}
			continue
		}
		paths = append(paths, refs...)
		if slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return l.Protocol == rpc && l.Port.Dynamic }) {
			rs.rpc = append(rs.rpc, r)
		}
		if p.Conditions.UnannouncedUndetermined || slices.ContainsFunc(p.Legs, func(l rules.Leg) bool { return l.Port.Dynamic && slices.Contains(policy.Unannounced, l.Protocol) }) {
			rs.open = append(rs.open, r)
		}
	}
	for i, a := range packs.Absent(pack.Version) {
		absent = append(absent, legsOf(&row{absent: a, version: cmp.Or(a.Only, pack.Version), order: i, from: a.From, to: a.To}, a.Legs)...)
	}
	rs.paths, rs.unused, rs.absent = arrange(paths, site, policy), arrange(unused, site, policy), arrange(absent, site, policy)
	return rs
}

const rpc = "dcerpc"

func legsOf(r *row, legs []rules.Leg) []*legRef {
	var refs []*legRef
	for i := range legs {
		if l := &legs[i]; l.Port.IP == "" { // flows have ports
			refs = append(refs, &legRef{r, l, match.Compile(&l.Match)})
		}
	}
	return refs
}

// arrange arranges legs for look-up.
func arrange(legs []*legRef, site *rules.Site, policy *rules.Policy) table {
	t := table{dynamic: map[string][]*legRef{}}
	var static []*legRef
	for _, ref := range legs {
		if site.Port(ref.leg).Dynamic {
			t.dynamic[ref.leg.Protocol] = append(t.dynamic[ref.leg.Protocol], ref)
		} else {
			static = append(static, ref)
			if ref.leg.Configurable && slices.Contains(policy.Movable, ref.leg.Protocol) {
				t.movable = append(t.movable, ref)
			}
		}
	}
	t.tcp = spans(static, site, capture.TCP)
	t.udp = spans(static, site, capture.UDP)
	return t
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

// at returns the legs with a port number.
func (t *table) at(port uint16, proto uint8) []*legRef {
	list := t.tcp
	if proto == capture.UDP {
		list = t.udp
	}
	return list[spanOf(list, port)].legs
}

// hit is a leg that fits a subject, roles aside.
type hit struct {
	*legRef
	service      int       // in Subject.Announced.Services, or -1
	fit          match.Fit // of the roles of both ends
	specific     int       // facts that fit by name
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
	if h.undocumented {
		r -= 5 // a row with the port in its range is nearer
	}
	if h.mismatch {
		r -= 1000
	}
	return r
}

// compare orders hits, the best first.
func compare(a, b hit) int {
	if c := b.rank() - a.rank(); c != 0 {
		return c
	}
	if last := a.row.path.LastResort(); last != b.row.path.LastResort() {
		if last {
			return 1
		}
		return -1
	}
	return a.row.order - b.row.order
}

// hitsOf appends the legs of a table that fit a subject to buf, with how the
// roles fit.
func (j *Judge) hitsOf(t *table, s *Subject, buf []hit) []hit {
	for _, ref := range t.at(s.Port, s.Proto) {
		if h, ok := j.fitStatic(s, ref); ok {
			buf = append(buf, h)
		}
	}
	switch {
	case s.Protocol != "":
		for _, m := range j.possible(t, s) {
			if h, ok := s.fitDynamic(m.legRef, m.result); ok {
				buf = append(buf, h)
			}
		}
	case s.Announced != nil:
		for i, x := range s.Announced.Services {
			if s.firstOfProtocol(i) {
				buf = s.fitAllDynamic(t.dynamic[x.Protocol], buf)
			}
		}
	}
	if s.Announced != nil && (s.Foreign || s.Protocol != "" && s.Begun && !s.Late) {
		buf = t.foreign(s, buf)
	}
	for _, ref := range t.movable {
		if h, ok := s.fitMoved(ref); ok {
			buf = append(buf, h)
		}
	}
	for i := range buf {
		h := &buf[i]
		h.fit = h.row.fits(s, h.leg)
		if from, to := h.row.sides(h.leg); h.confidence == record.ByPort && h.fit > match.Maybe && (s.Client.Wavers(from) || s.Server.Wavers(to)) {
			h.fit = match.Maybe // a port number and a guess are too little
		}
	}
	return buf
}

// foreign takes in that a subject did not begin with the protocol of what was
// announced: the legs that rest on that in buf are mismatches, or where another
// protocol was read, which fits no leg in buf, those of the announced services are
// appended as such.
func (t *table) foreign(s *Subject, buf []hit) []hit {
	if s.Protocol == "" {
		for i := range buf {
			buf[i].mismatch = buf[i].mismatch || buf[i].service >= 0
		}
		return buf
	}
	if slices.ContainsFunc(buf, func(h hit) bool { return !h.mismatch }) {
		return buf
	}
	for i, x := range s.Announced.Services {
		if x.Protocol == s.Protocol || !s.firstOfProtocol(i) {
			continue
		}
		for _, ref := range t.dynamic[x.Protocol] {
			if i := s.serviceFor(ref); i >= 0 && match.Transport(ref.leg.Port, s.Proto) {
				buf = append(buf, hit{legRef: ref, service: i, confidence: s.trust(i), mismatch: true, undocumented: s.outside(ref.leg)})
			}
		}
	}
	return buf
}

// firstOfProtocol reports whether no announced service before the one with an index
// speaks the same protocol.
func (s *Subject) firstOfProtocol(i int) bool {
	list := s.Announced.Services
	return !slices.ContainsFunc(list[:i], func(x match.Service) bool { return x.Protocol == list[i].Protocol })
}

func (s *Subject) fitAllDynamic(refs []*legRef, buf []hit) []hit {
	for _, ref := range refs {
		if h, ok := s.fitDynamic(ref, ref.content.Match(s.Facts.All())); ok {
			buf = append(buf, h)
		}
	}
	return buf
}

// admits reports whether the conditions of a row let a subject fit one of its
// legs, for a match of the facts.
func (ref *legRef) admits(s *Subject, own match.Result) bool {
	if ref.leg.ContentOnly && (s.Protocol != ref.leg.Protocol || !own.Complete || ref.leg.Inside != "" && ref.content.Empty()) {
		return false
	}
	if a := ref.row.absent; a != nil {
		return len(a.Methods) == 0 || !web(ref.leg) || hasAny(s, "http.method", a.Methods)
	}
	if ref.row.path.Version == rules.Platform && !own.Complete && !ref.content.Empty() {
		return false // what is Windows' own must show itself
	}
	c := &ref.row.path.Conditions
	switch {
	case c.NamesDecide && (!own.Complete || ref.content.Empty()):
		return false
	case ref.row.outward && !own.Complete && !ref.content.Empty():
		return false // the internet has other servers at the port
	case len(c.Methods) > 0 && s.Facts.Any("http.method") && !hasAny(s, "http.method", c.Methods):
		return false
	case c.NoPipe && s.Facts.Any("smb.pipe"):
		return false
	}
	return true
}

// outward reports whether servers of certain roles are on the internet.
func outward(to []rules.Role) bool {
	return !slices.ContainsFunc(to, func(r rules.Role) bool { return r != rules.Internet && r != rules.ExchangeOnline })
}

// web reports whether a leg carries HTTP, as far as is documented.
func web(l *rules.Leg) bool { return l.Protocol == "http" || l.Inside == "http" }

func hasAny(s *Subject, name string, values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return s.Facts.Has(name, v) })
}

// fitStatic compares a subject with a leg with a port number.
func (j *Judge) fitStatic(s *Subject, ref *legRef) (hit, bool) {
	h := hit{legRef: ref, service: -1, confidence: record.ByPort}
	l := ref.leg
	if s.Protocol != "" && l.Protocol != "" && s.Protocol != l.Protocol {
		h.mismatch = !s.Late || !carries(l.Protocol, s.Protocol)
		return h, !l.ContentOnly && (ref.row.path == nil || !ref.row.path.Conditions.NamesDecide)
	}
	if s.Foreign && s.Blind == Whole && s.Protocol == "" && slices.Contains(j.policy.Beginnings, l.Protocol) {
		h.mismatch = true
		return h, !l.ContentOnly && (ref.row.path == nil || !ref.row.path.Conditions.NamesDecide)
	}
	own := ref.content.Match(s.Facts.All())
	if own.Contradicted || !ref.admits(s, own) {
		return hit{}, false
	}
	if s.Protocol != "" && l.Protocol != "" && own.Complete {
		h.confidence, h.specific = record.Observed, own.Specific
		h.service = s.serviceFor(ref)
	} else if i := s.serviceFor(ref); i >= 0 {
		h.service, h.confidence, h.specific = i, s.trust(i), ref.content.Len()
	}
	if !s.liftsCap(h.service) {
		h.confidence = min(h.confidence, capOf(l))
	}
	return h, true
}

// spoken is which legs with announced ports a list of facts does not contradict.
// It is kept by the id of the list.
type spoken struct {
	list     uint64
	by       *table
	protocol string
	legs     []legMatch
}

// legMatch is a leg and how the facts of a flow compare with it.
type legMatch struct {
	*legRef
	result match.Result
}

// possible returns the legs with announced ports of a subject's protocol that its
// facts do not contradict.
func (j *Judge) possible(t *table, s *Subject) []legMatch {
	id := s.Facts.ID()
	known := &j.spoken[(id*3+uint64(len(t.tcp)))%uint64(len(j.spoken))]
	if id != 0 && known.list == id && known.by == t && known.protocol == s.Protocol {
		return known.legs
	}
	var legs []legMatch
	for _, ref := range t.dynamic[s.Protocol] {
		if own := ref.content.Match(s.Facts.All()); !own.Contradicted {
			legs = append(legs, legMatch{ref, own})
		}
	}
	if id != 0 { // 0 is that of any list that flows do not share
		*known = spoken{id, t, s.Protocol, legs}
	}
	return legs
}

// speaks reports whether content that fits a leg tells the service. What TLS
// carries cannot be seen.
func (ref *legRef) speaks() bool { return ref.leg.Inside == "" || !ref.content.Empty() }

// outside reports whether the port is outside the range that is documented for a
// leg whose port is announced.
func (s *Subject) outside(l *rules.Leg) bool {
	return l.Port.From != 0 && (s.Port < l.Port.From || s.Port > l.Port.To)
}

// fitDynamic compares a subject with a leg whose port is announced: the content
// or the announcement must speak for it, the number never does.
func (s *Subject) fitDynamic(ref *legRef, own match.Result) (hit, bool) {
	h := hit{legRef: ref, service: -1}
	l := ref.leg
	if !match.Transport(l.Port, s.Proto) || s.Protocol != "" && s.Protocol != l.Protocol {
		return h, false
	}
	if own.Contradicted || !ref.admits(s, own) {
		return h, false
	}
	h.service = s.serviceFor(ref)
	switch {
	case s.Facts.Any(observe.RPCBanner) && !s.liftsCap(h.service):
		return h, false // RPC over HTTP has ports of its own
	case s.Protocol != "" && own.Complete && (ref.speaks() || h.service >= 0):
		h.confidence, h.specific = record.Observed, own.Specific
	case h.service >= 0:
		h.confidence, h.specific = s.trust(h.service), ref.content.Len()
	default:
		return h, false
	}
	if !s.liftsCap(h.service) {
		h.confidence = min(h.confidence, capOf(l))
	}
	h.undocumented = s.outside(l)
	return h, true
}

// fitMoved compares a subject with a leg whose port an administrator may have
// changed.
func (s *Subject) fitMoved(ref *legRef) (hit, bool) {
	if s.Protocol != ref.leg.Protocol || ref.leg.Port.Contains(s.Port) || !match.Transport(ref.leg.Port, s.Proto) || !ref.content.Match(s.Facts.All()).Complete {
		return hit{}, false
	}
	return hit{legRef: ref, service: -1, confidence: record.ByPattern, undocumented: true}, true
}

// carries reports whether a protocol can carry another, or turn into it under
// way. Where the first bytes of a flow were not seen, the inner one on a port of
// the outer one is no mismatch.
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
		if x := &s.Announced.Services[i]; x.Protocol == ref.leg.Protocol && ref.content.Announces(x) {
			return i
		}
	}
	return -1
}

// sides returns the roles of a leg's client and server.
func (r *row) sides(l *rules.Leg) (from, to []rules.Role) {
	if l.Reverse {
		return r.to, r.from
	}
	return r.from, r.to
}

// fits tells how the roles of a subject's ends fit a leg of a row.
func (r *row) fits(s *Subject, l *rules.Leg) match.Fit {
	from, to := r.sides(l)
	if r.absent != nil {
		if !s.Server.Only(to) {
			return match.No
		}
		return s.Client.Fits(from)
	}
	p := r.path
	client, server := s.Client, s.Server
	if l.Reverse {
		client, server = server, client
	}
	if excluded(p.Conditions.NotFrom, client) || excluded(p.Conditions.NotTo, server) {
		return match.No
	}
	fit := min(r.side(s.Client, from), r.side(s.Server, to))
	if len(p.OneEnd) > 0 {
		fit = min(fit, max(s.Client.Fits(p.OneEnd), s.Server.Fits(p.OneEnd)))
	}
	return fit
}

func excluded(not []rules.Role, r *match.RoleSet) bool { return len(not) > 0 && r.Acts(not) }

// side tells how the roles of one end fit. Where the path is open to the
// outside, clients can be on the internet.
func (r *row) side(end *match.RoleSet, want []rules.Role) match.Fit {
	if r.path.External && slices.Contains(want, rules.Client) && end.Has(rules.Internet) {
		return match.Yes
	}
	fit := end.Fits(want)
	if fit != match.Yes && slices.Contains(want, rules.MailboxLegacy) && r.olderMailbox(end) {
		return match.Yes
	}
	return fit
}

// olderMailbox reports whether a host is known to be a mailbox server of an older
// version than that of the row, which calls it mailbox-legacy.
func (r *row) olderMailbox(end *match.RoleSet) bool {
	known := end.Source == record.BySite || end.Source == record.ByTraffic
	return known && end.Acts([]rules.Role{rules.Mailbox}) && match.Newer(r.path.Version, end.Version)
}
