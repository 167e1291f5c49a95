package tally

import (
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
)

// Cover is what was seen of one data path.
type Cover struct {
	Flows, Deviating, Blocked, Tied uint64
	Findings                        []string // violations
	Outcome                         record.Outcome
	Period
}

// cover counts a flow under each path that it may follow.
func (t *Tally) cover(r *record.Record) {
	if t.ByPath == nil {
		t.ByPath, t.Roles = map[string]*Cover{}, map[string]bool{}
	}
	if r.Outcome == record.OneWay || r.Packets[0] == 0 {
		t.OneWay++
	}
	for _, h := range [...]*record.Host{&r.Client, &r.Server} {
		for name := range h.AllRoles() {
			if !t.Roles[name] {
				t.Roles[strings.Clone(name)] = true
			}
		}
	}
	v := &r.Verdict
	if v.Path == nil {
		return
	}
	t.coverPath(v.Path.ID, r)
	for _, p := range v.Also {
		t.coverPath(p.ID, r)
	}
}

func (t *Tally) coverPath(id string, r *record.Record) {
	c := t.ByPath[id]
	if c == nil {
		c = &Cover{Period: Period{r.First, r.Last}}
		t.ByPath[id] = c
	}
	c.Flows++
	if len(r.Verdict.Also) > 0 {
		c.Tied++
	}
	c.extend(r)
	if r.Outcome.Blocked() {
		c.Blocked++
		c.Outcome = r.Outcome
	}
	if r.Verdict.Status != record.Deviating {
		return
	}
	c.Deviating++
	for i := range r.Verdict.Findings {
		f := &r.Verdict.Findings[i]
		if f.Level == record.Violation && !slices.Contains(c.Findings, string(f.ID)) {
			c.Findings = append(c.Findings, string(f.ID))
		}
	}
}
