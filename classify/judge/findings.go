package judge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// finder collects the findings of a flow.
type finder struct {
	*Subject
	tied []*hit // the legs that the flow fits equally well
	out  []record.Finding
}

func (f *finder) add(id record.FindingID, level record.Level, format string, args ...any) {
	f.out = append(f.out, record.Finding{ID: id, Level: level, Detail: fmt.Sprintf(format, args...)})
}

// findings compares a flow with the documentation of the legs that it fits.
// Where several rows fit, a finding stands only if every row is broken. A row
// that says nothing of the matter accepts anything.
func (j *Judge) findings(s *Subject, version string, tied []*hit) []record.Finding {
	f := finder{Subject: s, tied: tied}
	first := tied[0]
	if first.mismatch {
		f.add(record.FindingProtocolMismatch, record.Violation, "%s carries %s, %s documents %s", s.portName(), s.content(), first.row.path.ID, first.leg.Protocol)
	} else {
		f.columns(j.policy, version)
	}
	if s.Outcome == record.Prohibited && s.Dropped != "" {
		f.add(record.FindingProhibited, record.Violation, "packets of %s were dropped by %s", s.portName(), s.Dropped)
	} else if s.Outcome == record.Prohibited {
		f.add(record.FindingProhibited, record.Violation, "a firewall answered that %s is administratively prohibited", s.portName())
	}
	if first.undocumented {
		p := first.leg.Port
		f.add(record.FindingPortUndocumented, record.Remark, "port %d is outside the documented range %d-%d", s.Port, p.From, p.To)
	}
	if first.leg.Port.Dynamic && s.Facts.Any(observe.RPCInterface) && onlyBinds(s.Announced) {
		f.add(record.FindingEndpointUnannounced, record.Remark, "no endpoint mapper was seen to announce port %d", s.Port)
	}
	if i := first.service; i >= 0 && s.Announced.Services[i].Dispute != "" {
		x := &s.Announced.Services[i]
		f.add(record.FindingAnnouncementConflict, record.Remark, "%s was announced at port %d, but %s", x.Name, s.Port, x.Dispute)
	}
	j.staticPort(&f)
	if first.leg.Port.Dynamic && (s.Client.Has(rules.LB) || s.Server.Has(rules.LB)) && s.Protocol == "dcerpc" {
		f.add(record.FindingStaticPortRecommended, record.Remark, "RPC through a load balancer wants a static port, %d is dynamic", s.Port)
	}
	switch s.Outcome {
	case record.Refused:
		f.add(record.FindingRefused, record.Remark, "the server refused the connection")
	case record.Unanswered:
		f.add(record.FindingUnanswered, record.Remark, "the client got no answer")
	}
	return f.out
}

func onlyBinds(a *match.Announced) bool {
	return a == nil || !slices.ContainsFunc(a.Services, func(x match.Service) bool { return x.Source != observe.FromBind })
}

// broken returns the first row if every row speaks of a matter and is broken,
// else nil.
func (f *finder) broken(test func(p *rules.DataPath) (speaks, breaks bool)) *rules.DataPath {
	var by *rules.DataPath
	for _, h := range f.tied {
		speaks, breaks := test(h.row.path)
		if !speaks || !breaks {
			return nil
		}
		if by == nil {
			by = h.row.path
		}
	}
	return by
}

// columns compares the observed authentication and encryption with the columns
// of the tied rows, and with what is weak in any row.
func (f *finder) columns(policy *rules.Policy, version string) {
	auth, encryption := true, true
	for _, h := range f.tied {
		auth = auth && h.leg.Auth != rules.NotApplicable
		encryption = encryption && h.leg.Encryption != rules.NotApplicable
	}
	if encryption {
		f.cleartext()
	}
	if auth {
		f.noCertificate()
	}
	for _, x := range f.Facts.All() {
		if x.Name == observe.Auth && auth {
			f.mechanism(x.Value)
		}
		for i := range policy.Weak {
			if w := &policy.Weak[i]; w.Fits(x.Name, x.Value) && (w.Encryption == "" || encryption) {
				f.weakness(w, x.Value, version)
			}
		}
	}
}

// cleartext finds content that can be read where the rows document encryption
// by default. Where only some of them do, a mail server that offers TLS in vain
// is a remark.
func (f *finder) cleartext() {
	clear := ""
	for _, x := range f.Facts.All() {
		if x.Name == observe.Encryption && unprotected(x.Value) {
			clear = x.Value
		}
	}
	if clear == "" {
		return
	}
	p := f.broken(func(p *rules.DataPath) (bool, bool) {
		return len(p.Encryption) > 0 && p.ByDefault != "", f.lacksEncryption(p, clear)
	})
	what := "nothing is encrypted"
	if clear != "none" {
		what = clear + " signs and does not encrypt"
	}
	if p != nil {
		f.add(record.FindingCleartext, record.Violation, "%s, %s documents %s by default", what, p.ID, strings.Join(p.Encryption, " or "))
	} else if p := f.promised(clear); p != nil && f.Facts.Has(f.Protocol+".tls", "offered") {
		f.add(record.FindingCleartext, record.Remark, "%s although the server offers TLS; %s documents %s by default, other data paths that fit do not",
			what, p.ID, strings.Join(p.Encryption, " or "))
	}
}

