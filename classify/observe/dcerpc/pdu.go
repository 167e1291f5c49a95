package dcerpc

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/exspan/exspan/classify/observe"
)

// PDU types ([C706] section 12.6.4; [MS-RPCH] section 2.2.3.2 for rts).
const (
	request   = 0
	response  = 2
	fault     = 3
	bind      = 11
	bindAck   = 12
	bindNak   = 13
	alter     = 14
	alterResp = 15
	auth3     = 16
	shutdown  = 17
	cancel    = 18
	orphaned  = 19
	rts       = 20
)

// pfc_flags ([C706] section 12.6.3.1).
const (
	firstFrag = 0x01
	lastFrag  = 0x02
	object    = 0x80
)

// minLength is the length of the fixed part of each PDU type, which the sec_trailer
// cannot overlap. It is 0 for values that are not PDU types.
var minLength = [21]int{request: 24, response: 24, fault: 24, bind: 28, bindAck: 26, bindNak: 18, alter: 28, alterResp: 26,
	auth3: 16, shutdown: 16, cancel: 16, orphaned: 16, rts: 20}

// headerLength is the length of the common header.
const headerLength = 16

// header is the common header ([C706] section 12.6.3.1).
type header struct {
	ptype, flags byte
	big          bool // integers are big-endian
	frag, auth   int  // lengths of the PDU and of its token
	call         uint32
}

// check reports whether b can start with a common header. It returns More if b is too
// short to decide.
func check(b []byte) observe.Match {
	var h header
	return h.read(b)
}

// read is like check, and fills h if there is a header.
func (h *header) read(b []byte) observe.Match {
	if len(b) < headerLength {
		for i, c := range b[:min(len(b), 8)] {
			if !fits(i, c) {
				return observe.No
			}
		}
		return observe.More
	}
	// Compare the version, type, flags and data representation with what fits accepts.
	first, second := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if first&0xfffffcee_0000feff != 5 {
		return observe.No
	}
	h.ptype, h.flags, h.big = byte(first>>16), byte(first>>24), first>>32&0xf0 == 0
	if int(h.ptype) >= len(minLength) {
		return observe.No
	}
	if h.big {
		h.frag, h.auth, h.call = int(h.u16(b[8:])), int(h.u16(b[10:])), h.u32(b[12:])
	} else {
		h.frag, h.auth, h.call = int(uint16(second)), int(uint16(second>>16)), uint32(second>>32)
	}
	least := minLength[h.ptype]
	if least == 0 || h.frag < least || h.auth > 0 && h.auth+8 > h.frag-least {
		return observe.No
	}
	// [MS-RPCH] section 2.2.3.6.1.
	if h.ptype == rts && (h.flags != firstFrag|lastFrag || h.auth != 0 || h.call != 0 || h.big) {
		return observe.No
	}
	return observe.Yes
}

// fits reports whether c can be byte i of a common header.
func fits(i int, c byte) bool {
	switch i {
	case 0:
		return c == 5
	case 1:
		return c <= 1
	case 2:
		return int(c) < len(minLength) && minLength[c] > 0
	case 4:
		return c&^0x11 == 0
	case 5:
		return c <= 3
	case 6, 7:
		return c == 0
	}
	return true
}

