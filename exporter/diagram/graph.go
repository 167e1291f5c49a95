// Package diagram draws who talks to whom, on which ports and data paths, and in what
// state that is.
package diagram

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/exporter/model"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// Options say what is drawn.
type Options struct {
	By    By
	Title string
	Site  *rules.Site // or nil
}

// By is what becomes one box.
type By string

// What becomes one box: the hosts of a role, a host, or the hosts of a network of the
// site file.
const (
	ByRole    By = "role"
	ByHost    By = "host"
	ByNetwork By = "site-network"
)

// MaxArrows is how many arrows are drawn one by one. Of more, those between the same
// boxes that need no attention are drawn as one.
const MaxArrows = 25

// Graph is a diagram without its layout.
type Graph struct {
	Title  string
	Nodes  []*Node
	Arrows []*Arrow // by number
	// NotSeen are the documented paths between boxes that no flow followed.
	NotSeen []*Arrow
	// Ways are the ways through load balancers.
	Ways  []Way
	Notes []string
	// Link returns where an arrow leads when it is followed in SVG, or ""; nil for none.
	Link func(*Arrow) string
}

// Node is a box: hosts with something in common.
type Node struct {
	ID     string // "n1"
	Title  string
	Column int // 0 is the outside, the last the directory
	Hosts  []*model.Host
	key    string
}

// Lock is what is known of the encryption of an arrow.
type Lock string

// What is known of encryption.
const (
	Unknown Lock = ""
	Closed  Lock = "encrypted"
	Open    Lock = "not encrypted"
	Broken  Lock = "partly encrypted"
)

// Arrow is what the hosts of one box use of those of another.
type Arrow struct {
	Number   int // in the legend; 0 where it is not seen
	From, To *Node
	State    model.State
	Label    string   // the id of the path or group, or ""
	Names    []string // of paths
	Ports    []string
	Protocol string
	Lock     Lock
	Mechs    []string // how it is encrypted
	Findings []string
	Why      string
	Flows    uint64
	Edges    []*model.Edge
}

// columns says how far inside a role stands.
var columns = map[rules.Role]int{
	rules.Internet: 0, rules.ExchangeOnline: 0, rules.Client: 0, rules.Admin: 0, rules.PBX: 0, rules.Backup: 0, rules.Relay: 0,
	rules.Edge: 1, rules.LB: 1, rules.CAS: 2, rules.Hub: 2, rules.OCS: 2, rules.AnyExchange: 2, rules.Mailbox: 3, rules.UM: 3, rules.MailboxLegacy: 3,
	rules.DC: 4, rules.GC: 4, rules.DNS: 4, rules.ADRMS: 4, rules.Witness: 4,
}

const columnCount = 5

func columnOf(roles []string) int {
	column := columnCount
	for _, alternatives := range roles {
		for r := range strings.SplitSeq(alternatives, "|") {
			if c, ok := columns[rules.Role(r)]; ok {
				column = min(column, c)
			}
		}
	}
	return column % columnCount // a host of no role stands outside
}

// Nothing is the note of a Graph without arrows.
const Nothing = "There is nothing to draw: no flow with an Exchange server was recognised. exspan analyze tells what was seen; a site file names servers that traffic does not prove."

// New makes a Graph of a Model. The traffic of Windows itself is left out.
func New(m *model.Model, o Options) *Graph {
	b := &builder{o: o, g: &Graph{Title: o.Title}, nodes: map[string]*Node{}}
	arrows := map[string]*Arrow{}
	for _, e := range m.Edges {
		if e.Platform() {
			continue
		}
		from, to := b.node(e.Client), b.node(e.Server)
		key := from.key + "\x00" + to.key + "\x00" + cmp.Or(e.Label, fmt.Sprint(e.State, e.Port, e.Proto))
		a := arrows[key]
		if a == nil {
			a = &Arrow{From: from, To: to, State: e.State, Label: e.Label, Names: []string{e.Name}}
			arrows[key] = a
			b.g.Arrows = append(b.g.Arrows, a)
		}
		a.add(e)
	}
	b.order()
	b.notSeen(m)
	if len(b.g.Arrows) > MaxArrows {
		b.group()
	}
	for i, a := range b.g.Arrows {
		a.Number = i + 1
	}
	if len(b.g.Arrows) == 0 {
		b.g.Notes = append(b.g.Notes, Nothing)
	}
	b.ways(m)
	if m.More > 0 {
		b.g.Notes = append(b.g.Notes, text.Count(m.More, "flow")+" not drawn: there were too many different ones")
	}
	for _, err := range m.Errors {
		b.g.Notes = append(b.g.Notes, err.Error())
	}
	b.g.Notes = append(b.g.Notes, m.Notes...)
	return b.g
}

