// Package recent keeps the last flows of each data path, for a person who looks
// at a running program: those that need attention apart from the others, and as
// they stand, before their records are final.
//
// Its flows hold addresses and names. What it keeps is bounded.
package recent

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/communityid"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/tally"
)

// The bounds, in flows.
const (
	maxAttention = 64      // of one label that need attention
	maxOthers    = 16      // others of one label
	maxPending   = 200_000 // that need attention and are not final
	maxRecords   = 1000    // of those, the ones whose records are kept
)

// Flow is a flow as it stood when it was last judged.
type Flow struct {
	First       time.Time      `json:"first"`
	Last        time.Time      `json:"last"`
	CommunityID string         `json:"community_id"`
	Label       string         `json:"label"` // that of its data path in metrics
	Client      netip.AddrPort `json:"client"`
	Server      netip.AddrPort `json:"server"`
	ClientName  string         `json:"client_name,omitempty"`
	ServerName  string         `json:"server_name,omitempty"`
	Proto       string         `json:"proto"`
	Protocol    string         `json:"protocol,omitempty"`
	Status      record.Status  `json:"status"`
	Reason      record.Reason  `json:"reason,omitempty"`
	Outcome     record.Outcome `json:"outcome,omitempty"`
	Bytes       uint64         `json:"bytes"`
	Findings    []Finding      `json:"findings,omitempty"`
	Why         string         `json:"why,omitempty"`
	// Final reports whether the verdict stays.
	Final bool `json:"final,omitempty"`

	proto uint8
}

// Finding is a finding of a flow.
type Finding struct {
	ID     record.FindingID `json:"id"`
	Level  record.Level     `json:"level"`
	Detail string           `json:"detail,omitempty"`
}

// Attention reports whether a flow needs attention: it is deviating, unexpected or
// blocked.
func (f *Flow) Attention() bool {
	return f.Status == record.Deviating || f.Status == record.Unexpected || f.Status != record.Unrelated && f.Outcome.Blocked()
}

