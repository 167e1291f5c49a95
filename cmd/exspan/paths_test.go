package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/rules"
)

// referenceLeg is a leg of testdata/reference/data-paths.tsv: PORT/PROTO
// [protocol[details]] [flags].
type referenceLeg struct {
	text      string
	low, high int // 0 if the port is dynamic or there is none
	dynamic   bool
	protos    []string // tcp, udp, or a protocol without ports
	protocol  string
	details   []string
	flags     []string
}

func (l *referenceLeg) is(flag string) bool { return slices.Contains(l.flags, flag) }

func parseLeg(text string) (l referenceLeg, err error) {
	l.text = text
	words := strings.Fields(text)
	if len(words) == 0 {
		return l, errors.New("an empty leg")
	}
	port, proto, ok := strings.Cut(words[0], "/")
	l.protos = strings.Split(proto, "+")
	switch low, high, isRange := strings.Cut(port, "-"); {
	case !ok:
		return l, fmt.Errorf("%q is not a port and protocol", words[0])
	case port == "-":
	case port == "dynamic":
		l.dynamic = true
	default:
		if !isRange {
			high = low
		}
		var err2 error
		l.low, err = strconv.Atoi(low)
		l.high, err2 = strconv.Atoi(high)
		if err = errors.Join(err, err2); err != nil {
			return l, err
		}
	}
	for _, w := range words[1:] {
		switch w {
		case "reverse", "dynamic", "static", "n/a", "configurable", "multicast":
			l.flags = append(l.flags, w)
			l.dynamic = l.dynamic || w == "dynamic"
		default:
			if l.protocol != "" {
				return l, fmt.Errorf("%q: two protocols", text)
			}
			name, details, _ := strings.Cut(strings.TrimSuffix(w, "]"), "[")
			l.protocol, l.details = name, splitCell(details, ",")
		}
	}
	return l, nil
}

// documentedPath is a row of data-paths.tsv.
type documentedPath struct {
	row  map[string]string
	legs []referenceLeg
}

func (d *documentedPath) id() string { return d.row["id"] }

func documentedPaths(t *testing.T) (all []documentedPath) {
	t.Helper()
	for _, row := range readTable(t, filepath.Join(testdataDir, "reference", "data-paths.tsv")) {
		d := documentedPath{row: row}
		for _, text := range splitCell(row["ports"], ";") {
			l, err := parseLeg(text)
			if err != nil {
				t.Fatalf("%s: %v", row["id"], err)
			}
			d.legs = append(d.legs, l)
		}
		all = append(all, d)
	}
	return all
}

// portless reports whether no leg has ports.
func (d *documentedPath) portless() bool {
	return !slices.ContainsFunc(d.legs, func(l referenceLeg) bool { return l.low > 0 || l.dynamic })
}

// unit is one generated conversation of a leg.
type unit struct {
	leg  string // the leg, its part, and the roles
	flow string // in the form of segment.flow
	here bool   // a host communicates with itself
}

