// Package table writes the report that a person reads: first what needs
// attention, the gravest first, then the data paths seen, then what was learned
// of hosts, and what could not be read.
//
// It keeps aggregates only, each capped, so that its memory does not grow with
// the number of flows. Its text is for people and may change from version to
// version; programs read the ndjson or csv output.
package table

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/glossary"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// Caps of what is kept, and of what is shown of it.
const (
	examples    = 2   // flows shown of one finding on one path
	allExamples = 100 // the same with Options.All
	maxShown    = 10  // services shown of one reason, protocols of unrelated flows
	maxLearned  = 50  // hosts, and endpoints
)

// DefaultWidth is the width of a report that goes to no terminal.
const DefaultWidth = 100

// Options say how the report looks.
type Options struct {
	// Width is the number of columns to fill at most; 0 means DefaultWidth.
	Width int
	// Color uses ANSI escape sequences.
	Color bool
	// All shows what is otherwise counted only: all examples that are kept,
	// tied data paths, unused endpoints.
	All bool
	// Title names the input; it may be empty.
	Title string
	// Version is the Exchange version that the operator named, with where; it may
	// be empty. Assumed is the one taken where traffic does not tell.
	Version, Assumed string
	// GroupName returns the name of a group of tied paths, or ""; nil for none.
	GroupName func(id string) string
}

// Sink collects records and writes the report on Close.
type Sink struct {
	w     io.Writer
	o     Options
	t     tally.Tally
	names map[netip.Addr]string
}

// New returns a sink that writes to w when it is closed.
func New(w io.Writer, o Options) *Sink {
	if o.Width <= 0 {
		o.Width = DefaultWidth
	}
	s := &Sink{w: w, o: o}
	s.t.Options.Examples = examples
	if o.All {
		s.t.Options.Examples = allExamples
	}
	return s
}

// Write counts r.
func (s *Sink) Write(r *record.Record) error {
	s.t.Add(r)
	return nil
}

// Close writes the report.
func (s *Sink) Close(sum *record.Summary) error {
	s.names = map[netip.Addr]string{}
	for i := range sum.Hosts {
		if h := &sum.Hosts[i]; h.Name != "" {
			s.names[h.Addr] = h.Name
		}
	}
	p := &printer{width: s.o.Width, color: s.o.Color}
	s.writeHead(p, sum)
	drops := neverCaptured(sum.Drops)
	s.writeSentence(p, sum, len(drops))
	s.writeFindings(p)
	s.writeBlocked(p, drops)
	s.writeUnexpected(p)
	s.writePaths(p)
	s.writeJoined(p)
	s.writeAccepted(p)
	s.writeRemarks(p)
	s.writeHosts(p, sum.Hosts)
	s.writeEndpoints(p, sum)
	s.writeDrops(p, sum.Drops)
	s.writeRest(p)
	if sum.LeftOut > 0 {
		p.gap()
		p.wrap(0, 4, "Windows' own traffic: "+text.Count(sum.LeftOut, "flow")+" left out (--no-platform)")
	}
	writeTrouble(p, sum)
	_, err := s.w.Write(p.b)
	return err
}

// host returns a host's name, or its address where it has none.
func (s *Sink) host(addr netip.Addr) string {
	return cmp.Or(s.names[addr], s.t.Name(addr), addr.String())
}

// end returns a host and a port.
func (s *Sink) end(a netip.AddrPort, proto uint8) string {
	name := s.host(a.Addr())
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if proto == capture.ESP { // which has no ports
		return name + "/" + text.Transport(proto)
	}
	return fmt.Sprintf("%s:%d/%s", name, a.Port(), text.Transport(proto))
}

// related returns the number of flows that an Exchange server takes part in, as
// far as is known.
func (s *Sink) related() uint64 { return s.t.Flows() - s.t.Of(record.Unrelated) }

