// Package ldap reads LDAP over TCP (RFC 4511) and CLDAP over UDP ([MS-ADTS] section 6.3).
// It reports how clients authenticate, how the connection is protected afterwards, and
// which naming contexts they search. It skips filters and the contents of entries.
package ldap

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
	"github.com/exspan/exspan/classify/observe/ntlm"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// Facts of this protocol.
const (
	// Bind is the method of a bind, accepted or not: "simple", "anonymous",
	// "unauthenticated" (a name without a password), "sicily" ([MS-ADTS] section
	// 5.1.1.1.3), or "sasl:" followed by the mechanism.
	Bind = "ldap.bind"
	// Base is the naming context that a client searched, or the container of Exchange's
	// configuration in it: "CN=Microsoft
	// Exchange,CN=Services,CN=Configuration,DC=example,DC=com".
	Base = "ldap.base"
	// DN is the complete name of a search base; only with Report.Identities.
	DN = "ldap.dn"
	// Entry is the naming context of the first entries that the server returned, in the
	// form of Base. It shows what the server holds; Base shows what the client asks for.
	Entry = "ldap.entry"
	// Capability is the kind of server according to its root DSE ([MS-ADTS] section
	// 3.1.1.3.4.3): "active-directory", "ad-lds".
	Capability = "ldap.capability"
	// GlobalCatalog is "ready" if isGlobalCatalogReady is TRUE in the root DSE ([MS-ADTS]
	// section 3.1.1.3.2.27).
	GlobalCatalog = "ldap.global_catalog"
	// Netlogon is a role of the server according to its answer to an LDAP ping ([MS-ADTS]
	// sections 6.3.1.2 and 6.3.1.9): "pdc", "gc", "ldap", "ds", "kdc".
	Netlogon = "ldap.netlogon"
	// Error is the result of a failed bind (RFC 4511 section 4.1.9).
	Error = "ldap.error"
	// TLS is "starttls" if the server accepted StartTLS, or "refused" if it did not.
	TLS = "ldap.tls"
	// CLDAP is the object of a datagram's request: "netlogon" ([MS-ADTS] section 6.3.3)
	// or "rootdse".
	CLDAP = "ldap.cldap"
)

// Limits.
const (
	maxMessage  = 64 << 20 // bytes of one message
	maxBuffer   = 16 << 20 // bytes of one SASL buffer
	maxToken    = 8 << 10  // bytes of a bind that are awaited and read
	maxRequest  = 4 << 10  // the same for a search
	maxExtended = 256      // the same for an extended request
	maxWrap     = 64       // the same for a SASL buffer
	minOp       = 24       // the same for other messages: headers, including that of the first field
	maxRoot     = 8 << 10  // the same for an entry of the root DSE
	maxRoots    = 2        // entries of the root DSE that are read
	maxEntries  = 2        // entries whose names are read
	maxBases    = 16       // search bases that become facts
	maxBase     = 1024     // bytes of a search base that is read
)

// Operations (RFC 4511 section 4.2 and following).
const (
	opBind          = 0x60
	opBindResponse  = 0x61
	opUnbind        = 0x42
	opSearch        = 0x63
	opEntry         = 0x64
	opSearchDone    = 0x65
	opModify        = 0x66
	opAdd           = 0x68
	opDelete        = 0x4a
	opModifyDN      = 0x6c
	opCompare       = 0x6e
	opAbandon       = 0x50
	opReference     = 0x73
	opExtended      = 0x77
	opExtendedReply = 0x78
	opIntermediate  = 0x79
)

const oidStartTLS = "1.3.6.1.4.1.1466.20037" // RFC 4511 section 4.14.1

// Protocol describes LDAP and CLDAP.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: "ldap", TCP: []uint16{389, 3268, 390, 379, 50389}, UDP: []uint16{389}, Stream: true, Datagram: true,
		Begins: string([]byte{der.Sequence}), Detect: detect, New: func() observe.Observer { return new(observer) },
		Renew: func(o observe.Observer) { *o.(*observer) = observer{} },
	}
}

