// Package sip observes SIP (RFC 3261) over UDP and TCP: requests and responses, the
// beginning and end of calls, the targets of redirections, and the media that session
// descriptions announce.
//
// Exchange Unified Messaging answers an INVITE on port 5060 with 302 and the port of a
// worker process. That port is learned like a port from an endpoint mapper.
package sip

import (
	"bytes"
	"hash/fnv"
	"slices"

	"github.com/exspan/exspan/classify/observe"
)

// Facts of this protocol.
const (
	Method    = "sip.method"     // of requests: INVITE, BYE ...; "other" for unknown ones
	Status    = "sip.status"     // of responses: 200, 302 ...
	Server    = "sip.server"     // product of the server
	UserAgent = "sip.user_agent" // product of the client
	Call      = "sip.call"       // result of an INVITE of the client: accepted, redirected, refused
	Redirect  = "sip.redirect"   // ports to which the server redirected an INVITE: "5065"
	SDPCodec  = "sdp.codec"      // codecs in descriptions: PCMU/8000 ...
	SDPMedia  = "sdp.media"      // media types in descriptions: audio, image ...
	Violation = "sip.violation"  // violations of the protocol: framing, content-length, header, header-size, sdp-limit
)

// Limits of one flow.
const (
	maxLine     = 4 << 10  // start line
	maxHeader   = 16 << 10 // start line and headers
	maxWindow   = 16 << 10 // maximum wait for a message, headers included
	maxSearch   = 64 << 10 // bytes searched for a first message
	maxDialogs  = 512      // calls tracked at a time
	maxHeld     = 64 << 10 // bytes that the calls occupy
	maxForks    = 8        // dialogs of one call
	maxTargets  = 4        // targets of one redirection
	maxValues   = 20       // statuses and codecs reported
	maxProducts = 4        // products reported per side
	maxID       = 255      // bytes of a Call-ID
	maxTag      = 128      // bytes of a tag
)

// mediaIdle is the time after which an unused announced endpoint expires.
const mediaIdle = int64(3600e9)

// Protocol returns the description of SIP. The ports are those of Unified
// Messaging, its workers and instant messaging. SIP is detected on other ports, too.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name:   "sip",
		TCP:    []uint16{5060, 5062, 5065, 5067, 5061, 5063, 5066, 5068, 5075, 5076, 5077},
		UDP:    []uint16{5060},
		Detect: detect,
		Stream: true, Datagram: true, Text: true, Begins: "ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n",
		New:   func() observe.Observer { return &observer{} },
		Renew: func(o observe.Observer) { *o.(*observer) = observer{} },
	}
}

// observer reads one flow.
type observer struct {
	begun   bool // the first call was made
	started bool // a message was read
	clear   bool // encryption "none" was reported
	// versioned reports that a build number was reported.
	versioned bool
	methods   uint32
	codes     [11]uint64 // statuses reported, one bit each
	searched  int        // bytes discarded before the first message
	dirs      [2]side
	dialogs   map[string]*dialog
	order     []*dialog
	held      int        // bytes that the dialogs occupy
	bare      [16]uint64 // hashes of the last requests without credentials
	bareNext  int
}

// side is the state of one direction of a stream.
type side struct {
	resync   bool // search for a start line
	skipLine bool // in a line that is too long to be a start line
	lineOK   bool // the start line of the current message is valid
	scanned  int  // bytes of the current message that were searched for its end
	window   int  // bytes of it to wait for; 0 if unknown
	total    int  // its length including the body
	end      int  // length of its headers
}

// dialog is the state of a call that is needed to detect its end.
type dialog struct {
	id        string
	cseq      uint32   // of the first INVITE
	confirmed []string // tags of both ends; a forked call has several
	dead      bool
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Datagram {
		return len(in.Data), o.datagram(in, r)
	}
	if !o.begun {
		o.begun = true
		o.dirs[0].resync, o.dirs[1].resync = !in.Handshake, !in.Handshake
	}
	d := &o.dirs[in.Dir]
	if in.Gap > 0 {
		*d = side{resync: true}
		return 0, nil
	}
	used := 0
	for used < len(in.Data) {
		n, more, err := o.next(in, r, d, in.Data[used:])
		if err != nil {
			return 0, err
		}
		used += n
		if !more {
			break
		}
	}
	return used, nil
}

