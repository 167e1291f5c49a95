package rules

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

const siteFile = `
exchange: "2010"                       # or per server: exchange: "2016"
servers:
  - {name: mb1, addresses: [10.0.0.5, "2001:db8::5"], roles: [mailbox, cas], static_ports: {emsmdb: 59532, nspi: 59533}}
  - name: mb2
    addresses: [10.0.0.6]
    roles: [mailbox]
    exchange: 2016
networks:
  - {cidr: 10.9.0.0/16, role: client}  # addresses outside all networks and private ranges are role internet
log_shipping_port: 64400
allow:
  - {from: admin, to: any, port: 3389/tcp, note: remote desktop}
accept:
  - {finding: cleartext, path: 2010.cas.*, from: client, to: MB1, until: 2026-12-31, note: until the certificates are there}
  - {finding: weak-auth, from: 10.9.1.0/24, to: any}
relays: [10.0.0.30, "2001:db8:1::/48"]
mirrors: [10.0.0.40]
`

func TestLoadSite(t *testing.T) {
	got, err := LoadSite("site.yaml", []byte(siteFile))
	if err != nil {
		t.Fatal(err)
	}
	want := &Site{
		Version: "2010",
		Servers: []Server{
			{
				Name: "mb1", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2001:db8::5")},
				Roles: []Role{Mailbox, CAS}, StaticPorts: map[string]uint16{"emsmdb": 59532, "nspi": 59533},
			},
			{Name: "mb2", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.6")}, Roles: []Role{Mailbox}, Version: "2016"},
		},
		Networks:        []Network{{netip.MustParsePrefix("10.9.0.0/16"), Client}},
		LogShippingPort: 64400,
		Allow:           []Allow{{From: Admin, To: Any, Port: Port{From: 3389, To: 3389, TCP: true}, Note: "remote desktop"}},
		Accept: []Accept{
			{
				Finding: "cleartext", Path: "2010.cas.*", From: End{Role: Client}, To: End{Server: "MB1"},
				Until: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), Note: "until the certificates are there", File: "site.yaml", Line: 15,
			},
			{Finding: "weak-auth", From: End{Prefix: netip.MustParsePrefix("10.9.1.0/24")}, File: "site.yaml", Line: 16},
		},
		Relays:  []netip.Prefix{netip.MustParsePrefix("10.0.0.30/32"), netip.MustParsePrefix("2001:db8:1::/48")},
		Mirrors: []netip.Prefix{netip.MustParsePrefix("10.0.0.40/32")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := Check("site.yaml", []byte(siteFile)); err != nil {
		t.Error(err)
	}
	// In the form that editors on Windows write.
	windows := "\xef\xbb\xbf" + strings.ReplaceAll(siteFile, "\n", "\r\n")
	if got, err := LoadSite("site.yaml", []byte(windows)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("with a byte order mark and CR LF: %+v, %v", got, err)
	}
}

func TestSitePort(t *testing.T) {
	leg := &embeddedPacks(t).Path("2010.mailbox.log-shipping").Legs[0]
	if leg.Reverse || leg.Port != (Port{From: 64327, To: 64327, TCP: true}) {
		t.Fatalf("%+v", leg)
	}
	var none *Site
	for _, tt := range []struct {
		site *Site
		want uint16
	}{{none, 64327}, {&Site{}, 64327}, {&Site{LogShippingPort: 64400}, 64400}} {
		if p := tt.site.Port(leg); p.From != tt.want || p.To != tt.want || !p.TCP {
			t.Errorf("%+v: %v", tt.site, p)
		}
	}
	other := &embeddedPacks(t).Path("2010.cas.mrs").Legs[0]
	if p := (&Site{LogShippingPort: 64400}).Port(other); p != other.Port {
		t.Errorf("the port of another leg became %v", p)
	}
}

// TestLoadSiteMinimal verifies that all lists are optional, and that a server needs only
// addresses and roles.
// Of networks one within the other, an address is in the smallest, as its role is.
func TestSiteHosts(t *testing.T) {
	site, err := LoadSite("site.yaml", []byte(`
servers:
  - {name: mb1, addresses: [10.0.0.5], roles: [mailbox]}
networks:
  - {cidr: 10.0.0.0/8, role: client}
  - {cidr: 10.9.0.0/16, role: admin}
`))
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]Role{"10.9.0.1": Admin, "::ffff:10.9.0.1": Admin, "10.8.0.1": Client, "11.0.0.1": ""} {
		got := Role("")
		if n := site.Network(netip.MustParseAddr(a)); n != nil {
			got = n.Role
		}
		if got != want {
			t.Errorf("%s is in a network of %q, want %q", a, got, want)
		}
	}
	if s := site.Server(netip.MustParseAddr("::ffff:10.0.0.5")); s == nil || s.Name != "mb1" {
		t.Errorf("server %v", s)
	}
	var none *Site
	if a := netip.MustParseAddr("10.0.0.6"); site.Server(a) != nil || none.Server(a) != nil || none.Network(a) != nil {
		t.Error("a server or a network that is not there")
	}
}

func TestLoadSiteMinimal(t *testing.T) {
	for _, s := range []string{"exchange: \"2013\"", "servers: []", "servers:\n  - {addresses: [192.0.2.1], roles: [dc, gc]}"} {
		if _, err := LoadSite("s", []byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
