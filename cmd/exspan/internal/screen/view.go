package screen

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/glossary"
	"github.com/exspan/exspan/exporter/recent"
	"github.com/exspan/exspan/exporter/text"
)

// view is what of the state is shown, and how.
type view struct {
	state  State
	width  int
	height int // 0 for no limit
	color  bool
	keys   bool // the terminal has keys, so a line tells them

	sort     int // into sortKeys
	filter   string
	typing   bool // the filter is being typed
	paused   bool
	help     bool
	selected string // label

	path     string // label of the path whose flows are shown, or empty
	flows    []recent.Flow
	flowsErr error
	flow     string // Community ID of the selected flow
}

// The styles, as parameters of SGR (ECMA-48, section 8.3.117). Each of them comes
// with a word or a sign, so that nothing is told by colour alone.
const (
	bold    = "1"
	reverse = "7"
	red     = "31"
	yellow  = "33"
)

func (v *view) paint(style, s string) string {
	if !v.color || style == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// rows returns the rows that pass the filter, sorted.
func (v *view) rows() []Row {
	var rows []Row
	for i := range v.state.Rows {
		if v.state.Rows[i].matches(v.filter) {
			rows = append(rows, v.state.Rows[i])
		}
	}
	sortRows(rows, sortKeys[v.sort])
	return rows
}

// lines draws the picture.
func (v *view) lines() []string {
	var lines []string
	switch {
	case v.help:
		lines = v.helpLines()
	case v.path != "":
		lines = v.flowLines()
	default:
		lines = v.pathLines()
	}
	if v.keys && v.height > 0 {
		for len(lines) < v.height-1 {
			lines = append(lines, "")
		}
		lines = append(lines[:v.height-1], v.keyLine())
	}
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, v.width, "")
	}
	return lines
}

// keyLine tells the keys.
func (v *view) keyLine() string {
	switch {
	case v.typing:
		return v.paint(bold, cut("/"+v.filter+"_", v.width-30)) + "  enter keeps, esc clears"
	case v.help:
		return "any key: back"
	case v.path != "":
		return cut("esc back  up/down choose  p pause  ? help  q quit", v.width)
	}
	line := "q quit  ? help  enter flows  s sort: " + sortKeys[v.sort] + "  / filter  p pause"
	if v.filter != "" {
		line = "filter: " + v.filter + " (esc clears)  " + line
	}
	return cut(line, v.width)
}

func (v *view) helpLines() []string {
	return []string{
		v.paint(bold, "exspan top"), "",
		"up, down, k, j   choose a path or a flow; page up and down, home, end too",
		"enter            the flows and findings of the path",
		"esc, backspace   back; clears the filter",
		"s, S             sort by the next key, by the one before: attention, rate,",
		"                 flows, last seen, name",
		"/                show paths with a text in their name, id or findings",
		"p, space         pause, and go on",
		"q, ctrl-c        quit", "",
		"LIVE        flows that go on; FLOWS are those that ended",
		"DEV         deviating: on a documented path, not used as documented",
		"UNEXP       unexpected: no documented path explains the flow",
		"BLOCK       blocked: refused, prohibited or never answered",
		"All three count flows from the moment they are judged, even if later traffic",
		"may still explain them. exspan glossary explains findings and reasons.",
	}
}

