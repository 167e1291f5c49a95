package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// LoadSite parses a site file. name appears in messages. The error is of type Mistakes
// and holds all mistakes.
func LoadSite(name string, data []byte) (*Site, error) {
	r := siteReader{reader: reader{file: name}, addrs: map[netip.Addr]pos{}, nets: map[netip.Prefix]pos{}, names: map[string]pos{}}
	if body := r.parse(data); body != nil {
		r.each(body, "a site file", r.top)
		r.resolve()
	}
	if m := r.sorted(); len(m) > 0 {
		return nil, m
	}
	return &r.site, nil
}

// Server returns the server that has an address, or nil. A nil Site has none.
func (s *Site) Server(a netip.Addr) *Server {
	if s == nil {
		return nil
	}
	for i := range s.Servers {
		if slices.Contains(s.Servers[i].Addresses, a.Unmap()) {
			return &s.Servers[i]
		}
	}
	return nil
}

// Network returns the smallest network that contains an address, or nil. A nil Site has
// none.
func (s *Site) Network(a netip.Addr) *Network {
	if s == nil {
		return nil
	}
	var best *Network
	for i := range s.Networks {
		if n := &s.Networks[i]; n.Prefix.Contains(a.Unmap()) && (best == nil || n.Prefix.Bits() > best.Prefix.Bits()) {
			best = n
		}
	}
	return best
}

// Port returns the port of a leg, or the port in the site file if the file sets one for
// the leg. A nil Site sets none.
func (s *Site) Port(l *Leg) Port {
	p := l.Port
	if s != nil && l.SitePort == "log_shipping_port" && s.LogShippingPort != 0 {
		p.From, p.To = s.LogShippingPort, s.LogShippingPort
	}
	return p
}

// siteKeys lists the keys of a site file.
var siteKeys = []string{"exchange", "servers", "networks", "log_shipping_port", "allow", "accept", "relays", "mirrors", "sensors"}

type siteReader struct {
	reader
	site  Site
	addrs map[netip.Addr]pos
	nets  map[netip.Prefix]pos
	names map[string]pos
	named []word // words that may be the name of a server
}

func (r *siteReader) top(key string, at pos, v ast.Node) bool {
	switch key {
	case "exchange":
		r.site.Version = r.version(v)
	case "servers":
		r.items(v, key, r.server)
	case "networks":
		r.items(v, key, r.network)
	case "log_shipping_port":
		r.site.LogShippingPort = r.number(v, key)
	case "allow":
		r.items(v, key, r.allow)
	case "accept":
		r.items(v, key, r.accept)
	case "relays":
		r.items(v, key, func(v ast.Node) { r.site.Relays = append(r.site.Relays, r.hosts(v)...) })
	case "mirrors":
		r.items(v, key, func(v ast.Node) { r.site.Mirrors = append(r.site.Mirrors, r.hosts(v)...) })
	case "sensors":
		r.items(v, key, func(v ast.Node) {
			if s := r.text(v, "name of a sensor"); s != "" {
				r.site.Sensors = append(r.site.Sensors, s)
			}
		})
	default:
		return false
	}
	return true
}

// version reads the Exchange version of servers, which must be a version with rules.
func (r *siteReader) version(n ast.Node) string {
	s := r.text(n, "Exchange version")
	if strings.EqualFold(s, "SE") {
		s = "SE"
	}
	if s != "" && !HasRules(s) {
		r.fail(nodePos(n), "there are no rules for Exchange %q; in a site file the version is one of %s", s, strings.Join(ruledVersions, ", "))
		return ""
	}
	return s
}

// number reads a port number.
func (r *reader) number(n ast.Node, what string) uint16 {
	s := r.text(n, what)
	p, ok := portNumber(s)
	if !ok && s != "" {
		r.fail(nodePos(n), "bad %s %q: ports are 1 to 65535", what, s)
	}
	return p
}

