package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/exspan/exspan/rules"
)

// pathText writes packets that follow a documented data path, in the language of
// capturetest.
type pathText struct {
	strings.Builder
	packs *rules.Packs
	hosts map[string]string // name to address
	next  int               // the next client port
	high  int               // the next port that a mapper announces
}

func newPathText(packs *rules.Packs) *pathText {
	return &pathText{packs: packs, hosts: map[string]string{}, next: 20000, high: 52000}
}

// roleAddress returns the address of the host of a role. There are two hosts per role.
func roleAddress(role string, second bool) string {
	i := 1
	if second {
		i = 2
	}
	switch role {
	case "internet":
		return fmt.Sprintf("198.51.100.%d", i)
	case "exchange-online":
		return fmt.Sprintf("203.0.113.%d", i)
	}
	order := []string{"mailbox", "cas", "hub", "edge", "um", "dc", "gc", "dns", "mailbox-legacy", "client", "admin", "relay", "lb", "pbx", "ocs",
		"witness", "backup", "adrms", "dc+mailbox", "gc+mailbox"}
	return fmt.Sprintf("10.0.%d.%d", slices.Index(order, role)+1, i)
}

// host returns the name of the host of a role and declares it.
func (p *pathText) host(role string, second bool) string {
	name := strings.NewReplacer("-", "", "+", "").Replace(role) + "1"
	if second {
		name = strings.TrimSuffix(name, "1") + "2"
	}
	p.hosts[name] = roleAddress(role, second)
	return name
}

// pathSite returns the site file of all hosts. They are of one version.
func pathSite(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "exchange: %q\nservers:\n", version)
	for _, role := range []string{"mailbox", "cas", "hub", "edge", "um", "dc", "gc", "dns", "mailbox-legacy", "lb", "pbx", "ocs", "witness", "adrms", "exchange-online", "relay", "backup", "dc+mailbox", "gc+mailbox"} {
		for _, second := range []bool{false, true} {
			fmt.Fprintf(&b, "  - {addresses: [%q], roles: [%s]}\n", roleAddress(role, second), strings.ReplaceAll(role, "+", ", "))
		}
	}
	b.WriteString("networks:\n")
	for _, role := range []string{"client", "admin"} {
		fmt.Fprintf(&b, "  - {cidr: %q, role: %s}\n", strings.TrimSuffix(roleAddress(role, false), ".1")+".0/24", role)
	}
	return b.String()
}

func (p *pathText) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// pathFlow is the client and the server of one leg.
type pathFlow struct {
	client, server string // names
	from, to       int    // ports
}

func (c *pathFlow) c() string { return fmt.Sprintf("%s:%d", c.client, c.from) }
func (c *pathFlow) s() string { return fmt.Sprintf("%s:%d", c.server, c.to) }

// talk writes the messages of client and server, each with the prefix "c " or "s ",
// between a handshake and the end of the connection.
func (p *pathText) talk(c *pathFlow, messages ...string) {
	p.line("handshake %s > %s", c.c(), c.s())
	for _, s := range messages {
		if text, ok := strings.CutPrefix(s, "c "); ok {
			p.line("tcp %s > %s %s", c.c(), c.s(), text)
		} else {
			p.line("tcp %s > %s %s", c.s(), c.c(), strings.TrimPrefix(s, "s "))
		}
	}
	p.line("fin %s > %s", c.c(), c.s())
}

// datagrams is like talk, over UDP.
func (p *pathText) datagrams(c *pathFlow, messages ...string) {
	for _, s := range messages {
		if text, ok := strings.CutPrefix(s, "c "); ok {
			p.line("+20ms udp %s > %s %s", c.c(), c.s(), text)
		} else {
			p.line("+20ms udp %s > %s %s", c.s(), c.c(), strings.TrimPrefix(s, "s "))
		}
	}
}