// Way is a way through a load balancer: what reaches From goes on to To.
type Way struct {
	From, To      netip.AddrPort
	Conversations uint64
}

// maxWays is how many ways the legend lists.
const maxWays = 8

// ways lists the ways through load balancers, whose two legs are arrows of their own.
func (b *builder) ways(m *model.Model) {
	if len(m.Ways) == 0 {
		return
	}
	names := map[netip.Addr]string{}
	for _, h := range m.Hosts {
		if !h.Many() {
			names[h.Addr] = h.Title()
		}
	}
	end := func(a netip.AddrPort) string {
		return text.HostPort(cmp.Or(names[a.Addr()], a.Addr().String()), a.Port())
	}
	for i := range m.Ways {
		w := &m.Ways[i]
		b.g.Ways = append(b.g.Ways, Way{w.Outer, w.Inner, w.Conversations})
		if i == maxWays && len(m.Ways) > maxWays+1 {
			b.g.Notes = append(b.g.Notes, fmt.Sprintf("and %d more ways through load balancers", len(m.Ways)-maxWays))
		}
		if i < maxWays || len(m.Ways) <= maxWays+1 {
			b.g.Notes = append(b.g.Notes, "Load balancer: what reaches "+end(w.Outer)+" goes on to "+end(w.Inner)+" ("+text.Count(w.Conversations, "conversation")+")")
		}
	}
}

type builder struct {
	o     Options
	g     *Graph
	nodes map[string]*Node
}

// node returns the box of a host.
func (b *builder) node(h *model.Host) *Node {
	key, title := b.place(h)
	n := b.nodes[key]
	if n == nil {
		n = &Node{Title: title, Column: columnOf(h.Roles), key: key}
		b.nodes[key] = n
		b.g.Nodes = append(b.g.Nodes, n)
	}
	if !slices.Contains(n.Hosts, h) {
		n.Hosts = append(n.Hosts, h)
		n.Column = min(n.Column, columnOf(h.Roles))
	}
	return n
}

// place returns the key and the title of the box of a host.
func (b *builder) place(h *model.Host) (key, title string) {
	switch {
	case b.o.By == ByHost && !h.Many():
		return h.Addr.String(), h.Title()
	case b.o.By == ByNetwork && !h.Many():
		if n := b.o.Site.Network(h.Addr); n != nil {
			return n.Prefix.String(), n.Prefix.String() + " (" + model.RoleTitle(string(n.Role)) + ")"
		}
		if h.Is(rules.Internet) {
			return "internet", model.RoleTitle("internet")
		}
		bits := 24
		if h.Addr.Unmap().Is6() {
			bits = 64
		}
		p := netip.PrefixFrom(h.Addr.Unmap(), bits).Masked()
		return p.String(), p.String()
	}
	role := roleTitle(h)
	return "role " + role, role
}

// roleTitle returns the roles of a host for people. A global catalog is a domain
// controller, and often a DNS server.
func roleTitle(h *model.Host) string {
	roles := h.Roles
	if h.Is(rules.DC) {
		roles = slices.DeleteFunc(slices.Clone(roles), func(r string) bool { return r == string(rules.GC) || r == string(rules.DNS) })
	}
	var titles []string
	for _, r := range roles {
		titles = append(titles, model.RoleTitle(r))
	}
	slices.Sort(titles)
	return cmp.Or(strings.Join(titles, ", "), model.RoleTitle(""))
}

