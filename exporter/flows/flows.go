// Package flows writes one line per flow, in columns, or one paragraph per pair of hosts,
// for people. Its text may change from version to version. Programs should read the
// NDJSON or CSV output.
package flows

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
)

// The sort keys of flows.
const (
	ByTime   = "time"
	ByBytes  = "bytes"
	ByClient = "client"
	ByServer = "server"
	ByPath   = "path"
	ByStatus = "status"
)

// Keys returns the valid values of Options.Sort.
func Keys() []string { return []string{ByTime, ByBytes, ByClient, ByServer, ByPath, ByStatus} }

// minPath is how many columns the name of a path has at least.
const minPath = 20

// sizing is the number of flows that determine the widths of the columns.
const sizing = 1000

// Options determines what is written and how it looks.
type Options struct {
	// Width is the width of the output in columns; 0 means 100.
	Width int
	Color bool
	// Sort is one of Keys, or "" for the order of the records.
	Sort string
	// Follow makes the columns wide enough for flows that are yet to come; see Flush.
	Follow bool
	// Sensors adds the name of the sensor of each flow to its time.
	Sensors bool
	// Pairs groups flows by client and server.
	Pairs bool
	// MaxMemory limits the memory for sorting and grouping, in bytes; 0 means 256 MiB.
	// Flows that do not fit are counted.
	MaxMemory int
	// GroupName returns the name of a group of tied paths, or "". It may be nil.
	GroupName func(id string) string
}

// Sink writes flows.
type Sink struct {
	w io.Writer
	o Options

	rows    []row
	held    int
	dropped uint64
	pairs   map[pairKey]*pairRows
	layout  *layout
	line    []byte
}

// row holds the columns of a flow.
type row struct {
	first            time.Time
	sensor           string
	client, server   record.Host
	proto            uint8
	protocol, path   string
	status           record.Status
	findings, reason string
	bytes            uint64
	flows            uint64
}

// usual is a row as wide as most are.
var usual = row{
	client:   record.Host{Addr: netip.AddrFrom4([4]byte{192, 168, 100, 100}), Port: 50000},
	server:   record.Host{Addr: netip.AddrFrom4([4]byte{192, 168, 100, 100}), Port: 6001},
	protocol: "kerberos", path: "Mailbox server to Mailbox server", status: record.Unexpected, findings: "no-path",
}

// New returns a sink that writes to w.
func New(w io.Writer, o Options) *Sink {
	if o.Width <= 0 {
		o.Width = 100
	}
	if o.MaxMemory <= 0 {
		o.MaxMemory = 256 << 20
	}
	return &Sink{w: w, o: o, pairs: map[pairKey]*pairRows{}}
}

// Write writes r, or holds it if flows are sorted or grouped.
func (s *Sink) Write(r *record.Record) error {
	if r.State == "active" {
		return nil
	}
	x := s.newRow(r)
	if s.o.Pairs {
		s.pair(x)
		return nil
	}
	if s.layout != nil {
		return s.write(&x)
	}
	n := x.memory()
	if s.held+n > s.o.MaxMemory {
		s.dropped++
		return nil
	}
	s.held += n
	s.rows = append(s.rows, x)
	if s.o.Sort == "" && len(s.rows) == sizing {
		return s.flush()
	}
	return nil
}

// memory returns the approximate memory of a row in bytes.
func (x *row) memory() int {
	return 336 + len(x.sensor) + len(x.client.Name) + len(x.server.Name) + len(x.findings) + len(x.protocol)
}

