package http

import (
	"bytes"
	"slices"
	"unsafe"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dcerpc"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// requestLine reads a request line (RFC 9112 section 3). If the line was cut, its version
// is unknown.
func (o *observer) requestLine(line []byte, cut bool, r *observe.Report) bool {
	o.req = request{place: -1}
	if !cut {
		var ok bool
		full := line
		if line, ok = version(line); !ok {
			if o.asked > 0 || !bytes.HasPrefix(full, []byte("GET ")) || !oldTarget(full[4:]) {
				return false
			}
			line, o.old = full, true
			r.Add(Version, "0.9")
		}
	}
	i := bytes.IndexByte(line, ' ')
	if i <= 0 || i == len(line)-1 {
		return false
	}
	if o.req.method, _ = method(line[:i+1]); o.req.method == noMethod {
		for _, c := range line[:i] {
			if !(c >= 'A' && c <= 'Z' || c == '-' || c == '_') {
				return false
			}
		}
		o.req.method = otherMethod
	}
	o.addValue(r, slotMethod, methods[o.req.method])
	target := line[i+1:]
	if o.req.method == connect {
		o.add(r, slotHost, hostName(target), "")
		return true
	}
	if target[0] != '/' {
		// The absolute form of a target (RFC 9112 section 3.2.2) is for proxies.
		if i := bytes.Index(target[:min(len(target), 8)], []byte("://")); i > 0 {
			o.proxied = true
			target = target[i+3:]
			end := bytes.IndexAny(target, "/?")
			if end < 0 {
				end = len(target)
			}
			o.add(r, slotHost, hostName(target[:end]), "")
			target = target[end:]
		}
	}
	path, query := target, target[len(target):]
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i+1:]
	}
	switch o.req.method {
	case rpcIn, rpcOut:
		o.req.rpc = true
		server, port := rpcTarget(query)
		o.add(r, slotPort, port, "")
		o.add(r, slotRPCServer, server, "")
	}
	// Log-on pages and the health checks of load balancers need no authentication.
	o.req.open = hasPrefix(path, "/owa/auth/") || hasSuffix(path, "/healthcheck.htm")
	if o.req.method == post && (hasSuffix(path, "/auth.owa") || hasSuffix(path, "/owaauth.dll")) {
		o.req.with = form
	}
	switch {
	case len(path) == 0 || path[0] != '/':
	case string(path) == o.last(r, slotPath): // the reported path is the whole path
		o.req.place = o.lastPlace
	default:
		o.path(path, r)
	}
	return true
}

// path reports the part of a request's path that identifies the service.
func (o *observer) path(path []byte, r *observe.Report) {
	p := reduce(path)
	o.req.place, o.req.below = int8(p.place), p.below
	o.lastPlace = o.req.place
	if p.constant != "" {
		o.addValue(r, slotPath, p.constant)
	} else {
		o.add(r, slotPath, p.first, p.tail)
	}
	if r.Identities {
		r.Add(Target, string(path[:min(len(path), observe.MaxFactLength)]))
	}
	if p.place >= 0 && p.below {
		if build := owaBuild(path); build != nil {
			o.req.asset = true
			o.buildSize = uint8(copy(o.build[:], build))
		}
	}
}

// requested is called after the header fields of a request.
func (o *observer) requested(s *side) {
	o.asked++
	q := o.req
	q.number = o.asked
	q.sealed = s.sealed
	if q.rpc {
		o.rpc, s.isRPC = dcerpc.NewPipe(""), true
	}
	switch {
	case !s.coded && s.length <= 0:
	case s.expect:
		s.stage = awaited
	default:
		q.body = !s.coded
		o.bodyBegins(s)
	}
	if len(o.pending) == maxPending {
		// No client pipelines so many requests. Their answers cannot be assigned any
		// more.
		o.gaps = true
		o.pending = slices.Delete(o.pending, 0, 1)
	}
	if o.pending == nil {
		o.pending = o.room[:0] // most clients wait for each answer
	}
	o.pending = append(o.pending, q)
}

// bodyBegins proceeds to the body that the header fields announced.
func (o *observer) bodyBegins(s *side) {
	if s.coded {
		s.stage = size
	} else {
		s.stage, s.remaining = body, s.length
	}
}