// observer reads one flow. The fields that most messages need come first.
type observer struct {
	dirs     [2]direction
	seen     bool // a message was read
	identity identity
	// clear reports that encryption "none" was reported, and anonymous that auth
	// "anonymous" was.
	clear, anonymous bool
	askedTLS         bool             // the answer to the StartTLS request tlsID is awaited
	digest           bool             // the bind used DIGEST-MD5, whose buffers have no header
	nBases           uint8            // length of bases
	nRoots, nEntries uint8            // numbers of entries read: of the root DSE, and others
	bases            [maxBases]uint64 // hashes of the search bases read

	tlsID int64
	bind  bind
}

// direction is the state of one direction.
type direction struct {
	lost bool // bytes are missing
	// turned is set after a gap and when the other direction sends. Only then can the
	// next bytes of a lost direction be the beginning of a message.
	turned bool
	// wraps is set after the first SASL buffer.
	wraps bool
}

// identity is the known identity of the client that performs operations.
type identity uint8

const (
	unread       identity = iota // nothing was read yet
	noIdentity                   // no bind, an anonymous or a failed one (RFC 4511 section 4.2.1)
	someIdentity                 // or unknown
)

// bind is a bind that awaits its answer.
type bind struct {
	open bool
	id   int64
	auth string // the value of observe.Auth once the bind is accepted; "negotiate" is left to ctx
	sasl bool   // the tokens are read
	ctx  spnego.Context
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Datagram {
		return len(in.Data), o.datagram(in, r)
	}
	o.start(in.Handshake)
	d, other := &o.dirs[in.Dir&1], &o.dirs[in.Dir&1^1]
	if in.Gap > 0 {
		o.lose(d)
		d.turned = true
		return 0, nil
	}
	other.turned = true
	var m message
	if d.lost {
		if used := o.resume(d, in.Data, &m); d.lost {
			return used, nil
		}
	}
	pos := 0
	for pos < len(in.Data) {
		b := in.Data[pos:]
		if o.askedTLS && b[0] == 0x16 && in.Dir == observe.ToServer {
			// A TLS handshake, which begins once the server has agreed.
			if !other.lost {
				return pos, nil
			}
			r.Add(TLS, "starttls")
			r.Next = "tls"
			return pos, observe.ErrUpgrade
		}
		if pos > 0 || m.kind == neither {
			m.look(b, true)
		}
		switch m.kind {
		case tooShort:
			return pos, nil
		case neither:
			return o.refuse(d, in)
		case wrapped:
			want := min(m.size, o.wanted(&m, in.Dir))
			if len(b) < want {
				return pos, nil
			}
			m.body = b[4:want]
			if !o.buffer(d, &m, in.Dir, r) {
				return o.refuse(d, in)
			}
			pos += m.size
			continue
		}
		op := &ops[m.op]
		want := min(m.size, int(op.wanted))
		if len(b) < want {
			return pos, nil
		}
		if m.op == opEntry && (o.nRoots < maxRoots || o.nEntries < maxEntries) {
			if want = o.wantedEntry(&m); len(b) < want {
				return pos, nil
			}
		}
		if op.request != (in.Dir == observe.ToServer) {
			if o.seen {
				return o.refuse(d, in)
			}
			return pos, observe.ErrReversed
		}
		// Limit the body to the awaited bytes. Otherwise the result would depend on how
		// the stream is split.
		m.body = m.body[:min(len(m.body), want-m.at)]
		o.seen = true
		pos += m.size
		if o.operation(&m, r) {
			r.Next = "tls"
			return min(pos, len(in.Data)), observe.ErrUpgrade
		}
	}
	return pos, nil
}

// start records, before the first bytes, whether an unseen bind may precede them. It may
// if the handshake was not seen.
func (o *observer) start(handshake bool) {
	switch {
	case o.identity != unread:
	case handshake:
		o.identity = noIdentity
	default:
		o.identity = someIdentity
	}
}

// resume searches for a message at the beginning of b, after lost bytes, and stores it in
// m. If there is none, d.lost remains set and resume returns the number of bytes to skip.
func (o *observer) resume(d *direction, b []byte, m *message) int {
	if !d.turned {
		return len(b)
	}
	m.look(b, true)
	if m.kind == tooShort {
		return 0
	}
	if m.kind == neither || m.kind == wrapped && protection(m.body, m.size-4, o.digest) == "" {
		d.turned = false
		return len(b)
	}
	d.lost = false
	return 0
}

