package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/brief"
	"github.com/exspan/exspan/exporter/glossary"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// end returns a host and a port.
func (b *builder) end(a netip.AddrPort, proto uint8) string {
	return text.End(b.host(a.Addr()), a.Port(), proto)
}

// command returns the command that lists what a table leaves out.
func (b *builder) command(c string) string {
	name, rest, _ := strings.Cut(c, " --")
	if rest != "" {
		rest = " --" + rest
	}
	return "exspan " + name + rest + " " + b.o.Input
}

// severity returns how a severity is shown.
func severity(s glossary.Severity) state {
	switch s {
	case glossary.Critical:
		return state{"bad", "‼", "critical"}
	case glossary.High:
		return state{"bad", "!", "high"}
	case glossary.Medium:
		return state{"warn", "!", "medium"}
	case glossary.Low:
		return state{"open", "i", "low"}
	}
	return state{"none", "·", "remark"}
}

// problems returns what needs attention, the gravest first.
func (b *builder) problems() []problem {
	var list []problem
	for _, g := range brief.Violations(b.t) {
		p := problem{State: severity(g.Entry.Severity), Title: g.Entry.Title, Flows: text.Count(g.Flows, "flow"), Word: string(g.ID), Meaning: g.Entry.Text,
			Todo: g.Todo, Sources: g.Sources, Link: "findings"}
		if len(p.Todo) == 0 {
			p.Todo = []string{"No document is known that says; exspan glossary " + p.Word + " explains the finding."}
		}
		for i, f := range g.Paths {
			if i == maxWhere && len(g.Paths) > maxWhere+1 {
				p.Where = append(p.Where, text.Count(uint64(len(g.Paths)-i), "more path"))
				break
			}
			p.Where = append(p.Where, text.Printable(b.pathName(f.Label, f.Path)+": "+text.Count(f.Flows, "flow")))
		}
		if len(p.Sources) > maxSources {
			p.Sources = append(p.Sources[:maxSources:maxSources], "and "+text.Count(uint64(len(p.Sources)-maxSources), "more document"))
		}
		list = append(list, p)
	}
	if blocked := b.t.BlockedFlows(); blocked > 0 {
		list = append(list, problem{State: badge(model.Blocked), Title: "Tried in vain", Flows: text.Count(blocked, "flow"), Word: "blocked", Link: "blocked",
			Meaning: "The client tried, and was refused or never answered.",
			Todo:    []string{"Start the service, or open the port on the way, if the connection is wanted. The table names hosts and ports."}})
	}
	if n := b.t.Of(record.Unexpected); n > 0 {
		p := problem{State: badge(model.Unexpected), Title: "No documented data path", Flows: text.Count(n, "flow"), Word: "unexpected", Link: "unexpected",
			Meaning: "An Exchange server takes part, and no documented data path explains the flow.",
			Todo:    []string{"Find out who needs it. If it is wanted, declare it in the site file under allow."}}
		if line := brief.UnknownRoles(b.t, b.host); line != "" {
			p.Todo = append(p.Todo, line)
		}
		list = append(list, p)
	}
	return list
}

func (b *builder) pathName(label string, p *rules.DataPath) string {
	return tally.PathName(label, p, b.o.Packs.GroupName)
}

// paths shows the data paths that were seen, what was observed beside what is documented.
func (b *builder) paths() *table {
	t := &table{ID: "paths", Title: "Data paths", Empty: "No flow follows a documented data path.",
		Intro: "Traffic over time runs from the begin to the end of the capture; each row has its own scale. What was seen stands above what is documented.",
		Cols: []col{{"Data path", false}, {"State", false}, {"Flows", true}, {"Bytes", true}, {"Traffic over time", false}, {"Authentication", false},
			{"Encryption", false}, {"Known by", false}}}
	var list []*tally.Path
	var platform tally.Traffic
	for _, r := range b.t.Paths.All() {
		if r.Path.Platform() && r.Deviating == 0 {
			platform.Flows += r.Flows
			continue
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y *tally.Path) int { return cmp.Compare(x.Label, y.Label) })
	for _, r := range list {
		name := words(b.pathName(r.Label, r.Path), r.Path.ID)
		if r.Tied > 0 {
			name.Lines = []string{brief.Tied(r)}
		}
		if r.LowSource {
			name.Lines = append(name.Lines, "the reference itself is uncertain about this path")
		}
		chart := cell{}
		if b.live != nil {
			name.Links = b.live.links(r.Label)
		}
		if l := b.sink.lines[r.Label]; l != nil && !b.sum.First.IsZero() {
			chart.SVG, chart.Text = l.spark(b.sum.First, b.sum.Last)
			chart.Sort = strconv.FormatUint(r.Bytes, 10)
		}
		auth, encryption := b.documented(r.IDs)
		t.Rows = append(t.Rows, row{name, pathState(r), number(r.Flows), size(r.Bytes), chart, words(mechanisms(r.Auth), "documented: "+auth),
			words(mechanisms(r.Encryption), "documented: "+encryption), words(brief.Known(r))})
	}
	for note, a := range b.t.Allowed.All() {
		t.Rows = append(t.Rows, row{words("Allowed by the site file", note), modelState(model.Seen), number(a.Flows), size(a.Bytes), {}, {}, {}, {}})
	}
	slices.SortStableFunc(t.Rows[len(list):], func(x, y row) int { return slices.Compare(x[0].Lines, y[0].Lines) })
	if platform.Flows > 0 {
		t.Left = "Windows' own traffic, " + text.Count(platform.Flows, "flow") + ", is left out; " + b.command("analyze --all") + " lists it."
	}
	t.cut(maxRows, "path", b.command("analyze --all"))
	t.leave(b.t.Paths.More, "flow", "")
	return t
}

