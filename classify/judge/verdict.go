package judge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// decide decides what a flow is. The first answer counts: what the version must
// not have; a data path of the version; one of Windows itself; what the operator
// allows; a data path used from outside or backwards; one that fits if a host of
// which too little is known has the right role; and what the flow lacks to be any.
func (j *Judge) decide(s *Subject) Verdict {
	version, source, rs := j.rulesFor(s)
	v := j.by(s, version, source, rs)
	if source == record.ByOrganisation || source == record.ByDefault {
		switch v.Reason {
		case record.WrongVersion:
			j.doubt(s, rs, &v, 0)
		case record.WrongRole: // the port is documented, so content must speak for another version
			j.doubt(s, rs, &v, 1)
		}
	}
	if s.Blind != Whole && rs != nil {
		j.blind(s, rs, j.hits, &v)
	}
	v.Version, v.VersionSource = version, source
	return v
}

func (j *Judge) by(s *Subject, version string, source record.VersionSource, rs *ruleset) Verdict {
	if rs == nil {
		return plain(record.Verdict{Status: record.Undetermined, Reason: record.NoRules, Why: "there are no rules for Exchange " + version})
	}
	if s.Proto == capture.ESP || s.Protocol == "esp" || s.Protocol == "ike" {
		return plain(record.Verdict{Status: record.Undetermined, Reason: record.Sealed, Why: j.sealed(s, version)})
	}
	note, allowed := j.allowed(s)
	j.absentHits = j.hitsOf(&rs.absent, s, j.absentHits[:0])
	for _, r := range [...]*match.RoleSet{s.Server, s.Client} {
		// A server of another version must not have either what its own lacks.
		if sure := r.Source == record.BySite || r.Source == record.ByTraffic; sure && r.Exchange && packVersion(r.Version) != packVersion(version) {
			if own := j.ruleset(packVersion(r.Version)); own != nil {
				j.absentHits = j.hitsOf(&own.absent, s, j.absentHits)
			}
		}
	}
	j.hits = j.hitsOf(&rs.paths, s, j.hits[:0])
	slices.SortStableFunc(j.hits, compare)
	best := surest(j.hits)
	if v, ok := j.absent(s, rs, record.ByPattern, best); ok && !allowed {
		return v
	}
	if best != nil && (best.names() || s.Protocol == "") {
		v, _ := j.documented(s, version, j.hits, match.Yes, false)
		return v
	}
	j.platformHits = j.platformHits[:0]
	if j.platform != nil {
		j.platformHits = j.hitsOf(&j.compiled(j.platform).paths, s, j.platformHits)
		slices.SortStableFunc(j.platformHits, compare)
		if h := surest(j.platformHits); best == nil || h != nil && h.closer(best) {
			if v, ok := j.documented(s, version, j.platformHits, match.Yes, false); ok {
				return v
			}
		}
	}
	if v, ok := j.documented(s, version, j.hits, match.Yes, false); ok {
		return v
	}
	if v, ok := j.documented(s, version, j.hits, match.Likely, false); ok {
		return v
	}
	if allowed {
		return plain(record.Verdict{Status: record.Expected, Confidence: record.ByPort, Why: "allowed by the site file: " + note})
	}
	if v, ok := j.documented(s, version, j.hits, match.Likely, true); ok {
		return v
	}
	if v, ok := j.absent(s, rs, record.ByPort, nil); ok {
		return v
	}
	open := s.openRow(j.hits, j.platformHits)
	if v, ok := j.misplaced(s, version, j.hits, open); ok {
		return v
	}
	if open != nil {
		return s.unknownRole(open)
	}
	return j.unexplained(s, rs)
}

// surest returns the best hit that the roles of both ends fit, or nil.
func surest(hits []hit) *hit {
	for i := range hits {
		if h := &hits[i]; h.fit == match.Yes && !h.mismatch {
			return h
		}
	}
	return nil
}

// names reports whether a hit of an Exchange row tells the service, so that no row of
// Windows can be closer.
func (h *hit) names() bool {
	if h.row.path.Conditions.NamesDecide || h.leg.Auth == rules.NotApplicable && h.specific == 0 {
		return false
	}
	return h.confidence > record.ByPort || h.specific > 0
}

