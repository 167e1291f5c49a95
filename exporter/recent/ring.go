package recent

import (
	"cmp"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
)

// The bounds of a Ring, in flows.
const (
	ringAttention = 1024 // that need attention
	ringOthers    = 1024
)

// Ring keeps the last records of flows that have ended and concern Exchange: those that
// need attention apart from the others, so that many others do not push them out. It must
// not be used by two goroutines at once.
type Ring struct {
	attention, others ring
	written           uint64
}

// ring is a number of records. Once it is full, a new one takes the place of the oldest.
type ring struct {
	all  []kept
	next int
}

type kept struct {
	number uint64 // in the order of coming
	record.Record
}

// Write takes in r, unless it is an interim record or concerns no Exchange server.
func (g *Ring) Write(r *record.Record) {
	if r.State == "active" || r.Verdict.Status == record.Unrelated {
		return
	}
	g.written++
	to, limit := &g.others, ringOthers
	if r.Verdict.Status == record.Deviating || r.Verdict.Status == record.Unexpected || r.Outcome.Blocked() {
		to, limit = &g.attention, ringAttention
	}
	k := kept{g.written, detached(r)}
	if len(to.all) < limit {
		to.all = append(to.all, k)
		return
	}
	to.all[to.next] = k
	to.next = (to.next + 1) % limit
}

// detached returns a copy of r that outlives the call of Write that r was given to.
func detached(r *record.Record) record.Record {
	c := *r
	host := func(h *record.Host) {
		h.Name, h.Roles = strings.Clone(h.Name), slices.Clone(h.Roles)
	}
	host(&c.Client)
	host(&c.Server)
	c.VLANs, c.Streams, c.Verdict.Also, c.Verdict.Findings = slices.Clone(r.VLANs), nil, slices.Clone(r.Verdict.Also), slices.Clone(r.Verdict.Findings)
	if r.Facts != nil {
		facts := *r.Facts // the list in it never changes
		c.Facts = &facts
	}
	return c
}

// Len returns the number of records that are kept.
func (g *Ring) Len() int { return len(g.attention.all) + len(g.others.all) }

// Records returns the records that match, the last one first.
func (g *Ring) Records(match func(*record.Record) bool) []record.Record {
	var found []*kept
	for _, part := range []*ring{&g.attention, &g.others} {
		for i := range part.all {
			if k := &part.all[i]; match(&k.Record) {
				found = append(found, k)
			}
		}
	}
	slices.SortFunc(found, func(a, b *kept) int { return cmp.Compare(b.number, a.number) })
	list := make([]record.Record, len(found))
	for i, k := range found {
		list[i] = k.Record
	}
	return list
}
