package judge

import (
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Blind tells what kept the content of a flow from being seen whole. What was not seen
// may break the documentation, or name another data path, so it limits the verdict.
type Blind uint8

// The kinds of blindness. The zero value is a flow that was seen whole, as far as the
// engine knows.
const (
	Whole       Blind = iota
	Truncated         // the snap length cut off bytes that might have told more
	ClientAlone       // only the client's packets were captured
	ServerAlone       // only the server's packets were captured
	LateStart         // the beginning was not captured
)

// reason returns the reason of a verdict that is undetermined because of b.
func (b Blind) reason() record.Reason {
	return [...]record.Reason{"", record.Truncated, record.OneDirection, record.OneDirection, record.NotBegun}[b]
}

func (b Blind) String() string {
	return [...]string{"", "the snap length cut the packets", "only the client's packets were captured", "only the server's packets were captured",
		"the beginning was not captured"}[b]
}

// blind makes a verdict undetermined that holds only if nothing was missed, although
// something was. hits are those from which the verdict was made.
func (j *Judge) blind(s *Subject, rs *ruleset, hits []hit, v *Verdict) {
	switch {
	case v.Status == record.Expected && v.Path != nil && !v.Platform() && s.doubts(v):
		if what := j.hidden(s, hits, &v.Verdict); what != "" {
			s.undetermine(v, ", so nothing tells "+what+"; "+v.Path.ID+" fits: "+v.Why)
		}
	case v.Status == record.Unexpected && (v.Reason == record.NoPath || v.Reason == record.WrongRole) && s.mayFit(rs, v.Confidence):
		s.undetermine(v, "; "+v.Why)
	}
}

// doubts reports whether an expected verdict of a blind subject may rest on too little.
// An announced service tells the data path of what began before the capture or goes the
// other way. Where nothing was read of a flow that began before the capture, port and
// roles are all that the verdict claims to rest on.
func (s *Subject) doubts(v *Verdict) bool {
	return s.Blind == Truncated || v.Service < 0 && (s.Blind != LateStart || s.Protocol != "")
}

// undetermine makes a verdict undetermined because of the blindness of s.
func (s *Subject) undetermine(v *Verdict, why string) {
	v.Verdict = record.Verdict{Status: record.Undetermined, Reason: s.Blind.reason(), Why: s.Blind.String() + why}
}

// hidden returns what was not seen of a flow and may make it deviate, or belong to
// another data path, in words that follow "nothing tells". It returns "" if there is
// nothing of that kind.
func (j *Judge) hidden(s *Subject, hits []hit, v *record.Verdict) string {
	var others []string
	for i := range hits {
		h := &hits[i]
		p := h.row.path
		if h.mismatch || h.fit < match.Likely {
			continue
		}
		if p != v.Path && !slices.Contains(v.Also, p) {
			// Another row counts if what is missing could complete its content.
			if s.Protocol != "" && s.Protocol != h.leg.Protocol || h.content.Empty() || h.content.Match(s.Facts.All()).Complete {
				continue
			}
			if h.leg.Group != v.Group && !slices.Contains(others, p.ID) {
				others = append(others, p.ID)
			}
		}
		if what := s.unseen(h); what != "" {
			return what
		}
	}
	if len(others) > 0 {
		return "it from " + strings.Join(others, ", ")
	}
	return ""
}

// unseen returns what a row documents of authentication and encryption and was not seen
// of a flow, or "".
func (s *Subject) unseen(h *hit) string {
	p, encrypted := h.row.path, ""
	// A client that goes on to TLS was told that it may.
	if s.Protocol == "tls" || s.Facts.Any("tls.version") || s.Blind == ClientAlone && s.Facts.Any("tls.ja4") {
		encrypted = "tls"
	}
	for _, x := range s.Facts.All() {
		if x.Name == observe.Encryption && !unprotected(x.Value) {
			encrypted = x.Value
		}
	}
	if h.leg.Encryption != rules.NotApplicable && p.ByDefault == "yes" && len(p.Encryption) > 0 {
		f := finder{Subject: s}
		switch {
		case encrypted == "" && (!s.Facts.Any(observe.Encryption) || f.lacksEncryption(p, "none")):
			return "whether it is encrypted"
		case s.Blind == Truncated && encrypted == "tls" && !s.Facts.Any("tls.version"):
			return "the version of TLS"
		}
	}
	if auth := authOf(p); h.leg.Auth != rules.NotApplicable && len(auth) > 0 {
		certificate := !slices.ContainsFunc(auth, func(w string) bool { return !slices.Contains(certificates, w) })
		switch {
		case certificate:
			if !s.Facts.Any("tls.client_certificate") && !s.Facts.Has("tls.version", "1.3") {
				return "whether the client shows a certificate"
			}
		case s.Blind != ClientAlone && encrypted == "" && !s.Facts.Any(observe.Auth) && !covers(authWords, auth, "none"):
			return "how the client authenticates"
		}
	}
	return ""
}

// mayFit reports whether a flow that no data path explains may be explained by content
// that was not seen. confidence is that with which its verdict knows the service.
func (s *Subject) mayFit(rs *ruleset, confidence record.Confidence) bool {
	if s.Protocol == "" {
		return s.Blind == Truncated || confidence == record.ByPort
	}
	could := func(ref *legRef) bool {
		return ref.leg.Protocol == s.Protocol && (confidence <= record.ByPort || ref.row.fits(s, ref.leg) >= match.Likely)
	}
	return slices.ContainsFunc(rs.paths.at(s.Port, s.Proto), could) || !s.Facts.Any(observe.RPCInterface) && slices.ContainsFunc(rs.paths.dynamic[s.Protocol], could)
}
