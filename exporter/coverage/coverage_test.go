package coverage

import (
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

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

// A path of which some flows got through is not blocked, and one of which none did is.
func TestStates(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	imap, pop := packs.Path("2010.cas.imap4"), packs.Path("2010.cas.pop3")
	s := New(io.Discard, Options{Packs: packs, Version: "2010"})
	write := func(p *rules.DataPath, at int64, o record.Outcome) {
		r := &record.Record{
			State: "ended", Outcome: o, First: time.Unix(at, 0), Last: time.Unix(at, 0), Packets: record.Count{1, 1},
			Client: record.Host{Addr: netip.MustParseAddr("10.0.0.9"), Roles: []string{"client"}}, Server: record.Host{Addr: netip.MustParseAddr("10.0.0.5"), Roles: []string{"cas|hub"}},
			Verdict: record.Verdict{Status: record.Expected, Path: p},
		}
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	write(imap, 5, record.Refused)
	write(imap, 3, record.Answered)
	write(pop, 7, record.Unanswered)
	sum := &record.Summary{Hosts: []record.HostSummary{{Addr: netip.MustParseAddr("10.0.0.5"), Version: "2010", Roles: []record.RoleProof{{Role: "cas|hub"}}}}}
	if err := s.Close(sum); err != nil {
		t.Fatal(err)
	}
	row := func(id string) Row {
		i := slices.IndexFunc(s.Rows(), func(r Row) bool { return r.ID == id })
		if i < 0 {
			t.Fatalf("no row %s", id)
		}
		return s.Rows()[i]
	}
	if r := row(imap.ID); r.State != Seen || r.Flows != 2 || !r.First.Equal(time.Unix(3, 0)) || !r.Last.Equal(time.Unix(5, 0)) {
		t.Errorf("%+v", r)
	}
	if r := row(pop.ID); r.State != Blocked || !strings.Contains(r.Why, "unanswered") {
		t.Errorf("%+v", r)
	}
	if r := row("2010.cas.owa"); r.State != NotSeen {
		t.Errorf("%+v", r)
	}
	if r := row("2010.um.phone"); r.State != NotObservable {
		t.Errorf("%+v", r)
	}
	for _, r := range s.Rows() {
		if packs.Path(r.ID).NotUsed || packs.Path(r.ID).Platform() {
			t.Errorf("%s is listed", r.ID)
		}
	}
}
