package table

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/brief"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// writeHosts writes what was learned of hosts, and by which evidence.
func (s *Sink) writeHosts(p *printer, hosts []record.HostSummary) {
	if len(hosts) == 0 {
		return
	}
	p.heading("HOSTS")
	cells := make([][]string, 0, len(hosts))
	for i, h := range hosts {
		if i == maxLearned && !s.o.All {
			break
		}
		version := ""
		if h.Version != "" {
			version = "Exchange " + h.Version
		}
		cells = append(cells, []string{cmp.Or(h.Name, "-"), h.Addr.String(), version})
	}
	for i, l := range align(cells, "lll", p.width) {
		proofs := byEvidence(hosts[i].Roles)
		l = strings.TrimRight(l, " ")
		if len(proofs) == 1 && len("  ")+len(l)+2+len(proofs[0]) <= p.width {
			p.line(2, l+"  "+text.Printable(proofs[0]))
			continue
		}
		p.line(2, l)
		for _, proof := range proofs {
			p.wrap(6, 8, proof)
		}
	}
	if n := len(hosts) - len(cells); n > 0 {
		p.wrap(2, 4, "and "+text.Count(uint64(n), "more host")+": --all")
	}
}

// byEvidence returns one text for each evidence, naming all roles that it
// proves.
func byEvidence(roles []record.RoleProof) []string {
	var list []string
	for i, r := range roles {
		if slices.ContainsFunc(roles[:i], func(x record.RoleProof) bool { return x.Evidence == r.Evidence }) {
			continue
		}
		line := roleText(r.Role)
		for _, x := range roles[i+1:] {
			if x.Evidence == r.Evidence {
				line += ", " + roleText(x.Role)
			}
		}
		if r.Evidence != "" {
			line += " (" + r.Evidence + ")"
		}
		list = append(list, line)
	}
	return list
}

// roleText returns alternative roles, which records join by "|", in words.
func roleText(role string) string {
	words := strings.Split(strings.ReplaceAll(role, string(rules.AnyExchange), "an Exchange server"), "|")
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return words[0]
}

// writeEndpoints writes the learned endpoints that flows used, or all.
func (s *Sink) writeEndpoints(p *printer, sum *record.Summary) {
	cells := [][]string{}
	unused, more := 0, 0
	for i := range sum.Endpoints {
		e := &sum.Endpoints[i]
		if !s.o.All && e.Flows == 0 {
			unused++
			continue
		}
		if len(cells) == maxLearned && !s.o.All {
			more++
			continue
		}
		proto := uint8(capture.TCP)
		if e.UDP {
			proto = capture.UDP
		}
		cells = append(cells, []string{s.end(e.Server, proto), e.Service, text.Count(e.Flows, "flow"), s.learned(sum, e)})
	}
	if len(cells) == 0 {
		return
	}
	p.heading("LEARNED ENDPOINTS")
	for _, l := range align(cells, "llrl", 0) {
		p.wrap(2, 6, l)
	}
	if more > 0 {
		p.wrap(2, 4, "and "+text.Count(uint64(more), "more endpoint")+": --all")
	}
	if unused > 0 {
		p.wrap(2, 4, "and "+text.Count(uint64(unused), "endpoint")+" that no flow used: --all")
	}
}

// learned words how an endpoint was learned.
func (s *Sink) learned(sum *record.Summary, e *record.EndpointSummary) string {
	how := string(e.Source)
	if e.From.IsValid() {
		how += " from " + text.HostPort(s.host(e.From.Addr()), e.From.Port())
	}
	if !e.Learned.IsZero() {
		how += " at " + text.After(sum.First, e.Learned)
	}
	if e.Announced.IsValid() {
		how += ", announced as " + e.Announced.String()
	}
	if e.Ended {
		how += ", ended"
	}
	if e.Annotation != "" {
		how += `, "` + e.Annotation + `"`
	}
	return how
}

// writeRest writes undetermined and unrelated flows.
func (s *Sink) writeRest(p *printer) {
	if n := s.t.Of(record.Undetermined); n > 0 {
		p.gap()
		p.spread(bold, "UNDETERMINED", text.Count(n, "flow"))
		for _, reason := range reasons(s.t.Undetermined.All()) {
			p.spread(plain, "  "+brief.Reason(reason), text.Count(flowsOf(s.t.Undetermined.All(), reason), "flow")+"  "+string(reason))
			s.writeServices(p, s.t.Undetermined.All(), reason)
		}
		p.more(s.t.Undetermined.More)
	}
	if s.t.Unrelated.Len() == 0 {
		return
	}
	p.gap()
	all := s.t.Unrelated.All()
	var bytes uint64
	names := slices.Sorted(maps.Keys(all))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(all[b].Flows, all[a].Flows) })
	var parts []string
	for i, n := range names {
		bytes += all[n].Bytes
		if i < maxShown || s.o.All {
			parts = append(parts, protocolName(n)+" "+text.Thousands(all[n].Flows))
		}
	}
	if n := len(names) - len(parts); n > 0 {
		parts = append(parts, "and "+text.Count(uint64(n), "other protocol"))
	}
	p.wrap(0, 4, "Unrelated: "+text.Count(s.t.Of(record.Unrelated), "flow")+", "+text.Size(bytes)+": "+strings.Join(parts, ", "))
}

// writeTrouble writes what stands between the input and the truth.
func writeTrouble(p *printer, sum *record.Summary) {
	lines := brief.Trouble(sum)
	if len(lines) == 0 {
		return
	}
	p.gap()
	for _, line := range lines {
		p.wrap(0, 4, line)
	}
}

func dash(n uint64) string {
	if n == 0 {
		return "-"
	}
	return text.Thousands(n)
}