func pathState(r *tally.Path) cell {
	switch {
	case r.Blocked == r.Flows:
		return modelState(model.Blocked)
	case r.Deviating > 0:
		line := ""
		if r.Deviating < r.Flows {
			line = text.Thousands(r.Deviating) + " of " + text.Thousands(r.Flows)
		}
		return modelState(model.Deviating, line)
	case r.Blocked > 0:
		return modelState(model.Blocked, text.Thousands(r.Blocked)+" of "+text.Thousands(r.Flows))
	}
	return modelState(model.Seen)
}

// documented words what the documents say of paths, all of which a flow may follow.
func (b *builder) documented(ids []string) (auth, encryption string) {
	var auths, encryptions []string
	add := func(list *[]string, s string) {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	for _, id := range ids {
		p := b.o.Packs.Path(id)
		if p == nil {
			continue
		}
		switch {
		case len(p.DefaultAuth) > 0:
			s := strings.Join(p.DefaultAuth, ", ") + " by default"
			if rest := slices.DeleteFunc(slices.Clone(p.SupportedAuth), func(a string) bool { return slices.Contains(p.DefaultAuth, a) }); len(rest) > 0 {
				s += "; also " + strings.Join(rest, ", ")
			}
			add(&auths, s)
		case len(p.SupportedAuth) > 0:
			add(&auths, strings.Join(p.SupportedAuth, ", "))
		}
		if len(p.Encryption) > 0 {
			s := strings.Join(p.Encryption, " or ")
			switch {
			case s == "no":
				s = "none"
			case p.ByDefault == "yes":
				s += ", by default"
			case p.ByDefault == "no":
				s += ", not by default"
			}
			add(&encryptions, s)
		}
	}
	const most = 3
	join := func(list []string) string {
		if n := len(list) - most; n > 0 {
			list = append(list[:most:most], fmt.Sprintf("%d more", n))
		}
		return cmp.Or(brief.InWords(strings.Join(list, " | ")), "not said")
	}
	return join(auths), join(encryptions)
}

func mechanisms(m tally.Mechanisms) string {
	var parts []string
	for _, x := range m.Sorted() {
		parts = append(parts, brief.InWords(x.Name)+" "+text.Thousands(x.Flows))
	}
	return cmp.Or(strings.Join(parts, ", "), "not seen")
}

// findings shows each finding on each path, accepted ones and remarks included.
func (b *builder) findings() *table {
	t := &table{ID: "findings", Title: "Findings", Empty: "No flow differs from the documentation of its path.",
		Cols: []col{{"Finding", false}, {"Weight", false}, {"Data path", false}, {"Flows", true}, {"Seen", false}, {"Documented", false}, {"Where", false}}}
	for _, level := range []record.Level{record.Violation, record.Accepted, record.Remark} {
		for _, g := range brief.Groups(b.t, level) {
			weight := severity(g.Entry.Severity)
			rank := int(g.Entry.Severity)
			switch {
			case level == record.Accepted:
				weight, rank = state{"none", "·", "accepted"}, 8
			case level == record.Remark:
				weight, rank = state{"none", "·", "remark"}, 9
			}
			for _, f := range g.Paths {
				var seen, documented []string
				for _, d := range f.Details.Sorted() {
					s, doc := brief.Split(d.Name, f.Finding)
					if len(f.Details) > 1 {
						s += " (" + text.Count(d.Flows, "flow") + ")"
					}
					seen = append(seen, s)
					if doc != "" && !slices.Contains(documented, doc) {
						documented = append(documented, doc)
					}
				}
				t.Rows = append(t.Rows, row{words(g.Entry.Title, string(g.ID)), stateCell(weight, rank), words(b.pathName(f.Label, f.Path), f.Label), number(f.Flows),
					words(strings.Join(seen, "; ")), words(strings.Join(documented, "; ")), words("", b.where(f.Finding)...)})
			}
		}
	}
	t.cut(maxRows, "row", b.command("analyze --all"))
	t.leave(b.t.Findings.More, "flow", "")
	return t
}

// where lists hosts and ports of a finding.
func (b *builder) where(f *tally.Finding) []string {
	var list []string
	rest := f.Flows
	for _, e := range f.Examples {
		line := b.host(e.Client.Addr()) + " → " + b.end(e.Server, e.Proto)
		if e.Flows > 1 {
			line += ", " + text.Count(e.Flows, "flow")
		}
		list = append(list, line)
		rest -= min(rest, e.Flows)
	}
	if rest > 0 {
		list = append(list, "and "+text.Count(rest, "more flow"))
	}
	return list
}

// unexpected shows the services that no data path explains.
func (b *builder) unexpected() *table {
	t := &table{ID: "unexpected", Title: "Unexpected flows", Empty: "No flow is unexpected.",
		Cols: []col{{"Server", false}, {"Protocol", false}, {"Clients", false}, {"Flows", true}, {"Bytes", true}, {"Reason", false}, {"Why", false}}}
	var list []*tally.Service
	for _, u := range b.t.Unexpected.All() {
		list = append(list, u)
	}
	slices.SortFunc(list, func(x, y *tally.Service) int {
		return cmp.Or(cmp.Compare(y.Flows, x.Flows), x.Server.Compare(y.Server), cmp.Compare(x.Proto, y.Proto), cmp.Compare(x.Protocol, y.Protocol),
			cmp.Compare(x.Reason, y.Reason))
	})
	rest := uint64(0)
	for i, u := range list {
		if i >= maxRows {
			rest++
			continue
		}
		client := b.host(u.Client.Addr())
		if u.Flows > 1 {
			client += ", …"
		}
		outcome := ""
		if u.Outcome != record.Answered {
			outcome = string(u.Outcome)
		}
		server := words(b.end(u.Server, u.Proto), u.Server.Addr().String())
		if b.host(u.Server.Addr()) == u.Server.Addr().String() {
			server.Lines = nil
		}
		t.Rows = append(t.Rows, row{server, words(cmp.Or(u.Protocol, "not recognised"), outcome), words(client), number(u.Flows), size(u.Bytes),
			words(brief.Reason(u.Reason), string(u.Reason)), words(u.Why)})
	}
	all := b.command("analyze --status unexpected")
	t.leave(rest, "service", all)
	t.leave(b.t.Unexpected.More, "flow", all)
	return t
}

// blocked shows the connections that were tried in vain.
func (b *builder) blocked() *table {
	t := &table{ID: "blocked", Title: "Blocked", Empty: "No connection with an Exchange server was blocked.",
		Cols: []col{{"Server", false}, {"How", false}, {"Data path", false}, {"Clients", false}, {"Flows", true}}}
	keys := make([]tally.BlockedKey, 0, b.t.Blocked.Len())
	for k := range b.t.Blocked.All() {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y tally.BlockedKey) int {
		return cmp.Or(cmp.Compare(b.t.Blocked.Get(y).Flows, b.t.Blocked.Get(x).Flows), x.Server.Compare(y.Server), cmp.Compare(x.Proto, y.Proto),
			cmp.Compare(x.Path, y.Path), cmp.Compare(x.Outcome, y.Outcome))
	})
	for _, k := range keys[:min(len(keys), maxRows)] {
		x := b.t.Blocked.Get(k)
		var clients []string
		for _, c := range x.Clients {
			clients = append(clients, b.host(c))
		}
		if len(clients) == examples && x.Flows > examples {
			clients = append(clients, "…")
		}
		t.Rows = append(t.Rows, row{words(b.end(k.Server, k.Proto)), stateCell(state{"bad", "⊘", string(k.Outcome)}, 0), words(b.pathName(k.Path, x.Path), k.Path),
			words(strings.Join(clients, ", ")), number(x.Flows)})
	}
	for _, e := range b.m.Edges {
		if e.Label != "" || e.Blocked == 0 || len(t.Rows) >= maxRows {
			continue // those on a path are there already
		}
		server := netip.AddrPortFrom(e.Server.Addr, e.Port)
		where := words(b.end(server, e.Proto))
		if e.Server.Many() {
			where = words(text.End(e.Server.Title(), e.Port, e.Proto))
		}
		path := words("no documented data path")
		if e.Allowed {
			path = words("allowed by the site file")
		}
		t.Rows = append(t.Rows, row{where, stateCell(state{"bad", "⊘", string(e.Outcome)}, 0), path, words(e.Client.Title()), number(e.Blocked)})
	}
	for _, d := range brief.NeverCaptured(b.sum.Drops) {
		why := "dropped by " + d.By + " (" + d.Reason + ")"
		t.Rows = append(t.Rows, row{words(b.end(d.Dst, d.Proto)), stateCell(state{"bad", "⊘", "dropped"}, 0, why), {}, words(b.host(d.Src.Addr())), {}})
	}
	all := b.command("analyze --finding blocked")
	t.leave(uint64(max(len(keys)-maxRows, 0)), "service", all)
	t.leave(b.t.Blocked.More, "flow", all)
	return t
}

