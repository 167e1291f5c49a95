package sip

import (
	"bytes"
	"net/netip"
)

// message is the start line and the headers of one message. Its slices alias the input.
type message struct {
	request bool
	method  []byte // of the request, or of the request that is answered
	code    int
	cseq    uint32

	callID, from, to           []byte
	contacts                   [4][]byte // Contact headers, each with one or more values
	contentType                []byte
	contentEncoding            []byte
	product                    []byte // User-Agent or Server
	authorization, challenge   []byte
	diagnostics                []byte
	length                     int // Content-Length, or -1 if there is none
	badLength, server, noSense bool
}

// startLine parses the first line of a message (RFC 3261 section 7), without its line
// end.
func (m *message) startLine(line []byte) bool {
	if rest, ok := bytes.CutPrefix(line, []byte(version+" ")); ok {
		if len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' {
			return false
		}
		n, ok := number(rest[:3], 699)
		m.code = n
		return ok && n >= 100
	}
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || !isMethod(method) {
		return false
	}
	uri, v, ok := cutLast(rest, ' ')
	if !ok || string(v) != version || !isScheme(uri) {
		return false
	}
	m.request, m.method = true, method
	return true
}

const version = "SIP/2.0"

// isMethod reports whether b can be a method: 3 to 12 capital letters.
func isMethod(b []byte) bool {
	if len(b) < 3 || len(b) > 12 {
		return false
	}
	for _, c := range b {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// isScheme reports whether b starts like a URI: "sip:", "sips:", "tel:" ...
func isScheme(b []byte) bool {
	for i, c := range b[:min(len(b), 12)] {
		switch {
		case c == ':':
			return i >= 2
		case c|0x20 < 'a' || c|0x20 > 'z':
			return false
		}
	}
	return false
}

// headers parses the header lines at the start of b and returns the offset of their end.
// whole reports whether the empty line after them was there. Without it, headers uses
// only complete lines. Folded lines are not unfolded: line ends count as blanks in
// values.
func (m *message) headers(b []byte) (end int, whole bool) {
	m.length = -1
	contacts := 0
	for {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return end, false
		}
		line := b[end:]
		if end += i + 1; i == 0 || i == 1 && line[0] == '\r' {
			return end, true
		}
		for end < len(b) && (b[end] == ' ' || b[end] == '\t') {
			j := bytes.IndexByte(b[end:], '\n')
			if j < 0 {
				break
			}
			i += j + 1
			end += j + 1
		}
		line = line[:i+1]
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		// The name in lower case.
		var low [24]byte
		n := colon
		for n > 0 && (line[n-1] == ' ' || line[n-1] == '\t') {
			n--
		}
		if n > len(low) {
			continue
		}
		for i, c := range line[:n] {
			if c-'A' < 26 {
				c |= 0x20
			}
			low[i] = c
		}
		value := line[colon+1:]
		m.field(low[:n], value, &contacts)
	}
}

// field parses one header field. name is in lower case. contacts is the number of Contact
// fields so far.
func (m *message) field(name, value []byte, contacts *int) {
	switch string(name) {
	case "call-id", "i":
		set(&m.callID, value)
	case "cseq":
		n, method := word(value)
		seq, ok := number(n, 1<<31-1)
		if ok {
			m.cseq = uint32(seq)
		}
		method, _ = word(method)
		if !m.request && isMethod(method) {
			m.method = method
		}
		m.noSense = m.noSense || !ok || m.request && !bytes.Equal(method, m.method)
	case "from", "f":
		set(&m.from, value)
	case "to", "t":
		set(&m.to, value)
	case "contact", "m":
		if *contacts < len(m.contacts) {
			m.contacts[*contacts] = bytes.TrimSpace(value)
			*contacts++
		}
	case "content-type", "c":
		set(&m.contentType, value)
	case "content-encoding", "e":
		set(&m.contentEncoding, value)
	case "content-length", "l":
		if n, ok := number(bytes.TrimSpace(value), maxBody); ok && m.length < 0 {
			m.length = n
		} else if !ok || n != m.length {
			m.badLength = true
		}
	case "user-agent":
		set(&m.product, value)
	case "server":
		if m.product == nil {
			m.product, m.server = bytes.TrimSpace(value), true
		}
	case "authorization", "proxy-authorization":
		set(&m.authorization, value)
	case "www-authenticate", "proxy-authenticate":
		set(&m.challenge, value)
	case "ms-diagnostics", "ms-diagnostics-public":
		set(&m.diagnostics, value)
	}
}

// read parses the start line and the headers.
func (m *message) read(b []byte) {
	begin := lineEnd(b)
	m.startLine(bytes.TrimRight(b[:begin], "\r\n"))
	m.headers(b[begin:])
}

// maxBody is the largest accepted Content-Length.
const maxBody = 16 << 20

func set(field *[]byte, value []byte) {
	if *field == nil {
		*field = bytes.TrimSpace(value)
	}
}

// lineEnd returns the index after the first line feed.
func lineEnd(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}

// headersEnd returns the index after the empty line that ends the headers, or -1. It
// starts searching at from. A bare line feed also ends a line.
func headersEnd(b []byte, from int) int {
	for i := max(from, 1); i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return -1
		}
		i += j
		if b[i-1] == '\n' || b[i-1] == '\r' && i >= 2 && b[i-2] == '\n' {
			return i + 1
		}
	}
	return -1
}

