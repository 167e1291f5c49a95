package accept

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

type kept struct {
	statuses []record.Status
	levels   []record.Level
	notes    []string
}

func (k *kept) Write(r *record.Record) error {
	k.statuses = append(k.statuses, r.Verdict.Status)
	for _, f := range r.Verdict.Findings {
		k.levels = append(k.levels, f.Level)
	}
	return nil
}

func (k *kept) Close(sum *record.Summary) error {
	k.notes = sum.Notes
	return nil
}

func TestAccept(t *testing.T) {
	site, err := rules.LoadSite("s.yaml", []byte(`
servers:
  - {name: cas1, addresses: [10.0.0.5], roles: [cas]}
accept:
  - {finding: cleartext, path: "2010.cas.*", from: 10.0.0.9, to: cas1, until: 2010-03-04, note: scanner}
  - {finding: weak-auth, to: cas}
  - {finding: prohibited}
`))
	if err != nil {
		t.Fatal(err)
	}
	imap := &rules.DataPath{ID: "2010.cas.imap4"}
	flow := func(client string, day int, ids ...record.FindingID) *record.Record {
		r := &record.Record{
			State: "ended", First: time.Date(2010, 3, day, 23, 0, 0, 0, time.UTC),
			Client:  record.Host{Addr: netip.MustParseAddr(client)},
			Server:  record.Host{Addr: netip.MustParseAddr("10.0.0.5"), Roles: []string{"mailbox|cas"}},
			Verdict: record.Verdict{Status: record.Deviating, Path: imap, Group: imap.ID},
		}
		for _, id := range ids {
			r.Verdict.Findings = append(r.Verdict.Findings, record.Finding{ID: id, Level: record.Violation, Detail: "x"})
		}
		return r
	}
	k := &kept{}
	s := New(site, k)
	flows := []*record.Record{
		flow("10.0.0.9", 4, record.FindingCleartext, record.FindingWeakAuth),
		flow("10.0.0.9", 5, record.FindingCleartext),
		flow("10.0.0.8", 4, record.FindingCleartext, record.FindingWeakAuth),
	}
	for _, r := range flows {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
		if r.Verdict.Status != record.Deviating || r.Verdict.Findings[0].Level != record.Violation {
			t.Error("the record itself was changed")
		}
	}
	if err := s.Close(&record.Summary{}); err != nil {
		t.Fatal(err)
	}
	want := []record.Status{record.Expected, record.Deviating, record.Deviating}
	for i := range want {
		if k.statuses[i] != want[i] {
			t.Errorf("flow %d is %s, want %s", i, k.statuses[i], want[i])
		}
	}
	if l := k.levels; len(l) != 5 || l[0] != record.Accepted || l[1] != record.Accepted || l[2] != record.Violation || l[3] != record.Violation || l[4] != record.Accepted {
		t.Errorf("levels %v", l)
	}
	notes := strings.Join(k.notes, "\n")
	for _, w := range []string{"s.yaml:5: the accepted finding cleartext on 2010.cas.* expired on 2010-03-04, and occurs",
		"s.yaml:7: the accepted finding prohibited does not occur"} {
		if !strings.Contains(notes, w) {
			t.Errorf("no %q in %q", w, notes)
		}
	}
	if len(k.notes) != 2 {
		t.Errorf("notes %q", k.notes)
	}
	if New(nil, k) != record.Sink(k) || New(&rules.Site{}, k) != record.Sink(k) {
		t.Error("a sink of its own where nothing is accepted")
	}
}