// await decides, after Expect: 100-continue, whether b is the body or the next request: a
// client that already got its answer omits the body (RFC 9110 section 10.1.1). It returns
// false if it needs more bytes.
func (o *observer) await(s *side, b []byte) bool {
	if o.done >= o.asked {
		switch beginsRequest(b, false) {
		case observe.More:
			return false
		case observe.Yes:
			s.stage = start
			return true
		}
	}
	if o.bodyBegins(s); !s.coded {
		o.hasBody()
	}
	return true
}

// hasBody records that the last request has a body.
func (o *observer) hasBody() {
	if n := len(o.pending); n > 0 && o.pending[n-1].number == o.asked {
		o.pending[n-1].body = true
	}
}

// content is called at the first byte of a body.
func (o *observer) content(s *side, r *observe.Report) {
	if s == &o.sides[observe.ToServer] {
		o.hasBody()
	} else if s.clear {
		o.addValue(r, slotEncryption, "none")
	}
}

// endAnswer is called after the header fields of an answer.
func (o *observer) endAnswer(s *side, r *observe.Report) error {
	a := o.res
	if a.code < 200 && a.code != 101 {
		return nil // the final answer follows (RFC 9110 section 15.2)
	}
	var q request
	known := len(o.pending) > 0
	if known {
		q = o.pending[0]
		o.pending = o.pending[:copy(o.pending, o.pending[1:])]
		o.done = q.number
	}
	if a != o.reported {
		o.addValue(r, slotStatus, statusName(int(a.code)))
		switch {
		case a.fields&(fieldFrontEnd|fieldTarget) != 0:
			o.addValue(r, slotRole, "frontend")
		case a.fields&fieldBackEnd != 0:
			o.addValue(r, slotRole, "backend")
		}
		for i, name := range answerFields {
			if a.fields&^o.reported.fields&(1<<i) != 0 {
				r.Add(Header, name)
			}
		}
		if r.Len() < observe.MaxFactValues { // otherwise every repetition counts as dropped
			o.reported = a
		}
	}
	if a.fields&(fieldActiveSync|fieldZPush) == fieldActiveSync {
		o.number(slotSync, o.sync[:o.syncSize], r)
	}
	ok := a.code/100 == 2
	if known {
		o.join(&q, a.code, r)
	}
	if a.code == 101 {
		return observe.ErrDone // another protocol
	}
	if q.method == connect && ok {
		o.tunnel = true
		return nil
	}
	if a.code/100 == 3 && a.https {
		r.Add(Redirect, "https")
	}
	if known && (a.code/100 != 3 || !a.https || q.with == form) {
		o.authenticated(q, a.code, r)
		if q.with.readable() || q.body && ok && !q.sealed && !q.rpc {
			o.addValue(r, slotEncryption, "none")
		}
	}
	if s.sealed || q.sealed && ok {
		o.addValue(r, slotEncryption, MessageSealed)
	}
	// The rest depends on the request, which may be unknown.
	switch {
	case q.method == head, a.code == 204, a.code == 304:
		return nil
	case !known && o.sides[observe.ToServer].began:
		o.lose(s)
		return nil
	}
	s.clear = ok && !s.sealed && !s.rpcType
	s.isRPC = ok && q.method == rpcOut
	switch {
	case s.coded:
		s.stage = size
	case s.length > 0:
		s.stage, s.remaining = body, s.length
		o.content(s, r)
	case s.length < 0:
		s.stage = toClose
	}
	return nil
}

// join reports the status with which a request for a known path was answered.
func (o *observer) join(q *request, code int16, r *observe.Report) {
	if q.asset && (code == 200 || code == 304) && !o.proxied {
		o.number(slotOWABuild, o.build[:o.buildSize], r)
	}
	j := joined{code, q.place, q.below, true}
	if q.place < 0 || j == o.joined || o.proxied {
		return
	}
	o.joined = j
	name := statusName(int(code))
	if name == "" {
		return
	}
	k := &known[q.place]
	var room [96]byte
	value := append(append(room[:0], name...), ' ')
	if q.below {
		value = append(value, k.below...)
	} else {
		value = append(value, k.exact...)
	}
	o.add(r, slotAnswer, value, "")
}

