package http

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/exspan/exspan/classify/observe"
)

// methods lists the methods of HTTP and WebDAV (RFC 9110, RFC 4918, RFC 5323), of
// Exchange's own WebDAV ([MS-WDVME], [MS-XWDSEARCH]), of RVP and of RPC over HTTP
// ([MS-RPCH] section 2.1.2).
var methods = [...]string{get: "GET", post: "POST", head: "HEAD", options: "OPTIONS", connect: "CONNECT", rpcIn: "RPC_IN_DATA",
	rpcOut: "RPC_OUT_DATA", otherMethod: "other",
	"PUT", "DELETE", "TRACE", "PATCH", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE",
	"LOCK", "UNLOCK", "SEARCH", "REPORT", "ACL", "MERGE", "BCOPY", "BMOVE", "BDELETE", "BPROPFIND", "BPROPPATCH", "SUBSCRIBE",
	"UNSUBSCRIBE", "NOTIFY", "POLL", "X-MS-ENUMATTS", "RPC_CONNECT", "RPC_ECHO_DATA",
}

// verb is the index of a method in methods.
type verb uint8

// The methods with special treatment.
const (
	noMethod verb = iota
	get
	post
	head
	options
	connect
	rpcIn
	rpcOut
	otherMethod // an unknown method
)

const longestMethod = 13

// method returns the known method that b starts with, if a space follows. It returns
// noMethod and true if more bytes are needed.
func method(b []byte) (known verb, short bool) {
	if len(b) > 0 && (b[0] < 'A' || b[0] > 'X') {
		return noMethod, false
	}
	n := bytes.IndexByte(b[:min(len(b), longestMethod+1)], ' ')
	for i, m := range methods[:] {
		switch {
		case n >= 0:
			if string(b[:n]) == m {
				return verb(i), false
			}
		case len(b) <= len(m) && string(b) == m[:len(b)]:
			short = true
		}
	}
	return noMethod, short
}

const (
	preface  = "PRI * HTTP/2.0\r\n" // start of the connection preface (RFC 9113 section 3.4)
	firstCut = 256                  // bytes after which a request line is accepted without its end
)

// beginsRequest reports whether b begins with a request line, or with the preface of
// HTTP/2. If old is set, it also accepts a request line of HTTP/0.9, which load balancers
// send as a health check.
func beginsRequest(b []byte, old bool) observe.Match {
	if n := min(len(b), len(preface)); n > 1 && string(b[:n]) == preface[:n] {
		if n == len(preface) {
			return observe.Yes
		}
		return observe.More
	}
	m, short := method(b)
	if m == noMethod {
		if short {
			return observe.More
		}
		return observe.No
	}
	b = b[:min(len(b), firstCut)]
	target := b[len(methods[m])+1:]
	if len(target) == 0 {
		return observe.More
	}
	if c := target[0]; c != '/' && c != '*' && c != 'h' && c != 'H' && m != connect {
		return observe.No
	}
	for i, c := range target {
		if c >= ' ' || c == '\r' {
			continue
		}
		if c == '\n' {
			if _, ok := version(target[:i]); ok || old && m == get && oldTarget(target[:i]) {
				return observe.Yes
			}
		}
		return observe.No
	}
	if len(b) == firstCut {
		return observe.Yes
	}
	return observe.More
}

// version removes the version from the end of a request line and reports whether it is
// one of HTTP/1.
func version(line []byte) (rest []byte, ok bool) {
	n := len(line)
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	const form = " HTTP/1."
	i := n - len(form) - 1
	if i < 0 || string(line[i:n-1]) != form || line[n-1] < '0' || line[n-1] > '9' {
		return nil, false
	}
	return line[:i], true
}

// oldTarget reports whether line, the rest of a GET request line, belongs to HTTP/0.9
// (RFC 1945 section 5.1): a path without a version.
func oldTarget(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	return len(line) > 0 && line[0] == '/' && bytes.IndexByte(line, ' ') < 0
}