// promised returns the first row that documents encryption by default and is
// broken by content in clear, or nil.
func (f *finder) promised(clear string) *rules.DataPath {
	if f.Client.Has(rules.Internet) || f.Server.Has(rules.Internet) {
		return nil // mail there may go in clear
	}
	for _, h := range f.tied {
		if p := h.row.path; f.lacksEncryption(p, clear) {
			return p
		}
	}
	return nil
}

// lacksEncryption reports whether a row documents encryption by default that content
// in clear does not have.
func (f *finder) lacksEncryption(p *rules.DataPath, clear string) bool {
	return p.ByDefault == "yes" && !covers(encryptionWords, p.Encryption, clear) && !f.sealsMessages(p)
}

// mechanism finds an authentication mechanism that the rows do not document.
func (f *finder) mechanism(value string) {
	if p := f.broken(func(p *rules.DataPath) (bool, bool) {
		return len(p.SupportedAuth) > 0, !authCovered(p.SupportedAuth, value, f.Facts)
	}); p != nil {
		f.add(record.FindingAuthUnsupported, record.Violation, "%s, %s documents %s", value, p.ID, strings.Join(p.SupportedAuth, " or "))
	} else if p := f.broken(func(p *rules.DataPath) (bool, bool) {
		return len(p.DefaultAuth) > 0, !authCovered(p.DefaultAuth, value, f.Facts)
	}); p != nil {
		f.add(record.FindingAuthNotDefault, record.Remark, "%s, %s documents %s by default", value, p.ID, strings.Join(p.DefaultAuth, " or "))
	}
	if clearPassword(value) && f.Facts.Has(observe.Encryption, "none") {
		level := record.Remark // where no document promises encryption
		if slices.ContainsFunc(f.tied, func(h *hit) bool { return h.row.path.ByDefault == "yes" }) {
			level = record.Violation
		}
		f.add(record.FindingWeakAuth, level, "%s sends the password in clear", value)
	}
}

// weakness finds what the policy calls weak in the version of the rows.
func (f *finder) weakness(w *rules.Weakness, value, version string) {
	grade := w.Grade(version)
	if grade == nil {
		return
	}
	if w.Encryption != "" && f.broken(func(p *rules.DataPath) (bool, bool) {
		return len(p.Encryption) > 0, p.ByDefault == "yes" && slices.Contains(p.Encryption, w.Encryption)
	}) == nil {
		return
	}
	f.add(record.FindingID(w.Finding), record.Level(grade.Level), "%s", w.Message(value))
}

// staticPort finds a service that is announced at another port than the site
// file's static one.
func (j *Judge) staticPort(f *finder) {
	if f.Announced == nil || len(f.Server.Static) == 0 {
		return
	}
	for i := range f.Announced.Services {
		x := &f.Announced.Services[i]
		if x.Source != observe.FromMap && x.Source != observe.FromLookup {
			continue
		}
		if port, ok := f.Server.Static[x.Name]; ok && port != f.Port {
			f.add(record.FindingStaticPortUnused, record.Remark, "%s is announced at port %d, the site file says %d", x.Name, f.Port, port)
			return
		}
	}
}

// certificates are the words of the reference for authentication that asks the
// client for a certificate.
var certificates = []string{"direct-trust", "mtls", "certificate"}

// noCertificate finds a handshake of TLS that did not ask the client for the
// certificate that every row requires. What was not seen whole, TLS 1.3 and resumed
// sessions do not show it.
func (f *finder) noCertificate() {
	if !f.Facts.Has("tls.client_certificate", "not-requested") {
		return
	}
	if p := f.broken(func(p *rules.DataPath) (bool, bool) {
		auth := authOf(p)
		return len(auth) > 0, !slices.ContainsFunc(auth, func(w string) bool { return !slices.Contains(certificates, w) })
	}); p != nil {
		f.add(record.FindingAuthMissing, record.Violation, "the server did not ask the client for a certificate, %s documents %s", p.ID, strings.Join(authOf(p), " or "))
	}
}

// authOf returns the mechanisms that a row supports, or else its default ones.
func authOf(p *rules.DataPath) []string {
	if len(p.SupportedAuth) > 0 {
		return p.SupportedAuth
	}
	return p.DefaultAuth
}

// sealsMessages reports whether a row documents that Kerberos encrypts the
// messages inside HTTP, and the client did not authenticate otherwise: that HTTP
// itself is readable says nothing then.
func (f *finder) sealsMessages(p *rules.DataPath) bool {
	if f.Protocol != "http" || !slices.Contains(p.Encryption, "kerberos") {
		return false
	}
	return !slices.ContainsFunc(f.Facts.All(), func(x observe.Fact) bool {
		return x.Name == observe.Auth && x.Value != "kerberos" && x.Value != "negotiate" && x.Value != "none"
	})
}
