package classify

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/exspan/exspan/capture"
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
	h := newHosts(nil)
	a, b := capture.AddrFrom(netip.MustParseAddr("10.0.0.1")), capture.AddrFrom(netip.MustParseAddr("10.0.0.2"))
	for _, x := range []capture.Addr{a, b} {
		h.prove(x, []rules.Role{rules.Mailbox, rules.CAS}, false, "", "test")
	}
	if h.of(a) != h.of(b) {
		t.Error("equal roles are two sets")
	}
	h.prove(b, []rules.Role{rules.Hub}, false, "2010", "test")
	if h.of(a) == h.of(b) || len(h.of(a).names) != 1 || len(h.of(b).names) != 2 || h.of(a).version != "" || h.of(b).version != "2010" {
		t.Errorf("%v, %v", h.of(a), h.of(b))
	}
}
