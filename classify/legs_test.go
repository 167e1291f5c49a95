package classify

import (
	"slices"
	"testing"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// discard is a Sink for engines whose records nobody wants.
type discard struct{}

func (discard) Write(*record.Record) error  { return nil }
func (discard) Close(*record.Summary) error { return nil }

func testPacks(t testing.TB) *rules.Packs {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// unread are the protocols of legs that no observer reads: their port is all
// that tells them.
var unread = []string{
	"audio", "cluster", "dhcp", "dhcpv6", "ike", "kms", "kpasswd", "llmnr", "mdns", "nat-t", "netbios-dgm", "netbios-ns", "notify", "ntp",
	"scom", "snmp", "socks", "ssdp", "syslog", "t38", "telnet", "uls", "wins", "wsd",
}

// TestLegsName fails for a leg that names a protocol nobody reads, or a fact
// of a protocol that is not its own.
func TestLegsName(t *testing.T) {
	known := map[string]bool{}
	for _, p := range session.Protocols() {
		known[p.Name] = true
	}
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, pack := range packs.All() {
		for i := range pack.Paths {
			for _, l := range pack.Paths[i].Legs {
				if l.Protocol != "" && !known[l.Protocol] && !slices.Contains(unread, l.Protocol) {
					t.Errorf("%s: no observer reads %q", pack.Paths[i].ID, l.Protocol)
				}
			}
		}
	}
}
