package capturetest

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// interfaces names the RPC interfaces in scenarios. Others are written as
// UUID/MAJOR.MINOR.
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

// iface is an interface with its version. Its UUID has the byte order of RPC.
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
		return iface{uuid: make([]byte, 16)}, fmt.Errorf("%q is not an interface", s)
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

// syntax returns a p_syntax_id_t ([C706] section 12.6.3.1).
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

// rpcPDU returns a connection-oriented PDU ([C706] section 12.6.3.1) in one fragment.
// token returns the token of its verifier.
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

// rpcBind implements rpc-bind(INTERFACE [call N] [MECHANISM [LEVEL]]).
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

// rpcBindAck implements rpc-bind-ack(SECONDARY-ADDRESS [rejected] [call N] [MECHANISM
// [LEVEL]]).
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

// rpcAuth3 implements rpc-auth3([call N] ntlm [LEVEL] [v1|v2]).
func rpcAuth3(w *words) []byte {
	call, v := w.value("call", 1), w.verifier()
	return rpcPDU(16, call, make([]byte, 4), v, func() []byte { return ntlmBytes(v.ntlm) })
}

// signature returns the token of a call: NTLMSSP's or Kerberos' (RFC 4121).
func (v *verifier) signature() []byte {
	if v.typ == 16 {
		return le("\x05\x04\x06\xff\x00\x10\x00\x1c", make([]byte, 7), byte(1), strings.Repeat("\xa5", 60))
	}
	return le(uint32(1), strings.Repeat("\xa5", 8), uint32(0))
}

// rpcRequest implements rpc-request(OPNUM [call N] [MECHANISM [LEVEL]]), with a stub of
// 40 bytes.
func rpcRequest(w *words) []byte {
	opnum, call, v := w.number("opnum"), w.value("call", 2), w.verifier()
	return rpcPDU(0, call, le(uint32(40), uint16(0), uint16(opnum), make([]byte, 40)), v, func() []byte { return v.signature() })
}

// rpcResponse implements rpc-response([call N] [MECHANISM [LEVEL]]), with a stub of 48
// bytes.
func rpcResponse(w *words) []byte {
	call, v := w.value("call", 2), w.verifier()
	return rpcPDU(2, call, le(uint32(48), uint32(0), make([]byte, 48)), v, func() []byte { return v.signature() })
}

// tower returns a protocol tower ([C706] appendix L) of a TCP or UDP port, or of RPC over
// HTTP. Its address is 0.0.0.0.
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

// epmMap implements epm-map(INTERFACE [call N]): ept_map for TCP.
func epmMap(w *words) []byte {
	f, call := w.iface(), w.value("call", 2)
	stub := mapRequest(f)
	return rpcPDU(0, call, le(uint32(len(stub)), uint16(0), uint16(3), stub), nil, nil)
}

// mapRequest returns the stub of ept_map for TCP.
func mapRequest(f iface) []byte {
	return le(uint32(1), make([]byte, 16), uint32(2), twr(f.tower(0, "tcp")), make([]byte, 20), uint32(4))
}

// epmMapped implements epm-mapped(INTERFACE PORT[/udp|/http] [call N]): the answer to
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

// mapped returns the stub of an answer to ept_map with one tower ([C706] appendix O).
func mapped(f iface, port int, transport string) []byte {
	return le(make([]byte, 20), uint32(1), uint32(4), uint32(0), uint32(1), uint32(3), twr(f.tower(uint16(port), transport)), uint32(0))
}

// datagram returns a connectionless PDU of the endpoint mapper ([C706] section 12.5.1).
func datagram(typ byte, stub []byte) []byte {
	epm, _ := parseInterface("epmapper")
	return le(byte(4), typ, byte(0x08), byte(0), byte(0x10), byte(0), byte(0), byte(0), make([]byte, 16), epm.uuid, strings.Repeat("\xac", 16),
		uint32(0), epm.major, epm.minor, uint32(0), uint16(3), uint16(0xffff), uint16(0xffff), uint16(len(stub)), uint16(0), byte(0), byte(0), stub)
}

// epmMapDatagram implements epm-map-dg(INTERFACE): ept_map over UDP.
func epmMapDatagram(w *words) []byte {
	return datagram(0, mapRequest(w.iface()))
}

// epmMappedDatagram implements epm-mapped-dg(INTERFACE PORT): the answer to epm-map-dg.
func epmMappedDatagram(w *words) []byte {
	f, port := w.iface(), w.number("port")
	return datagram(2, mapped(f, port, "tcp"))
}

// epmLookup implements epm-lookup([call N]): ept_lookup for all interfaces.
func epmLookup(w *words) []byte {
	stub := le(uint32(0), uint32(0), uint32(0), uint32(1), make([]byte, 20), uint32(500))
	return rpcPDU(0, w.value("call", 2), le(uint32(len(stub)), uint16(0), uint16(2), stub), nil, nil)
}

// epmFound implements epm-found(INTERFACE PORT ANNOTATION [call N]): an answer to
// ept_lookup with one entry. The annotation is one word.
func epmFound(w *words) []byte {
	call := w.value("call", 2)
	f, port, note := w.iface(), w.number("port"), w.next("annotation")
	entry := pad(le(make([]byte, 16), uint32(3), uint32(0), uint32(len(note)+1), note, byte(0)), 4)
	stub := le(make([]byte, 20), uint32(1), uint32(500), uint32(0), uint32(1), entry, twr(f.tower(uint16(port), "tcp")), uint32(0))
	return rpcPDU(2, call, le(uint32(len(stub)), uint32(0), stub), nil, nil)
}