// head is the part above: the sensors and what needs attention.
func (v *view) head() []string {
	s := &v.state
	title := strings.TrimSpace("exspan " + s.Version)
	title += "  " + s.At.Format("15:04:05")
	if v.paused {
		title += "  PAUSED"
	}
	lines := []string{v.paint(bold, title)}
	for i := range s.Sensors {
		x := &s.Sensors[i]
		if x.Err != nil {
			for _, l := range wrap(x.Name+" DOES NOT ANSWER: "+x.Err.Error(), v.width) {
				lines = append(lines, v.paint(red, l))
			}
			continue
		}
		line := fmt.Sprintf("%s/s  %s packets/s", inBytes(x.Bytes), inCount(x.Packets))
		if x.Behind >= 1 {
			line += fmt.Sprintf("  %.0f s behind", x.Behind)
		}
		lost := ""
		if x.Dropped > 0 {
			lost = fmt.Sprintf("  LOST %s packets (%s/s)", inCount(x.Dropped), inCount(x.DropRate))
		}
		if len(s.Sensors) > 1 {
			line = pad(x.Name, 24) + "  " + line
		}
		if i == 0 && len(s.Sensors) == 1 && lost == "" {
			line += "  no packet lost"
		}
		lines = append(lines, cut(line, v.width-len(lost))+v.paint(red, lost))
		if len(x.Down) > 0 {
			lines = append(lines, v.paint(red, cut("INTERFACE DOWN: "+strings.Join(x.Down, ", ")+" of "+x.Name, v.width)))
		}
	}
	paths, blocked := 0, 0
	for i := range s.Rows {
		switch r := &s.Rows[i]; {
		case r.Label == record.NoneLabel:
		case r.Blocked > 0 && r.Flows <= r.Blocked && r.Active == 0:
			blocked++
		default:
			paths++
		}
	}
	lines = append(lines, cut(fmt.Sprintf("%s flows go on, %s wait for an explanation   %s in use, %d only blocked",
		inCount(s.Live), inCount(s.Held), text.Count(uint64(paths), "path"), blocked), v.width))
	return append(lines, v.attention())
}

// attention is the line on what needs attention.
func (v *view) attention() string {
	var deviating, unexpected, blocked float64
	for i := range v.state.Rows {
		r := &v.state.Rows[i]
		deviating, unexpected, blocked = deviating+r.Deviating, unexpected+r.Unexpected, blocked+r.Blocked
	}
	if deviating+unexpected+blocked == 0 {
		return "Nothing needs attention."
	}
	line := fmt.Sprintf("ATTENTION: %s deviating, %s unexpected", inCount(deviating), inCount(unexpected))
	if reasons := countsText(v.state.Unexpected); reasons != "" {
		line += " (" + reasons + ")"
	}
	return v.paint(red, cut(line+fmt.Sprintf(", %s blocked", inCount(blocked)), v.width))
}

func countsText(counts []Count) string {
	var parts []string
	for _, c := range counts {
		parts = append(parts, c.What+" "+inCount(c.N))
	}
	return strings.Join(parts, ", ")
}

// column is one of the columns of paths.
type column struct {
	title string
	width int // negative for columns that are aligned to the left
	value func(*view, *Row) string
}

// The columns in the order of their importance: as many are shown as fit.
var columns = []column{
	{"BYTES/s", 8, func(_ *view, r *Row) string { return inBytes(r.rate()) }},
	{"FLOWS", 5, func(_ *view, r *Row) string { return inCount(r.Flows) }},
	{"LIVE", 5, func(_ *view, r *Row) string { return inCount(r.Active) }},
	{"DEV", 5, func(_ *view, r *Row) string { return inCount(r.Deviating) }},
	{"UNEXP", 5, func(_ *view, r *Row) string { return inCount(r.Unexpected) }},
	{"BLOCK", 5, func(_ *view, r *Row) string { return inCount(r.Blocked) }},
	{"LAST", 7, func(v *view, r *Row) string {
		if r.LastSeen.IsZero() {
			return "-"
		}
		return inAge(v.state.At.Sub(r.LastSeen))
	}},
	{"FINDINGS", -24, func(_ *view, r *Row) string { return countsText(r.Findings) }},
	{"SETUP", 8, func(_ *view, r *Row) string {
		if r.Setup == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f ms", r.Setup*1e3)
	}},
	{"ID", -32, func(_ *view, r *Row) string { return r.Label }},
	{"TO SRV/s", 8, func(_ *view, r *Row) string { return inBytes(r.ToServer) }},
	{"TO CLT/s", 8, func(_ *view, r *Row) string { return inBytes(r.ToClient) }},
	{"PKTS/s", 6, func(_ *view, r *Row) string { return inCount(r.Packets) }},
	{"BYTES", 8, func(_ *view, r *Row) string { return inBytes(r.Bytes) }},
}

