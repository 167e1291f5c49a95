// Package spnego reads the authentication tokens that other protocols carry: SPNEGO
// negotiation (RFC 4178, [MS-SPNG]), Kerberos (RFC 4121) and NTLMSSP messages, wrapped or
// bare. It reports the mechanism in use and the service of a Kerberos ticket.
package spnego

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
	"github.com/exspan/exspan/classify/observe/kerberos"
	"github.com/exspan/exspan/classify/observe/ntlm"
)

// A Mechanism is an authentication mechanism, named as in observe.Auth.
type Mechanism string

// All mechanisms.
const (
	// Negotiate is SPNEGO with another mechanism, or with one that is not known yet.
	Negotiate Mechanism = "negotiate"
	Kerberos  Mechanism = "kerberos"
	NTLM      Mechanism = "ntlm"
)

// Strength is the evidence of a token for its mechanism.
type Strength uint8

// All strengths, weakest first.
const (
	// None means that the token is not understood.
	None Strength = iota
	// Offered means that the token only lists mechanisms.
	Offered
	// Tried means that the client sent a token of the mechanism. The server may still
	// choose another mechanism.
	Tried
	// Settled means the choice of the server, a Kerberos reply of the server, or an
	// NTLMSSP message. If two tokens disagree, the later one is right.
	Settled
)

// Info is the content of one token.
type Info struct {
	// Mechanism is the mechanism, or "" if the token is not understood.
	Mechanism Mechanism
	Strength  Strength
	// Ticket is the ticket of a Kerberos AP-REQ. Its fields are empty if there is none.
	Ticket kerberos.Ticket
	// NTLM is the NTLMSSP message in the token, or nil. It aliases the input.
	NTLM []byte
}

// Object identifiers, as encoded.
const (
	oidSPNEGO     = "\x2b\x06\x01\x05\x05\x02"                 // 1.3.6.1.5.5.2
	oidKerberos   = "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"     // 1.2.840.113554.1.2.2
	oidMSKerberos = "\x2a\x86\x48\x82\xf7\x12\x01\x02\x02"     // 1.2.840.48018.1.2.2, an error of Windows 2000 that later versions keep for compatibility
	oidUser2User  = "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x03" // 1.2.840.113554.1.2.2.3
	oidNTLM       = "\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a" // 1.3.6.1.4.1.311.2.2.10
)

// Identifiers of Kerberos messages (RFC 4120 section 5.10).
const (
	tagGSS   = 0x60 // InitialContextToken, [APPLICATION 0] (RFC 2743 section 3.1)
	tagAPReq = 0x6e
	tagAPRep = 0x6f
	tagError = 0x7e
)

// maxMechanisms is the maximum number of mechanisms read from an offer.
const maxMechanisms = 16

// Inspect reads the token at the beginning of b, sent by the server or by the client. If
// the token is incomplete, Inspect reads the available part. If identities is set, the
// ticket's service can be an account.
func Inspect(b []byte, fromServer, identities bool) Info {
	var i Info
	i.token(b, fromServer, identities, 0)
	return i
}

// token reads a token of any kind. depth limits nested tokens: SPNEGO, a GSS wrapper, and
// the mechanism's own token.
func (i *Info) token(b []byte, fromServer, identities bool, depth int) {
	if ntlm.Is(b) {
		i.set(NTLM, Settled)
		i.NTLM = b
		return
	}
	e, _, ok := der.Next(b)
	if !ok || depth > 3 {
		return
	}
	switch e.Tag {
	case tagGSS:
		oid, rest, ok := der.Open(e.Body, der.OID)
		if !ok {
			return
		}
		switch string(oid) {
		case oidSPNEGO:
			i.token(rest, fromServer, identities, depth+1)
		case oidKerberos, oidMSKerberos, oidUser2User:
			// Two bytes of token identifier (RFC 4121 section 4.1) precede the message.
			i.set(Kerberos, Tried)
			if len(rest) > 2 {
				i.token(rest[2:], fromServer, identities, depth+1)
			}
		case oidNTLM:
			i.token(rest, fromServer, identities, depth+1)
		}
	case tagAPReq:
		i.set(Kerberos, Tried)
		if t, ok := kerberos.ParseAPReq(b, identities); ok {
			i.Ticket = t
		}
	case tagAPRep:
		i.set(Kerberos, Settled)
	case tagError:
		i.set(Kerberos, Tried)
	case der.Context(0):
		i.init(e.Body, fromServer, identities, depth)
	case der.Context(1):
		i.resp(e.Body, fromServer, identities, depth)
	}
}

// set keeps the strongest evidence for a mechanism.
func (i *Info) set(m Mechanism, s Strength) {
	if s >= i.Strength {
		i.Mechanism, i.Strength = m, s
	}
}