// uri is a SIP URI (RFC 3261 section 19.1).
type uri struct {
	scheme     string // "sip", "sips" or ""
	user, host []byte
	port       uint16
	transport  string // "tcp", "udp", "tls" or ""
}

// addr returns the host as an address, if it is one.
func (u *uri) addr() netip.Addr {
	if len(u.host) > 45 {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(string(u.host))
	return a.Unmap().WithZone("")
}

// nameAddr splits the next address off a From, To or Contact header: its URI (see
// parseURI) and its header parameters. It also returns the rest of the header after the
// next comma.
func nameAddr(b []byte) (text, params, rest []byte) {
	b = bytes.TrimLeft(b, " \t\r\n,")
	// A quoted display name may contain any character.
	at := 0
	if len(b) > 0 && b[0] == '"' {
		for at = 1; at < len(b) && b[at] != '"'; at++ {
			if b[at] == '\\' {
				at++
			}
		}
		at = min(at+1, len(b))
	}
	end := bytes.IndexByte(b[at:], ',')
	open := bytes.IndexByte(b[at:], '<')
	if open >= 0 && (end < 0 || open < end) {
		b = b[at+open+1:]
		text, tail, ok := bytes.Cut(b, []byte(">"))
		if !ok {
			return nil, nil, nil
		}
		params, rest, _ = bytes.Cut(tail, []byte(","))
		return text, params, rest
	}
	// Without angle brackets, the parameters belong to the header (RFC 3261 section
	// 20.10).
	b = b[at:]
	if end >= 0 {
		b, rest = b[:end], b[end+1:]
	}
	b, params, _ = bytes.Cut(b, []byte(";"))
	return b, params, rest
}

// address returns the URI of a From or To header.
func address(b []byte) uri {
	text, _, _ := nameAddr(b)
	return parseURI(text)
}

func parseURI(b []byte) (u uri) {
	scheme, b, ok := bytes.Cut(bytes.TrimSpace(b), []byte(":"))
	switch {
	case !ok:
		return u
	case bytes.EqualFold(scheme, []byte("sip")):
		u.scheme = "sip"
	case bytes.EqualFold(scheme, []byte("sips")):
		u.scheme = "sips"
	case bytes.EqualFold(scheme, []byte("tel")):
		u.user, _, _ = bytes.Cut(b, []byte(";"))
		return u
	default:
		return u
	}
	if user, host, ok := cutLast(b, '@'); ok {
		u.user, b = user, host
		u.user, _, _ = bytes.Cut(u.user, []byte(":"))
	}
	b, _, _ = bytes.Cut(b, []byte("?"))
	b, params, _ := bytes.Cut(b, []byte(";"))
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return u
		}
		u.host, b = b[1:end], b[end+1:]
	} else if i := bytes.IndexByte(b, ':'); i >= 0 {
		u.host, b = b[:i], b[i:]
	} else {
		u.host, b = b, nil
	}
	if len(b) > 1 && b[0] == ':' {
		p, ok := number(bytes.TrimSpace(b[1:]), 65535)
		if ok {
			u.port = uint16(p)
		}
	}
	switch t := param(params, "transport"); {
	case bytes.EqualFold(t, []byte("tcp")):
		u.transport = "tcp"
	case bytes.EqualFold(t, []byte("udp")):
		u.transport = "udp"
	case bytes.EqualFold(t, []byte("tls")):
		u.transport = "tls"
	}
	return u
}

