package capturetest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// generators make the payload of name(words...).
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

// generate makes the payload of a word such as rpc-bind(emsmdb ntlm privacy).
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

// words are the words of a generator that it has not used.
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

// fail keeps the first mistake.
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

// option takes a word out if it is there.
func (w *words) option(s string) bool {
	if i := slices.Index(w.list, s); i >= 0 {
		w.list = slices.Delete(w.list, i, i+1)
		return true
	}
	return false
}

// value takes out a word and the number behind it.
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

// le and be concatenate numbers of 1, 2 and 4 bytes, and bytes.
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

// interfaces names the RPC interfaces that scenarios need; others are written
// as UUID/MAJOR.MINOR.
var interfaces = map[string]string{
	"epmapper":       "e1af8308-5d1f-11c9-91a4-08002b14a0fa/3.0",
	"emsmdb":         "a4f1db00-ca47-1067-b31f-00dd010662da/0.81",
	"asyncemsmdb":    "5261574a-4572-206e-b268-6b199213b4e4/0.1",
	"nspi":           "f5cc5a18-4264-101a-8c59-08002b2f8426/56.0",
	"rfr":            "1544f5e0-613c-11d1-93df-00c04fd7bd09/1.0",
	"storeadmin3":    "99e64010-b032-11d0-97a4-00c04fd6551d/3.0",
	"sysatt-private": "83d72bf0-0d89-11ce-b13f-00aa003bac6c/6.0",
	"netlogon":       "12345678-1234-abcd-ef00-01234567cffb/1.0",
	"drsuapi":        "e3514235-4b06-11d1-ab04-00c04fc2dcd2/4.0",
	"samr":           "12345778-1234-abcd-ef00-0123456789ac/1.0",
	"winreg":         "338cd001-2244-31f1-aaaa-900038001003/1.0",
	"clusapi":        "b97db8b2-4c63-11cf-bff6-08002be23f2f/3.0",
	"ndr":            "8a885d04-1ceb-11c9-9fe8-08002b104860/2.0",
}

// iface is an interface with its version: a UUID as RPC sends it.
type iface struct {
	uuid         []byte
	major, minor uint16
}

func (w *words) iface() iface {
	s := w.next("interface")
	f, err := parseInterface(s)
	if err != nil {
		w.fail(err)
	}
	return f
}

func parseInterface(s string) (iface, error) {
	long, ok := interfaces[s]
	if !ok {
		long = s
	}
	uuid, version, _ := strings.Cut(long, "/")
	b, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	var f iface
	if _, err2 := fmt.Sscanf(version, "%d.%d", &f.major, &f.minor); err != nil || err2 != nil || len(b) != 16 {
		return iface{uuid: make([]byte, 16)}, fmt.Errorf("%q is no interface", s)
	}
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	f.uuid = b
	return f, nil
}

func ndrSyntax() []byte {
	f, _ := parseInterface("ndr")
	return f.syntax()
}

// syntax is a p_syntax_id_t ([C706] section 12.6.3.1).
func (f iface) syntax() []byte { return le(f.uuid, f.major, f.minor) }

// verifier is the end of a protected PDU ([MS-RPCE] section 2.2.2.11).
type verifier struct {
	typ, level byte
	service    string
	ntlm       string // version of NTLM
}

func (w *words) verifier() *verifier {
	var v verifier
	for i, s := range w.list {
		if s == "ntlm" || s == "netlogon" || s == "kerberos" || strings.HasPrefix(s, "kerberos/") {
			mechanism, service, _ := strings.Cut(s, "/")
			v.typ = map[string]byte{"ntlm": 10, "kerberos": 16, "netlogon": 68}[mechanism]
			v.service = service
			w.list = slices.Delete(w.list, i, i+1)
			break
		}
	}
	for level, s := range []string{"connect", "call", "packet", "integrity", "privacy"} {
		if w.option(s) {
			v.level = byte(level) + 2
		}
	}
	v.ntlm = "v2"
	if w.option("v1") {
		v.ntlm = "v1"
	}
	w.option("v2")
	if v.typ == 0 {
		return nil
	}
	if v.level == 0 {
		v.level = 2
	}
	return &v
}