func (r *siteReader) server(n ast.Node) {
	var s Server
	seen := map[string]bool{}
	before := len(r.mistakes)
	r.each(n, "a server", func(key string, at pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "name":
			if s.Name = r.text(v, key); s.Name == "" {
				break
			}
			fold := strings.ToLower(s.Name)
			if old, ok := r.names[fold]; ok {
				r.fail(nodePos(v), "server name %q is already defined in line %d", s.Name, old.line)
			} else {
				r.names[fold] = nodePos(v)
			}
		case "addresses":
			r.items(v, key, func(v ast.Node) {
				if a, ok := r.address(v); ok {
					s.Addresses = append(s.Addresses, a)
				}
			})
			if seq, ok := v.(*ast.SequenceNode); ok && len(seq.Values) == 0 {
				r.fail(nodePos(v), "addresses is empty")
			}
		case "roles":
			s.Roles = r.serverRoles(key, v)
		case "one_of":
			if s.OneOf = r.serverRoles(key, v); len(s.OneOf) == 1 {
				r.fail(nodePos(v), "one_of has a single role: that belongs in roles")
			}
		case "partial":
			s.Partial = r.flag(v, key)
		case "exchange":
			s.Version = r.version(v)
		case "static_ports":
			if v == nil {
				break
			}
			s.StaticPorts = map[string]uint16{}
			r.each(v, key, func(service string, at pos, v ast.Node) bool {
				if names := pinnable(); !slices.Contains(names, service) {
					r.fail(at, "no service %q has a port that can be pinned (one of %s)%s", service, strings.Join(names, ", "), guess(service, names))
				}
				s.StaticPorts[service] = r.number(v, "port of "+service)
				return true
			})
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return
	}
	if !seen["addresses"] {
		r.fail(nodePos(n), "the server has no %q", "addresses")
	}
	if !seen["roles"] && !seen["one_of"] {
		r.fail(nodePos(n), "the server has no %q", "roles")
	}
	r.site.Servers = append(r.site.Servers, s)
}

// serverRoles reads a list of roles of a server.
func (r *siteReader) serverRoles(key string, n ast.Node) (list []Role) {
	r.items(n, key, func(v ast.Node) {
		text := r.text(v, key)
		if text == "" {
			return
		}
		if role, ok := r.siteRole(word{text, nodePos(v)}, ofHost); ok {
			if slices.Contains(list, role) {
				r.fail(nodePos(v), "%s has %q twice", key, role)
			}
			list = append(list, role)
		}
	})
	if seq, ok := n.(*ast.SequenceNode); ok && len(seq.Values) == 0 {
		r.fail(nodePos(n), "%s is empty", key)
	}
	return list
}

func (r *siteReader) address(n ast.Node) (netip.Addr, bool) {
	s := r.addressText(n, "an address")
	if s == "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.HasSuffix(s, ":"):
		r.fail(nodePos(n), "bad address %q; %s", s, quoteHint)
		return a, false
	case err != nil:
		r.fail(nodePos(n), "bad address %q", s)
		return a, false
	case a.Zone() != "":
		r.fail(nodePos(n), "bad address %q: a site file has no zones", s)
		return a, false
	case a.IsUnspecified() || a.IsMulticast():
		r.fail(nodePos(n), "address %q is not a host's", s)
		return a, false
	}
	a = a.Unmap()
	if old, ok := r.addrs[a]; ok {
		r.fail(nodePos(n), "address %s is already listed in line %d", a, old.line)
		return a, false
	}
	r.addrs[a] = nodePos(n)
	return a, true
}

