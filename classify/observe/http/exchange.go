package http

import (
	"bytes"
	"encoding/base64"
	"slices"
	"unsafe"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dcerpc"
	"github.com/exspan/exspan/classify/observe/spnego"
)

// requestLine reads a request line (RFC 9112 section 3). Of a line that was
// cut the version is not known.
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
	o.say(r, slotMethod, methods[o.req.method])
	target := line[i+1:]
	if o.req.method == connect {
		o.add(r, slotHost, hostName(target), "")
		return true
	}
	if target[0] != '/' {
		// The absolute form (RFC 9112 section 3.2.2).
		if i := bytes.Index(target[:min(len(target), 8)], []byte("://")); i > 0 {
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
	// Log-on pages, and what load balancers ask for, are there for everybody.
	o.req.open = hasPrefix(path, "/owa/auth/") || hasSuffix(path, "/healthcheck.htm")
	if o.req.method == post && (hasSuffix(path, "/auth.owa") || hasSuffix(path, "/owaauth.dll")) {
		o.req.with = form
	}
	switch {
	case len(path) == 0 || path[0] != '/':
	case string(path) == o.last(r, slotPath): // nothing was left out of it
		o.req.place = o.lastPlace
	default:
		p := reduce(path)
		o.req.place, o.req.below = int8(p.place), p.below
		o.lastPlace = o.req.place
		if p.constant != "" {
			o.say(r, slotPath, p.constant)
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
	return true
}

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && equalFold(b[:len(s)], s) }

func hasSuffix(b []byte, s string) bool {
	n := len(b) - len(s)
	return n >= 0 && lower(b[n]) == s[0] && equalFold(b[n:], s)
}

// named reports whether a header field has a name, whose first letter was compared.
func named(line []byte, name string) bool {
	n := len(name)
	if len(line) <= n || line[n] != ':' {
		return false
	}
	if string(line[:n]) == name {
		return true
	}
	for i := 1; i < n; i++ {
		if lower(line[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// valueOf returns the value of a header field with a name of n bytes.
func valueOf(line []byte, n int) []byte { return trim(line[n+1:]) }

// trim cuts white space off both ends, of which there is usually one space.
func trim(b []byte) []byte {
	if len(b) > 1 && b[0] == ' ' {
		b = b[1:]
	}
	if n := len(b); n > 0 && b[0] > ' ' && b[0] < 0x7f && b[n-1] > ' ' && b[n-1] < 0x7f {
		return b
	}
	return bytes.TrimSpace(b)
}

// header reads one header field. It skips most fields by their first letter and
// the place of their colon.
func (o *observer) header(s *side, dir observe.Direction, line []byte, r *observe.Report) {
	asks := dir == observe.ToServer
	switch line[0] | 0x20 {
	case 'a':
		if asks && named(line, "Authorization") {
			o.authorization(valueOf(line, len("Authorization")), r)
		}
	case 'c':
		switch {
		case named(line, "Content-Length"):
			n, ok := decimal(valueOf(line, len("Content-Length")))
			s.badBody = s.badBody || !ok || s.length >= 0 && s.length != n
			s.length = n
		case named(line, "Content-Type"):
			value := valueOf(line, len("Content-Type"))
			s.sealed = hasPrefix(value, "multipart/") && bytes.Contains(bytes.ToLower(value), []byte("session-encrypted"))
			s.rpcType = equalFold(value, "application/rpc")
		case asks && o.req.with == noCredentials && named(line, "Cookie"):
			o.req.with = cookie
			// The cookie of forms authentication; its value is not looked at.
			if bytes.Contains(line, []byte("cadata")) {
				o.req.with = formCookie
			}
		}
	case 'e':
		if asks && named(line, "Expect") {
			s.expect = equalFold(valueOf(line, len("Expect")), "100-continue")
		}
	case 'f':
		if asks && named(line, "Forwarded") {
			o.forwarded(forwardedFor(valueOf(line, len("Forwarded"))), r)
		}
	case 'h':
		if asks && named(line, "Host") {
			if value := valueOf(line, len("Host")); string(value) != o.last(r, slotHost) {
				o.add(r, slotHost, hostName(value), "")
			}
		}
	case 'l':
		if !asks && named(line, "Location") {
			o.res.https = hasPrefix(valueOf(line, len("Location")), "https://")
		}
	case 'm':
		if !asks && named(line, "MS-Server-ActiveSync") {
			o.res.fields |= fieldActiveSync
			value := valueOf(line, len("MS-Server-ActiveSync"))
			o.syncSize = uint8(copy(o.sync[:], value))
		}
	case 's':
		if !asks && named(line, "Server") {
			value := valueOf(line, len("Server"))
			o.add(r, slotServer, value[:min(len(value), 64)], "")
		}
	case 't':
		if named(line, "Transfer-Encoding") {
			// Other codings stand before chunked, which is the last (RFC 9112 section 6.1).
			value := valueOf(line, len("Transfer-Encoding"))
			s.coded = string(value) == "chunked" || hasSuffix(value, "chunked")
			s.badBody = s.badBody || !s.coded && !equalFold(value, "identity")
		}
	case 'u':
		if asks && named(line, "User-Agent") {
			value := valueOf(line, len("User-Agent"))
			if !o.agentKept || !isProduct(value, o.last(r, slotAgent)) {
				value = product(value)
				o.add(r, slotAgent, value, "")
				o.agentKept = string(value) == o.last(r, slotAgent)
			}
		}
	case 'w':
		if !asks && named(line, "WWW-Authenticate") {
			o.challenges(valueOf(line, len("WWW-Authenticate")), r)
		}
	case 'x':
		if len(line) < 2 || line[1] != '-' {
			break
		}
		switch {
		case asks:
			if named(line, "X-RequestType") {
				o.say(r, slotType, requestType(valueOf(line, len("X-RequestType"))))
			} else if named(line, "X-Forwarded-For") {
				o.forwarded(forwarded(valueOf(line, len("X-Forwarded-For"))), r)
			}
		case named(line, "X-OWA-Version"):
			o.res.fields |= fieldOWA
			o.number(slotBuild, valueOf(line, len("X-OWA-Version")), r)
		case named(line, "X-ServerApplication"):
			o.res.fields |= fieldApplication
			if value := valueOf(line, len("X-ServerApplication")); hasPrefix(value, "exchange/") {
				o.number(slotBuild, value[len("exchange/"):], r)
			}
		case named(line, "X-FEServer"):
			o.res.fields |= fieldFrontEnd
		case named(line, "X-CalculatedBETarget"):
			o.res.fields |= fieldTarget
		case named(line, "X-BEServer"):
			o.res.fields |= fieldBackEnd
		case named(line, "X-DiagInfo"):
			o.res.fields |= fieldDiagnosis
		case named(line, "X-Z-Push-Version"):
			o.res.fields |= fieldZPush
		}
	}
}

// forwarded reports the address of a client that a proxy speaks for, in node.
func (o *observer) forwarded(node []byte, r *observe.Report) {
	if len(node) == 0 || string(node) == o.last(r, slotForwarded) {
		return
	}
	if a := parseNode(node); a.IsValid() {
		var room [48]byte
		o.add(r, slotForwarded, a.AppendTo(room[:0]), "")
	}
}

// clientID reports the client_id in one part of a Bearer challenge.
func (o *observer) clientID(b []byte, r *observe.Report) {
	var room [36]byte
	o.add(r, slotClientID, appendLower(room[:0], clientID(b)), "")
}

func (o *observer) authorization(value []byte, r *observe.Report) {
	scheme, rest := value, value[len(value):]
	if i := bytes.IndexByte(value, ' '); i >= 0 {
		scheme, rest = value[:i], value[i+1:]
	}
	switch o.req.with = otherCredentials; {
	case equalFold(scheme, "basic"):
		o.req.with = basic
	case equalFold(scheme, "digest"):
		o.req.with = digest
	case equalFold(scheme, "bearer"):
		o.req.with = bearer
	case equalFold(scheme, "negotiate"), equalFold(scheme, "kerberos"):
		o.req.with = negotiate // the latter is Windows remote management's
		o.token(rest, false, r)
	case equalFold(scheme, "ntlm"):
		o.req.with = ntlmOnly
		o.token(rest, false, r)
	}
}

// number reports a build number. Most are the same as the last.
func (o *observer) number(which slot, value []byte, r *observe.Report) {
	if string(value) != o.last(r, which) {
		var room [maxBuild]byte
		o.add(r, which, observe.AppendBuild(room[:0], value), "")
	}
}

// challenges reads a WWW-Authenticate field, which holds one or more
// challenges (RFC 9110 section 11.6.1).
func (o *observer) challenges(value []byte, r *observe.Report) {
	inBearer := false
	for n := 0; len(value) > 0 && n < 16; n++ {
		var one []byte
		one, value = cutList(value)
		scheme, token, _ := bytes.Cut(bytes.TrimSpace(one), []byte{' '})
		switch {
		case bytes.IndexByte(scheme, '=') > 0: // another parameter of the last challenge
			if inBearer {
				o.clientID(one, r)
			}
		case equalFold(scheme, "basic"):
			r.Add(Challenge, "basic")
		case equalFold(scheme, "digest"):
			r.Add(Challenge, "digest")
		case equalFold(scheme, "bearer"):
			r.Add(Challenge, "bearer")
			o.clientID(one, r)
			inBearer = true
		case equalFold(scheme, "negotiate"):
			inBearer = false
			r.Add(Challenge, "negotiate")
			o.token(token, true, r)
		case equalFold(scheme, "ntlm"):
			r.Add(Challenge, "ntlm")
			o.token(token, true, r)
		}
	}
}

// cutList cuts a list at its first comma outside quotes.
func cutList(b []byte) (first, rest []byte) {
	comma := bytes.IndexByte(b, ',')
	if comma < 0 {
		return b, nil
	}
	if bytes.IndexByte(b[:comma], '"') < 0 {
		return b[:comma], b[comma+1:]
	}
	quoted := false
	for i, c := range b {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// token opens a token of the Negotiate or NTLM scheme (RFC 4559 section 4), or
// as much of it as there is.
func (o *observer) token(b []byte, fromServer bool, r *observe.Report) {
	b = trim(b)
	if len(b) < 4 {
		return
	}
	// Most tokens are short, and there can be one in each request.
	raw := o.forToken[:]
	if size := base64.StdEncoding.DecodedLen(len(b)); size > len(raw) {
		raw = make([]byte, size)
	}
	n, err := base64.StdEncoding.Decode(raw, b)
	if err != nil && n == 0 {
		return
	}
	o.auth.Add(raw[:n], fromServer, r)
}

// requested is called at the end of a request's header fields.
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
		// More than any client pipelines: answers cannot be told apart any more.
		o.gaps = true
		o.pending = slices.Delete(o.pending, 0, 1)
	}
	if o.pending == nil {
		o.pending = o.room[:0] // most clients wait for each answer
	}
	o.pending = append(o.pending, q)
}

// bodyBegins goes on to the body that the header fields announced.
func (o *observer) bodyBegins(s *side) {
	if s.coded {
		s.stage = size
	} else {
		s.stage, s.left = body, s.length
	}
}

// await decides, after Expect: 100-continue, whether b is the body or already
// the next request: a client whose request was answered leaves the body out
// (RFC 9110 section 10.1.1). It returns false if more bytes are needed.
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

// hasBody notes that the last request came with a body.
func (o *observer) hasBody() {
	if n := len(o.pending); n > 0 && o.pending[n-1].number == o.asked {
		o.pending[n-1].body = true
	}
}

// content is called when a body turns out not to be empty.
func (o *observer) content(s *side, r *observe.Report) {
	if s == &o.sides[observe.ToServer] {
		o.hasBody()
	} else if s.clear {
		o.say(r, slotEncryption, "none")
	}
}

// answered is called at the end of an answer's header fields.
func (o *observer) answered(s *side, r *observe.Report) error {
	a := o.res
	if a.code < 200 && a.code != 101 {
		return nil // the answer is yet to come (RFC 9110 section 15.2)
	}
	var q request
	known := len(o.pending) > 0
	if known {
		q = o.pending[0]
		o.pending = o.pending[:copy(o.pending, o.pending[1:])]
		o.done = q.number
	}
	if a != o.said {
		o.say(r, slotStatus, statusName(int(a.code)))
		switch {
		case a.fields&(fieldFrontEnd|fieldTarget) != 0:
			o.say(r, slotRole, "frontend")
		case a.fields&fieldBackEnd != 0:
			o.say(r, slotRole, "backend")
		}
		for i, name := range answerFields {
			if a.fields&^o.said.fields&(1<<i) != 0 {
				r.Add(Header, name)
			}
		}
		if r.Len() < observe.MaxFactValues { // else each time counts as dropped
			o.said = a
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
			o.say(r, slotEncryption, "none")
		}
	}
	if s.sealed || q.sealed && ok {
		o.say(r, slotEncryption, MessageSealed)
	}
	// What else there is depends on the request, which may not be known.
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
		s.stage, s.left = body, s.length
		o.content(s, r)
	case s.length < 0:
		s.stage = toClose
	}
	return nil
}

// join reports what a request for a known path was answered with.
func (o *observer) join(q *request, code int16, r *observe.Report) {
	if q.asset && (code == 200 || code == 304) {
		o.number(slotOWABuild, o.build[:o.buildSize], r)
	}
	j := joined{code, q.place, q.below, true}
	if q.place < 0 || j == o.joined {
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

// authenticated reports what a request was accepted with.
func (o *observer) authenticated(q request, code int16, r *observe.Report) {
	switch code {
	case 400, 401, 403, 407, 408, 411, 413, 414, 417, 421, 426, 429, 431, 502, 503, 504:
		return // not accepted, or turned away before anybody looked
	}
	switch q.with {
	case basic, digest, bearer, form:
		o.say(r, slotAuth, q.with.name())
	case formCookie:
		if code/100 == 2 {
			o.say(r, slotAuth, "forms")
		}
	case ntlmOnly:
		o.authed = true
		o.say(r, slotAuth, "ntlm")
	case negotiate:
		o.authed = true
		m := o.auth.Mechanism
		if m == "" {
			m = spnego.Negotiate
		}
		o.say(r, slotAuth, string(m))
	case otherCredentials:
		o.authed = true
	case noCredentials:
		// Only what was seen from its begin is known to be without credentials.
		if code/100 == 2 && !o.gaps && !o.authed && !q.open && q.method != options {
			o.say(r, slotAuth, "anonymous")
		}
	}
}

// pass goes over the counted bytes of a body or chunk.
func (o *observer) pass(s *side, in *observe.Input, b []byte, r *observe.Report) int {
	n := int(min(s.left, maxSkip))
	if s.isRPC && o.rpc != nil {
		n = min(n, len(b))
		o.hand(in, b[:n], r)
	}
	s.left -= int64(n)
	if s.isRPC && s == &o.sides[observe.ToServer] {
		o.channelOpen(s, r)
	}
	o.ended(s)
	return n
}

// ended moves on at the end of a body or chunk.
func (o *observer) ended(s *side) {
	if s.left > 0 {
		return
	}
	if s.stage == body {
		s.stage = start
	} else {
		s.stage = chunked
	}
}

// channelOpen reports what an IN channel of RPC over HTTP was opened with. It is
// answered only when it ends; but a client that sends more on it than the
// request that opens it, CONN/B1 of 104 bytes, has been told on the OUT channel
// that both are open ([MS-RPCH] sections 2.2.4.5 and 3.2.2.4.1.4).
func (o *observer) channelOpen(s *side, r *observe.Report) {
	const connB1 = 104
	n := len(o.pending)
	if n == 0 || s.length-s.left <= connB1 {
		return
	}
	if q := &o.pending[n-1]; q.method == rpcIn && q.number == o.asked {
		o.authenticated(*q, 200, r)
		if q.with.readable() {
			o.say(r, slotEncryption, "none")
		}
	}
}

// hand passes a piece of a body to package dcerpc.
func (o *observer) hand(in *observe.Input, b []byte, r *observe.Report) {
	sub := *in
	sub.Data = b
	_ = o.rpc.Write(&sub, r) // an error means that it wants no more
}

// Finish reports what dcerpc knows only at the end, and the credentials that
// were sent in clear to a server that this sensor does not see.
func (o *observer) Finish(r *observe.Report) {
	if o.rpc != nil {
		o.rpc.Finish(r)
	}
	if o.heard {
		return
	}
	for i := range o.pending {
		q := &o.pending[i]
		if name := q.with.name(); q.with.readable() && !q.rpc { // an IN channel is not answered while it lives
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

// hear notes that the server is seen, whose answers tell what it accepted.
func (o *observer) hear(r *observe.Report) {
	o.heard = true
	if o.guessed != "" {
		r.Remove(observe.Auth, o.guessed)
		o.guessed = ""
	}
}

// decimal reads a number of at most 18 digits.
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

// chunkSize reads the size of a chunk, of at most 15 hexadecimal digits.
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
