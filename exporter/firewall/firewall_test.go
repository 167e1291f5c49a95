package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/rules"
)

func packsOf(t *testing.T) *rules.Packs {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

func hostOf(addr, name string, roles ...string) *model.Host {
	return &model.Host{Addr: netip.MustParseAddr(addr), Name: name, Roles: roles, Version: "2010"}
}

func edgeOf(packs *rules.Packs, client, server *model.Host, id string, port uint16) *model.Edge {
	p := packs.Path(id)
	e := &model.Edge{Client: client, Server: server, Label: id, Port: port, Proto: capture.TCP, State: model.Seen, Edge: &tally.Edge{Path: p, Expected: 1}}
	if p != nil {
		e.Name, e.IDs = p.Name, []string{id}
	}
	return e
}

// pairs returns every pair of addresses and ports that rules allow.
func pairs(p *Plan) []string {
	var list []string
	for i := range p.Rules {
		r := &p.Rules[i]
		for _, from := range append(addresses(r.From.Prefixes), slices.Repeat([]string{"any"}, b2i(r.From.Any))...) {
			for _, to := range append(addresses(r.To.Prefixes), slices.Repeat([]string{"any"}, b2i(r.To.Any))...) {
				list = append(list, fmt.Sprintf("%s > %s %s", from, to, r.portText()))
			}
		}
	}
	slices.Sort(list)
	return list
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Rules are joined only where that allows nothing more.
func TestJoin(t *testing.T) {
	packs := packsOf(t)
	a, b := hostOf("10.1.0.1", "a", "client"), hostOf("10.1.0.2", "b", "client")
	cas1, cas2 := hostOf("10.0.0.1", "cas1", "cas"), hostOf("10.0.0.2", "cas2", "cas")
	m := &model.Model{Hosts: []*model.Host{a, b, cas1, cas2}, Edges: []*model.Edge{
		edgeOf(packs, a, cas1, "2010.cas.imap4", 143), edgeOf(packs, b, cas2, "2010.cas.imap4", 143), edgeOf(packs, a, cas1, "2010.cas.imap4", 993),
		edgeOf(packs, a, cas1, "2010.cas.pop3", 110), edgeOf(packs, b, cas1, "2010.cas.pop3", 110),
		edgeOf(packs, a, cas2, "2010.cas.pop3", 110), edgeOf(packs, b, cas2, "2010.cas.pop3", 110),
	}}
	p := New(m, Options{Packs: packs, Version: "2010", Strict: true})
	want := []string{"10.1.0.1 > 10.0.0.1 110/tcp", "10.1.0.1 > 10.0.0.1 143, 993/tcp", "10.1.0.1 > 10.0.0.2 110/tcp", "10.1.0.2 > 10.0.0.1 110/tcp",
		"10.1.0.2 > 10.0.0.2 110/tcp", "10.1.0.2 > 10.0.0.2 143/tcp"}
	if got := pairs(p); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(p.Rules) != 3 {
		t.Errorf("%d rules", len(p.Rules))
	}
}

func TestPlan(t *testing.T) {
	packs := packsOf(t)
	client, cas, mb := hostOf("10.1.0.1", "", "client"), hostOf("10.0.0.1", "cas1", "cas"), hostOf("10.0.0.2", "mb1", "mailbox")
	dc, edge, net := hostOf("10.0.0.3", "dc1", "dc", "gc"), hostOf("10.0.0.4", "edge1", "edge"), hostOf("198.51.100.1", "", "internet")
	open := hostOf("10.0.0.5", "some", "cas|hub")
	mapi := edgeOf(packs, client, cas, "2010.static.rpc-client-access", 6042)
	mapi.Service, mapi.Source = "emsmdb", observe.FromMap
	for i := range mapi.Path.Legs {
		if l := &mapi.Path.Legs[i]; l.Port.Dynamic && mapi.Leg == nil {
			mapi.Leg = l
		}
	}
	pinned := *mapi
	pinned.Server, pinned.Port = mb, 59532
	pinned.Edge = &tally.Edge{Path: mapi.Path, IDs: mapi.IDs, Service: "emsmdb", Source: observe.FromSite, Expected: 1}
	shell := &model.Edge{Client: client, Server: cas, Port: 4444, Proto: capture.TCP, State: model.Unexpected, Edge: &tally.Edge{Why: "no path", Unexpected: 1}}
	backwards := edgeOf(packs, cas, edge, "2010.transport.edge-hub", 25)
	backwards.Expected, backwards.Deviating, backwards.Violations = 0, 1, []record.FindingID{record.FindingWrongDirection}
	clear := edgeOf(packs, client, cas, "2010.cas.pop3", 110)
	clear.Expected, clear.Deviating, clear.Violations, clear.State = 0, 1, []record.FindingID{record.FindingCleartext}, model.Deviating
	m := &model.Model{Hosts: []*model.Host{client, cas, mb, dc, edge, net, open}, Edges: []*model.Edge{
		mapi, &pinned, shell, backwards, clear, edgeOf(packs, cas, mb, "2010.cas.mailbox-rpc", 6042), edgeOf(packs, mb, dc, "2010.mailbox.ad", 389),
		edgeOf(packs, net, edge, "2010.diagram.third-party-smtp", 25), edgeOf(packs, open, mb, "2010.cas.mailbox-rpc", 6042),
	}}
	site := &rules.Site{Networks: []rules.Network{{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Role: rules.Client}}}
	p := New(m, Options{Packs: packs, Site: site, Version: "2010"})
	got := pairs(p)
	for _, want := range []string{"10.1.0.0/16 > 10.0.0.1 110/tcp", "10.1.0.0/16 > 10.0.0.1 6005-59530/tcp", "10.1.0.0/16 > 10.0.0.1 135/tcp", "10.1.0.0/16 > 10.0.0.2 59532/tcp",
		"10.0.0.1 > 10.0.0.2 any", "10.0.0.2 > 10.0.0.3 any", "10.0.0.3 > 10.0.0.1 any", "10.0.0.5 > 10.0.0.2 any"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	for _, pair := range got {
		if strings.Contains(pair, "4444") || strings.HasPrefix(pair, "10.0.0.1 > 10.0.0.4") || strings.Contains(pair, "10.0.0.4 > ") && strings.Contains(pair, "any") {
			t.Errorf("%s is allowed", pair)
		}
	}
	if len(p.Refused) != 2 || len(p.Support) != 1 || !strings.Contains(p.Support[0], "Exchange 2010 Network Port Reference") {
		t.Errorf("refused %q, support %q", p.Refused, p.Support)
	}
	strict := pairs(New(m, Options{Packs: packs, Site: site, Version: "2010", Strict: true}))
	if slices.ContainsFunc(strict, func(s string) bool { return strings.HasSuffix(s, " any") }) || !slices.Contains(strict, "10.0.0.2 > 10.0.0.3 389/tcp") {
		t.Errorf("strict: %q", strict)
	}
}

func TestWindowsName(t *testing.T) {
	names := []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeRPC - RPC (TCP-In)", "MSExchangeRPC - PRCEPMap (TCP-In)"}
	for _, x := range []struct {
		rule Rule
		want string
	}{
		{Rule{Names: names, RPC: true, Ports: []Range{{6005, 59530}}}, "MSExchangeRPC - RPC (TCP-In)"},
		{Rule{Names: names, Ports: []Range{{135, 135}}}, "MSExchangeRPC - PRCEPMap (TCP-In)"},
		{Rule{Names: []string{"MSExchange - IMAP4 (GFW) (TCP-In)", "MSExchangeIMAP4 (TCP-In)"}, Ports: []Range{{143, 143}}}, "MSExchangeIMAP4 (TCP-In)"},
		{Rule{For: "HTTPS client access", Ports: []Range{{443, 443}}}, "exspan: HTTPS client access"},
	} {
		if got := x.rule.windowsName(); got != x.want {
			t.Errorf("%q, want %q", got, x.want)
		}
	}
}

// A match of multiport takes 15 ports, a range counts as two.
func TestMultiport(t *testing.T) {
	r := Rule{Proto: "tcp"}
	for i := range uint16(8) {
		r.Ports = append(r.Ports, Range{1000 + 10*i, 1005 + 10*i})
	}
	r.Ports = append(r.Ports, Range{25, 25})
	got := r.multiport()
	if len(got) != 2 || strings.Count(got[0], ":") != 7 || got[1] != " -p tcp -m multiport --dports 1070:1075,25" {
		t.Errorf("%q", got)
	}
}

func TestSafe(t *testing.T) {
	if got := safe("a\"b%PATH%&calc|x\r\n$(id)`x`"); strings.ContainsAny(got, "\"%&|\r\n$`") {
		t.Errorf("%q", got)
	}
	r := Rule{For: strings.Repeat("long ", 60) + "\"}\n; reboot"}
	if c := r.comment(120); len(c) > 120 || strings.ContainsAny(c, "\"\n\\'") {
		t.Errorf("%q", c)
	}
	if harmless("=cmd()") != "'=cmd()" || harmless("cas1") != "cas1" {
		t.Error("a cell that a spreadsheet takes for a formula")
	}
}

func TestWidest(t *testing.T) {
	for s, want := range map[string][2]uint16{
		"dynamic (6005-59530; 49152-65535 as Windows has it)": {6005, 65535}, "dynamic (1025-5000)": {1025, 5000}, "dynamic": {}, "99999-99999": {}, "5000-1025": {},
	} {
		if low, high := widest(s); low != want[0] || high != want[1] {
			t.Errorf("%q: %d-%d", s, low, high)
		}
	}
}

// TestServerWithTwoAddresses checks that a server with addresses of both families is one
// server of the Windows rules, and one name of the table.
func TestServerWithTwoAddresses(t *testing.T) {
	packs := packsOf(t)
	site, err := rules.LoadSite("site.yaml", []byte(`exchange: "2010"
servers:
  - {name: hub1, addresses: [10.0.0.1, "2001:db8::1"], roles: [hub]}
  - {name: hub2, addresses: [10.0.0.2], roles: [hub]}
`))
	if err != nil {
		t.Fatal(err)
	}
	p := New(model.NewDocumented(packs, "2010"), Options{Packs: packs, Site: site, Version: "2010"})
	write := func(f Format) string {
		var b strings.Builder
		if err := p.Write(&b, f, Look{Width: 200}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	script := write(Windows)
	if n := strings.Count(script, "rem On hub1 (10.0.0.1, 2001:db8::1),"); n != 1 || strings.Count(script, "rem On ") != 2 {
		t.Errorf("hub1 is not there once:\n%s", script)
	}
	if one, _, _ := strings.Cut(script, "rem On hub2"); !strings.Contains(one, "remoteip=10.0.0.2 ") {
		t.Errorf("hub1 has rules for itself:\n%s", one)
	}
	if table := write(Table); strings.Contains(table, "hub1, hub1") || !strings.Contains(table, "hub1, hub2") {
		t.Errorf("hub1 is named twice:\n%s", table)
	}
}
