package inventory

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// TestLocal holds what is local against the words of the standard library.
func TestLocal(t *testing.T) {
	shared, broadcast := netip.MustParsePrefix("100.64.0.0/10"), netip.MustParseAddr("255.255.255.255")
	check := func(a netip.Addr) {
		want := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() ||
			shared.Contains(a) || a == broadcast
		if b := capture.AddrFrom(a); local(&b) != want {
			t.Errorf("%s: %t", a, !want)
		}
	}
	for hi := range 1 << 16 {
		ip4 := [4]byte{byte(hi >> 8), byte(hi), byte(rand.Uint32()), byte(rand.Uint32())}
		check(netip.AddrFrom4(ip4))
		ip6 := [16]byte{byte(hi >> 8), byte(hi)}
		check(netip.AddrFrom16(ip6))
		ip6[15] = 1
		check(netip.AddrFrom16(ip6))
		ip6[7] = byte(rand.Uint32())
		check(netip.AddrFrom16(ip6))
	}
	for _, s := range []string{"0.0.0.0", "0.0.0.1", "255.255.255.255", "255.255.255.254", "127.0.0.1", "::2", "::fffe:10.0.0.1", "::10.0.0.1", "::1:0:0:0"} {
		check(netip.MustParseAddr(s))
	}
}

// TestHostsShareRoles: equal roles are one set, and a change of one host's is
// none of another's.
func TestHostsShareRoles(t *testing.T) {
	h := newHosts(testPacks(t).Policy(), nil, "")
	a, b := capture.AddrFrom(netip.MustParseAddr("10.0.0.1")), capture.AddrFrom(netip.MustParseAddr("10.0.0.2"))
	for _, x := range []capture.Addr{a, b} {
		h.prove(x, roleProof{roles: []rules.Role{rules.Mailbox, rules.CAS}, evidence: "test"}, "", "")
	}
	if rolesOf(h, a) != rolesOf(h, b) {
		t.Error("equal roles are two sets")
	}
	h.prove(b, roleProof{roles: []rules.Role{rules.Hub}, evidence: "test"}, "2010", "")
	if rolesOf(h, a) == rolesOf(h, b) || len(rolesOf(h, a).Names) != 1 || len(rolesOf(h, b).Names) != 2 || rolesOf(h, a).Source != record.ByOrganisation || rolesOf(h, b).Source != record.ByTraffic {
		t.Errorf("%v, %v", rolesOf(h, a), rolesOf(h, b))
	}
}

// TestWeakProof: weak evidence counts for a host of which nothing is known, and not
// for one of a network that the site file names or of the internet.
func TestWeakProof(t *testing.T) {
	site, err := rules.LoadSite("site.yaml", []byte("networks:\n  - {cidr: 10.8.0.0/16, role: admin}\n"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHosts(testPacks(t).Policy(), site, "")
	for addr, want := range map[string]string{"10.0.0.1": "pbx", "10.8.0.1": "admin", "198.51.100.7": "internet"} {
		a := capture.AddrFrom(netip.MustParseAddr(addr))
		h.prove(a, roleProof{roles: []rules.Role{rules.PBX}, weak: true, evidence: "sip.method=INVITE on port 5060"}, "", "")
		if got := strings.Join(rolesOf(h, a).Names, ","); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
}

func rolesOf(h *hosts, a capture.Addr) *match.RoleSet {
	r, _ := h.find(&a)
	return r
}

func testPacks(t testing.TB) *rules.Packs {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// TestNamesLeaveRoom: names alone do not keep what is proven of servers from
// being remembered.
func TestNamesLeaveRoom(t *testing.T) {
	h := newHosts(testPacks(t).Policy(), nil, "")
	for i := range uint32(MaxHosts + 10) {
		h.name(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), "a.example")
	}
	if len(h.byAddr) != MaxHosts || h.refused != 10 {
		t.Errorf("%d hosts, %d refused", len(h.byAddr), h.refused)
	}
	server := capture.AddrFrom(netip.MustParseAddr("10.0.1.9"))
	h.prove(server, roleProof{roles: []rules.Role{rules.Mailbox}, evidence: "test"}, "2010", "")
	if !rolesOf(h, server).Exchange {
		t.Error("nothing can be proven of a host any more")
	}
}
