package tally

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// various returns records that every kind of counter takes in. Those of two rounds have the
// same keys.
func various(round int) []*record.Record {
	mechanism := fmt.Sprint("mechanism", round)
	facts := &observe.Facts{}
	facts.Add(observe.Auth, mechanism)
	facts.Add(observe.Encryption, mechanism)
	clear := record.Verdict{Status: record.Deviating, Path: imap, Confidence: record.Observed, Findings: []record.Finding{
		{ID: record.FindingID(fmt.Sprint("finding", round)), Level: record.Violation, Detail: mechanism}, {ID: "same", Level: record.Violation, Detail: mechanism}}}
	tied := record.Verdict{Status: record.Expected, Path: imap, Group: "2010.tied", Confidence: record.ByPort}
	if round > 0 {
		tied.Path = pop
	}
	var list []*record.Record
	add := func(r *record.Record) {
		r.Facts, r.Client.Roles, r.Server.Roles = facts, []string{"client"}, []string{fmt.Sprint("cas", round)}
		r.Client.Name = "pc"
		list = append(list, r)
	}
	add(flow(addr(1+round), addr(9), 143, clear))
	add(flow(addr(1), addr(9), 143, clear))
	add(flow(addr(1), addr(9), 993, tied))
	refused := flow(addr(20+round), addr(9), 993, record.Verdict{Status: record.Expected, Path: imap})
	refused.Outcome = record.Refused
	add(refused)
	add(flow(addr(1), addr(9), 3389, record.Verdict{Status: record.Unexpected, Reason: record.NoPath}))
	add(flow(addr(1), addr(9), 4001, record.Verdict{Status: record.Undetermined, Reason: record.NoPayload}))
	add(flow(addr(1), addr(2), 25, record.Verdict{Status: record.Unrelated}))
	add(flow(addr(1), addr(9), 4000, record.Verdict{Status: record.Expected, Why: "allowed"}))
	for i, server := range []int{9, 10} {
		leg := flow(addr(1), addr(server), 443, tied)
		leg.Conversation, leg.First = "c", leg.First.Add(1)
		leg.Client.Port += uint16(i)
		add(leg)
	}
	return list
}

// TestClone verifies that a copy stays as it is while the original goes on counting.
func TestClone(t *testing.T) {
	count := func(rounds int) *Tally {
		ta := &Tally{Options: Options{Examples: 3, Pairs: true, Coverage: true, Edges: true}}
		for round := range rounds {
			for _, r := range various(round) {
				ta.Add(r)
			}
		}
		return ta
	}
	original := count(1)
	copied := original.Clone()
	for _, r := range various(1) {
		original.Add(r)
	}
	if want := count(1).Clone(); !reflect.DeepEqual(copied, want) {
		t.Errorf("the copy changed:\n%+v\nwant\n%+v", copied, want)
	}
	if want := count(2).Clone(); !reflect.DeepEqual(original.Clone(), want) || reflect.DeepEqual(copied, want) {
		t.Error("the original does not go on")
	}
	// What the copy is read for is in it.
	if copied.Flows() != original.Flows()/2 || copied.Paths.Len() == 0 || copied.Edges.Len() == 0 || copied.Name(addr(1)) != "pc" {
		t.Errorf("the copy has %d flows, %d paths, %d edges and the name %q", copied.Flows(), copied.Paths.Len(), copied.Edges.Len(), copied.Name(addr(1)))
	}
	// Fields that were added since are copied, or named here.
	known := map[string]bool{"waiting": true}
	v, c := reflect.ValueOf(original).Elem(), reflect.ValueOf(original.Clone()).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if !known[name] && !v.Field(i).IsZero() && c.Field(i).IsZero() {
			t.Errorf("Clone leaves out %s", name)
		}
	}
}
