package diagram

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/model"
)

// Format is how a diagram is written.
type Format string

// The formats.
const (
	SVG     Format = "svg"
	PNG     Format = "png"
	DOT     Format = "dot"     // for Graphviz
	Mermaid Format = "mermaid" // for Markdown
	DrawIO  Format = "drawio"  // for diagrams.net
	JSON    Format = "json"
)

// Formats returns every format.
func Formats() []Format { return []Format{SVG, PNG, DOT, Mermaid, DrawIO, JSON} }

// Write writes a graph. The same graph gives the same bytes.
func Write(w io.Writer, g *Graph, f Format) error {
	switch f {
	case PNG:
		return writePNG(w, draw(g))
	case DOT:
		return writeDOT(w, g)
	case Mermaid:
		return writeMermaid(w, g)
	case DrawIO:
		return writeDrawIO(w, g)
	case JSON:
		return writeJSON(w, g)
	}
	return writeSVG(w, draw(g))
}

// short returns what stands on an arrow where there is no legend beside it.
func (a *Arrow) short() string {
	s := a.Names[0]
	if len(a.Names) > 1 {
		s = fmt.Sprintf("%d paths", len(a.Names))
	}
	ports := a.Ports
	if len(ports) > 3 {
		ports = append(slices.Clone(ports[:3]), "...")
	}
	s = fmt.Sprintf("%d. %s, %s", a.Number, s, strings.Join(ports, ", "))
	if w := a.Word(); w != "" {
		s = w + " " + s
	}
	if a.Lock != Unknown {
		s += ", " + string(a.Lock)
	}
	return s
}

