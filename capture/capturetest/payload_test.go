package capturetest

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPayloads verifies with tshark that the generated payloads have the given fields and
// that none is malformed.
func TestPayloads(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	const from, to = "tcp 10.0.0.1:1050 > 10.0.0.2:", "tcp 10.0.0.2:"
	for _, c := range []struct{ text, fields, want string }{
		{from + "135 rpc-bind(emsmdb)", "dcerpc.pkt_type dcerpc.cn_bind_to_uuid dcerpc.cn_bind_if_ver dcerpc.cn_bind_if_ver_minor",
			"11|a4f1db00-ca47-1067-b31f-00dd010662da|0|81"},
		{from + "135 rpc-bind(winreg call 7 ntlm privacy)", "dcerpc.cn_call_id dcerpc.auth_type dcerpc.auth_level ntlmssp.messagetype", "7|10|6|0x00000001"},
		{from + "135 rpc-bind(emsmdb kerberos/exchangeMDB/mb1 integrity)", "dcerpc.auth_type dcerpc.auth_level kerberos.msg_type kerberos.SNameString", "16|5|14|exchangeMDB,mb1"},
		{from + "135 rpc-auth3(ntlm connect v1)", "dcerpc.pkt_type ntlmssp.messagetype ntlmssp.auth.ntresponse", "16|0x00000003|" + strings.Repeat("a5", 24)},
		{from + "135 rpc-request(11 kerberos privacy)", "dcerpc.pkt_type dcerpc.opnum dcerpc.cn_call_id dcerpc.auth_level", "0|11|2|6"},
		{from + "135 rpc-bind(epmapper)\n" + to + "135 > 10.0.0.1:1050 rpc-bind-ack(135)\n" + from + "135 epm-map(nspi)\n" +
			to + "135 > 10.0.0.1:1050 epm-mapped(nspi 6004/http)",
			"dcerpc.pkt_type epm.opnum epm.uuid epm.proto.http_port epm.rc", "11||||;12||||;0|3|00000000-0000-0000-0000-000000000000,f5cc5a18-4264-101a-8c59-08002b2f8426,8a885d04-1ceb-11c9-9fe8-08002b104860||;" +
				"2|3|f5cc5a18-4264-101a-8c59-08002b2f8426,8a885d04-1ceb-11c9-9fe8-08002b104860|6004|0x00000000"},
		{from + "135 rpc-bind(epmapper)\n" + to + "135 > 10.0.0.1:1050 rpc-bind-ack(135)\n" + from + "135 epm-lookup()\n" +
			to + "135 > 10.0.0.1:1050 epm-found(rfr 46862 Referral)",
			"epm.opnum epm.annotation epm.proto.tcp_port epm.rc", "|||;|||;2|||;2|Referral|46862|0x00000000"},
		{"udp 10.0.0.1:1050 > 10.0.0.2:135 epm-map-dg(nspi)\nudp 10.0.0.2:135 > 10.0.0.1:1050 epm-mapped-dg(nspi 40001)",
			"dcerpc.ver dcerpc.pkt_type epm.opnum epm.proto.tcp_port epm.rc", "4|0|3|0|;4|2|3|40001|0x00000000"},
		{from + "443 tls-client-hello(mail.example.com 1.3)\n" + to + "443 > 10.0.0.1:1050 tls-server-hello(1.3)\n" + from + "443 tls-client-done(1.3) tls-data(90)",
			"tls.handshake.type tls.handshake.extensions_server_name tls.handshake.ciphersuite tls.record.content_type",
			"1|mail.example.com|0x1301,0xc02f,0x002f,0x0005|22;2||0x1301|22,20;|||20"},
		{from + "443 tls-client-hello(1.0)\n" + to + "443 > 10.0.0.1:1050 tls-server-hello(1.0 rc4 mutual)\n" + from + "443 tls-client-done(1.0 certificate)",
			"tls.handshake.type tls.handshake.version tls.handshake.ciphersuite", "1|0x0301|0x1301,0xc02f,0x002f,0x0005;2,11,13,14|0x0301|0x0005;11,16||"},
		{from + "389 ldap-bind(GSSAPI)\n" + to + "389 > 10.0.0.1:1050 ldap-bound()\n" + from + "389 ldap-search(DC=example,DC=com)",
			"ldap.protocolOp ldap.mechanism ldap.baseObject ldap.resultCode", "0|GSSAPI||;1|||0;3||DC=example,DC=com|"},
		{from + "389 ldap-bind(simple)\n", "ldap.protocolOp ldap.authentication", "0|0"},
		{from + "445 smb-negotiate()\n" + to + "445 > 10.0.0.1:1050 smb-negotiated()\n" + from + "445 smb-setup(negotiate)\n" +
			to + "445 > 10.0.0.1:1050 smb-setup-answer(challenge)\n" + from + "445 smb-setup(v2)\n" + to + "445 > 10.0.0.1:1050 smb-setup-answer(done)\n" +
			from + "445 smb-connect(\\\\mb1\\IPC$)\n" + to + "445 > 10.0.0.1:1050 smb-connected(pipe)\n" + from + "445 smb-open(winreg)\n" +
			to + "445 > 10.0.0.1:1050 smb-opened()\n" + from + "445 smb-pipe-bind(winreg)\n" + to + "445 > 10.0.0.1:1050 smb-pipe-bound(\\PIPE\\winreg)",
			"smb2.cmd ntlmssp.messagetype smb2.nt_status smb2.tree smb2.filename dcerpc.pkt_type",
			"0|||||;0||0x00000000|||;1|0x00000001||||;1|0x00000002|0xc0000016|||;1|0x00000003||||;1||0x00000000|||;3|||\\\\mb1\\IPC$||;" +
				`3||0x00000000|||;5|||\\mb1\IPC$|winreg|;5||0x00000000|\\mb1\IPC$||;11|||\\mb1\IPC$||11;11||0x00000000|\\mb1\IPC$||12`},
		{from + "88 krb-tgs-req(ldap/dc1 tcp)\n" + to + "88 > 10.0.0.1:1050 krb-tgs-rep(ldap/dc1 tcp)", "kerberos.msg_type kerberos.etype", "12,14|18,18;13|18,18"},
	} {
		var args []string
		for _, f := range strings.Fields(c.fields) {
			args = append(args, "-e", f)
		}
		args = append(args, "-e", "_ws.malformed", "-n", "-r", compileTo(t, c.text), "-T", "fields", "-E", "separator=|")
		out, err := exec.Command("tshark", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for l := range strings.Lines(string(out)) {
			l, bad, _ := cutLast(strings.TrimSuffix(l, "\n"), "|")
			if bad != "" {
				t.Errorf("%s: %s", c.text, bad)
			}
			lines = append(lines, l)
		}
		if got := strings.Join(lines, ";"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// TestPayloadErrors compares every mistake in a generator with its message.
func TestPayloadErrors(t *testing.T) {
	for word, want := range map[string]string{
		"bogus()":                  "unknown payload bogus()",
		"rpc-bind()":               "rpc-bind(): no interface",
		"rpc-bind(nothing)":        `rpc-bind(nothing): "nothing" is not an interface`,
		"rpc-bind(emsmdb 7)":       `rpc-bind(emsmdb 7): "7" is too much`,
		"rpc-bind(emsmdb call x)":  `rpc-bind(emsmdb call x): call wants a number, not "x"`,
		"rpc-request(x)":           `rpc-request(x): opnum wants a number, not "x"`,
		"epm-mapped(emsmdb)":       "epm-mapped(emsmdb): no port",
		"epm-mapped(emsmdb 1a)":    `epm-mapped(emsmdb 1a): port wants a number, not "1a"`,
		"tls-data()":               "tls-data(): no length",
		"tls-server-hello(1.7)":    `tls-server-hello(1.7): "1.7" is too much`,
		"ldap-bind()":              "ldap-bind(): no mechanism",
		"ntlm(v3)":                 `ntlm(v3): wants negotiate, challenge, v1 or v2, not "v3"`,
		"smb-setup-answer(x)":      `smb-setup-answer(x): wants challenge or done, not "x"`,
		"krb-tgs-req(tcp)":         "krb-tgs-req(tcp): no service",
		"rpc-bind-ack(call 2)":     `rpc-bind-ack(call 2): "2" is too much`,
		"rpc-response(kerberoast)": `rpc-response(kerberoast): "kerberoast" is too much`,
	} {
		_, err := generate(word)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", word, err, want)
		}
	}
}
