package http

import (
	"bytes"
	"encoding/base64"

	"github.com/exspan/exspan/classify/observe"
)

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && equalFold(b[:len(s)], s) }

func hasSuffix(b []byte, s string) bool {
	n := len(b) - len(s)
	return n >= 0 && lower(b[n]) == s[0] && equalFold(b[n:], s)
}

// named reports whether a header field has the given name. The caller has compared the
// first letter.
func named(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && equalRest(line, name)
}

// equalRest reports whether line begins with name, but for its first letter. It is not
// inlined so that named is, which mostly looks for the colon alone.
//
//go:noinline
func equalRest(line []byte, name string) bool {
	if string(line[:len(name)]) == name {
		return true
	}
	for i := 1; i < len(name); i++ {
		if lower(line[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

// contains reports whether b has s in it, which is in lower case and begins with a letter.
func contains(b []byte, s string) bool {
	for i := 0; i+len(s) <= len(b); i++ {
		if b[i]|0x20 == s[0] && equalFold(b[i:i+len(s)], s) {
			return true
		}
	}
	return false
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// valueOf returns the value of a header field whose name has n bytes.
func valueOf(line []byte, n int) []byte { return trim(line[n+1:]) }

// trim removes white space at both ends of b. There is usually one space.
func trim(b []byte) []byte {
	if len(b) > 1 && b[0] == ' ' {
		b = b[1:]
	}
	if n := len(b); n > 0 && b[0] > ' ' && b[0] < 0x7f && b[n-1] > ' ' && b[n-1] < 0x7f {
		return b
	}
	return bytes.TrimSpace(b)
}

// header reads one header field. It skips most fields by their first letter and the
// position of their colon. It is a single long function because all fields share one
// switch.
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
			s.sealed = hasPrefix(value, "multipart/") && contains(value, "session-encrypted")
			s.rpcType = equalFold(value, "application/rpc")
		case asks && o.req.with == noCredentials && named(line, "Cookie"):
			o.req.with = cookie
			// The cookie of forms authentication. Its value is ignored.
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
		if !asks && !o.proxied && named(line, "MS-Server-ActiveSync") {
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
			// "chunked" is the last coding in the list (RFC 9112 section 6.1).
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
				o.addValue(r, slotType, requestType(valueOf(line, len("X-RequestType"))))
			} else if named(line, "X-Forwarded-For") {
				o.forwarded(forwarded(valueOf(line, len("X-Forwarded-For"))), r)
			}
		case o.proxied: // they are those of a server behind it
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

// forwarded reports the address in node, the client on whose behalf a proxy sends the
// request.
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
	if o.proxied {
		return
	}
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
		o.req.with = negotiate // the latter belongs to Windows Remote Management
		o.token(rest, false, r)
	case equalFold(scheme, "ntlm"):
		o.req.with = ntlmOnly
		o.token(rest, false, r)
	}
}

// number reports a build number. Most are equal to the last one.
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

// cutList splits a list at its first comma outside quotes.
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

// token reads a token of the Negotiate or NTLM scheme (RFC 4559 section 4), which may be
// incomplete.
func (o *observer) token(b []byte, fromServer bool, r *observe.Report) {
	b = trim(b)
	if len(b) < 4 {
		return
	}
	// Most tokens are short, and every request can have one.
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
