package ldap

import (
	"bytes"
	"encoding/binary"
	"math/rand"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// el encodes an element as Windows does, with a length of four octets.
func el(tag byte, parts ...string) string {
	body := strings.Join(parts, "")
	b := append([]byte{tag, 0x84}, binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	return string(b) + body
}

// short encodes an element with the shortest length, as other clients do.
func short(tag byte, parts ...string) string {
	body := strings.Join(parts, "")
	switch n := len(body); {
	case n < 0x80:
		return string([]byte{tag, byte(n)}) + body
	case n < 0x100:
		return string([]byte{tag, 0x81, byte(n)}) + body
	default:
		return string([]byte{tag, 0x82, byte(n >> 8), byte(n)}) + body
	}
}

func num(v int) string    { return string([]byte{der.Integer, 1, byte(v)}) }
func enum(v int) string   { return string([]byte{der.Enumerated, 1, byte(v)}) }
func str(s string) string { return short(der.OctetString, s) }

func msg(id int, op string) string { return el(der.Sequence, num(id), op) }

func simple(id int, name, password string) string {
	return msg(id, el(opBind, num(3), str(name), short(0x80, password)))
}

func sasl(id int, mech, token string) string {
	return msg(id, el(opBind, num(3), str(""), el(der.Context(3), str(mech), str(token))))
}

func bound(id, code int, creds string) string {
	parts := []string{enum(code), str(""), str("")}
	if creds != "" {
		parts = append(parts, short(0x87, creds))
	}
	return msg(id, el(opBindResponse, parts...))
}

func search(id int, base string, scope int, attrs ...string) string {
	var l []string
	for _, a := range attrs {
		l = append(l, str(a))
	}
	filter := short(0x87, "objectClass")
	return msg(id, el(opSearch, str(base), enum(scope), enum(0), num(0), num(0), "\x01\x01\x00", filter, el(der.Sequence, l...)))
}

func entry(id int, dn string, size int) string {
	values := el(0x31, short(der.OctetString, strings.Repeat("v", size)))
	return msg(id, el(opEntry, str(dn), el(der.Sequence, el(der.Sequence, str("x"), values))))
}

func done(id, code int) string { return msg(id, el(opSearchDone, enum(code), str(""), str(""))) }

func startTLS(id int) string { return msg(id, short(opExtended, short(0x80, oidStartTLS))) }

func extended(id, code int) string {
	return msg(id, short(opExtendedReply, enum(code), str(""), str("")))
}

// wrap puts a token and content into a SASL buffer.
func wrap(parts ...string) string {
	body := strings.Join(parts, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body
}

const (
	secret = "\x9f\x31\x77\x02\xee\x5a\x10\x83\x44\xd2\x0b\xc6\x78\x99\xab\x13\x55\x21\xf0\x6d\xa7\x3e\x81\x12\x5c\xe4\x09\xbb\x67\xf3\x2a\x90"
	// Wrap tokens of RFC 4121 section 4.2.6.2. Flag 2 means sealed; EC and RRC are 12.
	aesSealed = "\x05\x04\x02\xff\x00\x00\x00\x1c\x00\x00\x00\x00\x00\x00\x00\x01"
	aesSigned = "\x05\x04\x04\xff\x00\x0c\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x01sumsumsumsum"
	ntlmSign  = "\x01\x00\x00\x00\xaa\xbb\xcc\xdd\xee\xff\x00\x11\x00\x00\x00\x00"
	spnegoNeg = "\x60\x1c\x06\x06\x2b\x06\x01\x05\x05\x02\xa0\x12\x30\x10\xa0\x0e\x30\x0c\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a"
	base      = "DC=example,DC=com"
	config    = "CN=First Organization,CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=Example,DC=com"
)

// accepted is a response to StartTLS that includes its name, as some servers send it.
var accepted = msg(1, el(opExtendedReply, enum(0), str(""), str("Start TLS request accepted"), short(0x8a, oidStartTLS)))

// rc4 returns the wrap token of RFC 4757 section 7.3, in the form of GSS-API.
func rc4(seal, content string) string {
	return short(0x60, short(der.OID, kerberosOID), "\x02\x01\x11\x00", seal, "\xff\xff", "seqseqseqcksumcksconfound"[:24], content)
}

func TestObserve(t *testing.T) {
	to, back := observetest.ToServer, observetest.ToClient
	for _, c := range []struct {
		name      string
		conv      []observetest.Segment
		midstream bool
		datagram  bool
		id        bool
		err       error
		want      []string
	}{
		{
			name: "simple bind and a search in clear",
			conv: []observetest.Segment{
				to(simple(1, "cn=admin,"+base, "secret")), back(bound(1, 0, "")), to(search(2, "OU=Sales,DC=Example,DC=COM", 2, "mail")),
				back(entry(2, "cn=alice,ou=sales,"+base, 9000), done(2, 0)),
			},
			want: []string{"ldap.bind=simple", "auth=simple", "encryption=none", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "simple bind refused without TLS",
			conv: []observetest.Segment{to(simple(1, "cn=admin,"+base, "secret")), back(bound(1, 8, ""))},
			want: []string{"ldap.bind=simple", "encryption=none", "ldap.error=strongerAuthRequired"},
		},
		{
			name: "the root DSE is not data, and an anonymous bind for it is not authentication",
			conv: []observetest.Segment{
				to(simple(1, "", "")), back(bound(1, 0, "")), to(search(2, "", 0, "supportedSASLMechanisms")), back(entry(2, "", 100), done(2, 0)),
			},
			want: []string{"ldap.bind=anonymous"},
		},
		{
			name: "a search of the whole forest is data",
			conv: []observetest.Segment{to(search(2, "", 2, "proxyAddresses"))},
			want: []string{"encryption=none"},
		},
		{
			name: "entries without a bind",
			conv: []observetest.Segment{to(search(2, base, 2)), back(entry(2, "cn=x,"+base, 10))},
			want: []string{"encryption=none", "auth=anonymous", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "entries on a flow without its beginning", midstream: true,
			conv: []observetest.Segment{to(search(2, base, 2)), back(entry(2, "cn=x,"+base, 10))},
			want: []string{"encryption=none", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "Exchange's configuration",
			conv: []observetest.Segment{to(search(2, config, 1), search(3, "cn=deleted objects,cn=configuration,"+base, 1))},
			want: []string{
				"encryption=none", "ldap.base=CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=example,DC=com",
				"ldap.base=CN=Configuration,DC=example,DC=com",
			},
		},
		{
			name: "with identities", id: true,
			conv: []observetest.Segment{to(search(2, config, 1))},
			want: []string{"encryption=none", "ldap.base=CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=example,DC=com", "ldap.dn=" + config},
		},
		{
			name: "Kerberos, sealed with AES",
			conv: []observetest.Segment{
				to(sasl(1, "GSSAPI", "\x60\x10"+secret[:16])), back(bound(1, 14, secret)), to(sasl(2, "GSSAPI", "")), back(bound(2, 0, "")),
				to(wrap(aesSealed, secret, secret)), back(wrap(aesSealed, strings.Repeat(secret, 1000))), to(wrap(aesSealed, secret)),
			},
			want: []string{"ldap.bind=sasl:GSSAPI", "auth=kerberos", "encryption=sasl-sealed"},
		},
		{
			name: "Kerberos, signed with AES: the base is readable", midstream: true,
			conv: []observetest.Segment{to(wrap(aesSigned, search(4, config, 2))), back(wrap(aesSigned, entry(4, "cn=x,"+config, 5000)))},
			want: []string{
				"auth=kerberos", "encryption=sasl-signed", "ldap.base=CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=example,DC=com",
			},
		},
		{
			name: "Kerberos, sealed with RC4", midstream: true,
			conv: []observetest.Segment{to(wrap(rc4("\x10\x00", secret)))},
			want: []string{"auth=kerberos", "encryption=sasl-sealed"},
		},
		{
			name: "Kerberos, signed with RC4", midstream: true,
			conv: []observetest.Segment{to(wrap(rc4("\xff\xff", search(4, base, 2))))},
			want: []string{"auth=kerberos", "encryption=sasl-signed", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "NTLM, sealed",
			conv: []observetest.Segment{
				to(sasl(1, "GSS-SPNEGO", spnegoNeg)), back(bound(1, 14, "")), to(sasl(2, "GSS-SPNEGO", "NTLMSSP\x00\x03\x00\x00\x00")),
				back(bound(2, 0, "")), to(wrap(ntlmSign, secret)), back(wrap(ntlmSign, secret, secret)),
			},
			want: []string{"ldap.bind=sasl:GSS-SPNEGO", "auth=ntlm", "encryption=sasl-sealed"},
		},
		{
			name: "NTLM, signed", midstream: true,
			conv: []observetest.Segment{to(wrap(ntlmSign, search(7, base, 2)))},
			want: []string{"auth=ntlm", "encryption=sasl-signed", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "what follows a first signed buffer need not begin with a message", midstream: true,
			conv: []observetest.Segment{to(wrap(ntlmSign, search(7, base, 2)), wrap(ntlmSign, secret))},
			want: []string{"auth=ntlm", "encryption=sasl-signed", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "DIGEST-MD5, sealed",
			conv: []observetest.Segment{
				to(sasl(1, "DIGEST-MD5", "")), back(bound(1, 14, "nonce")), to(sasl(2, "digest-md5", "response")), back(bound(2, 0, "")),
				to(wrap(secret, secret)),
			},
			want: []string{"ldap.bind=sasl:DIGEST-MD5", "auth=digest", "encryption=sasl-sealed"},
		},
		{
			name: "Kerberos bind, then searches in clear",
			conv: []observetest.Segment{to(sasl(1, "GSSAPI", secret)), back(bound(1, 0, "")), to(search(2, base, 2)), back(entry(2, "cn=x", 5))},
			want: []string{"ldap.bind=sasl:GSSAPI", "auth=kerberos", "encryption=none", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "EXTERNAL, refused",
			conv: []observetest.Segment{to(sasl(1, "EXTERNAL", "")), back(bound(1, 49, ""))},
			want: []string{"ldap.bind=sasl:EXTERNAL", "ldap.error=invalidCredentials"},
		},
		{
			name: "Sicily",
			conv: []observetest.Segment{
				to(msg(1, el(opBind, num(3), str(""), short(0x89)))), back(msg(1, el(opBindResponse, enum(0), str("NTLM"), str("")))),
				to(msg(2, el(opBind, num(3), str("NTLM"), short(0x8a, "NTLMSSP\x00\x01\x00\x00\x00")))),
				back(msg(2, el(opBindResponse, enum(0), str("NTLMSSP\x00\x02\x00\x00\x00"), str("")))),
				to(msg(3, el(opBind, num(3), str(""), short(0x8b, "NTLMSSP\x00\x03\x00\x00\x00")))), back(bound(3, 0, "")),
			},
			want: []string{"ldap.bind=sicily", "auth=ntlm"},
		},
		{
			name: "StartTLS",
			conv: []observetest.Segment{to(startTLS(1)), back(accepted), to("\x16\x03\x01\x00\x05hello")},
			err:  observe.ErrUpgrade,
			want: []string{"ldap.tls=starttls"},
		},
		{
			name: "StartTLS, the handshake before the answer",
			conv: []observetest.Segment{to(startTLS(1), "\x16\x03\x01\x00\x05hello"), back(extended(1, 0))},
			err:  observe.ErrUpgrade,
			want: []string{"ldap.tls=starttls"},
		},
		{
			name: "StartTLS, the answer lost",
			conv: []observetest.Segment{to(startTLS(1)), observetest.Lost(observe.ToClient, 40), to("\x16\x03\x01\x00\x05hello")},
			err:  observe.ErrUpgrade,
			want: []string{"ldap.tls=starttls"},
		},
		{
			name: "StartTLS refused, and a search in clear",
			conv: []observetest.Segment{to(startTLS(1)), back(extended(1, 52)), to(search(2, base, 2))},
			want: []string{"ldap.tls=refused", "encryption=none", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "after a gap messages are found where the talk turns",
			conv: []observetest.Segment{
				to(search(1, "", 0)), back(done(1, 0)), observetest.Lost(observe.ToServer, 50), to("tail of a request"), back(done(2, 0)),
				to(search(3, base, 2)), back(entry(3, "cn=x,"+base, 5)),
			},
			want: []string{"encryption=none", "ldap.base=DC=example,DC=com"},
		},
		{
			name: "CLDAP ping", datagram: true,
			conv: []observetest.Segment{to(search(1, "", 0, "NetLogon")), back(entry(1, "", 100) + done(1, 0))},
			want: []string{"ldap.cldap=netlogon"},
		},
		{
			name: "root DSE over UDP", datagram: true,
			conv: []observetest.Segment{to(search(1, "", 0, "currentTime"))},
			want: []string{"ldap.cldap=rootdse"},
		},
		{name: "the server first", conv: []observetest.Segment{to(entry(2, "cn=x", 5))}, err: observe.ErrReversed},
		{name: "SNMP", conv: []observetest.Segment{to("\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x04")}, err: observe.ErrViolation},
		{name: "TLS", conv: []observetest.Segment{to("\x16\x03\x01\x00\x05hello")}, err: observe.ErrViolation},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := observetest.Options{Datagram: c.datagram, Midstream: c.midstream, Identities: c.id}
			r := observetest.Check(t, Protocol(), c.conv, o)
			if r.Err != c.err {
				t.Errorf("ends with %v, want %v", r.Err, c.err)
			}
			if c.err == observe.ErrUpgrade && r.Next != "tls" {
				t.Errorf("next is %q", r.Next)
			}
			// TestServer covers the facts about the server.
			for _, v := range r.Facts.Values(Entry) {
				r.Facts.Remove(Entry, v)
			}
			observetest.Expect(t, r, c.want...)
		})
	}
}

func TestNamingContext(t *testing.T) {
	for _, c := range []struct{ dn, want string }{
		{"DC=example,DC=com", "DC=example,DC=com"},
		{"ou=Smith\\, John,dc=Example, dc=COM", "DC=example,DC=com"},
		{"CN=Configuration,DC=example,DC=com", "CN=Configuration,DC=example,DC=com"},
		{"cn=a,cn=schema,cn=configuration,dc=a", "CN=Schema,CN=Configuration,DC=a"},
		{"CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=a", "CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=a"},
		{"CN=Services,CN=Configuration,DC=a", "CN=Configuration,DC=a"},
		{"CN=Microsoft Exchange,DC=a", "DC=a"},
		{"DC=_msdcs.example.com,CN=MicrosoftDNS,DC=ForestDnsZones,DC=example,DC=com", "DC=forestdnszones,DC=example,DC=com"},
		{"CN=x,OU=MSExchangeGateway", "OU=MSExchangeGateway"},
		{"CN=Sites,CN=Configuration,CN={0AFA3C4B-4E93-4D7B-B3BD-1B5A3D3C8C11}", "CN=Configuration,CN={0AFA3C4B-4E93-4D7B-B3BD-1B5A3D3C8C11}"},
		{"cn=Recipients,ou=Site,o=Org,c=US", "O=Org,C=US"},
		{"<WKGUID=A9D1CA15768811D1ADED00C04FD8D5CD,DC=example,DC=com>", "DC=example,DC=com"},
		{"<SID=S-1-5-21-1-2-3-1104>", "…"},
		{"alice@example.com", "…"},
		{"cn=alice", "…"},
		{"cn=alice\\", "…"},
	} {
		if got := namingContext(c.dn); got != c.want {
			t.Errorf("namingContext(%q) = %q, want %q", c.dn, got, c.want)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		name string
		f    observe.First
		want observe.Match
	}{
		{"bind", observe.First{ToServer: []byte(simple(1, "", ""))}, observe.Yes},
		{"one byte", observe.First{ToServer: []byte("0")}, observe.More},
		{"entry", observe.First{ToClient: []byte(entry(1, "cn=x", 5))}, observe.Yes},
		{"sealed on the port", observe.First{ToServer: []byte(wrap(aesSealed, secret, secret)), OnPort: true}, observe.Yes},
		{"sealed elsewhere", observe.First{ToServer: []byte(wrap(aesSealed, secret, secret))}, observe.No},
		{"CLDAP", observe.First{ToServer: []byte(search(1, "", 0, "Netlogon")), Datagram: true}, observe.Yes},
		{"SNMP", observe.First{ToServer: []byte("\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x04"), Datagram: true}, observe.No},
		{"Kerberos", observe.First{ToServer: []byte("\x6a\x81\x80\x30\x7e"), Datagram: true}, observe.No},
		{"NetBIOS session", observe.First{ToServer: []byte("\x00\x00\x00\x85\xffSMB" + strings.Repeat("\x00", 140)), OnPort: true}, observe.No},
	} {
		if got := detect(&c.f); got != c.want {
			t.Errorf("%s: detect = %d, want %d", c.name, got, c.want)
		}
	}
}

// TestCorpus compares mechanisms, protection and search bases with tshark's.
func TestCorpus(t *testing.T) {
	for _, file := range []string{
		"ad/eternalchampion.pcap", "ad/missing_ldap_logs.pcapng", "ad/ntlm_ldap.pcapng", "ad/purplesharp_ad_playbook_I_2020-10-22042947.cap",
		"epm/AD-capture-2.pcapng", "epm/aug_16_par4.pcap.gz", "epm/chip_host_signin.pcap.gz", "span/KRB5.pcap",
	} {
		t.Run(file, func(t *testing.T) {
			path := observetest.Corpus(t, file)
			type seen struct {
				facts map[string]bool
				bases []string
			}
			want := map[string]*seen{}
			rows := observetest.Tshark(t, path, "ldap and tcp", []string{"tcp.stream", "ldap.mechanism", "ldap.resultCode", "ldap.baseObject",
				"spnego.krb5.sealed", "kerberos.msg_type", "ldap.protocolOp", "kerberos.SNameString"})
			for _, row := range rows {
				w := want[row[0]]
				if w == nil {
					w = &seen{facts: map[string]bool{}}
					want[row[0]] = w
				}
				if row[1] != "" {
					w.facts["ldap.bind=sasl:"+row[1]] = true
				}
				if row[6] == "1" && row[2] == "0" && row[5] == "15" {
					w.facts["auth=kerberos"] = true
				}
				if strings.Contains(row[7], ",") { // other values are accounts
					w.facts["kerberos.service="+strings.ReplaceAll(row[7], ",", "/")] = true
				}
				for _, sealed := range strings.Split(row[4], ",") {
					switch sealed {
					case "1", "True":
						w.facts["encryption=sasl-sealed"] = true
					case "0", "False":
						w.facts["encryption=sasl-signed"] = true
					}
				}
				if row[3] != "" && !strings.Contains(row[3], "\\,") {
					w.bases = append(w.bases, row[3])
				}
			}
			n, bases := 0, 0
			for _, f := range observetest.Flows(t, path, "tcp.port == 389 or tcp.port == 3268") {
				w := want[strconv.Itoa(f.Stream)]
				r := observetest.Check(t, Protocol(), f.Segments, f.Options())
				got := r.Lines()
				if w == nil {
					if len(got) > 0 {
						t.Errorf("stream %d: tshark reads no LDAP, observer reads %v", f.Stream, got)
					}
					continue
				}
				n++
				for l := range w.facts {
					if !slices.Contains(got, l) {
						t.Errorf("stream %d: tshark reads %s, observer reads %v", f.Stream, l, got)
					}
				}
				if r.Err != nil {
					t.Errorf("stream %d: %v", f.Stream, r.Err)
				}
				if slices.Contains(got, "encryption=none") {
					t.Errorf("stream %d: nothing in this corpus is in clear, observer reads %v", f.Stream, got)
				}
				ours := r.Facts.Values(Base)
				for _, b := range w.bases {
					bases++
					if !slices.ContainsFunc(ours, func(o string) bool { return strings.HasSuffix(strings.ToLower(b), strings.ToLower(o)) }) {
						t.Errorf("stream %d: tshark reads base %s, observer reads %v", f.Stream, b, ours)
					}
				}
				for _, o := range ours {
					if !slices.ContainsFunc(w.bases, func(b string) bool { return strings.HasSuffix(strings.ToLower(b), strings.ToLower(o)) }) {
						t.Errorf("stream %d: observer reads base %s, tshark reads %v", f.Stream, o, w.bases)
					}
				}
			}
			if n == 0 {
				t.Error("no flow was compared")
			}
			t.Logf("%d flows compared, %d bases", n, bases)
		})
	}
}

func TestAllocs(t *testing.T) {
	o, r := new(observer), new(observe.Report)
	in := &observe.Input{Data: []byte(search(1, base, 2)), Handshake: true}
	step := func() {
		if _, err := o.Observe(in, r); err != nil {
			t.Fatal(err)
		}
	}
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations for a search without news", n)
	}
}

func FuzzObserve(f *testing.F) {
	to, back := observetest.ToServer, observetest.ToClient
	observetest.Fuzz(f, Protocol(),
		[]observetest.Segment{to(simple(1, "cn=a", "p")), back(bound(1, 0, "")), to(search(2, config, 2)), back(entry(2, "cn=x", 50))},
		[]observetest.Segment{to(sasl(1, "GSS-SPNEGO", spnegoNeg)), back(bound(1, 14, "")), to(wrap(aesSigned, search(4, base, 2)))},
		[]observetest.Segment{to(startTLS(1)), back(extended(1, 0))},
		[]observetest.Segment{to(wrap(ntlmSign, secret), wrap(rc4("\xff\xff", search(4, base, 2))))},
	)
}

func FuzzNamingContext(f *testing.F) {
	f.Add(config)
	f.Add("<WKGUID=A9,CN=x\\,,DC=y>")
	f.Fuzz(func(t *testing.T, dn string) { namingContext(dn) })
}

// TestWindows compares the fast path for messages of Windows with lookAny, which reads
// all lengths.
func TestWindows(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	took := 0
	for range 300000 {
		b := []byte("\x30\x84\x00\x00\x00\x20\x02\x01\x05\x64\x84\x00\x00\x00\x17\x04\x01a0123456789012345678901234567890")
		if n := 1 + rnd.Intn(4); rnd.Intn(2) == 0 {
			b = append(append(append(b[:7:7], byte(n)), make([]byte, n)...), b[9:]...)
			rnd.Read(b[8 : 8+n])
		}
		b[9+rnd.Intn(4)] = byte(rnd.Intn(256))
		for range rnd.Intn(3) {
			b[rnd.Intn(20)] = byte(rnd.Intn(256))
		}
		b = b[:len(b)-rnd.Intn(40)]
		var short, long message
		if !short.windows(b) {
			continue
		}
		took++
		if long.lookAny(b, true); short.kind != long.kind || short.op != long.op || short.size != long.size || short.at != long.at ||
			short.id != long.id || !bytes.Equal(short.body, long.body) {
			t.Fatalf("% x: fast path %+v, lookAny %+v", b, short, long)
		}
	}
	if took < 1000 {
		t.Errorf("the fast path took %d messages", took)
	}
}