func (s *Sink) writeHead(p *printer, sum *record.Summary) {
	line := text.Count(s.t.Flows(), "flow") + ", " + text.Count(sum.Packets, "packet") + ", " + text.Size(sum.IPBytes)
	if s.o.Title != "" {
		line = s.o.Title + ": " + line
	}
	if !sum.First.IsZero() {
		line += ", " + moment(sum.First) + " to " + after(sum.First, sum.Last) + " UTC (" + text.Span(sum.Last.Sub(sum.First)) + ")"
	}
	p.wrap(0, 0, line+"."+s.version(sum.Hosts))
	var parts []string
	for _, status := range []record.Status{record.Expected, record.Deviating, record.Unexpected, record.Undetermined, record.Unrelated} {
		if n := s.t.Of(status); n > 0 {
			parts = append(parts, text.Thousands(n)+" "+string(status))
		}
	}
	if len(parts) > 0 {
		p.wrap(0, 0, strings.Join(parts, ", ")+".")
	}
}

// version says which Exchange version is at hand, and how that is known.
func (s *Sink) version(hosts []record.HostSummary) string {
	if s.o.Version != "" {
		return " Exchange " + s.o.Version + "."
	}
	var proven []string
	assumed := false
	for i := range hosts {
		if !exchangeSeen(hosts[i : i+1]) {
			continue
		}
		if v := hosts[i].Version; v == "" {
			assumed = true
		} else if !slices.Contains(proven, v) {
			proven = append(proven, v)
		}
	}
	slices.Sort(proven)
	line := ""
	if len(proven) > 0 {
		line = " Exchange " + joinAnd(proven) + " (from traffic)."
	}
	if assumed && s.o.Assumed != "" {
		line += " Exchange " + s.o.Assumed + " is assumed where traffic does not tell; --exchange sets another."
	}
	return line
}

// writeSentence says in one sentence whether anything needs attention.
// drops is the number of flows of which every packet was dropped by the captured
// computer.
func (s *Sink) writeSentence(p *printer, sum *record.Summary, drops int) {
	p.gap()
	switch {
	case s.t.Flows() == 0 && drops == 0:
		p.styled(bold, "There is no flow.")
		return
	case s.related() == 0 || !exchangeSeen(sum.Hosts):
		s.writeNoExchange(p)
		if s.t.Attention == 0 && drops == 0 {
			return
		}
	case s.t.Attention == 0 && drops > 0:
	case s.t.Attention == 0 && s.t.Of(record.Undetermined) > 0:
		p.styled(bold, "No flow needs attention; "+text.Count(s.t.Of(record.Undetermined), "flow")+" could not be determined.")
		return
	case s.t.Attention == 0:
		p.styled(bold, "Nothing needs attention: no deviating, unexpected or blocked flow.")
		return
	}
	attention, flows := s.t.Attention+uint64(drops), s.t.Flows()+uint64(drops)
	verb := "need"
	if attention == 1 {
		verb = "needs"
	}
	line := fmt.Sprintf("%s of %s %s attention", text.Thousands(attention), text.Count(flows, "flow"), verb)
	var parts []string
	for _, g := range s.groups() {
		parts = append(parts, text.Thousands(g.flows)+" "+g.entry.Clause)
	}
	var blocked uint64
	for _, b := range s.t.Blocked.All() {
		blocked += b.Flows
	}
	if blocked += uint64(drops); blocked > 0 {
		parts = append(parts, text.Thousands(blocked)+" blocked")
	}
	if n := s.t.Of(record.Unexpected); n > 0 {
		parts = append(parts, text.Thousands(n)+" unexpected")
	}
	p.bold(line + ": " + strings.Join(parts, ", ") + ".")
}

// exchangeSeen reports whether a host has a role that only Exchange servers
// have.
func exchangeSeen(hosts []record.HostSummary) bool {
	for i := range hosts {
		for _, r := range hosts[i].Roles {
			for role := range strings.SplitSeq(r.Role, "|") {
				if rules.Role(role).Exchange() {
					return true
				}
			}
		}
	}
	return false
}