// beginsAnswer reports whether b begins with a status line (RFC 9112 section 4).
func beginsAnswer(b []byte) observe.Match {
	const pattern = "HTTP/1.0 000"
	if len(b) >= len(pattern) && string(b[:7]) == pattern[:7] && digit(b[7]) && b[8] == ' ' && digit(b[9]) && digit(b[10]) && digit(b[11]) {
		return observe.Yes
	}
	for i := range len(pattern) {
		if i == len(b) {
			return observe.More
		}
		if b[i] != pattern[i] && (pattern[i] != '0' || b[i] < '0' || b[i] > '9') {
			return observe.No
		}
	}
	return observe.Yes
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// status parses the code of a status line.
func status(line []byte) int16 {
	return int16(line[9]-'0')*100 + int16(line[10]-'0')*10 + int16(line[11]-'0')
}

// statusName returns the value for a status code. Important codes have a value of their
// own; others share that of their class. 440 is the log-on time-out of Outlook Web App,
// and 449 is the provisioning request of ActiveSync.
func statusName(code int) string {
	switch code {
	case 101:
		return "101"
	case 200:
		return "200"
	case 207:
		return "207"
	case 301:
		return "301"
	case 302:
		return "302"
	case 303:
		return "303"
	case 304:
		return "304"
	case 307:
		return "307"
	case 308:
		return "308"
	case 400:
		return "400"
	case 401:
		return "401"
	case 403:
		return "403"
	case 404:
		return "404"
	case 407:
		return "407"
	case 440:
		return "440"
	case 449:
		return "449"
	case 500:
		return "500"
	case 502:
		return "502"
	case 503:
		return "503"
	}
	switch code / 100 {
	case 2:
		return "2xx"
	case 3:
		return "3xx"
	case 4:
		return "4xx"
	case 5:
		return "5xx"
	}
	return ""
}

// isProduct reports whether b starts with known, a result of product for another value,
// and continues in such a way that product would return known for b.
func isProduct(b []byte, known string) bool {
	n := len(known)
	if n == 0 || n >= maxProduct || len(b) <= n || string(b[:n]) != known {
		return false
	}
	switch b[n] {
	case '(', ';', ',':
		return true
	case ' ':
		return strings.IndexByte(known, '/') >= 0
	}
	return false
}

// maxProduct is the maximum length of a product in bytes.
const maxProduct = 64

// product returns the product of a User-Agent (RFC 9110 section 10.1.5): its first name
// and version, without comments and further products. Some names of several words are
// known ("Microsoft WinRM Client").
func product(b []byte) []byte {
	words, version := 0, false
loop:
	for i, c := range b {
		if c > ';' {
			continue
		}
		switch c {
		case '/':
			version = true
			continue
		case ' ':
			if words++; !version && words < 4 {
				continue
			}
		case '(', ';', ',':
		default:
			continue
		}
		b = b[:i]
		break loop
	}
	b = trim(b)
	if bytes.IndexByte(b, '@') >= 0 {
		// ASProxy adds the name of the mailbox. Only the product is kept.
		if b, _, _ = bytes.Cut(b, []byte{'/'}); bytes.IndexByte(b, '@') >= 0 {
			return nil
		}
	}
	if len(b) > maxProduct {
		b = b[:maxProduct]
	}
	return b
}

// hostName returns the host of a Host field or an authority, without its port and
// anything before an "@". It returns nil if b is not a host.
func hostName(b []byte) []byte {
	if i := bytes.LastIndexByte(b, '@'); i >= 0 {
		b = b[i+1:]
	}
	if len(b) > 0 && b[0] == '[' {
		if i := bytes.IndexByte(b, ']'); i > 0 {
			b = b[1:i]
		}
	} else if i := bytes.IndexByte(b, ':'); i >= 0 {
		b = b[:i]
	}
	if len(b) > 253 {
		return nil
	}
	for _, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == ':') {
			return nil
		}
	}
	return b
}

// requestTypes lists the request types of MAPI over HTTP ([MS-OXCMAPIHTTP] section
// 2.2.3.3.1).
var requestTypes = [...]string{
	"Connect", "Execute", "Disconnect", "NotificationWait", "PING", "Bind", "Unbind", "CompareMIds", "DNToMId", "GetMatches",
	"GetPropList", "GetProps", "GetSpecialTable", "GetTemplateInfo", "ModLinkAtt", "ModProps", "QueryColumns", "QueryRows",
	"ResolveNames", "ResortRestriction", "SeekEntries", "UpdateStat", "GetMailboxUrl", "GetAddressBookUrl",
}

func requestType(b []byte) string {
	for _, t := range requestTypes[:] {
		if string(b) == t {
			return t
		}
	}
	for _, t := range requestTypes[:] {
		if bytes.EqualFold(b, []byte(t)) {
			return t
		}
	}
	return "other"
}

// rpcTarget returns the server and the port in the target of RPC over HTTP, "server:port"
// ([MS-RPCH] section 2.2.2). Both are nil if there is no port. The server is nil if it is
// a mailbox ("GUID@domain"), as in 2013 and later.
func rpcTarget(query []byte) (server, port []byte) {
	i := bytes.LastIndexByte(query, ':')
	if i < 0 {
		return nil, nil
	}
	server, port = query[:i], query[i+1:]
	if len(port) == 0 || len(port) > 5 {
		return nil, nil
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return nil, nil
		}
	}
	if bytes.IndexByte(server, '@') >= 0 {
		server = nil
	}
	return hostName(server), port
}

// forwarded returns the first node of an X-Forwarded-For field: the client, which
// precedes the proxies.
func forwarded(value []byte) []byte {
	value, _, _ = bytes.Cut(value, []byte{','})
	return bytes.Trim(value, " \t\"")
}

// forwardedFor returns the node of the first "for" parameter of a Forwarded
// field (RFC 7239 section 4).
func forwardedFor(value []byte) []byte {
	first, _, _ := bytes.Cut(value, []byte{','})
	for len(first) > 0 {
		var pair []byte
		pair, first, _ = bytes.Cut(first, []byte{';'})
		if name, node, ok := bytes.Cut(trim(pair), []byte{'='}); ok && equalFold(name, "for") {
			return forwarded(node)
		}
	}
	return nil
}

// parseNode returns the address of a node, which may have a port.
func parseNode(node []byte) netip.Addr {
	if len(node) > 64 {
		return netip.Addr{}
	}
	s := string(node)
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.WithZone("").Unmap()
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().WithZone("").Unmap()
	}
	return netip.Addr{}
}

// clientID returns the GUID of client_id in one part of a Bearer challenge, or nil.
func clientID(b []byte) []byte {
	const name = "client_id=\""
	i := bytes.Index(b, []byte(name))
	if i < 0 || len(b) < i+len(name)+36 {
		return nil
	}
	b = b[i+len(name):][:36]
	for i, c := range b {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
			return nil
		}
	}
	return b
}
