package classify

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
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
	"scom", "snmp", "ssdp", "syslog", "t38", "telnet", "uls", "wins", "wsd",
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

// legAt returns the place of a flow between two hosts.
func legAt(id int, client, server string) *legPlace {
	addr := func(s string) capture.Addr { return capture.AddrFrom(netip.MustParseAddr(s)) }
	return &legPlace{legEnds{addr(client), addr(server)}, leg{flow.ID(id), uint16(1024 + id), 443, true}}
}

func TestLegsAlone(t *testing.T) {
	l := legs{pairs: map[legEnds]legList{}}
	inner := legAt(99, "10.0.0.100", "10.0.0.11")
	client := netip.MustParseAddr("10.0.9.9")
	found := func() bool { _, ok := l.outer(inner, client); return ok }
	const all = 11 // more than a list has room for
	for id := 1; id <= all; id++ {
		l.add(legAt(id, "10.0.9.9", "10.0.0.100"))
		if got, want := found(), id == 1; got != want {
			t.Errorf("with %d flows of the client, found %v", id, got)
		}
	}
	for id := all; id > 0; id-- {
		at := legAt(id, "10.0.9.9", "10.0.0.100")
		l.ended(at.id, at.server, at.client)
	}
	if len(l.pairs) != 0 || found() {
		t.Errorf("%d pairs are left", len(l.pairs))
	}
}

func TestLegsLimits(t *testing.T) {
	l := legs{pairs: map[legEnds]legList{}, isLive: func(*legPlace) bool { return true }}
	for id := 1; id <= maxLegPairs+10; id++ {
		at := legAt(id, "10.0.9.9", "10.0.0.100")
		at.client[12], at.client[13], at.client[14] = byte(id>>16), byte(id>>8), byte(id)
		l.add(at)
		l.tie(uint64(2*id), at)
		l.tie(uint64(2*id+1), at)
		l.tie(uint64(2*id+1), at) // sent again
	}
	if len(l.pairs) != maxLegPairs || l.refused == 0 || len(l.of) != 0 {
		t.Errorf("%d pairs, %d refused, %d joined", len(l.pairs), l.refused, len(l.of))
	}
	if len(l.ties) > maxTies {
		t.Errorf("%d ties", len(l.ties))
	}
}

// A place that another flow has taken is not joined for what the one before it
// carried.
func TestLegsEnded(t *testing.T) {
	live := map[flow.ID]bool{1: true}
	l := legs{isLive: func(p *legPlace) bool { return live[p.id] }}
	a, b := legAt(1, "10.0.9.9", "10.0.0.100"), legAt(2, "10.0.0.100", "10.0.0.11")
	l.tie(77, a)
	live[1], live[2] = false, true
	if l.tie(77, b); len(l.of) != 0 {
		t.Errorf("joined with a flow that has ended: %v", l.of)
	}
	c := legAt(3, "10.0.9.8", "10.0.0.100")
	live[3] = true
	if l.tie(77, c); l.of[2] == "" || l.of[2] != l.of[3] {
		t.Errorf("not joined: %v", l.of)
	}
}

// TestLegsOfSession ties flows by a TLS session: legs on both sides of one host are
// joined, connections in which a client resumes its session are not.
func TestLegsOfSession(t *testing.T) {
	const session = observe.SessionTie | 7
	over := map[flow.ID]bool{}
	newLegs := func(flows ...*legPlace) *legs {
		l := &legs{isLive: func(p *legPlace) bool { return !over[p.id] }}
		for _, at := range flows {
			l.tie(session, at)
		}
		return l
	}
	outer, inner := legAt(1, "10.0.9.9", "10.0.0.100"), legAt(2, "10.0.0.100", "10.0.0.11")
	for _, flows := range [][]*legPlace{{outer, inner}, {inner, outer}} {
		l := newLegs(flows...)
		if got := l.of[inner.id]; got == "" || got != l.of[outer.id] || got != outer.conversation() {
			t.Errorf("legs of a session are in %q and %q, want %q", l.of[outer.id], got, outer.conversation())
		}
	}
	again := legAt(3, "10.0.9.9", "10.0.0.100")
	if l := newLegs(outer, again, inner); len(l.of) != 0 {
		t.Errorf("joined though two connections of the client carry the session: %v", l.of)
	}
	elsewhere := legAt(4, "10.0.9.9", "10.0.0.12")
	if l := newLegs(outer, elsewhere, inner); len(l.of) != 0 {
		t.Errorf("joined though the client resumed its session at another server: %v", l.of)
	}
	l := newLegs(outer)
	over[outer.id] = true
	for _, at := range []*legPlace{again, inner} {
		l.tie(session, at)
	}
	if l.of[inner.id] != again.conversation() {
		t.Errorf("after the first connection ended the legs are in %q, want %q", l.of[inner.id], again.conversation())
	}
}
