package http

import (
	"bytes"
	"strings"
)

// more stands for the part of a path that is not kept.
const more = "…"

// known holds the virtual directories and files of Exchange, as Exchange spells
// them, and a few of other services whose first segment alone says too little.
// A path is reduced to the longest of them that it is or lies below. They are
// sorted by the letter behind the slash.
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

// knownPath is a path in lower case, as Exchange spells it, and as something
// below it is written.
type knownPath struct{ lower, exact, below string }

// knownFrom has the place in known of the first path with a letter or a later
// one behind the slash. What is not a letter comes last.
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

// publicFiles are the ends of names that tell what is fetched and nothing about
// who fetches it: certificates, revocation lists (RFC 5280 section 4.2.1.13) and
// updates. They stay in view however deep in a path they stand.
var publicFiles = []string{".crl", ".crt", ".cer", ".p7b", ".p7c", ".cab", ".msu"}

// reduced is what may be kept of a path.
type reduced struct {
	place    int    // index in known, or -1
	below    bool   // the path goes on below it
	constant string // the value, where it is a constant, which costs no allocation
	first    []byte // else the path's first segment
	tail     string // and what stands for the rest
}

// reduce returns what may be kept of a path: a known path, or else its first
// segment. That is kept unless it is long or looks as if it carried something
// ("/~user").
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

// tails are what stands for the rest of a path, by the end of the public file.
var tails = func() map[string]string {
	m := map[string]string{"": "/" + more}
	for _, s := range publicFiles {
		m[s] = "/" + more + s
	}
	return m
}()

// publicFile returns the end of path, if it is among publicFiles, else "".
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

// equalFold reports whether b is s but for the case of ASCII letters; s is in
// lower case.
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