func (s *Sink) newRow(r *record.Record) row {
	v := &r.Verdict
	x := row{
		first: r.First, proto: r.Proto, protocol: r.Protocol, status: v.Status, reason: string(v.Reason),
		client: record.Host{Addr: r.Client.Addr, Port: r.Client.Port, Name: strings.Clone(r.Client.Name)},
		server: record.Host{Addr: r.Server.Addr, Port: r.Server.Port, Name: strings.Clone(r.Server.Name)},
		bytes:  r.Bytes[observe.ToServer] + r.Bytes[observe.ToClient], flows: 1,
	}
	if s.o.Sensors && r.Sensor != "" {
		x.sensor = " " + r.Sensor
	}
	if label := tally.Label(v); label != "" {
		x.path = tally.PathName(label, v.Path, s.o.GroupName)
	} else if v.Status == record.Expected {
		x.path = v.Why // allowed by the site file
	}
	ids := make([]string, 0, len(v.Findings)+1)
	if v.Reason != "" {
		ids = append(ids, string(v.Reason))
	}
	for i := range v.Findings {
		if id := string(v.Findings[i].ID); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if o := string(r.Outcome); r.Outcome.Blocked() && !slices.Contains(ids, o) {
		ids = append(ids, o)
	}
	x.findings = strings.Join(ids, ", ")
	return x
}

// host returns the name of a host, or its address.
func host(h *record.Host) string { return cmp.Or(h.Name, h.Addr.String()) }

func end(h *record.Host) string { return text.HostPort(host(h), h.Port) }

// statusText returns a status, in capitals if it needs attention.
func statusText(s record.Status) string {
	if s == record.Deviating || s == record.Unexpected {
		return strings.ToUpper(string(s))
	}
	return string(s)
}

// layout holds the widths of the columns. The last column has none.
type layout struct {
	wide     bool // the client's port and the bytes are shown
	protocol bool
	path     int  // the longest name of a path, or 0
	below    bool // findings take a line of their own, below
	columns  int  // of a line
	width    []int
}

var titles = []string{"TIME", "CLIENT", "SERVER", "PROTOCOL", "PATH", "STATUS", "BYTES", "FINDINGS"}

// cells returns the columns of a row.
func (l *layout) cells(x *row) []string {
	client, bytes, protocol, path, findings := host(&x.client), "", "", cmp.Or(x.path, "-"), x.findings
	if l.wide {
		client, bytes = end(&x.client), text.Size(x.bytes)
	}
	if l.protocol {
		protocol = cmp.Or(x.protocol, "-")
	}
	if l.below {
		findings = ""
	}
	if r := []rune(path); l.path > 0 && len(r) > l.path {
		path = string(r[:l.path-3]) + "..."
	}
	return []string{x.first.UTC().Format("15:04:05") + x.sensor, client, end(&x.server) + "/" + capture.ProtoName(x.proto), protocol, path,
		statusText(x.status), bytes, findings}
}

// fit returns a layout for rows: with all columns if they fit into width, else
// without the client's port and the bytes, else also without the protocol, with
// long names of paths cut, and if need be with findings on lines of their own.
func fit(rows []row, width int) *layout {
	for _, l := range []*layout{{wide: true, protocol: true}, {protocol: true}} {
		if l.measure(rows) <= width {
			return l
		}
	}
	l := &layout{columns: width}
	over := l.measure(rows) - width
	if over > 0 && l.width[4]-over < minPath {
		l.below = true
		over = l.measure(rows) - width
	}
	if over > 0 {
		l.path = max(l.width[4]-over, minPath)
		l.measure(rows)
	}
	return l
}

// measure sets the widths for rows and returns the length of the longest line.
func (l *layout) measure(rows []row) int {
	l.width = make([]int, len(titles))
	for i, t := range l.titles() {
		l.width[i] = len(t)
	}
	l.width[len(l.width)-1] = 0
	longest := 0
	for i := range rows {
		cells := l.cells(&rows[i])
		last := len(cells) - 1
		for j, c := range cells[:last] {
			l.width[j] = max(l.width[j], utf8.RuneCountInString(c))
		}
		longest = max(longest, utf8.RuneCountInString(cells[last]))
	}
	total := longest
	if longest == 0 {
		total = -2
	}
	for _, w := range l.width {
		if w > 0 {
			total += w + 2
		}
	}
	return total
}

// titles returns the headings. Those of omitted columns are empty.
func (l *layout) titles() []string {
	t := slices.Clone(titles)
	if !l.protocol {
		t[3] = ""
	}
	if !l.wide {
		t[6] = ""
	}
	if l.below {
		t[7] = ""
	}
	return t
}

// flush writes the rows that are held.
func (s *Sink) flush() error {
	sortRows(s.rows, s.o.Sort)
	sample := s.rows
	if s.o.Follow {
		sample = append(slices.Clone(s.rows), usual)
	}
	s.layout = fit(sample, s.o.Width)
	if len(s.rows) > 0 {
		if err := s.writeCells(s.layout.titles(), "1"); err != nil {
			return err
		}
	}
	for i := range s.rows {
		if err := s.write(&s.rows[i]); err != nil {
			return err
		}
	}
	s.rows = nil
	return nil
}

func (s *Sink) write(x *row) error {
	if err := s.writeCells(s.layout.cells(x), style(x.status)); err != nil || !s.layout.below || x.findings == "" {
		return err
	}
	var b strings.Builder
	for _, l := range text.Wrap(text.Printable(x.findings), s.layout.columns, 10, 10) {
		b.WriteString(s.paint(l, style(x.status)) + "\n")
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}

// paint returns a line in a style.
func (s *Sink) paint(line, style string) string {
	if !s.o.Color || style == "" {
		return line
	}
	return "\x1b[" + style + "m" + line + "\x1b[0m"
}

// style returns the colour of a status. The word is also in capitals.
func style(status record.Status) string {
	if status == record.Deviating || status == record.Unexpected {
		return "31"
	}
	return ""
}

func (s *Sink) writeCells(cells []string, style string) error {
	b := s.line[:0]
	if s.o.Color && style != "" {
		b = append(b, "\x1b["+style+"m"...)
	}
	from := len(b)
	for i, c := range cells {
		w := s.layout.width[i]
		if w == 0 && i < len(cells)-1 {
			continue
		}
		c = text.Printable(c)
		if len(b) > from {
			b = append(b, "  "...)
		}
		pad := max(w-utf8.RuneCountInString(c), 0)
		if titles[i] == "BYTES" {
			b = append(b, strings.Repeat(" ", pad)...)
			pad = 0
		}
		b = append(b, c...)
		if i < len(cells)-1 {
			b = append(b, strings.Repeat(" ", pad)...)
		}
	}
	for len(b) > from && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if s.o.Color && style != "" {
		b = append(b, "\x1b[0m"...)
	}
	s.line = append(b, '\n')
	_, err := s.w.Write(s.line)
	return err
}

// Flush writes the rows that are held to determine the widths of the columns. Rows that
// follow have these widths.
func (s *Sink) Flush() error {
	if s.layout != nil || len(s.rows) == 0 || s.o.Pairs {
		return nil
	}
	return s.flush()
}

// Close writes all rows that are held.
func (s *Sink) Close(*record.Summary) error {
	var err error
	switch {
	case s.o.Pairs:
		err = s.writePairs()
	case s.layout == nil:
		err = s.flush()
	}
	if err == nil && s.dropped > 0 {
		_, err = fmt.Fprintf(s.w, "and %d more flows, for which there was no room; --max-memory sets it\n", s.dropped)
	}
	return err
}

// sortRows sorts rows by a key. Rows with equal keys keep their order.
func sortRows(rows []row, key string) {
	var less func(a, b *row) int
	byAddr := func(a, b *record.Host) int {
		return cmp.Or(cmp.Compare(host(a), host(b)), a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port))
	}
	switch key {
	case ByTime:
		less = func(a, b *row) int { return a.first.Compare(b.first) }
	case ByBytes:
		less = func(a, b *row) int { return cmp.Compare(b.bytes, a.bytes) }
	case ByClient:
		less = func(a, b *row) int { return cmp.Or(byAddr(&a.client, &b.client), byAddr(&a.server, &b.server)) }
	case ByServer:
		less = func(a, b *row) int { return cmp.Or(byAddr(&a.server, &b.server), byAddr(&a.client, &b.client)) }
	case ByPath:
		less = func(a, b *row) int { return cmp.Compare(a.path, b.path) }
	case ByStatus:
		less = func(a, b *row) int {
			return cmp.Compare(slices.Index(record.Statuses(), a.status), slices.Index(record.Statuses(), b.status))
		}
	default:
		return
	}
	slices.SortStableFunc(rows, func(a, b row) int { return less(&a, &b) })
}

type pairKey struct{ client, server netip.Addr }

// pairRows holds the flows of two hosts. Similar flows are counted together.
type pairRows struct {
	rows  []row
	index map[likeKey]int
	bytes uint64
	flows uint64
}

type likeKey struct {
	port           uint16
	proto          uint8
	path, findings string
	status         record.Status
	protocol       string
}

func (s *Sink) pair(x row) {
	k := pairKey{x.client.Addr, x.server.Addr}
	p := s.pairs[k]
	if p == nil {
		if s.held+256 > s.o.MaxMemory {
			s.dropped++
			return
		}
		s.held += 256
		p = &pairRows{index: map[likeKey]int{}}
		s.pairs[k] = p
	}
	like := likeKey{x.server.Port, x.proto, x.path, x.findings, x.status, x.protocol}
	i, ok := p.index[like]
	if !ok {
		if s.held+2*x.memory() > s.o.MaxMemory {
			s.dropped++
			return
		}
		s.held += 2 * x.memory()
		p.index[like] = len(p.rows)
		p.rows = append(p.rows, x)
		p.bytes, p.flows = p.bytes+x.bytes, p.flows+1
		return
	}
	o := &p.rows[i]
	o.flows++
	o.bytes += x.bytes
	if x.first.Before(o.first) {
		o.first = x.first
	}
	p.bytes, p.flows = p.bytes+x.bytes, p.flows+1
}

// writePairs writes one paragraph per pair of hosts.
func (s *Sink) writePairs() error {
	list := make([]*pairRows, 0, len(s.pairs))
	for _, p := range s.pairs {
		if len(p.rows) > 0 {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *pairRows) int { return comparePairs(a, b, s.o.Sort) })
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte('\n')
		}
		first := &p.rows[0]
		head := fmt.Sprintf("%s > %s  %s, %s", host(&first.client), host(&first.server), text.Count(p.flows, "flow"), text.Size(p.bytes))
		b.WriteString(s.paint(text.Printable(head), "1") + "\n")
		sortRows(p.rows, ByPath)
		for j := range p.rows {
			x := &p.rows[j]
			line := fmt.Sprintf("    %-10s %-9s %-12s %s", fmt.Sprintf("%d/%s", x.server.Port, capture.ProtoName(x.proto)), cmp.Or(x.protocol, "-"),
				statusText(x.status), cmp.Or(x.path, "-"))
			if x.flows > 1 {
				line += "  " + text.Count(x.flows, "flow")
			}
			if x.findings != "" {
				line += "  " + x.findings
			}
			for _, l := range text.Wrap(text.Printable(line), s.o.Width, 0, 8) {
				b.WriteString(s.paint(l, style(x.status)) + "\n")
			}
		}
		if b.Len() > 1<<16 {
			if _, err := io.WriteString(s.w, b.String()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}

func comparePairs(a, b *pairRows, key string) int {
	x, y := &a.rows[0], &b.rows[0]
	names := cmp.Or(cmp.Compare(host(&x.client), host(&y.client)), cmp.Compare(host(&x.server), host(&y.server)),
		x.client.Addr.Compare(y.client.Addr), x.server.Addr.Compare(y.server.Addr))
	switch key {
	case ByBytes:
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), names)
	case ByTime:
		return cmp.Or(x.first.Compare(y.first), names)
	case ByServer:
		return cmp.Or(cmp.Compare(host(&x.server), host(&y.server)), names)
	}
	return names
}