// add counts an edge in an arrow.
func (a *Arrow) add(e *model.Edge) {
	a.Edges = append(a.Edges, e)
	a.Flows += e.Flows
	if a.State == model.Blocked && e.State != model.Blocked {
		a.State = e.State // some made it
	} else if e.State != model.Blocked && e.State.Compare(a.State) < 0 {
		a.State = e.State
	}
	if !slices.Contains(a.Names, e.Name) {
		a.Names = append(a.Names, e.Name)
	}
	if p := portText(e); !slices.Contains(a.Ports, p) {
		a.Ports = append(a.Ports, p)
	}
	a.Protocol = cmp.Or(a.Protocol, e.Protocol)
	a.Why = cmp.Or(a.Why, e.Why)
	for _, id := range e.Violations {
		if !slices.Contains(a.Findings, string(id)) {
			a.Findings = append(a.Findings, string(id))
		}
	}
	if e.Leg != nil && e.Leg.Encryption == rules.NotApplicable {
		return // it only finds the service
	}
	for _, m := range e.Encryption {
		l := Closed
		if m.Name == "none" || strings.HasSuffix(m.Name, "integrity") || strings.HasSuffix(m.Name, "connect") || strings.HasSuffix(m.Name, "signed") {
			l = Open
		} else if !slices.Contains(a.Mechs, m.Name) {
			a.Mechs = append(a.Mechs, m.Name)
		}
		if a.Lock != Unknown && a.Lock != l {
			l = Broken
		}
		a.Lock = l
	}
}

// portText returns the port of an edge with what is known of it.
func portText(e *model.Edge) string {
	proto := capture.ProtoName(e.Proto)
	switch {
	case e.Port == 0 && e.Leg != nil:
		return e.Leg.Port.String()
	case e.Port == 0:
		return "media/" + proto
	case e.Pinned():
		return fmt.Sprintf("%d/%s %s, pinned", e.Port, proto, e.Service)
	case e.Service != "" && e.Dynamic():
		return fmt.Sprintf("%d/%s %s, dynamic", e.Port, proto, e.Service)
	}
	return fmt.Sprintf("%d/%s", e.Port, proto)
}

// order sorts boxes and arrows, and numbers the boxes.
func (b *builder) order() {
	at := map[*Node]int{}
	slices.SortFunc(b.g.Nodes, func(x, y *Node) int { return cmp.Or(cmp.Compare(x.Column, y.Column), strings.Compare(x.key, y.key)) })
	for i, n := range b.g.Nodes {
		slices.SortFunc(n.Hosts, func(x, y *model.Host) int { return cmp.Or(x.Addr.Compare(y.Addr), slices.Compare(x.Roles, y.Roles)) })
		n.ID = fmt.Sprintf("n%d", i+1)
		at[n] = i
	}
	slices.SortStableFunc(b.g.Arrows, func(x, y *Arrow) int {
		return cmp.Or(cmp.Compare(at[x.From], at[y.From]), cmp.Compare(at[x.To], at[y.To]), strings.Compare(x.Names[0], y.Names[0]), strings.Compare(x.Ports[0], y.Ports[0]))
	})
}

// group draws arrows between the same boxes that need no attention as one; if that does
// not suffice, those of the same state.
func (b *builder) group() {
	for _, all := range []bool{false, true} {
		var list []*Arrow
		first := map[string]*Arrow{}
		for _, a := range b.g.Arrows {
			calm := a.State == model.Seen || a.State == model.Documented || a.State == model.Undetermined
			if !calm && !all {
				list = append(list, a)
				continue
			}
			key := a.From.ID + a.To.ID + string(a.State)
			g := first[key]
			if g == nil {
				g = &Arrow{From: a.From, To: a.To, State: a.State, Protocol: a.Protocol, Lock: a.Lock}
				first[key] = g
				list = append(list, g)
			}
			g.join(a)
		}
		b.g.Arrows = list
		if len(list) <= MaxArrows {
			return
		}
	}
}