// edges shows who uses which service of whom. link gives the connections of an arrow of the
// diagram its number, and returns the place of the first.
func (b *builder) edges() (_ *table, link func(number int, edges []*model.Edge) string) {
	t := &table{ID: "connections", Title: "Connections", Fold: true, Intro: "Who uses which service of whom; what needs attention comes first.",
		Cols: []col{{"Client", false}, {"Server", false}, {"Port", true}, {"Data path", false}, {"State", false}, {"Roles", false}, {"Flows", true}, {"Bytes", true},
			{"Authentication", false}, {"Encryption", false}, {"Arrow", false}}}
	places := map[*model.Edge]int{}
	list := slices.DeleteFunc(slices.Clone(b.m.Edges), func(e *model.Edge) bool { return e.Platform() && e.State == model.Seen })
	slices.SortStableFunc(list, func(x, y *model.Edge) int { return cmp.Or(x.State.Compare(y.State), cmp.Compare(y.Flows, x.Flows)) })
	for i, e := range list {
		if i == maxRows {
			break
		}
		places[e] = i
		port := cell{Text: "media", Sort: "0"}
		if e.Port != 0 {
			port = cell{Text: fmt.Sprintf("%d/%s", e.Port, capture.ProtoName(e.Proto)), Sort: strconv.Itoa(int(e.Port))}
		}
		what := e.Label
		if e.Label == "" {
			what = e.Why
		}
		if e.Allowed {
			what = "allowed by the site file"
		}
		from, to := b.roles(e)
		var violations []string
		for _, v := range e.Violations {
			violations = append(violations, string(v))
		}
		line := strings.Join(violations, ", ")
		if e.State == model.Blocked {
			line = string(e.Outcome)
		}
		t.Rows = append(t.Rows, row{words(e.Client.Title()), words(e.Server.Title()), port, words(e.Name, what), modelState(e.State, line),
			words(from + " → " + to), number(e.Flows), size(e.Bytes), words(mechanisms(e.Auth)), words(mechanisms(e.Encryption)), {}})
	}
	t.leave(uint64(max(len(list)-maxRows, 0)), "connection", b.command("analyze --by pair"))
	t.leave(b.m.More, "flow", "")
	return t, func(number int, edges []*model.Edge) string {
		first := maxRows
		for _, e := range edges {
			if i, ok := places[e]; ok {
				t.Rows[i][len(t.Cols)-1] = cell{Text: fmt.Sprintf("(%d)", number), Sort: strconv.Itoa(number)}
				first = min(first, i)
			}
		}
		if first == maxRows {
			return ""
		}
		id := fmt.Sprintf("arrow-%d", number)
		t.Rows[first][0].ID = id
		return "#" + id
	}
}

