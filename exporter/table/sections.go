package table

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/glossary"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
)

// writeFindings writes the violations, one group a finding.
func (s *Sink) writeFindings(p *printer) {
	for _, g := range s.groups() {
		p.gap()
		p.spread(style(g.entry.Severity), fmt.Sprintf("%-9s %s", strings.ToUpper(g.entry.Severity.String()), g.entry.Title),
			text.Count(g.flows, "flow")+"  "+string(g.id))
		var sources, todo []string
		for _, label := range g.paths {
			f := s.t.Findings.Get(tally.FindingKey{ID: g.id, Path: label, Level: g.level})
			s.writeFinding(p, g, label, f)
			if f.Path != nil && f.Path.Source != "" && !slices.Contains(sources, f.Path.Source) {
				sources = append(sources, f.Path.Source)
			}
			for _, protocol := range f.Protocols {
				if a := g.entry.For(protocol, f.Path); a != nil && !slices.Contains(todo, a.Do) {
					todo = append(todo, a.Do)
				}
			}
		}
		if len(sources) > 0 {
			p.wrap(2, 4, "Reference: "+strings.Join(sources, "; "))
		}
		for _, do := range todo {
			p.wrap(2, 4, "To do: "+do)
		}
		if len(todo) == 0 {
			p.wrap(2, 4, "To do: no document is known that says; exspan glossary "+string(g.id)+" explains the finding.")
		}
	}
	p.more(s.t.Findings.More)
}

// writeFinding writes a finding on one path: what was seen, what is documented,
// and examples.
func (s *Sink) writeFinding(p *printer, g *group, label string, f *tally.Finding) {
	p.spread(plain, "  "+s.pathName(label, f.Path), text.Count(f.Flows, "flow"))
	for _, d := range f.Details.Sorted() {
		line := detail(d.Name, f)
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
		hint := "--format flows --finding " + string(g.id)
		if !s.o.All {
			hint = "--all, or " + hint
		}
		p.wrap(6, 8, fmt.Sprintf("and %s more: %s", text.Thousands(n), hint))
	}
}

// inClear ends the detail of a finding on a password in the clear; before it is the
// mechanism.
const inClear = " sends the password in clear"

// detail words a finding's detail as what was seen and what is documented.
func detail(line string, f *tally.Finding) string {
	if f.Path == nil {
		return line
	}
	if how, ok := strings.CutSuffix(line, inClear); ok {
		line = "seen: the password in the clear (" + inWords(how) + ")"
		if len(f.Path.Encryption) > 0 && f.Path.ByDefault == "yes" {
			line += "; documented: " + inWords(strings.Join(f.Path.Encryption, " or ")) + " by default"
		}
		return line
	}
	seen, documented, ok := strings.Cut(line, ", "+f.Path.ID+" documents ")
	if !ok {
		return line
	}
	if seen == "none" {
		seen = "no authentication"
	}
	return "seen: " + inWords(seen) + "; documented: " + inWords(documented)
}

// inWords replaces the ids of mechanisms in a text by the names that administrators
// know them by.
func inWords(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		if name := mechanismNames[w]; name != "" {
			words[i] = name
		}
	}
	return strings.Join(words, " ")
}

// mechanismNames names mechanisms whose ids are not plain words.
var mechanismNames = map[string]string{
	"ssl": "SSL", "tls": "TLS", "https": "HTTPS", "ldaps": "LDAPS", "srtp": "SRTP", "sip-tls": "SIP over TLS", "rpc": "RPC encryption",
	"ntlm": "NTLM", "kerberos": "Kerberos", "login": "LOGIN", "plain": "PLAIN", "user-pass": "USER and PASS", "simple": "LDAP simple bind",
	"direct-trust": "certificates (direct trust)",
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
	var flows uint64
	for k, b := range s.t.Blocked.All() {
		rows = append(rows, k)
		flows += b.Flows
	}
	slices.SortFunc(rows, func(a, b tally.BlockedKey) int {
		return cmp.Or(cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Path, b.Path), a.Server.Compare(b.Server), cmp.Compare(a.Proto, b.Proto))
	})
	p.gap()
	p.spread(red, "BLOCKED", text.Count(flows+s.t.Blocked.More+uint64(len(drops)), "flow"))
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
		entry := firstEntry(string(reason))
		p.spread(plain, "  "+entry, text.Count(flowsOf(s.t.Unexpected.All(), reason), "flow")+"  "+string(reason))
		s.writeServices(p, s.t.Unexpected.All(), reason)
	}
	p.more(s.t.Unexpected.More)
	s.hintRoles(p)
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

