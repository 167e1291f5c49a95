package recent

import (
	"net/netip"
	"testing"

	"github.com/exspan/exspan/classify/record"
)

func numbered(n uint64, status record.Status) *record.Record {
	return &record.Record{Number: n, State: "ended", Client: record.Host{Addr: netip.MustParseAddr("10.0.0.1"), Roles: []string{"client"}},
		Server: record.Host{Addr: netip.MustParseAddr("10.0.0.2")}, Verdict: record.Verdict{Status: status, Reason: record.NoPath}}
}

// TestRing fills a Ring beyond its bounds.
func TestRing(t *testing.T) {
	var g Ring
	all := func(*record.Record) bool { return true }
	for n := range uint64(3 * ringOthers) {
		g.Write(numbered(n, record.Expected))
		if n == 5 {
			g.Write(numbered(1_000_000, record.Unexpected))
		}
		g.Write(numbered(2_000_000, record.Unrelated))
		active := numbered(3_000_000, record.Unexpected)
		active.State = "active"
		g.Write(active)
	}
	got := g.Records(all)
	if len(got) != ringOthers+1 || g.Len() != len(got) {
		t.Fatalf("%d records, and Len is %d; want %d", len(got), g.Len(), ringOthers+1)
	}
	for i := range ringOthers {
		if want := uint64(3*ringOthers - 1 - i); got[i].Number != want {
			t.Fatalf("record %d is that of flow %d, want %d", i, got[i].Number, want)
		}
	}
	if got[ringOthers].Number != 1_000_000 {
		t.Errorf("flows that need no attention pushed out flow %d", got[ringOthers].Number)
	}
	if n := len(g.Records(func(r *record.Record) bool { return r.Verdict.Status == record.Unexpected })); n != 1 {
		t.Errorf("%d records match", n)
	}
}

// TestRingOutlives verifies that what a Ring keeps does not change when the record is used
// again.
func TestRingOutlives(t *testing.T) {
	var g Ring
	r := numbered(1, record.Unexpected)
	r.Verdict.Findings = []record.Finding{{ID: "a"}}
	r.VLANs = []string{"10"}
	g.Write(r)
	r.Client.Roles[0], r.Verdict.Findings[0].ID, r.VLANs[0] = "x", "x", "x"
	k := g.Records(func(*record.Record) bool { return true })[0]
	if k.Client.Roles[0] != "client" || k.Verdict.Findings[0].ID != "a" || k.VLANs[0] != "10" {
		t.Errorf("kept %+v", k)
	}
}

// TestPendingRecords verifies that the records of flows that are not final come and go.
func TestPendingRecords(t *testing.T) {
	table := New()
	table.PendingOnly = true
	all := func(*record.Record) bool { return true }
	r := numbered(7, record.Unexpected)
	r.State = "active"
	_ = table.Write(r)
	if got := table.Records(all); len(got) != 1 || got[0].Number != 7 {
		t.Errorf("records %+v", got)
	}
	for n := range uint64(2 * maxRecords) {
		r := numbered(100+n, record.Unexpected)
		r.State = "active"
		_ = table.Write(r)
	}
	if got := table.Records(all); len(got) != maxRecords {
		t.Errorf("%d records are kept", len(got))
	}
	r.State = "ended"
	_ = table.Write(r)
	if got := table.Records(func(r *record.Record) bool { return r.Number == 7 }); len(got) != 0 {
		t.Errorf("a final flow is still there: %+v", got)
	}
}