// init reads a NegTokenInit (RFC 4178 section 4.2.1). If a server sends it ([MS-SPNG]
// section 2.2.1), it is a hint, not a choice.
func (i *Info) init(b []byte, fromServer, identities bool, depth int) {
	b, _, ok := der.Open(b, der.Sequence)
	if !ok {
		return
	}
	i.set(Negotiate, Offered)
	for range maxMechanisms {
		var e der.Element
		if e, b, ok = der.Next(b); !ok {
			return
		}
		switch e.Tag {
		case der.Context(0):
			i.offer(e.Body)
		case der.Context(2):
			if t, _, ok := der.Open(e.Body, der.OctetString); ok {
				i.token(t, fromServer, identities, depth+1)
			}
		}
	}
}

// offer reads the mechTypes of an offer. If it lists only one mechanism, the client tries
// that mechanism.
func (i *Info) offer(b []byte) {
	b, _, ok := der.Open(b, der.Sequence)
	if !ok {
		return
	}
	only := Negotiate
	for n := range maxMechanisms {
		oid, rest, ok := der.Open(b, der.OID)
		if !ok {
			break
		}
		m := mechanism(oid)
		if n == 0 {
			only = m
		} else if m != only {
			only = Negotiate
		}
		b = rest
	}
	if i.Strength == Offered {
		i.Mechanism = only
	}
}

func mechanism(oid []byte) Mechanism {
	switch string(oid) {
	case oidKerberos, oidMSKerberos, oidUser2User:
		return Kerberos
	case oidNTLM:
		return NTLM
	}
	return Negotiate
}

// resp reads a NegTokenResp (RFC 4178 section 4.2.2).
func (i *Info) resp(b []byte, fromServer, identities bool, depth int) {
	b, _, ok := der.Open(b, der.Sequence)
	if !ok {
		return
	}
	const reject = 2
	rejected := false
	i.set(Negotiate, Offered)
	for range maxMechanisms {
		var e der.Element
		if e, b, ok = der.Next(b); !ok {
			return
		}
		switch e.Tag {
		case der.Context(0):
			v, _, ok := der.Int(e.Body)
			rejected = ok && v == reject
		case der.Context(1):
			oid, _, ok := der.Open(e.Body, der.OID)
			if m := mechanism(oid); ok && fromServer && !rejected && m != Negotiate {
				i.set(m, Settled)
			}
		case der.Context(2):
			if t, _, ok := der.Open(e.Body, der.OctetString); ok {
				i.token(t, fromServer, identities, depth+1)
			}
		}
	}
}

// Context tracks the tokens of one authentication and determines the mechanism in use.
// The zero value has seen no token.
type Context struct {
	Mechanism Mechanism
	Strength  Strength
}

// Add reads the next token, sent by the server or the client, and updates the context. It
// adds the facts of Kerberos and NTLM to r. It leaves observe.Auth to the caller, which
// knows whether c.Mechanism protects anything.
func (c *Context) Add(b []byte, fromServer bool, r *observe.Report) Info {
	i := Inspect(b, fromServer, r.Identities)
	if i.Strength >= c.Strength && i.Mechanism != "" {
		c.Mechanism, c.Strength = i.Mechanism, i.Strength
	}
	r.Add(kerberos.Realm, i.Ticket.Realm)
	r.Add(kerberos.Service, i.Ticket.Service)
	r.Add(kerberos.Etype, i.Ticket.Etype)
	if i.NTLM != nil {
		ntlm.Report(i.NTLM, r)
	}
	return i
}

// Signer returns the mechanism of a per-message token from its beginning, or "" if it is
// unknown. A per-message token is the signature of a message after the authentication.
// NTLM's has 16 bytes and begins with version 1 ([MS-NLMP] section 2.2.2.9). Kerberos'
// begins with 04 04 or 05 04 (RFC 4121 section 4.2.6) or is wrapped with its object
// identifier (RFC 4757 section 7). length is the length of the whole token; b can hold
// only its first bytes.
func Signer(b []byte, length int) Mechanism {
	switch {
	case length == 16 && bytes.HasPrefix(b, []byte{1, 0, 0, 0}):
		return NTLM
	case length >= 16 && len(b) >= 2 && b[1] == 4 && (b[0] == 4 || b[0] == 5):
		return Kerberos
	}
	if oid, _, ok := der.Open(b, tagGSS); ok {
		if e, _, ok := der.Next(oid); ok && e.Tag == der.OID && e.Len == len(oidKerberos) && bytes.HasPrefix([]byte(oidKerberos),
			e.Body) && len(e.Body) > 2 {
			return Kerberos
		}
	}
	return ""
}