// rpcPDU is a connection-oriented PDU ([C706] section 12.6.3.1) in one
// fragment. make gives the token of its verifier.
func rpcPDU(typ byte, call uint32, body []byte, v *verifier, token func() []byte) []byte {
	var auth []byte
	if v != nil {
		n := len(body)
		body = pad(body, 4)
		auth = token()
		body = le(body, v.typ, v.level, byte(len(body)-n), byte(0), uint32(1), auth)
	}
	return le(byte(5), byte(0), typ, byte(3), byte(0x10), byte(0), uint16(0), uint16(16+len(body)), uint16(len(auth)), call, body)
}

// rpcBind is rpc-bind(INTERFACE [call N] [MECHANISM [LEVEL]]).
func rpcBind(w *words) []byte {
	f, call, v := w.iface(), w.value("call", 1), w.verifier()
	body := le(uint16(5840), uint16(5840), uint32(0), byte(1), byte(0), uint16(0), uint16(0), byte(1), byte(0), f.syntax(), ndrSyntax())
	return rpcPDU(11, call, body, v, func() []byte {
		if v.typ == 16 {
			return krbAPReq(v.service)
		}
		return ntlmBytes("negotiate")
	})
}

// rpcBindAck is rpc-bind-ack(SECONDARY-ADDRESS [rejected] [call N] [MECHANISM [LEVEL]]).
func rpcBindAck(w *words) []byte {
	addr, rejected, call, v := w.next("secondary address"), w.option("rejected"), w.value("call", 1), w.verifier()
	body := le(uint16(5840), uint16(5840), uint32(0x1234), uint16(len(addr)+1), addr, byte(0))
	body = le(pad(body, 4), byte(1), byte(0), uint16(0))
	if rejected {
		// Provider rejection: abstract syntax not supported.
		body = le(body, uint16(2), uint16(1), make([]byte, 20))
	} else {
		body = le(body, uint16(0), uint16(0), ndrSyntax())
	}
	return rpcPDU(12, call, body, v, func() []byte {
		if v.typ == 16 {
			return krbAPRep()
		}
		return ntlmBytes("challenge")
	})
}

// rpcAuth3 is rpc-auth3([call N] ntlm [LEVEL] [v1|v2]).
func rpcAuth3(w *words) []byte {
	call, v := w.value("call", 1), w.verifier()
	return rpcPDU(16, call, make([]byte, 4), v, func() []byte { return ntlmBytes(v.ntlm) })
}

// signature is the token of a call: NTLMSSP's or Kerberos' (RFC 4121).
func (v *verifier) signature() []byte {
	if v.typ == 16 {
		return le("\x05\x04\x06\xff\x00\x10\x00\x1c", make([]byte, 7), byte(1), strings.Repeat("\xa5", 60))
	}
	return le(uint32(1), strings.Repeat("\xa5", 8), uint32(0))
}

// rpcRequest is rpc-request(OPNUM [call N] [MECHANISM [LEVEL]]), with a stub of
// 40 bytes.
func rpcRequest(w *words) []byte {
	opnum, call, v := w.number("opnum"), w.value("call", 2), w.verifier()
	return rpcPDU(0, call, le(uint32(40), uint16(0), uint16(opnum), make([]byte, 40)), v, func() []byte { return v.signature() })
}

// rpcResponse is rpc-response([call N] [MECHANISM [LEVEL]]), with a stub of 48
// bytes.
func rpcResponse(w *words) []byte {
	call, v := w.value("call", 2), w.verifier()
	return rpcPDU(2, call, le(uint32(48), uint32(0), make([]byte, 48)), v, func() []byte { return v.signature() })
}

