// Package coverage reports which documented data paths a capture shows: seen, seen
// deviating, seen blocked, not seen, or not observable from where it was taken.
package coverage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// State is what a capture shows of a data path.
type State string

// The states, the one that needs attention most first.
const (
	Blocked       State = "blocked"
	Deviating     State = "deviating"
	NotSeen       State = "not-seen"
	Seen          State = "seen"
	NotObservable State = "not-observable"
)

// States returns every state.
func States() []State { return []State{Blocked, Deviating, NotSeen, Seen, NotObservable} }

// Row is what a capture shows of one data path.
type Row struct {
	ID       string    `json:"id"`
	Exchange string    `json:"exchange"`
	Table    string    `json:"table,omitempty"`
	Name     string    `json:"name"`
	State    State     `json:"state"`
	Why      string    `json:"why,omitempty"`
	Flows    uint64    `json:"flows,omitempty"`
	Tied     bool      `json:"tied,omitempty"` // packets cannot tell it from other paths
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`
}

// Options say which paths are told, and how.
type Options struct {
	Packs *rules.Packs
	// Version is the version whose paths are written if no path of any was seen.
	Version string
	// Platform adds the paths of Windows itself.
	Platform bool
	JSON     bool
	Width    int // 0 means 100
	Color    bool
}

// Sink collects records and writes the coverage on Close.
type Sink struct {
	w    io.Writer
	o    Options
	t    tally.Tally
	rows []Row
}

// New returns a sink that writes to w when it is closed.
func New(w io.Writer, o Options) *Sink {
	if o.Width <= 0 {
		o.Width = 100
	}
	s := &Sink{w: w, o: o}
	s.t.Options.Coverage = true
	return s
}

// Write counts r.
func (s *Sink) Write(r *record.Record) error {
	s.t.Add(r)
	return nil
}

// Rows returns the rows, after Close.
func (s *Sink) Rows() []Row { return s.rows }

// Close writes the coverage.
func (s *Sink) Close(sum *record.Summary) error {
	versions := s.versions(sum)
	if s.o.Platform {
		versions = append(versions, rules.Platform)
	}
	for _, version := range versions {
		for _, p := range s.o.Packs.Paths(version) {
			if !p.NotUsed {
				s.rows = append(s.rows, s.row(p, sum))
			}
		}
	}
	if s.o.JSON {
		enc := json.NewEncoder(s.w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(s.rows)
	}
	_, err := io.WriteString(s.w, s.text())
	return err
}

// versions returns the versions of which paths were seen or hosts are known, or
// Options.Version.
func (s *Sink) versions(sum *record.Summary) []string {
	known := map[string]bool{}
	for id := range s.t.ByPath {
		if p := s.o.Packs.Path(id); p != nil {
			known[p.Version] = true
		}
	}
	for i := range sum.Hosts {
		known[sum.Hosts[i].Version] = true
	}
	var list []string
	for _, v := range s.o.Packs.Versions() {
		if known[v] && len(s.o.Packs.Paths(v)) > 0 {
			list = append(list, v)
		}
	}
	if list == nil {
		list = []string{s.o.Version}
	}
	return list
}

func (s *Sink) row(p *rules.DataPath, sum *record.Summary) Row {
	r := Row{ID: p.ID, Exchange: p.Version, Table: p.Table, Name: p.Name, State: NotSeen}
	c := s.t.ByPath[p.ID]
	if q := s.better(p); c == nil && q != nil {
		c = s.t.ByPath[q.ID]
		r.Flows, r.Tied, r.First, r.Last, r.State = c.Flows, true, c.First, c.Last, Seen
		r.Why = "packets cannot tell it from " + q.Name + ", which is documented better"
		return r
	}
	if c == nil {
		if why := s.unobservable(p, sum); why != "" {
			r.State, r.Why = NotObservable, why
		}
		return r
	}
	r.Flows, r.Tied, r.First, r.Last, r.State = c.Flows, c.Tied == c.Flows, c.First, c.Last, Seen
	switch {
	case c.Blocked == c.Flows:
		r.State, r.Why = Blocked, fmt.Sprintf("%s, none made it: %s", text.Count(c.Flows, "attempt"), c.Outcome)
	case c.Deviating > 0:
		r.State = Deviating
		if c.Deviating < c.Flows {
			r.Why = fmt.Sprintf("%s of %s", text.Thousands(c.Deviating), text.Count(c.Flows, "flow"))
		}
		r.Why = strings.TrimPrefix(r.Why+"; "+strings.Join(c.Findings, ", "), "; ")
	}
	return r
}

// better returns a path that was seen in the group of p and explains the flows of
// p, because its document is better, or nil.
func (s *Sink) better(p *rules.DataPath) *rules.DataPath {
	if !p.LastResort() {
		return nil
	}
	for _, q := range s.o.Packs.Paths(p.Version) {
		if q.Group == p.Group && s.t.ByPath[q.ID] != nil && common(p.From, q.From) && common(p.To, q.To) {
			return q
		}
	}
	return nil
}

// covered returns a path with a better document that explains every flow of p, or
// nil.
func (s *Sink) covered(p *rules.DataPath) *rules.DataPath {
	if !p.LastResort() {
		return nil
	}
	for _, q := range s.o.Packs.Paths(p.Version) {
		if q.LastResort() || !common(p.From, q.From) || !common(p.To, q.To) {
			continue
		}
		if !slices.ContainsFunc(p.Legs, func(l rules.Leg) bool {
			return !slices.ContainsFunc(q.Legs, func(m rules.Leg) bool { return covers(&m, &l) })
		}) {
			return q
		}
	}
	return nil
}

// covers reports whether every flow of a leg is also one of another leg m.
func covers(m, l *rules.Leg) bool {
	if m.Reverse != l.Reverse || m.Protocol != l.Protocol || m.Port.Dynamic != l.Port.Dynamic || len(m.Either)+len(m.Without) > 0 ||
		m.Port.From != 0 && (l.Port.From == 0 || !m.Port.Contains(l.Port.From) || !m.Port.Contains(l.Port.To)) ||
		l.Port.TCP && !m.Port.TCP || l.Port.UDP && !m.Port.UDP {
		return false
	}
	for _, f := range m.Facts {
		i := slices.IndexFunc(l.Facts, func(g rules.Fact) bool { return g.Name == f.Name })
		if i < 0 || slices.ContainsFunc(l.Facts[i].Values, func(v string) bool { return !slices.Contains(f.Values, v) }) {
			return false
		}
	}
	return true
}

func common(a, b []rules.Role) bool {
	return slices.ContainsFunc(a, func(r rules.Role) bool { return slices.Contains(b, r) })
}

// hidden reports whether a capture of one direction may hide a path: no leg that
// carries the service has a TCP port by which either direction shows it. Announced
// ports and content are in one direction, and so may all packets of UDP be.
func hidden(p *rules.DataPath) bool {
	return !slices.ContainsFunc(p.Legs, func(l rules.Leg) bool {
		return l.Auth != rules.NotApplicable && l.Port.TCP && !l.Port.Dynamic && !l.ContentOnly && len(l.Facts)+len(l.Either) == 0
	}) || p.Conditions.NamesDecide
}

// unobservable returns why a path cannot be seen from where the capture was
// taken, or "". Of a capture in which no Exchange server takes part, nothing is
// known.
func (s *Sink) unobservable(p *rules.DataPath, sum *record.Summary) string {
	if s.t.Flows() == 0 {
		return ""
	}
	exchange := false
	roles := map[rules.Role]int{}
	for i := range sum.Hosts {
		host := map[rules.Role]bool{}
		for _, proof := range sum.Hosts[i].Roles {
			for role := range strings.SplitSeq(proof.Role, "|") {
				host[rules.Role(role)] = true
			}
		}
		for role := range host {
			exchange = exchange || role.Exchange()
			roles[role]++
		}
	}
	switch {
	case !exchange:
		return ""
	case p.Local:
		return "documented within one host only"
	case s.covered(p) != nil:
		return "its flows count as " + s.covered(p).Name + ", which is documented better"
	}
	for _, side := range [][]rules.Role{p.From, p.To} {
		if !inView(side, roles, s.t.Roles) {
			return "no host in view is " + strings.Join(names(side), " or ")
		}
	}
	// Two hosts of a role are needed for what is documented between its like.
	if len(p.From) == 1 && len(p.To) == 1 && p.From[0] == p.To[0] && p.From[0].Exchange() && roles[p.From[0]] == 1 {
		return "only one host in view is " + string(p.From[0])
	}
	if s.t.OneWay > s.t.Flows()/2 && hidden(p) {
		return "most flows were captured in one direction only, which may hide what shows it"
	}
	return ""
}

// inView reports whether a host has one of the roles. Roles that say where a host
// is, rather than what it does, are in view where a flow had such an end.
func inView(side []rules.Role, hosts map[rules.Role]int, ends map[string]bool) bool {
	return slices.ContainsFunc(side, func(r rules.Role) bool {
		return r == rules.Any || hosts[r] > 0 || ends[string(r)]
	})
}

func names(roles []rules.Role) []string {
	list := make([]string, len(roles))
	for i, r := range roles {
		list[i] = string(r)
	}
	return list
}

// text returns the rows for people, grouped by table.
func (s *Sink) text() string {
	var b strings.Builder
	var version string
	for start := 0; start < len(s.rows); {
		end := start
		for end < len(s.rows) && s.rows[end].Exchange == s.rows[start].Exchange {
			end++
		}
		rows := s.rows[start:end]
		if version != "" {
			b.WriteByte('\n')
		}
		version = rows[0].Exchange
		s.writeVersion(&b, version, rows)
		start = end
	}
	return b.String()
}

func (s *Sink) writeVersion(b *strings.Builder, version string, rows []Row) {
	n := map[State]int{}
	for i := range rows {
		n[rows[i].State]++
	}
	title := "Exchange " + version
	if version == rules.Platform {
		title = "Windows itself"
	}
	line := fmt.Sprintf("%s: %d of %d documented paths seen", title, n[Seen]+n[Deviating]+n[Blocked], len(rows))
	if n[Deviating] > 0 {
		line += fmt.Sprintf(", %d of them deviating", n[Deviating])
	}
	if n[Blocked] > 0 {
		line += fmt.Sprintf(", %d blocked", n[Blocked])
	}
	line += fmt.Sprintf("; %d not seen", n[NotSeen])
	if n[NotObservable] > 0 {
		line += fmt.Sprintf(", %d not observable from here", n[NotObservable])
	}
	b.WriteString(line + ".\n")
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Table, b.Table) })
	name := 0
	for i := range rows {
		name = max(name, len([]rune(rows[i].Name)))
	}
	// STATE, NAME, FLOWS, FIRST, LAST
	name = min(name, s.o.Width-14-2-7-2-8-2-8-2)
	table := "\x00"
	for i := range rows {
		r := &rows[i]
		if r.Table != table {
			table = r.Table
			heading := strings.ToUpper(strings.ReplaceAll(cmp.Or(table, "other"), "-", " "))
			fmt.Fprintf(b, "\n%-*s%7s  %-8s  %s\n", 14+name+4, heading, "FLOWS", "FIRST", "LAST")
		}
		s.writeRow(b, r, name)
	}
}

// writeRow writes one row, with why on the next line.
func (s *Sink) writeRow(b *strings.Builder, r *Row, name int) {
	state, style := strings.ReplaceAll(string(r.State), "-", " "), ""
	if r.State == Blocked || r.State == Deviating {
		state, style = strings.ToUpper(state), "31"
	}
	line := fmt.Sprintf("%-14s  %-*s", state, name, text.Printable(r.Name))
	if r.Flows > 0 {
		if len([]rune(line)) > 14+2+name {
			line += "\n" + strings.Repeat(" ", 14+2+name)
		}
		flows := text.Thousands(r.Flows)
		if r.Tied {
			flows = "~" + flows
		}
		line += fmt.Sprintf("  %7s  %s  %s", flows, r.First.UTC().Format("15:04:05"), r.Last.UTC().Format("15:04:05"))
	}
	line = strings.TrimRight(line, " ")
	if s.o.Color && style != "" {
		line = "\x1b[" + style + "m" + line + "\x1b[0m"
	}
	b.WriteString(line + "\n")
	if r.Why != "" {
		b.WriteString(strings.Repeat(" ", 16) + text.Printable(r.Why) + "\n")
	}
}

// Found returns the states of words that occur, with the number of their paths.
func (s *Sink) Found(words []string) []string {
	var found []string
	for _, w := range words {
		n := uint64(0)
		for i := range s.rows {
			if string(s.rows[i].State) == w {
				n++
			}
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%s for %s", w, text.Count(n, "path")))
		}
	}
	return found
}