// next reads one message from b, or bytes between messages. It returns the number of
// bytes used and whether to continue with the bytes after them.
func (o *observer) next(in *observe.Input, r *observe.Report, d *side, b []byte) (n int, more bool, err error) {
	if d.skipLine {
		i := bytes.IndexByte(b, '\n')
		d.skipLine = i < 0
		if i < 0 {
			return o.search(len(b))
		}
		return o.search(i + 1)
	}
	if d.scanned == 0 {
		if skip := len(b) - len(bytes.TrimLeft(b, "\r\n")); skip > 0 {
			return skip, true, nil
		}
	}
	var m message
	read := false
	if d.window == 0 {
		w := b[:min(len(b), maxHeader)]
		if !d.lineOK {
			i := bytes.IndexByte(w[min(d.scanned, maxLine):min(len(w), maxLine)], '\n')
			if i < 0 && len(w) < maxLine {
				d.scanned = len(w)
				return 0, false, nil
			}
			i += min(d.scanned, maxLine)
			if i < d.scanned || !m.startLine(bytes.TrimRight(w[:i], "\r")) {
				return o.bad(r, d, b, "framing")
			}
			d.lineOK, d.resync, d.scanned = true, false, i
		}
		d.end = headersEnd(w, d.scanned)
		if d.end < 0 {
			d.scanned = len(w)
			if len(w) < maxHeader {
				return 0, false, nil
			}
			return o.bad(r, d, b, "header-size")
		}
		m.read(w[:d.end])
		read = true
		d.total = d.end + max(m.length, 0)
		d.window = d.end
		if describes(m.contentType) {
			d.window = min(d.total, max(maxWindow, d.end))
		}
	}
	if len(b) < d.window {
		return 0, false, nil
	}
	if !read {
		m.read(b[:d.end])
	}
	body, total, cut := b[d.end:d.window], d.total, d.window < d.total
	*d = side{}
	if err := o.message(in, r, &m, body, cut); err != nil {
		return 0, false, err
	}
	return total, true, nil
}

// bad gives up the current message and searches for the next start line. A flow without
// any valid message is not SIP.
func (o *observer) bad(r *observe.Report, d *side, b []byte, why string) (int, bool, error) {
	resync, tooLong := d.resync, d.lineOK
	if !o.started && !resync {
		return 0, false, observe.ErrViolation
	}
	if !resync {
		r.Add(Violation, why)
	}
	*d = side{resync: true}
	if tooLong {
		d.skipLine = true
		return maxHeader, true, nil
	}
	i := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	if i < 0 {
		d.skipLine = true
		return o.search(maxLine)
	}
	return o.search(i + 1)
}

// search counts the bytes searched for a first message without success.
func (o *observer) search(n int) (int, bool, error) {
	if o.started {
		return n, true, nil
	}
	if o.searched += n; o.searched > maxSearch {
		return 0, false, observe.ErrViolation
	}
	return n, true, nil
}

// describes reports whether a body of this type can hold a session description.
func describes(contentType []byte) bool {
	kind, _, _ := bytes.Cut(contentType, []byte(";"))
	kind = bytes.TrimSpace(kind)
	return bytes.EqualFold(kind, []byte("application/sdp")) || len(kind) > 10 && bytes.EqualFold(kind[:10], []byte("multipart/"))
}

// datagram reads one message (RFC 3261 section 18.3).
func (o *observer) datagram(in *observe.Input, r *observe.Report) error {
	b := in.Data
	if keepAlive(b) || isSTUN(b) {
		return nil
	}
	b = bytes.TrimLeft(b, "\r\n")
	var m message
	begin := lineEnd(b)
	if begin > maxLine || !m.startLine(bytes.TrimRight(b[:begin], "\r\n")) {
		if !o.started {
			return observe.ErrViolation
		}
		r.Add(Violation, "framing")
		return nil
	}
	// If the empty line is missing, because of the snap length or the sender, use the
	// complete lines.
	end, whole := m.headers(b[begin:min(len(b), maxHeader)])
	if !whole && len(b) > maxHeader {
		o.started = true
		r.Add(Violation, "header-size")
		return nil
	}
	body, cut := b[begin+end:], in.Cut
	switch {
	case m.length >= 0 && m.length <= len(body):
		body, cut = body[:m.length], false
	case m.length > len(body) && !cut:
		r.Add(Violation, "content-length")
		cut = true
	}
	return o.message(in, r, &m, body, cut)
}

// isSTUN reports whether b is a STUN message (RFC 8489 section 5). Agents send STUN on
// their SIP port to keep a binding alive.
func isSTUN(b []byte) bool {
	return len(b) >= 20 && b[0] < 4 && string(b[4:8]) == "\x21\x12\xa4\x42"
}

