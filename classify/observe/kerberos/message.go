package kerberos

import "github.com/exspan/exspan/classify/observe/internal/der"

// Ticket holds the cleartext fields of a ticket (RFC 4120 section 5.3).
type Ticket struct {
	Realm string
	// Service is the server principal, with "/" between its components, such as
	// "exchangeMDB/mb1.example.com". A principal of one component is an account; Service
	// is then empty unless identities were requested.
	Service string
	// Etype is the name of the encryption type (see EtypeName).
	Etype string
}

// ParseAPReq parses the ticket of an AP-REQ (RFC 4120 section 5.5.1). b begins with its
// [APPLICATION 14] tag and may be incomplete. If identities is set, the service of a
// ticket may be a principal of one component. ok is false unless b includes the ticket's
// service.
func ParseAPReq(b []byte, identities bool) (t Ticket, ok bool) {
	b, _, ok = der.Open(b, tagAPReq)
	if !ok {
		return t, false
	}
	if b, _, ok = der.Open(b, der.Sequence); !ok {
		return t, false
	}
	for {
		var e der.Element
		if e, b, ok = der.Next(b); !ok {
			return t, false
		}
		switch e.Tag {
		case der.Context(0):
			if v, _, ok := der.Int(e.Body); !ok || v != version {
				return t, false
			}
		case der.Context(3):
			return parseTicket(e.Body, identities)
		}
	}
}

// parseTicket parses a Ticket, which may end anywhere.
func parseTicket(b []byte, identities bool) (t Ticket, ok bool) {
	if b, _, ok = der.Open(b, der.Application(1)); !ok {
		return t, false
	}
	if b, _, ok = der.Open(b, der.Sequence); !ok {
		return t, false
	}
	named := false
	for {
		var e der.Element
		if e, b, ok = der.Next(b); !ok {
			return t, named
		}
		switch e.Tag {
		case der.Context(0):
			if v, _, ok := der.Int(e.Body); !ok || v != version {
				return t, false
			}
		case der.Context(1):
			t.Realm = str(e.Body)
		case der.Context(2):
			t.Service = principal(e.Body, identities)
			named = true
		case der.Context(3):
			t.Etype = etypeOf(e.Body)
			return t, named
		}
	}
}

// etypeOf parses the etype of an EncryptedData (RFC 4120 section 5.2.9).
func etypeOf(b []byte) string {
	b, _, ok := der.Open(b, der.Sequence)
	if !ok {
		return ""
	}
	if b, _, ok = der.Open(b, der.Context(0)); !ok {
		return ""
	}
	v, _, ok := der.Int(b)
	if !ok {
		return ""
	}
	return EtypeName(v)
}

// str parses a KerberosString (RFC 4120 section 5.2.1) of at most maxString bytes. It
// accepts only printable bytes.
func str(b []byte) string { return string(text(b)) }

// text is like str, without a copy.
func text(b []byte) []byte {
	e, _, ok := der.Next(b)
	if !ok || e.Tag != generalString || !e.Whole() || e.Len > maxString {
		return nil
	}
	for _, c := range e.Body {
		if c <= ' ' || c == 0x7f {
			return nil
		}
	}
	return e.Body
}

// principal parses a PrincipalName (RFC 4120 section 5.2.2) and joins its components.
// Service principals have two or more components. A principal of one component is the
// name of an account, and an enterprise name (name type 10, RFC 6806 section 5) is the
// name of a user. Both are kept only if identities is set.
func principal(b []byte, identities bool) string {
	b, _, ok := der.Open(b, der.Sequence)
	if !ok {
		return ""
	}
	kind, b, ok := der.Open(b, der.Context(0))
	if !ok {
		return ""
	}
	nameType, _, _ := der.Int(kind)
	if b, _, ok = der.Open(b, der.Context(1)); !ok {
		return ""
	}
	if b, _, ok = der.Open(b, der.Sequence); !ok {
		return ""
	}
	var (
		buf   [128]byte
		parts int
	)
	name := buf[:0]
	for len(b) > 0 {
		var e der.Element
		whole := b
		if e, b, ok = der.Next(b); !ok || !e.Whole() {
			return ""
		}
		part := text(whole)
		if len(part) == 0 || parts == maxComponents {
			return ""
		}
		if parts++; parts > 1 {
			name = append(name, '/')
		}
		name = append(name, part...)
	}
	if !identities && (parts < 2 || nameType == enterprise || nameType == x500 || nameType == smtpName) {
		return ""
	}
	return string(name)
}

// Limits, and numbers from RFC 4120.
const (
	version       = 5 // pvno and tkt-vno
	generalString = 0x1b
	maxString     = 200
	maxComponents = 6

	x500       = 6
	smtpName   = 7
	enterprise = 10
)

// Identifiers of the messages (RFC 4120 section 5.10).
const (
	tagASReq  = 0x6a
	tagASRep  = 0x6b
	tagTGSReq = 0x6c
	tagTGSRep = 0x6d
	tagAPReq  = 0x6e
	tagError  = 0x7e
)

