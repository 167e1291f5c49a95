package classify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

// judge decides what a flow is. The result's slices are new.
func (e *Engine) judge(s *subject, outcome Outcome) Verdict {
	if !s.client.exchange && !s.server.exchange {
		return Verdict{Status: Unrelated}
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
		return Verdict{Status: Expected, Confidence: ByPort, Why: "allowed by the site file: " + note}
	}
	if v, ok := e.misplaced(s, hits, outcome); ok {
		return v
	}
	return e.unexplained(s, hits)
}

// documented is the verdict of a flow that fits a data path with the right
// roles at both ends.
func (e *Engine) documented(s *subject, hits []hit, outcome Outcome) (Verdict, bool) {
	first, best := -1, 0
	var v Verdict
	var tied []*hit
	for i := range hits {
		h := &hits[i]
		if !h.fits(s.client, s.server, e.hosts.clients) {
			continue
		}
		if first < 0 {
			first, best = i, h.rank()
			v = Verdict{Path: h.path, Confidence: h.confidence, Why: h.why(s)}
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

func statusOf(findings []Finding) Status {
	for _, f := range findings {
		if f.Level == Violation {
			return Deviating
		}
	}
	return Expected
}

// misplaced is the verdict of a flow that is a documented service used in the
// wrong direction or from outside.
func (e *Engine) misplaced(s *subject, hits []hit, outcome Outcome) (Verdict, bool) {
	var best *hit
	var finding Finding
	for i := range hits {
		h := &hits[i]
		if h.mismatch || h.confidence < ByPattern || h.leg.Auth == rules.NotApplicable {
			continue
		}
		from, to := sides(h.path, h.leg)
		switch {
		case s.client.has(rules.Internet) && side(h.path, s.server, to, e.hosts.clients):
			// Of the rows that the server takes part in, one for clients is nearest.
			if best == nil || slices.Contains(from, rules.Client) && !slices.Contains(best.path.From, rules.Client) {
				best = h
				finding = Finding{"external-source", Violation, fmt.Sprintf("%s is documented from %s, not from the internet", h.path.ID, joinRoles(from))}
			}
		case best == nil && s.client.fits(to, true) && s.server.fits(from, true) && !slices.Contains(from, rules.Any) && !slices.Contains(to, rules.Any):
			best = h
			finding = Finding{"wrong-direction", Violation, fmt.Sprintf("%s is documented from %s to %s", h.path.ID, joinRoles(from), joinRoles(to))}
		}
	}
	if best == nil {
		return Verdict{}, false
	}
	v := Verdict{Status: Deviating, Path: best.path, Group: best.path.ID, Confidence: best.confidence, Why: best.why(s)}
	v.Findings = append(findings(s, []*hit{best}, outcome), finding)
	return v, true
}

// unexplained is the verdict of a flow of an Exchange server that no data path
// explains.
func (e *Engine) unexplained(s *subject, hits []hit) Verdict {
	v := Verdict{Status: Unexpected, Reason: NoPath}
	for i := range hits {
		if h := &hits[i]; !h.mismatch {
			v.Reason = WrongRole
			v.Why = portName(s) + " is documented from " + joinRoles(h.path.From) + " to " + joinRoles(h.path.To) +
				", not from " + s.client.text + " to " + s.server.text
			return v
		}
	}
	if s.server.exchange {
		for _, l := range e.rulesFor(s).local {
			if transport(l.Port, s.proto) && l.Port.Contains(s.port) {
				v.Reason = LocalOnly
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
				v.Reason = WrongVersion
				v.Why = fmt.Sprintf("a data path of Exchange %s (%s), not of %s", other.version, h.path.ID, e.rulesFor(s).version)
				return v
			}
		}
	}
	switch {
	case s.protocol != "" || len(s.entries) > 0:
	case !s.payload:
		return Verdict{Status: Undetermined, Reason: NoPayload, Why: "no payload was seen, and " + portName(s) + " is no documented port"}
	case !s.begun:
		return Verdict{Status: Undetermined, Reason: NotBegun, Why: "the begin was not seen, and nothing announced " + portName(s)}
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
func findings(s *subject, tied []*hit, outcome Outcome) []Finding {
	var out []Finding
	add := func(id string, level Level, format string, args ...any) {
		out = append(out, Finding{id, level, fmt.Sprintf(format, args...)})
	}
	first := tied[0]
	if first.mismatch {
		add("protocol-mismatch", Violation, "%s carries %s, %s documents %s", portName(s), s.protocol, first.path.ID, first.leg.Protocol)
	} else {
		columns(s, tied, add)
	}
	if outcome == Prohibited {
		add("prohibited", Violation, "a firewall answered that %s is administratively prohibited", portName(s))
	}
	if first.undocumented {
		p := first.leg.Port
		add("port-undocumented", Remark, "port %d is outside the documented range %d-%d", s.port, p.From, p.To)
	}
	if first.leg.Port.Dynamic && s.facts.Any("rpc.interface") && onlyBinds(s.entries) {
		add("endpoint-unannounced", Remark, "no endpoint mapper was seen to announce port %d", s.port)
	}
	if first.leg.Port.Dynamic && (s.client.has(rules.LB) || s.server.has(rules.LB)) && s.protocol == "dcerpc" {
		add("static-port-recommended", Remark, "RPC through a load balancer wants a static port, %d is dynamic", s.port)
	}
	switch outcome {
	case Refused:
		add("refused", Remark, "the server refused the connection")
	case Unanswered:
		add("unanswered", Remark, "the client got no answer")
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
func columns(s *subject, tied []*hit, add func(id string, level Level, format string, args ...any)) {
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
			add("cleartext", Violation, "%s, %s documents %s by default", what, p.ID, strings.Join(p.Encryption, " or "))
		}
	}
	for _, f := range s.facts.All() {
		switch {
		case f.Name == observe.Auth && auth:
			value := f.Value
			if p := agree(func(p *rules.DataPath) (bool, bool) {
				return len(p.SupportedAuth) > 0, !authCovered(p.SupportedAuth, value, s.facts)
			}); p != nil {
				add("auth-unsupported", Violation, "%s, %s documents %s", value, p.ID, strings.Join(p.SupportedAuth, " or "))
			} else if p := agree(func(p *rules.DataPath) (bool, bool) {
				return len(p.DefaultAuth) > 0, !authCovered(p.DefaultAuth, value, s.facts)
			}); p != nil {
				add("auth-not-default", Remark, "%s, %s documents %s by default", value, p.ID, strings.Join(p.DefaultAuth, " or "))
			}
			if clearPassword(value) && s.facts.Has(observe.Encryption, "none") {
				add("weak-auth", Violation, "%s sends the password in clear", value)
			}
		case f.Name == "ntlm.version" && f.Value == "1":
			add("weak-auth", Violation, "NTLM version 1")
		case f.Name == "tls.version" && weakTLS(f.Value):
			add("weak-encryption", Violation, "TLS version %s", f.Value)
		case f.Name == "tls.cipher" && weakCipher(f.Value):
			add("weak-encryption", Violation, "cipher %s", f.Value)
		case f.Name == "rpc.auth_level" && encryption && weakRPC(f.Value):
			if p := agree(func(p *rules.DataPath) (bool, bool) {
				return len(p.Encryption) > 0, slices.Contains(p.Encryption, "rpc")
			}); p != nil {
				add("weak-encryption", Violation, "RPC authentication level %s is below integrity", f.Value)
			}
		case f.Name == "smb.version" && strings.HasPrefix(f.Value, "1"):
			add("retired-protocol", Violation, "SMB 1")
		}
	}
}

// outcomeOf says how a flow's set-up went, at the end of the flow or of the
// input.
func (e *Engine) outcomeOf(s *slot) Outcome {
	f := s.Flow
	if f.Proto == capture.UDP {
		switch {
		case f.BothWays():
			return Answered
		case s.Owner.said&prohibited != 0:
			return Prohibited
		case f.Seen&flow.SeenRefused != 0 || s.Owner.said&refused != 0:
			return Refused
		case e.oneWay(f):
			return OneWay
		case e.asks(s) && !e.lossy():
			return Unanswered
		}
		return ""
	}
	switch {
	case s.Owner.said&prohibited != 0:
		return Prohibited
	case f.Seen&flow.SeenRefused != 0 || s.Owner.said&refused != 0:
		return Refused
	case f.Seen&flow.SeenSYNACK != 0:
		return Answered
	case !f.BothWays() && e.oneWay(f):
		return OneWay
	case f.Seen&flow.SeenSYN == 0:
		return Midstream
	case f.BothWays():
		return Answered // the SYN-ACK was missed, an answer was not
	case e.lossy():
		return Incomplete
	case f.Seen&flow.SeenSYNAgain != 0 || e.clock-f.Last >= flow.AnswerTimeout:
		return Unanswered
	}
	return Incomplete
}