// closer reports whether a hit of a row of Windows is closer to a flow than the best one
// of an Exchange row, which names nothing: content is closer than a port, and what a leg
// for another service's sake, or a row of names that others use too, has no word for.
func (h *hit) closer(best *hit) bool {
	if best.row.path.Conditions.NamesDecide {
		return h.specific >= best.specific
	}
	return h.confidence > record.ByPort && (best.confidence == record.ByPort || h.specific > best.specific)
}

// doubt makes a verdict that rests on the assumed version of a server undetermined,
// if another version that it may have documents the flow by at least so many facts.
func (j *Judge) doubt(s *Subject, rs *ruleset, v *Verdict, facts int) {
	other, h := j.otherVersion(s, rs, true, v.before, facts)
	if h == nil {
		return
	}
	v.Status, v.Reason, v.Findings = record.Undetermined, record.NoVersion, nil
	v.Why = fmt.Sprintf("%s documents it for Exchange %s, and %s is only assumed; give the version in the site file; %s",
		h.row.path.ID, j.rulesets[other].version, rs.version, v.Why)
}

// plain returns a verdict that rests on no announced service.
func plain(v record.Verdict) Verdict { return Verdict{Verdict: v, Service: -1} }

// resting returns a verdict that rests on a hit.
func (h *hit) resting(s *Subject, v record.Verdict) Verdict {
	why, service := h.why(s)
	v.Why = why
	if service < 0 {
		return plain(v)
	}
	return Verdict{Verdict: v, Service: service, service: &s.Announced.Services[service]}
}

// rulesFor returns the version whose rules hold for a flow, how it is known, and
// its rules, nil where there are none. A flow between servers of two versions is
// judged by the newer one, whose rows name what it does with older servers.
func (j *Judge) rulesFor(s *Subject) (string, record.VersionSource, *ruleset) {
	version, source := "", record.ByDefault
	known := false
	for _, r := range [...]*match.RoleSet{s.Server, s.Client} {
		if !r.Exchange && !r.Front || r.Version == "" {
			continue
		}
		// What is known of one server counts more than what is assumed of another.
		if sure := r.Source == record.BySite || r.Source == record.ByTraffic; sure && !known || sure == known && match.Newer(r.Version, version) {
			version, source, known = r.Version, r.Source, sure
		}
	}
	if version == "" {
		version = j.assumed
	}
	return version, source, j.ruleset(packVersion(version))
}

// ruleset returns the rules of a version, or nil.
func (j *Judge) ruleset(version string) *ruleset {
	i := slices.IndexFunc(j.rulesets, func(rs *ruleset) bool { return rs.version == version })
	if i < 0 { // hardly ever
		i = slices.IndexFunc(j.rulesets, func(rs *ruleset) bool { return strings.EqualFold(rs.version, version) })
	}
	if i < 0 {
		return nil
	}
	return j.compiled(j.rulesets[i])
}

// packVersion returns the version under which packs list a version: the paths of
// 2000 stand with those of 2003.
func packVersion(version string) string {
	if version == "2000" {
		return "2003"
	}
	return version
}

// absent is the verdict of a flow that the version of its server must not have,
// with at least the confidence wanted, by j.absentHits.
func (j *Judge) absent(s *Subject, rs *ruleset, want record.Confidence, documented *hit) (Verdict, bool) {
	var best *hit
	for i := range j.absentHits {
		h := &j.absentHits[i]
		if only := h.row.absent.Only; only != "" && only != s.Server.Version {
			continue
		}
		if !h.mismatch && h.fit >= match.Likely && h.confidence >= want && (want == record.ByPort || !h.content.Only(observe.Auth)) && (best == nil || h.rank() > best.rank()) {
			best = h
		}
	}
	if best == nil || documented != nil && documented.confidence >= best.confidence && documented.specific > best.specific {
		return Verdict{}, false
	}
	a := best.row.absent
	v := best.resting(s, record.Verdict{Status: record.Unexpected, Reason: record.WrongVersion})
	v.Why = fmt.Sprintf("not in Exchange %s: %s (%s); %s", best.row.version, a.What, a.ID, v.Why)
	return v, true
}

