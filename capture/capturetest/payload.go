package capturetest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// generators maps names to functions that generate the payload of name(words...).
var generators = map[string]func(w *words) []byte{
	"rpc-bind":         rpcBind,
	"rpc-bind-ack":     rpcBindAck,
	"rpc-auth3":        rpcAuth3,
	"rpc-request":      rpcRequest,
	"rpc-response":     rpcResponse,
	"epm-map":          epmMap,
	"epm-mapped":       epmMapped,
	"epm-lookup":       epmLookup,
	"epm-found":        epmFound,
	"epm-map-dg":       epmMapDatagram,
	"epm-mapped-dg":    epmMappedDatagram,
	"ntlm":             ntlmMessage,
	"tls-client-hello": tlsClientHello,
	"tls-server-hello": tlsServerHello,
	"tls-client-done":  tlsClientDone,
	"tls-server-done":  tlsServerDone,
	"tls-data":         tlsData,
	"ldap-bind":        ldapBind,
	"ldap-bound":       ldapBound,
	"ldap-sealed":      ldapSealed,
	"ldap-search":      ldapSearch,
	"smb-negotiate":    smbNegotiate,
	"smb-negotiated":   smbNegotiated,
	"smb-setup":        smbSetup,
	"smb-setup-answer": smbSetupAnswer,
	"smb-connect":      smbConnect,
	"smb-connected":    smbConnected,
	"smb-open":         smbOpen,
	"smb-opened":       smbOpened,
	"smb-pipe-bind":    smbPipeBind,
	"smb-pipe-bound":   smbPipeBound,
	"krb-tgs-req":      krbTGSReq,
	"krb-tgs-rep":      krbTGSRep,
}

// generate returns the payload of a word such as rpc-bind(emsmdb ntlm privacy).
func generate(word string) ([]byte, error) {
	name, rest, _ := strings.Cut(word, "(")
	g := generators[name]
	if g == nil {
		return nil, fmt.Errorf("unknown payload %s()", name)
	}
	w := &words{list: strings.Fields(strings.TrimSuffix(rest, ")"))}
	b := g(w)
	if w.err == nil && len(w.list) > 0 {
		w.err = fmt.Errorf("%q is too much", w.list[0])
	}
	if w.err != nil {
		return nil, fmt.Errorf("%s: %w", word, w.err)
	}
	return b, nil
}

// words holds the unused words of a generator.
type words struct {
	list []string
	err  error
}

// next returns the next word.
func (w *words) next(what string) string {
	if len(w.list) == 0 {
		w.fail(errors.New("no " + what))
		return ""
	}
	s := w.list[0]
	w.list = w.list[1:]
	return s
}

// fail records the first mistake.
func (w *words) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *words) number(what string) int {
	s := w.next(what)
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		w.fail(fmt.Errorf("%s wants a number, not %q", what, s))
	}
	return int(n)
}

// option removes a word and reports whether it was there.
func (w *words) option(s string) bool {
	if i := slices.Index(w.list, s); i >= 0 {
		w.list = slices.Delete(w.list, i, i+1)
		return true
	}
	return false
}

// value removes a word and the number after it, and returns the number. It returns
// otherwise if the word is not there.
func (w *words) value(s string, otherwise uint32) uint32 {
	i := slices.Index(w.list, s)
	if i < 0 || i+1 == len(w.list) {
		return otherwise
	}
	n, err := strconv.ParseUint(w.list[i+1], 10, 32)
	if err != nil {
		w.fail(fmt.Errorf("%s wants a number, not %q", s, w.list[i+1]))
	}
	w.list = slices.Delete(w.list, i, i+2)
	return uint32(n)
}

// le and be concatenate bytes and numbers of 1, 2 and 4 bytes.
func le(parts ...any) []byte { return join(binary.LittleEndian, parts) }
func be(parts ...any) []byte { return join(binary.BigEndian, parts) }

