package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/exspan/exspan/exporter/text"
)

// byFamily returns the prefixes of IPv4 or of IPv6.
func byFamily(list []netip.Prefix, v4 bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is4() != v4 })
}

// comment returns what a rule is for, as a comment of at most so many bytes that needs
// no quotes inside.
func (r *Rule) comment(limit int) string {
	s := strings.Map(func(c rune) rune {
		switch {
		case c > unicode.MaxASCII || c == '"' || c == '\\' || c == '\'' || !unicode.IsPrint(c):
			return -1
		}
		return c
	}, text.Printable(r.For))
	if len(r.Paths) == 1 {
		s += " (" + r.Paths[0] + ")"
	}
	if len(s) > limit {
		s = s[:limit-3] + "..."
	}
	return s
}

// nftables writes a table of its own, which touches only what reaches or leaves an
// Exchange server.
func (p *Plan) nftables(b *strings.Builder) {
	b.WriteString("table inet exspan {\n")
	for _, v4 := range []bool{true, false} {
		name, kind := "exchange6", "ipv6_addr"
		if v4 {
			name, kind = "exchange4", "ipv4_addr"
		}
		fmt.Fprintf(b, "\tset %s {\n\t\ttype %s\n", name, kind)
		if list := addresses(byFamily(p.Exchange, v4)); len(list) > 0 {
			fmt.Fprintf(b, "\t\telements = { %s }\n", strings.Join(list, ", "))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString(`	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		ip saddr @exchange4 jump allowed
		ip daddr @exchange4 jump allowed
		ip6 saddr @exchange6 jump allowed
		ip6 daddr @exchange6 jump allowed
	}
	chain allowed {
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
`)
	for i := range p.Rules {
		for _, line := range p.Rules[i].nft() {
			b.WriteString("\t\t" + line + "\n")
		}
	}
	b.WriteString("\t\tmeta l4proto tcp reject with tcp reset\n\t\treject with icmpx type admin-prohibited\n\t}\n}\n")
}

// nft returns the statements of a rule: one for each family.
func (r *Rule) nft() []string {
	ports := ""
	if r.Proto != "any" {
		ports = fmt.Sprintf("%s dport { %s } ", r.Proto, r.joined(", "))
	}
	end := func(e *Ends, family, side string, v4 bool) (string, bool) {
		if e.Any {
			return "", true
		}
		list := addresses(byFamily(e.Prefixes, v4))
		return fmt.Sprintf("%s %s { %s } ", family, side, strings.Join(list, ", ")), len(list) > 0
	}
	var lines []string
	for _, v4 := range []bool{true, false} {
		family := "ip6"
		if v4 {
			family = "ip"
		}
		from, ok := end(&r.From, family, "saddr", v4)
		to, ok2 := end(&r.To, family, "daddr", v4)
		if !ok || !ok2 || from+to == "" && !v4 {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s%s%saccept comment \"%s\"", from, to, ports, r.comment(120)))
	}
	return lines
}

// maxPorts is how many ports one match of multiport takes; a range counts as two.
const maxPorts = 15

// iptables writes a chain of its own for one family.
func (p *Plan) iptables(b *strings.Builder, v4 bool) {
	load, family, other, format, reject := "iptables-restore", "IPv4", "IPv6", IP6Tables, "icmp-admin-prohibited"
	if !v4 {
		load, family, other, format, reject = "ip6tables-restore", "IPv6", "IPv4", IPTables, "icmp6-adm-prohibited"
	}
	fmt.Fprintf(b, "# Load it with: %s --noflush\n", load)
	if len(byFamily(p.Exchange, !v4)) > 0 {
		fmt.Fprintf(b, "# It holds %s alone; --format %s has the rules for %s, and --format nftables both.\n", family, format, other)
	}
	servers := addresses(byFamily(p.Exchange, v4))
	if len(servers) == 0 {
		fmt.Fprintf(b, "# No Exchange server with an address of %s is known, so nothing comes to this chain.\n", family)
	}
	b.WriteString("*filter\n:EXSPAN - [0:0]\n")
	for _, a := range servers {
		fmt.Fprintf(b, "-A FORWARD -s %s -j EXSPAN\n-A FORWARD -d %s -j EXSPAN\n", a, a)
	}
	b.WriteString("-A EXSPAN -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n")
	if !v4 {
		// Routers and neighbours (RFC 4861) are not found without these.
		for kind := 133; kind <= 136; kind++ {
			fmt.Fprintf(b, "-A EXSPAN -p icmpv6 --icmpv6-type %d -j ACCEPT\n", kind)
		}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		from, ok := iptablesEnd("-s", &r.From, v4)
		to, ok2 := iptablesEnd("-d", &r.To, v4)
		if !ok || !ok2 {
			continue
		}
		for _, ports := range r.multiport() {
			fmt.Fprintf(b, "-A EXSPAN%s%s%s -m comment --comment \"%s\" -j ACCEPT\n", from, to, ports, r.comment(250))
		}
	}
	fmt.Fprintf(b, "-A EXSPAN -p tcp -j REJECT --reject-with tcp-reset\n-A EXSPAN -j REJECT --reject-with %s\nCOMMIT\n", reject)
}

func iptablesEnd(flag string, e *Ends, v4 bool) (string, bool) {
	if e.Any {
		return "", true
	}
	list := addresses(byFamily(e.Prefixes, v4))
	return " " + flag + " " + strings.Join(list, ","), len(list) > 0
}

// multiport returns matches of the ports of a rule.
func (r *Rule) multiport() []string {
	if r.Proto == "any" {
		return []string{""}
	}
	var out, list []string
	room := maxPorts
	flush := func() {
		if len(list) > 0 {
			out = append(out, fmt.Sprintf(" -p %s -m multiport --dports %s", r.Proto, strings.Join(list, ",")))
		}
		list, room = nil, maxPorts
	}
	for _, x := range r.Ports {
		need := 1
		if x.From != x.To {
			need = 2
		}
		if room < need {
			flush()
		}
		room -= need
		list = append(list, strings.ReplaceAll(x.String(), "-", ":"))
	}
	flush()
	return out
}

// windows writes the rules of each Exchange server for its own Windows Firewall, with
// the names of those that Exchange setup makes, where there are any.
func (p *Plan) windows(b *strings.Builder) {
	var titles []string
	own := map[string][]netip.Prefix{} // the addresses of a server
	for i, server := range p.Exchange {
		title := p.servers[i]
		if own[title] == nil {
			titles = append(titles, title)
		}
		own[title] = append(own[title], server)
	}
	for i, title := range titles {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "rem On %s (%s), as administrator:\n", safe(title), strings.Join(addresses(own[title]), ", "))
		for j := range p.Rules {
			r := &p.Rules[j]
			is := func(x netip.Prefix) bool { return slices.Contains(own[title], x) }
			if !slices.ContainsFunc(r.To.Prefixes, is) {
				continue // what servers send is allowed by default
			}
			remote := "any"
			if !r.From.Any {
				list := slices.DeleteFunc(slices.Clone(r.From.Prefixes), is)
				if remote = strings.Join(addresses(list), ","); remote == "" {
					continue
				}
			}
			fmt.Fprintf(b, "netsh advfirewall firewall add rule name=\"%s\" dir=in action=allow protocol=%s", safe(r.windowsName()), r.Proto)
			if r.Proto != "any" {
				b.WriteString(" localport=" + r.windowsPorts())
			}
			fmt.Fprintf(b, " remoteip=%s description=\"%s\"\n", remote, safe(r.what()))
		}
	}
}

