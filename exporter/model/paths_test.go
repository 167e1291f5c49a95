package model

import (
	"testing"

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
