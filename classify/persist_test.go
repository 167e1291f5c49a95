package classify

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

func TestSaveRestore(t *testing.T) {
	packs := testPacks(t)
	e, err := New(Config{Packs: packs}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddrPort("10.0.0.3:6010")
	from := netip.MustParseAddrPort("10.0.0.3:135")
	now := int64(1_600_000_000e9)
	e.clock = now
	e.endpoints.learn(&observe.Endpoint{Server: server, Source: observe.FromMap, From: from}, "emsmdb", false, now)
	e.endpoints.learn(&observe.Endpoint{Server: server, Source: observe.FromSDP, Scope: "call"}, "rtp", false, now)
	e.hosts.prove(capture.AddrFrom(server.Addr()), []rules.Role{rules.Mailbox, rules.CAS}, false, "2010", "emsmdb")
	e.hosts.name(server.Addr(), "MB1.example.com.")
	var b bytes.Buffer
	if err := e.Save(&b); err != nil {
		t.Fatal(err)
	}
	e2, err := New(Config{Packs: packs}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e2.Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	if len(e2.endpoints.all) != 1 || e2.endpoints.announced(capture.EndpointFrom(server), capture.TCP, now+endpointIdle/2) != "emsmdb" {
		t.Errorf("%d endpoints", len(e2.endpoints.all))
	}
	if e2.endpoints.known(capture.EndpointFrom(server), capture.TCP, now+2*endpointIdle) {
		t.Error("an endpoint outlives its idle time over a restart")
	}
	r := e2.hosts.of(capture.AddrFrom(server.Addr()))
	if !r.exchange || r.version != "2010" || strings.Join(r.names, " ") != "mailbox|cas" || e2.hosts.nameOf(capture.AddrFrom(server.Addr())) != "mb1.example.com" {
		t.Errorf("host %+v", r)
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"hosts":[{"addr":"10.0.0.1","proofs":[{"roles":["king"]}]}]}`} {
		if err := e2.Restore(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken for a state file", bad)
		}
	}
}

func TestReload(t *testing.T) {
	packs := testPacks(t)
	e, err := New(Config{Packs: packs, Traffic: true}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	a := capture.AddrFrom(netip.MustParseAddr("10.0.0.1"))
	if e.hosts.of(a).exchange {
		t.Fatal("an unknown host is an Exchange server")
	}
	site, err := rules.LoadSite("site.yaml", []byte(judgeSite))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Reload(packs, site); err != nil {
		t.Fatal(err)
	}
	if !e.hosts.of(a).exchange {
		t.Error("the new site file does not hold")
	}
	static := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.4:59532"))
	if !e.endpoints.known(static, capture.TCP, 1) {
		t.Error("the static port is not known")
	}
	e.cfg.Exchange = "1999"
	if err := e.Reload(packs, nil); err == nil || !e.hosts.of(a).exchange {
		t.Error("a bad reload must change nothing")
	}
}
