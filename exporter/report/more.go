package report

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/brief"
	callview "github.com/exspan/exspan/exporter/calls"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/ports"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// roles returns the roles in which the ends of an edge take part: those of its path, as far
// as the hosts have them, else all that are known.
func (b *builder) roles(e *model.Edge) (client, server string) {
	var from, to []rules.Role
	if e.Path != nil {
		from, to = e.Path.From, e.Path.To
		if e.Leg != nil && e.Leg.Reverse {
			from, to = to, from
		}
	}
	return roleOf(e.Client, from), roleOf(e.Server, to)
}

func roleOf(h *model.Host, wanted []rules.Role) string {
	for _, r := range wanted {
		if h.Is(r) {
			return model.RoleTitle(string(r))
		}
	}
	var titles []string
	for _, r := range h.Roles {
		titles = append(titles, model.RoleTitle(r))
	}
	return cmp.Or(strings.Join(titles, ", "), model.RoleTitle(""))
}

// matrix shows which role talks to which, and in what state that is.
func (b *builder) matrix() *table {
	type key struct{ from, to string }
	type sum struct {
		flows uint64
		state model.State
	}
	cells := map[key]*sum{}
	clients, servers := map[string]uint64{}, map[string]uint64{}
	for _, e := range b.m.Edges {
		from, to := b.roles(e)
		x := cells[key{from, to}]
		if x == nil {
			x = &sum{state: e.State}
			cells[key{from, to}] = x
		}
		x.flows += e.Flows
		if e.State.Compare(x.state) < 0 {
			x.state = e.State
		}
		clients[from] += e.Flows
		servers[to] += e.Flows
	}
	byFlows := func(m map[string]uint64) []string {
		var names []string
		for n := range m {
			names = append(names, n)
		}
		slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(m[y], m[x]), cmp.Compare(x, y)) })
		return names
	}
	const most = 24
	from, to := byFlows(clients), byFlows(servers)
	t := &table{ID: "roles", Title: "Who talks to whom", Intro: "Flows from the role in the row to the role in the column, with the gravest state among them.",
		Cols: []col{{"From \\ to", false}}}
	if n := len(to) - most; n > 0 {
		to = to[:most]
		t.leave(uint64(n), "column", b.command("analyze --by pair"))
	}
	for _, r := range to {
		t.Cols = append(t.Cols, col{r, true})
	}
	for _, f := range from {
		line := row{words(f)}
		for _, r := range to {
			x := cells[key{f, r}]
			if x == nil {
				line = append(line, cell{})
				continue
			}
			c := number(x.flows)
			c.State, c.Link, c.Filter = badge(x.state), "connections", f+" → "+r
			line = append(line, c)
		}
		t.Rows = append(t.Rows, line)
	}
	t.cut(most, "row", b.command("analyze --by pair"))
	return t
}

