package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/brief"
	"github.com/exspan/exspan/exporter/glossary"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
)

// writeFindings writes the violations, one group a finding.
func (s *Sink) writeFindings(p *printer) {
	for _, g := range brief.Violations(&s.t) {
		p.gap()
		p.spread(style(g.Entry.Severity), fmt.Sprintf("%-9s %s", strings.ToUpper(g.Entry.Severity.String()), g.Entry.Title),
			text.Count(g.Flows, "flow")+"  "+string(g.ID))
		for _, f := range g.Paths {
			s.writeFinding(p, g, f)
		}
		if len(g.Sources) > 0 {
			p.wrap(2, 4, "Reference: "+strings.Join(g.Sources, "; "))
		}
		for _, do := range g.Todo {
			p.wrap(2, 4, "To do: "+do)
		}
		if len(g.Todo) == 0 {
			p.wrap(2, 4, "To do: no document is known that says; exspan glossary "+string(g.ID)+" explains the finding.")
		}
	}
	p.more(s.t.Findings.More)
}

// writeFinding writes a finding on one path: what was seen, what is documented,
// and examples.
func (s *Sink) writeFinding(p *printer, g *brief.Group, f brief.OnPath) {
	p.spread(plain, "  "+s.pathName(f.Label, f.Path), text.Count(f.Flows, "flow"))
	for _, d := range f.Details.Sorted() {
		line := brief.Detail(d.Name, f.Finding)
		if len(f.Details) > 1 && d.Flows != f.Flows {
			line += " (" + text.Count(d.Flows, "flow") + ")"
		}
		p.wrap(6, 8, line)
	}
	shown := uint64(0)
	for _, e := range f.Examples {
		shown += e.Flows
		flows := ""
		if e.Flows > 1 {
			flows = text.Count(e.Flows, "flow")
		}
		p.spread(plain, "      "+s.host(e.Client.Addr())+" > "+s.end(e.Server, e.Proto), flows)
		if s.o.All && e.Why != "" {
			p.wrap(8, 8, "from port "+fmt.Sprint(e.Client.Port())+": "+e.Why)
		}
	}
	if n := f.Flows - shown; n > 0 {
		hint := "--format flows --finding " + string(g.ID)
		if !s.o.All {
			hint = "--all, or " + hint
		}
		p.wrap(6, 8, fmt.Sprintf("and %s more: %s", text.Thousands(n), hint))
	}
}

// style is the colour of a severity; the word stands beside it.
func style(s glossary.Severity) string {
	switch s {
	case glossary.Critical:
		return boldRed
	case glossary.High:
		return red
	case glossary.Medium:
		return yellow
	}
	return plain
}

// writeBlocked writes the connections that were tried in vain, and the flows of
// which nothing but drops is known.
func (s *Sink) writeBlocked(p *printer, drops []record.Drop) {
	if s.t.Blocked.Len() == 0 && len(drops) == 0 {
		return
	}
	rows := make([]tally.BlockedKey, 0, s.t.Blocked.Len())
	for k := range s.t.Blocked.All() {
		rows = append(rows, k)
	}
	slices.SortFunc(rows, func(a, b tally.BlockedKey) int {
		return cmp.Or(cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Path, b.Path), a.Server.Compare(b.Server), cmp.Compare(a.Proto, b.Proto))
	})
	p.gap()
	p.spread(red, "BLOCKED", text.Count(s.t.BlockedFlows()+uint64(len(drops)), "flow"))
	rest := uint64(0)
	for i, k := range rows {
		b := s.t.Blocked.Get(k)
		if i >= maxShown && !s.o.All {
			rest += b.Flows
			continue
		}
		clients := make([]string, 0, len(b.Clients)+1)
		for _, c := range b.Clients {
			clients = append(clients, s.host(c))
		}
		if uint64(len(clients)) < b.Flows && len(clients) == s.t.Options.Examples {
			clients = append(clients, "...")
		}
		p.spread(plain, "  "+strings.Join(clients, ", ")+" > "+s.end(k.Server, k.Proto)+"  "+s.pathName(k.Path, b.Path),
			string(k.Outcome)+"  "+text.Count(b.Flows, "flow"))
	}
	if rest += s.t.Blocked.More; rest > 0 {
		p.wrap(2, 4, "and "+text.Count(rest, "more flow")+": --all, or --format flows --finding blocked")
	}
	s.writeNeverCaptured(p, drops)
}