// documented is the verdict of a flow that fits a data path, with roles at both
// ends that fit at least so well. With mismatch the port alone suffices, whatever
// protocol was read there.
func (j *Judge) documented(s *Subject, version string, hits []hit, least match.Fit, mismatch bool) (Verdict, bool) {
	first, tied := -1, j.tied[:0]
	var v record.Verdict
	for i := range hits {
		h := &hits[i]
		if h.fit < least || h.mismatch && !mismatch {
			continue
		}
		path := h.row.path
		if first < 0 {
			first = i
			v = record.Verdict{Path: path, Confidence: h.confidence}
		} else if h.rank() != hits[first].rank() || path.LastResort() != v.Path.LastResort() {
			break
		} else if path != v.Path && !slices.Contains(v.Also, path) {
			v.Also = append(v.Also, path)
		}
		tied = append(tied, h)
	}
	if first < 0 {
		j.tied = tied
		return Verdict{}, false
	}
	if s.Client.Known == match.Unknown && tied[0].leg.Auth == rules.NotApplicable {
		tied = s.open(hits, tied, &v)
	}
	j.tied = tied
	v.Group = v.Path.ID
	if len(v.Also) > 0 {
		v.Group = tied[0].leg.Group
	}
	v.Findings = j.findings(s, version, tied)
	v.Status = statusOf(v.Findings)
	return tied[0].resting(s, v), true
}

// open appends the other hits of the group of tied that the client may have the role
// for, and their paths to v.Also. What only finds a service tells nothing of a client of
// which nothing is known.
func (s *Subject) open(hits []hit, tied []*hit, v *record.Verdict) []*hit {
	group := tied[0].leg.Group
	for i := range hits {
		h := &hits[i]
		_, to := h.row.sides(h.leg)
		if path := h.row.path; group != "" && h.leg.Group == group && h.fit == match.Maybe && !h.mismatch &&
			h.row.side(s.Server, to) >= match.Likely && path != v.Path && !slices.Contains(v.Also, path) {
			v.Also = append(v.Also, path)
			tied = append(tied, h)
		}
	}
	return tied
}

func statusOf(findings []record.Finding) record.Status {
	for _, f := range findings {
		if f.Level == record.Violation {
			return record.Deviating
		}
	}
	return record.Expected
}

// allowed reports whether the site file declares the flow as wanted.
func (j *Judge) allowed(s *Subject) (string, bool) {
	if j.site == nil {
		return "", false
	}
	for i := range j.site.Allow {
		a := &j.site.Allow[i]
		if match.Transport(a.Port, s.Proto) && s.Port >= a.Port.From && s.Port <= a.Port.To &&
			s.Client.Fits([]rules.Role{a.From}) >= match.Likely && s.Server.Fits([]rules.Role{a.To}) >= match.Likely {
			if a.Note != "" {
				return a.Note, true
			}
			return s.portName(), true
		}
	}
	return "", false
}

// misplaced is the verdict of a flow that is a documented service used in the
// wrong direction or from outside, unless it fits another path as well once more
// is known of a host.
func (j *Judge) misplaced(s *Subject, version string, hits []hit, open *hit) (Verdict, bool) {
	var best *hit
	var finding record.Finding
	for i := range hits {
		h := &hits[i]
		if h.mismatch || h.confidence < record.ByPattern || h.leg.Auth == rules.NotApplicable {
			continue
		}
		from, to := h.row.sides(h.leg)
		id := h.row.path.ID
		if one := h.row.path.OneEnd; len(one) > 0 && !s.Client.Acts(one) && !s.Server.Acts(one) {
			continue
		}
		switch {
		case s.Client.Has(rules.Internet) && h.row.side(s.Server, to) == match.Yes:
			// Of the rows that the server takes part in, one for clients is nearest.
			if best == nil || slices.Contains(from, rules.Client) && !slices.Contains(best.row.from, rules.Client) {
				best = h
				finding = record.Finding{ID: record.FindingExternalSource, Level: record.Violation,
					Detail: fmt.Sprintf("%s is documented from %s, not from the internet", id, match.Join(from))}
			}
		case best == nil && s.Client.Acts(to) && s.Server.Acts(from) && !s.Client.Has(rules.Internet) && !s.Server.Has(rules.Internet) && !slices.Contains(from, rules.Any) && !slices.Contains(to, rules.Any):
			best = h
			finding = record.Finding{ID: record.FindingWrongDirection, Level: record.Violation,
				Detail: fmt.Sprintf("%s is documented from %s to %s", id, match.Join(from), match.Join(to))}
		}
	}
	if best == nil || open != nil && open.rank() >= best.rank() {
		return Verdict{}, false
	}
	v := record.Verdict{Status: record.Deviating, Path: best.row.path, Group: best.row.path.ID, Confidence: best.confidence}
	v.Findings = append(j.findings(s, version, []*hit{best}), finding)
	return best.resting(s, v), true
}