// message reads a complete message.
func (o *observer) message(in *observe.Input, r *observe.Report, m *message, body []byte, cut bool) error {
	if !o.started && in.Datagram && m.request == (in.Dir == observe.ToClient) {
		if client, server := in.Ends(); !isPort(server.Port()) || isPort(client.Port()) {
			return observe.ErrReversed
		}
	}
	o.started = true
	if !o.clear {
		o.clear = true
		r.Add(observe.Encryption, "none")
	}
	method, bit := methodName(m.method)
	if m.request {
		if o.methods&bit == 0 {
			o.methods |= bit
			r.Add(Method, method)
		}
	} else if known := &o.codes[m.code>>6]; *known>>(m.code&63)&1 == 0 {
		*known |= 1 << (m.code & 63)
		code := [3]byte{byte('0' + m.code/100), byte('0' + m.code/10%10), byte('0' + m.code%10)}
		addUpTo(r, Status, code[:], maxValues)
	}
	if m.badLength {
		r.Add(Violation, "content-length")
	}
	if len(m.callID) == 0 || len(m.from) == 0 || len(m.to) == 0 || len(m.method) == 0 || m.noSense {
		r.Add(Violation, "header")
		return nil
	}
	product := UserAgent
	if in.Dir == observe.ToClient {
		product = Server
	}
	addUpTo(r, product, m.product[:min(len(m.product), 80)], maxProducts)
	if product == Server && !o.versioned {
		o.version(m.product, r)
	}
	if in.Dir == observe.ToClient && method == "INVITE" && !m.request {
		outcome(m.code, r)
	}
	o.auth(r, m)
	if len(body) == 0 && (method != "INVITE" || m.code == 100) && method != "BYE" && method != "CANCEL" && method != "REFER" {
		return nil // it does not affect the place or the state of a call
	}

	client, server := in.Ends()
	ev := observe.CallEvent{
		Time: in.Time, Number: in.Number,
		CallID: string(m.callID[:min(len(m.callID), maxID)]), FromTag: clipTag(tag(m.from)), ToTag: clipTag(tag(m.to)),
		Src: client, Dst: server, TCP: !in.Datagram,
		Method: method, CSeq: m.cseq, Code: m.code,
	}
	if in.Dir == observe.ToClient {
		ev.Src, ev.Dst = server, client
	}
	if r.Identities {
		from, to := address(m.from), address(m.to)
		ev.Caller, ev.Callee = printable(from.user[:min(len(from.user), maxID)]), printable(to.user[:min(len(to.user), maxID)])
	}
	if code, _ := word(m.diagnostics); len(code) > 0 {
		code, _, _ = bytes.Cut(code, []byte(";"))
		if _, ok := number(code, 1<<31-1); ok {
			ev.Diagnostic = string(code)
		}
	}
	o.describe(r, m, &ev, body, cut)
	o.redirect(in, r, m, &ev)
	o.follow(r, m, &ev)

	switch {
	case len(ev.Media) > 0:
	case ev.Method == "INVITE" && ev.Code != 100, ev.Method == "BYE" && (ev.Code == 0 || ev.Code >= 200):
	case (ev.Method == "CANCEL" || ev.Method == "REFER") && ev.Code == 0:
	default:
		return nil
	}
	r.Calls = append(r.Calls, ev)
	return nil
}

// version reports the build in the product of Exchange's Unified Messaging:
// "RTCC/5.0.0.0 MSExchangeUM/15.01.2507.017".
func (o *observer) version(product []byte, r *observe.Report) {
	const um = "MSExchangeUM/"
	i := bytes.Index(product, []byte(um))
	if i < 0 {
		return
	}
	o.versioned = true
	build, _, _ := bytes.Cut(product[i+len(um):], []byte{' '})
	r.Add(observe.ExchangeVersion, observe.Build(build))
}

// outcome reports the result of an INVITE of the client. A challenge is not a result.
func outcome(code int, r *observe.Report) {
	switch {
	case code < 200 || code == 401 || code == 407:
	case code < 300:
		r.Add(Call, "accepted")
	case code < 400:
		r.Add(Call, "redirected")
	default:
		r.Add(Call, "refused")
	}
}

// auth reports the credentials of requests, or "none" if a relevant request succeeded
// without any.
func (o *observer) auth(r *observe.Report, m *message) {
	if m.request && len(m.authorization) > 0 {
		scheme, _ := word(m.authorization)
		name := "other"
		for _, s := range [...][2]string{{"Digest", "digest"}, {"NTLM", "ntlm"}, {"Kerberos", "kerberos"}, {"Negotiate", "negotiate"},
			{"TLS-DSK", "certificate"}, {"Basic", "basic"}, {"Bearer", "bearer"}} {
			if bytes.EqualFold(scheme, []byte(s[0])) {
				name = s[1]
			}
		}
		r.Add(observe.Auth, name)
	}
	if string(m.method) != "INVITE" && string(m.method) != "REGISTER" || r.Any(observe.Auth) {
		return
	}
	h := fnv.New64a()
	h.Write(m.callID)
	id := h.Sum64() + uint64(m.cseq)
	switch {
	case m.request:
		o.bare[o.bareNext%len(o.bare)] = id
		o.bareNext++
	case m.code >= 200 && m.code < 400 && slices.Contains(o.bare[:], id):
		r.Add(observe.Auth, "none")
	}
}

