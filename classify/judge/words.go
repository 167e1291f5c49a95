package judge

import (
	"slices"
	"time"

	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// The reference speaks of mechanisms in its own words; these tables say which
// observed values each word covers. A word that is missing covers itself.

var authWords = map[string][]string{
	"negotiate":    {"negotiate", "kerberos", "ntlm"},
	"basic":        {"basic", "login", "plain", "user-pass", "simple"},
	"plain":        {"plain", "login", "user-pass"},
	"mtls":         {"certificate"},
	"direct-trust": {"certificate"},
	"anonymous":    {"none", "anonymous"},
	"ip-address":   {"none", "certificate"}, // the certificate of TLS that SIP asks for
	"ntlmv2":       {"ntlm"},
}

var encryptionWords = map[string][]string{
	"tls":      {"tls"},
	"ssl":      {"tls"},
	"https":    {"tls"},
	"ldaps":    {"tls"},
	"sip-tls":  {"tls"},
	"rpc":      {"rpc-privacy", "net.tcp"},
	"kerberos": {"sasl-sealed", "rpc-privacy", "tls"},
	"srtp":     {"srtp"},
	"yes":      {"nns-protected"},
	"ipsec":    {"esp"},
}

// covers reports whether one of the reference's words covers an observed value.
func covers(table map[string][]string, words []string, value string) bool {
	for _, w := range words {
		if w == value || slices.Contains(table[w], value) {
			return true
		}
	}
	return false
}

// authCovered reports whether the reference's words cover an observed mechanism.
// A negotiation whose outcome was not seen is covered by any word that it could
// have ended in; a secure channel of Netlogon is how that service always
// authenticates, and no word of the reference speaks of it.
func authCovered(words []string, value string, facts *observe.List) bool {
	switch value {
	case "netlogon":
		return true
	case "negotiate":
		return covers(authWords, words, "negotiate") || covers(authWords, words, "kerberos") || covers(authWords, words, "ntlm")
	case "ntlm":
		if len(words) == 1 && words[0] == "ntlmv2" {
			return !facts.Has(observe.NTLMVersion, "1")
		}
	}
	return covers(authWords, words, value)
}

// unprotected reports whether an observed encryption value leaves the payload
// readable. Signing is no encryption.
func unprotected(value string) bool {
	switch value {
	case "none", "rpc-integrity", "sasl-signed":
		return true
	}
	return false
}

// clearPassword reports whether a mechanism sends a password that can be read
// where nothing encrypts it.
func clearPassword(auth string) bool {
	return covers(authWords, []string{"basic"}, auth)
}

// Documented reports whether the rows that a verdict names support an observed
// value of observe.Auth or observe.Encryption: "yes", "no", or "unsaid" where no
// row speaks of it.
func Documented(v *record.Verdict, name, value string, facts *observe.Facts) string {
	answer := "unsaid"
	row := func(p *rules.DataPath) {
		var spoken, covered bool
		switch name {
		case observe.Auth:
			spoken, covered = len(p.SupportedAuth) > 0, authCovered(p.SupportedAuth, value, facts.List())
		case observe.Encryption:
			spoken = len(p.Encryption) > 0
			covered = covers(encryptionWords, p.Encryption, value) || p.ByDefault == "no" && unprotected(value)
		}
		switch {
		case covered && spoken:
			answer = "yes"
		case spoken && answer == "unsaid":
			answer = "no"
		}
	}
	if v.Path != nil {
		row(v.Path)
	}
	for _, p := range v.Also {
		row(p)
	}
	return answer
}

// announcement words where and when a service was announced, as the end of a
// verdict's why.
func announcement(why string, x *match.Service, o Origin) string {
	what := why + ", endpoint"
	if why == "" {
		what = "endpoint of " + x.Name
	}
	at := time.Unix(0, o.Learned).UTC().Format("15:04:05")
	if o.Sensor != "" {
		at += " by sensor " + o.Sensor
	}
	switch x.Source {
	case observe.FromSite:
		return what + " named by the site file"
	case observe.FromBind:
		return what + " known from a bind at " + at
	default:
		return what + " learned from " + o.From.String() + " at " + at
	}
}

// openRoles words whose role is not known, and what to do about it.
func openRoles(v *Verdict, o Origin) string {
	switch {
	case v.client && v.server && o.Client != o.Server:
		return "; the roles of " + o.Client.String() + " and " + o.Server.String() + " are not known: add them to the site file"
	case v.client:
		return "; the role of " + o.Client.String() + " is not known: add it to the site file"
	case v.server:
		return "; the role of " + o.Server.String() + " is not known: add it to the site file"
	}
	return ""
}

// content names what was read of a subject.
func (s *Subject) content() string {
	if s.Protocol == "" {
		return "content that no observer knows"
	}
	return s.Protocol
}
