package judge_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/inventory"
	"github.com/exspan/exspan/classify/judge"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

func testPacks(t testing.TB) *rules.Packs {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

const judgeSite = `
exchange: "2010"
servers:
  - {name: hub1, addresses: [10.0.0.1], roles: [hub]}
  - {name: hub2, addresses: [10.0.0.2], roles: [hub]}
  - {name: edge1, addresses: [10.0.1.1], roles: [edge]}
  - {name: mb1, addresses: [10.0.0.3], roles: [mailbox]}
  - {name: cas1, addresses: [10.0.0.4], roles: [cas], static_ports: {emsmdb: 59532}}
  - {name: um1, addresses: [10.0.0.5], roles: [um]}
  - {name: dc1, addresses: [10.0.0.6], roles: [dc, gc]}
  - {name: lb1, addresses: [10.0.0.7], roles: [lb]}
  - {name: pbx1, addresses: [10.0.0.8], roles: [pbx]}
networks:
  - {cidr: 10.9.0.0/16, role: client}
  - {cidr: 10.8.0.0/16, role: admin}
allow:
  - {from: admin, to: any, port: 3389/tcp, note: remote desktop}
`

// TestJudge holds verdicts against the words of the port reference: what is
// wanted here was read off its rows by hand.
func TestJudge(t *testing.T) {
	site, err := rules.LoadSite("site.yaml", []byte(judgeSite))
	if err != nil {
		t.Fatal(err)
	}
	packs := testPacks(t)
	j, err := judge.New(packs, site, match.DefaultVersion)
	if err != nil {
		t.Fatal(err)
	}
	known := inventory.New(packs, site, nil, "")
	mapped := func(service string) []match.Service {
		return []match.Service{{Name: service, Source: observe.FromMap, Protocol: "dcerpc"}}
	}
	const unnamed = "0c5a21b4-7e11-4f0a-9d3c-5a1b2c3d4e5f v1.0"
	bound := []match.Service{{Name: unnamed, Source: observe.FromBind, Protocol: "dcerpc"}}
	for _, c := range []struct {
		name           string
		client, server string
		protocol       string // empty: not recognised
		facts          string // "name=value name=value"
		announced      []match.Service
		udp            bool
		outcome        record.Outcome
		silent         bool // no payload
		midstream      bool

		status     record.Status
		path       string // the path itself, or one of those that tie where it begins with ~
		confidence record.Confidence
		findings   string // ids, sorted
		reason     record.Reason
	}{
		{name: "hub to hub over TLS, mechanism unseen", client: "10.0.0.1", server: "10.0.0.2:25", protocol: "smtp", facts: "encryption=tls",
			status: record.Expected, path: "2010.transport.hub-hub", confidence: record.Observed},
		{name: "hub to hub in clear", client: "10.0.0.1", server: "10.0.0.2:25", protocol: "smtp", facts: "encryption=none auth=kerberos",
			status: record.Deviating, path: "2010.transport.hub-hub", confidence: record.Observed, findings: "cleartext"},
		{name: "hub to hub with NTLM", client: "10.0.0.1", server: "10.0.0.2:25", protocol: "smtp", facts: "encryption=tls auth=ntlm",
			status: record.Deviating, path: "2010.transport.hub-hub", confidence: record.Observed, findings: "auth-unsupported"},
		{name: "by port alone", client: "10.0.0.1", server: "10.0.0.2:25", silent: true,
			status: record.Expected, path: "2010.transport.hub-hub", confidence: record.ByPort},
		{name: "TLS on 25 from the first byte", client: "10.0.0.1", server: "10.0.0.2:25", protocol: "tls", facts: "encryption=tls",
			status: record.Deviating, path: "2010.transport.hub-hub", confidence: record.ByPort, findings: "protocol-mismatch"},
		{name: "EdgeSync", client: "10.0.0.1", server: "10.0.1.1:50636", protocol: "tls", facts: "encryption=tls",
			status: record.Expected, path: "2010.transport.edgesync", confidence: record.Observed},
		{name: "EdgeSync backwards", client: "10.0.1.1", server: "10.0.0.1:50636", protocol: "tls", facts: "encryption=tls",
			status: record.Deviating, path: "2010.transport.edgesync", confidence: record.Observed, findings: "wrong-direction"},
		{name: "hub to mailbox, announced, privacy", client: "10.0.0.1", server: "10.0.0.3:6010", protocol: "dcerpc",
			facts:     "rpc.interface=emsmdb auth=ntlm encryption=rpc-privacy rpc.auth_level=privacy",
			announced: mapped("emsmdb"), status: record.Expected, path: "2010.transport.hub-mailbox-mapi", confidence: record.Observed},
		{name: "the same, bind unseen", client: "10.0.0.1", server: "10.0.0.3:6010", announced: mapped("emsmdb"), midstream: true,
			status: record.Expected, path: "2010.transport.hub-mailbox-mapi", confidence: record.Learned},
		{name: "client to CAS at level connect", client: "10.9.0.1", server: "10.0.0.4:6010", protocol: "dcerpc",
			facts:     "rpc.interface=emsmdb auth=ntlm encryption=none rpc.auth_level=connect",
			announced: mapped("emsmdb"), status: record.Expected, path: "2010.static.rpc-client-access", confidence: record.Observed, findings: "static-port-unused"},
		// The row of static ports has no word on encryption, so it accepts anything.
		{name: "Outlook to mailbox in clear", client: "10.9.0.1", server: "10.0.0.3:6010", protocol: "dcerpc",
			facts:     "rpc.interface=emsmdb auth=ntlm encryption=none rpc.auth_level=connect",
			announced: mapped("emsmdb"), status: record.Expected, path: "2010.mailbox.mapi", confidence: record.Observed},
		{name: "hub to mailbox in clear", client: "10.0.0.1", server: "10.0.0.3:6010", protocol: "dcerpc",
			facts:     "rpc.interface=emsmdb auth=ntlm encryption=none rpc.auth_level=connect",
			announced: mapped("emsmdb"), status: record.Deviating, path: "2010.transport.hub-mailbox-mapi", confidence: record.Observed, findings: "cleartext weak-encryption"},
		{name: "hub to mailbox, signed only", client: "10.0.0.1", server: "10.0.0.3:6010", protocol: "dcerpc",
			facts:     "rpc.interface=emsmdb auth=ntlm encryption=rpc-integrity rpc.auth_level=integrity",
			announced: mapped("emsmdb"), status: record.Deviating, path: "2010.transport.hub-mailbox-mapi", confidence: record.Observed, findings: "cleartext"},
		{name: "a port that nobody announced", client: "10.9.0.1", server: "10.0.0.3:6010", protocol: "dcerpc",
			facts:  "rpc.interface=emsmdb auth=kerberos encryption=rpc-privacy rpc.auth_level=privacy",
			status: record.Expected, path: "2010.mailbox.mapi", confidence: record.Observed, findings: "endpoint-unannounced"},
		{name: "dynamic port, nothing known", client: "10.9.0.1", server: "10.0.0.3:6010", midstream: true, status: record.Undetermined, reason: record.NotBegun},
		{name: "dynamic port, unknown content", client: "10.9.0.1", server: "10.0.0.3:6010", status: record.Unexpected, reason: record.NoPath},
		{name: "dynamic port, no payload", client: "10.9.0.1", server: "10.0.0.3:6010", silent: true, status: record.Undetermined, reason: record.NoPayload},
		{name: "static port of the site file", client: "10.9.0.1", server: "10.0.0.4:59532", midstream: true,
			announced: []match.Service{{Name: "emsmdb", Source: observe.FromSite, Protocol: "dcerpc"}}, status: record.Expected, path: "2010.static.rpc-client-access", confidence: record.Learned},
		{name: "a service without a name, announced", client: "10.0.0.3", server: "10.0.0.1:6010", protocol: "dcerpc",
			facts: "rpc.interface=" + strings.ReplaceAll(unnamed, " ", "_") + " auth=ntlm encryption=rpc-privacy", announced: mapped(unnamed),
			status: record.Expected, path: "2010.transport.mailbox-hub-submission", confidence: record.Observed},
		{name: "a service without a name, bound and not announced", client: "10.0.0.3", server: "10.0.0.1:6010", protocol: "dcerpc",
			facts: "rpc.interface=" + strings.ReplaceAll(unnamed, " ", "_") + " auth=ntlm encryption=rpc-privacy", announced: bound,
			status: record.Expected, path: "2010.transport.mailbox-hub-submission", confidence: record.ByPattern, findings: "endpoint-unannounced"},
		{name: "the same, and only a firewall rule admits it", client: "10.8.0.1", server: "10.0.0.1:6010", protocol: "dcerpc",
			facts: "rpc.interface=" + strings.ReplaceAll(unnamed, " ", "_") + " auth=ntlm encryption=rpc-privacy", announced: bound,
			status: record.Expected, path: "~2010.firewall.edgesync", confidence: record.ByPort, findings: "endpoint-unannounced"},
		{name: "log shipping in clear is as documented", client: "10.0.0.3", server: "10.0.0.3:64327", protocol: "nns", facts: "auth=kerberos encryption=none",
			status: record.Expected, path: "2010.mailbox.log-shipping", confidence: record.Observed},
		{name: "LDAP sealed", client: "10.0.0.1", server: "10.0.0.6:389", protocol: "ldap", facts: "auth=kerberos encryption=sasl-sealed",
			status: record.Expected, path: "2010.transport.hub-ad", confidence: record.Observed},
		{name: "LDAP signed", client: "10.0.0.1", server: "10.0.0.6:389", protocol: "ldap", facts: "auth=kerberos encryption=sasl-signed",
			status: record.Deviating, path: "2010.transport.hub-ad", confidence: record.Observed, findings: "cleartext"},
		{name: "Kerberos has no columns", client: "10.0.0.1", server: "10.0.0.6:88", protocol: "kerberos", facts: "encryption=none", udp: true,
			status: record.Expected, path: "2010.transport.hub-ad", confidence: record.Observed},
		{name: "POP3 password in clear", client: "10.9.0.1", server: "10.0.0.4:110", protocol: "pop3", facts: "auth=user-pass encryption=none",
			status: record.Deviating, path: "2010.cas.pop3", confidence: record.Observed, findings: "cleartext weak-auth"},
		{name: "IMAP with NTLM inside TLS", client: "10.9.0.1", server: "10.0.0.4:143", protocol: "imap", facts: "auth=ntlm encryption=tls",
			status: record.Deviating, path: "2010.cas.imap4", confidence: record.Observed, findings: "auth-unsupported"},
		{name: "TLS 1.0", client: "10.9.0.1", server: "10.0.0.4:993", protocol: "tls", facts: "encryption=tls tls.version=1.0",
			status: record.Expected, path: "2010.cas.imap4", confidence: record.Observed, findings: "weak-encryption"},
		{name: "HTTPS ties", client: "10.9.0.1", server: "10.0.0.4:443", protocol: "tls", facts: "encryption=tls tls.version=1.2",
			status: record.Expected, path: "~2010.cas.owa", confidence: record.Observed},
		{name: "HTTPS from the internet", client: "8.8.8.8", server: "10.0.0.4:443", protocol: "tls", facts: "encryption=tls",
			status: record.Expected, path: "~2010.cas.owa", confidence: record.Observed},
		{name: "MAPI from the internet", client: "8.8.8.8", server: "10.0.0.3:6010", protocol: "dcerpc", facts: "rpc.interface=emsmdb encryption=rpc-privacy auth=ntlm",
			announced: mapped("emsmdb"), status: record.Deviating, path: "2010.mailbox.mapi", confidence: record.Observed, findings: "external-source"},
		{name: "remote desktop is allowed", client: "10.8.0.1", server: "10.0.0.3:3389", status: record.Expected, path: "windows.rdp", confidence: record.ByPort},
		{name: "remote desktop by others", client: "10.9.0.1", server: "10.0.0.3:3389", status: record.Unexpected, reason: record.NoPath},
		{name: "client to hub, LDAP port", client: "10.9.0.1", server: "10.0.0.6:389", protocol: "ldap", status: record.Unrelated},
		{name: "blocked by a firewall", client: "10.0.0.1", server: "10.0.0.2:25", silent: true, outcome: record.Prohibited,
			status: record.Deviating, path: "2010.transport.hub-hub", confidence: record.ByPort, findings: "prohibited"},
		{name: "refused", client: "10.0.0.1", server: "10.0.0.2:25", silent: true, outcome: record.Refused,
			status: record.Expected, path: "2010.transport.hub-hub", confidence: record.ByPort, findings: "refused"},
		{name: "mail between mailbox servers", client: "10.0.0.3", server: "10.0.0.3:25", protocol: "smtp", status: record.Unexpected, reason: record.WrongRole, confidence: record.Observed},
		{name: "AD LDS without TLS", client: "10.0.0.1", server: "10.0.1.1:50389", protocol: "ldap", facts: "encryption=none",
			status: record.Expected, path: "2010.transport.adlds", confidence: record.Observed},
		{name: "phone call", client: "10.0.0.8", server: "10.0.0.5:5060", protocol: "sip", facts: "encryption=none auth=none",
			status: record.Expected, path: "2010.um.phone", confidence: record.Observed},
		{name: "NTLM version 1", client: "10.9.0.1", server: "10.0.0.3:6010", protocol: "dcerpc",
			facts:     "rpc.interface=emsmdb auth=ntlm ntlm.version=1 encryption=rpc-privacy rpc.auth_level=privacy",
			announced: mapped("emsmdb"), status: record.Deviating, path: "2010.mailbox.mapi", confidence: record.Observed, findings: "weak-auth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var facts observe.Facts
			for _, f := range strings.Fields(c.facts) {
				name, value, _ := strings.Cut(f, "=")
				facts.Add(name, strings.ReplaceAll(value, "_", " "))
			}
			server := netip.MustParseAddrPort(c.server)
			client, _ := known.Host(new(capture.AddrFrom(netip.MustParseAddr(c.client))), nil)
			host, _ := known.Host(new(capture.AddrFrom(server.Addr())), nil)
			s := &judge.Subject{Proto: capture.TCP, Port: server.Port(), Protocol: c.protocol, Facts: facts.List(), Outcome: c.outcome,
				Client: client, Server: host, Payload: !c.silent, Begun: !c.midstream}
			if c.announced != nil {
				s.Announced = &match.Announced{Services: c.announced}
			}
			if c.udp {
				s.Proto = capture.UDP
			}
			v := j.Word(j.Verdict(s), judge.Origin{From: netip.MustParseAddrPort("10.0.0.3:135"), Learned: 1_600_000_000e9})
			var ids []string
			for _, f := range v.Findings {
				ids = append(ids, string(f.ID))
				if f.Detail == "" || f.Level == "" {
					t.Errorf("finding %s without detail or level", f.ID)
				}
			}
			slices.Sort(ids)
			path := ""
			if v.Path != nil {
				path = v.Path.ID
				if tied, ok := strings.CutPrefix(c.path, "~"); ok && slices.ContainsFunc(append(v.Also, v.Path), func(p *rules.DataPath) bool { return p.ID == tied }) {
					path = c.path
				}
			}
			got := fmt.Sprintf("%s %s %s [%s] %s", v.Status, path, v.Confidence, strings.Join(ids, " "), v.Reason)
			want := fmt.Sprintf("%s %s %s [%s] %s", c.status, c.path, c.confidence, c.findings, c.reason)
			if got != want {
				t.Errorf("got  %s\nwant %s\nwhy  %s\n%+v", got, want, v.Why, v.Findings)
			}
			if v.Status != record.Unrelated && v.Why == "" {
				t.Error("a verdict without a why")
			}
		})
	}
}
