package classify

import (
	"net/netip"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/rules"
)

const reloadSite = `
exchange: "2010"
servers:
  - {name: hub1, addresses: [10.0.0.1], roles: [hub]}
  - {name: cas1, addresses: [10.0.0.4], roles: [cas], static_ports: {emsmdb: 59532}}
`

func TestReload(t *testing.T) {
	packs := testPacks(t)
	e, err := New(Config{Packs: packs, Traffic: true}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	a := capture.AddrFrom(netip.MustParseAddr("10.0.0.1"))
	exchange := func(e *Engine) bool {
		r, _ := e.inventory.Host(&a)
		return r.Exchange
	}
	if exchange(e) {
		t.Fatal("an unknown host is an Exchange server")
	}
	site, err := rules.LoadSite("site.yaml", []byte(reloadSite))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Reload(packs, site); err != nil {
		t.Fatal(err)
	}
	if !exchange(e) {
		t.Error("the new site file does not hold")
	}
	static := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.4:59532"))
	if !e.inventory.Known(&static, capture.TCP, 1) {
		t.Error("the static port is not known")
	}
	e.cfg.Exchange = "1999"
	if err := e.Reload(packs, nil); err == nil || !exchange(e) {
		t.Error("a bad reload must change nothing")
	}
}