// param returns the value of a parameter in a list such as "a=1;b=2".
func param(params []byte, name string) []byte {
	for len(params) > 0 {
		var p []byte
		p, params, _ = bytes.Cut(params, []byte(";"))
		k, v, _ := bytes.Cut(p, []byte("="))
		if bytes.EqualFold(bytes.TrimSpace(k), []byte(name)) {
			return bytes.TrimSpace(v)
		}
	}
	return nil
}

// tag returns the tag of a From or To header.
func tag(b []byte) []byte {
	_, params, _ := nameAddr(b)
	return param(params, "tag")
}

func cutLast(b []byte, sep byte) (before, after []byte, found bool) {
	if i := bytes.LastIndexByte(b, sep); i >= 0 {
		return b[:i], b[i+1:], true
	}
	return b, nil, false
}

// word splits b at the next blank.
func word(b []byte) (w, rest []byte) {
	for len(b) > 0 && between(b[0]) {
		b = b[1:]
	}
	for i, c := range b {
		if between(c) {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

func between(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// number parses an unsigned decimal number of at most limit.
func number(b []byte, limit int) (int, bool) {
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= limit
}

// sdpParts calls f for each session description in a body: the body itself, or the parts
// of a multipart body (RFC 2046 section 5.1). Multipart bodies may be nested three deep
// and have sixteen parts in all.
func sdpParts(contentType, body []byte, cut bool, f func(part []byte, cut bool)) {
	parts := 16
	walk(contentType, body, cut, 3, &parts, f)
}

func walk(contentType, body []byte, cut bool, depth int, parts *int, f func([]byte, bool)) {
	kind, params, _ := bytes.Cut(contentType, []byte(";"))
	kind = bytes.TrimSpace(kind)
	if bytes.EqualFold(kind, []byte("application/sdp")) {
		f(body, cut)
		return
	}
	if depth == 0 || len(kind) < 10 || !bytes.EqualFold(kind[:10], []byte("multipart/")) {
		return
	}
	boundary := bytes.Trim(param(params, "boundary"), `"`)
	if len(boundary) == 0 || len(boundary) > 70 {
		return
	}
	sep := append([]byte("--"), boundary...)
	_, body, ok := bytes.Cut(body, sep)
	for ok && *parts > 0 && !bytes.HasPrefix(body, []byte("--")) {
		*parts--
		var part []byte
		part, body, ok = bytes.Cut(body, sep)
		part = part[lineEnd(part):]
		var inner []byte
		end := 0
		if len(part) > 0 && part[0] != '\n' && part[0] != '\r' {
			var m message
			var whole bool
			if end, whole = m.headers(part); !whole {
				continue
			}
			inner = m.contentType
		}
		text := part[end:]
		if ok {
			text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
		}
		walk(inner, text, cut && !ok, depth-1, parts, f)
	}
}
