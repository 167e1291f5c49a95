package judge

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// TestMemo changes a subject field by field: a remembered verdict is the one
// that would be decided.
func TestMemo(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	j, err := New(packs, nil, match.DefaultVersion)
	if err != nil {
		t.Fatal(err)
	}
	set := func(version string, roles ...[]rules.Role) *match.RoleSet {
		r := match.NewRoleSet(packs.Policy(), match.Proven, roles)
		r.Version = version
		return &r
	}
	anywhere := set("")
	anywhere.Known = match.Unknown
	facts := observe.NewFactLists().Empty()
	s := &Subject{Client: anywhere, Server: set("", []rules.Role{rules.Mailbox, rules.CAS}), Proto: capture.TCP, Port: 49152,
		Protocol: "dcerpc", Outcome: record.Answered, Payload: true, Begun: true}
	last := (*Verdict)(nil)
	check := func(what string) {
		t.Helper()
		s.Facts = facts.List()
		want := j.decide(s)
		for range 2 {
			v := j.Verdict(s)
			want.id = v.id
			if !reflect.DeepEqual(*v, want) {
				t.Errorf("%s: remembered %+v, want %+v", what, *v, want)
			} else if v == last {
				t.Errorf("%s: remembered as if nothing had changed", what)
			}
		}
		if last = j.Verdict(s); last != j.Verdict(s) {
			t.Errorf("%s: not remembered", what)
		}
	}
	check("nothing known")
	facts.Add(observe.RPCInterface, "emsmdb")
	check("a fact")
	facts.Add(observe.Auth, "ntlm")
	facts.Add(observe.Encryption, "rpc-privacy")
	check("more facts")
	s.Outcome = record.Refused
	check("an outcome")
	facts.Remove(observe.Auth, "ntlm")
	check("a fact less")
	bound := match.Service{Name: "emsmdb", Source: observe.FromBind, Protocol: "dcerpc"}
	mapped := match.Service{Name: "emsmdb", Source: observe.FromMap, Protocol: "dcerpc"}
	s.Announced = &match.Announced{Services: []match.Service{bound}}
	check("an endpoint")
	s.Announced = &match.Announced{Services: []match.Service{mapped}}
	check("what proves more of it")
	s.Announced = &match.Announced{Services: []match.Service{mapped, bound}}
	check("two endpoints")
	s.Server = set("2007", []rules.Role{rules.Mailbox, rules.CAS}, []rules.Role{rules.Hub})
	check("another role and version")
	s.Client = set("", []rules.Role{rules.Hub})
	check("a role of the other end")
	s.Protocol, s.Late = "tls", true
	check("another protocol")
	s.Late = false
	check("found by the first bytes")
	s.Payload, s.Begun, s.Proto = false, false, capture.UDP
	check("another transport")
	for port := range 8 * len(j.memo) {
		s.Port = uint16(port)
		got, want := j.Verdict(s), j.decide(s)
		want.id = got.id
		if !reflect.DeepEqual(*got, want) {
			t.Fatalf("port %d: remembered %+v, want %+v", port, *got, want)
		}
	}
	check("after many")
}

// TestWord: flows alike differ in who announced their endpoint and when.
func TestWord(t *testing.T) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	j, err := New(packs, nil, match.DefaultVersion)
	if err != nil {
		t.Fatal(err)
	}
	client, server := match.NewRoleSet(packs.Policy(), match.Unknown, nil), match.NewRoleSet(packs.Policy(), match.Proven, [][]rules.Role{{rules.Mailbox}})
	v := j.Verdict(&Subject{Client: &client, Server: &server, Proto: capture.TCP, Port: 49152,
		Announced: &match.Announced{Services: []match.Service{{Name: "emsmdb", Source: observe.FromMap, Protocol: "dcerpc"}}}})
	for range 2 {
		for _, c := range []struct {
			from    string
			learned int64
			want    string
		}{
			{"10.0.0.2:135", 34_443e9, "endpoint of emsmdb learned from 10.0.0.2:135 at 09:34:03"},
			{"10.0.0.3:135", 34_443e9, "endpoint of emsmdb learned from 10.0.0.3:135 at 09:34:03"},
			{"10.0.0.3:135", 34_444e9, "endpoint of emsmdb learned from 10.0.0.3:135 at 09:34:04"},
		} {
			o := Origin{From: netip.MustParseAddrPort(c.from), Learned: c.learned}
			if got := j.Word(v, o); got.Why != c.want || got.Path != v.Path {
				t.Errorf("got %q, want %q", got.Why, c.want)
			} else if got != j.Word(v, o) {
				t.Errorf("%q is not remembered", c.want)
			}
		}
	}
}

// BenchmarkDecide matches flows against all rules.
func BenchmarkDecide(b *testing.B) {
	packs, err := rules.Embedded("2010")
	if err != nil {
		b.Fatal(err)
	}
	j, err := New(packs, nil, match.DefaultVersion)
	if err != nil {
		b.Fatal(err)
	}
	client, server := match.NewRoleSet(packs.Policy(), match.Unknown, nil), match.NewRoleSet(packs.Policy(), match.Proven, [][]rules.Role{{rules.Mailbox, rules.CAS}})
	for _, c := range []struct {
		name, protocol, facts string
		port                  uint16
	}{
		{"https", "tls", "encryption=tls tls.version=1.2", 443},
		{"mapi", "dcerpc", "rpc.interface=emsmdb auth=ntlm encryption=rpc-privacy rpc.auth_level=privacy", 6010},
		{"mapper", "dcerpc", "rpc.interface=epmapper auth=none encryption=none", 135},
		{"unexpected", "", "", 3389},
	} {
		facts := observe.NewFactLists().Empty()
		for _, f := range strings.Fields(c.facts) {
			name, value, _ := strings.Cut(f, "=")
			facts.Add(name, value)
		}
		s := &Subject{Proto: capture.TCP, Port: c.port, Protocol: c.protocol, Facts: facts.List(), Payload: true, Begun: true,
			Outcome: record.Answered, Client: &client, Server: &server}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				j.decide(s)
			}
		})
	}
}