// sealed describes what IPsec hides, and for which data paths between the two hosts
// a document allows it. IPsec has no client, so both directions count.
func (j *Judge) sealed(s *Subject, version string) string {
	var allowed []string
	for _, p := range j.packs.Paths(version) {
		there := min(s.Client.Fits(p.From), s.Server.Fits(p.To))
		back := min(s.Server.Fits(p.From), s.Client.Fits(p.To))
		if slices.Contains(p.Encryption, "ipsec") && max(there, back) >= match.Likely {
			allowed = append(allowed, p.ID)
		}
	}
	why := "IPsec: which data paths it carries cannot be seen"
	if len(allowed) == 0 {
		return why
	}
	return why + "; documented with IPsec between these hosts: " + strings.Join(allowed, ", ")
}

// openRow returns the best hit that would explain the flow if a host had a role
// that it may have, for all that is known, or nil.
func (s *Subject) openRow(lists ...[]hit) *hit {
	for _, hits := range lists {
		for i := range hits {
			if h := &hits[i]; !h.mismatch && h.fit == match.Maybe {
				return h
			}
		}
	}
	return nil
}

// unknownRole is the verdict of a flow that depends on the role of a host that
// is not known.
func (s *Subject) unknownRole(h *hit) Verdict {
	from, to := h.row.sides(h.leg)
	v := plain(record.Verdict{Status: record.Undetermined, Reason: record.UnknownRole})
	v.client, v.server = h.row.side(s.Client, from) == match.Maybe, h.row.side(s.Server, to) == match.Maybe
	if !v.client && !v.server { // one end must have another role besides
		v.client, v.server = s.Client.Known < match.Certain, s.Server.Known < match.Certain
	}
	v.Why = s.portName() + " is documented from " + match.Join(from) + " to " + match.Join(to)
	return v
}

// unexplained is the verdict of a flow of an Exchange server that no data path
// explains.
func (j *Judge) unexplained(s *Subject, rs *ruleset) Verdict {
	switch {
	case s.olderSession(rs):
		return plain(record.Verdict{Status: record.Undetermined, Reason: record.NotBegun,
			Why: "the begin was not seen, and nothing announced " + s.portName() + "; the hosts may speak RPC there"})
	case s.highPort(rs):
		return plain(record.Verdict{Status: record.Undetermined, Reason: record.Unannounced,
			Why: "nothing announced " + s.portName() + "; services between the hosts use such ports"})
	}
	v := plain(record.Verdict{Status: record.Unexpected, Reason: record.NoPath})
	if h := nearest(s, j.hits); h != nil {
		from, to := h.row.sides(h.leg)
		v.Reason, v.Confidence = record.WrongRole, h.confidence
		v.Why = fmt.Sprintf("%s%s is documented from %s to %s, not from %s to %s", s.portName(), j.named(h), match.Join(from), match.Join(to), s.Client.Text, s.Server.Text)
		return v
	}
	j.others = j.hitsOf(&rs.unused, s, j.others[:0])
	if h := nearest(s, j.others); h != nil {
		v.Why = fmt.Sprintf("%s lists %s (%s), and Exchange %s does not use it", h.row.path.ID, s.portName(), h.row.path.Name, rs.version)
		return v
	}
	if s.Server.Exchange {
		for _, l := range rs.local {
			if match.Transport(l.Port, s.Proto) && l.Port.Contains(s.Port) {
				v.Reason = record.LocalOnly
				v.Why = fmt.Sprintf("%s is for the server itself alone: %s", s.portName(), l.Note)
				return v
			}
		}
	}
	if other, h := j.otherVersion(s, rs, false, 0, 0); h != nil {
		v.Reason, v.before = record.WrongVersion, other
		v.Why = "a data path of Exchange " + j.rulesets[other].version + " (" + h.row.path.ID + "), not of " + rs.version
		return v
	}
	switch {
	case s.Protocol != "" || s.Announced != nil:
	case !s.Payload:
		return plain(record.Verdict{Status: record.Undetermined, Reason: record.NoPayload, Why: "no payload was seen, and " + s.portName() + " is no documented port"})
	case !s.Begun:
		return plain(record.Verdict{Status: record.Undetermined, Reason: record.NotBegun, Why: "the begin was not seen, and nothing announced " + s.portName()})
	}
	v.Why = s.content() + " on " + s.portName() + " from " + s.Client.Text + " to " + s.Server.Text
	return v
}

