package report

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/exspan/exspan/capture"
	classifycalls "github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/diagram"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/rules"
)

var start = time.Date(2026, 11, 21, 21, 3, 37, 0, time.UTC)

func packsOf(t *testing.T) *rules.Packs {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

func host(addr string, port uint16, name string, roles ...string) record.Host {
	return record.Host{Addr: netip.MustParseAddr(addr), Port: port, Name: name, Roles: roles}
}

func flowOf(client, server record.Host, v record.Verdict) *record.Record {
	return &record.Record{Proto: capture.TCP, State: "ended", Outcome: record.Answered, Client: client, Server: server, Verdict: v, Packets: record.Count{6, 4},
		Bytes: record.Count{1000, 500}, First: start, Last: start.Add(time.Second)}
}

func write(t *testing.T, o Options, sum *record.Summary, records ...*record.Record) string {
	t.Helper()
	var b bytes.Buffer
	s := New(&b, o)
	for _, r := range records {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(sum); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Texts that try to be markup, each with an element or an attribute that gives it away.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</style><script>alert(1)</script>`, `javascript:alert(1)`,
	"a\x00b\u202eevil\x1b[2J", `{{.Title}}`, `]]>--><svg onload=alert(1)>`, `</title><base href=//evil.example>`,
}

// everything returns a run in which every text that may come from the wire is s.
func everything(t *testing.T, s string) (Options, *record.Summary, []*record.Record) {
	packs := packsOf(t)
	imap := packs.Path("2010.cas.imap4")
	client, cas := host("10.0.0.9", 1050, s, "client"), host("10.0.0.5", 143, s, "cas")
	facts := &observe.Facts{}
	facts.Add(observe.Auth, s)
	facts.Add(observe.Encryption, s)
	deviating := flowOf(client, cas, record.Verdict{Status: record.Deviating, Path: imap, Group: imap.ID, Why: s, Confidence: record.Observed,
		Findings: []record.Finding{{ID: record.FindingCleartext, Level: record.Violation, Detail: s}, {ID: record.FindingWeakAuth, Level: record.Accepted, Detail: s}}})
	deviating.Protocol, deviating.Facts = "imap", facts
	odd := flowOf(client, host("10.0.0.5", 4444, s), record.Verdict{Status: record.Unexpected, Reason: record.NoPath, Why: s})
	odd.Protocol = s
	refused := flowOf(client, cas, record.Verdict{Status: record.Expected, Path: imap, Group: imap.ID})
	refused.Outcome = record.Refused
	open := flowOf(client, cas, record.Verdict{Status: record.Undetermined, Reason: record.NoPayload, Why: s})
	other := flowOf(client, host("10.0.0.77", 80, s), record.Verdict{Status: record.Unrelated})
	other.Protocol = s
	addr := netip.MustParseAddrPort
	sum := &record.Summary{First: start, Last: start.Add(time.Minute), Frames: 90, Packets: 80, IPBytes: 1_234_567,
		Hosts: []record.HostSummary{{Addr: cas.Addr, Name: s, Version: "2010", Build: s, Roles: []record.RoleProof{{Role: "cas", Evidence: s}}}},
		Endpoints: []record.EndpointSummary{{Server: addr("10.0.0.5:1032"), Flows: 2,
			LearnedEndpoint: record.LearnedEndpoint{Service: s, Annotation: s, Source: observe.FromMap, Learned: start}}},
		Calls: []classifycalls.Call{{Start: start, Outcome: classifycalls.Answered, Caller: s, Callee: s, Diagnostic: s,
			Legs:    []classifycalls.Leg{{From: addr("10.0.0.9:5060"), To: addr("10.0.0.5:5060"), Redirect: -1}},
			Media:   []classifycalls.Medium{{Side: "caller", Kind: s, Encryption: s}},
			Streams: []classifycalls.Stream{{Codec: s, Loss: 0.02}}}},
		Skipped: []record.NamedCount{{Name: s, Count: 9}}, Unread: []record.NamedCount{{Name: s, Count: 9}}, Limits: []record.NamedCount{{Name: s, Count: 2}},
		Notes: []string{s}, Errors: []error{errors.New(s)},
		Drops: []record.Drop{{Src: addr("10.0.0.9:1"), Dst: addr("10.0.0.5:25"), Proto: capture.TCP, Reason: s, By: s, Component: s, Packets: 1}},
	}
	draw := func(m *model.Model, link func(int, []*model.Edge) string) ([]byte, error) {
		g := diagram.New(m, diagram.Options{By: diagram.ByRole, Title: s})
		g.Link = func(a *diagram.Arrow) string { return link(a.Number, a.Edges) }
		var b bytes.Buffer
		err := diagram.Write(&b, g, diagram.SVG)
		return b.Bytes(), err
	}
	return Options{Packs: packs, Title: s, Version: s, Assumed: "2010", Input: s, Diagram: draw}, sum, []*record.Record{deviating, odd, refused, open, other}
}

