package rules

import (
	"slices"
	"testing"
)

// TestPolicyWeaknesses compares observed values with the policy of every version.
func TestPolicyWeaknesses(t *testing.T) {
	packs := embeddedPacks(t)
	policy := packs.Policy()
	all := versions
	modern := []string{"2019", "SE"}
	after2003 := []string{"2007", "2010", "2013", "2016", "2019", "SE"}
	for _, tt := range []struct {
		fact, value   string
		want, message string // want is the finding, or "" if there is none
		violation     []string
		remark        bool // in the versions in which it is not a violation
	}{
		{"tls.version", "ssl2", "weak-encryption", "TLS version ssl2", modern, true},
		{"tls.version", "ssl3", "weak-encryption", "TLS version ssl3", modern, true},
		{"tls.version", "1.0", "weak-encryption", "TLS version 1.0", modern, true},
		{"tls.version", "1.1", "weak-encryption", "TLS version 1.1", modern, true},
		{"tls.version", "1.2", "", "", nil, false},
		{"tls.version", "1.3", "", "", nil, false},
		{"tls.cipher", "TLS_RSA_WITH_RC4_128_SHA", "weak-encryption", "cipher TLS_RSA_WITH_RC4_128_SHA", modern, true},
		{"tls.cipher", "SSL_CK_RC4_128_EXPORT40_WITH_MD5", "weak-encryption", "cipher SSL_CK_RC4_128_EXPORT40_WITH_MD5", modern, true},
		{"tls.cipher", "TLS_RSA_WITH_NULL_SHA", "weak-encryption", "cipher TLS_RSA_WITH_NULL_SHA", all, false},
		{"tls.cipher", "TLS_RSA_EXPORT_WITH_DES40_CBC_SHA", "weak-encryption", "cipher TLS_RSA_EXPORT_WITH_DES40_CBC_SHA", modern, true},
		{"tls.cipher", "TLS_RSA_WITH_DES_CBC_SHA", "weak-encryption", "cipher TLS_RSA_WITH_DES_CBC_SHA", modern, true},
		{"tls.cipher", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "weak-encryption", "cipher TLS_RSA_WITH_3DES_EDE_CBC_SHA", modern, false},
		{"tls.cipher", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "", "", nil, false},
		{"ntlm.version", "1", "weak-auth", "NTLM version 1", after2003, true},
		{"ntlm.version", "2", "", "", nil, false},
		{"rpc.auth_level", "connect", "weak-encryption", "RPC authentication level connect is below integrity", all, false},
		{"rpc.auth_level", "packet", "weak-encryption", "RPC authentication level packet is below integrity", all, false},
		{"rpc.auth_level", "integrity", "", "", nil, false},
		{"rpc.auth_level", "privacy", "", "", nil, false},
		{"rpc.auth_level", "none", "", "", nil, false},
		{"smb.version", "1", "retired-protocol", "SMB 1", []string{"2010", "2013", "2016", "2019", "SE"}, true},
		{"smb.version", "2.1", "", "", nil, false},
		{"smb.version", "3.1.1", "", "", nil, false},
		{"tls.alpn", "1.0", "", "", nil, false},
	} {
		finding, message := "", ""
		for i := range policy.Weak {
			w := &policy.Weak[i]
			if !w.Fits(tt.fact, tt.value) {
				continue
			}
			if finding != "" {
				t.Errorf("%s=%s shows two weaknesses", tt.fact, tt.value)
			}
			finding, message = w.Finding, w.Message(tt.value)
			for _, v := range []string{"2000", "2003", "2007", "2010", "2013", "2016", "2019", "SE"} {
				want := Level("")
				switch {
				case slices.Contains(tt.violation, packVersion(v)):
					want = Violation
				case tt.remark:
					want = Remark
				}
				got := Level("")
				if g := w.Grade(v); g != nil {
					got = g.Level
					if g.Source == "" || g.Rule != "" && !slices.ContainsFunc(packs.Absent(v), func(a *Absent) bool { return a.ID == g.Rule }) {
						t.Errorf("%s=%s in %s: source %q, rule %q", tt.fact, tt.value, v, g.Source, g.Rule)
					}
				}
				if got != want {
					t.Errorf("%s=%s in %s: level %q, want %q", tt.fact, tt.value, v, got, want)
				}
			}
		}
		if finding != tt.want || message != tt.message {
			t.Errorf("%s=%s: %q %q, want %q %q", tt.fact, tt.value, finding, message, tt.want, tt.message)
		}
		if finding != "" && !slices.Contains(policy.Violations, finding) {
			t.Errorf("there is no finding %q", finding)
		}
	}
}

func TestPolicyRoles(t *testing.T) {
	policy := embeddedPacks(t).Policy()
	for _, r := range Roles() {
		want := slices.Contains([]Role{Hub, Edge, Mailbox, MailboxLegacy, CAS, UM, AnyExchange}, r)
		if policy.Exchange(r) != want || r.Exchange() != want {
			t.Errorf("%s: policy %t, role %t", r, policy.Exchange(r), r.Exchange())
		}
	}
}

func TestPolicyProtocols(t *testing.T) {
	policy := embeddedPacks(t).Policy()
	for _, p := range []string{"dns", "kerberos", "sip", "dcerpc", "ldap"} {
		if !policy.Answers(p) {
			t.Errorf("%s does not answer", p)
		}
	}
	for _, p := range []string{"", "rtp", "smtp", "tls"} {
		if policy.Answers(p) {
			t.Errorf("%q answers", p)
		}
	}
	for by, want := range map[string]string{
		"ept_map": "dcerpc", "ept_lookup": "dcerpc", "bind": "dcerpc", "site": "dcerpc", "sdp": "rtp", "sip_redirect": "", "push": "",
	} {
		if got := policy.ProtocolOf(by); got != want {
			t.Errorf("%s: %q, want %q", by, got, want)
		}
	}
	var none Packs
	if p := none.Policy(); p == nil || p.Answers("dns") || p.Exchange(Hub) {
		t.Errorf("packs without a policy: %+v", p)
	}
}

// TestGrade covers a weakness whose severity depends on the version.
func TestGrade(t *testing.T) {
	w := Weakness{Grades: []Grade{
		{Level: Remark},
		{Versions: []string{"2019", "SE"}, Level: Violation},
	}}
	for _, tt := range []struct {
		version string
		want    Level
	}{{"2003", Remark}, {"2010", Remark}, {"2019", Violation}, {"SE", Violation}} {
		if g := w.Grade(tt.version); g == nil || g.Level != tt.want {
			t.Errorf("%s: %+v, want %s", tt.version, g, tt.want)
		}
	}
	w.Grades = w.Grades[1:]
	if g := w.Grade("2010"); g != nil {
		t.Errorf("2010: %+v, want none", g)
	}
}