var etypes = map[int64]string{
	// IANA "Kerberos Parameters", encryption type numbers.
	1: "des-cbc-crc", 2: "des-cbc-md4", 3: "des-cbc-md5", 5: "des3-cbc-md5", 7: "des3-cbc-sha1", 16: "des3-cbc-sha1-kd",
	17: "aes128-cts-hmac-sha1-96", 18: "aes256-cts-hmac-sha1-96", 19: "aes128-cts-hmac-sha256-128",
	20: "aes256-cts-hmac-sha384-192", 23: "rc4-hmac", 24: "rc4-hmac-exp", 25: "camellia128-cts-cmac", 26: "camellia256-cts-cmac",
}

// EtypeName returns the IANA name of an encryption type, or "other".
func EtypeName(n int64) string {
	if s := etypes[n]; s != "" {
		return s
	}
	return "other"
}

// errorNames holds the error codes of RFC 4120 section 7.5.9 and RFC 4556.
var errorNames = map[int64]string{
	1: "KDC_ERR_NAME_EXP", 2: "KDC_ERR_SERVICE_EXP", 3: "KDC_ERR_BAD_PVNO", 4: "KDC_ERR_C_OLD_MAST_KVNO",
	5: "KDC_ERR_S_OLD_MAST_KVNO", 6: "KDC_ERR_C_PRINCIPAL_UNKNOWN", 7: "KDC_ERR_S_PRINCIPAL_UNKNOWN",
	8: "KDC_ERR_PRINCIPAL_NOT_UNIQUE", 9: "KDC_ERR_NULL_KEY", 10: "KDC_ERR_CANNOT_POSTDATE", 11: "KDC_ERR_NEVER_VALID",
	12: "KDC_ERR_POLICY", 13: "KDC_ERR_BADOPTION", 14: "KDC_ERR_ETYPE_NOSUPP", 15: "KDC_ERR_SUMTYPE_NOSUPP",
	16: "KDC_ERR_PADATA_TYPE_NOSUPP", 17: "KDC_ERR_TRTYPE_NOSUPP", 18: "KDC_ERR_CLIENT_REVOKED", 19: "KDC_ERR_SERVICE_REVOKED",
	20: "KDC_ERR_TGT_REVOKED", 21: "KDC_ERR_CLIENT_NOTYET", 22: "KDC_ERR_SERVICE_NOTYET", 23: "KDC_ERR_KEY_EXPIRED",
	24: "KDC_ERR_PREAUTH_FAILED", 25: "KDC_ERR_PREAUTH_REQUIRED", 26: "KDC_ERR_SERVER_NOMATCH", 27: "KDC_ERR_MUST_USE_USER2USER",
	28: "KDC_ERR_PATH_NOT_ACCEPTED", 29: "KDC_ERR_SVC_UNAVAILABLE", 31: "KRB_AP_ERR_BAD_INTEGRITY", 32: "KRB_AP_ERR_TKT_EXPIRED",
	33: "KRB_AP_ERR_TKT_NYV", 34: "KRB_AP_ERR_REPEAT", 35: "KRB_AP_ERR_NOT_US", 36: "KRB_AP_ERR_BADMATCH", 37: "KRB_AP_ERR_SKEW",
	38: "KRB_AP_ERR_BADADDR", 39: "KRB_AP_ERR_BADVERSION", 40: "KRB_AP_ERR_MSG_TYPE", 41: "KRB_AP_ERR_MODIFIED",
	42: "KRB_AP_ERR_BADORDER", 44: "KRB_AP_ERR_BADKEYVER", 45: "KRB_AP_ERR_NOKEY", 46: "KRB_AP_ERR_MUT_FAIL",
	47: "KRB_AP_ERR_BADDIRECTION", 48: "KRB_AP_ERR_METHOD", 49: "KRB_AP_ERR_BADSEQ", 50: "KRB_AP_ERR_INAPP_CKSUM",
	51: "KRB_AP_PATH_NOT_ACCEPTED", 52: "KRB_ERR_RESPONSE_TOO_BIG", 60: "KRB_ERR_GENERIC", 61: "KRB_ERR_FIELD_TOOLONG",
	62: "KDC_ERR_CLIENT_NOT_TRUSTED", 63: "KDC_ERR_KDC_NOT_TRUSTED", 64: "KDC_ERR_INVALID_SIG", 65: "KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED",
	66: "KDC_ERR_CERTIFICATE_MISMATCH", 67: "KRB_AP_ERR_NO_TGT", 68: "KDC_ERR_WRONG_REALM", 69: "KRB_AP_ERR_USER_TO_USER_REQUIRED",
	70: "KDC_ERR_CANT_VERIFY_CERTIFICATE", 71: "KDC_ERR_INVALID_CERTIFICATE", 72: "KDC_ERR_REVOKED_CERTIFICATE",
	73: "KDC_ERR_REVOCATION_STATUS_UNKNOWN", 74: "KDC_ERR_REVOCATION_STATUS_UNAVAILABLE", 75: "KDC_ERR_CLIENT_NAME_MISMATCH",
	76: "KDC_ERR_KDC_NAME_MISMATCH",
}
