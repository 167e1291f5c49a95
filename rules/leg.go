package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// rpcInterface is the fact that names the RPC interfaces of a flow.
const rpcInterface = "rpc.interface"

// portless lists the protocols whose legs have no port.
var portless = []string{"icmp", "icmp6", "esp", "ah"}

// legFlags lists the words that may follow the protocol of a leg.
var legFlags = []string{"reverse", "dynamic", "static", NotApplicable, "configurable", "multicast"}

// parseLeg parses a leg in the form of the reference tables:
//
//	PORT/PROTO [protocol[details]] [flags]
//
// The details are in brackets and separated by commas. Their meaning depends on the
// protocol; see details.
func parseLeg(s string) (Leg, error) {
	l := Leg{Text: s}
	bad := func(format string, args ...any) (Leg, error) {
		return Leg{}, fmt.Errorf("bad leg %q: %s", s, fmt.Sprintf(format, args...))
	}
	words := strings.Split(s, " ")
	port := words[0]
	words = words[1:]
	list := ""
	if len(words) > 0 && !slices.Contains(legFlags, words[0]) {
		var found bool
		if l.Protocol, list, found = strings.Cut(words[0], "["); found {
			if list, found = strings.CutSuffix(list, "]"); !found || list == "" {
				return bad("details stand in brackets, as in dcerpc[emsmdb]")
			}
		}
		if l.Protocol == "" || l.Protocol != strings.ToLower(l.Protocol) {
			return bad("protocol %q must be a word in lower case", l.Protocol)
		}
		words = words[1:]
	}
	for i, w := range words {
		switch {
		case slices.Contains(words[:i], w):
			return bad("%s is there twice", w)
		case w == "reverse":
			l.Reverse = true
		case w == "dynamic":
			port += " dynamic"
		case w == "static":
			l.Static = true
		case w == NotApplicable:
			l.Auth, l.Encryption = NotApplicable, NotApplicable
		case w == "configurable":
			l.Configurable = true
		case w == "multicast":
			l.Multicast = true
		default:
			return bad("unknown flag %q (one of %s)", w, strings.Join(legFlags, ", "))
		}
	}
	var err error
	if l.Port, err = ParsePort(port); err != nil {
		return Leg{}, err
	}
	if l.Static && l.Port.Dynamic {
		return bad("a port is static or dynamic, not both")
	}
	if l.Protocol == "cotp" {
		l.Protocol = "x400" // the protocol that runs on top of it
	}
	if l.Protocol == "rtp" {
		// Without a session description, media is recognised only by its form.
		l.MaxConfidence = "pattern"
	}
	if list != "" {
		if why := l.details(strings.Split(list, ",")); why != "" {
			return bad("%s", why)
		}
	}
	return l, nil
}

// details sets the fields of the leg for its details and returns a description of what is
// wrong with them, or "".
func (l *Leg) details(list []string) string {
	for i, d := range list {
		if d == "" {
			return "an empty detail"
		}
		if slices.Contains(list[:i], d) {
			return fmt.Sprintf("detail %q is there twice", d)
		}
	}
	switch l.Protocol {
	case "dcerpc":
		l.Facts = []Fact{{rpcInterface, list}}
		if slices.Equal(list, []string{Unnamed}) {
			// One unknown interface looks like any other.
			l.MaxConfidence = "pattern"
		}
	case "http":
		var paths, hosts []string
		for _, d := range list {
			switch {
			case !strings.HasPrefix(d, "/"):
				// A pattern can mean a path or a host.
				paths, hosts = append(paths, d), append(hosts, d)
			case d == "/" || strings.Contains(d, "*"):
				paths = append(paths, d)
			default:
				paths = append(paths, d+"*")
			}
		}
		if len(hosts) == 0 {
			l.Facts = []Fact{{"http.path", paths}}
		} else {
			l.Either = []Fact{{"http.host", hosts}, {"http.path", paths}}
		}
	case "tls":
		if strings.Contains(list[0], ".") {
			l.Facts = []Fact{{"tls.server_name", list}}
		} else if len(list) > 1 {
			return "TLS carries one protocol"
		} else {
			l.Inside = list[0]
		}
	case "nmf":
		var uris []string
		for _, d := range list {
			uris = append(uris, "*"+d)
		}
		l.Facts = []Fact{{"nmf.uri", uris}}
	case "smb":
		name := "smb.pipe"
		if list[0] == strings.ToUpper(list[0]) {
			name = "smb.share"
		}
		l.Facts = []Fact{{name, list}}
	default:
		return fmt.Sprintf("%s has no details", l.Protocol)
	}
	return ""
}