// writeUnexpected writes the services that no data path explains, by reason.
func (s *Sink) writeUnexpected(p *printer) {
	total := s.t.Of(record.Unexpected)
	if total == 0 {
		return
	}
	p.gap()
	p.spread(red, "UNEXPECTED", text.Count(total, "flow"))
	for _, reason := range reasons(s.t.Unexpected.All()) {
		entry := brief.Reason(reason)
		p.spread(plain, "  "+entry, text.Count(flowsOf(s.t.Unexpected.All(), reason), "flow")+"  "+string(reason))
		s.writeServices(p, s.t.Unexpected.All(), reason)
	}
	p.more(s.t.Unexpected.More)
	if line := brief.UnknownRoles(&s.t, s.host); line != "" {
		p.wrap(2, 4, line)
	}
}

// writeServices writes server ports of one reason, those with most flows first.
func (s *Sink) writeServices(p *printer, all map[tally.ServiceKey]*tally.Service, reason record.Reason) {
	var rows []*tally.Service
	for _, u := range all {
		if u.Reason == reason {
			rows = append(rows, u)
		}
	}
	slices.SortFunc(rows, func(a, b *tally.Service) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), a.Server.Compare(b.Server), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Protocol, b.Protocol))
	})
	for i, u := range rows {
		if i == maxShown && !s.o.All {
			var flows uint64
			for _, r := range rows[i:] {
				flows += r.Flows
			}
			p.wrap(6, 8, fmt.Sprintf("and %s at %s: --all, or --format flows --reason %s", text.Count(flows, "more flow"),
				text.Count(uint64(len(rows)-i), "more server port"), reason))
			return
		}
		line := s.host(u.Client.Addr())
		if u.Flows > 1 {
			line += ", ..."
		}
		line += " > " + s.end(u.Server, u.Proto) + "  " + protocolName(u.Protocol)
		if u.Outcome != "" && u.Outcome != record.Answered {
			line += ", " + string(u.Outcome)
		}
		p.spread(plain, "      "+line, text.Count(u.Flows, "flow")+"  "+text.Size(u.Bytes))
		if u.Why != "" {
			p.wrap(8, 8, u.Why)
		}
	}
}

