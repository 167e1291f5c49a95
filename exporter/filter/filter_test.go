package filter

import (
	"net/netip"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

func TestMatch(t *testing.T) {
	imap := &rules.DataPath{ID: "2010.cas.imap4", Name: "IMAP4"}
	owa := &rules.DataPath{ID: "2010.cas.owa", Name: "Outlook Web App"}
	r := &record.Record{
		Proto:  capture.TCP,
		Client: record.Host{Addr: netip.MustParseAddr("10.0.0.9"), Port: 1050, Roles: []string{"client"}},
		Server: record.Host{Addr: netip.MustParseAddr("::ffff:10.0.1.5"), Port: 143, Name: "CAS1.example.com", Roles: []string{"mailbox|cas"}},
		Verdict: record.Verdict{Status: record.Deviating, Path: imap, Also: []*rules.DataPath{owa}, Group: "2010.x.y",
			Findings: []record.Finding{{ID: record.FindingCleartext}, {ID: record.FindingWeakAuth}}},
	}
	port := func(s string) []Port {
		p, err := ParsePort(s)
		if err != nil {
			t.Fatal(err)
		}
		return []Port{p}
	}
	for name, x := range map[string]struct {
		c    Criteria
		want bool
	}{
		"nothing":         {Criteria{}, true},
		"status":          {Criteria{Statuses: []record.Status{record.Unexpected, record.Deviating}}, true},
		"other status":    {Criteria{Statuses: []record.Status{record.Expected}}, false},
		"finding":         {Criteria{Findings: []record.FindingID{record.FindingWeakAuth}}, true},
		"other finding":   {Criteria{Findings: []record.FindingID{record.FindingRefused}}, false},
		"blocked":         {Criteria{Blocked: true}, false},
		"blocked or weak": {Criteria{Blocked: true, Findings: []record.FindingID{record.FindingWeakAuth}}, true},
		"reason":          {Criteria{Reasons: []record.Reason{record.NoPath}}, false},
		"path":            {Criteria{Paths: []string{"2010.cas.imap4"}}, true},
		"pattern":         {Criteria{Paths: []string{"*.cas.*"}}, true},
		"tied path":       {Criteria{Paths: []string{"2010.cas.owa"}}, true},
		"name of a path":  {Criteria{Paths: []string{"imap4"}}, true},
		"group":           {Criteria{Paths: []string{"2010.x.y"}}, true},
		"other path":      {Criteria{Paths: []string{"2010.cas.pop3"}}, false},
		"role":            {Criteria{Roles: []string{"cas"}}, true},
		"other role":      {Criteria{Roles: []string{"hub"}}, false},
		"address":         {Criteria{Hosts: []Host{ParseHost("10.0.1.5")}}, true},
		"network":         {Criteria{Hosts: []Host{ParseHost("10.0.0.0/24")}}, true},
		"other network":   {Criteria{Hosts: []Host{ParseHost("10.9.0.0/24")}}, false},
		"name":            {Criteria{Hosts: []Host{ParseHost("cas1.example.com")}}, true},
		"short name":      {Criteria{Hosts: []Host{ParseHost("CAS1")}}, true},
		"part of a name":  {Criteria{Hosts: []Host{ParseHost("cas")}}, false},
		"port":            {Criteria{Ports: port("143")}, true},
		"port and tcp":    {Criteria{Ports: port("100-200/tcp")}, true},
		"port and udp":    {Criteria{Ports: port("143/udp")}, false},
		"client's port":   {Criteria{Ports: port("1050")}, false},
		"all of them":     {Criteria{Ports: port("143"), Roles: []string{"client"}, Paths: []string{"IMAP4"}}, true},
		"all but one":     {Criteria{Ports: port("143"), Roles: []string{"hub"}, Paths: []string{"IMAP4"}}, false},
		"a wrong pattern": {Criteria{Paths: []string{"["}}, false},
	} {
		if got := x.c.Match(r); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
		if x.c.Empty() != (name == "nothing") {
			t.Errorf("%s: Empty is %v", name, x.c.Empty())
		}
	}
	r.Verdict.Path = nil
	if (&Criteria{Paths: []string{"*"}}).Match(r) {
		t.Error("a flow without a path is on a path")
	}
}

func TestParsePort(t *testing.T) {
	for _, bad := range []string{"", "x", "70000", "25/sctp", "30-20", "-1", "1-", "25-26-27"} {
		if p, err := ParsePort(bad); err == nil {
			t.Errorf("%q: %v", bad, p)
		}
	}
}

// sums keeps the summary that a sink received.
type sums struct {
	records []*record.Record
	sum     record.Summary
}

func (s *sums) Write(r *record.Record) error        { s.records = append(s.records, r); return nil }
func (s *sums) Close(summary *record.Summary) error { s.sum = *summary; return nil }

func TestNoPlatform(t *testing.T) {
	owa := &rules.DataPath{ID: "2010.cas.owa", Version: "2010"}
	ntp := &rules.DataPath{ID: "windows.ntp", Version: rules.Platform}
	var got sums
	s := NoPlatform(&got)
	for _, r := range []*record.Record{
		{State: "ended", Verdict: record.Verdict{Status: record.Expected, Path: owa}},
		{State: "ended", Verdict: record.Verdict{Status: record.Expected, Path: ntp}},
		{State: "active", Verdict: record.Verdict{Status: record.Expected, Path: ntp}},
		{State: "ended", Verdict: record.Verdict{Status: record.Unexpected}},
	} {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(&record.Summary{Packets: 9}); err != nil {
		t.Fatal(err)
	}
	if len(got.records) != 2 || got.records[0].Verdict.Path != owa || got.records[1].Verdict.Status != record.Unexpected {
		t.Errorf("got %d records", len(got.records))
	}
	if got.sum.LeftOut != 1 || got.sum.Packets != 9 {
		t.Errorf("the summary has %d omitted flows and %d packets", got.sum.LeftOut, got.sum.Packets)
	}
}

// TestBlocked verifies that flows of Exchange servers count as blocked by their
// outcome, with a data path or without one.
func TestBlocked(t *testing.T) {
	blocked := Criteria{Blocked: true}
	for _, x := range []struct {
		status  record.Status
		outcome record.Outcome
		want    bool
	}{
		{record.Expected, record.Refused, true}, {record.Unexpected, record.Unanswered, true}, {record.Undetermined, record.Prohibited, true},
		{record.Unrelated, record.Refused, false}, {record.Expected, record.Answered, false}, {record.Expected, record.OneWay, false},
	} {
		if got := blocked.Match(&record.Record{Outcome: x.outcome, Verdict: record.Verdict{Status: x.status}}); got != x.want {
			t.Errorf("%s, %s: %t", x.status, x.outcome, got)
		}
	}
	if blocked.Empty() {
		t.Error("the criteria are empty")
	}
}
