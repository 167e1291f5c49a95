package explain

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

func port(p uint16) string   { return strconv.Itoa(int(p)) }
func number(n uint64) string { return strconv.FormatUint(n, 10) }

// Options determines the form of an explanation.
type Options struct {
	JSON  bool
	Width int
	Color bool
	Site  *rules.Site
	// GroupName returns the name of a group of tied paths, or "".
	GroupName func(id string) string
	// Records reports that the input consisted of flow records.
	Records bool
}

// maxRows is the maximum number of rejected rows in the text form.
const maxRows = 10

// Write writes the explanations of flows.
func Write(w io.Writer, flows []*Flow, sum *record.Summary, o Options) error {
	if o.JSON {
		return writeJSON(w, flows, sum, o)
	}
	p := &writer{o: o}
	for i, f := range flows {
		if i > 0 {
			p.line("")
		}
		p.flow(f, sum)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

type writer struct {
	b strings.Builder
	o Options
}

func (p *writer) line(s string) { p.b.WriteString(text.Printable(s) + "\n") }

// column is the column at which the text beside labels begins.
const column = 12

// entry writes a label and, beside it, wrapped text.
func (p *writer) entry(label, s string) { p.indented(label, column, s) }

// indented writes a label and, beside it, text wrapped at an indent.
func (p *writer) indented(label string, column int, s string) {
	room := max(p.o.Width-column, 30)
	s = text.Printable(s)
	for first := true; s != "" || first; first = false {
		cut := len(s)
		if len(s) > room {
			if cut = strings.LastIndexByte(s[:room+1], ' '); cut <= 0 {
				if cut = strings.IndexByte(s, ' '); cut < 0 {
					cut = len(s)
				}
			}
		}
		fmt.Fprintf(&p.b, "%-*s%s\n", column, label, strings.TrimRight(s[:cut], " "))
		s, label = strings.TrimLeft(s[cut:], " "), ""
	}
}

func (p *writer) flow(f *Flow, sum *record.Summary) {
	r := &f.Record
	v := &r.Verdict
	head := fmt.Sprintf("%s  >  %s, %s", end(&r.Client), end(&r.Server), strings.ToUpper(capture.ProtoName(r.Proto)))
	if p.o.Color {
		p.b.WriteString("\x1b[1m" + text.Printable(head) + "\x1b[0m\n")
	} else {
		p.line(head)
	}
	line := text.Moment(r.First) + " to " + r.Last.UTC().Format("15:04:05") + ", " +
		text.Count(r.Packets[0]+r.Packets[1], "packet") + ", " + text.Size(r.Bytes[0]+r.Bytes[1]) + ", " + string(r.Outcome)
	if f.First > 0 {
		line += fmt.Sprintf("; frames %d to %d", f.First, f.Last)
	}
	p.line(line)
	p.line("Community ID " + r.CommunityID())
	p.line("")
	p.verdict(v)
	p.because(f)
	p.roles("client", &r.Client, sum)
	p.roles("server", &r.Server, sum)
	if len(f.Facts) > 0 {
		p.line("")
	}
	for i, x := range f.Facts {
		label := ""
		if i == 0 {
			label = "Read"
		}
		p.entry(label, fact(x))
	}
	p.rows(f)
	p.line("")
	if p.o.Records {
		p.entry("Not known", "in which packets this was read, and what other rows were held against it: flow records do not hold that, the capture does.")
	}
	p.b.WriteString("Wireshark   " + f.Filter() + "\n")
}

func fact(x Fact) string {
	s := x.Name + "=" + x.Value
	if x.Frame > 0 {
		s += fmt.Sprintf("  (frame %d)", x.Frame)
	}
	return s
}

func end(h *record.Host) string {
	if h.Name != "" {
		return fmt.Sprintf("%s (%s) port %d", h.Name, h.Addr, h.Port)
	}
	return fmt.Sprintf("%s port %d", h.Addr, h.Port)
}

// verdict writes the verdict.
func (p *writer) verdict(v *record.Verdict) {
	switch label := tally.Label(v); {
	case label != "":
		p.entry("It is", tally.PathName(label, v.Path, p.o.GroupName)+" ("+string(v.Status)+")")
		ids := v.Path.ID
		for _, a := range v.Also {
			ids += ", " + a.ID
		}
		if len(v.Also) > 0 {
			ids = "one of " + ids + ", which packets cannot tell apart"
		}
		p.entry("", ids+"; confidence "+v.Confidence.String())
		p.entry("", "Reference: "+cmp.Or(v.Path.Source, "none"))
	case v.Reason != "":
		p.entry("It is", string(v.Status)+", "+string(v.Reason))
	default:
		p.entry("It is", string(v.Status))
	}
}

// because writes the evidence for the verdict.
func (p *writer) because(f *Flow) {
	r := &f.Record
	label := "Because"
	say := func(s string) {
		p.entry(label, s)
		label = ""
	}
	if r.Verdict.Why != "" {
		say(r.Verdict.Why)
	}
	if e := r.Endpoint; e != nil {
		s := e.Service + " was announced at this port (" + string(e.Source) + ")"
		if e.From.IsValid() {
			s += " by " + e.From.String()
		}
		if f.Announced > 0 {
			s += fmt.Sprintf(" in frame %d", f.Announced)
		}
		say(s)
	}
	for i := range r.Verdict.Findings {
		x := &r.Verdict.Findings[i]
		say(string(x.Level) + " " + string(x.ID) + ": " + x.Detail)
	}
	for _, x := range f.Facts {
		if transportFact(x.Name) {
			say(fact(x))
		}
	}
}

// roles writes the roles of one end of the flow and their evidence.
func (p *writer) roles(what string, h *record.Host, sum *record.Summary) {
	if len(h.Roles) == 0 {
		p.entry("Roles", what+": none is known")
		return
	}
	for _, e := range evidence(h, sum, p.o.Site) {
		p.entry("Roles", what+": "+e)
	}
}

// evidence returns the roles of a host, each with its evidence.
func evidence(h *record.Host, sum *record.Summary, site *rules.Site) []string {
	var list []string
	for i := range sum.Hosts {
		if sum.Hosts[i].Addr != h.Addr {
			continue
		}
		for _, proof := range sum.Hosts[i].Roles {
			list = append(list, strings.ReplaceAll(proof.Role, "|", " or ")+" ("+cmp.Or(proof.Evidence, "no evidence")+")")
		}
	}
	if list != nil {
		return list
	}
	how := "from its address"
	if n := site.Network(h.Addr); n != nil {
		how = "site file, network " + n.Prefix.String()
	}
	for _, role := range h.Roles {
		list = append(list, strings.ReplaceAll(role, "|", " or ")+" ("+how+")")
	}
	return list
}

// rows writes the rows that the flow may follow.
func (p *writer) rows(f *Flow) {
	chosen := true
	n := 0
	for i := range f.Candidates {
		c := &f.Candidates[i]
		if i == 0 || c.Chosen != chosen {
			p.line("")
		}
		label := "Not"
		if c.Chosen {
			label = "Row"
		}
		if chosen = c.Chosen; !chosen {
			if n++; n > maxRows {
				p.entry("", "and "+text.Count(uint64(len(f.Candidates)-i), "more row")+": --format json")
				break
			}
		}
		p.entry(label, c.Path.ID+"  "+c.Path.Name)
		if c.Chosen && len(c.For) > 0 {
			p.indented("            for", column+5, strings.Join(c.For, "; "))
		}
		if len(c.Against) > 0 {
			p.indented("", column+4, strings.Join(c.Against, "; "))
		}
	}
}

// flowJSON is the JSON form of an explanation.
type flowJSON struct {
	CommunityID string          `json:"community_id"`
	Client      netip.AddrPort  `json:"client"`
	Server      netip.AddrPort  `json:"server"`
	Status      string          `json:"status"`
	Reason      string          `json:"reason,omitempty"`
	Path        string          `json:"path,omitempty"`
	Also        []string        `json:"also,omitempty"`
	Confidence  string          `json:"confidence,omitempty"`
	Why         string          `json:"why,omitempty"`
	FirstFrame  uint64          `json:"first_frame,omitempty"`
	LastFrame   uint64          `json:"last_frame,omitempty"`
	Announced   uint64          `json:"announced_in_frame,omitempty"`
	ClientRoles []string        `json:"client_roles,omitempty"`
	ServerRoles []string        `json:"server_roles,omitempty"`
	Facts       []factJSON      `json:"facts,omitempty"`
	Candidates  []candidateJSON `json:"candidates,omitempty"`
	Filter      string          `json:"display_filter"`
}

type factJSON struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Frame uint64 `json:"frame,omitempty"`
}

type candidateJSON struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Chosen  bool     `json:"chosen"`
	For     []string `json:"for,omitempty"`
	Against []string `json:"against,omitempty"`
}