// rolesFor returns roles that a host can have in a site file for the roles of a row.
// "dc+mailbox" is a domain controller with Exchange: rows of Windows apply only where an
// Exchange server takes part.
func rolesFor(cell, version string) (all []string) {
	for _, role := range strings.Split(cell, "|") {
		switch {
		case role == "any-exchange":
			all = append(all, "mailbox", "cas", "hub", "edge", "um")
		case role == "any":
			all = append(all, "mailbox", "edge", "mailbox-legacy", "dc", "client")
		case role == "dc" && cell == "dc" && version == rules.Platform:
			all = append(all, "dc", "dc+mailbox")
		default:
			all = append(all, role)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// generate writes packets for every leg of a path between hosts of every pair of its
// roles.
func (p *pathText) generate(d *documentedPath) (units []unit, err error) {
	version := d.row["version"]
	from, to := rolesFor(d.row["from"], version), rolesFor(d.row["to"], version)
	if !slices.ContainsFunc(slices.Concat(from, to), inside) {
		// A global catalog can run on an Exchange server.
		from, to = withMailbox(from), withMailbox(to)
	}
	for _, f := range from {
		for _, t := range to {
			if one := d.row["one_end"]; one != "" && !meets(f, one) && !meets(t, one) || !inside(f) && !inside(t) {
				continue
			}
			for i := range d.legs {
				more, err := p.leg(d, &d.legs[i], f, t, false)
				if err == nil && d.row["local"] == "yes" && f == t {
					var here []unit
					here, err = p.leg(d, &d.legs[i], f, t, true)
					more = append(more, here...)
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", d.legs[i].text, err)
				}
				units = append(units, more...)
			}
		}
	}
	if len(units) == 0 {
		return nil, errors.New("no pair of roles")
	}
	return units, nil
}

func withMailbox(roles []string) []string {
	for i, role := range roles {
		if role == "dc" || role == "gc" {
			roles[i] += "+mailbox"
		}
	}
	return roles
}

// meets reports whether a role is among those that one end must have.
func meets(role, oneEnd string) bool {
	return slices.ContainsFunc(strings.Split(oneEnd, "|"), func(one string) bool {
		return role == one || one == "any-exchange" && inside(role)
	})
}

// inside reports whether a role is that of an Exchange server or of a load balancer,
// whose flows are also judged.
func inside(role string) bool {
	return slices.Contains(exchangeRoles, role) || role == "lb" || strings.HasSuffix(role, "+mailbox")
}

// leg writes the conversations of one leg, between two hosts or, if here is set, within
// one.
func (p *pathText) leg(d *documentedPath, l *referenceLeg, from, to string, here bool) (units []unit, err error) {
	if l.low == 0 && !l.dynamic {
		return nil, nil // without ports
	}
	client, server := p.host(from, false), p.host(to, from == to && !here)
	if l.is("reverse") {
		client, server = server, client
	}
	details := l.details
	if len(details) == 0 {
		details = []string{""}
	}
	for _, proto := range l.protos {
		for _, detail := range details {
			c := pathFlow{client, server, p.next, l.low}
			p.next++
			if l.dynamic {
				c.to = p.high
				p.high++
				if l.low > 0 && (c.to < l.low || c.to > l.high) {
					c.to = l.low + p.high%max(1, min(500, l.high-l.low))
				}
			}
			c2, err := p.converse(d, l, c, proto, detail)
			if err != nil {
				return nil, err
			}
			s := segment{proto: proto, src: addrPort(fmt.Sprintf("%s:%d", p.hosts[c2.client], c2.from)), dst: addrPort(fmt.Sprintf("%s:%d", p.hosts[c2.server], c2.to))}
			units = append(units, unit{fmt.Sprintf("%s, %s %s from %s to %s", l.text, proto, orDash(detail), from, to), s.flow(), here})
		}
	}
	return units, nil
}

// converse writes one conversation and returns its ends.
func (p *pathText) converse(d *documentedPath, l *referenceLeg, c pathFlow, proto, detail string) (pathFlow, error) {
	auth := d.row["default_auth"] + "|" + d.row["supported_auth"]
	if proto == "udp" {
		return p.converseUDP(d, l, c, detail)
	}
	switch l.protocol {
	case "smtp":
		p.talk(&c, smtpTalk(d.row["default_auth"], d.row["encryption"])...)
	case "http":
		method, host, path := "GET", "mail.corp.example", "/"
		switch {
		case strings.HasPrefix(detail, "/"):
			path = strings.ReplaceAll(detail, "*", "x")
		case strings.Contains(detail, "crl") || strings.Contains(detail, "crt"):
			path = "/pki/" + strings.ReplaceAll(detail, "*", "x")
		case detail != "":
			host = strings.ReplaceAll(detail, "*", "x")
		}
		if strings.Contains(d.row["conditions"], "http-methods:CONNECT") {
			method, path = "CONNECT", "198.51.100.9:25"
		}
		p.talk(&c, httpTalk(method, host, path, auth)...)
	case "tls":
		name := ""
		if strings.ContainsAny(detail, ".*") {
			name = strings.NewReplacer("autodiscover.*", "autodiscover.corp.example", "login.*", "login.corp.example", "*", "x").Replace(detail)
		}
		p.talk(&c, tlsTalk(name, strings.Contains(auth, "mtls") || strings.Contains(auth, "certificate"))...)
	case "dcerpc":
		return c, p.rpc(d, l, &c, detail)
	case "kerberos":
		p.talk(&c, "c krb-tgs-req(ldap/dc1.corp.example tcp)", "s krb-tgs-rep(ldap/dc1.corp.example tcp)")
	case "dns":
		p.talk(&c, "c hex(00 21 "+dnsQuestion+")", "s hex(00 21 "+dnsAnswer+")")
	case "nmf":
		if detail == "" {
			detail = "/service"
		}
		p.talk(&c, netTCP("net.tcp://server.corp.example"+detail)...)
	case "smb":
		switch {
		case detail == "":
			p.talk(&c, smbTalk("share", "", "")...)
		case strings.ToUpper(detail) == detail:
			p.talk(&c, smbTalk(detail, "", "")...)
		default:
			iface, _ := p.iface(detail)
			p.talk(&c, smbTalk("", detail, iface)...)
		}
	case "sip":
		p.talk(&c, p.sipCall(&c, c.from+1000, c.from+2000)...)
	default:
		messages := anything
		if g, ok := greetings[l.protocol]; ok {
			messages = g
		}
		p.talk(&c, messages...)
	}
	return c, nil
}

// rpc asks the mapper for the endpoint of a service and binds to the service there.
func (p *pathText) rpc(d *documentedPath, l *referenceLeg, c *pathFlow, detail string) error {
	security := "ntlm privacy"
	if auth := d.row["default_auth"]; strings.Contains(auth, "kerberos") && !strings.Contains(auth, "ntlm") {
		security = "kerberos privacy"
	}
	if detail == "epmapper" {
		// The requested service determines the path of the flow to the mapper.
		i := slices.IndexFunc(d.legs, func(o referenceLeg) bool {
			return o.protocol == "dcerpc" && o.is("reverse") == l.is("reverse") && len(o.details) > 0 && o.details[0] != "epmapper"
		})
		asked := "emsmdb"
		if i >= 0 {
			asked = d.legs[i].details[0]
		}
		iface, err := p.iface(asked)
		p.talk(c, p.mapping(iface, p.high)...)
		p.high++
		return err
	}
	if detail == "" {
		detail = "unnamed"
	}
	iface, err := p.iface(detail)
	if err != nil {
		return err
	}
	if l.dynamic || l.is("static") || c.to > 10000 {
		asked := pathFlow{c.client, c.server, p.next, 135}
		p.next++
		p.talk(&asked, p.mapping(iface, c.to)...)
	}
	messages := rpcTalk(iface, strconv.Itoa(c.to), security)
	if c.to >= 6001 && c.to <= 6004 || c.to == 593 {
		messages = append([]string{"s \"ncacn_http/1.0\""}, messages...)
	}
	p.talk(c, messages...)
	return nil
}

func (p *pathText) mapping(iface string, port int) []string {
	return []string{"c rpc-bind(epmapper)", "s rpc-bind-ack(135)", "c epm-map(" + iface + ")", fmt.Sprintf("s epm-mapped(%s %d)", iface, port)}
}

// groupAddresses maps multicast discovery protocols to their addresses.
var groupAddresses = map[string]string{"llmnr": "224.0.0.252", "mdns": "224.0.0.251", "ssdp": "239.255.255.250", "wsd": "239.255.255.250"}

func (p *pathText) converseUDP(d *documentedPath, l *referenceLeg, c pathFlow, detail string) (pathFlow, error) {
	messages := anything
	switch l.protocol {
	case "ldap":
		messages = cldapTalk
	case "kerberos":
		messages = []string{"c krb-tgs-req(ldap/dc1.corp.example)", "s krb-tgs-rep(ldap/dc1.corp.example)"}
	case "dns":
		messages = []string{"c hex(" + dnsQuestion + ")", "s hex(" + dnsAnswer + ")"}
	case "dcerpc":
		iface, err := p.iface("emsmdb")
		if detail != "epmapper" && err == nil {
			iface, err = p.iface(detail)
		}
		if err != nil {
			return c, err
		}
		if detail != "epmapper" {
			asked := pathFlow{c.client, c.server, p.next, 135}
			p.next++
			p.datagrams(&asked, "c epm-map-dg("+iface+")", fmt.Sprintf("s epm-mapped-dg(%s %d)", iface, c.to))
			uuid, _, _ := strings.Cut(iface, "/")
			messages = []string{"c " + datagramRequest(uuid)}
			break
		}
		messages = []string{"c epm-map-dg(" + iface + ")", fmt.Sprintf("s epm-mapped-dg(%s %d)", iface, p.high)}
		p.high++
	case "rtp":
		// The call that announces the media comes first, between the same hosts.
		caller, called := c.client, c.server
		if l.is("reverse") {
			caller, called = called, caller
		}
		call := pathFlow{caller, called, p.next, 5060}
		p.next++
		messages = nil
		media := []int{c.from, c.to}
		if l.is("reverse") {
			media = []int{c.to, c.from}
		}
		p.talk(&call, p.sipCall(&call, media[0], media[1])...)
		for i := range 6 {
			messages = append(messages, fmt.Sprintf("c hex(80 00 00%02x 0000%04x 000000aa) zero(160)", i, i*160))
		}
	case "notify":
		messages = []string{"c hex(d0 27 02 70 27 80 10 90)"} // recorded from a server of 2003
	case "syslog":
		messages = greetings["syslog"]
	default:
		if l.is("multicast") {
			messages = messages[:1]
			if a, ok := groupAddresses[l.protocol]; ok {
				c.server = "group"
				p.hosts[c.server] = a
			}
		}
	}
	p.datagrams(&c, messages...)
	return c, nil
}

// datagramRequest returns a request of connectionless RPC (version 4, [C706] section
// 12.5).
func datagramRequest(uuid string) string {
	u := strings.ReplaceAll(uuid, "-", "")
	swapped := u[6:8] + u[4:6] + u[2:4] + u[0:2] + u[10:12] + u[8:10] + u[14:16] + u[12:14] + u[16:]
	return "hex(04 00 08 00 10 00 00 00 " + strings.Repeat("00", 16) + " " + swapped + " 00112233445566778899aabbccddeeff 00000000 01000000 00000000 0000 ffff ffff 0010 0000 00 00) zero(16)"
}

// versionInSite returns the word of a site file for the version of a row. Rows of Windows
// apply to every version.
func versionInSite(version string) string {
	switch version {
	case "se":
		return "SE"
	case "windows":
		return "2010"
	}
	return version
}

// TestDocumentedPaths generates packets for every row of data-paths.tsv, with a site file
// that sets the roles, and expects the row among the paths of its flows. Rows that are
// local to a host are expected for flows of a host with itself. Between hosts, and for
// rows that the reference lists as not used, the flow is unexpected, and its verdict
// names the row, by its id or its name, or an equivalent row of not-in-version.tsv. Rows
// that are not reached yet are listed in unreached.txt, and the number of conversations
// of their legs in unreached-legs.txt.
func TestDocumentedPaths(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rows, legs := newTally(), newTally()
	known, unreached := map[string]bool{}, map[string]string{}
	units := map[string][]string{}
	all, confidence := documentedPaths(t), map[string]string{}
	for _, d := range all {
		confidence[d.id()] = d.row["confidence"]
	}
	for _, d := range all {
		version := d.row["version"]
		if units[version] == nil {
			units[version] = []string{}
		}
		if d.portless() {
			continue
		}
		known[d.id()] = true
		reached, missed := reach(t, dir, packs, &d, confidence)
		rows.count(version, reached > 0)
		for range reached {
			legs.count(version, true)
		}
		for range missed {
			legs.count(version, false)
		}
		units[version] = append(units[version], missed...)
		if reached == 0 {
			unreached[d.id()] = missed[0]
		}
	}
	rows.report(t, "data paths")
	legs.report(t, "legs")
	reference := filepath.Join(testdataDir, "reference")
	checkList(t, filepath.Join(reference, "unreached.txt"), known, unreached)
	checkCounts(t, filepath.Join(reference, "unreached-legs.txt"), units)
}

// reach analyzes the packets of a row. It returns how many of the row's conversations
// reach it, and the results of the others.
func reach(t *testing.T, dir string, packs *rules.Packs, d *documentedPath, confidence map[string]string) (reached int, missed []string) {
	t.Helper()
	p := newPathText(packs)
	all, err := p.generate(d)
	if err != nil {
		return 0, []string{d.id() + ": " + err.Error()}
	}
	var text strings.Builder
	text.WriteString("start 2026-01-02T09:14:00Z\n")
	for name, address := range p.hosts {
		fmt.Fprintf(&text, "host %s %s\n", name, address)
	}
	text.WriteString(p.String())
	data, err := capturetest.Compile(d.id(), []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	capture, site := filepath.Join(dir, "a.pcap"), filepath.Join(dir, "a.yaml")
	for name, b := range map[string][]byte{capture: data, site: []byte(pathSite(versionInSite(d.row["version"])))} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	records, err := analyzed("--site", site, capture)
	if err != nil {
		first, _, _ := strings.Cut(strings.ReplaceAll(err.Error(), dir, ""), "\n")
		return 0, []string{d.id() + ": " + first}
	}
	flows := map[string]jsonRecord{}
	for _, r := range records {
		flows[flowOf(r)] = r
	}
	for _, u := range all {
		if problem := follows(d, flows[u.flow], u.here, confidence); problem != "" {
			missed = append(missed, fmt.Sprintf("%s %s: %s", d.id(), u.leg, problem))
		} else {
			reached++
		}
	}
	return reached, missed
}

// follows returns why a flow does not follow a documented path, or "".
func follows(d *documentedPath, r jsonRecord, here bool, confidence map[string]string) string {
	if r == nil {
		return "no such flow"
	}
	v := r.object("verdict")
	status := v.text("status")
	got := strings.TrimSpace(status + " " + v.text("reason") + " " + strings.Join(r.paths(), ","))
	if d.row["local"] == "yes" && !here || d.row["table"] == "not-used" {
		messages := strings.Join(wordsOf(map[string]any(v)), " ")
		if status != "unexpected" || !strings.Contains(messages, d.id()) && !strings.Contains(messages, d.row["name"]) && !strings.Contains(messages, "(not.") {
			return got + ", " + v.text("why")
		}
		return ""
	}
	if status != "expected" && status != "deviating" {
		return got
	}
	if slices.Contains(r.paths(), d.id()) {
		return ""
	}
	if d.row["confidence"] == "low" && slices.ContainsFunc(r.paths(), func(id string) bool { return confidence[id] != "low" }) {
		return "" // a row of low confidence does not explain what a better one can explain
	}
	return got
}
