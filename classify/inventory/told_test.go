package inventory

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

const toldAt = int64(1_600_000_000e9)

// toldEndpoint returns the fact that an endpoint mapper announced a service.
func toldEndpoint(server, service string, learned int64) *knowledge.Fact {
	s := netip.MustParseAddrPort(server)
	return &knowledge.Fact{Kind: knowledge.Endpoint, Server: s.Addr(), Port: s.Port(), What: service, Value: knowledge.Value{At: learned, Proof: TwoSided,
		Learned: learned, Used: learned, Expires: learned + endpointIdle, Source: string(observe.FromMap), From: netip.AddrPortFrom(s.Addr(), 135)}}
}

func toldRole(host, rule string, weak bool) *knowledge.Fact {
	f := &knowledge.Fact{Kind: knowledge.Role, Server: netip.MustParseAddr(host), What: rule, Value: knowledge.Value{Proof: TwoSided, Used: toldAt, Expires: toldAt + endpointIdle, Evidence: "a banner"}}
	if weak {
		f.Proof = WeakEvidence
	}
	return f
}

func toldVersion(host, version string) *knowledge.Fact {
	return &knowledge.Fact{Kind: knowledge.Version, Server: netip.MustParseAddr(host), Value: knowledge.Value{Proof: TwoSided, Used: toldAt, Expires: toldAt + endpointIdle, Text: version}}
}

