package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// LoadSite reads a site file. The name stands in messages; the error is Mistakes,
// all of them.
func LoadSite(name string, data []byte) (*Site, error) {
	r := siteReader{reader: reader{file: name}, addrs: map[netip.Addr]pos{}, nets: map[netip.Prefix]pos{}, names: map[string]pos{}}
	if body := r.parse(data); body != nil {
		r.each(body, "a site file", r.top)
	}
	if m := r.sorted(); len(m) > 0 {
		return nil, m
	}
	return &r.site, nil
}

// Port returns the port of a leg, with the site's own where the leg's can be
// changed. A nil site changes nothing.
func (s *Site) Port(l *Leg) Port {
	p := l.Port
	if s != nil && l.SitePort == "log_shipping_port" && s.LogShippingPort != 0 {
		p.From, p.To = s.LogShippingPort, s.LogShippingPort
	}
	return p
}

type siteReader struct {
	reader
	site  Site
	addrs map[netip.Addr]pos
	nets  map[netip.Prefix]pos
	names map[string]pos
}

func (r *siteReader) top(key string, at pos, v ast.Node) bool {
	switch key {
	case "exchange":
		r.site.Version = r.one(v, "Exchange version", versions)
	case "servers":
		r.items(v, key, r.server)
	case "networks":
		r.items(v, key, r.network)
	case "log_shipping_port":
		r.site.LogShippingPort = r.number(v, key)
	case "allow":
		r.items(v, key, r.allow)
	default:
		return false
	}
	return true
}

// number reads a port number.
func (r *siteReader) number(n ast.Node, what string) uint16 {
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
				r.fail(nodePos(v), "server name %q is there already, in line %d", s.Name, old.line)
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
			r.items(v, key, func(v ast.Node) {
				text := r.text(v, key)
				if text == "" {
					return
				}
				if role, ok := r.role(word{text, nodePos(v)}, false); ok {
					if slices.Contains(s.Roles, role) {
						r.fail(nodePos(v), "roles has %q twice", role)
					}
					s.Roles = append(s.Roles, role)
				}
			})
			if seq, ok := v.(*ast.SequenceNode); ok && len(seq.Values) == 0 {
				r.fail(nodePos(v), "roles is empty")
			}
		case "exchange":
			s.Version = r.one(v, "Exchange version", versions)
		case "static_ports":
			if v == nil {
				break
			}
			s.StaticPorts = map[string]uint16{}
			r.each(v, key, func(service string, at pos, v ast.Node) bool {
				if strings.ToLower(service) != service || strings.ContainsAny(service, " ,|*") {
					r.fail(at, "%q is no RPC service: one word in lower case, such as emsmdb or nspi", service)
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
	for _, key := range []string{"addresses", "roles"} {
		if !seen[key] {
			r.fail(nodePos(n), "the server has no %q", key)
		}
	}
	r.site.Servers = append(r.site.Servers, s)
}

func (r *siteReader) address(n ast.Node) (netip.Addr, bool) {
	s := r.text(n, "an address")
	if s == "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "":
		r.fail(nodePos(n), "bad address %q", s)
		return a, false
	case a.IsUnspecified() || a.IsMulticast():
		r.fail(nodePos(n), "address %q is not a host's", s)
		return a, false
	}
	a = a.Unmap()
	if old, ok := r.addrs[a]; ok {
		r.fail(nodePos(n), "address %s is there already, in line %d", a, old.line)
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
			s := r.text(v, key)
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
					r.fail(nodePos(v), "network %s is there already, in line %d", p, old.line)
					break
				}
				r.nets[p] = nodePos(v)
				w.Prefix = p
			}
		case "role":
			if s := r.text(v, key); s != "" {
				w.Role, _ = r.role(word{s, nodePos(v)}, false)
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
				role, _ := r.role(word{s, nodePos(v)}, true)
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