// fit returns the columns that fit beside names of paths, and the width of these.
func fit(rows []Row, width int) ([]column, int) {
	const minName = 20
	name := minName
	for i := range rows {
		name = max(name, len([]rune(rows[i].Name)))
	}
	name = min(name, 40)
	n, left := 0, width-2-min(name, 22)
	for n < len(columns) && max(columns[n].width, -columns[n].width)+2 <= left {
		left -= max(columns[n].width, -columns[n].width) + 2
		n++
	}
	return columns[:n], min(name, min(name, 22)+left)
}

// pathLines draws the list of paths.
func (v *view) pathLines() []string {
	lines := v.head()
	lines = append(append(lines, v.fleetLines(len(lines))...), "")
	rows := v.rows()
	columns, name := fit(rows, v.width)
	line := "  " + pad("PATH", name)
	for _, c := range columns {
		line += cell(c, c.title)
	}
	lines = append(lines, v.paint(bold, strings.TrimRight(line, " ")))
	at := max(slices.IndexFunc(rows, func(r Row) bool { return r.Label == v.selected }), 0)
	from, to := v.window(len(rows), at, len(lines))
	for i := from; i < to; i++ {
		r := &rows[i]
		mark := "  "
		if v.keys && i == at {
			mark = "> "
		}
		line := mark + pad(r.Name, name)
		for _, c := range columns {
			line += cell(c, c.value(v, r))
		}
		line = strings.TrimRight(line, " ")
		style := ""
		switch {
		case v.keys && i == at:
			style = reverse
		case r.Unexpected+r.Deviating > 0:
			style = red
		case r.Blocked > 0:
			style = yellow
		}
		lines = append(lines, v.paint(style, line))
	}
	lines = append(lines, v.more(len(rows), from, to)...)
	if len(rows) == 0 {
		if v.filter != "" {
			lines = append(lines, "  no path has "+v.filter+" in its name, id or findings")
		} else {
			lines = append(lines, "  no traffic yet")
		}
	}
	if v.state.Message != "" {
		lines = append(lines, "", cut("log: "+v.state.Message, v.width))
	}
	return lines
}

// window returns which of n items are shown so that the one at is among them,
// below a number of lines.
func (v *view) window(n, at, above int) (from, to int) {
	if v.height <= 0 {
		return 0, n
	}
	room := v.height - above - 2 // the line of keys, and that of what is hidden
	if v.state.Message != "" && v.path == "" {
		room -= 2
	}
	room = max(room, 3)
	from = min(max(at-room/2, 0), max(n-room, 0))
	return from, min(from+room, n)
}

// more tells how many items are not shown.
func (v *view) more(n, from, to int) []string {
	if from == 0 && to == n {
		return nil
	}
	return []string{fmt.Sprintf("  %d to %d of %d", from+1, to, n)}
}

func cell(c column, s string) string {
	if c.width < 0 {
		return "  " + pad(s, -c.width)
	}
	return fmt.Sprintf("  %*s", c.width, cut(s, c.width))
}

