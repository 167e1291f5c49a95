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
	if counts.Quota == 0 || counts.Unknown == 0 || counts.Expired == 0 || v.told.of["bad"].endpoints > 2048 || endpoints > 4096 || hosts > 2048 {
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

// TestViewsAreKept wants what one sensor says back as it said it, whatever was seen here
// of the endpoint, and beside what another one says.
func TestViewsAreKept(t *testing.T) {
	v := New(testPacks(t), nil, nil, "")
	f := toldEndpoint("10.0.0.3:6010", "emsmdb", toldAt)
	f.UDP, f.Proof, f.Ended, f.Expires = true, OneSided, toldAt+minute, toldAt+endpointIdle/2
	f.Announced, f.Annotation, f.Codecs, f.Strange, f.Datagram = netip.MustParseAddr("10.0.0.4"), "Exchange", "pcmu", true, true
	keep := func() *Endpoint {
		v.Tell("b", f, toldAt, int64(1e12))
		return v.endpoints.all[0]
	}
	en := keep()
	for name, change := range map[string]func(){
		"nothing":         func() {},
		"it is used":      func() { en.used, en.told.usedHere = toldAt+2*minute, toldAt+2*minute },
		"it is disputed":  func() { v.endpoints.contradict(en, rejected) },
		"it ends":         func() { en.ended = 0; v.endpoints.end(en, toldAt+3*minute) },
		"it is told anew": func() { f.At++; keep() },
	} {
		change()
		if got := en.views(); len(got) != 1 || got[0].Sensor != "b" || !reflect.DeepEqual(got[0].Value, f.Value) {
			t.Errorf("%s: %+v, want %+v", name, got, f.Value)
		}
	}
	if en.dispute != rejected {
		t.Errorf("what was seen here is forgotten: %q", en.dispute)
	}
	g := *f
	g.Proof, g.Dispute, g.Annotation = TwoSided, "it is", "other"
	v.Tell("a", &g, toldAt, int64(1e12))
	if got := en.views(); len(got) != 2 || !reflect.DeepEqual(got[0].Value, g.Value) || !reflect.DeepEqual(got[1].Value, f.Value) {
		t.Errorf("with another sensor: %+v", got)
	}
	if en.dispute != g.Dispute || en.annotation != "other" || en.told.by.name != "a" {
		t.Errorf("%+v", en)
	}
	if _, n, _ := v.ToldCounts(); n != 2 || v.told.of["a"].endpoints != 1 || v.told.of["b"].endpoints != 1 {
		t.Errorf("%d facts", n)
	}
	v.endpoints.forget(en)
	if _, n, _ := v.ToldCounts(); n != 0 || v.told.of["a"].endpoints != 0 || v.told.of["b"].endpoints != 0 {
		t.Errorf("%d facts are left", n)
	}
}

// TestToldMakesRoom learns more endpoints than there is room for beside those that were
// told. Two of these take as much room as one that was seen here, which pushes them out.
func TestToldMakesRoom(t *testing.T) {
	v := New(testPacks(t), nil, nil, "")
	const most = 320
	v.Limit(most, 100, 100)
	for i := range 2 * most {
		v.Tell([]string{"a", "b"}[i%2], toldEndpoint(fmt.Sprintf("10.1.%d.%d:6010", i>>8, i&255), "emsmdb", toldAt), toldAt, minute)
	}
	if _, n, _ := v.ToldCounts(); n != most || v.endpoints.len() != most {
		t.Fatalf("%d facts and %d entries, want %d", n, v.endpoints.len(), most)
	}
	for i := range most {
		h := hearing{service: "rfr", time: toldAt, by: addr(fmt.Sprintf("10.3.%d.%d", i>>8, i&255))}
		if en, _ := v.endpoints.learn(&observe.Endpoint{Server: netip.MustParseAddrPort(fmt.Sprintf("10.2.%d.%d:6010", i>>8, i&255)), Source: observe.FromBind}, h); en == nil {
			t.Fatalf("no room for endpoint %d", i)
		}
		if _, n, _ := v.ToldCounts(); i == most/2-1 && n != most {
			t.Errorf("%d facts after %d endpoints were seen here, want %d", n, i+1, most)
		}
		if e := v.endpoints; e.len()-e.told/2 > most {
			t.Fatalf("%d entries, %d of them told", e.len(), e.told)
		}
	}
	seen := 0
	for _, en := range v.endpoints.all {
		if !en.gone && en.told == nil {
			seen++
		}
	}
	if _, n, _ := v.ToldCounts(); seen != most || n != v.endpoints.told || n >= most/share*2 {
		t.Errorf("%d seen here, want %d; %d facts, %d entries that are told", seen, most, n, v.endpoints.told)
	}
}

// TestManyTellers lets a flood of sensors tell something each.
func TestManyTellers(t *testing.T) {
	v := New(testPacks(t), nil, nil, "")
	for i := range maxTellers + 50 {
		v.Tell(fmt.Sprint("s", i), toldEndpoint("10.0.0.3:6010", fmt.Sprint("service", i), toldAt), toldAt, minute)
		v.Tell(fmt.Sprint("t", i), toldEndpoint("10.0.0.3:6010", "unknown", toldAt), toldAt+2*endpointIdle, minute)
	}
	c, n, _ := v.ToldCounts()
	if len(v.told.of) > maxTellers || n > maxPerEndpoint || c.Quota+c.Expired == 0 {
		t.Errorf("%d sensors and %d endpoints are kept, %+v", len(v.told.of), n, c)
	}
	for i := range 3 * maxTexts {
		v.told.once(fmt.Sprint(i))
	}
	if len(v.told.texts) > maxTexts {
		t.Errorf("%d texts are kept", len(v.told.texts))
	}
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
				m := en.views().Merged()
				got = append(got, fmt.Sprint(en.key.server.AddrPort(), en.service, m.Proof, m.Learned, m.Used, m.Ended, en.ended, en.learned, en.used, en.told.by.name))
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