// quotedDOT returns text as a quoted string of the DOT language.
func quotedDOT(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func writeDOT(w io.Writer, g *Graph) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph exspan {\n\trankdir=LR;\n\tlabel=%s;\n\tlabelloc=t;\n\tnode [shape=box, style=filled, fillcolor=%q, fontname=\"Arial\"];\n\tedge [fontname=\"Arial\", fontsize=10];\n",
		quotedDOT(g.Title), boxFill)
	for start := 0; start < len(g.Nodes); {
		end := start
		for end < len(g.Nodes) && g.Nodes[end].Column == g.Nodes[start].Column {
			end++
		}
		b.WriteString("\t{ rank=same;\n")
		for _, n := range g.Nodes[start:end] {
			fmt.Fprintf(&b, "\t\t%s [label=%s];\n", n.ID, quotedDOT(strings.Join(n.Lines(), "\n")))
		}
		b.WriteString("\t}\n")
		start = end
	}
	for _, a := range g.Arrows {
		s := styleOf(a.State)
		line := "solid"
		if s.dashes {
			line = "dashed"
		}
		fmt.Fprintf(&b, "\t%s -> %s [label=%s, tooltip=%s, color=%q, penwidth=%s, style=%s];\n", a.From.ID, a.To.ID, quotedDOT(a.short()), quotedDOT(a.Text()), s.colour, num(s.width), line)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// quotedMermaid returns text as a quoted string of Mermaid, in which every character
// that it may read as its own is written as a number.
func quotedMermaid(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '\n':
			b.WriteString("<br>")
		case strings.ContainsRune("\"#;&<>`[]{}|\\$%*_~", c):
			fmt.Fprintf(&b, "#%d;", c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func writeMermaid(w io.Writer, g *Graph) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "    %s[%s]\n", n.ID, quotedMermaid(strings.Join(n.Lines(), "\n")))
	}
	for _, a := range g.Arrows {
		line := "-->"
		switch a.State {
		case model.Unexpected, model.Deviating:
			line = "==>"
		case model.Blocked, model.Undetermined:
			line = "-.->"
		}
		fmt.Fprintf(&b, "    %s %s|%s| %s\n", a.From.ID, line, quotedMermaid(a.short()), a.To.ID)
	}
	for i, a := range g.Arrows {
		s := styleOf(a.State)
		fmt.Fprintf(&b, "    linkStyle %d stroke:%s,stroke-width:%spx\n", i, s.colour, num(s.width))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeDrawIO writes shapes that can be moved, on layers: what was seen, what needs
// attention, and, hidden at first, what is documented and was not seen.
func writeDrawIO(w io.Writer, g *Graph) error {
	p := layout(g)
	var b strings.Builder
	fmt.Fprintf(&b, "<mxfile host=\"exspan\"><diagram id=\"exspan\" name=\"%s\"><mxGraphModel grid=\"1\" gridSize=\"10\" page=\"0\"><root>\n<mxCell id=\"0\"/>\n", escaped(g.Title))
	for _, l := range []struct{ id, name, hidden string }{{"observed", "Observed", ""}, {"findings", "Findings", ""}, {"documented", "Documented, not seen", ` visible="0"`}} {
		fmt.Fprintf(&b, "<mxCell id=\"%s\" value=\"%s\" parent=\"0\"%s/>\n", l.id, l.name, l.hidden)
	}
	for _, x := range p.boxes {
		fill := boxFill
		if x.node.Column == 0 {
			fill = outside
		}
		lines := x.node.Lines()
		lines[0] = "<b>" + escaped(lines[0]) + "</b>"
		for i := 1; i < len(lines); i++ {
			lines[i] = escaped(lines[i])
		}
		fmt.Fprintf(&b, "<mxCell id=\"%s\" value=\"%s\" style=\"rounded=1;arcSize=5;html=1;whiteSpace=wrap;fillColor=%s;strokeColor=%s;\" vertex=\"1\" parent=\"observed\"><mxGeometry x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" as=\"geometry\"/></mxCell>\n",
			x.node.ID, escaped(strings.Join(lines, "<br>")), fill, border, num(x.x), num(x.y), num(x.w), num(x.h))
	}
	for i, r := range p.routes {
		a, layer := r.arrow, "observed"
		if a.Word() != "" {
			layer = "findings"
		}
		from, to := p.boxOf(a.From), p.boxOf(a.To)
		begin, end := r.way[0], r.way[len(r.way)-1]
		style := fmt.Sprintf("labelBackgroundColor=%s;fontStyle=1;fontSize=12;fontColor=%s;exitX=%s;exitY=%s;entryX=%s;entryY=%s;exitPerimeter=0;entryPerimeter=0;", paper, styleOf(a.State).colour,
			share(begin.x-from.x, from.w), share(begin.y-from.y, from.h), share(end.x-to.x, to.w), share(end.y-to.y, to.h))
		drawioEdge(&b, fmt.Sprintf("a%d", a.Number), layer, a, strings.TrimSpace(fmt.Sprint(a.Number, " ", drawioMark(a.State))), style, 2*r.part-1, r.bends())
		// What the number means stands below, as in the other formats.
		text := strings.TrimSpace(fmt.Sprintf("%d. %s %s to %s: %s", a.Number, a.Word(), a.From.Title, a.To.Title, a.Text()))
		fmt.Fprintf(&b, "<mxCell id=\"l%d\" value=\"%s\" style=\"text;html=1;strokeColor=none;fillColor=none;align=left;verticalAlign=middle;fontSize=12;fontColor=%s;\" vertex=\"1\" parent=\"%s\"><mxGeometry x=\"%s\" y=\"%s\" width=\"%s\" height=\"20\" as=\"geometry\"/></mxCell>\n",
			a.Number, escaped(escaped(text)), ink, layer, num(margin), num(p.h+float64(i)*22), num(max(p.w-2*margin, textWidth(text, false))))
	}
	for i, a := range g.NotSeen {
		drawioEdge(&b, fmt.Sprintf("d%d", i+1), "documented", a, a.Names[0]+", "+strings.Join(a.Ports, ", "), "fontSize=10;", 0, nil)
	}
	b.WriteString("</root></mxGraphModel></diagram></mxfile>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// boxOf returns the box of a node.
func (p *placed) boxOf(n *Node) *box {
	for _, b := range p.boxes {
		if b.node == n {
			return b
		}
	}
	return nil
}

// share returns a part of a whole as draw.io takes it, 0 to 1.
func share(part, whole float64) string {
	if whole <= 0 {
		return "0.5"
	}
	return strconv.FormatFloat(min(max(part/whole, 0), 1), 'f', 3, 64)
}

// drawioMark stands beside the number of an arrow that needs attention.
func drawioMark(s model.State) string {
	switch s {
	case model.Unexpected:
		return "✕"
	case model.Deviating:
		return "!"
	case model.Blocked:
		return "⊘"
	}
	return ""
}

// bends returns the points that the arrow of r passes, without its ends.
func (r *route) bends() []point {
	if len(r.via) == 0 && len(r.way) == 4 && r.way[1].x > r.way[0].x && r.way[2].x > r.way[3].x {
		return []point{r.way[1], r.way[2]} // around a side
	}
	var list []point
	for i := 1; i+2 < len(r.way); i += 3 {
		// Where one curve goes on as the next: at both sides of the columns that it crosses.
		if i+3 < len(r.way) {
			list = append(list, r.way[i+2])
		}
	}
	return list
}

// drawioEdge writes an arrow. at is the place of its label, -1 at its begin and 1 at its end.
func drawioEdge(b *strings.Builder, id, layer string, a *Arrow, label, more string, at float64, bends []point) {
	s := styleOf(a.State)
	style := fmt.Sprintf("html=1;curved=1;endArrow=block;strokeColor=%s;strokeWidth=%s;", s.colour, num(s.width)) + more
	if s.dashes || a.State == model.NotSeen {
		style += "dashed=1;"
	}
	fmt.Fprintf(b, "<mxCell id=\"%s\" value=\"%s\" style=\"%s\" edge=\"1\" parent=\"%s\" source=\"%s\" target=\"%s\"><mxGeometry x=\"%s\" relative=\"1\" as=\"geometry\">",
		id, escaped(escaped(label)), style, layer, a.From.ID, a.To.ID, strconv.FormatFloat(at, 'f', 2, 64))
	if len(bends) > 0 {
		b.WriteString("<Array as=\"points\">")
		for _, q := range bends {
			fmt.Fprintf(b, "<mxPoint x=\"%s\" y=\"%s\"/>", num(q.x), num(q.y))
		}
		b.WriteString("</Array>")
	}
	b.WriteString("</mxGeometry></mxCell>\n")
}

// The diagram in JSON.
type graphJSON struct {
	Title   string      `json:"title"`
	Nodes   []nodeJSON  `json:"nodes"`
	Arrows  []arrowJSON `json:"arrows"`
	NotSeen []arrowJSON `json:"not_seen,omitempty"`
	Ways    []wayJSON   `json:"ways,omitempty"`
	Notes   []string    `json:"notes,omitempty"`
}

// wayJSON is a way through a load balancer.
type wayJSON struct {
	From          netip.AddrPort `json:"from"`
	To            netip.AddrPort `json:"to"`
	Conversations uint64         `json:"conversations"`
}

type nodeJSON struct {
	ID     string     `json:"id"`
	Title  string     `json:"title"`
	Column int        `json:"column"`
	Hosts  []hostJSON `json:"hosts"`
}

type hostJSON struct {
	Name    string     `json:"name,omitempty"`
	Address netip.Addr `json:"address,omitzero"` // none where it stands for many
	Roles   []string   `json:"roles,omitempty"`
	Version string     `json:"version,omitempty"`
}

type arrowJSON struct {
	Number     int         `json:"number,omitempty"`
	From       string      `json:"from"`
	To         string      `json:"to"`
	State      model.State `json:"state"`
	Paths      []string    `json:"paths,omitempty"`
	Names      []string    `json:"names"`
	Ports      []string    `json:"ports,omitempty"`
	Protocol   string      `json:"protocol,omitempty"`
	Encryption Lock        `json:"encryption,omitempty"`
	Mechanisms []string    `json:"mechanisms,omitempty"`
	Findings   []string    `json:"findings,omitempty"`
	Flows      uint64      `json:"flows,omitempty"`
	Pairs      []pairJSON  `json:"pairs,omitempty"`
}

// pairJSON is what one host uses of another.
type pairJSON struct {
	Client string      `json:"client"`
	Server string      `json:"server"`
	Port   uint16      `json:"port,omitempty"` // none for media
	Proto  string      `json:"proto"`
	State  model.State `json:"state"`
	Paths  []string    `json:"paths,omitempty"`
	Flows  uint64      `json:"flows,omitempty"`
}

func writeJSON(w io.Writer, g *Graph) error {
	j := graphJSON{Title: g.Title, Nodes: []nodeJSON{}, Arrows: []arrowJSON{}, Notes: g.Notes}
	for _, n := range g.Nodes {
		x := nodeJSON{ID: n.ID, Title: n.Title, Column: n.Column}
		for _, h := range n.Hosts {
			x.Hosts = append(x.Hosts, hostJSON{h.Name, h.Addr, h.Roles, h.Version})
		}
		j.Nodes = append(j.Nodes, x)
	}
	for _, a := range g.Arrows {
		j.Arrows = append(j.Arrows, a.json())
	}
	for _, a := range g.NotSeen {
		x := a.json()
		x.Paths = []string{a.Label}
		j.NotSeen = append(j.NotSeen, x)
	}
	for _, x := range g.Ways {
		j.Ways = append(j.Ways, wayJSON(x))
	}
	return exporter.JSON(w, j)
}

func (a *Arrow) json() arrowJSON {
	x := arrowJSON{Number: a.Number, From: a.From.ID, To: a.To.ID, State: a.State, Names: a.Names, Ports: a.Ports, Protocol: a.Protocol, Encryption: a.Lock,
		Mechanisms: a.Mechs, Findings: a.Findings, Flows: a.Flows}
	for _, e := range a.Edges {
		for _, id := range e.IDs {
			if !slices.Contains(x.Paths, id) {
				x.Paths = append(x.Paths, id)
			}
		}
		if e.State == model.Documented {
			continue
		}
		x.Pairs = append(x.Pairs, pairJSON{end(e.Client), end(e.Server), e.Port, capture.ProtoName(e.Proto), e.State, e.IDs, e.Flows})
	}
	return x
}

// end returns the address of a host, or what it stands for.
func end(h *model.Host) string {
	if h.Many() {
		return h.Title()
	}
	return h.Addr.String()
}
