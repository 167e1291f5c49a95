package tally

import (
	"net/netip"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

var (
	imap = &rules.DataPath{ID: "2010.cas.imap4", Name: "IMAP4"}
	pop  = &rules.DataPath{ID: "2010.cas.pop3", Name: "POP3", Confidence: "low"}
)

func flow(client, server netip.Addr, port uint16, v record.Verdict) *record.Record {
	at := time.Unix(1_300_000_000, 0).UTC()
	return &record.Record{
		Proto: capture.TCP, State: "ended", Outcome: record.Answered, Protocol: "imap", First: at, Last: at.Add(time.Minute),
		Client: record.Host{Addr: client, Port: 1050}, Server: record.Host{Addr: server, Port: port},
		Packets: record.Count{3, 2}, Bytes: record.Count{100, 50}, Verdict: v,
	}
}

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func TestAdd(t *testing.T) {
	ta := Tally{Options: Options{Examples: 2, Pairs: true}}
	clear := record.Verdict{Status: record.Deviating, Path: imap, Confidence: record.Observed, Findings: []record.Finding{
		{ID: record.FindingWeakAuth, Level: record.Violation, Detail: "login sends the password in clear"},
		{ID: record.FindingWeakAuth, Level: record.Violation, Detail: "plain sends the password in clear"},
	}}
	tied := record.Verdict{Status: record.Expected, Path: imap, Also: []*rules.DataPath{pop}, Group: "2010.tied", Confidence: record.ByPort}
	refused := flow(addr(1), addr(9), 993, record.Verdict{Status: record.Expected, Path: imap, Confidence: record.ByPort})
	refused.Outcome, refused.Client.Name = record.Refused, "pc1"
	refused.First, refused.Last = refused.First.Add(-time.Hour), refused.Last.Add(time.Hour)
	interim := flow(addr(1), addr(9), 143, clear)
	interim.State = "active"
	for _, r := range []*record.Record{
		flow(addr(1), addr(9), 143, clear), flow(addr(2), addr(9), 143, clear), flow(addr(3), addr(9), 143, clear), flow(addr(1), addr(9), 143, clear),
		flow(addr(1), addr(9), 993, tied), refused, interim,
		flow(addr(1), addr(9), 3389, record.Verdict{Status: record.Unexpected, Reason: record.NoPath, Why: "rdp"}),
		flow(addr(1), addr(9), 4000, record.Verdict{Status: record.Expected, Why: "allowed by the site file: backup"}),
		flow(addr(1), addr(9), 4001, record.Verdict{Status: record.Undetermined, Reason: record.NoPayload}),
		flow(addr(1), addr(2), 25, record.Verdict{Status: record.Unrelated}),
	} {
		ta.Add(r)
	}
	if ta.Flows() != 10 || ta.Of(record.Deviating) != 4 || ta.Attention != 6 || ta.Bytes != 1500 {
		t.Errorf("flows %d, deviating %d, attention %d, bytes %d", ta.Flows(), ta.Of(record.Deviating), ta.Attention, ta.Bytes)
	}
	f := ta.Findings.Get(FindingKey{record.FindingWeakAuth, imap.ID, record.Violation})
	if f == nil || f.Flows != 4 || len(f.Details) != 2 || len(f.Examples) != 2 || f.Examples[0].Flows != 2 {
		t.Errorf("a finding with two details counts its flow once: %+v", f)
	}
	p := ta.Paths.Get(imap.ID)
	if p.Flows != 5 || p.Deviating != 4 || p.Blocked != 1 || p.Weakest != record.ByPort || p.Last.Sub(p.First) != 2*time.Hour+time.Minute {
		t.Errorf("path: %+v", p)
	}
	if p := ta.Paths.Get("2010.tied"); p.Tied != 1 || len(p.IDs) != 2 || p.LowSource {
		t.Errorf("group: %+v", p)
	}
	// What is counted under paths, as allowed and off path adds up.
	sum := ta.Of(record.Unexpected) + ta.Of(record.Undetermined) + ta.Of(record.Unrelated)
	for _, p := range ta.Paths.All() {
		sum += p.Flows
	}
	for _, a := range ta.Allowed.All() {
		sum += a.Flows
	}
	if sum != ta.Flows() {
		t.Errorf("the parts are %d flows of %d", sum, ta.Flows())
	}
	if b := ta.Blocked.Get(BlockedKey{record.Refused, imap.ID, netip.AddrPortFrom(addr(9), 993), capture.TCP}); b == nil || b.Flows != 1 || len(b.Clients) != 1 {
		t.Errorf("blocked: %+v", b)
	}
	if ta.Name(addr(1)) != "pc1" {
		t.Errorf("name %q", ta.Name(addr(1)))
	}
	if n := ta.Pairs.Get(PairKey{addr(1), addr(9), imap.ID}).Flows; n != 3 {
		t.Errorf("%d flows of a pair", n)
	}
}

// TestBounded holds the memory to the caps with many more keys than they allow.
func TestBounded(t *testing.T) {
	ta := Tally{Options: Options{Examples: 2, Pairs: true}}
	const flows = MaxPairs + 10_000
	for i := range flows {
		v := record.Verdict{Status: record.Unexpected, Reason: record.NoPath}
		if i%2 == 0 {
			v = record.Verdict{Status: record.Deviating, Path: imap, Findings: []record.Finding{{ID: record.FindingCleartext, Detail: string(rune(i))}}}
		}
		r := flow(addr(i), addr(i+1), uint16(i), v)
		r.Outcome, r.Client.Name, r.Protocol = record.Refused, addr(i).String(), "imap"
		ta.Add(r)
	}
	if ta.Flows() != flows {
		t.Errorf("%d flows", ta.Flows())
	}
	if n := ta.Unexpected.Len(); n != MaxKept || ta.Unexpected.More != flows/2-MaxKept {
		t.Errorf("%d services, %d more", n, ta.Unexpected.More)
	}
	if n := ta.Blocked.Len(); n != MaxKept {
		t.Errorf("%d blocked", n)
	}
	if n := ta.Pairs.Len(); n != MaxPairs || ta.Pairs.More != flows-MaxPairs {
		t.Errorf("%d pairs, %d more", n, ta.Pairs.More)
	}
	f := ta.Findings.Get(FindingKey{record.FindingCleartext, imap.ID, ""})
	if f.Flows != flows/2 || len(f.Details) > maxDetails || len(f.Examples) != 2 {
		t.Errorf("finding: %d flows, %d details, %d examples", f.Flows, len(f.Details), len(f.Examples))
	}
	if len(ta.names) > 2*MaxKept+8 {
		t.Errorf("%d names", len(ta.names))
	}
}

// TestAddUnrelated verifies that flows without records count like those with records.
func TestAddUnrelated(t *testing.T) {
	var by, without Tally
	for i := range 3 {
		r := flow(addr(1), addr(2), uint16(5000+i), record.Verdict{Status: record.Unrelated})
		r.Protocol = ""
		by.Add(r)
		without.AddUnrelated(1, r.Packets[0]+r.Packets[1], r.Bytes[0]+r.Bytes[1])
	}
	got, want := without.Unrelated.Get(""), by.Unrelated.Get("")
	if want == nil || want.Flows != 3 || got == nil || *got != *want || without.Bytes != by.Bytes || without.Flows() != by.Flows() || without.Of(record.Unrelated) != 3 {
		t.Errorf("%+v, want %+v", without, by)
	}
}
