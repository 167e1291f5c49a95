package inventory

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

const minute = int64(time.Minute)

func learn(t *endpoints, addr, service string, source observe.Source, scope string, now int64) bool {
	en, _ := t.learn(&observe.Endpoint{Server: netip.MustParseAddrPort(addr), Source: source, Scope: scope, UDP: source == observe.FromSDP},
		hearing{service: service, time: now})
	return en != nil
}

func services(t *endpoints, addr string, first, last int64) string {
	s := ""
	for _, en := range t.lookup(endpointKey{capture.EndpointFrom(netip.MustParseAddrPort(addr)), capture.TCP}, &Flow{First: first, Last: last}, nil) {
		s += en.service + " "
	}
	return s
}

func TestEndpoints(t *testing.T) {
	const a = "10.0.0.3:6010"
	key := endpointKey{capture.EndpointFrom(netip.MustParseAddrPort(a)), capture.TCP}
	e := newEndpoints(&rules.Policy{})
	learn(e, a, "emsmdb", observe.FromBind, "", 10*minute)
	learn(e, a, "nspi", observe.FromMap, "", 11*minute)
	for _, c := range []struct {
		what        string
		first, last int64
		want        string
	}{
		{"a flow during both, what proves more first", 11 * minute, 12 * minute, "nspi emsmdb "},
		{"a flow that ended before either was learned", 1 * minute, 2 * minute, "nspi emsmdb "},
		{"a flow that ended between", 9 * minute, 10*minute + 1, "emsmdb "},
	} {
		if got := services(e, a, c.first, c.last); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	e.reject(key, "emsmdb", 0, 20*minute)
	if got := services(e, a, 21*minute, 22*minute); got != "nspi " {
		t.Errorf("after emsmdb, which a bind proves, was rejected: %q", got)
	}
	if got := services(e, a, 19*minute, 22*minute); got != "nspi emsmdb " {
		t.Errorf("a flow that began before: %q", got)
	}
	e.reject(key, "nspi", 0, 22*minute)
	if got := services(e, a, 23*minute, 24*minute); got != "nspi " || e.conflicts != 1 {
		t.Errorf("after nspi, which the mapper announced, was rejected: %q, %d conflicts", got, e.conflicts)
	}
	e.close(key, 0, 30*minute)
	if got := services(e, a, 31*minute, 32*minute); got != "nspi " {
		t.Errorf("after the server refused: %q", got)
	}
	learn(e, a, "rfr", observe.FromMap, "", 40*minute)
	if got := services(e, a, 41*minute, 42*minute); got != "rfr nspi " {
		t.Errorf("after the port was taken anew, what is in doubt last: %q", got)
	}
	if got := services(e, a, 41*minute+endpointIdle, 42*minute+endpointIdle); got != "" {
		t.Errorf("a day later: %q", got)
	}
}

// TestEndpointsMakeRoom learns the media of more calls than there is room for:
// those that are over go.
func TestEndpointsMakeRoom(t *testing.T) {
	e := newEndpoints(&rules.Policy{})
	now := int64(0)
	for i := range 3 * MaxServerEndpoints {
		now += int64(time.Second) / 2
		scope := fmt.Sprint("call ", i)
		if !learn(e, fmt.Sprintf("10.0.0.3:%d", 1024+i%60_000), "rtp", observe.FromSDP, scope, now) {
			t.Fatalf("endpoint %d was refused", i)
		}
		e.endDialog(scope, capture.Addr{}, capture.Addr{}, now+1)
	}
	if e.len() > MaxServerEndpoints || len(e.byKey) > e.len() || len(e.dialogs) != 0 {
		t.Errorf("%d entries, %d keys, %d dialogs", e.len(), len(e.byKey), len(e.dialogs))
	}
	// What proves more stays, and what is new is refused and counted.
	e = newEndpoints(&rules.Policy{})
	for i := range MaxServerEndpoints {
		learn(e, fmt.Sprintf("10.0.0.3:%d", 1024+i), "emsmdb", observe.FromMap, "", 1)
	}
	weak := &observe.Endpoint{Server: netip.MustParseAddrPort("10.0.0.3:1000"), Source: observe.FromMap, Weak: true}
	if en, _ := e.learn(weak, hearing{service: "emsmdb", time: 20 * minute}); en != nil || e.limits.refused != 1 {
		t.Error("what proves less displaces what proves more")
	}
	if !learn(e, "10.0.0.4:1000", "emsmdb", observe.FromMap, "", 20*minute) {
		t.Error("another host is refused")
	}
}

// TestWeakFloodIsCheap announces what proves less than all there is, more often than
// all could be looked through.
func TestWeakFloodIsCheap(t *testing.T) {
	e := newEndpoints(&rules.Policy{})
	e.most, e.mostPerServer = 50_000, 10_000
	for i := range e.most {
		learn(e, fmt.Sprintf("10.0.%d.3:%d", i%250, 1024+i/250), "emsmdb", observe.FromMap, "", 1)
	}
	const n = 300_000
	for i := range n {
		weak := &observe.Endpoint{Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1000), Source: observe.FromMap, Weak: true}
		if en, _ := e.learn(weak, hearing{service: "emsmdb", time: 2 + int64(i)}); en != nil {
			t.Fatal("what proves less displaces what proves more")
		}
	}
	if e.limits.refused != n || e.len() != e.most {
		t.Errorf("%d refused, %d entries", e.limits.refused, e.len())
	}
}
