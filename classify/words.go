package classify

import (
	"slices"
	"strings"

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
	"ip-address":   {"none"},
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

// covers says whether one of the reference's words covers an observed value.
func covers(table map[string][]string, words []string, value string) bool {
	for _, w := range words {
		if w == value || slices.Contains(table[w], value) {
			return true
		}
	}
	return false
}

// authCovered says whether the reference's words cover an observed mechanism.
// A negotiation whose outcome was not seen is covered by any word that it could
// have ended in; a secure channel of Netlogon is how that service always
// authenticates, and no word of the reference speaks of it.
func authCovered(words []string, value string, facts *observe.Facts) bool {
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

// unprotected says whether an observed encryption value leaves the payload
// readable. Signing is no encryption.
func unprotected(value string) bool {
	switch value {
	case "none", "rpc-integrity", "sasl-signed":
		return true
	}
	return false
}

// clearPassword says whether a mechanism sends a password that can be read
// where nothing encrypts it.
func clearPassword(auth string) bool {
	return covers(authWords, []string{"basic"}, auth)
}

func weakTLS(version string) bool {
	switch version {
	case "SSL 2.0", "SSL 3.0", "2.0", "3.0", "ssl2", "ssl3", "1.0", "1.1":
		return true
	}
	return false
}

func weakCipher(cipher string) bool {
	return strings.Contains(cipher, "_RC4_") || strings.Contains(cipher, "_NULL_") || strings.Contains(cipher, "_EXPORT_") ||
		strings.Contains(cipher, "_DES_") || strings.Contains(cipher, "_anon_") && strings.Contains(cipher, "NULL")
}

// weakRPC says whether an RPC authentication level is below integrity, where
// there is authentication at all.
func weakRPC(level string) bool {
	switch level {
	case "connect", "call", "packet":
		return true
	}
	return false
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
			spoken, covered = len(p.SupportedAuth) > 0, authCovered(p.SupportedAuth, value, facts)
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
