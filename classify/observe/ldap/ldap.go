// Package ldap reads LDAP over TCP (RFC 4511) and CLDAP over UDP ([MS-ADTS]
// section 6.3): how clients authenticate, what protects the connection
// afterwards, and which naming contexts they search. Contents of entries and
// filters are passed over.
package ldap

import (
	"bytes"
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
	"github.com/exspan/exspan/classify/observe/ntlm"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// Facts of this protocol.
const (
	// Bind is how the client bound, accepted or not: "simple", "anonymous",
	// "unauthenticated" (a name without a password), "sicily" ([MS-ADTS] section
	// 5.1.1.1.3), or "sasl:" with the mechanism.
	Bind = "ldap.bind"
	// Base is the naming context that a client searched, or the container of
	// Exchange's configuration in it:
	// "CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=example,DC=com".
	Base = "ldap.base"
	// DN holds the whole names of search bases; with Report.Identities only.
	DN = "ldap.dn"
	// Entry is the naming context, in the form of Base, of the first entries that
	// the server returned. It holds what a server has, Base what a client asks for.
	Entry = "ldap.entry"
	// Capability holds what the server's root DSE says it is ([MS-ADTS] section
	// 3.1.1.3.4.3): "active-directory", "ad-lds".
	Capability = "ldap.capability"
	// GlobalCatalog is "ready" where the root DSE has isGlobalCatalogReady TRUE
	// ([MS-ADTS] section 3.1.1.3.2.27).
	GlobalCatalog = "ldap.global_catalog"
	// Netlogon holds what the answer to an LDAP ping says the server is ([MS-ADTS]
	// sections 6.3.1.2 and 6.3.1.9): "pdc", "gc", "ldap", "ds", "kdc".
	Netlogon = "ldap.netlogon"
	// Error is the result of a bind that failed (RFC 4511 section 4.1.9).
	Error = "ldap.error"
	// TLS is "starttls" where StartTLS was taken, "refused" where it was not.
	TLS = "ldap.tls"
	// CLDAP is what a datagram asked for: "netlogon" ([MS-ADTS] section 6.3.3) or
	// "rootdse".
	CLDAP = "ldap.cldap"
)

// Limits.
const (
	maxMessage  = 64 << 20 // bytes of one message
	maxBuffer   = 16 << 20 // bytes of one SASL buffer
	maxToken    = 8 << 10  // bytes that are waited for and read of a bind
	maxRequest  = 4 << 10  // likewise of a search
	maxExtended = 256      // likewise of an extended request
	maxWrap     = 64       // likewise of a SASL buffer
	minOp       = 24       // likewise of others: headers and the first field's
	maxRoot     = 8 << 10  // likewise of an entry of the root DSE
	maxRoots    = 2        // entries of the root DSE that are read
	maxEntries  = 2        // entries whose names are read
	maxBases    = 16       // search bases that become facts
	maxBase     = 1024     // bytes of a search base that is read
)

// Operations (RFC 4511 section 4.2 on).
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

// kind is what bytes can begin with.
type kind uint8

const (
	neither kind = iota
	tooShort
	plain   // an LDAPMessage
	wrapped // a SASL buffer
)

// message is the beginning of a message or a SASL buffer.
type message struct {
	kind kind
	op   byte
	size int // bytes in all
	at   int // where the body begins
	id   int64
	body []byte // what there is of the operation's content, or of the buffer's
}

// look sets m to what b begins with: an LDAPMessage, or a SASL buffer if sasl is
// set. It sets kind alone if that is neither.
func (m *message) look(b []byte, sasl bool) {
	if !m.windows(b) {
		m.lookAny(b, sasl)
	}
}

// lookAny is look for messages with lengths of any form.
func (m *message) lookAny(b []byte, sasl bool) {
	m.kind = tooShort
	if len(b) == 0 {
		return
	}
	if b[0] == 0 && sasl {
		if len(b) < 4 {
			return
		}
		size := int(binary.BigEndian.Uint32(b))
		if size < 16 || size > maxBuffer {
			m.kind = neither
			return
		}
		head := min(size, maxWrap)
		if len(b) < 4+head {
			return
		}
		*m = message{kind: wrapped, size: 4 + size, at: 4, body: b[4 : 4+head]}
		return
	}
	if b[0] != der.Sequence {
		m.kind = neither
		return
	}
	_, at, length, err := der.Header(b)
	if err == der.ErrForm || length > maxMessage {
		m.kind = neither
		return
	}
	if err != nil {
		return
	}
	size := at + length
	// What is not all there is too short, and what is all there and yet too short
	// is no message.
	short := tooShort
	if len(b) >= size {
		b, short = b[:size], neither
	}
	m.kind = neither
	if len(b) < at+2 {
		m.kind = short
		return
	}
	n := int(b[at+1])
	if b[at] != der.Integer || n < 1 || n > 4 {
		return
	}
	if len(b) < at+2+n+1 {
		m.kind = short
		return
	}
	id := int64(int8(b[at+2]))
	for _, c := range b[at+3 : at+2+n] {
		id = id<<8 | int64(c)
	}
	at += 2 + n
	is := &ops[b[at]]
	if id < 0 || is.wanted == 0 {
		return
	}
	op, head, n, err := der.Header(b[at:])
	if err == der.ErrShort {
		m.kind = short
		return
	}
	at += head
	if err != nil || at+n > size {
		return
	}
	body := b[at:min(len(b), at+n)]
	if is.first != 0 {
		if len(body) == 0 && n > 0 {
			m.kind = short
			return
		}
		if n == 0 || body[0] != is.first {
			return
		}
	}
	m.kind, m.op, m.size, m.at, m.id, m.body = plain, op, size, at, id, body
}

// windows is look for what nearly all messages are: those of Windows, which
// writes lengths in four octets. It reports whether b begins with one.
func (m *message) windows(b []byte) bool {
	if len(b) < 2*der.MaxHeader+2+4+1 || binary.BigEndian.Uint16(b) != der.Sequence<<8|0x84 || b[6] != der.Integer || b[7]-1 >= 4 || b[8] >= 0x80 {
		return false
	}
	id := binary.BigEndian.Uint32(b[8:]) >> (32 - 8*b[7])
	at := 8 + int(b[7])
	op := b[at]
	size, n := 6+int(binary.BigEndian.Uint32(b[2:])), int(binary.BigEndian.Uint32(b[at+2:]))
	if b[at+1] != 0x84 || size > maxMessage {
		return false
	}
	at += 6
	is := &ops[op]
	if is.wanted == 0 || n == 0 || n > size-at || is.first != 0 && b[at] != is.first {
		return false
	}
	m.kind, m.op, m.size, m.at, m.id, m.body = plain, op, size, at, int64(id), b[at:min(len(b), at+n)]
	return true
}

// operation describes an operation.
type operation struct {
	wanted  uint16 // bytes of a message that are read; 0 for what is none
	request bool   // it is one of a client
	first   byte   // the first octet of its content, where that is always the same
}

var ops = [256]operation{
	opBind:         {maxToken, true, der.Integer}, // version
	opBindResponse: {maxToken, false, der.Enumerated},
	opUnbind:       {minOp, true, 0},
	opSearch:       {maxRequest, true, der.OctetString}, // base
	opEntry:        {minOp, false, der.OctetString},     // name
	opSearchDone:   {minOp, false, der.Enumerated},
	opModify:       {minOp, true, der.OctetString},
	opModify + 1:   {minOp, false, der.Enumerated},
	opAdd:          {minOp, true, der.OctetString},
	opAdd + 1:      {minOp, false, der.Enumerated},
	opDelete:       {minOp, true, 0},
	0x6b:           {minOp, false, der.Enumerated},
	opModifyDN:     {minOp, true, der.OctetString},
	opModifyDN + 1: {minOp, false, der.Enumerated},
	opCompare:      {minOp, true, der.OctetString},
	opCompare + 1:  {minOp, false, der.Enumerated},
	opAbandon:      {minOp, true, 0},
	opReference:    {minOp, false, der.OctetString},
	opExtended:     {maxExtended, true, 0x80}, // requestName [0]
	// All of it: TLS can begin behind it.
	opExtendedReply: {maxRequest, false, der.Enumerated},
	opIntermediate:  {minOp, false, 0},
}

// request reports whether op is one of a client.
func request(op byte) bool { return ops[op].request }

func detect(f *observe.First) observe.Match {
	b := f.ToServer
	if len(b) == 0 {
		b = f.ToClient
	}
	var m message
	m.look(b, f.OnPort && !f.Datagram)
	switch {
	case f.Datagram:
		// Searches and their results, of which the snap length can take the end.
		if m.kind == plain && fills(&m, b) && (m.op == opSearch || m.op == opEntry || m.op == opSearchDone || m.op == opAbandon) {
			return observe.Yes
		}
	case m.kind == tooShort:
		return observe.More
	case m.kind == plain, m.kind == wrapped && protection(m.body, m.size-4, false) != "":
		return observe.Yes
	}
	return observe.No
}

// observer reads one flow. The fields that most messages need come first.
type observer struct {
	dirs [2]direction
	seen bool // a message was read
	who  who
	// clear reports that encryption "none" was reported, anonymous that auth
	// "anonymous" was.
	clear, anonymous bool
	askedTLS         bool             // the answer to StartTLS request tlsID is awaited
	digest           bool             // DIGEST-MD5 was bound with, whose buffers have no header
	nBases           uint8            // of bases
	nRoots, nEntries uint8            // entries read of the root DSE, and others
	bases            [maxBases]uint64 // hashes of the bases read

	tlsID int64
	bind  bind
}

// direction is the state of one direction.
type direction struct {
	lost bool // bytes are missing
	// turned is set by a gap and when the other direction speaks: only then can
	// the next bytes of a lost direction be the beginning of a message.
	turned bool
	// wraps is set once a SASL buffer was read.
	wraps bool
}

// who is what is known of the identity that performs operations.
type who uint8

const (
	unsaid   who = iota // nothing was read yet
	nobody              // no bind, an anonymous or a failed one (RFC 4511 section 4.2.1)
	somebody            // or not known
)

// bind is a bind that waits for its answer.
type bind struct {
	open bool
	id   int64
	auth string // what it becomes once accepted; "negotiate" is left to ctx
	sasl bool   // tokens are read
	ctx  spnego.Context
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Datagram {
		return len(in.Data), o.datagram(in, r)
	}
	if o.who == unsaid {
		o.who = somebody
		if in.Handshake {
			o.who = nobody
		}
	}
	d, other := &o.dirs[in.Dir&1], &o.dirs[in.Dir&1^1]
	if in.Gap > 0 {
		o.lose(d)
		d.turned = true
		return 0, nil
	}
	other.turned = true
	var m message
	if d.lost {
		if !d.turned {
			return len(in.Data), nil
		}
		m.look(in.Data, true)
		if m.kind == tooShort {
			return 0, nil
		}
		if m.kind == neither || m.kind == wrapped && protection(m.body, m.size-4, o.digest) == "" {
			d.turned = false
			return len(in.Data), nil
		}
		d.lost = false
	}
	pos := 0
	for pos < len(in.Data) {
		b := in.Data[pos:]
		if o.askedTLS && b[0] == 0x16 && in.Dir == observe.ToServer {
			// A TLS handshake, which begins once the server agreed.
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
		// No more than what is waited for: else it would depend on the cuts.
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

// lose gives up a direction until messages can be found again in it.
func (o *observer) lose(d *direction) {
	d.lost, d.turned = true, false
	o.who = somebody // what was lost may have been a bind
	if o.bind.open {
		o.bind = bind{}
	}
}

// refuse gives up a direction that is not LDAP, and the flow if nothing of it
// was.
func (o *observer) refuse(d *direction, in *observe.Input) (int, error) {
	if !o.seen {
		return 0, observe.ErrViolation
	}
	o.lose(d)
	return len(in.Data), nil
}

// buffer reads a SASL buffer, and reports whether it is one.
func (o *observer) buffer(d *direction, m *message, dir observe.Direction, r *observe.Report) bool {
	p := protection(m.body, m.size-4, o.digest)
	if p == "" {
		return false
	}
	o.seen, o.who = true, somebody
	if !d.wraps {
		// Only the first buffer surely begins with a message. The bind may not have
		// been seen, but the token tells the mechanism.
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

// wanted is how many bytes of a SASL buffer are read.
func (o *observer) wanted(m *message, dir observe.Direction) int {
	// What clients search can be read where it is only signed.
	if dir == observe.ToServer && protection(m.body, m.size-4, o.digest) == signed {
		return maxRequest
	}
	return 4 + maxWrap
}

// operation reads one operation; it returns true when TLS begins behind it.
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
		if o.clear && (o.anonymous || o.who != nobody) {
			break // what it would say is said
		}
		if _, _, n, err := der.Header(m.body); err == nil && n > 0 {
			o.inClear(r)
			if o.who == nobody {
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

// inClear reports once that data are not encrypted.
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
			// The password was sent in clear, accepted or not.
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
			o.bind.ctx = last.ctx // the next leg
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

// mechanism returns the fact for a SASL mechanism (IANA "SASL Mechanisms") and
// what it is as observe.Auth.
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
		o.who = somebody // whose request was not seen
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
		// serverSaslCreds; Sicily puts its challenge in the place of the matched name.
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
		o.who = nobody
	case auth == "anonymous":
		// Reported once it was used for more than to look around.
		o.who = nobody
	default:
		o.who = somebody
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

// search reads a SearchRequest (RFC 4511 section 4.5.1) up to its scope and
// reports whether it asks for data: the root DSE is none, it tells what the
// server can do.
func (o *observer) search(b []byte, r *observe.Report) (data bool) {
	tag, head, length, err := der.Header(b)
	if err != nil || tag != der.OctetString {
		return false
	}
	b = b[head:]
	if length == 0 {
		if o.clear {
			return true // it makes no difference
		}
		scope, _, ok := der.Int(b)
		return ok && scope != 0
	}
	if length > maxBase || length > len(b) {
		return true
	}
	base := b[:length]
	h := hash(base)
	for _, known := range o.bases[:o.nBases] {
		if known == h {
			return true
		}
	}
	if o.nBases < maxBases {
		o.bases[o.nBases] = h
		o.nBases++
		r.Add(Base, namingContext(string(base)))
		if r.Identities {
			r.Add(DN, string(base))
		}
	}
	return true
}

// hash tells the bases of one flow apart.
func hash(b []byte) uint64 {
	h := uint64(len(b))
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ binary.LittleEndian.Uint64(b)) * 0x9e3779b97f4a7c15
		h ^= h >> 32
	}
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x9e3779b97f4a7c15
	}
	return h
}

// fills reports whether b holds the message m, which can be cut short, and
// nothing else but one more: the end of the results, which servers send along.
func fills(m *message, b []byte) bool {
	if m.size >= len(b) {
		return true
	}
	var next message
	next.look(b[m.size:], false)
	return next.kind == plain && next.size >= len(b)-m.size
}

// datagram reads a CLDAP message.
func (o *observer) datagram(in *observe.Input, r *observe.Report) error {
	var m message
	m.look(in.Data, false)
	switch {
	case m.kind != plain || !fills(&m, in.Data) || m.size > len(in.Data) && !in.Cut:
		if o.seen || in.Cut {
			return nil
		}
		return observe.ErrViolation
	case request(m.op) != (in.Dir == observe.ToServer):
		if o.seen {
			return nil
		}
		return observe.ErrReversed
	}
	o.seen = true
	if m.op == opEntry {
		o.entry(m.body, r)
	}
	if m.op != opSearch {
		return nil
	}
	b := m.body
	// Base, scope, aliases, size limit, time limit, types only, filter; then the
	// attributes.
	for range 7 {
		_, rest, ok := der.Next(b)
		if !ok {
			return nil
		}
		b = rest
	}
	attrs, _, ok := der.Open(b, der.Sequence)
	if !ok {
		return nil
	}
	for len(attrs) > 0 {
		var e der.Element
		if e, attrs, ok = der.Next(attrs); !ok {
			break
		}
		if bytes.EqualFold(e.Body, []byte("netlogon")) {
			r.Add(CLDAP, "netlogon")
			return nil
		}
	}
	r.Add(CLDAP, "rootdse")
	return nil
}