// tlsTalk returns a TLS handshake for a server name, with or without a client
// certificate.
func tlsTalk(name string, certificate bool) []string {
	mutual, done := "", ""
	if certificate {
		mutual, done = "mutual", "certificate"
	}
	return []string{"c tls-client-hello(" + name + ")", "s tls-server-hello(" + mutual + ")", "c tls-client-done(" + done + ")", "s tls-server-done()",
		"c tls-data(200)", "s tls-data(400)"}
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// smtpTalk returns the transfer of a mail: over TLS if the documents say so, otherwise in
// clear.
func smtpTalk(auth, encryption string) []string {
	messages := []string{"s " + quoted("220 server.corp.example ESMTP ready\r\n"), "c " + quoted("EHLO client.corp.example\r\n")}
	verb := "STARTTLS"
	if strings.Contains(auth, "direct-trust") || strings.Contains(auth, "kerberos") && !strings.Contains(auth, "basic") {
		verb = "X-ANONYMOUSTLS"
	}
	messages = append(messages, "s "+quoted("250-server.corp.example\r\n250-8BITMIME\r\n250 "+verb+"\r\n"))
	if !strings.Contains(encryption, "tls") {
		return append(messages, "c "+quoted("MAIL FROM:<a@corp.example>\r\n"), "s "+quoted("250 2.1.0 OK\r\n"), "c "+quoted("QUIT\r\n"), "s "+quoted("221 2.0.0 bye\r\n"))
	}
	messages = append(messages, "c "+quoted(verb+"\r\n"), "s "+quoted("220 2.0.0 ready\r\n"))
	return append(messages, tlsTalk("", strings.Contains(auth, "direct-trust") || strings.Contains(auth, "mtls") || strings.Contains(auth, "certificate"))...)
}

// httpTalk returns a request and its answer.
func httpTalk(method, host, path, auth string) []string {
	header := ""
	switch {
	case strings.Contains(auth, "kerberos"), strings.Contains(auth, "negotiate"):
		header = "Authorization: Negotiate YIIBAAYJKoZIhvcSAQICAQA=\r\n"
	case strings.Contains(auth, "ntlm"):
		header = "Authorization: NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw==\r\n"
	case strings.Contains(auth, "basic"):
		header = "Authorization: Basic YTpi\r\n"
	}
	return []string{"c " + quoted(method+" "+path+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: test\r\n"+header+"\r\n"),
		"s " + quoted("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")}
}

// rpcTalk returns a bind to an interface, and a call.
func rpcTalk(iface, port, security string) []string {
	messages := []string{"c rpc-bind(" + strings.TrimSpace(iface+" "+security) + ")", "s rpc-bind-ack(" + strings.TrimSpace(port+" "+security) + ")"}
	if strings.HasPrefix(security, "ntlm") {
		messages = append(messages, "c rpc-auth3("+security+")")
	}
	return append(messages, "c rpc-request("+strings.TrimSpace("0 "+security)+")", "s rpc-response("+security+")")
}

// smbTalk opens a share, or a pipe and an interface on it.
func smbTalk(share, pipe, iface string) []string {
	messages := []string{"c smb-negotiate()", "s smb-negotiated()", "c smb-setup(negotiate)", "s smb-setup-answer(challenge)", "c smb-setup(v2)", "s smb-setup-answer(done)"}
	if pipe == "" {
		return append(messages, `c smb-connect(\\server\`+share+")", "s smb-connected(disk)", "c smb-open(file.txt)", "s smb-opened()")
	}
	messages = append(messages, `c smb-connect(\\server\IPC$)`, "s smb-connected(pipe)", "c smb-open("+pipe+")", "s smb-opened()")
	if iface != "" {
		messages = append(messages, "c smb-pipe-bind("+iface+")", `s smb-pipe-bound(\PIPE\`+pipe+")")
	}
	return messages
}

// netTCP returns the beginning of .NET message framing ([MC-NMF]) for a URI, and
// NegotiateStream ([MS-NNS]) inside it.
func netTCP(uri string) []string {
	return append([]string{fmt.Sprintf("c hex(00 01 00 01 02 02 %02x) %q hex(03 08 09 15) \"application/negotiate\"", len(uri), uri), "s hex(0a)"}, negotiateStream...)
}

var negotiateStream = []string{"c hex(16 01 00 00 28) ntlm(negotiate)", "s hex(16 01 00 00 4c) ntlm(challenge)", "c hex(16 01 00 00 98) ntlm(v2)", "s hex(14 01 00 00 00)",
	"c hex(20 00 00 00 01 00 00 00 c4 1f 0b 52 99 73 c0 2a 00 00 00 00 8e 10 f3 67 2d 55 b1 4c 90 ab 73 e2)"}

var ldapTalk = []string{"c ldap-bind(GSSAPI)", "s ldap-bound()", "c ldap-sealed()", "s ldap-sealed()"}

// cldapTalk is a search for Netlogon over UDP, with which clients ping a domain
// controller ([MS-ADTS] section 6.3.3).
var cldapTalk = []string{`c hex(30 2f 02 01 01 63 2a 04 00 0a 01 00 0a 01 00 02 01 00 02 01 00 01 01 00 87 0b) "objectClass" hex(30 0a 04 08) "Netlogon"`,
	"s hex(30 0c 02 01 01 65 07 0a 01 00 04 00 04 00)"}

// dnsQuestion and dnsAnswer are a question for www.example.net and its empty answer (RFC
// 1035).
const dnsQuestion = "12 34 01 00 00 01 00 00 00 00 00 00 03 77 77 77 07 65 78 61 6d 70 6c 65 03 6e 65 74 00 00 01 00 01"
const dnsAnswer = "12 34 81 80 00 01 00 00 00 00 00 00 03 77 77 77 07 65 78 61 6d 70 6c 65 03 6e 65 74 00 00 01 00 01"

// sipMessage returns a SIP message with its body (RFC 3261).
func sipMessage(first, call string, seq string, body string) string {
	kind := ""
	if body != "" {
		kind = "Content-Type: application/sdp\r\n"
	}
	return quoted(first + "\r\nVia: SIP/2.0/TCP host.corp.example;branch=z9hG4bK" + call + "\r\nFrom: <sip:a@corp.example>;tag=1\r\nTo: <sip:b@corp.example>;tag=2\r\n" +
		"Call-ID: " + call + "\r\nCSeq: " + seq + "\r\n" + kind + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body)
}

// sdp offers one stream of G.711 (RFC 4566).
func sdp(address string, port int) string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n", address, address, port)
}

// sipCall returns a call that the server accepts, with media at the given ports.
func (p *pathText) sipCall(c *pathFlow, clientMedia, serverMedia int) []string {
	call := fmt.Sprintf("%d@%s", c.from, c.client)
	return []string{
		"c " + sipMessage("INVITE sip:b@corp.example SIP/2.0", call, "1 INVITE", sdp(p.hosts[c.client], clientMedia)),
		"s " + sipMessage("SIP/2.0 200 OK", call, "1 INVITE", sdp(p.hosts[c.server], serverMedia)),
		"c " + sipMessage("ACK sip:b@corp.example SIP/2.0", call, "1 ACK", ""),
	}
}

// greetings maps protocols with one port to their messages. The first one is from the end
// that speaks first.
var greetings = map[string][]string{
	"pop3":   {"s " + quoted("+OK ready\r\n"), "c " + quoted("CAPA\r\n"), "s " + quoted("+OK\r\nSTLS\r\n.\r\n"), "c " + quoted("STLS\r\n"), "s " + quoted("+OK begin\r\n")},
	"imap":   {"s " + quoted("* OK ready\r\n"), "c " + quoted("1 CAPABILITY\r\n"), "s " + quoted("* CAPABILITY IMAP4rev1 STARTTLS\r\n1 OK\r\n"), "c " + quoted("2 STARTTLS\r\n"), "s " + quoted("2 OK begin\r\n")},
	"nntp":   {"s " + quoted("200 NNTP Service 6.0.3790.3959 Version: 6.0.3790.3959 Posting Allowed \r\n"), "c " + quoted("MODE READER\r\n"), "s " + quoted("200 ready\r\n")},
	"irc":    {"c " + quoted("NICK alice\r\nUSER alice 0 * :Alice\r\n"), "s " + quoted(":chat.corp.example 001 alice :Welcome\r\n")},
	"resvc":  {"s " + quoted("{0000004c} NODEINFO (5) {38}Version: 6.5.6940.0 Microsoft Routing Server ready\r\n  ")},
	"cotp":   {"c hex(03 00 00 16 11 e0 00 00 00 01 00 c0 01 0a c1 02 01 00 c2 02 01 02)", "s hex(03 00 00 0e 09 d0 00 01 00 05 00 c0 01 0a)"},
	"t120":   {"c hex(03 00 00 0b 06 e0 00 00 00 01 00)", "s hex(03 00 00 0b 06 d0 00 01 00 05 00)"},
	"rdp":    {"c hex(03 00 00 13 0e e0 00 00 00 00 00 01 00 08 00 03 00 00 00)", "s hex(03 00 00 13 0e d0 00 00 12 34 00 02 00 08 00 01 00 00 00)"},
	"h323":   {"c hex(03 00 00 2d 08 02 12 34 05) zero(36)", "s hex(03 00 00 1d 08 02 92 34 02) zero(20)", "s hex(03 00 00 1d 08 02 92 34 07) zero(20)"},
	"nns":    negotiateStream,
	"ldap":   ldapTalk,
	"telnet": {"s hex(ff fd 18 ff fd 20)", "c hex(ff fb 18 ff fb 20)"},
	"socks":  {"c hex(05 01 00)", "s hex(05 00)"},
	"syslog": {"c " + quoted("<34>1 2026-01-01T00:00:00Z host app - - - text\n")},
}

// anything is the content for protocols without an observer.
var anything = []string{"c hex(a1 b2 c3 d4 00 01 02 03 a1 b2 c3 d4 00 01 02 03)", "s hex(a1 b2 c3 d4 80 01 02 03 a1 b2 c3 d4 80 01 02 03)"}

// iface returns the UUID and version of an interface.
func (p *pathText) iface(name string) (string, error) {
	if name == "unnamed" {
		return "5b0e7f4c-3d2a-4c1e-9d6f-0a1b2c3d4e5f/1.0", nil
	}
	if p.packs != nil {
		if f, ok := p.packs.Interface(name); ok {
			return f.UUID + "/" + strings.Replace(f.Version, "?", "1.0", 1), nil
		}
	}
	return "", fmt.Errorf("no interface %q", name)
}
