package model

import (
	"testing"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

func leg(port uint16, protocol string, facts ...rules.Fact) rules.Leg {
	l := rules.Leg{Match: rules.Match{Port: rules.Port{From: port, To: port, TCP: true}, Protocol: protocol, Facts: facts}}
	l.Port.Dynamic = port == 0
	return l
}

func TestCovers(t *testing.T) {
	nspi, many := rules.Fact{Name: "rpc.interface", Values: []string{"nspi"}}, rules.Fact{Name: "rpc.interface", Values: []string{"samr", "nspi"}}
	reverse := leg(25, "smtp")
	reverse.Reverse = true
	wide := leg(25, "smtp")
	wide.Port.To = 30
	for _, x := range []struct {
		what string
		m, l rules.Leg
		want bool
	}{
		{"the same", leg(25, "smtp"), leg(25, "smtp"), true},
		{"another port", leg(25, "smtp"), leg(26, "smtp"), false},
		{"a range around it", wide, leg(26, "smtp"), true},
		{"a range in a port", leg(25, "smtp"), wide, false},
		{"the other direction", reverse, leg(25, "smtp"), false},
		{"more interfaces", leg(0, "dcerpc", many), leg(0, "dcerpc", nspi), true},
		{"fewer interfaces", leg(0, "dcerpc", nspi), leg(0, "dcerpc", many), false},
		{"no interfaces asked for", leg(0, "dcerpc"), leg(0, "dcerpc", nspi), true},
		{"interfaces asked for", leg(0, "dcerpc", nspi), leg(0, "dcerpc"), false},
		{"dynamic and not", leg(0, "dcerpc"), leg(25, "dcerpc"), false},
	} {
		if got := covers(&x.m, &x.l); got != x.want {
			t.Errorf("%s: %v", x.what, got)
		}
	}
}

// TestOpenFlows verifies for which paths a flow counts that was left undetermined.
func TestOpenFlows(t *testing.T) {
	flow := func(reason record.Reason, port uint16, client, server string) *record.Record {
		return &record.Record{Proto: 6, Client: record.Host{Roles: []string{client}}, Server: record.Host{Port: port, Roles: []string{server}},
			Verdict: record.Verdict{Status: record.Undetermined, Reason: reason}}
	}
	path := func(l rules.Leg) *rules.DataPath {
		return &rules.DataPath{From: []rules.Role{rules.Hub}, To: []rules.Role{rules.Mailbox}, Legs: []rules.Leg{l}}
	}
	reverse := leg(25, "smtp")
	reverse.Reverse = true
	for _, x := range []struct {
		what string
		flow *record.Record
		leg  rules.Leg
		want string
	}{
		{"the ends and the port", flow(record.OneDirection, 25, "hub", "mailbox"), leg(25, "smtp"), "flows that may be it were captured in one direction only"},
		{"one of several roles", flow(record.Truncated, 25, "hub|cas", "mailbox"), leg(25, "smtp"), "flows that may be it were cut by the snap length"},
		{"a dynamic port", flow(record.NotBegun, 2000, "hub", "mailbox"), leg(0, "dcerpc"), "flows that may be it began before the capture"},
		{"no dynamic port", flow(record.NotBegun, 80, "hub", "mailbox"), leg(0, "dcerpc"), ""},
		{"the leg back", flow(record.OneDirection, 25, "mailbox", "hub"), reverse, "flows that may be it were captured in one direction only"},
		{"another port", flow(record.OneDirection, 26, "hub", "mailbox"), leg(25, "smtp"), ""},
		{"other ends", flow(record.OneDirection, 25, "mailbox", "hub"), leg(25, "smtp"), ""},
		{"a role that is not known", flow(record.UnknownRole, 25, "hub", "mailbox"), leg(25, "smtp"), ""},
	} {
		var b Builder
		b.leaveOpen(x.flow)
		if got := b.mayBe(path(x.leg)); got != x.want {
			t.Errorf("%s: %q, want %q", x.what, got, x.want)
		}
	}
}

func TestHidden(t *testing.T) {
	mapper := leg(135, "dcerpc")
	mapper.Auth = rules.NotApplicable
	udp := leg(2883, "notify")
	udp.Port.TCP, udp.Port.UDP = false, true
	names := rules.DataPath{Legs: []rules.Leg{leg(443, "tls")}}
	names.Conditions.NamesDecide = true
	for _, x := range []struct {
		what string
		path rules.DataPath
		want bool
	}{
		{"a port of its own", rules.DataPath{Legs: []rules.Leg{leg(110, "pop3")}}, false},
		{"an announced port", rules.DataPath{Legs: []rules.Leg{mapper, leg(0, "dcerpc")}}, true},
		{"one of both", rules.DataPath{Legs: []rules.Leg{leg(0, "dcerpc"), leg(143, "imap")}}, false},
		{"datagrams", rules.DataPath{Legs: []rules.Leg{udp}}, true},
		{"names", names, true},
	} {
		if got := hidden(&x.path); got != x.want {
			t.Errorf("%s: %v", x.what, got)
		}
	}
}