// join takes another arrow into a.
func (a *Arrow) join(o *Arrow) {
	if len(a.Edges) == 0 {
		a.Label, a.Why = o.Label, o.Why
	} else if a.Label != o.Label {
		a.Label = ""
	}
	a.Edges, a.Flows = append(a.Edges, o.Edges...), a.Flows+o.Flows
	unite := func(list *[]string, more []string) {
		for _, s := range more {
			if !slices.Contains(*list, s) {
				*list = append(*list, s)
			}
		}
	}
	unite(&a.Names, o.Names)
	unite(&a.Ports, o.Ports)
	unite(&a.Mechs, o.Mechs)
	unite(&a.Findings, o.Findings)
	if a.Protocol != o.Protocol {
		a.Protocol = ""
	}
	if a.Lock != o.Lock {
		switch {
		case a.Lock == Unknown:
			a.Lock = o.Lock
		case o.Lock != Unknown:
			a.Lock = Broken
		}
	}
}

// notSeen adds what is documented between boxes and was not seen.
func (b *builder) notSeen(m *model.Model) {
	for i := range m.Paths {
		p := &m.Paths[i]
		if p.State != model.NotSeen || p.Platform() || p.LastResort() {
			continue
		}
		for _, from := range b.g.Nodes {
			for _, to := range b.g.Nodes {
				if from == to && len(from.Hosts) < 2 || !from.has(p.From) || !to.has(p.To) {
					continue
				}
				b.g.NotSeen = append(b.g.NotSeen, &Arrow{From: from, To: to, State: p.State, Label: p.ID, Names: []string{p.Name}, Ports: []string{p.Ports}})
			}
		}
	}
}

func (n *Node) has(roles []rules.Role) bool {
	return slices.ContainsFunc(n.Hosts, func(h *model.Host) bool { return slices.ContainsFunc(roles, h.Is) })
}

// maxHosts is how many hosts a box names.
const maxHosts = 6

// Lines returns what stands in a box.
func (n *Node) Lines() []string {
	lines := []string{n.Title}
	if len(n.Hosts) == 1 && n.Hosts[0].Many() {
		return lines
	}
	for i, h := range n.Hosts {
		if i == maxHosts && len(n.Hosts) > maxHosts+1 {
			lines = append(lines, fmt.Sprintf("and %d more", len(n.Hosts)-maxHosts))
			break
		}
		s := h.Title()
		if h.Name != "" && !h.Many() && s != n.Title {
			s += " (" + h.Addr.String() + ")"
		} else if s == n.Title {
			s = h.Addr.String()
		}
		if s != n.Title {
			lines = append(lines, s)
		}
	}
	return lines
}

// maxNames is how many paths the legend names of an arrow that stands for many. JSON has
// all.
const maxNames = 4

// Text returns what the legend says of an arrow.
func (a *Arrow) Text() string {
	s := a.Names[0]
	if n := len(a.Names); n > maxNames+1 {
		s = fmt.Sprintf("%d paths: %s; and %d more", n, strings.Join(a.Names[:maxNames], "; "), n-maxNames)
	} else if n > 1 {
		s = fmt.Sprintf("%d paths: %s", n, strings.Join(a.Names, "; "))
	}
	if a.Label == "" && a.State == model.Unexpected {
		s = "no documented path: " + s
	}
	ports := a.Ports
	if len(ports) > 8 {
		ports = append(slices.Clone(ports[:8]), fmt.Sprintf("and %d more", len(ports)-8))
	}
	s += ", " + strings.Join(ports, ", ")
	if a.Protocol != "" && !strings.Contains(s, a.Protocol) {
		s += " " + a.Protocol
	}
	switch a.Lock {
	case Closed, Broken:
		s += "; " + string(a.Lock)
		if len(a.Mechs) > 0 {
			s += " (" + strings.Join(a.Mechs, ", ") + ")"
		}
	case Open:
		s += "; " + string(a.Lock)
	}
	if len(a.Findings) > 0 {
		s += "; " + strings.Join(a.Findings, ", ")
	}
	return text.Printable(s)
}

// Word returns the state as the legend and arrows show it; that of what is as it
// should be is empty.
func (a *Arrow) Word() string {
	switch a.State {
	case model.Seen, model.Documented:
		return ""
	case model.Undetermined, model.NotSeen:
		return strings.ReplaceAll(string(a.State), "-", " ")
	}
	return strings.ToUpper(string(a.State))
}
