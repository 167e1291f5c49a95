package ldap

import (
	"bytes"
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe/internal/der"
)

// The protection of a connection after a SASL bind.
const (
	sealed = "sasl-sealed"
	signed = "sasl-signed"
)

// protection returns the protection of a SASL buffer (RFC 4422 section 3.7) according to
// its first bytes: sealed, signed, or "" if b is not such a buffer. size is the length of
// the whole buffer.
func protection(b []byte, size int, digest bool) string {
	switch {
	case len(b) >= 16 && b[0] == 0x05 && b[1] == 0x04 && b[3] == 0xff && b[2] < 8:
		// Wrap token of Kerberos with AES (RFC 4121 section 4.2.6.2).
		if b[2]&0x02 != 0 {
			return sealed
		}
		return signed
	case len(b) > 2 && b[0] == 0x60:
		// Wrap token of Kerberos with RC4 (RFC 4757 section 7.3) in the framing of
		// GSS-API tokens: SGN_ALG, then SEAL_ALG.
		t, _, ok := der.Open(b, 0x60)
		if !ok {
			return ""
		}
		oid, t, ok := der.Open(t, der.OID)
		if !ok || string(oid) != kerberosOID || len(t) < 6 || t[0] != 2 || t[1] != 1 {
			return ""
		}
		if t[4] == 0xff && t[5] == 0xff {
			return signed
		}
		return sealed
	case len(b) > 18 && size > 18 && bytes.Equal(b[:4], []byte{1, 0, 0, 0}):
		// Signature of NTLM ([MS-NLMP] section 2.2.2.9), which is the same for signed and
		// sealed messages.
		return content(b[16:], size-16)
	case digest && size > 18 && len(b) > 2:
		// DIGEST-MD5 (RFC 2831 sections 2.3 and 2.4): the content, followed by 16 bytes.
		return content(b, size-16)
	}
	return ""
}

const kerberosOID = "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02" // 1.2.840.113554.1.2.2

// content reports whether b starts with the LDAP messages of a buffer of size bytes,
// which is then only signed. Sealed bytes look like a message once in millions.
func content(b []byte, size int) string {
	var m message
	if m.look(b, false); m.kind == plain && m.size <= size {
		return signed
	}
	return sealed
}

// unwrap returns the content of a signed buffer, including the trailer if there is one.
func unwrap(b []byte) []byte {
	skip := 0
	switch {
	case len(b) >= 16 && b[0] == 0x05:
		// The content was rotated right by RRC bytes (RFC 4121 section 4.2.5).
		skip = 16 + int(binary.BigEndian.Uint16(b[6:]))
	case len(b) > 2 && b[0] == 0x60:
		// SGN_ALG to SGN_CKSUM, and the confounder (RFC 4757 section 7.3).
		if t, _, ok := der.Open(b, 0x60); ok {
			if _, t, ok = der.Open(t, der.OID); ok {
				b, skip = t, 2+2+2+2+8+8+8
			}
		}
	case bytes.HasPrefix(b, []byte{1, 0, 0, 0}):
		skip = 16
	}
	return b[min(skip, len(b)):]
}

// wrapper returns the mechanism of the token at the start of a buffer.
func wrapper(b []byte) string {
	if b[0] == 1 {
		return "ntlm"
	}
	return "kerberos"
}