// writeNoExchange says what to do where no Exchange server was recognised.
func (s *Sink) writeNoExchange(p *printer) {
	p.styled(bold, "No Exchange server was recognised.")
	servers := map[netip.Addr][]string{}
	for _, m := range s.t.MailLike.All() {
		port := fmt.Sprintf("%d/%s", m.Server.Port(), text.Transport(m.Proto))
		if l := servers[m.Server.Addr()]; !slices.Contains(l, port) {
			servers[m.Server.Addr()] = append(l, port)
		}
	}
	if len(servers) == 0 {
		p.wrap(0, 0, "If hosts here are Exchange servers, name them in a site file (--site); exspan site infer begins one.")
		return
	}
	var parts []string
	for _, a := range sortedAddrs(servers) {
		slices.Sort(servers[a])
		if len(parts) == maxShown {
			parts = append(parts, fmt.Sprintf("%d more", len(servers)-maxShown))
			break
		}
		parts = append(parts, s.host(a)+" ("+strings.Join(servers[a], ", ")+")")
	}
	p.wrap(0, 0, "Mail protocols were seen at "+joinAnd(parts)+". If these are Exchange servers, name them in a site file (--site); "+
		"exspan site infer begins one.")
}

// group is one finding on all its paths.
type group struct {
	id    record.FindingID
	level record.Level
	entry *glossary.Entry
	flows uint64
	paths []string // labels, sorted
}

// groups returns the violations, the gravest first. Connections that a firewall
// rejected are shown as blocked.
func (s *Sink) groups() []*group {
	return slices.DeleteFunc(s.groupsOf(record.Violation), func(g *group) bool { return g.id == record.FindingProhibited })
}

func (s *Sink) groupsOf(level record.Level) []*group {
	byID := map[record.FindingID]*group{}
	var list []*group
	for k, f := range s.t.Findings.All() {
		if f.Level != level {
			continue
		}
		g := byID[k.ID]
		if g == nil {
			g = &group{id: k.ID, level: level, entry: glossary.OfFinding(k.ID)}
			byID[k.ID] = g
			list = append(list, g)
		}
		g.flows += f.Flows
		g.paths = append(g.paths, k.Path)
	}
	for _, g := range list {
		slices.Sort(g.paths)
		g.entry = s.narrowed(g)
	}
	slices.SortFunc(list, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.entry.Severity, b.entry.Severity), cmp.Compare(a.id, b.id))
	})
	return list
}

// narrowed returns the entry of a group; that of weak authentication names
// passwords alone where nothing else was found.
func (s *Sink) narrowed(g *group) *glossary.Entry {
	if g.id != record.FindingWeakAuth {
		return g.entry
	}
	for _, label := range g.paths {
		for _, d := range s.t.Findings.Get(tally.FindingKey{ID: g.id, Path: label, Level: g.level}).Details {
			if !strings.HasSuffix(d.Name, inClear) {
				return g.entry
			}
		}
	}
	e := *g.entry
	e.Title, e.Clause = "Passwords in the clear", "with passwords in the clear"
	return &e
}

// pathName returns the name of a data path; tied paths go by the name of their
// group.
func (s *Sink) pathName(label string, p *rules.DataPath) string {
	return tally.PathName(label, p, s.o.GroupName)
}

// protocolName returns a protocol's name in words.
func protocolName(protocol string) string { return cmp.Or(protocol, "not recognised") }

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// after is t, without its date if that is the date of start.
func after(start, t time.Time) string {
	line := moment(t)
	if day := moment(start)[:len("2006-01-02 ")]; strings.HasPrefix(line, day) {
		return line[len(day):]
	}
	return line
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func sortedAddrs[V any](m map[netip.Addr]V) []netip.Addr {
	keys := make([]netip.Addr, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, netip.Addr.Compare)
	return keys
}