// Wants reports whether the table has to be told of a flow with a verdict, given the
// number of the flow's first packet.
func (t *Table) Wants(number uint64, v *record.Verdict) bool {
	if !t.PendingOnly || v.Status == record.Unexpected || v.Status == record.Deviating {
		return true
	}
	for i := range v.Findings {
		switch v.Findings[i].ID {
		case record.FindingRefused, record.FindingUnanswered, record.FindingProhibited:
			return true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.pending[number]
	return known
}

// Pending counts flows that need attention and whose verdict is not final.
type Pending struct {
	Unexpected map[record.Reason]int
	Deviating  map[string]int // by label
	// Blocked is by label and outcome.
	Blocked map[[2]string]int
}

// Table keeps flows. It is a record.Sink; its methods may be called by any
// goroutine.
type Table struct {
	// PendingOnly makes the table keep nothing but flows that need attention and are not
	// final.
	PendingOnly bool

	mu      sync.Mutex
	labels  map[string]*list
	pending map[uint64]open // by the number of the first packet
	records map[uint64]record.Record
}

// open is what is counted of a flow that is not final.
type open struct {
	label     string
	deviating bool
	reason    record.Reason
	outcome   record.Outcome
}

// list is the flows of one label.
type list struct{ attention, others part }

// part is flows and the numbers of their first packets, the oldest first.
type part struct {
	numbers []uint64
	flows   []Flow
}

// New returns an empty table.
func New() *Table {
	return &Table{labels: map[string]*list{}, pending: map[uint64]open{}, records: map[uint64]record.Record{}}
}

// Write takes in a flow as it stands, or its last record.
func (t *Table) Write(r *record.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, final := &r.Verdict, r.State == "ended"
	label := cmp.Or(tally.Label(v), record.NoneLabel)
	o := open{label: label, deviating: v.Status == record.Deviating}
	if v.Status == record.Unexpected {
		o.reason = v.Reason
	}
	if v.Status != record.Unrelated && r.Outcome.Blocked() {
		o.outcome = r.Outcome
	}
	if final || o == (open{label: label}) {
		delete(t.pending, r.Number)
		delete(t.records, r.Number)
	} else if _, known := t.pending[r.Number]; known || len(t.pending) < maxPending {
		t.pending[r.Number] = o
		if _, known := t.records[r.Number]; known || len(t.records) < maxRecords {
			t.records[r.Number] = detached(r)
		}
	}
	if v.Status == record.Unrelated || t.PendingOnly {
		return nil
	}
	l := t.labels[label]
	if l == nil {
		l = &list{}
		t.labels[label] = l
	}
	l.attention.drop(r.Number)
	l.others.drop(r.Number)
	if f := newFlow(r, label); f.Attention() {
		l.attention.push(r.Number, f, maxAttention)
	} else {
		l.others.push(r.Number, f, maxOthers)
	}
	return nil
}

// drop removes the flow of a number.
func (p *part) drop(number uint64) {
	if i := slices.Index(p.numbers, number); i >= 0 {
		p.numbers, p.flows = slices.Delete(p.numbers, i, i+1), slices.Delete(p.flows, i, i+1)
	}
}

// push adds a flow, in the place of the oldest if there are limit already.
func (p *part) push(number uint64, f Flow, limit int) {
	if len(p.numbers) == limit {
		p.numbers, p.flows = slices.Delete(p.numbers, 0, 1), slices.Delete(p.flows, 0, 1)
	}
	p.numbers, p.flows = append(p.numbers, number), append(p.flows, f)
}

func newFlow(r *record.Record, label string) Flow {
	v := &r.Verdict
	f := Flow{
		First: r.First, Last: r.Last, Label: label, proto: r.Proto,
		Client: netip.AddrPortFrom(r.Client.Addr, r.Client.Port), Server: netip.AddrPortFrom(r.Server.Addr, r.Server.Port),
		ClientName: strings.Clone(r.Client.Name), ServerName: strings.Clone(r.Server.Name),
		Proto: capture.ProtoName(r.Proto), Protocol: r.Protocol, Status: v.Status, Reason: v.Reason, Outcome: r.Outcome,
		Bytes: r.Bytes[observe.ToServer] + r.Bytes[observe.ToClient], Why: v.Why, Final: r.State == "ended",
	}
	for _, x := range v.Findings {
		f.Findings = append(f.Findings, Finding{x.ID, x.Level, x.Detail})
	}
	return f
}

// Close does nothing: the flows stay.
func (t *Table) Close(*record.Summary) error { return nil }

// Flows returns the flows of a label, those that need attention first, then the
// newest first.
func (t *Table) Flows(label string) []Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	flows := []Flow{}
	l := t.labels[label]
	if l == nil {
		return flows
	}
	for _, part := range []part{l.attention, l.others} {
		begin := len(flows)
		flows = append(flows, part.flows...)
		slices.SortStableFunc(flows[begin:], func(a, b Flow) int { return b.First.Compare(a.First) })
	}
	for i := range flows {
		f := &flows[i]
		f.CommunityID = communityid.V1(f.proto, f.Client, f.Server)
	}
	return flows
}

// Pending counts the flows that need attention and are not final.
func (t *Table) Pending() Pending {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Pending{map[record.Reason]int{}, map[string]int{}, map[[2]string]int{}}
	for _, o := range t.pending {
		if o.deviating {
			p.Deviating[o.label]++
		}
		if o.reason != "" {
			p.Unexpected[o.reason]++
		}
		if o.outcome != "" {
			p.Blocked[[2]string{o.label, string(o.outcome)}]++
		}
	}
	return p
}

// Records returns the records that match of flows that need attention and are not final,
// the one that began last first.
func (t *Table) Records(match func(*record.Record) bool) []record.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []record.Record
	for _, r := range t.records {
		if match(&r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b record.Record) int { return cmp.Or(b.First.Compare(a.First), cmp.Compare(b.Number, a.Number)) })
	return list
}

// ServeHTTP answers with the flows of the label that the query names as path, as
// an array of JSON.
func (t *Table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(t.Flows(r.URL.Query().Get("path")))
}