// authenticated reports the authentication with which a request was accepted.
func (o *observer) authenticated(q request, code int16, r *observe.Report) {
	switch code {
	case 400, 401, 403, 407, 408, 411, 413, 414, 417, 421, 426, 429, 431, 502, 503, 504:
		return // not accepted, or rejected before authentication
	}
	switch q.with {
	case basic, digest, bearer, form:
		o.addValue(r, slotAuth, q.with.name())
	case formCookie:
		if code/100 == 2 {
			o.addValue(r, slotAuth, "forms")
		}
	case ntlmOnly:
		o.authed = true
		o.addValue(r, slotAuth, "ntlm")
	case negotiate:
		o.authed = true
		m := o.auth.Mechanism
		if m == "" {
			m = spnego.Negotiate
		}
		o.addValue(r, slotAuth, string(m))
	case otherCredentials:
		o.authed = true
	case noCredentials:
		// The absence of credentials is certain only if the connection was seen from its
		// beginning.
		if code/100 == 2 && !o.gaps && !o.authed && !q.open && q.method != options {
			o.addValue(r, slotAuth, "anonymous")
		}
	}
}

// skipBody skips the counted bytes of a body or chunk.
func (o *observer) skipBody(s *side, in *observe.Input, b []byte, r *observe.Report) int {
	n := int(min(s.remaining, maxSkip))
	if s.isRPC && o.rpc != nil {
		n = min(n, len(b))
		o.hand(in, b[:n], r)
	}
	s.remaining -= int64(n)
	if s.isRPC && s == &o.sides[observe.ToServer] {
		o.channelOpen(s, r)
	}
	o.ended(s)
	return n
}

// ended proceeds after the end of a body or chunk.
func (o *observer) ended(s *side) {
	if s.remaining > 0 {
		return
	}
	if s.stage == body {
		s.stage = start
	} else {
		s.stage = chunked
	}
}

// channelOpen reports the authentication of an IN channel of RPC over HTTP. The server
// answers the channel's request only when the channel ends. A client that sends more on
// the channel than the request that opens it (CONN/B1, 104 bytes) knows from the OUT
// channel that both are open ([MS-RPCH] sections 2.2.4.5 and 3.2.2.4.1.4).
func (o *observer) channelOpen(s *side, r *observe.Report) {
	const connB1 = 104
	n := len(o.pending)
	if n == 0 || s.length-s.remaining <= connB1 {
		return
	}
	if q := &o.pending[n-1]; q.method == rpcIn && q.number == o.asked {
		o.authenticated(*q, 200, r)
		if q.with.readable() {
			o.addValue(r, slotEncryption, "none")
		}
	}
}

// hand passes a part of a body to package dcerpc.
func (o *observer) hand(in *observe.Input, b []byte, r *observe.Report) {
	sub := *in
	sub.Data = b
	_ = o.rpc.Write(&sub, r) // after an error it reads no more
}

// Finish reports what dcerpc knows only at the end, and credentials that were sent in
// clear to a server whose packets the capture lacks.
func (o *observer) Finish(r *observe.Report) {
	if o.rpc != nil {
		o.rpc.Finish(r)
	}
	if o.heard {
		return
	}
	for i := range o.pending {
		q := &o.pending[i]
		if name := q.with.name(); q.with.readable() && !q.rpc { // an IN channel is not answered while it is open
			if !r.Has(observe.Auth, name) {
				o.guessed = name
			}
			r.Add(observe.Auth, name)
			r.Add(observe.Encryption, "none")
			return
		}
	}
}

// Held implements observe.Holder.
func (o *observer) Held() int {
	n := 0
	if cap(o.pending) > len(o.room) {
		n = cap(o.pending) * int(unsafe.Sizeof(request{}))
	}
	if o.rpc != nil {
		n += o.rpc.Held()
	}
	return n
}

// hear records that the server's packets are seen. Its answers show what it accepted.
func (o *observer) hear(r *observe.Report) {
	o.heard = true
	if o.guessed != "" {
		r.Remove(observe.Auth, o.guessed)
		o.guessed = ""
	}
}

// decimal parses a number of at most 18 digits.
func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// chunkSize parses the size of a chunk, of at most 15 hexadecimal digits.
func chunkSize(line []byte) (n int64, ok bool) {
	for i, c := range line {
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		case c == ';' || c == ' ' || c == '\t':
			return n, i > 0
		default:
			return 0, false
		}
		if i == 15 {
			return 0, false
		}
		n = n<<4 | int64(d)
	}
	return n, len(line) > 0
}
