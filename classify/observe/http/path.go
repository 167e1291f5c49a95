package http

import (
	"bytes"
	"strings"
)

// more stands for the part of a path that is not kept.
const more = "…"

// known holds the virtual directories and files of Exchange, as it spells
// them. A path is reduced to the longest of them that it is or lies below.
var known = func() []knownPath {
	list := []string{
		"/API", "/Autodiscover", "/Autodiscover/Autodiscover.json", "/Autodiscover/Autodiscover.svc", "/Autodiscover/Autodiscover.xml",
		"/ecp", "/EWS", "/EWS/Exchange.asmx", "/EWS/mrsproxy.svc", "/EWS/Services.wsdl", "/EWS/UM2007Legacy.asmx", "/exadmin", "/exchange",
		"/exchweb", "/mapi", "/mapi/emsmdb", "/mapi/nspi", "/Microsoft-Server-ActiveSync", "/OAB", "/oma", "/owa", "/owa/auth",
		"/owa/auth.owa", "/owa/auth/logon.aspx", "/owa/calendar", "/owa/integrated", "/owa/service.svc", "/PowerShell", "/public",
		"/PushNotifications", "/rpc", "/rpc/rpcproxy.dll", "/rpcwithcert", "/rpcwithcert/rpcproxy.dll", "/UnifiedMessaging",
		"/UnifiedMessaging/Service.asmx",
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
// one behind the slash.
var knownFrom = func() (from [28]uint8) {
	for c := range from {
		n := 0
		for n < len(known) && int(known[n].lower[1]-'a') < c {
			n++
		}
		from[c] = uint8(n)
	}
	return from
}()

// reduce returns what may be kept of a path: a known path, which is a constant
// and costs no allocation, or else its first segment, and whether the path goes
// on below that.
func reduce(path []byte) (constant string, first []byte, below bool) {
	var best *knownPath
	exact := false
	candidates := known[:0]
	if len(path) > 1 {
		if c := (path[1] | 0x20) - 'a'; c < 26 {
			candidates = known[knownFrom[c]:knownFrom[c+1]]
		}
	}
	for i := range candidates {
		k := &candidates[i]
		n := len(k.lower)
		if len(path) < n || best != nil && n < len(best.lower) || !equalFold(path[:n], k.lower) {
			continue
		}
		switch rest := path[n:]; {
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '/':
			best, exact = k, true
		case rest[0] == '/':
			best, exact = k, false
		}
	}
	switch {
	case best != nil && exact:
		return best.exact, nil, false
	case best != nil:
		return best.below, nil, false
	case len(path) <= 1:
		return "/", nil, false
	}
	first = path
	if i := bytes.IndexByte(path[1:], '/'); i >= 0 {
		first, below = path[:i+1], i+2 < len(path)
	}
	// The first segment of an unknown path is kept unless it is an address, or
	// looks as if it carried something ("/~user").
	if len(first) > 64 || len(first) == 1 {
		return "/" + more, nil, false
	}
	for _, c := range first[1:] {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return "/" + more, nil, false
		}
	}
	return "", first, below
}

// equalFold says whether b is s but for the case of ASCII letters; s is in
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