func (h *header) u16(b []byte) uint16 {
	if h.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (h *header) u32(b []byte) uint32 {
	if h.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// strictLength is the number of bytes that strict needs.
const strictLength = 28

// strict is a stricter check for places where a PDU is unlikely: ports of other protocols
// and the middle of a stream. It also checks the fixed part of the body.
func strict(b []byte) observe.Match {
	var h header
	if m := h.read(b); m != observe.Yes {
		return m
	}
	if b[5] != 0 {
		return observe.No
	}
	need := min(h.frag, strictLength)
	if len(b) < need {
		return observe.More
	}
	ok := true
	switch h.ptype {
	case request:
		ok = h.u16(b[20:]) < 1024 && h.u16(b[22:]) < 1024
	case response, fault:
		// p_cont_id, cancel_count and a reserved byte.
		ok = h.u16(b[20:]) < 1024 && b[23] == 0
	case bind, alter:
		ok = b[24] > 0 && b[25] == 0 && b[26] == 0 && b[27] == 0 && h.frag >= 28+44
	case bindAck, alterResp:
		ok = int(h.u16(b[24:])) <= h.frag-26
	}
	if !ok {
		return observe.No
	}
	return observe.Yes
}

// toServer reports whether PDUs of a type are sent to the server.
func toServer(ptype byte) bool {
	const types = 1<<request | 1<<bind | 1<<alter | 1<<auth3 | 1<<cancel | 1<<orphaned
	return types>>ptype&1 != 0
}

// Interface is an interface or a transfer syntax: a UUID and a version.
type Interface struct {
	UUID         [16]byte // in the order in which it is written
	Major, Minor uint16
}

// String returns the interface in the form of facts and endpoints:
// "a4f1db00-ca47-1067-b31f-00dd010662da v0.81".
func (i Interface) String() string {
	b := make([]byte, 0, 48)
	b = appendUUID(b, i.UUID)
	b = append(b, " v"...)
	b = strconv.AppendUint(b, uint64(i.Major), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(i.Minor), 10)
	return string(b)
}

func appendUUID(b []byte, u [16]byte) []byte {
	for i, n := 0, 0; i < len(u); i += n {
		n = 2
		switch i {
		case 0:
			n = 4
		case 10:
			n = 6
		}
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, u[i:i+n])
	}
	return b
}

// uuid parses a UUID. Its first three fields have the byte order of integers.
func uuid(b []byte, big bool) (u [16]byte) {
	copy(u[:], b)
	if !big {
		u[0], u[1], u[2], u[3] = b[3], b[2], b[1], b[0]
		u[4], u[5] = b[5], b[4]
		u[6], u[7] = b[7], b[6]
	}
	return u
}

// syntaxLength is the length of a p_syntax_id_t.
const syntaxLength = 20

// syntax parses a p_syntax_id_t ([C706] section 12.6.3.1). The low half of the version is
// the major version.
func syntax(b []byte, big bool) Interface {
	h := header{big: big}
	v := h.u32(b[16:])
	return Interface{uuid(b, big), uint16(v), uint16(v >> 16)}
}

// Interfaces and transfer syntaxes with special treatment.
var (
	epmapper = Interface{[16]byte{0xe1, 0xaf, 0x83, 0x08, 0x5d, 0x1f, 0x11, 0xc9, 0x91, 0xa4, 0x08, 0x00, 0x2b, 0x14, 0xa0, 0xfa}, 3, 0}
	mgmt     = Interface{[16]byte{0xaf, 0xa8, 0xbd, 0x80, 0x7d, 0x8a, 0x11, 0xc9, 0xbe, 0xf4, 0x08, 0x00, 0x2b, 0x10, 0x29, 0x89}, 1, 0}
	emsmdb   = Interface{[16]byte{0xa4, 0xf1, 0xdb, 0x00, 0xca, 0x47, 0x10, 0x67, 0xb3, 0x1f, 0x00, 0xdd, 0x01, 0x06, 0x62, 0xda}, 0, 81}
	ndr64    = Interface{[16]byte{0x71, 0x71, 0x05, 0x33, 0xbe, 0xba, 0x49, 0x37, 0x83, 0x19, 0xb5, 0xdb, 0xef, 0x9c, 0xcc, 0x36}, 1, 0}
)

// feature reports whether a transfer syntax is the bind-time feature negotiation, whose
// last eight bytes are a bit mask ([MS-RPCE] section 2.2.2.14).
func feature(s Interface) bool {
	return [8]byte(s.UUID[:8]) == [8]byte{0x6c, 0xb7, 0x1c, 0x2c, 0x98, 0x12, 0x45, 0x40} && s.Major == 1 && s.Minor == 0
}

// detect recognises PDUs of either direction at the beginning of a flow, the banner of
// RPC over HTTP, and connectionless PDUs.
func detect(f *observe.First) observe.Match {
	if f.Datagram {
		b := f.ToServer
		if len(b) == 0 {
			b = f.ToClient
		}
		if _, ok := parseDatagram(b); ok {
			return observe.Yes
		}
		return observe.No
	}
	expected := f.OnPort || f.Announced != ""
	if f.Late && !expected && (f.ServerPort == httpPort || f.ClientPort == httpPort) {
		// These may be PDUs in the body of a request whose header was not seen
		// ([MS-RPCH] section 2.1.2.1).
		return observe.No
	}
	c := detectSide(f.ToServer, expected, false)
	s := detectSide(f.ToClient, expected, true)
	switch {
	case c == observe.Yes || s == observe.Yes:
		return observe.Yes
	case c == observe.No && s == observe.No:
		return observe.No
	case c == observe.No && len(f.ToClient) == 0, s == observe.No && len(f.ToServer) == 0:
		// The side that spoke did not speak RPC. If the beginning of the flow was not
		// seen, each segment is checked by itself.
		return observe.No
	}
	return observe.More
}

func detectSide(b []byte, expected, fromServer bool) observe.Match {
	if len(b) == 0 {
		return observe.More
	}
	if fromServer && b[0] == banner[0] {
		return matchBanner(b)
	}
	if expected {
		return check(b)
	}
	return strict(b)
}

// httpPort is the port of RPC proxies without TLS.
const httpPort = 80

// banner is the first message of an RPC over HTTP server, without a line end ([MS-RPCH]
// section 2.1.2.2.1).
const banner = "ncacn_http/1.0"

func matchBanner(b []byte) observe.Match {
	n := min(len(b), len(banner))
	if string(b[:n]) != banner[:n] {
		return observe.No
	}
	if n < len(banner) {
		return observe.More
	}
	return observe.Yes
}