// tower is a protocol tower ([C706] appendix L) of a TCP or UDP port, or of RPC
// over HTTP. Its address is 0.0.0.0.
func (f iface) tower(port uint16, transport string) []byte {
	rpc, floor := byte(0x0b), byte(0x07)
	switch transport {
	case "udp":
		rpc, floor = 0x0a, 0x08
	case "http":
		floor = 0x1f
	}
	ndr, _ := parseInterface("ndr")
	return le(uint16(5),
		uint16(19), byte(0x0d), f.uuid, f.major, uint16(2), f.minor,
		uint16(19), byte(0x0d), ndr.uuid, ndr.major, uint16(2), ndr.minor,
		uint16(1), rpc, uint16(2), uint16(0),
		uint16(1), floor, uint16(2), be(port),
		uint16(1), byte(0x09), uint16(4), uint32(0))
}

func twr(t []byte) []byte { return pad(le(uint32(len(t)), uint32(len(t)), t), 4) }

// epmMap is epm-map(INTERFACE [call N]): ept_map for TCP.
func epmMap(w *words) []byte {
	f, call := w.iface(), w.value("call", 2)
	stub := mapRequest(f)
	return rpcPDU(0, call, le(uint32(len(stub)), uint16(0), uint16(3), stub), nil, nil)
}

// mapRequest is the stub of ept_map for TCP.
func mapRequest(f iface) []byte {
	return le(uint32(1), make([]byte, 16), uint32(2), twr(f.tower(0, "tcp")), make([]byte, 20), uint32(4))
}

// epmMapped is epm-mapped(INTERFACE PORT[/udp|/http] [call N]): the answer to
// ept_map.
func epmMapped(w *words) []byte {
	f, transport := w.iface(), ""
	if len(w.list) > 0 {
		w.list[0], transport, _ = strings.Cut(w.list[0], "/")
	}
	port := w.number("port")
	call := w.value("call", 2)
	stub := mapped(f, port, transport)
	return rpcPDU(2, call, le(uint32(len(stub)), uint32(0), stub), nil, nil)
}

// mapped is the stub of an answer to ept_map with one tower ([C706] appendix O).
func mapped(f iface, port int, transport string) []byte {
	return le(make([]byte, 20), uint32(1), uint32(4), uint32(0), uint32(1), uint32(3), twr(f.tower(uint16(port), transport)), uint32(0))
}

// datagram is a connectionless PDU of the endpoint mapper ([C706] section
// 12.5.1).
func datagram(typ byte, stub []byte) []byte {
	epm, _ := parseInterface("epmapper")
	return le(byte(4), typ, byte(0x08), byte(0), byte(0x10), byte(0), byte(0), byte(0), make([]byte, 16), epm.uuid, strings.Repeat("\xac", 16),
		uint32(0), epm.major, epm.minor, uint32(0), uint16(3), uint16(0xffff), uint16(0xffff), uint16(len(stub)), uint16(0), byte(0), byte(0), stub)
}

// epmMapDatagram is epm-map-dg(INTERFACE): ept_map over UDP.
func epmMapDatagram(w *words) []byte {
	return datagram(0, mapRequest(w.iface()))
}

// epmMappedDatagram is epm-mapped-dg(INTERFACE PORT): its answer.
func epmMappedDatagram(w *words) []byte {
	f, port := w.iface(), w.number("port")
	return datagram(2, mapped(f, port, "tcp"))
}

// epmLookup is epm-lookup([call N]): ept_lookup for all interfaces.
func epmLookup(w *words) []byte {
	stub := le(uint32(0), uint32(0), uint32(0), uint32(1), make([]byte, 20), uint32(500))
	return rpcPDU(0, w.value("call", 2), le(uint32(len(stub)), uint16(0), uint16(2), stub), nil, nil)
}

// epmFound is epm-found(INTERFACE PORT ANNOTATION [call N]): an answer to
// ept_lookup with one entry. The annotation is one word.
func epmFound(w *words) []byte {
	call := w.value("call", 2)
	f, port, note := w.iface(), w.number("port"), w.next("annotation")
	entry := pad(le(make([]byte, 16), uint32(3), uint32(0), uint32(len(note)+1), note, byte(0)), 4)
	stub := le(make([]byte, 20), uint32(1), uint32(500), uint32(0), uint32(1), entry, twr(f.tower(uint16(port), "tcp")), uint32(0))
	return rpcPDU(2, call, le(uint32(len(stub)), uint32(0), stub), nil, nil)
}

