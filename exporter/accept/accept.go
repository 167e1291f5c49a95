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
	client, server := s.host(&r.Client), s.host(&r.Server)
	for i := range s.site.Accept {
		a := &s.site.Accept[i]
		fits := func(path string) bool { return a.Fits(finding, path, client, server) }
		if !onAll(&r.Verdict, fits) && (a.Path != r.Verdict.Group || !fits(a.Path)) {
			continue
		}
		ended := r.State != "active"
		if a.Expired(r.First) {
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

// onAll reports whether each path that a flow may follow fits.
func onAll(v *record.Verdict, fits func(path string) bool) bool {
	if v.Path == nil {
		return fits("")
	}
	return fits(v.Path.ID) && !slices.ContainsFunc(v.Also, func(p *rules.DataPath) bool { return !fits(p.ID) })
}

// host returns an end of a flow as the rules compare it: a server of the site file has
// its name there.
func (s *Sink) host(h *record.Host) *rules.Host {
	x := &rules.Host{Addr: h.Addr, Has: func(r rules.Role) bool { return h.MayBe(string(r)) }}
	if e := s.site.Server(h.Addr); e != nil {
		x.Name = e.Name
	}
	return x
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
