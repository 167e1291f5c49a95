package tls

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// cursor reads big-endian fields. After a field that is not there it is bad
// and gives zeros.
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

// number reads n bytes, at most 3.
func (c *cursor) number(n int) int {
	v := 0
	for _, x := range c.take(n) {
		v = v<<8 | int(x)
	}
	return v
}

// vector reads a vector with a length of n bytes.
func (c *cursor) vector(n int) cursor {
	l := c.number(n)
	return cursor{b: c.take(l), bad: c.bad}
}

// Extension numbers of the IANA registry "TLS ExtensionType Values".
const (
	extServerName          = 0
	extSignatureAlgorithms = 13
	extALPN                = 16
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
)

// grease says whether v is a reserved value of RFC 8701.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

type clientHello struct {
	version    uint16   // the highest offered
	ciphers    []uint16 // these lists are without the values of RFC 8701
	extensions []uint16
	signatures []uint16
	hasName    bool
	serverName string
	alpn       []string // printable ones
	firstALPN  string   // of any bytes
	early      bool
}

// parseClientHello reads the body of a ClientHello (RFC 8446 section 4.1.2).
func parseClientHello(b []byte) (h clientHello, ok bool) {
	c := cursor{b: b}
	h.version = uint16(c.number(2))
	c.take(32)
	c.vector(1)
	for s := c.vector(2); len(s.b) > 1; {
		if v := uint16(s.number(2)); !grease(v) {
			h.ciphers = append(h.ciphers, v)
		}
	}
	c.vector(1)
	if c.bad || h.version>>8 != 3 {
		return h, false
	}
	if len(c.b) == 0 {
		return h, true // no extensions, as in SSL 3.0
	}
	for exts := c.vector(2); len(exts.b) > 0; {
		typ := uint16(exts.number(2))
		e := exts.vector(2)
		if exts.bad {
			return h, false
		}
		if grease(typ) {
			continue
		}
		h.extensions = append(h.extensions, typ)
		switch typ {
		case extServerName:
			h.hasName = true
			for list := e.vector(2); len(list.b) > 0; {
				kind, name := list.number(1), list.vector(2)
				if kind == 0 && h.serverName == "" && printable(name.b) {
					h.serverName = string(name.b)
				}
			}
		case extSignatureAlgorithms:
			for list := e.vector(2); len(list.b) > 1; {
				if v := uint16(list.number(2)); !grease(v) {
					h.signatures = append(h.signatures, v)
				}
			}
		case extALPN:
			for i, list := 0, e.vector(2); len(list.b) > 0; i++ {
				p := list.vector(1)
				if i == 0 {
					h.firstALPN = string(p.b)
				}
				if len(h.alpn) < maxALPN && printable(p.b) && !slices.Contains(h.alpn, string(p.b)) {
					h.alpn = append(h.alpn, string(p.b))
				}
			}
		case extEarlyData:
			h.early = true
		case extSupportedVersions:
			var highest uint16
			for list := e.vector(1); len(list.b) > 1; {
				if v := uint16(list.number(2)); !grease(v) && v > highest {
					highest = v
				}
			}
			if highest != 0 {
				h.version = highest
			}
		}
	}
	return h, !c.bad
}

// printable says whether b is a word of printable ASCII.
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
}

// retryRandom is the random of a HelloRetryRequest (RFC 8446 section 4.1.3).
var retryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// parseServerHello reads the body of a ServerHello (RFC 8446 section 4.1.3,
// RFC 5246 section 7.4.1.3).
func parseServerHello(b []byte) (h serverHello, ok bool) {
	c := cursor{b: b}
	h.version = uint16(c.number(2))
	h.retry = bytes.Equal(c.take(32), retryRandom[:])
	// Drafts of TLS 1.3 had neither session id nor compression here.
	if draft(h.version) {
		h.version = 0x0304
		h.cipher = uint16(c.number(2))
		return h, !c.bad
	}
	if id := c.vector(1); len(id.b) > 32 {
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
	// Before TLS 1.3 the number of that extension meant nothing.
	h.psk = h.psk && h.version == 0x0304
	return h, !c.bad
}

// draft says whether v is the number of a draft of TLS 1.3, as RFC 8446
// section 4.2.1.1 of the drafts and early deployments used them.
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

// ja4 returns the JA4 fingerprint of a ClientHello over TCP, by FoxIO's
// technical_details/JA4.md (BSD 3-Clause licence).
func (h *clientHello) ja4() string {
	version := "00"
	switch v := h.version; {
	case v >= 0x0301 && v <= 0x0304:
		version = "1" + string('0'+byte(v-0x0301))
	case v == 0x0300:
		version = "s3"
	case v == 0x0002:
		version = "s2"
	}
	name := byte('i')
	if h.hasName {
		name = 'd'
	}
	ciphers := slices.Clone(h.ciphers)
	slices.Sort(ciphers)
	var exts []uint16
	for _, e := range h.extensions {
		if e != extServerName && e != extALPN {
			exts = append(exts, e)
		}
	}
	slices.Sort(exts)
	list := joinHex(exts)
	if len(h.signatures) > 0 {
		list += "_" + joinHex(h.signatures)
	}
	if len(exts) == 0 {
		list = ""
	}
	return fmt.Sprintf("t%s%c%02d%02d%s_%s_%s", version, name, min(len(h.ciphers), 99), min(len(h.extensions), 99), ja4ALPN(h.firstALPN),
		shortHash(joinHex(ciphers)), shortHash(list))
}

func ja4ALPN(s string) string {
	if s == "" {
		return "00"
	}
	first, last := s[0], s[len(s)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		x := hex.EncodeToString([]byte(s))
		first, last = x[0], x[len(x)-1]
	}
	return string([]byte{first, last})
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func joinHex(v []uint16) string {
	var b strings.Builder
	for i, x := range v {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%04x", x)
	}
	return b.String()
}

func shortHash(s string) string {
	if s == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