// hosts shows the hosts of which a role is known, and how their roles are known.
func (b *builder) hosts() *table {
	t := &table{ID: "hosts", Title: "Hosts", Fold: true, Cols: []col{{"Host", false}, {"Address", false}, {"Exchange", false}, {"Roles, and what proves them", false}}}
	for i := range b.sum.Hosts {
		h := &b.sum.Hosts[i]
		var lines []string
		for _, p := range h.Roles {
			line := model.RoleTitle(p.Role)
			if p.Evidence != "" {
				line += " (" + p.Evidence + ")"
			}
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
		if len(lines) == 0 {
			lines = []string{"not known"}
		}
		t.Rows = append(t.Rows, row{words(cmp.Or(h.Name, h.Addr.String())), words(h.Addr.String()), words(h.Version, h.Build), words(lines[0], lines[1:]...)})
	}
	t.cut(maxRows, "host", b.command("analyze --all"))
	return t
}

// endpoints shows the learned ports of RPC services, and how to pin them.
func (b *builder) endpoints() *table {
	t := &table{ID: "endpoints", Title: "Dynamic ports", Empty: "No endpoint of an RPC service was learned.",
		Intro: "Which ports services announced, and how a document says that each can be pinned to one port, for firewalls.",
		Cols:  []col{{"Host", false}, {"Service", false}, {"Ports", false}, {"Flows", true}, {"How to pin it", false}}}
	for _, r := range ports.Rows(b.sum, ports.Options{Packs: b.o.Packs, Version: b.o.Assumed}) {
		var at []string
		var flows uint64
		for _, p := range r.Ports {
			flows += p.Flows
			if slices.Contains(at, strconv.Itoa(int(p.Port))+"/tcp") {
				continue
			}
			at = append(at, strconv.Itoa(int(p.Port))+"/tcp")
		}
		const most = 6
		if n := len(at) - most; n > 0 {
			at = append(at[:most], fmt.Sprintf("%d more", n))
		}
		pin := words("No document names a way to pin it.")
		var sources []string
		for i := range r.Pins {
			p := &r.Pins[i]
			line := p.Service + ": by default " + cmp.Or(p.Default, "not said")
			if p.Inside != nil && *p.Inside {
				line += "; its port is in the documented range " + p.Range
			} else if p.Range != "" {
				line += "; documented for pinning: " + p.Range
			}
			how := p.How()
			if !slices.Contains(sources, p.Source) {
				sources = append(sources, p.Source)
			}
			if i == 0 {
				pin = words(line, how, p.Note)
			} else {
				pin.Lines = append(pin.Lines, words("", line, how, p.Note).Lines...)
			}
		}
		if len(sources) > 0 {
			pin.Lines = append(pin.Lines, text.Printable("Source: "+strings.Join(sources, "; ")))
		}
		t.Rows = append(t.Rows, row{words(r.Host), words(r.Service), words(strings.Join(at, ", ")), number(flows), pin})
	}
	t.cut(maxRows, "service", b.command("ports"))
	return t
}

// coverage shows which documented paths were seen.
func (b *builder) coverage() *table {
	t := &table{ID: "coverage", Title: "Coverage", Fold: true, Intro: "Which documented data paths the capture shows, by the tables of the documents.",
		Cols: []col{{"Data path", false}, {"State", false}, {"Table", false}, {"Exchange", false}, {"Flows", true}, {"Seen from", false}, {"Why", false}}}
	paths := slices.Clone(b.m.Paths)
	slices.SortStableFunc(paths, func(x, y model.Path) int {
		return cmp.Or(cmp.Compare(x.Version, y.Version), cmp.Compare(x.Table, y.Table), x.State.Compare(y.State))
	})
	for start := 0; start < len(paths); {
		end := start
		for end < len(paths) && paths[end].Version == paths[start].Version && paths[end].Table == paths[start].Table {
			end++
		}
		t.Bars = append(t.Bars, coverBar(paths[start:end], len(b.m.Versions) > 1))
		start = end
	}
	for i := range paths {
		p := &paths[i]
		flows := number(p.Flows)
		if p.Flows == 0 {
			flows = cell{Sort: "0"}
		} else if p.Tied {
			flows.Text = "~" + flows.Text
		}
		t.Rows = append(t.Rows, row{words(cmp.Or(p.Name, p.ID), p.ID), modelState(p.State), words(tableTitle(p.Table)), words(p.Version), flows,
			b.span(p.First, p.Last), words(p.Why)})
	}
	t.cut(4*maxRows, "path", b.command("rules coverage"))
	return t
}

func tableTitle(name string) string { return strings.ReplaceAll(cmp.Or(name, "other"), "-", " ") }

// coverBar returns the bar of the paths of one table of the documents.
func coverBar(paths []model.Path, versions bool) bar {
	n := map[model.State]int{}
	for i := range paths {
		n[paths[i].State]++
	}
	name := tableTitle(paths[0].Table)
	name = strings.ToUpper(name[:1]) + name[1:]
	if versions {
		name = paths[0].Version + ": " + name
	}
	var parts []string
	var svg strings.Builder
	const width = 300
	x := 0.0
	for _, s := range []model.State{model.Seen, model.Deviating, model.Blocked, model.NotSeen, model.NotObservable} {
		if n[s] == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%d %s", n[s], badge(s).Word))
		w := width * float64(n[s]) / float64(len(paths))
		fmt.Fprintf(&svg, `<rect class="part-%s" x="%.1f" y="0" width="%.1f" height="12"/>`, s, x, max(w-1, 1))
		x += w
	}
	line := strings.Join(parts, ", ")
	return bar{Name: text.Printable(name), Words: line, SVG: template.HTML(`<svg class="bar" viewBox="0 0 300 12" width="300" height="12" preserveAspectRatio="none" role="img" aria-label="` +
		template.HTMLEscapeString(line) + `">` + svg.String() + `</svg>`)}
}

// calls shows telephone calls and their quality, the worst first.
func (b *builder) calls() *table {
	t := &table{ID: "calls", Title: "Telephone calls", Cols: []col{{"Begin", false}, {"Call", false}, {"Legs", false}, {"Media", false}, {"Loss", true}, {"Jitter", true},
		{"MOS", true}}}
	list := make([]*calls.Call, 0, len(b.sum.Calls))
	for i := range b.sum.Calls {
		list = append(list, &b.sum.Calls[i])
	}
	for _, c := range list[:min(len(list), maxRows)] {
		var legs, media []string
		for _, l := range c.Legs {
			proto := uint8(capture.UDP)
			if l.TCP {
				proto = capture.TCP
			}
			line := b.host(l.From.Addr()) + " → " + b.end(l.To, proto)
			if l.Code != 0 {
				line += ", answer " + strconv.Itoa(l.Code)
			}
			if l.Redirect >= 0 {
				line += fmt.Sprintf(", redirected by leg %d", l.Redirect+1)
			}
			legs = append(legs, line)
		}
		for _, m := range c.Media {
			line := m.Side + " wants " + m.Kind
			if m.Encryption != "" {
				line += ", encryption " + m.Encryption
			}
			media = append(media, line)
		}
		for i := range c.Streams {
			media = append(media, callview.Quality(&c.Streams[i]))
		}
		loss, jitter, mos := quality(c.Streams)
		headline := words(strings.ReplaceAll(callview.Headline(c), "  ", ", "))
		if c.OneWay || c.Outcome == calls.Rejected {
			headline.State = state{"warn", "!", "needs attention"}
		}
		t.Rows = append(t.Rows, row{timeCell(b.sum.First, c.Start), headline, words("", legs...), words("", media...), loss, jitter, mos})
	}
	t.leave(uint64(max(len(list)-maxRows, 0)), "call", b.command("analyze --calls"))
	if n := len(b.sum.Streams); n > 0 {
		loss, jitter, mos := quality(b.sum.Streams)
		t.Rows = append(t.Rows, row{{}, words(text.Count(uint64(n), "media stream") + " without a call"), {}, {}, loss, jitter, mos})
	}
	return t
}

// quality returns the worst that streams show.
func quality(streams []calls.Stream) (loss, jitter, mos cell) {
	worst := struct{ loss, jitter, mos float64 }{}
	for i := range streams {
		s := &streams[i]
		worst.loss, worst.jitter = max(worst.loss, s.Loss), max(worst.jitter, s.Jitter.Mean.Seconds()*1e3)
		if s.MOS > 0 && (worst.mos == 0 || s.MOS < worst.mos) {
			worst.mos = s.MOS
		}
	}
	if len(streams) == 0 {
		return
	}
	loss = cell{Text: text.Percent(worst.loss), Sort: strconv.FormatFloat(worst.loss, 'f', 5, 64)}
	jitter = cell{Text: strconv.FormatFloat(worst.jitter, 'f', 1, 64) + " ms", Sort: strconv.FormatFloat(worst.jitter, 'f', 3, 64)}
	if worst.mos > 0 {
		mos = cell{Text: strconv.FormatFloat(worst.mos, 'f', 1, 64), Sort: strconv.FormatFloat(worst.mos, 'f', 3, 64)}
	}
	return loss, jitter, mos
}

// notShown says what the capture could not show, and why.
func (b *builder) notShown() []note {
	var list []note
	if lines := printable(brief.Trouble(b.sum)); len(lines) > 0 {
		list = append(list, note{"What was not read", lines})
	}
	if n := b.t.Of(record.Undetermined); n > 0 {
		flows := map[record.Reason]uint64{}
		for _, u := range b.t.Undetermined.All() {
			flows[u.Reason] += u.Flows
		}
		var lines []string
		for r, k := range flows {
			lines = append(lines, brief.Reason(r)+": "+text.Count(k, "flow")+" ("+string(r)+")")
		}
		slices.Sort(lines)
		lines = append(lines, b.command("analyze --status undetermined")+" lists them.")
		list = append(list, note{text.Count(n, "flow") + " of which too little was seen", printable(lines)})
	}
	unseen := map[string]int{}
	var order []string
	for i := range b.m.Paths {
		if p := &b.m.Paths[i]; p.State == model.NotObservable {
			if unseen[p.Why] == 0 {
				order = append(order, p.Why)
			}
			unseen[p.Why]++
		}
	}
	slices.SortStableFunc(order, func(x, y string) int { return cmp.Compare(unseen[y], unseen[x]) })
	var lines []string
	rest := 0
	const most = 12
	for i, why := range order {
		if i >= most {
			rest += unseen[why]
			continue
		}
		lines = append(lines, text.Count(uint64(unseen[why]), "path")+": "+why)
	}
	if rest > 0 {
		lines = append(lines, text.Count(uint64(rest), "path")+" for other reasons; see the coverage")
	}
	if len(lines) > 0 {
		list = append(list, note{"Documented data paths that cannot be seen from here", printable(lines)})
	}
	if n := b.t.OneWay; n > 0 {
		list = append(list, note{"One direction only", []string{"Of " + text.Count(n, "flow") + " only one direction was captured; such a flow is never called blocked."}})
	}
	if n := b.sum.LeftOut; n > 0 {
		list = append(list, note{"Left out on request", []string{"Windows' own traffic, " + text.Count(n, "flow") + " (--no-platform)."}})
	}
	if n := b.t.Of(record.Unrelated); n > 0 {
		list = append(list, note{"Without Exchange", []string{text.Count(n, "flow") + " between hosts of which none is an Exchange server, as far as is known: " +
			b.unrelated() + "."}})
	}
	if b.t.Edges.More > 0 {
		list = append(list, note{"Too many connections", []string{text.Count(b.t.Edges.More, "flow") + " not in the connections, of which " +
			text.Thousands(tally.MaxPairs) + " are kept."}})
	}
	return list
}

// unrelated lists the protocols of unrelated flows, the most frequent first.
func (b *builder) unrelated() string {
	all := b.t.Unrelated.All()
	var names []string
	for n := range all {
		names = append(names, n)
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(all[y].Flows, all[x].Flows), cmp.Compare(x, y)) })
	var parts []string
	for i, n := range names {
		if i == 8 {
			parts = append(parts, text.Count(uint64(len(names)-i), "other protocol"))
			break
		}
		parts = append(parts, text.Printable(cmp.Or(n, "not recognised"))+" "+text.Thousands(all[n].Flows))
	}
	return strings.Join(parts, ", ")
}

func printable(lines []string) []string {
	for i, l := range lines {
		lines[i] = text.Printable(l)
	}
	return lines
}