// lose stops reading a direction until messages can be found in it again.
func (o *observer) lose(d *direction) {
	d.lost, d.turned = true, false
	o.identity = someIdentity // the lost bytes may include a bind
	if o.bind.open {
		o.bind = bind{}
	}
}

// refuse stops reading a direction that is not LDAP. It ends the flow if no message was
// read.
func (o *observer) refuse(d *direction, in *observe.Input) (int, error) {
	if !o.seen {
		return 0, observe.ErrViolation
	}
	o.lose(d)
	return len(in.Data), nil
}

// buffer reads a SASL buffer and reports whether m is one.
func (o *observer) buffer(d *direction, m *message, dir observe.Direction, r *observe.Report) bool {
	p := protection(m.body, m.size-4, o.digest)
	if p == "" {
		return false
	}
	o.seen, o.identity = true, someIdentity
	if !d.wraps {
		// Only the first buffer certainly begins with a message. The bind may be unseen,
		// but the token identifies the mechanism.
		d.wraps = true
		r.Add(observe.Encryption, p)
		if !o.digest {
			r.Add(observe.Auth, wrapper(m.body))
		}
	}
	if p == signed && dir == observe.ToServer {
		var inner message
		if inner.look(unwrap(m.body), false); inner.kind == plain && inner.op == opSearch {
			o.search(inner.body, r)
		}
	}
	return true
}

// wanted returns the number of bytes of a SASL buffer to read.
func (o *observer) wanted(m *message, dir observe.Direction) int {
	// The searches of clients are readable if they are only signed.
	if dir == observe.ToServer && protection(m.body, m.size-4, o.digest) == signed {
		return maxRequest
	}
	return 4 + maxWrap
}

// operation reads one operation. It returns true if TLS begins after it.
func (o *observer) operation(m *message, r *observe.Report) bool {
	switch m.op {
	case opBind:
		o.bindRequest(m, r)
	case opBindResponse:
		o.bindResponse(m, r)
	case opSearch:
		if data := o.search(m.body, r); data {
			o.inClear(r)
		}
	case opEntry:
		if o.nRoots < maxRoots || o.nEntries < maxEntries {
			o.entry(m.body, r)
		}
		if o.clear && (o.anonymous || o.identity != noIdentity) {
			break // the result is already reported
		}
		if _, _, n, err := der.Header(m.body); err == nil && n > 0 {
			o.inClear(r)
			if o.identity == noIdentity {
				o.anonymous = true
				r.Add(observe.Auth, "anonymous")
			}
		}
	case opModify, opAdd, opDelete, opModifyDN, opCompare:
		o.inClear(r)
	case opExtended:
		if name, _, ok := der.Open(m.body, 0x80); ok && string(name) == oidStartTLS {
			o.askedTLS, o.tlsID = true, m.id
		}
	case opExtendedReply:
		if !o.askedTLS || m.id != o.tlsID {
			break
		}
		o.askedTLS = false
		if code, _, ok := der.Int(m.body); ok && code == success {
			r.Add(TLS, "starttls")
			return true
		}
		r.Add(TLS, "refused")
	}
	return false
}

// inClear reports, once, that data are not encrypted.
func (o *observer) inClear(r *observe.Report) {
	if !o.clear {
		o.clear = true
		r.Add(observe.Encryption, "none")
	}
}

