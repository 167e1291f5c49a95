// Package sasl reads the authentication that SMTP, IMAP, POP3 and NNTP carry
// in lines of base64 (RFC 4422): which mechanism, and what the tokens of those
// with a public form say. User names and passwords are not looked at.
package sasl

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// maxName is the longest name of a mechanism (RFC 4422 section 3.1).
const maxName = 20

// Mechanism returns a mechanism's name in upper case, or "" where b is none
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

// mechanisms are the common ones (IANA "SASL Mechanisms").
var mechanisms = [...]string{"NTLM", "GSSAPI", "LOGIN", "PLAIN", "GSS-SPNEGO", "DIGEST-MD5", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL",
	"ANONYMOUS"}

// Word returns a mechanism as observe.Auth names it: "plain", "login",
// "ntlm", "anonymous"; "digest" for DIGEST-MD5 and CRAM-MD5; "oauth" for
// XOAUTH2 and OAUTHBEARER; "certificate" for EXTERNAL, which rests on the
// certificate of TLS; "negotiate" for GSSAPI and GSS-SPNEGO until their tokens
// say more, because Exchange's GSSAPI is Windows' Negotiate; and the name in
// lower case for others.
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

// Challenged returns the mechanism that a server's challenge in base64 belongs to
// where the challenge itself tells: "LOGIN", which asks for a name or password
// (draft-murchison-sasl-login), or "NTLM"; else "".
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

// Exchange follows one authentication. The zero value is idle.
type Exchange struct {
	Active bool
	// Sent reports that the client sent something of the mechanism: its credentials or
	// the beginning of them.
	Sent    bool
	known   bool // the report had the word before this exchange
	word    string
	context spnego.Context
}

// Start begins an authentication by mechanism.
func (e *Exchange) Start(mechanism string) {
	*e = Exchange{Active: true, word: Word(mechanism)}
}

// Client reads a line of the client's, which can be cut short. The mechanism
// is reported from now on.
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

// Server reads a challenge, which can be cut short.
func (e *Exchange) Server(b []byte, r *observe.Report) { e.token(b, true, r) }

// End ends the authentication. The mechanism stays reported where the client
// used it, whatever the server said.
func (e *Exchange) End() { *e = Exchange{} }

// token opens a token of the mechanisms whose tokens are opened.
func (e *Exchange) token(b []byte, fromServer bool, r *observe.Report) {
	if !e.opens() {
		return
	}
	b = bytes.TrimRight(b, "\r\n ")
	if len(b) < 16 {
		return
	}
	// A cut line is decoded as far as it goes.
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

// opens reports whether the mechanism's tokens are read: those of Windows.
func (e *Exchange) opens() bool {
	switch e.word {
	case "negotiate", "ntlm", "kerberos":
		return true
	}
	return false
}
