package inventory

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

func addr(s string) capture.Addr { return capture.AddrFrom(netip.MustParseAddr(s)) }

// TestFloodsPushOutTheirOwn announces too much, for each limit, before and after
// what is true.
func TestFloodsPushOutTheirOwn(t *testing.T) {
	for limit, c := range []struct {
		name string
		n    int
		junk func(i int) (server, service string)
	}{
		{"one endpoint", 3 * maxPerEndpoint, func(i int) (string, string) {
			return "10.0.0.25:46861", fmt.Sprintf("11111111-1111-1111-1111-%012d v1.0", i)
		}},
		{"one server", 2 * MaxServerEndpoints, func(i int) (string, string) {
			return fmt.Sprintf("10.0.0.25:%d", 1024+i), "emsmdb"
		}},
		{"all", MaxEndpoints + 40_000, func(i int) (string, string) {
			return fmt.Sprintf("10.1.%d.%d:%d", i>>8&255, i&255, 1024+i>>16), "emsmdb"
		}},
	} {
		e := newEndpoints(&rules.Policy{})
		tell := func(server, service, by string, now int64) {
			e.learn(&observe.Endpoint{Server: netip.MustParseAddrPort(server), Source: observe.FromMap}, hearing{service: service, by: addr(by), time: now})
		}
		tell("10.0.0.25:46861", "emsmdb", "10.9.0.5", 1)
		for i := range c.n {
			server, service := c.junk(i)
			tell(server, service, "10.66.6.6", int64(i+2))
		}
		tell("10.0.0.25:46862", "rfr", "10.9.0.5", int64(c.n+2))
		for _, want := range []string{"10.0.0.25:46861 emsmdb", "10.0.0.25:46862 rfr"} {
			server, service, _ := strings.Cut(want, " ")
			if got := services(e, server, 1, int64(c.n+3)); !strings.Contains(got, service+" ") {
				t.Errorf("%s: %s is gone, there is %q", c.name, want, got)
			}
		}
		if e.limits.evicted[limit] == 0 || e.len() > MaxEndpoints || e.perHost[addr("10.0.0.25")] > MaxServerEndpoints {
			t.Errorf("%s: %d entries, limits %+v", c.name, e.len(), e.limits)
		}
	}
}

// TestDialogsOfStrangers ends calls, and announces under their names, from hosts
// that take no part in them.
func TestDialogsOfStrangers(t *testing.T) {
	e := newEndpoints(&rules.Policy{})
	tell := func(server, from, to string) *Endpoint {
		en, _ := e.learn(&observe.Endpoint{Server: netip.MustParseAddrPort(server), UDP: true, Source: observe.FromSDP, Scope: "call"},
			hearing{service: "rtp", by: addr(from), to: addr(to), time: 1})
		return en
	}
	phone := tell("10.0.0.1:20000", "10.0.0.1", "10.0.0.2")
	tell("10.66.6.6:4444", "10.66.6.6", "10.66.6.7")
	again := tell("10.0.0.1:20000", "10.0.0.2", "10.0.0.3") // the proxy passes the call on
	if again != phone {
		t.Error("the proxy began another call")
	}
	for _, c := range []struct {
		a, b string
		ends bool
	}{
		{"10.66.6.6", "10.66.6.7", false}, {"10.66.6.6", "10.0.0.1", false}, {"10.0.0.2", "10.66.6.6", false}, {"10.0.0.3", "10.0.0.1", true},
	} {
		e.endDialog("call", addr(c.a), addr(c.b), 5)
		if over := phone.overAt(6); over != c.ends {
			t.Errorf("a BYE between %s and %s: over %v", c.a, c.b, over)
		}
	}
	for i := range 10 {
		tell("10.0.0.1:20000", fmt.Sprintf("10.66.7.%d", i), "10.66.6.7")
	}
	if len(e.dialogs["call"]) > maxDialogs || e.limits.dialogs == 0 || e.limits.ends == 0 {
		t.Errorf("%d dialogs, limits %+v", len(e.dialogs["call"]), e.limits)
	}
}