// at returns what explains a flow to an endpoint a minute later, the first first.
func (v *Inventory) at(t *testing.T, server string) (list []string) {
	t.Helper()
	s, c := capture.EndpointFrom(netip.MustParseAddrPort(server)), capture.EndpointFrom(netip.MustParseAddrPort("10.9.0.5:40000"))
	for _, en := range v.Find(&Flow{Client: &c, Server: &s, Proto: capture.TCP, First: toldAt + minute, Last: toldAt + minute}, nil) {
		_, _, sensor := en.Origin()
		list = append(list, en.service+" "+sensor)
	}
	return list
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestToldRanksBelow tells what was seen here in another way.
func TestToldRanksBelow(t *testing.T) {
	const server, host = "10.0.0.3:6010", "10.0.0.3"
	v := New(testPacks(t), nil, nil, "")
	v.endpoints.learn(&observe.Endpoint{Server: netip.MustParseAddrPort(server), Source: observe.FromBind}, hearing{service: "emsmdb", time: toldAt})
	v.hosts.prove(addr(host), roleProof{roles: []rules.Role{rules.Mailbox}, evidence: "seen"}, "2010", "14.1")
	v.hosts.name(netip.MustParseAddr(host), "mb1")
	v.Tell("b", toldEndpoint(server, "nspi", 1), toldAt, 0)
	v.Tell("b", toldEndpoint(server, "emsmdb", 1), toldAt, 0)
	v.Tell("b", toldVersion(host, "2016"), toldAt, 0)
	v.Tell("b", &knowledge.Fact{Kind: knowledge.Name, Server: netip.MustParseAddr(host), Value: knowledge.Value{Proof: TwoSided, Used: toldAt, Expires: toldAt + 1, Text: "evil"}}, toldAt, 0)
	want(t, "services", v.at(t, server), "emsmdb ")
	v.Tell("b", toldEndpoint(server, "nspi", toldAt), toldAt, 0)
	want(t, "services", v.at(t, server), "emsmdb ", "nspi b")
	if set, name := v.Host(new(addr(host)), nil); set.Version != "2010" || name != "mb1" || strings.Join(set.Names, " ") != "mailbox" {
		t.Errorf("the host is %+v, %q", set, name)
	}
	// What is seen here takes the place of what was told.
	v.Tell("b", toldEndpoint("10.0.0.4:6010", "nspi", toldAt), toldAt, 0)
	v.Tell("b", toldVersion("10.0.0.4", "2016"), toldAt, 0)
	if set, _ := v.Host(new(addr("10.0.0.4")), nil); set.Exchange {
		t.Error("a version alone makes an Exchange server") // it has no role
	}
	v.endpoints.learn(&observe.Endpoint{Server: netip.MustParseAddrPort("10.0.0.4:6010"), Source: observe.FromBind}, hearing{service: "rfr", time: toldAt})
	v.hosts.prove(addr("10.0.0.4"), roleProof{roles: []rules.Role{rules.CAS}, evidence: "seen"}, "2010", "")
	want(t, "services", v.at(t, "10.0.0.4:6010"), "rfr ", "nspi b")
	if set, _ := v.Host(new(addr("10.0.0.4")), nil); set.Version != "2010" {
		t.Errorf("the version is %q", set.Version)
	}
	// What was told is neither saved nor told again.
	var b strings.Builder
	if err := v.Save(&b, toldAt); err != nil || strings.Contains(b.String(), "nspi") || strings.Contains(b.String(), "2016") || strings.Contains(b.String(), "evil") {
		t.Errorf("saved: %s (%v)", b.String(), err)
	}
	for _, f := range v.walk() {
		if f.What == "nspi" || f.Text == "2016" || f.Text == "evil" {
			t.Errorf("it tells again %+v", f)
		}
	}
}

func (v *Inventory) walk() (list []knowledge.Fact) {
	for w, more := (Walk{}), true; more; {
		list, more = v.Facts(&w, list, toldAt)
	}
	return list
}

// TestPoisonedSensor lets one sensor tell lies about what another one told.
func TestPoisonedSensor(t *testing.T) {
	const server, host = "10.0.0.3:6010", "10.0.0.3"
	v := New(testPacks(t), nil, nil, "")
	v.Limit(4096, 4096, 4096)
	v.Tell("good", toldEndpoint(server, "emsmdb", toldAt), toldAt, 0)
	v.Tell("good", toldRole(host, "|mailbox", false), toldAt, 0)
	v.Tell("good", toldVersion(host, "2010"), toldAt, 0)
	before, _ := v.Host(new(addr(host)), nil)
	if strings.Join(before.Names, " ") != "mailbox" || before.Version != "2010" {
		t.Fatalf("the host is %+v", before)
	}

	lie := toldEndpoint(server, "emsmdb", toldAt) // it has ended
	lie.Ended, lie.At, lie.Dispute = toldAt, toldAt+1, "it is not"
	v.Tell("bad", lie, toldAt, 0)
	v.Tell("bad", toldEndpoint(server, "rfr", 1), toldAt, int64(1)<<62) // expired
	lie = toldEndpoint(server, "nspi", toldAt)                          // it was known for long
	lie.Learned = 1
	v.Tell("bad", lie, toldAt, 0)
	v.Tell("bad", toldVersion(host, "2016"), toldAt, 0)
	for _, pack := range v.packs.All() {
		for i := range pack.NoEvidence {
			v.Tell("bad", toldRole(host, pack.NoEvidence[i].ID, false), toldAt, 0)
		}
	}
	want(t, "services", v.at(t, server), "emsmdb bad", "nspi bad")
	for _, en := range v.endpoints.all {
		if en.service == "emsmdb" && (en.dispute != "" || en.ended != 0) {
			t.Errorf("%+v", en)
		}
	}
	if set, _ := v.Host(new(addr(host)), nil); set.Version != "2010" || !slices.Contains(set.Names, "mailbox") {
		t.Errorf("the host is %+v", set)
	}

	// It floods, and gets no more than its quota; others still find room, and so does
	// what is seen here.
	for i := range 20_000 {
		v.Tell("bad", toldEndpoint(fmt.Sprintf("10.1.%d.%d:6010", i>>8, i&255), "emsmdb", toldAt), toldAt, 0)
		v.Tell("bad", toldRole(fmt.Sprintf("10.1.%d.%d", i>>8, i&255), v.packs.All()[0].Name, false), toldAt, 0)
		v.Tell("bad", toldVersion(fmt.Sprintf("10.1.%d.%d", i>>8, i&255), "2016"), toldAt, 0)
	}
	v.Tell("good", toldEndpoint("10.0.0.5:6010", "nspi", toldAt), toldAt, 0)
	for i := range 3000 {
		v.endpoints.learn(&observe.Endpoint{Server: netip.MustParseAddrPort(fmt.Sprintf("10.2.%d.%d:6010", i>>8, i&255)), Source: observe.FromBind}, hearing{service: "rfr", time: toldAt, by: addr("10.9.0.5")})
		v.hosts.prove(addr(fmt.Sprintf("10.2.%d.%d", i>>8, i&255)), roleProof{roles: []rules.Role{rules.CAS}, evidence: "seen"}, "2010", "")
	}
	want(t, "services", v.at(t, server), "emsmdb bad", "nspi bad")
	want(t, "services", v.at(t, "10.0.0.5:6010"), "nspi good")
	for _, i := range []int{0, 2999} {
		want(t, "services", v.at(t, fmt.Sprintf("10.2.%d.%d:6010", i>>8, i&255)), "rfr ")
		if set, _ := v.Host(new(addr(fmt.Sprintf("10.2.%d.%d", i>>8, i&255))), nil); !set.Exchange {
			t.Errorf("host %d is not known", i)
		}
	}
	counts, endpoints, hosts := v.ToldCounts()
	if counts.Quota == 0 || counts.Unknown == 0 || counts.Expired == 0 || endpoints > 2048 || hosts > 2048 {
		t.Errorf("%+v, %d endpoints, %d hosts", counts, endpoints, hosts)
	}

	// The site file names who is believed.
	site := &rules.Site{Sensors: []string{"good"}}
	v.Reload(v.packs, site, toldAt)
	want(t, "services", v.at(t, server), "emsmdb good")
	if set, _ := v.Host(new(addr("10.1.0.0")), nil); set.Version == "2016" {
		t.Error("an untrusted sensor is still believed")
	}
	if set, _ := v.Host(new(addr(host)), nil); set.Version != "2010" || strings.Join(set.Names, " ") != "mailbox" {
		t.Errorf("the host is %+v", set)
	}
	v.Tell("bad", toldEndpoint("10.0.0.6:6010", "nspi", toldAt), toldAt, 0)
	want(t, "services", v.at(t, "10.0.0.6:6010"))
	if counts, _, _ := v.ToldCounts(); counts.Untrusted != 1 {
		t.Errorf("%+v", counts)
	}
}

// TestEndsHere refuses connections to what was told: it ends only what was seen from
// one side, and a later use that is told revives it.
func TestEndsHere(t *testing.T) {
	const server = "10.0.0.3:6010"
	v := New(testPacks(t), nil, nil, "")
	end := capture.EndpointFrom(netip.MustParseAddrPort(server))
	weak := toldEndpoint(server, "emsmdb", toldAt)
	weak.Proof = OneSided
	v.Tell("b", weak, toldAt, 0)
	v.Tell("b", toldEndpoint(server, "nspi", toldAt), toldAt, 0)
	v.Refused(end, 0, toldAt+minute/2)
	want(t, "after a reset", v.at(t, server), "nspi b")
	weak.At, weak.Used = weak.At+1, toldAt+minute
	v.Tell("b", weak, toldAt, 0)
	want(t, "after another use", v.at(t, server), "nspi b", "emsmdb b")
}

// TestToldInAnyOrder tells an inventory the same in random orders, with repeats.
func TestToldInAnyOrder(t *testing.T) {
	packs := testPacks(t)
	r := rand.New(rand.NewPCG(3, 4))
	type said struct {
		sensor string
		fact   knowledge.Fact
	}
	for range 100 {
		var all []said
		for range 30 {
			f := toldEndpoint(fmt.Sprintf("10.0.0.%d:60%d", r.IntN(3), 10+r.IntN(3)), []string{"emsmdb", "nspi"}[r.IntN(2)], toldAt-int64(r.IntN(100)))
			f.Proof, f.Used, f.At = []Proof{WeakEvidence, OneSided, TwoSided}[r.IntN(3)], toldAt+int64(r.IntN(100)), int64(r.IntN(1000))
			f.Expires = f.Used + endpointIdle
			f.Ended = int64(r.IntN(2)) * (toldAt + int64(r.IntN(100)))
			all = append(all, said{fmt.Sprint("s", r.IntN(3)), *f})
			f = toldRole(fmt.Sprintf("10.0.0.%d", r.IntN(3)), []string{"|mailbox", "|cas", "|hub"}[r.IntN(3)], r.IntN(2) == 0)
			all = append(all, said{fmt.Sprint("s", r.IntN(3)), *f})
		}
		var first []string
		for i := range 4 {
			v := New(packs, nil, nil, "")
			for _, j := range r.Perm(len(all)) {
				for range 1 + r.IntN(2) {
					x := all[j]
					v.Tell(x.sensor, &x.fact, toldAt, int64(1e12))
				}
			}
			var got []string
			for _, en := range v.endpoints.all {
				m := en.told.views.Merged()
				got = append(got, fmt.Sprint(en.key.server.AddrPort(), en.service, m.Proof, m.Learned, m.Used, m.Ended, en.ended, en.learned, en.used, en.told.sensor))
			}
			for i := range 3 {
				set, _ := v.Host(new(addr(fmt.Sprintf("10.0.0.%d", i))), nil)
				names := slices.Clone(set.Names)
				slices.Sort(names)
				got = append(got, fmt.Sprint(i, names, set.Known))
			}
			slices.Sort(got)
			if i == 0 {
				first = got
			} else if !reflect.DeepEqual(got, first) {
				t.Fatalf("in another order:\n%s\nfirst:\n%s", strings.Join(got, "\n"), strings.Join(first, "\n"))
			}
		}
	}
}
