// Package report writes what a run shows as one page: HTML for a browser and for paper, or
// Markdown for a ticket.
//
// The page needs nothing but itself: its style and its script are in it, and a content
// security policy forbids everything else. What was read from the wire is text in it and
// never markup. Each table is bounded, and says how many rows were left out and which
// command lists them, so that a page of any capture can be opened.
package report

import (
	"cmp"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/brief"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// The caps of what a page shows.
const (
	maxRows  = 250 // rows of a table
	maxFlows = 250 // flows of one state
	examples = 5   // hosts and ports of one finding on one path
	maxOpen  = 40  // rows of a table that is shown without being asked for
	maxPaper = 120 // rows of a table that is printed without being opened

	maxWhere   = 9 // paths and documents that a problem names
	maxSources = 3
)

// Format is a form of the page.
type Format string

// The forms of the page.
const (
	HTML     Format = "html"
	Markdown Format = "md"
)

// Formats returns all forms.
func Formats() []Format { return []Format{HTML, Markdown} }

// Drawer returns the diagram of a Model as SVG, which is put into the page as it is. The
// link that it is given returns where the arrow with a number leads, which stands for some
// edges, or "".
type Drawer func(m *model.Model, link func(number int, edges []*model.Edge) string) ([]byte, error)

// Options say what is known of the run, and how it is written.
type Options struct {
	Packs  *rules.Packs
	Format Format
	// Title names the input.
	Title string
	// Version is the Exchange version that the operator named, with where ("2010 (site
	// file)"); it may be empty. Assumed is the one taken where traffic does not tell.
	Version, Assumed string
	// Input is what stands for the input in the commands that a page names: the names of
	// files, quoted for a shell.
	Input string
	// Diagram draws the diagram; nil for a page without.
	Diagram Drawer
	// KeepLast keeps the last flows that need attention where there are too many, and not
	// the first.
	KeepLast bool
}

// Sink collects records and writes the page on Close.
type Sink struct {
	w     io.Writer
	o     Options
	m     *model.Builder
	lines map[string]*timeline // by label of a path
	flows [len(kinds)][]flow
	more  [len(kinds)]uint64 // those without a place in flows
}

// kinds are the states of flows that need attention, in the order of Sink.flows.
var kinds = [...]model.State{model.Unexpected, model.Blocked, model.Deviating}

// flow is a flow that needs attention.
type flow struct {
	first          time.Time
	client, server netip.AddrPort
	proto          uint8
	name, why, id  string
	outcome        record.Outcome
	findings       []string
}

// New returns a Sink that writes to w when it is closed.
func New(w io.Writer, o Options) *Sink {
	o.Input = text.Printable(cmp.Or(o.Input, "FILE"))
	return &Sink{w: w, o: o, lines: map[string]*timeline{},
		m: model.New(model.Options{Packs: o.Packs, Version: o.Assumed, Examples: examples})}
}

// Clone returns a Sink that knows what s has taken in so far and writes to w. It is there
// to be closed, for a page while s goes on.
func (s *Sink) Clone(w io.Writer) *Sink {
	c := &Sink{w: w, o: s.o, m: s.m.Clone(), lines: make(map[string]*timeline, len(s.lines)), more: s.more}
	for label, l := range s.lines {
		copied := *l
		c.lines[label] = &copied
	}
	for i := range s.flows {
		c.flows[i] = slices.Clone(s.flows[i])
	}
	return c
}

// Reload replaces Options.Packs and Options.Diagram.
func (s *Sink) Reload(packs *rules.Packs, diagram Drawer) { s.o.Packs, s.o.Diagram = packs, diagram }

// Write counts r.
func (s *Sink) Write(r *record.Record) error {
	if err := s.m.Write(r); err != nil {
		return err
	}
	if r.State == "active" {
		return nil // the last record of the flow counts
	}
	if label := tally.Label(&r.Verdict); label != "" {
		l := s.lines[label]
		if l == nil && len(s.lines) < tally.MaxKept {
			l = &timeline{}
			s.lines[strings.Clone(label)] = l
		}
		if l != nil {
			l.add(r.First, r.Last, r.Bytes[0]+r.Bytes[1])
		}
	}
	s.keep(r)
	return nil
}

// keep keeps a flow that needs attention, if there is a place for it.
func (s *Sink) keep(r *record.Record) {
	v := &r.Verdict
	kind := 0
	switch {
	case v.Status == record.Unexpected:
	case v.Path != nil && r.Outcome.Blocked():
		kind = 1
	case v.Status == record.Deviating:
		kind = 2
	default:
		return
	}
	full := len(s.flows[kind]) >= maxFlows
	if full {
		s.more[kind]++
		if !s.o.KeepLast {
			return
		}
	}
	f := flow{first: r.First, client: netip.AddrPortFrom(r.Client.Addr, r.Client.Port), server: netip.AddrPortFrom(r.Server.Addr, r.Server.Port), proto: r.Proto,
		name: strings.Clone(cmp.Or(r.Protocol, "not recognised")), why: strings.Clone(v.Why), id: r.CommunityID(), outcome: r.Outcome}
	if v.Path != nil {
		f.name = tally.PathName(tally.Label(v), v.Path, s.o.Packs.GroupName)
	}
	for i := range v.Findings {
		if x := &v.Findings[i]; x.Level == record.Violation && !slices.Contains(f.findings, string(x.ID)) {
			f.findings = append(f.findings, string(x.ID))
		}
	}
	if full {
		s.flows[kind][(s.more[kind]-1)%maxFlows] = f // the oldest
		return
	}
	s.flows[kind] = append(s.flows[kind], f)
}

// Close writes the page.
func (s *Sink) Close(sum *record.Summary) error {
	p, err := s.page(sum, nil)
	if err != nil {
		return err
	}
	if s.o.Format == Markdown {
		return p.markdown(s.w)
	}
	return p.html(s.w)
}

// page makes the page; l is nil for a report.
func (s *Sink) page(sum *record.Summary, l *Live) (*page, error) {
	if err := s.m.Close(sum); err != nil {
		return nil, err
	}
	b := &builder{o: &s.o, sink: s, m: s.m.Model(), t: s.m.Tally(), sum: sum, names: map[netip.Addr]string{}, live: l}
	for _, h := range b.m.Hosts {
		if h.Name != "" {
			b.names[h.Addr] = h.Name
		}
	}
	for i := range sum.Hosts {
		if h := &sum.Hosts[i]; h.Name != "" {
			b.names[h.Addr] = h.Name
		}
	}
	return b.page()
}

// builder makes a page.
type builder struct {
	o     *Options
	sink  *Sink
	m     *model.Model
	t     *tally.Tally
	sum   *record.Summary
	names map[netip.Addr]string
	live  *Live // nil for a report
}

// page makes the page.
func (b *builder) page() (*page, error) {
	p := &page{Kind: kindReport, Title: text.Printable(cmp.Or(b.o.Title, "Exchange traffic"))}
	b.head(p)
	p.Problems = b.problems()
	edges, link := b.edges()
	if b.o.Diagram != nil && len(b.m.Edges) > 0 {
		svg, err := b.o.Diagram(b.m, link)
		if err != nil {
			return nil, err
		}
		p.setDiagram(svg)
	}
	flows := b.flowTable()
	if b.live != nil {
		flows = b.live.table(b.o.Packs, "Flows")
		p.Kind, p.Live = kindLive, b.live.head()
	}
	for _, t := range []*table{b.matrix(), b.hosts(), b.paths(), b.findings(), b.unexpected(), b.blocked(), b.endpoints(), b.coverage(), b.calls(),
		edges, flows, b.live.sensors()} {
		if t != nil && (len(t.Rows) > 0 || t.Empty != "") {
			t.Fold = t.Fold || len(t.Rows) > maxOpen
			p.Tables = append(p.Tables, t)
		}
	}
	p.NotShown = b.notShown()
	return p, nil
}

// head makes what stands before everything else.
func (b *builder) head(p *page) {
	sum := b.sum
	line := text.Count(b.t.Flows(), "flow") + ", " + text.Count(sum.Packets, "packet") + ", " + text.Size(sum.IPBytes)
	if !sum.First.IsZero() {
		line += ", " + text.Moment(sum.First) + " to " + text.After(sum.First, sum.Last) + " UTC (" + text.Span(sum.Last.Sub(sum.First)) + ")"
	}
	p.Facts = text.Printable(line + "." + brief.Versions(b.o.Version, b.o.Assumed, sum.Hosts))
	drops := len(brief.NeverCaptured(sum.Drops))
	none := !brief.ExchangeSeen(sum.Hosts) || b.t.Flows() == b.t.Of(record.Unrelated)
	p.Sentence = brief.Attention(b.t, drops)
	switch {
	case b.t.Flows() == 0 && drops == 0:
		p.Sentence = "There is no flow."
	case none:
		p.Advice = append(p.Advice, text.Printable(brief.NameServers(b.t, b.host)))
		p.Sentence = strings.TrimSpace(brief.NoExchange + " " + p.Sentence)
	case p.Sentence == "":
		p.Sentence, p.Calm = brief.Calm(b.t), true
	}
	for _, c := range []struct {
		status record.Status
		state  model.State
	}{{record.Unexpected, model.Unexpected}, {record.Deviating, model.Deviating}, {record.Undetermined, model.Undetermined}, {record.Expected, "expected"},
		{record.Unrelated, "unrelated"}} {
		p.Counts = append(p.Counts, count{text.Thousands(b.t.Of(c.status)), badge(c.state), b.t.Of(c.status) > 0})
	}
}

// host returns a host's name, or its address where it has none.
func (b *builder) host(addr netip.Addr) string {
	return text.Printable(cmp.Or(b.names[addr], b.t.Name(addr), addr.String()))
}