// elements returns the names of elements and attributes of a page, with their number.
func elements(t *testing.T, page string) map[string]int {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for node := range doc.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		n[node.Data]++
		for _, a := range node.Attr {
			n[node.Data+" "+a.Key]++
			if a.Key == "href" && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("a link to %s", a.Val)
			}
		}
	}
	return n
}

// TestHostile verifies that texts from the wire add no element and no attribute to the page,
// and are there as text.
func TestHostile(t *testing.T) {
	o, sum, records := everything(t, "plain")
	want := elements(t, write(t, o, sum, records...))
	for _, k := range []string{"script", "style", "base", "img", "meta"} {
		if most := map[string]int{"script": 1, "style": 1, "meta": 5 + 1}[k]; want[k] > most {
			t.Errorf("%d elements %s", want[k], k)
		}
	}
	for _, s := range hostile {
		o, sum, records := everything(t, s)
		page := write(t, o, sum, records...)
		got := elements(t, page)
		for k, n := range got {
			if n != want[k] {
				t.Errorf("%q: %d of %s, want %d", s, n, k, want[k])
			}
		}
		if strings.ContainsAny(page, "\x00\x1b\u202e") {
			t.Errorf("%q: control characters are in the page", s)
		}
		doc, _ := html.Parse(strings.NewReader(page))
		var texts strings.Builder
		for node := range doc.Descendants() {
			if node.Type == html.TextNode && node.Parent.Data != "script" && node.Parent.Data != "style" {
				texts.WriteString(node.Data + "\n")
			}
		}
		if visible := strings.Count(texts.String(), strings.NewReplacer("\x00", "?", "\x1b", "?", "\u202e", "?").Replace(s)); visible < 20 {
			t.Errorf("%q is text in %d places", s, visible)
		}
	}
}

// TestHostileMarkdown verifies that no text from the wire is markup in a ticket.
func TestHostileMarkdown(t *testing.T) {
	for _, s := range append([]string{"a|b", "[x](http://evil.example)", "![x](y)", "**bold**", "`code`", "@everyone"}, hostile...) {
		o, sum, records := everything(t, s)
		o.Format = Markdown
		md := write(t, o, sum, records...)
		for line := range strings.Lines(md) {
			bare := regexp.MustCompile(`\\.`).ReplaceAllString(line, "")
			bare = strings.ReplaceAll(bare, "<br>", "")
			if strings.ContainsAny(strings.ReplaceAll(bare, "**", ""), "<>`@[]") {
				t.Errorf("%q is markup in %q", s, line)
			}
		}
	}
}

// TestPolicy verifies that the hashes in the policy are those of what the page holds.
func TestPolicy(t *testing.T) {
	o, sum, records := everything(t, "plain")
	page := write(t, o, sum, records...)
	if !strings.Contains(page, "default-src &#39;none&#39;; style-src &#39;sha256-") {
		t.Error("no strict policy")
	}
	for _, part := range []string{"<style>" + pageCSS + "</style>", "<script>" + pageJS + "</script>"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page does not hold %.40q as it was hashed", part)
		}
	}
	if strings.Contains(page, " style=") || regexp.MustCompile(`\son\w+=`).MatchString(page) {
		t.Error("a style or a handler in an attribute, which the policy forbids")
	}
}