// ntlmMessage is ntlm(negotiate|challenge|v1|v2 [base64]): v1 and v2 are the
// client's answer by that version of NTLM ([MS-NLMP] section 2.2.1).
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

// tlsRecord is a record (RFC 5246 section 6.2.1).
func tlsRecord(typ byte, version uint16, b []byte) []byte { return be(typ, version, uint16(len(b)), b) }

func tlsHandshake(typ byte, b []byte) []byte {
	return be(typ, byte(len(b)>>16), uint16(len(b)), b)
}

// tlsVersion takes a version out: 1.0, 1.1, 1.2 or 1.3. The wire has 1.2 for
// 1.3 (RFC 8446 section 4.1.2).
func (w *words) tlsVersion() (wire uint16, tls13 bool) {
	for i, s := range []string{"1.0", "1.1", "1.2", "1.3"} {
		if w.option(s) {
			return min(0x0301+uint16(i), 0x0303), i == 3
		}
	}
	return 0x0303, false
}

func tlsExtension(typ uint16, b []byte) []byte { return be(typ, uint16(len(b)), b) }

// tlsClientHello is tls-client-hello([NAME] [VERSION]).
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

// tlsServerHello is tls-server-hello([VERSION] [rc4] [mutual]): what the server
// sends first, up to TLS 1.2 with a self-signed certificate and, where mutual,
// the request for one.
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

// certificate is the list with one certificate of CN=server, signed by nobody
// (RFC 5280 section 4.1, RFC 5246 section 7.4.2).
func certificate() []byte {
	name := der(0x30, der(0x31, der(0x30, der(6, "\x55\x04\x03"), der(0x0c, "server"))))
	rsa, sha := der(0x30, der(6, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")), der(0x30, der(6, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"))
	tbs := der(0x30, derInt(2, 1), sha, name, der(0x30, der(0x17, "250101000000Z"), der(0x17, "350101000000Z")), name,
		der(0x30, rsa, der(3, byte(0), der(0x30, derInt(2, 7), derInt(2, 3)))))
	cert := der(0x30, tbs, sha, der(3, byte(0), "sig"))
	return be(byte(0), uint16(len(cert)+3), byte(0), uint16(len(cert)), cert)
}

// tlsClientDone is tls-client-done([VERSION] [certificate]): the client's end of
// the handshake, up to TLS 1.2 with its certificate if it has one.
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

// tlsServerDone is tls-server-done([VERSION]), up to TLS 1.2.
func tlsServerDone(w *words) []byte {
	wire, _ := w.tlsVersion()
	return tlsServerDoneBytes(wire)
}

func tlsServerDoneBytes(wire uint16) []byte {
	return be(tlsRecord(20, wire, []byte{1}), tlsRecord(22, wire, []byte(strings.Repeat("\xc3", 40))))
}

// tlsData is tls-data(BYTES [VERSION]): a record of application data.
func tlsData(w *words) []byte {
	wire, _ := w.tlsVersion()
	return tlsRecord(23, wire, make([]byte, w.number("length")))
}

// der is an element in the shortest encoding (X.690 section 10.1).
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

// ldapMessage is an LDAPMessage (RFC 4511 section 4.1.1).
func ldapMessage(id int, op []byte) []byte { return der(0x30, derInt(2, id), op) }

// ldapBind is ldap-bind(simple|MECHANISM): a bind by name and password, or by
// SASL (RFC 4511 section 4.2).
func ldapBind(w *words) []byte {
	kind := w.next("mechanism")
	if kind == "simple" {
		return ldapMessage(1, der(0x60, derInt(2, 3), der(4, "cn=u"), der(0x80, "secret")))
	}
	return ldapMessage(1, der(0x60, derInt(2, 3), der(4), der(0xa3, der(4, kind), der(4, krbGSS()))))
}