// TestWhatExplains holds where an announcement was heard, and from whom, against
// flows.
func TestWhatExplains(t *testing.T) {
	e := newEndpoints(&rules.Policy{Announced: []rules.Announced{{By: []string{"sdp"}, Protocol: "rtp"}, {By: []string{"ept_map", "site"}, Protocol: "dcerpc"}}})
	facts := func(codec string) *observe.List {
		f := observe.NewFactLists().Empty()
		f.Add(codecFact, codec)
		return f.List()
	}
	strange := &Endpoint{source: observe.FromSDP, strange: true, codecs: "PCMU dynamic-96"}
	for _, c := range []struct {
		what string
		en   *Endpoint
		flow Flow
		want bool
	}{
		{"the wire", &Endpoint{source: observe.FromMap}, Flow{}, true},
		{"said in a tunnel", &Endpoint{source: observe.FromMap, tunnel: 3}, Flow{}, false},
		{"said on the wire, used in a tunnel", &Endpoint{source: observe.FromMap}, Flow{Tunnels: []capture.TunnelID{3}}, false},
		{"the same tunnel", &Endpoint{source: observe.FromMap, tunnel: 3}, Flow{Tunnels: []capture.TunnelID{2, 3}}, true},
		{"tunnels beyond the limit", &Endpoint{source: observe.FromMap, tunnel: capture.TunnelOther}, Flow{Tunnels: []capture.TunnelID{capture.TunnelOther}}, false},
		{"the site file", &Endpoint{source: observe.FromSite}, Flow{Tunnels: []capture.TunnelID{3}}, true},
		{"a stranger, and nothing read", strange, Flow{}, false},
		{"a stranger, and its codec", strange, Flow{Protocol: "rtp", Facts: facts("PCMU")}, true},
		{"a stranger, and another codec", strange, Flow{Protocol: "rtp", Facts: facts("PCMA")}, false},
		{"a stranger, and another protocol", strange, Flow{Protocol: "sip", Facts: facts("PCMU")}, false},
	} {
		if got := e.explains(c.en, &c.flow); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestRestoreRefuses gives state files that nobody can have saved.
func TestRestoreRefuses(t *testing.T) {
	const head, tail = `{"version":1,"clock":1000,"endpoints":[{`, `}],"hosts":[]}`
	const rest = `"proto":6,"service":"emsmdb","source":"ept_map","from":"10.0.0.1:135","learned":1,"used":2,"idle":3`
	for text, want := range map[string]string{
		head + `"server":"10.0.0.1:40001",` + rest + tail: "",
		head + rest + tail: "no address and port",
		head + `"server":"10.0.0.1:0",` + rest + tail:                                                          "no address and port",
		head + `"server":"10.0.0.1:40001",` + strings.Replace(rest, `"proto":6`, `"proto":7`, 1) + tail:        "protocol number 7",
		head + `"server":"10.0.0.1:40001",` + strings.Replace(rest, `ept_map`, `site`, 1) + tail:               "unknown source",
		head + `"server":"10.0.0.1:40001",` + strings.Replace(rest, `"idle":3`, `"idle":-3`, 1) + tail:         "idle time",
		head + `"server":"10.0.0.1:40001",` + strings.Replace(rest, `"used":2`, `"used":0`, 1) + tail:          "times that cannot be",
		head + `"server":"10.0.0.1:40001",` + strings.Replace(rest, `emsmdb`, `a\u001b[31m`, 1) + tail:         "control characters",
		head + `"server":"10.0.0.1:40001",` + rest + `,"annotation":"` + strings.Repeat("x", 999) + `"` + tail: "a text of 999 bytes",
		`{"version":1,"hosts":[{"addr":"10.0.0.1","proofs":[{"roles":["king"]}]}]}`:                            "unknown role",
		`{"version":1,"hosts":[{"name":"a"}]}`:                                                                 "no address",
	} {
		v := New(testPacks(t), nil, nil, "")
		err := v.Restore(strings.NewReader(text))
		if want == "" {
			if _, n := v.Len(); err != nil || n != 1 {
				t.Errorf("%s: %v, %d endpoints", text, err, n)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if h, n := v.Len(); h+n != 0 {
			t.Errorf("%s: something was taken in", text)
		}
	}
}

// TestWhoAnnouncesMustOwn holds session descriptions for the sender's own address
// and for another one, with and without the sender among the relays.
func TestWhoAnnouncesMustOwn(t *testing.T) {
	sbc := netip.MustParseAddr("10.0.3.9")
	for _, c := range []struct {
		server string
		relays []netip.Prefix
		want   Proof
	}{
		{"10.0.3.9:20000", nil, TwoSided},
		{"10.0.0.25:4444", nil, WeakEvidence},
		{"10.0.0.25:4444", []netip.Prefix{netip.MustParsePrefix("10.0.3.8/32")}, WeakEvidence},
		{"10.0.0.25:4444", []netip.Prefix{netip.MustParsePrefix("10.0.3.9/32")}, TwoSided},
	} {
		v := New(testPacks(t), &rules.Site{Relays: c.relays}, nil, "")
		h := &session.Heard{Client: capture.Endpoint{Addr: capture.AddrFrom(sbc), Port: 5060}, Server: capture.Endpoint{Addr: addr("10.0.0.25"), Port: 5060},
			Proto: capture.UDP, Time: 1, Endpoints: []observe.Endpoint{{Server: netip.MustParseAddrPort(c.server), UDP: true, Service: "rtp",
				Source: observe.FromSDP, From: netip.AddrPortFrom(sbc, 5060), Scope: "call"}}}
		changes := v.Hear(h)
		if len(changes) != 1 || changes[0].Proof != c.want {
			t.Errorf("%s, relays %v: %+v, want proof %d", c.server, c.relays, changes, c.want)
		}
		if promised := v.Announced(&h.Client, &capture.Endpoint{Addr: addr("10.0.0.25"), Port: 4444}, capture.UDP, 2); (promised != "") != (c.want == TwoSided && c.server != "10.0.3.9:20000") {
			t.Errorf("%s, relays %v: %q is promised", c.server, c.relays, promised)
		}
	}
}