// windowsPorts returns the ports as netsh takes them, which has words for the ports of
// RPC.
func (r *Rule) windowsPorts() string {
	if r.RPC {
		return "RPC"
	}
	var list []string
	for _, x := range r.Ports {
		if x.From == 135 && x.To == 135 && r.Proto == "tcp" {
			list = append(list, "RPC-EPMap")
		} else {
			list = append(list, x.String())
		}
	}
	return strings.Join(list, ",")
}

// windowsName returns the name of the rule of Exchange setup that admits it. Those with
// EPMap in their name are for the endpoint mapper, those with GFW for any program.
func (r *Rule) windowsName() string {
	mapper := len(r.Ports) == 1 && r.Ports[0].From == 135
	best, rank := "exspan: "+r.For, -1
	for _, n := range r.Names {
		k := 0
		if strings.Contains(strings.ToLower(n), "epmap") != mapper {
			continue
		}
		if strings.Contains(n, "RPC") == (r.RPC || mapper) {
			k += 2
		}
		if !strings.Contains(n, "GFW") && !strings.Contains(n, "FGW") {
			k++
		}
		if k > rank {
			best, rank = n, k
		}
	}
	return best
}

// safe returns text for a line of a Windows script: nothing in it is read as anything
// else than text.
func safe(s string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune("\"%^&|<>`$\r\n", c) || !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, text.Printable(s))
}
