package tls

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// cursor reads big-endian fields. After a missing field, bad is set and all fields are
// zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

// number reads a number of n bytes, at most 3.
func (c *cursor) number(n int) int {
	v := 0
	for _, x := range c.take(n) {
		v = v<<8 | int(x)
	}
	return v
}

// vector reads a vector whose length has n bytes.
func (c *cursor) vector(n int) cursor {
	l := c.number(n)
	return cursor{b: c.take(l), bad: c.bad}
}

// Extension numbers of the IANA registry "TLS ExtensionType Values".
const (
	extServerName          = 0
	extSignatureAlgorithms = 13
	extALPN                = 16
	extSessionTicket       = 35
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
)

// grease reports whether v is a reserved value of RFC 8701.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// clientHello is the parsed part of a ClientHello. Its slices alias the input.
type clientHello struct {
	version    uint16 // the highest version offered
	hasName    bool
	early      bool
	serverName []byte
	ciphers    []byte // the list of suites
	extensions []byte // the extensions in order, all well formed
	session    []byte // the session id, or empty
	ticket     []byte // the session ticket (RFC 5077), or empty
}

// vector8 and vector16 split a vector off b. Its length comes first, in one byte or in
// two. ok is false if the vector is incomplete.
func vector8(b []byte) (v, rest []byte, ok bool) {
	if len(b) < 1 || len(b) <= int(b[0]) {
		return nil, nil, false
	}
	n := 1 + int(b[0])
	return b[1:n], b[n:], true
}

func vector16(b []byte) (v, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := 2 + (int(b[0])<<8 | int(b[1]))
	if n > len(b) {
		return nil, nil, false
	}
	return b[2:n], b[n:], true
}

// number16 returns the two-byte number at the start of b.
func number16(b []byte) uint16 { return uint16(b[1]) | uint16(b[0])<<8 }

// parseClientHello parses the body of a ClientHello (RFC 8446 section 4.1.2).
func parseClientHello(b []byte) (h clientHello, ok bool) {
	if len(b) < 2+32 || b[0] != 3 {
		return h, false
	}
	h.version = number16(b)
	if h.session, b, ok = vector8(b[2+32:]); !ok {
		return h, false
	}
	if h.ciphers, b, ok = vector16(b); !ok {
		return h, false
	}
	if _, b, ok = vector8(b); !ok || len(b) == 0 { // the compression methods
		return h, ok // no extensions, as in SSL 3.0
	}
	if h.extensions, _, ok = vector16(b); !ok {
		return h, false
	}
	for exts := h.extensions; len(exts) > 0; {
		if len(exts) < 4 {
			return h, false
		}
		typ := number16(exts)
		var e []byte
		if e, exts, ok = vector16(exts[2:]); !ok {
			return h, false
		}
		switch typ {
		case extServerName:
			h.hasName = true
			for list, _, _ := vector16(e); len(list) > 0; {
				kind := list[0]
				var name []byte
				if name, list, ok = vector16(list[1:]); ok && kind == 0 && h.serverName == nil && printable(name) {
					h.serverName = name
				}
			}
		case extEarlyData:
			h.early = true
		case extSessionTicket:
			h.ticket = e
		case extSupportedVersions:
			var highest uint16
			for list, _, _ := vector8(e); len(list) > 1; list = list[2:] {
				if v := number16(list); !grease(v) && v > highest {
					highest = v
				}
			}
			if highest != 0 {
				h.version = highest
			}
		}
	}
	return h, true
}

// offered returns the distinct printable application protocols of an offer, and the first
// protocol of the offer, printable or not.
func (h *clientHello) offered() (names []string, first []byte) {
	for exts := h.extensions; len(exts) > 0; {
		typ := number16(exts)
		e, rest, _ := vector16(exts[2:])
		if exts = rest; typ != extALPN {
			continue
		}
		list, _, _ := vector16(e)
		first, _, _ = vector8(list)
		for len(list) > 0 {
			var p []byte
			p, list, _ = vector8(list)
			if len(names) < maxALPN && printable(p) && !slices.Contains(names, string(p)) {
				names = append(names, string(p))
			}
		}
	}
	return names, first
}

