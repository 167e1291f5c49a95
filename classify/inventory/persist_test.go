package inventory

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

func TestSaveRestore(t *testing.T) {
	packs := testPacks(t)
	v := New(packs, nil, nil, "")
	server := netip.MustParseAddrPort("10.0.0.3:6010")
	from := netip.MustParseAddrPort("10.0.0.3:135")
	now := int64(1_600_000_000e9)
	v.endpoints.learn(&observe.Endpoint{Server: server, Source: observe.FromMap, From: from}, hearing{service: "emsmdb", time: now})
	v.endpoints.learn(&observe.Endpoint{Server: server, Source: observe.FromSDP, Scope: "call"}, hearing{service: "rtp", time: now})
	v.hosts.prove(capture.AddrFrom(server.Addr()), roleProof{roles: []rules.Role{rules.Mailbox, rules.CAS}, evidence: "emsmdb"}, "2010", "")
	v.hosts.name(server.Addr(), "MB1.example.com.")
	var b bytes.Buffer
	if err := v.Save(&b, now); err != nil {
		t.Fatal(err)
	}
	v2 := New(packs, nil, nil, "")
	if err := v2.Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	end := capture.EndpointFrom(server)
	if len(v2.endpoints.all) != 1 || v2.endpoints.announced(&end, capture.TCP, now+endpointIdle/2) != "emsmdb" {
		t.Errorf("%d endpoints", len(v2.endpoints.all))
	}
	if v2.Known(&end, capture.TCP, now+2*endpointIdle) {
		t.Error("an endpoint outlives its idle time over a restart")
	}
	r, name := v2.Host(&end.Addr, nil)
	if !r.Exchange || r.Version != "2010" || strings.Join(r.Names, " ") != "mailbox|cas" || name != "mb1.example.com" {
		t.Errorf("host %+v", r)
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"hosts":[{"addr":"10.0.0.1","proofs":[{"roles":["king"]}]}]}`} {
		if err := v2.Restore(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken for a state file", bad)
		}
	}
}

// FuzzRestore restores what anybody may have written into a state file. What is taken
// in has to be within the limits, and saved and restored once more it stays the same.
func FuzzRestore(f *testing.F) {
	packs := testPacks(f)
	const now = int64(1_600_000_000e9)
	f.Add(`{"version":1,"hosts":[{"addr":"10.0.0.1","name":"a","proofs":[{"roles":["mailbox"]}]}]}`)
	v := New(packs, nil, nil, "")
	v.endpoints.learn(&observe.Endpoint{Server: netip.MustParseAddrPort("10.0.0.3:6010"), Source: observe.FromMap}, hearing{service: "emsmdb", time: now})
	v.hosts.prove(capture.AddrFrom(netip.MustParseAddr("10.0.0.3")), roleProof{roles: []rules.Role{rules.CAS}, evidence: "rfr"}, "2010", "")
	var b strings.Builder
	if err := v.Save(&b, now); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Fuzz(func(t *testing.T, state string) {
		const most = 8
		v := New(packs, nil, nil, "")
		v.Limit(most, most, most)
		if v.Restore(strings.NewReader(state)) != nil {
			return
		}
		if hosts, endpoints := v.Len(); hosts > 2*most || endpoints > 2*most {
			t.Errorf("%d hosts, %d endpoints", hosts, endpoints)
		}
		var saved, again strings.Builder
		if err := v.Save(&saved, now); err != nil {
			t.Fatal(err)
		}
		other := New(packs, nil, nil, "")
		if err := other.Restore(strings.NewReader(saved.String())); err != nil {
			t.Fatalf("what was saved is refused: %v", err)
		}
		if err := other.Save(&again, now); err != nil {
			t.Fatal(err)
		}
		if len(saved.String()) != len(again.String()) {
			t.Errorf("saved again it differs:\n%s\n%s", saved.String(), again.String())
		}
	})
}