func writeJSON(w io.Writer, flows []*Flow, sum *record.Summary, o Options) error {
	list := make([]flowJSON, len(flows))
	for i, f := range flows {
		r, v := &f.Record, &f.Record.Verdict
		j := flowJSON{
			CommunityID: r.CommunityID(), Client: netip.AddrPortFrom(r.Client.Addr, r.Client.Port), Server: netip.AddrPortFrom(r.Server.Addr, r.Server.Port),
			Status: string(v.Status), Reason: string(v.Reason), Confidence: v.Confidence.String(), Why: v.Why,
			FirstFrame: f.First, LastFrame: f.Last, Announced: f.Announced, Filter: f.Filter(),
		}
		if v.Path != nil {
			j.Path = v.Path.ID
		}
		for _, a := range v.Also {
			j.Also = append(j.Also, a.ID)
		}
		if len(r.Client.Roles) > 0 {
			j.ClientRoles = evidence(&r.Client, sum, o.Site)
		}
		if len(r.Server.Roles) > 0 {
			j.ServerRoles = evidence(&r.Server, sum, o.Site)
		}
		for _, x := range f.Facts {
			j.Facts = append(j.Facts, factJSON(x))
		}
		for _, c := range f.Candidates {
			j.Candidates = append(j.Candidates, candidateJSON{c.Path.ID, c.Path.Name, c.Chosen, c.For, c.Against})
		}
		list[i] = j
	}
	return exporter.JSON(w, list)
}
