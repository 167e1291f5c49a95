package recent

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

var smtp = &rules.DataPath{ID: "2010.smtp"}

func flowOf(number uint64, status record.Status, outcome record.Outcome, state string) *record.Record {
	r := &record.Record{Number: number, First: time.Unix(int64(number), 0), State: state, Outcome: outcome, Proto: 6,
		Client: record.Host{Addr: netip.MustParseAddr("10.0.0.1"), Port: 1025}, Server: record.Host{Addr: netip.MustParseAddr("10.0.0.2"), Port: 25, Name: "hub1"}}
	switch r.Verdict.Status = status; status {
	case record.Expected, record.Deviating:
		r.Verdict.Path, r.Verdict.Group = smtp, smtp.ID
	case record.Unexpected:
		r.Verdict.Reason = record.NoPath
	}
	return r
}

func write(t *testing.T, table *Table, r *record.Record) {
	t.Helper()
	if err := table.Write(r); err != nil {
		t.Fatal(err)
	}
}

// TestPending wants a flow that needs attention counted from when it is judged
// until its record is final, and not when it turns out to be explained.
func TestPending(t *testing.T) {
	table := New()
	count := func(unexpected, blocked, deviating int) {
		t.Helper()
		p := table.Pending()
		if got := p.Unexpected[record.NoPath]; got != unexpected {
			t.Errorf("%d unexpected flows are pending, want %d", got, unexpected)
		}
		if got := p.Blocked[[2]string{smtp.ID, "refused"}]; got != blocked {
			t.Errorf("%d blocked flows are pending, want %d", got, blocked)
		}
		if got := p.Deviating[smtp.ID]; got != deviating {
			t.Errorf("%d deviating flows are pending, want %d", got, deviating)
		}
	}
	write(t, table, flowOf(1, record.Unexpected, record.Answered, "active"))
	write(t, table, flowOf(2, record.Expected, record.Refused, "active"))
	write(t, table, flowOf(3, record.Unexpected, record.Answered, "active"))
	write(t, table, flowOf(4, record.Unrelated, record.Refused, "active"))
	write(t, table, flowOf(5, record.Deviating, record.Answered, "active"))
	count(2, 1, 1)
	write(t, table, flowOf(3, record.Expected, record.Answered, "active")) // explained
	count(1, 1, 1)
	write(t, table, flowOf(1, record.Unexpected, record.Answered, "ended"))
	write(t, table, flowOf(2, record.Expected, record.Refused, "ended"))
	write(t, table, flowOf(5, record.Deviating, record.Answered, "ended"))
	count(0, 0, 0)
	if n := len(table.Flows(smtp.ID)); n != 3 {
		t.Errorf("%d flows on the path, want 3", n)
	}
}

// TestBounds wants the newest flows kept, and flows that need attention not
// displaced by others.
func TestBounds(t *testing.T) {
	table := New()
	write(t, table, flowOf(1, record.Deviating, record.Answered, "ended"))
	for n := range uint64(1000) {
		write(t, table, flowOf(2+n, record.Expected, record.Answered, "ended"))
	}
	flows := table.Flows(smtp.ID)
	if len(flows) != 1+maxOthers {
		t.Fatalf("%d flows are kept", len(flows))
	}
	if flows[0].Status != record.Deviating || flows[1].First.Unix() != 1001 || flows[maxOthers].First.Unix() != 1001-maxOthers+1 {
		t.Errorf("the order is wrong: %v", flows)
	}
	for n := range uint64(maxPending + 10) {
		write(t, table, flowOf(10_000+n, record.Unexpected, record.Answered, "active"))
	}
	if n := table.Pending().Unexpected[record.NoPath]; n != maxPending {
		t.Errorf("%d flows are pending, want %d", n, maxPending)
	}
}

func TestServeHTTP(t *testing.T) {
	table := New()
	r := flowOf(1, record.Deviating, record.Answered, "active")
	r.Verdict.Findings = []record.Finding{{ID: record.FindingCleartext, Level: record.Violation, Detail: "none"}}
	write(t, table, r)
	w := httptest.NewRecorder()
	table.ServeHTTP(w, httptest.NewRequest("GET", "/flows?path=2010.smtp", nil))
	var flows []Flow
	if err := json.Unmarshal(w.Body.Bytes(), &flows); err != nil || len(flows) != 1 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if f := flows[0]; f.ServerName != "hub1" || f.Server.Port() != 25 || len(f.Findings) != 1 || f.Findings[0].ID != record.FindingCleartext || f.Final {
		t.Errorf("%+v", f)
	}
}