func (r *siteReader) network(n ast.Node) {
	var w Network
	seen := map[string]bool{}
	before := len(r.mistakes)
	r.each(n, "a network", func(key string, at pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "cidr":
			s := r.addressText(v, key)
			if s == "" {
				break
			}
			p, err := netip.ParsePrefix(s)
			switch {
			case err != nil:
				r.fail(nodePos(v), "bad network %q: an address and a length, such as 10.9.0.0/16", s)
			case p != p.Masked():
				r.fail(nodePos(v), "bad network %q: it has host bits, the network is %s", s, p.Masked())
			default:
				if old, ok := r.nets[p]; ok {
					r.fail(nodePos(v), "network %s is already listed in line %d", p, old.line)
					break
				}
				r.nets[p] = nodePos(v)
				w.Prefix = p
			}
		case "role":
			if s := r.text(v, key); s != "" {
				w.Role, _ = r.siteRole(word{s, nodePos(v)}, ofHost)
			}
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return
	}
	for _, key := range []string{"cidr", "role"} {
		if !seen[key] {
			r.fail(nodePos(n), "the network has no %q", key)
		}
	}
	r.site.Networks = append(r.site.Networks, w)
}

func (r *siteReader) allow(n ast.Node) {
	var a Allow
	seen := map[string]bool{}
	before := len(r.mistakes)
	r.each(n, "an allowed flow", func(key string, at pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "from", "to":
			if s := r.text(v, key); s != "" {
				role, _ := r.siteRole(word{s, nodePos(v)}, ofPath)
				if key == "from" {
					a.From = role
				} else {
					a.To = role
				}
			}
		case "port":
			s := r.text(v, key)
			if s == "" {
				break
			}
			p, err := ParsePort(s)
			if err == nil && p.Dynamic {
				err = fmt.Errorf("bad port %q: dynamic ports cannot be allowed", s)
			} else if err == nil && p.IP != "" {
				err = fmt.Errorf("bad port %q: an allowed flow has a port number", s)
			}
			if err != nil {
				r.fail(nodePos(v), "%v", err)
			}
			a.Port = p
		case "note":
			a.Note = r.text(v, key)
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return
	}
	for _, key := range []string{"from", "to", "port"} {
		if !seen[key] {
			r.fail(nodePos(n), "the allowed flow has no %q", key)
		}
	}
	r.site.Allow = append(r.site.Allow, a)
}

// siteRole reads a role. If w is not a role, it reports the roles that a site file can
// use.
func (r *siteReader) siteRole(w word, allowed ends) (Role, bool) {
	if !slices.Contains(roles, Role(w.text)) {
		words := slices.DeleteFunc(slices.Clone(roleWords), func(s string) bool {
			return allowed == ofHost && (s == string(Any) || s == string(AnyExchange))
		})
		hint := guess(w.text, words)
		if hint == "" {
			hint = "; it is one of " + strings.Join(words, ", ")
		}
		r.fail(w.at, "unknown role %q in a site file%s", w.text, hint)
		return "", false
	}
	return r.role(w, allowed)
}

// quoteHint is the hint that an IPv6 address needs quotes inside brackets and braces,
// where YAML interprets ":" as the end of a key.
const quoteHint = `an IPv6 address needs quotes, as in "2001:db8::5"`

// addressText returns the text of an address or a network. An IPv6 address without the
// necessary quotes is parsed as a mapping.
func (r *siteReader) addressText(n ast.Node, what string) string {
	if n != nil && kind(n) == "a mapping" {
		r.fail(nodePos(n), "%s must be a text; %s", what, quoteHint)
		return ""
	}
	return r.text(n, what)
}

// hosts reads an address or a network.
func (r *siteReader) hosts(n ast.Node) []netip.Prefix {
	s := r.addressText(n, "an address")
	if s == "" {
		return nil
	}
	p, err := parseHosts(s)
	if err != nil {
		r.fail(nodePos(n), "bad address %q: an address, or a network such as 10.9.0.0/16", s)
		return nil
	}
	return []netip.Prefix{p}
}

// parseHosts parses an address, which becomes a network of one host, or a network.
func parseHosts(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p != p.Masked() {
		err = fmt.Errorf("%s has host bits", s)
	}
	return p, err
}

// accept reads a deviation that the operator accepts.
func (r *siteReader) accept(n ast.Node) {
	a := Accept{File: r.file, Line: nodePos(n).line}
	r.fields(n, "an accepted finding", []string{"finding"}, func(key string, at pos, v ast.Node) bool {
		switch key {
		case "finding":
			a.Finding = r.oneWord(v, key, findingIDs())
		case "path":
			if a.Path = r.text(v, key); a.Path != "" && !pathPattern(a.Path) {
				r.fail(nodePos(v), "%q is not a data path: the id of one, such as 2010.cas.pop3, or its beginning with *", a.Path)
			}
		case "from":
			a.From = r.end(v, key)
		case "to":
			a.To = r.end(v, key)
		case "until":
			s := r.text(v, key)
			day, err := time.Parse(time.DateOnly, s)
			if err != nil && s != "" {
				r.fail(nodePos(v), "bad date %q: a day such as 2026-12-31", s)
			}
			a.Until = day
		case "note":
			a.Note = r.text(v, key)
		default:
			return false
		}
		return true
	})
	r.site.Accept = append(r.site.Accept, a)
}

// pathPattern reports whether s can be the id of a data path, or the beginning of ids
// followed by "*".
func pathPattern(s string) bool {
	s = strings.TrimSuffix(s, "*")
	return s == "" || strings.Contains(s, ".") && !strings.ContainsAny(s, " *,|")
}

// end reads one end of a flow: a role, an address, a network, or the name of a
// server.
func (r *siteReader) end(n ast.Node, what string) End {
	s := r.text(n, what)
	switch p, err := parseHosts(s); {
	case s == "" || s == string(Any):
		return End{}
	case slices.Contains(roles, Role(s)):
		return End{Role: Role(s)}
	case err == nil:
		return End{Prefix: p}
	}
	r.named = append(r.named, word{s, nodePos(n)})
	return End{Server: s}
}

// resolve checks the names of servers after all servers have been read.
func (r *siteReader) resolve() {
	for _, w := range r.named {
		if _, ok := r.names[strings.ToLower(w.text)]; ok {
			continue
		}
		known := slices.Clone(roleWords)
		for _, s := range r.site.Servers {
			if s.Name != "" {
				known = append(known, s.Name)
			}
		}
		r.fail(w.at, "%q is not a role, an address, a network or the name of a server in this site file%s", w.text, guess(w.text, known))
	}
}

// pinnable returns the names that static_ports may contain: the RPC interfaces of
// services whose port can be pinned.
func pinnable() []string {
	var list []string
	for _, k := range builtin {
		for i := range k.Pinned {
			for _, name := range k.Pinned[i].Interfaces {
				if k.Pinned[i].Site && !slices.Contains(list, name) {
					list = append(list, name)
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// findingIDs returns the ids of the findings in the built-in policy.
func findingIDs() []string {
	p := (&Packs{packs: builtin}).Policy()
	return slices.Concat(p.Violations, p.Remarks)
}