// hintRoles names the hosts of unexpected flows whose role is not known.
func (s *Sink) hintRoles(p *printer) {
	unknown := map[netip.Addr]bool{}
	for _, u := range s.t.Unexpected.All() {
		if u.ServerRoles == "" {
			unknown[u.Server.Addr()] = true
		}
		if u.ClientRoles == "" {
			unknown[u.Client.Addr()] = true
		}
	}
	if len(unknown) == 0 {
		return
	}
	var names []string
	for _, a := range sortedAddrs(unknown) {
		if len(names) == maxShown {
			names = append(names, fmt.Sprintf("%d more", len(unknown)-maxShown))
			break
		}
		names = append(names, s.host(a))
	}
	verb := "The role of %s is not known. Add it"
	if len(names) > 1 {
		verb = "The roles of %s are not known. Add them"
	}
	p.wrap(2, 4, fmt.Sprintf(verb, joinAnd(names))+" to the site file, or capture a connection that proves it.")
}

func reasons(all map[tally.ServiceKey]*tally.Service) []record.Reason {
	seen := map[record.Reason]bool{}
	for _, u := range all {
		seen[u.Reason] = true
	}
	return sortedKeys(seen)
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

// firstEntry returns the title of a word in the glossary, or the word.
func firstEntry(word string) string {
	if e := glossary.Lookup(word); len(e) > 0 {
		return e[0].Title
	}
	return cmp.Or(word, "no reason")
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
	notes := sortedKeys(s.t.Allowed.All())
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
	switch {
	case r.Tied > 0 && r.Tied < r.Flows:
		line = fmt.Sprintf("%s of them may be one of %d paths", text.Thousands(r.Tied), len(r.IDs))
	case r.Tied > 0:
		line = fmt.Sprintf("one of %d paths that packets cannot tell apart", len(r.IDs))
	}
	if m := mechanisms(r.Auth); m != "" {
		line += "; auth " + m
	}
	if m := mechanisms(r.Encryption); m != "" {
		line += "; encryption " + m
	}
	p.wrap(4, 6, line+"; "+confidences(r.Weakest, r.Strongest))
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

func confidences(weakest, strongest record.Confidence) string {
	if weakest == strongest {
		return strongest.String()
	}
	return weakest.String() + " to " + strongest.String()
}

// writeAccepted writes the violations that the site file accepts.
func (s *Sink) writeAccepted(p *printer) {
	groups := s.groupsOf(record.Accepted)
	if len(groups) == 0 {
		return
	}
	p.heading("ACCEPTED BY THE SITE FILE")
	for _, g := range groups {
		p.spread(plain, "  "+g.entry.Title, text.Count(g.flows, "flow")+"  "+string(g.id))
		for _, label := range g.paths {
			f := s.t.Findings.Get(tally.FindingKey{ID: g.id, Path: label, Level: record.Accepted})
			p.spread(plain, "      "+s.pathName(label, f.Path), text.Count(f.Flows, "flow"))
			for _, d := range f.Details.Sorted() {
				p.wrap(8, 8, detail(d.Name, f))
			}
		}
	}
}

// writeRemarks writes one line a remark; those on blocked flows stand under
// Blocked.
func (s *Sink) writeRemarks(p *printer) {
	var groups []*group
	for _, g := range s.groupsOf(record.Remark) {
		if g.id != record.FindingRefused && g.id != record.FindingUnanswered {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return
	}
	p.heading("REMARKS")
	for _, g := range groups {
		p.spread(plain, "  "+g.entry.Title, text.Count(g.flows, "flow")+"  "+string(g.id))
		var parts []string
		for _, label := range g.paths {
			f := s.t.Findings.Get(tally.FindingKey{ID: g.id, Path: label, Level: g.level})
			parts = append(parts, s.pathName(label, f.Path)+" "+text.Thousands(f.Flows))
		}
		p.wrap(6, 8, strings.Join(parts, ", "))
	}
}
