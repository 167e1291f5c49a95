package classify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// judge decides what a flow is. The result's slices are new.
func (e *Engine) judge(s *subject, outcome record.Outcome) record.Verdict {
	if !s.client.exchange && !s.server.exchange {
		return record.Verdict{Status: record.Unrelated}
	}
	rs := e.rulesFor(s)
	e.hitBuf = rs.hits(s, e.hitBuf)
	hits := e.hitBuf
	slices.SortStableFunc(hits, func(a, b hit) int {
		if c := b.rank() - a.rank(); c != 0 {
			return c
		}
		return a.order - b.order
	})

	if v, ok := e.documented(s, hits, outcome); ok {
		return v
	}
	if note, ok := e.allowed(s); ok {
		return record.Verdict{Status: record.Expected, Confidence: record.ByPort, Why: "allowed by the site file: " + note}
	}
	if v, ok := e.misplaced(s, hits, outcome); ok {
		return v
	}
	return e.unexplained(s, hits)
}

// documented is the verdict of a flow that fits a data path with the right
// roles at both ends.
func (e *Engine) documented(s *subject, hits []hit, outcome record.Outcome) (record.Verdict, bool) {
	first, best := -1, 0
	var v record.Verdict
	var tied []*hit
	for i := range hits {
		h := &hits[i]
		if !h.fits(s.client, s.server, e.hosts.clients) {
			continue
		}
		if first < 0 {
			first, best = i, h.rank()
			v = record.Verdict{Path: h.path, Confidence: h.confidence, Why: h.why(s)}
		} else if h.rank() != best {
			break
		} else if h.path != v.Path && !slices.Contains(v.Also, h.path) {
			v.Also = append(v.Also, h.path)
		}
		tied = append(tied, h)
	}
	if first < 0 {
		return v, false
	}
	v.Group = v.Path.ID
	if len(v.Also) > 0 {
		v.Group = tied[0].leg.Group
	}
	v.Findings = findings(s, tied, outcome)
	v.Status = statusOf(v.Findings)
	return v, true
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
func (e *Engine) misplaced(s *subject, hits []hit, outcome record.Outcome) (record.Verdict, bool) {
	var best *hit
	var finding record.Finding
	for i := range hits {
		h := &hits[i]
		if h.mismatch || h.confidence < record.ByPattern || h.leg.Auth == rules.NotApplicable {
			continue
		}
		from, to := sides(h.path, h.leg)
		switch {
		case s.client.has(rules.Internet) && side(h.path, s.server, to, e.hosts.clients):
			// Of the rows that the server takes part in, one for clients is nearest.
			if best == nil || slices.Contains(from, rules.Client) && !slices.Contains(best.path.From, rules.Client) {
				best = h
				finding = record.Finding{ID: record.FindingExternalSource, Level: record.Violation, Detail: fmt.Sprintf("%s is documented from %s, not from the internet", h.path.ID, joinRoles(from))}
			}
		case best == nil && s.client.fits(to, true) && s.server.fits(from, true) && !slices.Contains(from, rules.Any) && !slices.Contains(to, rules.Any):
			best = h
			finding = record.Finding{ID: record.FindingWrongDirection, Level: record.Violation, Detail: fmt.Sprintf("%s is documented from %s to %s", h.path.ID, joinRoles(from), joinRoles(to))}
		}
	}
	if best == nil {
		return record.Verdict{}, false
	}
	v := record.Verdict{Status: record.Deviating, Path: best.path, Group: best.path.ID, Confidence: best.confidence, Why: best.why(s)}
	v.Findings = append(findings(s, []*hit{best}, outcome), finding)
	return v, true
}

// unexplained is the verdict of a flow of an Exchange server that no data path
// explains.
func (e *Engine) unexplained(s *subject, hits []hit) record.Verdict {
	v := record.Verdict{Status: record.Unexpected, Reason: record.NoPath}
	for i := range hits {
		if h := &hits[i]; !h.mismatch {
			v.Reason = record.WrongRole
			v.Why = portName(s) + " is documented from " + joinRoles(h.path.From) + " to " + joinRoles(h.path.To) +
				", not from " + s.client.text + " to " + s.server.text
			return v
		}
	}
	if s.server.exchange {
		for _, l := range e.rulesFor(s).local {
			if transport(l.Port, s.proto) && l.Port.Contains(s.port) {
				v.Reason = record.LocalOnly
				v.Why = fmt.Sprintf("%s is for the server itself alone: %s", portName(s), l.Note)
				return v
			}
		}
	}
	for _, other := range e.rulesets {
		if other == e.rulesFor(s) {
			continue
		}
		e.otherBuf = other.hits(s, e.otherBuf)
		for i := range e.otherBuf {
			if h := &e.otherBuf[i]; !h.mismatch && h.fits(s.client, s.server, e.hosts.clients) {
				v.Reason = record.WrongVersion
				v.Why = fmt.Sprintf("a data path of Exchange %s (%s), not of %s", other.version, h.path.ID, e.rulesFor(s).version)
				return v
			}
		}
	}
	switch {
	case s.protocol != "" || len(s.entries) > 0:
	case !s.payload:
		return record.Verdict{Status: record.Undetermined, Reason: record.NoPayload, Why: "no payload was seen, and " + portName(s) + " is no documented port"}
	case !s.begun:
		return record.Verdict{Status: record.Undetermined, Reason: record.NotBegun, Why: "the begin was not seen, and nothing announced " + portName(s)}
	}
	what := s.protocol
	if what == "" {
		what = "content that no observer knows"
	}
	v.Why = what + " on " + portName(s) + " from " + s.client.text + " to " + s.server.text
	return v
}

// allowed says whether the site file declares the flow as wanted.
func (e *Engine) allowed(s *subject) (string, bool) {
	if e.site == nil {
		return "", false
	}
	for i := range e.site.Allow {
		a := &e.site.Allow[i]
		if transport(a.Port, s.proto) && s.port >= a.Port.From && s.port <= a.Port.To &&
			s.client.fits([]rules.Role{a.From}, e.hosts.clients) && s.server.fits([]rules.Role{a.To}, e.hosts.clients) {
			if a.Note != "" {
				return a.Note, true
			}
			return portName(s), true
		}
	}
	return "", false
}

// rulesFor returns the paths of the version that holds for a flow: what the
// site file says of its Exchange server, else what traffic proves, else the
// default.
func (e *Engine) rulesFor(s *subject) *ruleset {
	for _, r := range [...]*roleSet{s.server, s.client} {
		if r.exchange && r.version != "" {
			for _, rs := range e.rulesets {
				if rs.version == r.version {
					return rs
				}
			}
		}
	}
	return e.rulesets[0]
}

// findings holds a flow against the documentation of the legs it fits. Where
// several rows fit, a finding stands only if every row that says anything
// about it agrees, and one does.
func findings(s *subject, tied []*hit, outcome record.Outcome) []record.Finding {
	var out []record.Finding
	add := func(id record.FindingID, level record.Level, format string, args ...any) {
		out = append(out, record.Finding{ID: id, Level: level, Detail: fmt.Sprintf(format, args...)})
	}
	first := tied[0]
	if first.mismatch {
		add(record.FindingProtocolMismatch, record.Violation, "%s carries %s, %s documents %s", portName(s), s.protocol, first.path.ID, first.leg.Protocol)
	} else {
		columns(s, tied, add)
	}
	if outcome == record.Prohibited {
		add(record.FindingProhibited, record.Violation, "a firewall answered that %s is administratively prohibited", portName(s))
	}
	if first.undocumented {
		p := first.leg.Port
		add(record.FindingPortUndocumented, record.Remark, "port %d is outside the documented range %d-%d", s.port, p.From, p.To)
	}
	if first.leg.Port.Dynamic && s.facts.Any(observe.RPCInterface) && onlyBinds(s.entries) {
		add(record.FindingEndpointUnannounced, record.Remark, "no endpoint mapper was seen to announce port %d", s.port)
	}
	if first.leg.Port.Dynamic && (s.client.has(rules.LB) || s.server.has(rules.LB)) && s.protocol == "dcerpc" {
		add(record.FindingStaticPortRecommended, record.Remark, "RPC through a load balancer wants a static port, %d is dynamic", s.port)
	}
	switch outcome {
	case record.Refused:
		add(record.FindingRefused, record.Remark, "the server refused the connection")
	case record.Unanswered:
		add(record.FindingUnanswered, record.Remark, "the client got no answer")
	}
	return out
}

func onlyBinds(entries []*entry) bool {
	for _, en := range entries {
		if en.source != observe.FromBind {
			return false
		}
	}
	return true
}

// columns holds the observed authentication and encryption against the
// columns of the tied rows.
func columns(s *subject, tied []*hit, add func(id record.FindingID, level record.Level, format string, args ...any)) {
	// agree says whether some row speaks of a matter, and every row that does
	// is broken.
	agree := func(broken func(p *rules.DataPath) (speaks, breaks bool)) *rules.DataPath {
		var by *rules.DataPath
		for _, h := range tied {
			speaks, breaks := broken(h.path)
			if speaks && !breaks {
				return nil
			}
			if speaks && by == nil {
				by = h.path
			}
		}
		return by
	}
	auth, encryption := true, true
	for _, h := range tied {
		auth = auth && h.leg.Auth != rules.NotApplicable
		encryption = encryption && h.leg.Encryption != rules.NotApplicable
	}
	clear := ""
	for _, f := range s.facts.All() {
		if f.Name == observe.Encryption && unprotected(f.Value) {
			clear = f.Value
		}
	}
	if encryption && clear != "" {
		if p := agree(func(p *rules.DataPath) (bool, bool) {
			if len(p.Encryption) == 0 || p.ByDefault == "" {
				return false, false
			}
			return true, p.ByDefault == "yes" && !covers(encryptionWords, p.Encryption, clear)
		}); p != nil {
			what := "nothing is encrypted"
			if clear != "none" {
				what = clear + " signs and does not encrypt"
			}
			add(record.FindingCleartext, record.Violation, "%s, %s documents %s by default", what, p.ID, strings.Join(p.Encryption, " or "))
		}
	}
	for _, f := range s.facts.All() {
		switch {
		case f.Name == observe.Auth && auth:
			value := f.Value
			if p := agree(func(p *rules.DataPath) (bool, bool) {
				return len(p.SupportedAuth) > 0, !authCovered(p.SupportedAuth, value, s.facts)
			}); p != nil {
				add(record.FindingAuthUnsupported, record.Violation, "%s, %s documents %s", value, p.ID, strings.Join(p.SupportedAuth, " or "))
			} else if p := agree(func(p *rules.DataPath) (bool, bool) {
				return len(p.DefaultAuth) > 0, !authCovered(p.DefaultAuth, value, s.facts)
			}); p != nil {
				add(record.FindingAuthNotDefault, record.Remark, "%s, %s documents %s by default", value, p.ID, strings.Join(p.DefaultAuth, " or "))
			}
			if clearPassword(value) && s.facts.Has(observe.Encryption, "none") {
				add(record.FindingWeakAuth, record.Violation, "%s sends the password in clear", value)
			}
		case f.Name == observe.NTLMVersion && f.Value == "1":
			add(record.FindingWeakAuth, record.Violation, "NTLM version 1")
		case f.Name == observe.TLSVersion && weakTLS(f.Value):
			add(record.FindingWeakEncryption, record.Violation, "TLS version %s", f.Value)
		case f.Name == observe.TLSCipher && weakCipher(f.Value):
			add(record.FindingWeakEncryption, record.Violation, "cipher %s", f.Value)
		case f.Name == observe.RPCAuthLevel && encryption && weakRPC(f.Value):
			if p := agree(func(p *rules.DataPath) (bool, bool) {
				return len(p.Encryption) > 0, slices.Contains(p.Encryption, "rpc")
			}); p != nil {
				add(record.FindingWeakEncryption, record.Violation, "RPC authentication level %s is below integrity", f.Value)
			}
		case f.Name == observe.SMBVersion && strings.HasPrefix(f.Value, "1"):
			add(record.FindingRetiredProtocol, record.Violation, "SMB 1")
		}
	}
}

// outcomeOf says how a flow's set-up went, at the end of the flow or of the
// input.
func (e *Engine) outcomeOf(s *slot) record.Outcome {
	f := s.Flow
	if f.Proto == capture.UDP {
		switch {
		case f.BothWays():
			return record.Answered
		case s.has(prohibited):
			return record.Prohibited
		case f.Seen&flow.SeenRefused != 0 || s.has(refused):
			return record.Refused
		case e.oneWay(f):
			return record.OneWay
		case e.asks(s) && !e.lossy():
			return record.Unanswered
		}
		return ""
	}
	switch {
	case s.has(prohibited):
		return record.Prohibited
	case f.Seen&flow.SeenRefused != 0 || s.has(refused):
		return record.Refused
	case f.Seen&flow.SeenSYNACK != 0:
		return record.Answered
	case !f.BothWays() && e.oneWay(f):
		return record.OneWay
	case f.Seen&flow.SeenSYN == 0:
		return record.Midstream
	case f.BothWays():
		return record.Answered // the SYN-ACK was missed, an answer was not
	case e.lossy():
		return record.Incomplete
	case f.Seen&flow.SeenSYNAgain != 0 || e.clock-f.Last >= flow.AnswerTimeout:
		return record.Unanswered
	}
	return record.Incomplete
}
