package http

import (
	"bytes"
	"strings"
)

// more replaces the part of a path that is not kept.
const more = "…"

// known lists the virtual directories and files of Exchange in Exchange's spelling, and a
// few of other services whose first segment alone is ambiguous. A path is shortened to
// the longest of them that contains it. They are sorted by the letter after the slash.
var known = func() []knownPath {
	list := []string{
		"/API", "/Autodiscover", "/Autodiscover/Autodiscover.json", "/Autodiscover/Autodiscover.svc", "/Autodiscover/Autodiscover.xml",
		"/ecp", "/EWS", "/EWS/Exchange.asmx", "/EWS/mrsproxy.svc", "/EWS/Services.wsdl", "/EWS/UM2007Legacy.asmx", "/exadmin", "/exchange",
		"/exchweb", "/mapi", "/mapi/emsmdb", "/mapi/nspi", "/Microsoft-Server-ActiveSync", "/OAB", "/oma", "/owa", "/owa/auth",
		"/owa/auth.owa", "/owa/auth/logon.aspx", "/owa/calendar", "/owa/integrated", "/owa/service.svc", "/PowerShell", "/public",
		"/PushNotifications", "/rpc", "/rpc/rpcproxy.dll", "/rpcwithcert", "/rpcwithcert/rpcproxy.dll",
		"/server/amupdate", "/server/scanengineupdate", "/UnifiedMessaging", "/UnifiedMessaging/Service.asmx", "/wsman",
		"/_wmcs/certification", "/_wmcs/licensing", // AD RMS
	}
	out := make([]knownPath, len(list))
	for i, s := range list {
		out[i] = knownPath{strings.ToLower(s), s, s + "/" + more}
	}
	return out
}()

// knownPath is a known path in lower case, in Exchange's spelling, and in the form for a
// path below it.
type knownPath struct{ lower, exact, below string }

// knownFrom holds, for each letter, the index in known of the first path whose letter
// after the slash is the same or later. Other characters come last.
var knownFrom = func() (from [28]uint8) {
	for c := range from {
		n := 0
		for n < len(known) && int(known[n].lower[1]-'a') < c {
			n++
		}
		from[c] = uint8(n)
	}
	from[27] = uint8(len(known))
	return from
}()

// publicFiles lists file name extensions that reveal what is fetched and nothing about
// the user: certificates, revocation lists (RFC 5280 section 4.2.1.13) and updates. They
// are kept at any depth of a path.
var publicFiles = []string{".crl", ".crt", ".cer", ".p7b", ".p7c", ".cab", ".msu"}

// reduced is the part of a path that may be kept.
type reduced struct {
	place    int    // index in known, or -1
	below    bool   // the path continues below it
	constant string // the value if it is a constant, which needs no allocation
	first    []byte // otherwise, the path's first segment
	tail     string // and the replacement of the rest
}

// reduce returns the part of a path that may be kept: a known path, or else its first
// segment. The segment is not kept if it is long or may contain an identity ("/~user").
func reduce(path []byte) reduced {
	p := reduced{place: -1}
	candidates, from := known[:0], 0
	if len(path) > 1 {
		c := min((path[1]|0x20)-'a', 26)
		from = int(knownFrom[c])
		candidates = known[from:knownFrom[c+1]]
	}
	for i := range candidates {
		k := &candidates[i]
		n := len(k.lower)
		if len(path) < n || p.place >= 0 && n < len(known[p.place].lower) || !equalFold(path[:n], k.lower) {
			continue
		}
		switch rest := path[n:]; {
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '/':
			p.place, p.below = from+i, false
		case rest[0] == '/':
			p.place, p.below = from+i, true
		}
	}
	switch {
	case p.place >= 0 && p.below:
		p.constant = known[p.place].below
		return p
	case p.place >= 0:
		p.constant = known[p.place].exact
		return p
	case len(path) <= 1:
		p.constant = "/"
		return p
	}
	p.first = path
	end := ""
	if i := bytes.IndexByte(path[1:], '/'); i >= 0 {
		p.first = path[:i+1]
		if p.below = i+2 < len(path); p.below {
			end = publicFile(path)
			p.tail = tails[end]
		}
	}
	keep := len(p.first) <= 64 && len(p.first) > 1
	for _, c := range p.first[1:] {
		keep = keep && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '$')
	}
	if !keep {
		if end == "" {
			end = publicFile(path)
		}
		p.first, p.constant = nil, tails[end]
	}
	return p
}

// tails maps the extension of a public file to the replacement of the rest of its path.
var tails = func() map[string]string {
	m := map[string]string{"": "/" + more}
	for _, s := range publicFiles {
		m[s] = "/" + more + s
	}
	return m
}()

// publicFile returns the extension of path if it is in publicFiles, and "" otherwise.
func publicFile(path []byte) string {
	if len(path) < 4 || path[len(path)-4] != '.' {
		return ""
	}
	for _, s := range publicFiles {
		if equalFold(path[len(path)-4:], s) {
			return s
		}
	}
	return ""
}

// owaBuild returns the build number in the path of a resource of Outlook Web
// App, or nil: "/owa/8.1.240.5/themes/base/x.gif" of 2007, "/owa/14.3.123.3/scripts/x.js"
// of 2010, "/owa/auth/15.1.2507/themes/resources/x.png" and
// "/owa/prem/15.1.2507.6/scripts/x.js" of later versions.
func owaBuild(path []byte) []byte {
	const owa = "/owa/"
	if len(path) < len(owa) || !equalFold(path[:len(owa)], owa) {
		return nil
	}
	rest := path[len(owa):]
	for range 2 {
		segment, below, ok := bytes.Cut(rest, []byte{'/'})
		if !ok || len(segment) == 0 {
			return nil
		}
		if bytes.Count(segment, []byte{'.'}) >= 2 && segment[0] >= '0' && segment[0] <= '9' && len(segment) <= maxBuild {
			return segment
		}
		if !equalFold(segment, "auth") && !equalFold(segment, "prem") {
			return nil
		}
		rest = below
	}
	return nil
}

// equalFold reports whether b equals s, ignoring the case of ASCII letters. s is in lower
// case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}