// flowLines draws the flows and findings of a path.
func (v *view) flowLines() []string {
	r := Row{Label: v.path, Name: v.path}
	if i := slices.IndexFunc(v.state.Rows, func(r Row) bool { return r.Label == v.path }); i >= 0 {
		r = v.state.Rows[i]
	}
	head := v.head()
	lines := []string{head[0], v.paint(bold, cut(r.Name+"  ("+r.Label+")", v.width)),
		cut(fmt.Sprintf("%s/s to servers, %s/s to clients; %s flows, %s active", inBytes(r.ToServer), inBytes(r.ToClient), inCount(r.Flows), inCount(r.Active)), v.width)}
	if r.attention() > 0 {
		lines = append(lines, v.paint(red, cut(fmt.Sprintf("ATTENTION: %s deviating, %s unexpected, %s blocked",
			inCount(r.Deviating), inCount(r.Unexpected), inCount(r.Blocked)), v.width)))
	}
	const most = 5
	for i, c := range r.Findings {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more kinds of findings", len(r.Findings)-most))
			break
		}
		e := glossary.OfFinding(record.FindingID(c.What))
		style := ""
		if e.Severity == glossary.Critical || e.Severity == glossary.High {
			style = red
		}
		lines = append(lines, v.paint(style, cut(fmt.Sprintf("%-8s  %6s  %s (%s)", strings.ToUpper(e.Severity.String()), inCount(c.N), e.Title, c.What), v.width)))
	}
	lines = append(lines, "")
	if v.flowsErr != nil {
		return append(lines, wrap(v.flowsErr.Error(), v.width)...)
	}
	if len(v.flows) == 0 {
		return append(lines, "No flow of this path is kept.")
	}
	return append(lines, v.flowTable(len(lines))...)
}

// flowTable draws the flows, and what is known of the selected one.
func (v *view) flowTable(above int) []string {
	at := max(slices.IndexFunc(v.flows, func(f recent.Flow) bool { return f.CommunityID == v.flow }), 0)
	client, server := len("CLIENT"), len("SERVER")
	for i := range v.flows {
		f := &v.flows[i]
		client, server = max(client, len(end(f.ClientName, f.Client))), max(server, len(end(f.ServerName, f.Server)+"/"+f.Proto))
	}
	room := v.width - 2 - 10 - 12 - 4 - 10
	client, server = min(client, room/2), min(server, room/2)
	lines := []string{v.paint(bold, cut("  "+pad("TIME", 8)+"  "+pad("CLIENT", client)+"  "+pad("SERVER", server)+"  "+pad("STATUS", 12)+"  FINDINGS", v.width))}
	why := wrap(about(&v.flows[at]), v.width)
	why = why[:min(len(why), 5)]
	from, to := v.window(len(v.flows), at, above+len(lines)+len(why)+1)
	for i := from; i < to; i++ {
		f := &v.flows[i]
		mark, style := "  ", ""
		if f.Attention() {
			style = red
		}
		if v.keys && i == at {
			mark, style = "> ", reverse
		}
		lines = append(lines, v.paint(style, cut(mark+f.First.Local().Format("15:04:05")+"  "+pad(end(f.ClientName, f.Client), client)+"  "+
			pad(end(f.ServerName, f.Server)+"/"+f.Proto, server)+"  "+pad(status(f.Status), 12)+"  "+flags(f), v.width)))
	}
	lines = append(lines, v.more(len(v.flows), from, to)...)
	return append(append(lines, ""), why...)
}

func end(name string, a netip.AddrPort) string {
	if name == "" {
		return a.String()
	}
	return fmt.Sprintf("%s:%d", name, a.Port())
}

// status returns a status, in capitals where it needs attention.
func status(s record.Status) string {
	if s == record.Deviating || s == record.Unexpected {
		return strings.ToUpper(string(s))
	}
	return string(s)
}

// flags are the reason and the findings of a flow.
func flags(f *recent.Flow) string {
	var words []string
	if f.Reason != "" {
		words = append(words, string(f.Reason))
	}
	for _, x := range f.Findings {
		if !slices.Contains(words, string(x.ID)) {
			words = append(words, string(x.ID))
		}
	}
	return strings.Join(words, ", ")
}

// about says why a flow has its verdict.
func about(f *recent.Flow) string {
	s := strings.TrimRight(f.Why, ". ")
	for _, x := range f.Findings {
		e := glossary.OfFinding(x.ID)
		s += ". " + strings.TrimRight(e.Title+": "+cmp.Or(x.Detail, e.Text), ". ")
	}
	s = strings.TrimPrefix(s, ". ") + "."
	if !f.Final {
		s += " Not final."
	}
	return s + " " + f.CommunityID
}
