package spnego

import (
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// tlv builds one element.
func tlv(tag byte, parts ...string) string {
	body := strings.Join(parts, "")
	switch n := len(body); {
	case n < 0x80:
		return string([]byte{tag, byte(n)}) + body
	default:
		return string([]byte{tag, 0x82, byte(n >> 8), byte(n)}) + body
	}
}

// apReq builds an AP-REQ (RFC 4120 section 5.5.1) for a service principal.
func apReq(realm string, name ...string) string {
	var parts string
	for _, n := range name {
		parts += tlv(0x1b, n)
	}
	ticket := tlv(0x61, tlv(0x30,
		tlv(0xa0, "\x02\x01\x05"),
		tlv(0xa1, tlv(0x1b, realm)),
		tlv(0xa2, tlv(0x30, tlv(0xa0, "\x02\x01\x02"), tlv(0xa1, tlv(0x30, parts)))),
		tlv(0xa3, tlv(0x30, tlv(0xa0, "\x02\x01\x12"), tlv(0xa2, tlv(0x04, strings.Repeat("c", 200)))))))
	return tlv(0x6e, tlv(0x30,
		tlv(0xa0, "\x02\x01\x05"), tlv(0xa1, "\x02\x01\x0e"), tlv(0xa2, "\x03\x05\x00\x20\x00\x00\x00"), tlv(0xa3, ticket),
		tlv(0xa4, tlv(0x30, tlv(0xa0, "\x02\x01\x12"), tlv(0xa2, tlv(0x04, "authenticator"))))))
}

func gss(oid string, parts ...string) string {
	return tlv(0x60, tlv(0x06, oid), strings.Join(parts, ""))
}

func initToken(token string, mechs ...string) string {
	var l string
	for _, m := range mechs {
		l += tlv(0x06, m)
	}
	s := tlv(0xa0, tlv(0x30, l))
	if token != "" {
		s += tlv(0xa2, tlv(0x04, token))
	}
	return gss(oidSPNEGO, tlv(0xa0, tlv(0x30, s)))
}

func respToken(state byte, mech, token string) string {
	s := tlv(0xa0, tlv(0x0a, string([]byte{state})))
	if mech != "" {
		s += tlv(0xa1, tlv(0x06, mech))
	}
	if token != "" {
		s += tlv(0xa2, tlv(0x04, token))
	}
	return tlv(0xa1, tlv(0x30, s))
}

const (
	oidNegoEx   = "\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e"
	negotiate   = "NTLMSSP\x00\x01\x00\x00\x00\x97\x82\x08\xe2\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	apRep       = "\x6f\x0c\x30\x0a\xa0\x03\x02\x01\x05\xa1\x03\x02\x01\x0f"
	tokenAPReq  = "\x01\x00"
	tokenAPRep  = "\x02\x00"
	mb1, domain = "mb1.example.com", "EXAMPLE.COM"
)

func TestInspect(t *testing.T) {
	kerb := gss(oidKerberos, tokenAPReq, apReq(domain, "exchangeMDB", mb1))
	for _, c := range []struct {
		name       string
		token      string
		fromServer bool
		mechanism  Mechanism
		strength   Strength
		service    string
	}{
		{"offer", initToken("", oidMSKerberos, oidKerberos, oidNTLM), false, Negotiate, Offered, ""},
		{"offer of one", initToken("", oidNTLM), false, NTLM, Offered, ""},
		{"hint of the server", initToken("", oidMSKerberos, oidKerberos, oidNegoEx, oidNTLM), true, Negotiate, Offered, ""},
		{"Kerberos tried", initToken(kerb, oidMSKerberos, oidKerberos, oidNTLM), false, Kerberos, Tried, "exchangeMDB/" + mb1},
		{"NTLM in an offer", initToken(negotiate, oidNTLM), false, NTLM, Settled, ""},
		{"server takes Kerberos", respToken(1, oidMSKerberos, ""), true, Kerberos, Settled, ""},
		{"server answers Kerberos", respToken(0, oidMSKerberos, gss(oidKerberos, tokenAPRep, apRep)), true, Kerberos, Settled, ""},
		{"server takes NTLM", respToken(1, oidNTLM, ""), true, NTLM, Settled, ""},
		{"server refuses", respToken(2, oidMSKerberos, ""), true, Negotiate, Offered, ""},
		{"server takes another", respToken(1, oidNegoEx, ""), true, Negotiate, Offered, ""},
		{"client names a mechanism", respToken(1, oidNTLM, ""), false, Negotiate, Offered, ""},
		{"client's last leg", respToken(1, "", apRep), false, Kerberos, Settled, ""},
		{"bare NTLM", negotiate, false, NTLM, Settled, ""},
		{"bare Kerberos", apReq(domain, "ldap", "dc1.example.com", "example.com"), false, Kerberos, Tried,
			"ldap/dc1.example.com/example.com"},
		{"wrapped Kerberos", kerb, false, Kerberos, Tried, "exchangeMDB/" + mb1},
		{"account", gss(oidKerberos, tokenAPReq, apReq(domain, "jdoe")), false, Kerberos, Tried, ""},
		{"empty", "", false, "", None, ""},
		{"text", "Basic abc", false, "", None, ""},
		{"other GSS mechanism", gss("\x2b\x06\x01\x05\x05\x0e", "x"), false, "", None, ""},
		{"signature", "\x01\x00\x00\x00" + strings.Repeat("s", 12), false, "", None, ""},
		{"nested for ever", strings.Repeat("\x60\x82\x01\x00\x06\x06"+oidSPNEGO, 40), false, "", None, ""},
	} {
		i := Inspect([]byte(c.token), c.fromServer, false)
		if i.Mechanism != c.mechanism || i.Strength != c.strength || i.Ticket.Service != c.service {
			t.Errorf("%s: %q %d %q, want %q %d %q", c.name, i.Mechanism, i.Strength, i.Ticket.Service, c.mechanism, c.strength, c.service)
		}
	}
}

func TestTruncatedToken(t *testing.T) {
	tok := initToken(gss(oidKerberos, tokenAPReq, apReq(domain, "HTTP", "cas1.example.com")), oidMSKerberos, oidKerberos, oidNTLM)
	i := Inspect([]byte(tok[:len(tok)-150]), false, false)
	if i.Mechanism != Kerberos || i.Ticket.Service != "HTTP/cas1.example.com" || i.Ticket.Realm != domain {
		t.Errorf("%+v", i)
	}
}

func TestContext(t *testing.T) {
	kerb := initToken(gss(oidKerberos, tokenAPReq, apReq(domain, "exchangeRFR", mb1)), oidMSKerberos, oidKerberos, oidNTLM)
	type leg struct {
		token  string
		server bool
	}
	for _, c := range []struct {
		name string
		legs []leg
		want []Mechanism
	}{
		{"Kerberos", []leg{{kerb, false}, {respToken(1, oidMSKerberos, gss(oidKerberos, tokenAPRep, apRep)), true}, {respToken(0, "",
			apRep), false}},
			[]Mechanism{Kerberos, Kerberos, Kerberos}},
		{"turned down", []leg{{kerb, false}, {respToken(3, oidNTLM, ""), true}, {respToken(1, "", negotiate), false}},
			[]Mechanism{Kerberos, NTLM, NTLM}},
		{"offer first", []leg{{initToken("", oidMSKerberos, oidNTLM), false}, {respToken(1, oidNTLM, ""), true}}, []Mechanism{Negotiate,
			NTLM}},
		{"only the end", []leg{{respToken(0, "", ""), true}}, []Mechanism{Negotiate}},
	} {
		var ctx Context
		var got []Mechanism
		var r observe.Report
		for _, l := range c.legs {
			ctx.Add([]byte(l.token), l.server, &r)
			got = append(got, ctx.Mechanism)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if r.Any(observe.Auth) {
			t.Errorf("%s: reported auth", c.name)
		}
	}
}

func TestFacts(t *testing.T) {
	var c Context
	var r observe.Report
	c.Add([]byte(gss(oidKerberos, tokenAPReq, apReq(domain, "exchangeAB", mb1))), false, &r)
	c.Add([]byte(gss(oidKerberos, tokenAPReq, apReq(domain, "jdoe"))), false, &r)
	want := []observe.Fact{{Name: "kerberos.realm", Value: domain}, {Name: "kerberos.service", Value: "exchangeAB/" + mb1},
		{Name: "kerberos.etype", Value: "aes256-cts-hmac-sha1-96"}}
	if !slices.Equal(r.All(), want) {
		t.Errorf("%v, want %v", r.All(), want)
	}
}

func TestSigner(t *testing.T) {
	for _, c := range []struct {
		name string
		b    string
		n    int
		want Mechanism
	}{
		{"NTLM", "\x01\x00\x00\x00\x12\x34\x56\x78", 16, NTLM},
		{"NTLM signature of another length", "\x01\x00\x00\x00\x12\x34\x56\x78", 20, ""},
		{"AES integrity", "\x04\x04\x05\xff", 28, Kerberos},
		{"AES privacy", "\x05\x04\x07\xff\x00\x10", 76, Kerberos},
		{"RC4", "\x60\x2b\x06\x09" + oidKerberos + "\x02\x01", 45, Kerberos},
		{"Netlogon", "\x77\x00\x7a\x00\xff\xff\x00\x00", 32, ""},
		{"nothing", "", 0, ""},
	} {
		if got := Signer([]byte(c.b), c.n); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzSPNEGO(f *testing.F) {
	kerb := gss(oidKerberos, tokenAPReq, apReq(domain, "exchangeMDB", mb1))
	for _, s := range []string{kerb, initToken(kerb, oidMSKerberos, oidKerberos, oidNTLM), initToken(negotiate, oidNTLM),
		respToken(1, oidNTLM, negotiate), respToken(0, oidKerberos, gss(oidKerberos, tokenAPRep, apRep)), apReq(domain, "ldap", "dc1")} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, fromServer bool) {
		var c Context
		var r observe.Report
		i := c.Add(b, fromServer, &r)
		if (i.Mechanism == "") != (i.Strength == None) {
			t.Errorf("%q with strength %d", i.Mechanism, i.Strength)
		}
		for _, v := range r.Values("kerberos.service") {
			if !strings.Contains(v, "/") {
				t.Errorf("kept the account %q", v)
			}
		}
		Signer(b, len(b))
	})
}