// TestBounded verifies that a page of many flows is small, and says what it leaves out.
func TestBounded(t *testing.T) {
	packs := packsOf(t)
	imap := packs.Path("2010.cas.imap4")
	var b bytes.Buffer
	s := New(&b, Options{Packs: packs, Title: "t", Assumed: "2010", Input: "a.pcap"})
	const flows = 100_000
	for i := range flows {
		client := record.Host{Addr: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), Port: uint16(i), Roles: []string{"client"}}
		server := host("10.0.0.5", 143, "cas1", "cas")
		server.Addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 40)})
		v := record.Verdict{Status: record.Expected, Path: imap, Group: imap.ID}
		if i%3 == 0 {
			v = record.Verdict{Status: record.Unexpected, Reason: record.NoPath, Why: "no path has this port"}
			server.Port = uint16(i)
		}
		if i%5 == 0 && v.Path != nil {
			v.Status, v.Findings = record.Deviating, []record.Finding{{ID: record.FindingCleartext, Level: record.Violation}}
		}
		r := flowOf(client, server, v)
		r.First = start.Add(time.Duration(i) * time.Millisecond)
		r.Last = r.First.Add(time.Second)
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(&record.Summary{First: start, Last: start.Add(101 * time.Second)}); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 10_000_000 {
		t.Errorf("%d bytes", b.Len())
	}
	t.Logf("%d bytes", b.Len())
	for _, want := range []string{
		fmt.Sprintf("%s more unexpected flows left out; to list all: exspan analyze --status unexpected a.pcap.", "33,084"),
		"more connections left out; to list all: exspan analyze --by pair a.pcap.",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q", want)
		}
	}
}

// TestTimeline adds flows in any order and verifies that no byte is lost, and that they are
// where they belong.
func TestTimeline(t *testing.T) {
	end := start.Add(time.Hour)
	add := func(l *timeline, from, to time.Duration, bytes uint64) { l.add(start.Add(from), start.Add(to), bytes) }
	flows := [][3]int{{0, 0, 100}, {30, 31, 6000}, {59, 60, 10}, {10, 50, 4000}, {5, 5, 7}}
	for range len(flows) {
		flows = append(flows[1:], flows[0])
		l := &timeline{}
		for _, f := range flows {
			add(l, time.Duration(f[0])*time.Minute, time.Duration(f[1])*time.Minute, uint64(f[2]))
		}
		cols := l.columns(start, end)
		sum := 0.0
		for _, n := range cols {
			sum += n
		}
		if sum < 10116 || sum > 10118 {
			t.Errorf("%v bytes, want 10117", sum)
		}
		if at := slices.Index(cols, slices.Max(cols)); at < 23 || at > 25 {
			t.Errorf("the peak is in column %d of %d, want half way", at, columns)
		}
	}
	svg, words := (&timeline{}).spark(start, end)
	if svg != "" || words != "" {
		t.Errorf("a picture of nothing: %q %q", svg, words)
	}
	// A run of one moment, and times before 1970 and far away.
	l := &timeline{}
	l.add(start, start, 5)
	if _, words := l.spark(start, start); !strings.Contains(words, "5 B") {
		t.Errorf("words %q", words)
	}
	l = &timeline{}
	l.add(time.Unix(-5, 0), time.Unix(-5, 0), 1)
	l.add(time.Unix(4_000_000_000, 0), time.Unix(4_000_000_000, 0), 1)
	l.add(time.Unix(-9e8, 0), time.Unix(-9e8, 0), 1)
	if got := l.columns(time.Unix(-9e8, 0), time.Unix(4_000_000_000, 0)); got[0] < 0.9 || got[columns-1] < 0.9 {
		t.Errorf("columns %v", got)
	}
}

// FuzzTimeline verifies that no times make it fail.
func FuzzTimeline(f *testing.F) {
	f.Add(int64(0), int64(5), int64(-3), int64(1<<60))
	f.Fuzz(func(t *testing.T, a, b, c, d int64) {
		l := &timeline{}
		l.add(time.Unix(0, a), time.Unix(0, b), 10)
		l.add(time.Unix(0, c), time.Unix(0, d), 10)
		l.spark(time.Unix(0, min(a, c)), time.Unix(0, max(b, d)))
	})
}

// TestMatrix verifies that roles, flows and the gravest state stand where they belong.
func TestMatrix(t *testing.T) {
	o, sum, records := everything(t, "plain")
	s := New(&bytes.Buffer{}, o)
	for _, r := range records {
		_ = s.Write(r)
	}
	if err := s.Close(sum); err != nil {
		t.Fatal(err)
	}
	b := &builder{o: &s.o, sink: s, m: s.m.Model(), t: s.m.Tally(), sum: sum, names: map[netip.Addr]string{}}
	m := b.matrix()
	if len(m.Rows) != 1 || m.Rows[0][0].Text != "clients" || m.Cols[1].Name != "Client Access" || m.Rows[0][1].Text != "4" ||
		m.Rows[0][1].State != badge(model.Unexpected) {
		t.Errorf("columns %v, rows %+v", m.Cols, m.Rows)
	}
}