// flowTable shows the flows that need attention one by one.
func (b *builder) flowTable() *table {
	t := &table{ID: "flows", Title: "Flows that need attention", Fold: true, Intro: "exspan explain " + b.o.Input + " ID shows why, with the packets that prove it.",
		Cols: []col{{"Begin", false}, {"State", false}, {"Client", false}, {"Server", false}, {"What", false}, {"Findings", false}, {"ID", false}}}
	for kind, flows := range b.sink.flows {
		s, filter := kinds[kind], "--status "+string(kinds[kind])
		if s == model.Blocked {
			filter = "--finding blocked"
		}
		for i := range flows {
			f := &flows[i]
			line := strings.Join(f.findings, ", ")
			if s == model.Blocked {
				line = string(f.outcome)
			}
			t.Rows = append(t.Rows, row{timeCell(b.sum.First, f.first), modelState(s), words(text.HostPort(b.host(f.client.Addr()), f.client.Port())),
				words(b.end(f.server, f.proto)), words(f.name, f.why), words(line), words(f.id)})
		}
		t.leave(b.sink.more[kind], string(s)+" flow", b.command("analyze "+filter))
	}
	slices.SortStableFunc(t.Rows, func(x, y row) int {
		n, _ := strconv.ParseInt(x[0].Sort, 10, 64)
		m, _ := strconv.ParseInt(y[0].Sort, 10, 64)
		return cmp.Compare(n, m)
	})
	return t
}

// span words the time from a first to a last moment.
func (b *builder) span(first, last time.Time) cell {
	c := timeCell(b.sum.First, first)
	if c.Text != "" && !last.Equal(first) {
		c.Lines = []string{"to " + text.After(b.sum.First, last)}
	}
	return c
}