// follow tracks the calls of the flow until they end, because the endpoints of a call
// expire with it.
func (o *observer) follow(r *observe.Report, m *message, ev *observe.CallEvent) {
	d := o.dialogs[ev.CallID]
	switch {
	case ev.Method == "INVITE" && ev.Code == 0:
		if d == nil {
			d = o.open(ev.CallID)
		}
		if ev.ToTag == "" {
			d.cseq = ev.CSeq
		}
	case ev.Method == "INVITE" && ev.Code >= 200 && ev.Code < 300:
		if d == nil {
			d = o.open(ev.CallID)
		}
		if k := pair(ev); !slices.Contains(d.confirmed, k) && len(d.confirmed) < maxForks && o.held < maxHeld {
			d.confirmed = append(d.confirmed, k)
			o.held += 16 + len(k)
		}
	case ev.Method == "INVITE" && ev.Code >= 300 && d != nil && len(d.confirmed) == 0 && ev.CSeq == d.cseq:
		// A redirected call continues elsewhere. A challenged call continues here.
		switch {
		case ev.Code == 401 || ev.Code == 407:
		case ev.Code < 400:
			o.close(d)
		default:
			o.close(d)
			r.Learn(observe.Endpoint{End: true, Scope: ev.CallID, From: ev.Src})
		}
	case ev.Method == "BYE" && ev.Code >= 200 && ev.Code != 401 && ev.Code != 407:
		if d != nil {
			if i := slices.Index(d.confirmed, pair(ev)); i >= 0 {
				o.held -= 16 + len(d.confirmed[i])
				d.confirmed = slices.Delete(d.confirmed, i, i+1)
			}
			if len(d.confirmed) > 0 {
				return
			}
			o.close(d)
		}
		r.Learn(observe.Endpoint{End: true, Scope: ev.CallID, From: ev.Src})
	}
}

// pair returns a key for a dialog from the tags of its ends. It is the same for messages
// of either end.
func pair(ev *observe.CallEvent) string {
	return min(ev.FromTag, ev.ToTag) + "|" + max(ev.FromTag, ev.ToTag)
}

// open starts to track a call. Beyond the limits it drops the oldest ones.
func (o *observer) open(id string) *dialog {
	if o.dialogs == nil {
		o.dialogs = map[string]*dialog{}
	}
	d := &dialog{id: id}
	o.held += d.size()
	for i := 0; i < len(o.order) && (o.held > maxHeld || len(o.dialogs) >= maxDialogs); i++ {
		if !o.order[i].dead {
			o.close(o.order[i])
		}
	}
	if len(o.order) >= 2*maxDialogs || len(o.order) > 2*len(o.dialogs)+8 {
		o.order = slices.DeleteFunc(o.order, func(d *dialog) bool { return d.dead })
	}
	o.dialogs[id] = d
	o.order = append(o.order, d)
	return d
}

// close stops tracking a call.
func (o *observer) close(d *dialog) {
	if !d.dead {
		o.held -= d.size()
		d.dead = true
		delete(o.dialogs, d.id)
	}
}

// size returns the approximate memory of a call in bytes, including its entries in the
// map and the list.
func (d *dialog) size() int {
	n := 160 + len(d.id)
	for _, c := range d.confirmed {
		n += 16 + len(c)
	}
	return n
}

// Held implements observe.Holder.
func (o *observer) Held() int { return o.held }

func isPort(p uint16) bool { return p >= 5060 && p <= 5068 }

func clipTag(b []byte) string { return string(b[:min(len(b), maxTag)]) }

// methodName returns b if it is a known method (IANA "SIP Parameters" and [MS-SIPRE]'s
// SERVICE, BENOTIFY and NEGOTIATE), or "other". bit represents the method.
func methodName(b []byte) (name string, bit uint32) {
	for i, m := range &methods {
		if m == string(b) {
			return m, 1 << i
		}
	}
	return "other", 1 << len(methods)
}

var methods = [...]string{"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "REFER", "INFO", "MESSAGE",
	"SUBSCRIBE", "NOTIFY", "PUBLISH", "SERVICE", "BENOTIFY", "NEGOTIATE"}

// addUpTo adds a fact unless the fact already has limit values. Adding a present value
// does not allocate.
func addUpTo(r *observe.Report, name string, value []byte, limit int) {
	n := 0
	for _, f := range r.All() {
		if f.Name == name {
			if f.Value == string(value) {
				return
			}
			n++
		}
	}
	if n < limit {
		r.AddBytes(name, value)
	}
}

// printable returns a part of a URI with invalid characters replaced by "?".
func printable(b []byte) string {
	c := bytes.Clone(b)
	for i := range c {
		if c[i] < 0x21 || c[i] > 0x7e {
			c[i] = '?'
		}
	}
	return string(c)
}
