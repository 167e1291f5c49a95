// Package sasl reads the authentication that SMTP, IMAP, POP3 and NNTP carry in lines of
// base64 (RFC 4422). It reports the mechanism and the content of tokens whose format is
// public. It ignores user names and passwords.
package sasl

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// maxName is the maximum length of a mechanism's name (RFC 4422 section 3.1).
const maxName = 20

// Mechanism returns the name of a mechanism in upper case, or "" if b is not such a name
// (RFC 4422 section 3.1).
func Mechanism(b []byte) string {
	if len(b) == 0 || len(b) > maxName {
		return ""
	}
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return ""
		}
	}
	name, _ := line.Upper(b, mechanisms[:])
	return name
}

// mechanisms lists the common mechanisms (IANA "SASL Mechanisms").
var mechanisms = [...]string{"NTLM", "GSSAPI", "LOGIN", "PLAIN", "GSS-SPNEGO", "DIGEST-MD5", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL",
	"ANONYMOUS"}

// Word returns the value of observe.Auth for a mechanism: "plain", "login", "ntlm",
// "anonymous"; "digest" for DIGEST-MD5 and CRAM-MD5; "oauth" for XOAUTH2 and OAUTHBEARER;
// "certificate" for EXTERNAL, which relies on the TLS certificate; and the name in lower
// case for other mechanisms. It is "negotiate" for GSSAPI and GSS-SPNEGO until their
// tokens are more specific, because Exchange's GSSAPI is the Negotiate package of
// Windows.
func Word(mechanism string) string {
	switch mechanism {
	case "DIGEST-MD5", "CRAM-MD5":
		return "digest"
	case "XOAUTH2", "OAUTHBEARER":
		return "oauth"
	case "EXTERNAL":
		return "certificate"
	case "GSSAPI", "GSS-SPNEGO":
		return "negotiate"
	}
	return strings.ToLower(mechanism)
}

// Challenged returns the mechanism that a server's challenge in base64 identifies:
// "LOGIN", which asks for a name or password (draft-murchison-sasl-login), "NTLM", or ""
// if it identifies none.
func Challenged(b []byte) string {
	var raw [24]byte
	n, _ := base64.StdEncoding.Decode(raw[:], b[:min(len(b), 4*len(raw)/3)&^3])
	switch head := raw[:n]; {
	case bytes.EqualFold(head, []byte("Username:")), bytes.EqualFold(head, []byte("Password:")),
		bytes.EqualFold(head, []byte("User Name\x00")):
		return "LOGIN"
	case bytes.HasPrefix(head, []byte("NTLMSSP\x00\x02")):
		return "NTLM"
	}
	return ""
}

// Exchange tracks one authentication. The zero value is idle.
type Exchange struct {
	Active bool
	// Sent reports that the client sent credentials of the mechanism, or the beginning of
	// them.
	Sent    bool
	known   bool // the report had the value before this exchange
	word    string
	context spnego.Context
}

// Start begins an authentication with mechanism.
func (e *Exchange) Start(mechanism string) {
	*e = Exchange{Active: true, word: Word(mechanism)}
}

// Client reads a line from the client, which may be incomplete. From then on the
// mechanism is reported.
func (e *Exchange) Client(b []byte, r *observe.Report) {
	if string(b) == "*" { // cancelled, RFC 4954 section 4, RFC 3501 section 6.2.2
		return
	}
	if !e.Sent {
		e.Sent = true
		e.known = r.Has(observe.Auth, e.word)
		r.Add(observe.Auth, e.word)
	}
	e.token(b, false, r)
}

// Server reads a challenge, which may be incomplete.
func (e *Exchange) Server(b []byte, r *observe.Report) { e.token(b, true, r) }

// End ends the authentication. If the client used the mechanism, it remains reported,
// whatever the server answered.
func (e *Exchange) End() { *e = Exchange{} }

// token decodes a token if opens reports true.
func (e *Exchange) token(b []byte, fromServer bool, r *observe.Report) {
	if !e.opens() {
		return
	}
	b = bytes.TrimRight(b, "\r\n ")
	if len(b) < 16 {
		return
	}
	// Decode the complete part of an incomplete line.
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Decode(raw, b[:len(b)&^3])
	if err != nil && n < 12 {
		return
	}
	e.context.Add(raw[:n], fromServer, r)
	if m := string(e.context.Mechanism); e.Sent && m != "" && m != e.word && e.context.Strength >= spnego.Tried {
		if !e.known {
			r.Remove(observe.Auth, e.word)
		}
		e.word, e.known = m, r.Has(observe.Auth, m)
		r.Add(observe.Auth, m)
	}
}

// opens reports whether tokens of the mechanism are read. Only those of the Windows
// mechanisms are.
func (e *Exchange) opens() bool {
	switch e.word {
	case "negotiate", "ntlm", "kerberos":
		return true
	}
	return false
}
