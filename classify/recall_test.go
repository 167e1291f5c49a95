package classify

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// TestRecall: what is remembered is what would be judged, whatever of a flow
// changes.
func TestRecall(t *testing.T) {
	e := newEngine(t, Config{})
	server, client := capture.AddrFrom(netip.MustParseAddr("10.0.0.3")), capture.AddrFrom(netip.MustParseAddr("10.0.0.9"))
	e.hosts.prove(server, []rules.Role{rules.Mailbox, rules.CAS}, false, "", "test")
	facts := observe.NewFactLists().Empty()
	s := &subject{proto: capture.TCP, port: 49152, protocol: "dcerpc", facts: &facts, payload: true, begun: true}
	for i := range e.protocols {
		if e.protocols[i].Name == s.protocol {
			s.reader = uint8(i + 1)
		}
	}
	last := (*record.Verdict)(nil)
	check := func(what string, outcome record.Outcome) {
		t.Helper()
		s.client, s.server = e.hosts.of(client), e.hosts.of(server)
		want := e.judge(s, outcome)
		for range 2 {
			if v := e.verdictOf(s, outcome); !reflect.DeepEqual(*v, want) {
				t.Errorf("%s: remembered %+v, want %+v", what, *v, want)
			} else if v == last {
				t.Errorf("%s: remembered as if nothing had changed", what)
			}
		}
		if v := e.verdictOf(s, outcome); v != e.verdictOf(s, outcome) && len(s.entries) < 2 {
			t.Errorf("%s: not remembered", what)
		}
		last = e.verdictOf(s, outcome)
	}
	check("nothing known", record.Answered)
	facts.Add("rpc.interface", "emsmdb")
	check("a fact", record.Answered)
	facts.Add(observe.Auth, "ntlm")
	facts.Add(observe.Encryption, "rpc-privacy")
	check("more facts", record.Answered)
	check("an outcome", record.Refused)
	facts.Remove(observe.Auth, "ntlm")
	check("a fact less", record.Refused)
	at := netip.AddrPortFrom(server.Netip(), s.port)
	learn := func(source observe.Source, service string) {
		from := netip.MustParseAddrPort("10.0.0.3:135")
		e.endpoints.learn(&observe.Endpoint{Server: at, Source: source, From: from}, service, false, 1)
		s.entries = e.endpoints.lookup(endpointKey{capture.EndpointFrom(at), capture.TCP}, 1, 2, nil)
	}
	learn(observe.FromBind, "emsmdb")
	check("an endpoint", record.Answered)
	learn(observe.FromMap, "emsmdb")
	check("what proves more of it", record.Answered)
	learn(observe.FromMap, "nspi")
	last = nil
	check("two endpoints", record.Answered)
	e.hosts.prove(server, []rules.Role{rules.Hub}, false, "2007", "test")
	s.entries = nil
	check("another role and version", record.Answered)
	e.hosts.prove(client, []rules.Role{rules.Hub}, false, "", "test")
	check("a role of the other end", record.Answered)
	for port := range 8 * len(e.recall.recent) {
		s.port = uint16(port)
		if got, want := e.verdictOf(s, record.Answered), e.judge(s, record.Answered); !reflect.DeepEqual(*got, want) {
			t.Fatalf("port %d: remembered %+v, want %+v", port, *got, want)
		}
	}
	check("after many", record.Answered)
}
