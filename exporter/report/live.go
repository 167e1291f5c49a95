package report

import (
	"html/template"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// Live is what the page of a running monitor shows besides what a report does.
type Live struct {
	AsOf time.Time
	// Now says in lines what goes on now.
	Now []string
	// Events is the address of the stream that tells of changes, Flows that of the list of
	// flows, Report that of the report, and Metrics that of the metrics. A query path=LABEL
	// chooses among the last two.
	Events, Flows, Report, Metrics string
	// Overview is the address of the live page, for pages that are another one.
	Overview string
	// Records are the last flows, those that are not final and then the newest first, and
	// Of is the number of those that they were chosen from. Query is what they were chosen
	// by.
	Records []record.Record
	Of      int
	Query   url.Values
	// Form chooses flows.
	Form Form
	// Fleet is what is known of the sensors that share, and FleetJSON its address; nil and
	// empty where the monitor does not share.
	Fleet     *health.View
	FleetJSON string
}

// refresh is the number of seconds after which a browser without JavaScript asks for the page
// again.
const refresh = 30

// maxLive is the number of flows on the live page.
const maxLive = 50

// Form is a form that chooses flows.
type Form struct {
	Action string
	Fields []Field
}

// Field is a field of a form.
type Field struct {
	Name, Label, Value string
	Example            string
	Words              []string // to choose from; nil for any text
}

// live is what stands at the top of a live page.
type live struct {
	AsOf, Events string
	Refresh      int
	Now          []string
	Links        []link
}

func (l *Live) head() *live {
	h := &live{AsOf: AsOf(l.AsOf), Events: l.Events, Refresh: refresh, Now: printable(slices.Clone(l.Now))}
	for _, x := range []link{{l.Overview, "Overview"}, {l.Report, "Report as of now"}, {l.Flows, "Flows"}, {l.Metrics, "Metrics"}} {
		if x.Href != "" {
			h.Links = append(h.Links, x)
		}
	}
	return h
}

// AsOf words the moment of which a live page is.
func AsOf(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// links lead from a data path to its flows and its metrics.
func (l *Live) links(label string) []link {
	query := "?" + url.Values{"path": {label}}.Encode()
	return []link{{l.Flows + query, "flows"}, {l.Metrics + query, "metrics"}}
}

// table lists flows.
func (l *Live) table(packs *rules.Packs, title string) *table {
	t := &table{ID: "flows", Title: title, Empty: "No flow is chosen.", Form: &l.Form,
		Intro: "The last flows that concern Exchange: first those that may need attention and go on or wait for their final verdict, then those that ended.",
		Cols: []col{{"Begin", false}, {"State", false}, {"Client", false}, {"Server", false}, {"Protocol", false}, {"Data path", false}, {"Bytes", true},
			{"Findings", false}, {"ID", false}}}
	if l.Of == 0 {
		t.Empty = "No flow that concerns Exchange has ended yet."
	}
	names := map[netip.Addr]string{}
	for i := range l.Records {
		for _, h := range [...]*record.Host{&l.Records[i].Client, &l.Records[i].Server} {
			if h.Name != "" {
				names[h.Addr] = h.Name
			}
		}
	}
	host := func(a netip.Addr) string {
		if n := names[a]; n != "" {
			return n
		}
		return a.String()
	}
	for i := range l.Records {
		r := &l.Records[i]
		v := &r.Verdict
		path, label := "–", tally.Label(v)
		if label != "" {
			path = tally.PathName(label, v.Path, packs.GroupName)
		}
		var findings []string
		if v.Reason != "" {
			findings = append(findings, string(v.Reason))
		}
		for k := range v.Findings {
			if id := string(v.Findings[k].ID); v.Findings[k].Level == record.Violation && !slices.Contains(findings, id) {
				findings = append(findings, id)
			}
		}
		server := words(text.End(host(r.Server.Addr), r.Server.Port, r.Proto), addressOf(&r.Server))
		client := words(text.HostPort(host(r.Client.Addr), r.Client.Port), addressOf(&r.Client))
		t.Rows = append(t.Rows, row{timeCell(l.AsOf, r.First), statusCell(r), client, server, words(r.Protocol), words(path, label),
			size(r.Bytes[0] + r.Bytes[1]), words(strings.Join(findings, ", "), v.Why), words(r.CommunityID())})
	}
	return t
}

// addressOf returns the address of a host that has a name, else "".
func addressOf(h *record.Host) string {
	if h.Name == "" {
		return ""
	}
	return h.Addr.String()
}

// statusCell shows the status of a flow, and that it was tried in vain.
func statusCell(r *record.Record) cell {
	statuses := record.Statuses()
	line := ""
	if r.Verdict.Status != record.Unrelated && r.Outcome.Blocked() {
		line = string(r.Outcome)
	}
	if r.State == "active" {
		line = strings.TrimPrefix(line+", not final", ", ")
	}
	for _, s := range statuses {
		if s == r.Verdict.Status {
			return stateCell(badgeOf(s), slices.Index(statuses, s), line)
		}
	}
	return words(string(r.Verdict.Status), line)
}

// Page is a page of a running monitor.
type Page struct {
	HTML []byte
	// Parts are the parts of HTML that change, in order, those beside the main part first.
	Parts []Section
}

// Live returns the page of a running monitor. Like Close, it is called once.
func (s *Sink) Live(sum *record.Summary, l *Live) (*Page, error) {
	shown := *l
	if n := len(l.Records); n > maxLive {
		shown.Records = l.Records[:maxLive]
	}
	p, err := s.page(sum, &shown)
	if err != nil {
		return nil, err
	}
	return p.parts()
}

// FlowList returns a page that lists flows.
func FlowList(packs *rules.Packs, title string, l *Live) (*Page, error) {
	p := &page{Kind: kindLive, Title: text.Printable(title), Sentence: "Flows", Live: l.head(),
		Facts: text.Count(uint64(len(l.Records)), "flow") + " of the " + strconv.Itoa(l.Of) + " that are kept."}
	t := l.table(packs, "The last flows")
	t.cut(maxRows, "flow", "")
	t.Links = []link{{strings.TrimSuffix("/records?"+l.Query.Encode(), "?"), "As NDJSON"}}
	p.Tables = []*table{t}
	return p.parts()
}

// parts writes p whole and in parts.
func (p *page) parts() (*Page, error) {
	var b strings.Builder
	if err := p.html(&b); err != nil {
		return nil, err
	}
	t, err := parse(true)
	if err != nil {
		return nil, err
	}
	out := &Page{HTML: []byte(b.String())}
	p.Live.AsOf = "" // which changes although nothing else does
	for _, part := range []struct{ name, id string }{{"head", "head"}, {"nav", "contents"}} {
		var html strings.Builder
		if err := t.ExecuteTemplate(&html, part.name, p); err != nil {
			return nil, err
		}
		out.Parts = append(out.Parts, Section{ID: part.id, HTML: template.HTML(html.String())})
	}
	out.Parts = append(out.Parts, p.Sections...)
	return out, nil
}

// Notice returns a page that says one thing and what to do about it.
func Notice(title, sentence string, advice ...string) []byte {
	p := &page{Kind: "exspan", Title: text.Printable(title), Sentence: sentence, Advice: printable(slices.Clone(advice))}
	var b strings.Builder
	if err := p.html(&b); err != nil {
		return []byte(template.HTMLEscapeString(sentence))
	}
	return []byte(b.String())
}

// LivePolicy returns the content security policy of live pages, for a server that sends it
// as a header, too.
func LivePolicy() string { return policy(true) + noFrame }

// Policy is like LivePolicy, for reports.
func Policy() string { return policy(false) + noFrame }

const noFrame = "; frame-ancestors 'none'"
