package diagram

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/rules"
)

// large is an organisation of 40 servers in five roles, and 500 clients.
func large(t *testing.T) *model.Model {
	t.Helper()
	packs, err := rules.Embedded("2010")
	if err != nil {
		t.Fatal(err)
	}
	m := &model.Model{}
	hosts := map[string][]*model.Host{}
	add := func(role string, net byte, n int) {
		for i := range n {
			h := &model.Host{Addr: netip.AddrFrom4([4]byte{10, net, byte(i >> 8), byte(i)}), Name: fmt.Sprintf("%s%d", role, i), Roles: []string{role}}
			hosts[role] = append(hosts[role], h)
			m.Hosts = append(m.Hosts, h)
		}
	}
	for i, role := range []string{"hub", "cas", "mailbox", "edge", "um"} {
		add(role, byte(i), 8)
	}
	add("client", 9, 500)
	add("dc", 10, 4)
	for _, p := range packs.Paths("2010") {
		if p.NotUsed || p.LastResort() {
			continue
		}
		for _, from := range p.From {
			for _, to := range p.To {
				for _, c := range hosts[string(from)] {
					for _, s := range hosts[string(to)] {
						e := &model.Edge{Client: c, Server: s, Label: p.ID, Name: p.Name, Port: 443, Proto: capture.TCP, State: model.Seen, Edge: &tally.Edge{Path: p, IDs: []string{p.ID}}}
						e.Flows = 1
						m.Edges = append(m.Edges, e)
					}
				}
			}
		}
	}
	shell := &model.Edge{Client: hosts["client"][7], Server: hosts["hub"][3], Port: 4444, Proto: capture.TCP, State: model.Unexpected, Name: "unknown", Edge: &tally.Edge{}}
	m.Edges = append(m.Edges, shell)
	return m
}

// A large organisation is drawn with few arrows, of which none that needs attention is
// hidden, and with no box upon another.
func TestLarge(t *testing.T) {
	m := large(t)
	g := New(m, Options{By: ByRole, Title: "large"})
	if len(m.Edges) < 10_000 || len(g.Nodes) != 7 || len(g.Arrows) > MaxArrows {
		t.Errorf("%d edges: %d boxes, %d arrows", len(m.Edges), len(g.Nodes), len(g.Arrows))
	}
	unexpected := 0
	for _, a := range g.Arrows {
		if a.State == model.Unexpected {
			unexpected++
		}
	}
	if unexpected != 1 {
		t.Errorf("%d arrows are unexpected", unexpected)
	}
	p := layout(g)
	for i, a := range p.boxes {
		if a.x < 0 || a.y < 0 || a.x+a.w > p.w || a.y+a.h > p.h {
			t.Errorf("%s is outside", a.node.Title)
		}
		for _, b := range p.boxes[:i] {
			if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
				t.Errorf("%s is upon %s", a.node.Title, b.node.Title)
			}
		}
	}
	for i, r := range p.routes {
		for _, q := range r.way {
			if math.IsNaN(q.x) || math.IsNaN(q.y) {
				t.Errorf("arrow %d leads nowhere", r.arrow.Number)
			}
		}
		for _, o := range p.routes[:i] {
			if math.Hypot(r.label.x-o.label.x, r.label.y-o.label.y) < 12 {
				t.Errorf("the numbers %d and %d lie on each other", r.arrow.Number, o.arrow.Number)
			}
		}
	}
	for _, f := range Formats() {
		var b strings.Builder
		if err := Write(&b, g, f); err != nil || b.Len() == 0 || f != JSON && b.Len() > 1<<20 {
			t.Errorf("%s: %d bytes, %v", f, b.Len(), err)
		}
	}
}

// States differ in more than their colour.
func TestStyles(t *testing.T) {
	seen := map[string]model.State{}
	for _, s := range []model.State{model.Seen, model.Deviating, model.Unexpected, model.Blocked, model.Undetermined} {
		x := styleOf(s)
		x.colour = ""
		if other, ok := seen[fmt.Sprint(x)]; ok {
			t.Errorf("%s looks like %s", s, other)
		}
		seen[fmt.Sprint(x)] = s
	}
	if !styleOf(model.Blocked).dashes || styleOf(model.Seen).dashes {
		t.Error("what is blocked has dashes")
	}
}

func TestEmpty(t *testing.T) {
	for _, f := range Formats() {
		var b strings.Builder
		if err := Write(&b, New(&model.Model{}, Options{Title: "nothing"}), f); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestMarksApart verifies that the numbers of arrows can be told apart: no mark touches
// another one or a box.
func TestMarksApart(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	models := map[string]*model.Model{"large": large(t)}
	for _, version := range []string{"2003", "2007", "2010", "2013", "2019"} {
		models[version] = model.NewDocumented(packs, version)
	}
	const circle, triangle = 11.0, 17.0 // their radius
	for name, m := range models {
		p := layout(New(m, Options{By: ByRole, Title: name}))
		touching, close := 0, 0
		for i, r := range p.routes {
			for _, o := range p.routes[:i] {
				switch d := math.Hypot(r.label.x-o.label.x, r.label.y-o.label.y); {
				case d < circle+triangle:
					touching++
				case d < 40:
					close++
				}
			}
		}
		t.Logf("%s: %d marks, %d touch, %d close", name, len(p.routes), touching, close)
		if touching > 0 {
			t.Errorf("%s: %d pairs of %d marks touch", name, touching, len(p.routes))
		}
	}
}