// bindRequest reads a BindRequest (RFC 4511 section 4.2).
func (o *observer) bindRequest(m *message, r *observe.Report) {
	last := o.bind
	o.bind = bind{id: m.id, open: true}
	_, b, ok := der.Int(m.body) // version
	if !ok {
		return
	}
	name, b, ok := der.Next(b)
	if !ok || name.Tag != der.OctetString {
		return
	}
	how, _, ok := der.Next(b)
	if !ok {
		return
	}
	switch how.Tag {
	case 0x80: // simple
		o.bind.auth = "anonymous"
		switch {
		case how.Len > 0:
			// The password was sent in clear, whether or not the server accepted it.
			r.Add(Bind, "simple")
			r.Add(observe.Encryption, "none")
			o.bind.auth = "simple"
		case name.Len > 0:
			r.Add(Bind, "unauthenticated")
		default:
			r.Add(Bind, "anonymous")
		}
	case der.Context(3):
		mech, rest, ok := der.Open(how.Body, der.OctetString)
		if !ok {
			return
		}
		var label string
		label, o.bind.auth = mechanism(mech)
		r.Add(Bind, label)
		if o.bind.auth != "negotiate" {
			return
		}
		o.bind.sasl = true
		if last.open && last.sasl {
			o.bind.ctx = last.ctx // the next step of the bind
		}
		if token, _, ok := der.Open(rest, der.OctetString); ok {
			o.bind.ctx.Add(token, false, r)
		}
		if label == "sasl:GSSAPI" && o.bind.ctx.Mechanism == "" {
			o.bind.ctx.Mechanism = spnego.Kerberos // RFC 4752 section 3
		}
	case 0x89, 0x8a, 0x8b: // sicilyPackageDiscovery, sicilyNegotiate, sicilyResponse
		r.Add(Bind, "sicily")
		o.bind.sasl = true
		o.bind.ctx.Add(how.Body, false, r)
		if how.Tag == 0x8b {
			o.bind.auth = "ntlm"
		}
	}
}

// mechanism returns the fact for a SASL mechanism (IANA "SASL Mechanisms") and its value
// of observe.Auth.
func mechanism(b []byte) (label, auth string) {
	switch string(bytes.ToUpper(b[:min(len(b), 20)])) { // RFC 4422 section 3.1
	case "GSS-SPNEGO":
		return "sasl:GSS-SPNEGO", "negotiate"
	case "GSSAPI":
		return "sasl:GSSAPI", "negotiate"
	case "DIGEST-MD5":
		return "sasl:DIGEST-MD5", "digest"
	case "EXTERNAL":
		return "sasl:EXTERNAL", "external"
	case "PLAIN":
		return "sasl:PLAIN", "plain"
	case "CRAM-MD5":
		return "sasl:CRAM-MD5", "cram-md5"
	case "NTLM":
		return "sasl:NTLM", "ntlm"
	}
	return "sasl:other", "other"
}

// Result codes (RFC 4511 section 4.1.9).
const (
	success        = 0
	bindInProgress = 14
)

// bindResponse reads a BindResponse (RFC 4511 section 4.2.2).
func (o *observer) bindResponse(m *message, r *observe.Report) {
	if !o.bind.open || o.bind.id != m.id {
		o.identity = someIdentity // its request was not seen
		return
	}
	code, b, ok := der.Int(m.body)
	if !ok {
		return
	}
	for o.bind.sasl {
		var e der.Element
		if e, b, ok = der.Next(b); !ok {
			break
		}
		// serverSaslCreds. Sicily puts its challenge in the place of the matched name.
		if e.Tag == 0x87 || e.Tag == der.OctetString && ntlm.Is(e.Body) {
			o.bind.ctx.Add(e.Body, true, r)
		}
	}
	if code == bindInProgress {
		return
	}
	auth := o.bind.auth
	if auth == "negotiate" && o.bind.ctx.Mechanism != "" {
		auth = string(o.bind.ctx.Mechanism)
	}
	o.bind = bind{}
	switch {
	case code != success:
		r.Add(Error, result(code))
		o.identity = noIdentity
	case auth == "anonymous":
		// Reported when the client does more than read the root DSE.
		o.identity = noIdentity
	default:
		o.identity = someIdentity
		o.digest = auth == "digest"
		r.Add(observe.Auth, auth)
	}
}

func result(code int64) string {
	switch code {
	case 1:
		return "operationsError"
	case 2:
		return "protocolError"
	case 7:
		return "authMethodNotSupported"
	case 8:
		return "strongerAuthRequired"
	case 10:
		return "referral"
	case 13:
		return "confidentialityRequired"
	case 32:
		return "noSuchObject"
	case 34:
		return "invalidDNSyntax"
	case 48:
		return "inappropriateAuthentication"
	case 49:
		return "invalidCredentials"
	case 50:
		return "insufficientAccessRights"
	case 51:
		return "busy"
	case 52:
		return "unavailable"
	case 53:
		return "unwillingToPerform"
	}
	return "other"
}
