package judge

import (
	"fmt"
	"slices"

	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// decide decides what a flow is.
func (j *Judge) decide(s *Subject) Verdict {
	rs := j.rulesFor(s)
	j.hits = j.hitsOf(rs, s, j.hits)
	hits := j.hits
	slices.SortStableFunc(hits, func(a, b hit) int {
		if c := b.rank() - a.rank(); c != 0 {
			return c
		}
		if a.path.LastResort() != b.path.LastResort() {
			if a.path.LastResort() {
				return 1
			}
			return -1
		}
		return a.order - b.order
	})

	if v, ok := j.documented(s, rs, hits); ok {
		return v
	}
	if note, ok := j.allowed(s); ok {
		return plain(record.Verdict{Status: record.Expected, Confidence: record.ByPort, Why: "allowed by the site file: " + note})
	}
	if v, ok := j.misplaced(s, rs, hits); ok {
		return v
	}
	return plain(j.unexplained(s, rs, hits))
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

// documented is the verdict of a flow that fits a data path with the right
// roles at both ends.
func (j *Judge) documented(s *Subject, rs *ruleset, hits []hit) (Verdict, bool) {
	first, best := -1, 0
	var v record.Verdict
	var tied []*hit
	for i := range hits {
		h := &hits[i]
		if !h.fits(s.Client, s.Server) {
			continue
		}
		if first < 0 {
			first, best = i, h.rank()
			v = record.Verdict{Path: h.path, Confidence: h.confidence}
		} else if h.rank() != best {
			break
		} else if h.path.LastResort() && !v.Path.LastResort() && !slices.ContainsFunc(tied, func(o *hit) bool { return o.leg.Group == h.leg.Group }) {
			continue // unless it is of a group, which is one answer
		} else if h.path != v.Path && !slices.Contains(v.Also, h.path) {
			v.Also = append(v.Also, h.path)
		}
		tied = append(tied, h)
	}
	if first < 0 {
		return Verdict{}, false
	}
	v.Group = v.Path.ID
	if len(v.Also) > 0 {
		v.Group = tied[0].leg.Group
	}
	v.Findings = j.findings(s, rs.version, tied)
	v.Status = statusOf(v.Findings)
	return hits[first].resting(s, v), true
}

func statusOf(findings []record.Finding) record.Status {
	for _, f := range findings {
		if f.Level == record.Violation {
			return record.Deviating
		}
	}
	return record.Expected
}

// misplaced is the verdict of a flow that is a documented service used in the
// wrong direction or from outside.
func (j *Judge) misplaced(s *Subject, rs *ruleset, hits []hit) (Verdict, bool) {
	var best *hit
	var finding record.Finding
	for i := range hits {
		h := &hits[i]
		if h.mismatch || h.confidence < record.ByPattern || h.leg.Auth == rules.NotApplicable {
			continue
		}
		from, to := sides(h.path, h.leg)
		switch {
		case s.Client.Has(rules.Internet) && side(h.path, s.Server, to):
			// Of the rows that the server takes part in, one for clients is nearest.
			if best == nil || slices.Contains(from, rules.Client) && !slices.Contains(best.path.From, rules.Client) {
				best = h
				finding = record.Finding{ID: record.FindingExternalSource, Level: record.Violation, Detail: fmt.Sprintf("%s is documented from %s, not from the internet", h.path.ID, match.Join(from))}
			}
		case best == nil && s.Client.Acts(to) && s.Server.Acts(from) && !slices.Contains(from, rules.Any) && !slices.Contains(to, rules.Any):
			best = h
			finding = record.Finding{ID: record.FindingWrongDirection, Level: record.Violation, Detail: fmt.Sprintf("%s is documented from %s to %s", h.path.ID, match.Join(from), match.Join(to))}
		}
	}
	if best == nil {
		return Verdict{}, false
	}
	v := record.Verdict{Status: record.Deviating, Path: best.path, Group: best.path.ID, Confidence: best.confidence}
	v.Findings = append(j.findings(s, rs.version, []*hit{best}), finding)
	return best.resting(s, v), true
}

// unexplained is the verdict of a flow of an Exchange server that no data path
// explains.
func (j *Judge) unexplained(s *Subject, rs *ruleset, hits []hit) record.Verdict {
	v := record.Verdict{Status: record.Unexpected, Reason: record.NoPath}
	for i := range hits {
		if h := &hits[i]; !h.mismatch {
			v.Reason = record.WrongRole
			v.Why = s.portName() + " is documented from " + match.Join(h.path.From) + " to " + match.Join(h.path.To) +
				", not from " + s.Client.Text + " to " + s.Server.Text
			return v
		}
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
	for _, other := range j.rulesets {
		if other == rs {
			continue
		}
		j.others = j.hitsOf(other, s, j.others)
		for i := range j.others {
			if h := &j.others[i]; !h.mismatch && h.fits(s.Client, s.Server) {
				v.Reason = record.WrongVersion
				v.Why = fmt.Sprintf("a data path of Exchange %s (%s), not of %s", other.version, h.path.ID, rs.version)
				return v
			}
		}
	}
	switch {
	case s.Protocol != "" || s.Announced != nil:
	case !s.Payload:
		return record.Verdict{Status: record.Undetermined, Reason: record.NoPayload, Why: "no payload was seen, and " + s.portName() + " is no documented port"}
	case !s.Begun:
		return record.Verdict{Status: record.Undetermined, Reason: record.NotBegun, Why: "the begin was not seen, and nothing announced " + s.portName()}
	}
	what := s.Protocol
	if what == "" {
		what = "content that no observer knows"
	}
	v.Why = what + " on " + s.portName() + " from " + s.Client.Text + " to " + s.Server.Text
	return v
}

// allowed says whether the site file declares the flow as wanted.
func (j *Judge) allowed(s *Subject) (string, bool) {
	if j.site == nil {
		return "", false
	}
	for i := range j.site.Allow {
		a := &j.site.Allow[i]
		if match.Transport(a.Port, s.Proto) && s.Port >= a.Port.From && s.Port <= a.Port.To &&
			s.Client.Fits([]rules.Role{a.From}) && s.Server.Fits([]rules.Role{a.To}) {
			if a.Note != "" {
				return a.Note, true
			}
			return s.portName(), true
		}
	}
	return "", false
}

// rulesFor returns the paths of the version that holds for a flow: what the
// site file says of its Exchange server, else what traffic proves, else the
// default.
func (j *Judge) rulesFor(s *Subject) *ruleset {
	for _, r := range [...]*match.RoleSet{s.Server, s.Client} {
		if r.Exchange && r.Version != "" {
			for _, rs := range j.rulesets {
				if rs.version == r.Version {
					return rs
				}
			}
		}
	}
	return j.rulesets[0]
}