// ldapBound is ldap-bound(): the bind succeeded.
func ldapBound(*words) []byte { return ldapMessage(1, der(0x61, derInt(10, 0), der(4), der(4))) }

// ldapSealed is ldap-sealed(): a message in a Kerberos wrap token with
// confidentiality (RFC 4121 section 4.2.6.2).
func ldapSealed(*words) []byte {
	t := be("\x05\x04\x02\xff\x00\x00\x00\x1c", make([]byte, 7), byte(1), "\x9f\x31\x77\x02\xee\x5a\x10\x83\x44\xd2\x0b\xc6\x78\x99\xab\x13",
		"\x55\x21\xf0\x6d\xa7\x3e\x81\x12\x5c\xe4\x09\xbb\x67\xf3\x2a\x90", "\x13\x66\x20\xd4\x31\xb8\x90\x0c\x5d\xe6\x71\x3a")
	return be(uint32(len(t)), t)
}

// ldapSearch is ldap-search(BASE): a search below a base (RFC 4511 section
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

// krbAPReq is an AP-REQ (RFC 4120 section 5.5.1).
func krbAPReq(service string) []byte {
	if service == "" {
		service = "host/server.example.com"
	}
	return der(0x6e, der(0x30, der(0xa0, derInt(2, 5)), der(0xa1, derInt(2, 14)), der(0xa2, der(3, "\x00\x20\x00\x00\x00")),
		der(0xa3, krbTicket(service)), der(0xa4, krbEncrypted(100))))
}

// krbAPRep is an AP-REP (RFC 4120 section 5.5.2).
func krbAPRep() []byte {
	return der(0x6f, der(0x30, der(0xa0, derInt(2, 5)), der(0xa1, derInt(2, 15)), der(0xa2, krbEncrypted(60))))
}

// krbGSS is an AP-REQ as GSS-API wraps it (RFC 4121 section 4.1).
func krbGSS() []byte {
	return der(0x60, der(6, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"), "\x01\x00", krbAPReq("ldap/dc1.example.com"))
}

// krbTGSReq is krb-tgs-req(SERVICE [tcp]): a TGS-REQ (RFC 4120 section 5.4.1).
func krbTGSReq(w *words) []byte {
	tcp := w.option("tcp")
	body := der(0x30, der(0xa0, der(3, "\x00\x40\x81\x00\x00")), der(0xa2, der(0x1b, "EXAMPLE.COM")), der(0xa3, krbName(2, w.next("service"))),
		der(0xa5, der(0x18, "20370913024805Z")), der(0xa7, derInt(2, 77)), der(0xa8, der(0x30, derInt(2, 18))))
	padata := der(0x30, der(0x30, der(0xa1, derInt(2, 1)), der(0xa2, der(4, krbAPReq("krbtgt/EXAMPLE.COM")))))
	return krbFrame(tcp, der(0x6c, der(0x30, der(0xa1, derInt(2, 5)), der(0xa2, derInt(2, 12)), der(0xa3, padata), der(0xa4, body))))
}

// krbTGSRep is krb-tgs-rep(SERVICE [tcp]): a TGS-REP (RFC 4120 section 5.4.2).
func krbTGSRep(w *words) []byte {
	tcp := w.option("tcp")
	return krbFrame(tcp, der(0x6d, der(0x30, der(0xa0, derInt(2, 5)), der(0xa1, derInt(2, 13)), der(0xa3, der(0x1b, "EXAMPLE.COM")),
		der(0xa4, krbName(1, "server$")), der(0xa5, krbTicket(w.next("service"))), der(0xa6, krbEncrypted(200)))))
}

// krbFrame puts a length before a message over TCP (RFC 4120 section 7.2.2).
func krbFrame(tcp bool, b []byte) []byte {
	if tcp {
		return be(uint32(len(b)), b)
	}
	return b
}
