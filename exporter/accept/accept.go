// Package accept marks findings that the site file accepts, so that their flows
// do not count as deviating.
package accept

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Sink gives next the records, with accepted findings marked. The summary tells
// which entries of the site file have expired or were never used.
type Sink struct {
	site    *rules.Site
	next    record.Sink
	used    []uint64 // flows, by entry of the site file
	expired []uint64 // flows that an entry would have accepted in time

	findings []record.Finding // used again
}

// New returns a sink that gives records to next. It returns next if the site
// accepts nothing; site may be nil.
func New(site *rules.Site, next record.Sink) record.Sink {
	if site == nil || len(site.Accept) == 0 {
		return next
	}
	n := len(site.Accept)
	return &Sink{site: site, next: next, used: make([]uint64, n), expired: make([]uint64, n)}
}

// Write marks the accepted findings of r, for the time of the call, and gives r
// to the next sink.
func (s *Sink) Write(r *record.Record) error {
	v := &r.Verdict
	if v.Status != record.Deviating {
		return s.next.Write(r)
	}
	before := *v
	s.findings = append(s.findings[:0], v.Findings...)
	left := false
	for i := range s.findings {
		f := &s.findings[i]
		if f.Level != record.Violation {
			continue
		}
		note, ok := s.accepted(r, string(f.ID))
		if !ok {
			left = true
			continue
		}
		f.Level = record.Accepted
		if note != "" {
			f.Detail = strings.TrimPrefix(f.Detail+"; accepted: "+note, "; ")
		}
	}
	v.Findings = s.findings
	if !left {
		v.Status = record.Expected
	}
	err := s.next.Write(r)
	*v = before
	return err
}

// accepted reports whether an entry accepts a finding of r, and its note.
func (s *Sink) accepted(r *record.Record, finding string) (note string, ok bool) {
	for i := range s.site.Accept {
		a := &s.site.Accept[i]
		if a.Finding != finding || !onPath(a.Path, &r.Verdict) || !s.isEnd(a.From, &r.Client) || !s.isEnd(a.To, &r.Server) {
			continue
		}
		ended := r.State != "active"
		if !a.Until.IsZero() && !r.First.Before(a.Until.Add(24*time.Hour)) {
			if ended {
				s.expired[i]++
			}
			continue
		}
		if ended {
			s.used[i]++
		}
		return a.Note, true
	}
	return "", false
}

// onPath reports whether each path that a flow may follow fits a pattern; an
// empty one fits all.
func onPath(pattern string, v *record.Verdict) bool {
	if pattern == "" {
		return true
	}
	fits := func(p *rules.DataPath) bool {
		if begin, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(p.ID, begin)
		}
		return p.ID == pattern
	}
	return v.Group == pattern || v.Path != nil && fits(v.Path) && !slices.ContainsFunc(v.Also, func(p *rules.DataPath) bool { return !fits(p) })
}

// isEnd reports whether a host is the end that an entry names; an empty end is
// any.
func (s *Sink) isEnd(e rules.End, h *record.Host) bool {
	switch {
	case e.Role != "":
		return e.Role == rules.Any || slices.ContainsFunc(h.Roles, func(names string) bool {
			return slices.Contains(strings.Split(names, "|"), string(e.Role))
		})
	case e.Server != "":
		i := slices.IndexFunc(s.site.Servers, func(x rules.Server) bool { return strings.EqualFold(x.Name, e.Server) })
		return i >= 0 && slices.Contains(s.site.Servers[i].Addresses, h.Addr.Unmap())
	case e.Prefix.IsValid():
		return e.Prefix.Contains(h.Addr.Unmap())
	}
	return true
}

// Close adds to the summary which entries have expired or were never used.
func (s *Sink) Close(sum *record.Summary) error {
	for i := range s.site.Accept {
		a := &s.site.Accept[i]
		where := fmt.Sprintf("%s:%d: the accepted finding %s", a.File, a.Line, a.Finding)
		if a.Path != "" {
			where += " on " + a.Path
		}
		switch {
		case s.expired[i] > 0:
			sum.Notes = append(sum.Notes, fmt.Sprintf("%s expired on %s, and occurs", where, a.Until.Format(time.DateOnly)))
		case s.used[i] == 0:
			sum.Notes = append(sum.Notes, where+" does not occur")
		}
	}
	return s.next.Close(sum)
}
