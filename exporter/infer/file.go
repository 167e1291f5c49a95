package infer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// file returns the site file.
func (s *Sink) file(servers []*server, networks []network, open []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Inferred from %s on %s. Review it; what is marked ? is a guess.\n"+
		"# Take off \"partial: true\" where a server has no other roles.\n", comment(s.o.Title), s.o.Date)
	version := s.version(servers)
	if version != "" {
		fmt.Fprintf(&b, "exchange: %q\n", version)
	}
	if len(servers) > 0 {
		b.WriteString("servers:\n")
	} else {
		b.WriteString("# No server was recognised. Name them here: {name: mb1, addresses: [10.0.0.5], roles: [mailbox]}\nservers: []\n")
	}
	for _, e := range servers {
		writeServer(&b, e, version)
	}
	if len(networks) > 0 {
		b.WriteString("networks:\n")
	}
	for _, n := range networks {
		fmt.Fprintf(&b, "  - {cidr: %s, role: %s}", quoteAddr(n.cidr.String()), n.role)
		if n.hosts > 0 {
			fmt.Fprintf(&b, " # ? %d hosts in it are clients, none is anything else", n.hosts)
		}
		b.WriteByte('\n')
	}
	if s.o.Site != nil {
		writeRest(&b, s.o.Site)
	}
	if len(open) > 0 {
		b.WriteString("\n# Traffic leaves open which role these have; add them to servers with the right one:\n")
	}
	for _, line := range open {
		b.WriteString("#   " + comment(line) + "\n")
	}
	s.writeUnknown(&b)
	return b.String()
}

// version returns the version of the operator's site file, else the one that all
// servers with a proven version share, or "".
func (s *Sink) version(servers []*server) string {
	if s.o.Site != nil && s.o.Site.Version != "" {
		return s.o.Site.Version
	}
	version := ""
	for _, e := range servers {
		if e.version == "" || e.given {
			continue
		}
		if version != "" && version != e.version {
			return ""
		}
		version = e.version
	}
	if !rules.HasRules(version) {
		return ""
	}
	return version
}

func writeServer(b *strings.Builder, e *server, version string) {
	b.WriteString("  - ")
	if e.name != "" {
		b.WriteString("name: " + strconv.Quote(text.Printable(e.name)) + "\n    ")
	}
	addrs := make([]string, len(e.addrs))
	for i, a := range e.addrs {
		addrs[i] = quoteAddr(a.String())
	}
	fmt.Fprintf(b, "addresses: [%s]\n", strings.Join(addrs, ", "))
	if len(e.roles) > 0 {
		fmt.Fprintf(b, "    roles: [%s]\n", roleList(e.roles))
	}
	if e.partial && (e.given || len(e.oneOf) == 0) { // alternatives may have more anyway
		b.WriteString("    partial: true\n")
	}
	if len(e.oneOf) > 0 && e.given {
		fmt.Fprintf(b, "    one_of: [%s]\n", roleList(e.oneOf))
	} else if len(e.oneOf) > 0 {
		fmt.Fprintf(b, "    one_of: [%s] # ? traffic leaves open which; write the right one under roles\n", roleList(e.oneOf))
	}
	for _, p := range e.proofs {
		b.WriteString("      # " + comment(p) + "\n")
	}
	if e.version != "" && e.version != version && rules.HasRules(e.version) {
		fmt.Fprintf(b, "    exchange: %q\n", e.version)
	}
	if len(e.ports) > 0 {
		ports := make([]string, len(e.ports))
		guess := ""
		for i, p := range e.ports {
			ports[i] = fmt.Sprintf("%s: %d", p.service, p.number)
			if p.guess {
				guess = " # ? each in the range for pinned ports, and the only one of its service"
			}
		}
		fmt.Fprintf(b, "    static_ports: {%s}%s\n", strings.Join(ports, ", "), guess)
	}
}

func roleList(roles []rules.Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = string(r)
	}
	return strings.Join(words, ", ")
}

// writeRest writes what else is in the operator's site file.
func writeRest(b *strings.Builder, site *rules.Site) {
	if site.LogShippingPort != 0 {
		fmt.Fprintf(b, "log_shipping_port: %d\n", site.LogShippingPort)
	}
	if len(site.Allow) > 0 {
		b.WriteString("allow:\n")
	}
	for _, a := range site.Allow {
		fmt.Fprintf(b, "  - {from: %s, to: %s, port: %s", a.From, a.To, a.Port)
		if a.Note != "" {
			b.WriteString(", note: " + strconv.Quote(a.Note))
		}
		b.WriteString("}\n")
	}
	if len(site.Accept) > 0 {
		b.WriteString("accept:\n")
	}
	for i := range site.Accept {
		writeAccept(b, &site.Accept[i])
	}
	writePrefixes(b, "relays", site.Relays)
	writePrefixes(b, "mirrors", site.Mirrors)
}

func writeAccept(b *strings.Builder, a *rules.Accept) {
	fmt.Fprintf(b, "  - {finding: %s", a.Finding)
	if a.Path != "" {
		b.WriteString(", path: " + strconv.Quote(a.Path))
	}
	if t := endText(a.From); t != "" {
		b.WriteString(", from: " + strconv.Quote(t))
	}
	if t := endText(a.To); t != "" {
		b.WriteString(", to: " + strconv.Quote(t))
	}
	if !a.Until.IsZero() {
		b.WriteString(", until: " + a.Until.Format(time.DateOnly))
	}
	if a.Note != "" {
		b.WriteString(", note: " + strconv.Quote(a.Note))
	}
	b.WriteString("}\n")
}

// endText returns an end of an accepted finding as a site file has it, or "".
func endText(e rules.End) string {
	switch {
	case e.Role != "":
		return string(e.Role)
	case e.Server != "":
		return e.Server
	case !e.Prefix.IsValid():
		return ""
	}
	return text.Prefix(e.Prefix)
}

func writePrefixes(b *strings.Builder, key string, list []netip.Prefix) {
	if len(list) == 0 {
		return
	}
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = quoteAddr(text.Prefix(p))
	}
	fmt.Fprintf(b, "%s: [%s]\n", key, strings.Join(words, ", "))
}

// writeUnknown lists hosts without a role, those with most flows first.
func (s *Sink) writeUnknown(b *strings.Builder) {
	addrs := make([]netip.Addr, 0, len(s.unknown))
	for a := range s.unknown {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, func(x, y netip.Addr) int {
		return cmp.Or(cmp.Compare(s.unknown[y].flows, s.unknown[x].flows), x.Compare(y))
	})
	if len(addrs) > 0 {
		b.WriteString("\n# Not recognised, and talking with Exchange servers; add those that matter to servers:\n")
	}
	for _, a := range addrs {
		u := s.unknown[a]
		name := a.String()
		if u.name != "" {
			name += " " + u.name
		}
		fmt.Fprintf(b, "#   %s: %s; %s\n", comment(name), text.Count(u.flows, "flow"), comment(strings.Join(u.with, ", ")))
	}
}

// quoteAddr quotes what YAML would take apart inside brackets.
func quoteAddr(s string) string {
	if strings.Contains(s, ":") {
		return strconv.Quote(s)
	}
	return s
}

// comment returns text that stays on its line.
func comment(s string) string { return text.Printable(s) }