func join(order binary.AppendByteOrder, parts []any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			b = append(b, p)
		case uint16:
			b = order.AppendUint16(b, p)
		case uint32:
			b = order.AppendUint32(b, p)
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func pad(b []byte, to int) []byte {
	for len(b)%to != 0 {
		b = append(b, 0)
	}
	return b
}

// ntlmMessage implements ntlm(negotiate|challenge|v1|v2 [base64]). v1 and v2 are the
// client's response in that version of NTLM ([MS-NLMP] section 2.2.1).
func ntlmMessage(w *words) []byte {
	text := w.option("base64")
	kind := w.next("message")
	switch kind {
	case "negotiate", "challenge", "v1", "v2":
	default:
		w.fail(fmt.Errorf("wants negotiate, challenge, v1 or v2, not %q", kind))
	}
	b := ntlmBytes(kind)
	if text {
		b = []byte(base64.StdEncoding.EncodeToString(b))
	}
	return b
}

func ntlmBytes(kind string) []byte {
	const flags = uint32(0xe2088297) // Unicode, NTLM, key exchange, 128 and 56 bits, version
	version := []byte{6, 1, 0xb1, 0x1d, 0, 0, 0, 15}
	field := func(n, at int) []byte { return le(uint16(n), uint16(n), uint32(at)) }
	switch kind {
	case "negotiate":
		return le("NTLMSSP\x00", uint32(1), flags, make([]byte, 16), version)
	case "challenge":
		info := le(uint16(2), uint16(2), "E\x00", uint16(1), uint16(4), "S\x001\x00", uint16(0), uint16(0))
		return le("NTLMSSP\x00", uint32(2), field(2, 56), flags, "\x01\x02\x03\x04\x05\x06\x07\x08", make([]byte, 8), field(len(info), 58),
			version, "E\x00", info)
	}
	nt := []byte(strings.Repeat("\xa5", 24))
	if kind == "v2" {
		nt = le(strings.Repeat("\xa5", 16), byte(1), byte(1), make([]byte, 6), make([]byte, 8), make([]byte, 8), make([]byte, 4),
			uint16(0), uint16(0), make([]byte, 4))
	}
	const head = 72
	return le("NTLMSSP\x00", uint32(3), field(24, head), field(len(nt), head+24), field(2, head+24+len(nt)), field(2, head+26+len(nt)),
		field(0, head+28+len(nt)), field(0, head+28+len(nt)), flags, version, make([]byte, 24), nt, "E\x00", "u\x00")
}

// tlsRecord returns a record (RFC 5246 section 6.2.1).
func tlsRecord(typ byte, version uint16, b []byte) []byte { return be(typ, version, uint16(len(b)), b) }

func tlsHandshake(typ byte, b []byte) []byte {
	return be(typ, byte(len(b)>>16), uint16(len(b)), b)
}

// tlsVersion removes a version: 1.0, 1.1, 1.2 or 1.3. On the wire, 1.3 is sent as 1.2
// (RFC 8446 section 4.1.2).
func (w *words) tlsVersion() (wire uint16, tls13 bool) {
	for i, s := range []string{"1.0", "1.1", "1.2", "1.3"} {
		if w.option(s) {
			return min(0x0301+uint16(i), 0x0303), i == 3
		}
	}
	return 0x0303, false
}

func tlsExtension(typ uint16, b []byte) []byte { return be(typ, uint16(len(b)), b) }

// tlsClientHello implements tls-client-hello([NAME] [VERSION]).
func tlsClientHello(w *words) []byte {
	wire, tls13 := w.tlsVersion()
	ext := tlsExtension(13, be(uint16(2), uint16(0x0401)))
	if tls13 {
		ext = be(ext, tlsExtension(43, be(byte(4), uint16(0x0304), uint16(0x0303))))
	}
	if len(w.list) > 0 {
		name := w.next("name")
		ext = be(tlsExtension(0, be(uint16(len(name)+3), byte(0), uint16(len(name)), name)), ext)
	}
	ciphers := be(uint16(0x1301), uint16(0xc02f), uint16(0x002f), uint16(0x0005))
	return tlsRecord(22, 0x0301, tlsHandshake(1, be(wire, strings.Repeat("\x5a", 32), byte(0), uint16(len(ciphers)), ciphers, byte(1), byte(0),
		uint16(len(ext)), ext)))
}

// tlsServerHello implements tls-server-hello([VERSION] [rc4] [mutual]): the first flight
// of the server. Up to TLS 1.2 it includes a self-signed certificate and, with mutual, a
// certificate request.
func tlsServerHello(w *words) []byte {
	wire, tls13 := w.tlsVersion()
	cipher := uint16(0xc02f)
	switch {
	case w.option("rc4"):
		cipher = 0x0005
	case tls13:
		cipher = 0x1301
	case wire < 0x0303:
		cipher = 0x002f
	}
	hello := be(wire, strings.Repeat("\x5b", 32), byte(0), cipher, byte(0))
	if tls13 {
		ext := tlsExtension(43, be(uint16(0x0304)))
		return be(tlsRecord(22, 0x0303, tlsHandshake(2, be(hello, uint16(len(ext)), ext))), tlsRecord(20, 0x0303, []byte{1}),
			tlsRecord(23, 0x0303, make([]byte, 600)))
	}
	b := be(tlsHandshake(2, hello), tlsHandshake(11, certificate()))
	if w.option("mutual") {
		var algorithms []byte
		if wire >= 0x0303 {
			algorithms = be(uint16(2), uint16(0x0401))
		}
		b = be(b, tlsHandshake(13, be(byte(1), byte(1), algorithms, uint16(0))))
	}
	return tlsRecord(22, wire, be(b, tlsHandshake(14, nil)))
}

// certificate returns a list of one certificate of CN=server with an invalid signature
// (RFC 5280 section 4.1, RFC 5246 section 7.4.2).
func certificate() []byte {
	name := der(0x30, der(0x31, der(0x30, der(6, "\x55\x04\x03"), der(0x0c, "server"))))
	rsa, sha := der(0x30, der(6, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")), der(0x30, der(6, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"))
	tbs := der(0x30, derInt(2, 1), sha, name, der(0x30, der(0x17, "250101000000Z"), der(0x17, "350101000000Z")), name,
		der(0x30, rsa, der(3, byte(0), der(0x30, derInt(2, 7), derInt(2, 3)))))
	cert := der(0x30, tbs, sha, der(3, byte(0), "sig"))
	return be(byte(0), uint16(len(cert)+3), byte(0), uint16(len(cert)), cert)
}

// tlsClientDone implements tls-client-done([VERSION] [certificate]): the client's last
// flight of the handshake. Up to TLS 1.2 it can include a certificate.
func tlsClientDone(w *words) []byte {
	wire, tls13 := w.tlsVersion()
	if tls13 {
		return be(tlsRecord(20, wire, []byte{1}), tlsRecord(23, wire, make([]byte, 53)))
	}
	b := tlsHandshake(16, make([]byte, 66))
	if w.option("certificate") {
		b = be(tlsHandshake(11, certificate()), b)
	}
	return be(tlsRecord(22, wire, b), tlsServerDoneBytes(wire))
}

// tlsServerDone implements tls-server-done([VERSION]), up to TLS 1.2.
func tlsServerDone(w *words) []byte {
	wire, _ := w.tlsVersion()
	return tlsServerDoneBytes(wire)
}

func tlsServerDoneBytes(wire uint16) []byte {
	return be(tlsRecord(20, wire, []byte{1}), tlsRecord(22, wire, []byte(strings.Repeat("\xc3", 40))))
}

// tlsData implements tls-data(BYTES [VERSION]): a record of application data.
func tlsData(w *words) []byte {
	wire, _ := w.tlsVersion()
	return tlsRecord(23, wire, make([]byte, w.number("length")))
}

// der returns an element in the shortest encoding (X.690 section 10.1).
func der(tag byte, parts ...any) []byte {
	b := be(parts...)
	switch n := len(b); {
	case n < 0x80:
		return be(tag, byte(n), b)
	case n < 0x100:
		return be(tag, byte(0x81), byte(n), b)
	default:
		return be(tag, byte(0x82), uint16(n), b)
	}
}

func derInt(tag byte, n int) []byte { return der(tag, byte(n)) }

// ldapMessage returns an LDAPMessage (RFC 4511 section 4.1.1).
func ldapMessage(id int, op []byte) []byte { return der(0x30, derInt(2, id), op) }

// ldapBind implements ldap-bind(simple|MECHANISM): a bind with name and password, or with
// SASL (RFC 4511 section 4.2).
func ldapBind(w *words) []byte {
	kind := w.next("mechanism")
	if kind == "simple" {
		return ldapMessage(1, der(0x60, derInt(2, 3), der(4, "cn=u"), der(0x80, "secret")))
	}
	return ldapMessage(1, der(0x60, derInt(2, 3), der(4), der(0xa3, der(4, kind), der(4, krbGSS()))))
}

// ldapBound implements ldap-bound(): the bind succeeded.
func ldapBound(*words) []byte { return ldapMessage(1, der(0x61, derInt(10, 0), der(4), der(4))) }

// ldapSealed implements ldap-sealed(): a message in a Kerberos wrap token with
// confidentiality (RFC 4121 section 4.2.6.2).
func ldapSealed(*words) []byte {
	t := be("\x05\x04\x02\xff\x00\x00\x00\x1c", make([]byte, 7), byte(1), "\x9f\x31\x77\x02\xee\x5a\x10\x83\x44\xd2\x0b\xc6\x78\x99\xab\x13",
		"\x55\x21\xf0\x6d\xa7\x3e\x81\x12\x5c\xe4\x09\xbb\x67\xf3\x2a\x90", "\x13\x66\x20\xd4\x31\xb8\x90\x0c\x5d\xe6\x71\x3a")
	return be(uint32(len(t)), t)
}

// ldapSearch implements ldap-search(BASE): a search below a base (RFC 4511 section
// 4.5.1).
func ldapSearch(w *words) []byte {
	return ldapMessage(2, der(0x63, der(4, w.next("base")), derInt(10, 2), derInt(10, 0), derInt(2, 0), derInt(2, 0), der(1, byte(0)),
		der(0x87, "objectClass"), der(0x30)))
}

func krbName(kind int, s string) []byte {
	var parts []any
	for _, p := range strings.Split(s, "/") {
		parts = append(parts, der(0x1b, p))
	}
	return der(0x30, der(0xa0, derInt(2, kind)), der(0xa1, der(0x30, parts...)))
}

func krbEncrypted(n int) []byte {
	return der(0x30, der(0xa0, derInt(2, 18)), der(0xa1, derInt(2, 2)), der(0xa2, der(4, strings.Repeat("\xaa", n))))
}

func krbTicket(service string) []byte {
	return der(0x61, der(0x30, der(0xa0, derInt(2, 5)), der(0xa1, der(0x1b, "EXAMPLE.COM")), der(0xa2, krbName(2, service)),
		der(0xa3, krbEncrypted(300))))
}

// krbAPReq returns an AP-REQ (RFC 4120 section 5.5.1).
func krbAPReq(service string) []byte {
	if service == "" {
		service = "host/server.example.com"
	}
	return der(0x6e, der(0x30, der(0xa0, derInt(2, 5)), der(0xa1, derInt(2, 14)), der(0xa2, der(3, "\x00\x20\x00\x00\x00")),
		der(0xa3, krbTicket(service)), der(0xa4, krbEncrypted(100))))
}

// krbAPRep returns an AP-REP (RFC 4120 section 5.5.2).
func krbAPRep() []byte {
	return der(0x6f, der(0x30, der(0xa0, derInt(2, 5)), der(0xa1, derInt(2, 15)), der(0xa2, krbEncrypted(60))))
}

// krbGSS returns an AP-REQ in the framing of GSS-API (RFC 4121 section 4.1).
func krbGSS() []byte {
	return der(0x60, der(6, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"), "\x01\x00", krbAPReq("ldap/dc1.example.com"))
}

// krbTGSReq implements krb-tgs-req(SERVICE [tcp]): a TGS-REQ (RFC 4120 section 5.4.1).
func krbTGSReq(w *words) []byte {
	tcp := w.option("tcp")
	body := der(0x30, der(0xa0, der(3, "\x00\x40\x81\x00\x00")), der(0xa2, der(0x1b, "EXAMPLE.COM")), der(0xa3, krbName(2, w.next("service"))),
		der(0xa5, der(0x18, "20370913024805Z")), der(0xa7, derInt(2, 77)), der(0xa8, der(0x30, derInt(2, 18))))
	padata := der(0x30, der(0x30, der(0xa1, derInt(2, 1)), der(0xa2, der(4, krbAPReq("krbtgt/EXAMPLE.COM")))))
	return krbFrame(tcp, der(0x6c, der(0x30, der(0xa1, derInt(2, 5)), der(0xa2, derInt(2, 12)), der(0xa3, padata), der(0xa4, body))))
}

// krbTGSRep implements krb-tgs-rep(SERVICE [tcp]): a TGS-REP (RFC 4120 section 5.4.2).
func krbTGSRep(w *words) []byte {
	tcp := w.option("tcp")
	return krbFrame(tcp, der(0x6d, der(0x30, der(0xa0, derInt(2, 5)), der(0xa1, derInt(2, 13)), der(0xa3, der(0x1b, "EXAMPLE.COM")),
		der(0xa4, krbName(1, "server$")), der(0xa5, krbTicket(w.next("service"))), der(0xa6, krbEncrypted(200)))))
}

// krbFrame prepends the length to a message over TCP (RFC 4120 section 7.2.2).
func krbFrame(tcp bool, b []byte) []byte {
	if tcp {
		return be(uint32(len(b)), b)
	}
	return b
}