// printable reports whether b consists of printable ASCII without spaces.
func printable(b []byte) bool {
	for _, x := range b {
		if x <= ' ' || x >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}

type serverHello struct {
	version uint16
	cipher  uint16
	alpn    string
	psk     bool
	retry   bool
	session []byte // the session id, or empty
}

// retryRandom is the random of a HelloRetryRequest (RFC 8446 section 4.1.3).
var retryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// parseServerHello parses the body of a ServerHello (RFC 8446 section 4.1.3, RFC 5246
// section 7.4.1.3).
func parseServerHello(b []byte) (h serverHello, ok bool) {
	c := cursor{b: b}
	h.version = uint16(c.number(2))
	h.retry = bytes.Equal(c.take(32), retryRandom[:])
	// In drafts of TLS 1.3, the ServerHello had no session id and no compression method.
	if draft(h.version) {
		h.version = 0x0304
		h.cipher = uint16(c.number(2))
		return h, !c.bad
	}
	if h.session = c.vector(1).b; len(h.session) > 32 {
		return h, false
	}
	h.cipher = uint16(c.number(2))
	c.number(1)
	if c.bad || h.version < 0x0300 || h.version > 0x0303 {
		return h, false
	}
	if len(c.b) == 0 {
		return h, true
	}
	for exts := c.vector(2); len(exts.b) > 0; {
		typ := exts.number(2)
		e := exts.vector(2)
		if exts.bad {
			return h, false
		}
		switch typ {
		case extSupportedVersions:
			v := uint16(e.number(2))
			if draft(v) {
				v = 0x0304
			}
			if v != 0x0304 || e.bad {
				return h, false
			}
			h.version = v
		case extALPN:
			list := e.vector(2)
			if p := list.vector(1); printable(p.b) {
				h.alpn = string(p.b)
			}
		case extPreSharedKey:
			h.psk = true
		}
	}
	// Before TLS 1.3 the number of that extension had no meaning.
	h.psk = h.psk && h.version == 0x0304
	return h, !c.bad
}

// draft reports whether v is the number of a draft of TLS 1.3, as used by section 4.2.1.1
// of the drafts of RFC 8446 and by early deployments.
func draft(v uint16) bool { return v>>8 == 0x7f || v>>8 == 0xfb }

func versionName(v uint16) string {
	switch v {
	case 0x0002:
		return "ssl2"
	case 0x0300:
		return "ssl3"
	case 0x0301:
		return "1.0"
	case 0x0302:
		return "1.1"
	case 0x0303:
		return "1.2"
	case 0x0304:
		return "1.3"
	}
	return ""
}

// madeOf appends the input of ja4 and offered. It omits values of RFC 8701 where clients
// put them: before the suites, and as extensions.
func (h *clientHello) madeOf(b []byte) []byte {
	b = append(b, byte(h.version>>8), byte(h.version), 'i')
	if h.hasName {
		b[2] = 'd'
	}
	suites := h.ciphers
	for len(suites) > 1 && grease(number16(suites)) {
		suites = suites[2:]
	}
	b = append16(b, suites)
	for exts := h.extensions; len(exts) > 0; {
		typ := number16(exts)
		e, rest, _ := vector16(exts[2:])
		if !grease(typ) {
			b = append(b, byte(typ>>8), byte(typ))
			if typ == extSignatureAlgorithms || typ == extALPN {
				b = append16(b, e)
			}
		}
		exts = rest
	}
	return b
}

// append16 appends v, preceded by its length.
func append16(b, v []byte) []byte { return append(append(b, byte(len(v)>>8), byte(len(v))), v...) }

// ja4 returns the JA4 fingerprint of a ClientHello over TCP, according to FoxIO's
// technical_details/JA4.md (BSD 3-Clause licence). All lists omit values of RFC 8701. The
// buffers for a usual hello fit on the stack.
func (h *clientHello) ja4() string {
	var (
		numbers [96]uint16
		text    [640]byte
		buf     [36]byte
	)
	out := append(buf[:0], 't')
	switch v := h.version; {
	case v >= 0x0301 && v <= 0x0304:
		out = append(out, '1', '0'+byte(v-0x0301))
	case v == 0x0300:
		out = append(out, "s3"...)
	case v == 0x0002:
		out = append(out, "s2"...)
	default:
		out = append(out, "00"...)
	}
	if h.hasName {
		out = append(out, 'd')
	} else {
		out = append(out, 'i')
	}
	list := appendNumbers(numbers[:0], h.ciphers)
	slices.Sort(list)
	ciphers := shortHash(appendHex(text[:0], list))
	out = appendCount(out, len(list))

	count := 0
	list = numbers[:0]
	for c := (cursor{b: h.extensions}); len(c.b) > 0; {
		typ := uint16(c.number(2))
		c.vector(2)
		if grease(typ) {
			continue
		}
		count++
		if typ != extServerName && typ != extALPN {
			list = append(list, typ)
		}
	}
	slices.Sort(list)
	extensions := appendHex(text[:0], list)
	out = appendCount(out, count)
	if len(list) > 0 {
		list = list[:0]
		for c := (cursor{b: h.extensions}); len(c.b) > 0; {
			typ := c.number(2)
			if e := c.vector(2); typ == extSignatureAlgorithms {
				schemes := e.vector(2)
				list = appendNumbers(list, schemes.b)
			}
		}
		if len(list) > 0 {
			extensions = appendHex(append(extensions, '_'), list)
		}
	}
	_, alpn := h.offered()
	out = append(out, ja4ALPN(string(alpn))...)
	out = append(out, '_')
	out = append(out, ciphers...)
	out = append(out, '_')
	return string(append(out, shortHash(extensions)...))
}

// appendNumbers appends the two-byte numbers in b, except those of RFC 8701.
func appendNumbers(list []uint16, b []byte) []uint16 {
	for ; len(b) > 1; b = b[2:] {
		if v := uint16(b[0])<<8 | uint16(b[1]); !grease(v) {
			list = append(list, v)
		}
	}
	return list
}

// appendCount appends a number of two digits. Numbers above 99 become 99.
func appendCount(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, '0'+byte(n/10), '0'+byte(n%10))
}

func ja4ALPN(s string) string {
	if s == "" {
		return "00"
	}
	first, last := s[0], s[len(s)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		first, last = digits[first>>4], digits[last&15]
	}
	return string([]byte{first, last})
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

const digits = "0123456789abcdef"

// appendHex appends numbers of four hexadecimal digits, separated by commas.
func appendHex(b []byte, list []uint16) []byte {
	for i, x := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, digits[x>>12], digits[x>>8&15], digits[x>>4&15], digits[x&15])
	}
	return b
}

func shortHash[T string | []byte](s T) string {
	if len(s) == 0 {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