// ParsePort parses a port in the form of packs and site files: "25/tcp", "389/tcp+udp",
// "5075-5077/tcp", "dynamic/udp", "6005-59530/tcp dynamic", "-/esp".
func ParsePort(s string) (Port, error) {
	bad := func(why string) (Port, error) {
		return Port{}, fmt.Errorf("bad port %q: %s", s, why)
	}
	var p Port
	rest, dynamic := strings.CutSuffix(s, " dynamic")
	p.Dynamic = dynamic
	numbers, proto, ok := strings.Cut(rest, "/")
	if !ok {
		return bad("no /tcp or /udp")
	}
	if slices.Contains(portless, proto) {
		if numbers != "-" || dynamic {
			return bad(proto + " has no ports: write -/" + proto)
		}
		p.IP = proto
		return p, nil
	}
	switch proto {
	case "tcp":
		p.TCP = true
	case "udp":
		p.UDP = true
	case "tcp+udp":
		p.TCP, p.UDP = true, true
	default:
		return bad("the protocol must be tcp, udp, tcp+udp, icmp, icmp6, esp or ah")
	}
	if numbers == "dynamic" {
		if p.Dynamic {
			return bad("dynamic is there twice")
		}
		p.Dynamic = true
		return p, nil
	}
	first, last, isRange := strings.Cut(numbers, "-")
	if p.From, ok = portNumber(first); !ok {
		return bad("ports are 1 to 65535")
	}
	p.To = p.From
	if isRange {
		if p.To, ok = portNumber(last); !ok {
			return bad("ports are 1 to 65535")
		}
		if p.To < p.From {
			return bad("the range runs backwards")
		}
	}
	return p, nil
}

func portNumber(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

// String returns the port in the form that ParsePort parses.
func (p Port) String() string {
	if p.IP != "" {
		return "-/" + p.IP
	}
	proto := "tcp"
	if p.UDP {
		proto = "udp"
		if p.TCP {
			proto = "tcp+udp"
		}
	}
	switch {
	case p.From == 0 && p.Dynamic:
		return "dynamic/" + proto
	case p.From == p.To:
		proto = fmt.Sprintf("%d/%s", p.From, proto)
	default:
		proto = fmt.Sprintf("%d-%d/%s", p.From, p.To, proto)
	}
	if p.Dynamic {
		proto += " dynamic"
	}
	return proto
}

// Contains reports whether n is in the range of port numbers. Without a range it always
// is.
func (p Port) Contains(n uint16) bool { return p.From == 0 || n >= p.From && n <= p.To }

// Fits reports whether a value matches a pattern of a Match, ignoring case. "*" at the
// beginning or the end of the pattern matches any text. Fits does not interpret Unnamed.
func Fits(pattern, value string) bool {
	if pattern == "*" {
		return value != ""
	}
	rest, head := strings.CutPrefix(pattern, "*")
	rest, tail := strings.CutSuffix(rest, "*")
	switch {
	case head && tail:
		for i := 0; i+len(rest) <= len(value); i++ {
			if strings.EqualFold(value[i:i+len(rest)], rest) {
				return true
			}
		}
		return false
	case tail:
		return len(value) >= len(rest) && strings.EqualFold(value[:len(rest)], rest)
	case head:
		return len(value) >= len(rest) && strings.EqualFold(value[len(value)-len(rest):], rest)
	}
	return strings.EqualFold(value, rest)
}