// named returns the name of the group of a hit in brackets, where it has one.
func (j *Judge) named(h *hit) string {
	if name := j.packs.GroupName(h.leg.Group); name != "" {
		return " (" + name + ")"
	}
	return ""
}

// otherVersion returns the index of a ruleset, from the given one on, of another
// version that documents the flow by at least so many facts, and the hit. With assumed, a
// server whose version is assumed must be able to have that one.
func (j *Judge) otherVersion(s *Subject, rs *ruleset, assumed bool, from, facts int) (int, *hit) {
	for n, other := range j.rulesets[from:] {
		if other == rs || assumed && !s.mayRun(other.version) {
			continue
		}
		j.others = j.hitsOf(&j.compiled(other).paths, s, j.others[:0])
		for i := range j.others {
			if h := &j.others[i]; !h.mismatch && h.fit >= match.Likely && h.specific >= facts && !h.row.path.LastResort() {
				return from + n, h
			}
		}
	}
	return 0, nil
}

// mayRun reports whether an Exchange server of the flow whose version is assumed may
// run a version.
func (s *Subject) mayRun(version string) bool {
	for _, r := range [...]*match.RoleSet{s.Client, s.Server} {
		assumed := r.Exchange && r.Source != record.BySite && r.Source != record.ByTraffic
		if assumed && (r.Among == nil || slices.ContainsFunc(r.Among, func(v string) bool { return strings.EqualFold(packVersion(v), version) })) {
			return true
		}
	}
	return false
}

// nearest returns the hit that is nearest to a subject: one for the server's
// role, else one for the client's, else one for another role of Exchange servers.
// It returns nil if there is none.
func nearest(s *Subject, hits []hit) *hit {
	var best *hit
	score := 0
	for i := range hits {
		h := &hits[i]
		if h.mismatch {
			continue
		}
		from, to := h.row.sides(h.leg)
		n := 4*int(h.row.side(s.Server, to)) + int(h.row.side(s.Client, from))
		if n < 4*int(match.Likely) && s.Server.Shares(to) != s.Server.Exchange {
			continue // a row for another kind of server is not near
		}
		if slices.Contains(from, rules.Any) || slices.Contains(to, rules.Any) {
			n = 0
		}
		if n < int(match.Likely) { // neither end fits, but Exchange servers may listen there
			if n = 0; s.Server.Exchange && s.Server.Shares(to) {
				n = 1
			}
		}
		if n > score {
			best, score = h, n
		}
	}
	return best
}

// olderSession reports whether a flow may be an RPC session that began before
// the capture: nothing tells its interface.
func (s *Subject) olderSession(rs *ruleset) bool {
	if s.Begun || s.Proto != capture.TCP || s.Port < 1024 || s.Announced != nil || s.Protocol != "" && s.Protocol != rpc || s.Facts.Any(observe.RPCInterface) {
		return false
	}
	return s.anyFits(rs.rpc, match.Maybe)
}

// highPort reports whether services between the hosts of a flow use ports that
// nothing announces.
func (s *Subject) highPort(rs *ruleset) bool {
	return s.Port >= 1024 && s.Protocol == "" && s.Announced == nil && s.anyFits(rs.open, match.Yes)
}

func (s *Subject) anyFits(list []*row, least match.Fit) bool {
	return slices.ContainsFunc(list, func(r *row) bool {
		return slices.ContainsFunc(r.path.Legs, func(l rules.Leg) bool {
			return l.Port.Dynamic && match.Transport(l.Port, s.Proto) && r.fits(s, &l) >= least
		})
	})
}

// why words what a hit rests on, up to the announced service, and returns that
// service's index or -1.
func (h *hit) why(s *Subject) (string, int) {
	switch {
	case h.mismatch && h.service >= 0:
		return s.content() + " on " + s.portName(), h.service
	case h.mismatch:
		return "port " + s.portName() + ", where " + s.content() + " was read instead of " + h.leg.Protocol, -1
	case h.confidence == record.ByPort:
		return "port " + s.portName() + " and roles only", -1
	}
	if f, ok := h.content.First(s.Facts.All()); ok {
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
