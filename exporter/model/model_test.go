package model

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/rules"
)

func packsOf(t *testing.T) *rules.Packs {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

func host(addr string, port uint16, roles ...string) record.Host {
	return record.Host{Addr: netip.MustParseAddr(addr), Port: port, Roles: roles}
}

func flow(client, server record.Host, v record.Verdict) *record.Record {
	return &record.Record{Proto: capture.TCP, State: "ended", Outcome: record.Answered, Client: client, Server: server, Verdict: v, Packets: record.Count{1, 1},
		First: time.Unix(10, 0), Last: time.Unix(11, 0)}
}

func build(t *testing.T, packs *rules.Packs, sum *record.Summary, records ...*record.Record) *Model {
	t.Helper()
	b := New(Options{Packs: packs, Version: "2010"})
	for _, r := range records {
		if err := b.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(sum); err != nil {
		t.Fatal(err)
	}
	return b.Model()
}

func TestModel(t *testing.T) {
	packs := packsOf(t)
	imap := packs.Path("2010.cas.imap4")
	client, cas, hub := host("10.0.0.9", 1050, "client"), host("10.0.0.5", 143, "cas"), host("10.0.0.6", 25, "cas|hub")
	deviating := flow(client, cas, record.Verdict{Status: record.Deviating, Path: imap, Group: imap.ID,
		Findings: []record.Finding{{ID: record.FindingWeakAuth, Level: record.Violation}, {ID: record.FindingCleartext, Level: record.Remark}}})
	fine := flow(client, cas, record.Verdict{Status: record.Expected, Path: imap, Group: imap.ID})
	refused := flow(client, hub, record.Verdict{Status: record.Expected, Path: packs.Path("2010.transport.client-hub-smtp"), Group: "2010.transport.client-hub-smtp"})
	refused.Outcome = record.Refused
	shell := flow(client, host("10.0.0.5", 4444, "cas"), record.Verdict{Status: record.Unexpected, Reason: record.NoPath, Why: "no path"})
	allowed := flow(client, host("10.0.0.5", 3389, "cas"), record.Verdict{Status: record.Expected, Why: "allowed"})
	media := func(port uint16) *record.Record {
		r := flow(client, host("10.0.0.7", port, "um"), record.Verdict{Status: record.Expected, Path: packs.Path("2010.um.phone"), Group: "2010.um.phone"})
		r.Proto, r.Endpoint = capture.UDP, &record.LearnedEndpoint{Service: "rtp", Source: observe.FromSDP}
		return r
	}
	other := flow(client, host("10.0.0.77", 80), record.Verdict{Status: record.Unrelated})
	interim := flow(client, cas, record.Verdict{Status: record.Expected, Path: imap, Group: imap.ID})
	interim.State = "active"
	records := []*record.Record{deviating, fine, refused, shell, allowed, media(30000), media(30002), other, interim}
	sum := &record.Summary{First: time.Unix(10, 0), Hosts: []record.HostSummary{
		{Addr: netip.MustParseAddr("10.0.0.6"), Name: "hub1", Version: "2010", Roles: []record.RoleProof{{Role: "cas|hub"}, {Role: "hub"}, {Role: "any-exchange"}}},
		{Addr: netip.MustParseAddr("10.0.0.99"), Name: "silent", Version: "2010", Roles: []record.RoleProof{{Role: "um"}}},
	}}
	m := build(t, packs, sum, records...)

	var hosts []string
	for _, h := range m.Hosts {
		hosts = append(hosts, fmt.Sprint(h.Title(), h.Roles, h.Exchange()))
	}
	if want := []string{"10.0.0.5[cas] true", "hub1[hub] true", "10.0.0.7[um] true", "10.0.0.9[client] false"}; !slices.Equal(hosts, want) {
		t.Errorf("hosts %q, want %q", hosts, want)
	}
	var edges []string
	for _, e := range m.Edges {
		edges = append(edges, fmt.Sprintf("%s > %s:%d %d %s %s %d %v", e.Client.Title(), e.Server.Title(), e.Port, e.Proto, e.Label, e.State, e.Flows, e.Allowed))
	}
	want := []string{
		"10.0.0.9 > 10.0.0.5:143 6 2010.cas.imap4 deviating 2 false",
		"10.0.0.9 > 10.0.0.5:3389 6  seen 1 true",
		"10.0.0.9 > 10.0.0.5:4444 6  unexpected 1 false",
		"10.0.0.9 > hub1:25 6 2010.transport.client-hub-smtp blocked 1 false",
		"10.0.0.9 > 10.0.0.7:0 17 2010.um.phone seen 2 false",
	}
	if !slices.Equal(edges, want) {
		t.Errorf("edges\n%q, want\n%q", edges, want)
	}
	if v := m.Edges[0].Violations; !slices.Equal(v, []record.FindingID{record.FindingWeakAuth}) {
		t.Errorf("violations %v", v)
	}
	if m.Flows != 8 || !slices.Equal(m.Versions, []string{"2010"}) {
		t.Errorf("%d flows of %v", m.Flows, m.Versions)
	}
	// The order of records does not matter.
	for range 5 {
		rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		if again := build(t, packs, sum, records...); !reflect.DeepEqual(titles(again), titles(m)) {
			t.Errorf("%v\n%v", titles(again), titles(m))
		}
	}
}

func titles(m *Model) (list []string) {
	for _, e := range m.Edges {
		list = append(list, fmt.Sprint(e.Client.Title(), e.Server.Title(), e.Port, e.Label, e.Name, e.State, e.Flows))
	}
	return list
}

// Any number of clients takes the room of some.
func TestMany(t *testing.T) {
	packs := packsOf(t)
	imap := packs.Path("2010.cas.imap4")
	b := New(Options{Packs: packs, Version: "2010"})
	const clients = 50_000
	for i := range clients {
		c := record.Host{Addr: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), Port: 1050, Roles: []string{"client"}}
		if err := b.Write(flow(c, host("10.0.0.5", 143, "cas"), record.Verdict{Status: record.Expected, Path: imap, Group: imap.ID})); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(&record.Summary{}); err != nil {
		t.Fatal(err)
	}
	m := b.Model()
	if len(m.Hosts) != tally.MaxPlaces+2 || len(m.Edges) != tally.MaxPlaces+1 || m.More != 0 {
		t.Fatalf("%d hosts, %d edges, %d more", len(m.Hosts), len(m.Edges), m.More)
	}
	last := m.Hosts[len(m.Hosts)-1]
	if !last.Many() || last.Title() != "more: clients" {
		t.Errorf("%+v", last)
	}
	flows := uint64(0)
	for _, e := range m.Edges {
		flows += e.Flows
	}
	if flows != clients {
		t.Errorf("%d flows in edges", flows)
	}
}

// What is documented for a version has the roles of that version, and no edge between
// hosts that are not the organisation's.
func TestDocumented(t *testing.T) {
	packs := packsOf(t)
	for version, cas := range map[string]bool{"2010": true, "2013": true, "2019": false, "SE": false} {
		m := NewDocumented(packs, version)
		if got := slices.ContainsFunc(m.Hosts, func(h *Host) bool { return h.Is(rules.CAS) }); got != cas {
			t.Errorf("%s: a host is Client Access: %v", version, got)
		}
		if len(m.Edges) < 50 || len(m.Paths) < 30 {
			t.Errorf("%s: %d edges of %d paths", version, len(m.Edges), len(m.Paths))
		}
		for _, e := range m.Edges {
			if e.State != Documented || e.Leg == nil || e.Client.Is(rules.Internet) && e.Server.Is(rules.Internet) || e.Path.NotUsed || e.Path.Local {
				t.Errorf("%s: %s > %s %s", version, e.Client.Title(), e.Server.Title(), e.Name)
			}
		}
	}
}

// TestEdgeNames checks that an edge without a path is named so that people understand it.
func TestEdgeNames(t *testing.T) {
	client := host("10.0.0.9", 1050, "client")
	wrongRole := flow(client, host("10.0.0.5", 6002, "cas"), record.Verdict{Status: record.Unexpected, Reason: record.WrongRole})
	blocked := flow(client, host("10.0.0.5", 3389, "cas"), record.Verdict{Status: record.Undetermined, Reason: record.NoPayload})
	blocked.Outcome = record.Refused
	m := build(t, packsOf(t), &record.Summary{}, wrongRole, blocked)
	names := map[uint16]string{}
	for _, e := range m.Edges {
		names[e.Port] = e.Name
	}
	if names[6002] != "the service is documented between other roles (wrong-role)" || names[3389] != "no connection" {
		t.Errorf("%v", names)
	}
}
