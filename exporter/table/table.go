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
	"io"
	"net/netip"
	"strings"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/brief"
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

// CountUnrelated implements record.Counter.
func (s *Sink) CountUnrelated() func(flows, packets, bytes uint64) { return s.t.AddUnrelated }

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
	drops := brief.NeverCaptured(sum.Drops)
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
	return text.End(s.host(a.Addr()), a.Port(), proto)
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
		line += ", " + text.Moment(sum.First) + " to " + text.After(sum.First, sum.Last) + " UTC (" + text.Span(sum.Last.Sub(sum.First)) + ")"
	}
	p.wrap(0, 0, line+"."+brief.Versions(s.o.Version, s.o.Assumed, sum.Hosts))
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

// writeSentence says in one sentence whether anything needs attention.
// drops is the number of flows of which every packet was dropped by the captured
// computer.
func (s *Sink) writeSentence(p *printer, sum *record.Summary, drops int) {
	p.gap()
	switch {
	case s.t.Flows() == 0 && drops == 0:
		p.styled(bold, "There is no flow.")
		return
	case s.related() == 0 || !brief.ExchangeSeen(sum.Hosts):
		p.styled(bold, brief.NoExchange)
		p.wrap(0, 0, brief.NameServers(&s.t, s.host))
		if s.t.Attention == 0 && drops == 0 {
			return
		}
	case s.t.Attention == 0 && drops > 0:
	case s.t.Attention == 0:
		p.styled(bold, brief.Calm(&s.t))
		return
	}
	p.bold(brief.Attention(&s.t, drops))
}

// pathName returns the name of a data path; tied paths go by the name of their
// group.
func (s *Sink) pathName(label string, p *rules.DataPath) string {
	return tally.PathName(label, p, s.o.GroupName)
}

// protocolName returns a protocol's name in words.
func protocolName(protocol string) string { return cmp.Or(protocol, "not recognised") }