func reasons(all map[tally.ServiceKey]*tally.Service) []record.Reason {
	seen := map[record.Reason]bool{}
	for _, u := range all {
		seen[u.Reason] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func flowsOf(all map[tally.ServiceKey]*tally.Service, reason record.Reason) uint64 {
	var n uint64
	for _, u := range all {
		if u.Reason == reason {
			n += u.Flows
		}
	}
	return n
}

// writePaths writes a row for each data path that was seen.
func (s *Sink) writePaths(p *printer) {
	if s.t.Paths.Len()+s.t.Allowed.Len() == 0 {
		if s.related() > 0 {
			p.heading("No flow follows a documented data path.")
		}
		return
	}
	rows := make([]*tally.Path, 0, s.t.Paths.Len())
	var platform tally.Traffic
	for _, r := range s.t.Paths.All() {
		if r.Path.Platform() && r.Deviating == 0 && !s.o.All {
			platform.Flows += r.Flows
			platform.Bytes += r.Bytes
			continue
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *tally.Path) int { return cmp.Compare(a.Label, b.Label) })
	p.gap()
	cells := [][]string{{"PATHS SEEN", "FLOWS", "BYTES", "EXPECTED", "DEVIATING"}}
	low := false
	for _, r := range rows {
		name := s.pathName(r.Label, r.Path)
		if r.LowSource {
			name, low = name+" *", true
		}
		cells = append(cells, []string{name, text.Thousands(r.Flows), text.Size(r.Bytes), dash(r.Expected), dash(r.Deviating)})
	}
	notes := slices.Sorted(maps.Keys(s.t.Allowed.All()))
	for range notes {
		cells = append(cells, nil)
	}
	for i, note := range notes {
		a := s.t.Allowed.Get(note)
		cells[1+len(rows)+i] = []string{"Allowed", text.Thousands(a.Flows), text.Size(a.Bytes), text.Thousands(a.Flows), "-"}
	}
	lines := align(cells, "lrrrr", min(p.width, rightEdge))
	if len(lines) > 1 {
		p.styled(bold, lines[0])
	}
	for i, r := range rows {
		st := plain
		if r.Deviating > 0 {
			st = red
		}
		p.styled(st, lines[i+1])
		s.writePathDetail(p, r)
	}
	for i, note := range notes {
		p.styled(plain, lines[1+len(rows)+i])
		p.wrap(4, 6, note)
	}
	if platform.Flows > 0 {
		p.wrap(0, 2, "Windows' own traffic: "+text.Count(platform.Flows, "flow")+", "+text.Size(platform.Bytes)+"; --all lists them")
	}
	p.more(s.t.Paths.More)
	if low {
		p.wrap(0, 2, "* the reference itself is uncertain about this path")
	}
}

func (s *Sink) writePathDetail(p *printer, r *tally.Path) {
	line := r.Path.ID
	if r.Tied > 0 {
		line = brief.Tied(r)
	}
	if m := mechanisms(r.Auth); m != "" {
		line += "; auth " + m
	}
	if m := mechanisms(r.Encryption); m != "" {
		line += "; encryption " + m
	}
	p.wrap(4, 6, line+"; "+brief.Known(r))
	if s.o.All && len(r.IDs) > 1 {
		p.wrap(6, 8, strings.Join(r.IDs, ", "))
	}
}

func mechanisms(m tally.Mechanisms) string {
	var parts []string
	for _, x := range m.Sorted() {
		parts = append(parts, x.Name+" "+text.Thousands(x.Flows))
	}
	return strings.Join(parts, ", ")
}

// writeAccepted writes the violations that the site file accepts.
func (s *Sink) writeAccepted(p *printer) {
	groups := brief.Groups(&s.t, record.Accepted)
	if len(groups) == 0 {
		return
	}
	p.heading("ACCEPTED BY THE SITE FILE")
	for _, g := range groups {
		p.spread(plain, "  "+g.Entry.Title, text.Count(g.Flows, "flow")+"  "+string(g.ID))
		for _, f := range g.Paths {
			p.spread(plain, "      "+s.pathName(f.Label, f.Path), text.Count(f.Flows, "flow"))
			for _, d := range f.Details.Sorted() {
				p.wrap(8, 8, brief.Detail(d.Name, f.Finding))
			}
		}
	}
}

// writeRemarks writes one line a remark; those on blocked flows stand under
// Blocked.
func (s *Sink) writeRemarks(p *printer) {
	groups := slices.DeleteFunc(brief.Groups(&s.t, record.Remark), func(g *brief.Group) bool {
		return g.ID == record.FindingRefused || g.ID == record.FindingUnanswered
	})
	if len(groups) == 0 {
		return
	}
	p.heading("REMARKS")
	for _, g := range groups {
		p.spread(plain, "  "+g.Entry.Title, text.Count(g.Flows, "flow")+"  "+string(g.ID))
		var parts []string
		for _, f := range g.Paths {
			parts = append(parts, s.pathName(f.Label, f.Path)+" "+text.Thousands(f.Flows))
		}
		p.wrap(6, 8, strings.Join(parts, ", "))
	}
}
