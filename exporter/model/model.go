// Package model holds what a run tells of an Exchange organisation: the hosts with
// their roles, who uses which service of whom and in what state that is, and which
// documented data paths were seen. Coverage, diagram, report and firewall rules are
// views of it.
//
// A Builder is a record.Sink that counts records as they come. Its memory is bounded by
// the caps of package tally: it grows with hosts and services up to these, and not with
// flows. Clients and hosts on the internet beyond a number are one host of their role.
// A Model has an order of its own, so that the same input gives the same views.
package model

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/glossary"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/rules"
)

// State is what a run shows of a data path or of an edge.
type State string

// The states, the one that needs attention most first.
const (
	Unexpected   State = "unexpected"   // of an edge: no path explains it
	Blocked      State = "blocked"      // tried, and never got through
	Deviating    State = "deviating"    // seen, with violations
	Undetermined State = "undetermined" // of an edge: too little was seen to say
	Seen         State = "seen"         // seen as documented
	// The states of paths that no flow followed.
	NotSeen       State = "not-seen"
	NotObservable State = "not-observable" // from where the capture was taken
	// Documented is the state of all paths where there is no capture.
	Documented State = "documented"
)

var states = []State{Unexpected, Blocked, Deviating, Undetermined, Seen, NotSeen, NotObservable, Documented}

// Rank returns the place of s among all states, of which the one that needs attention most
// comes first.
func (s State) Rank() int { return slices.Index(states, s) }

// Compare orders states by Rank.
func (s State) Compare(o State) int { return cmp.Compare(s.Rank(), o.Rank()) }

// Model is what a run tells.
type Model struct {
	First, Last time.Time // of the run; zero without records
	Flows       uint64    // all, those that do not concern Exchange included
	// Versions are the Exchange versions at hand, oldest first.
	Versions []string
	Hosts    []*Host // that take part in an edge, by address; those that stand for many last
	Edges    []*Edge // by server, port, client and path
	Paths    []Path  // the documented paths of Versions, and of Windows if asked for
	Ways     []Way   // through load balancers
	// Endpoints are the announced services, as the summary has them.
	Endpoints []record.EndpointSummary
	// More is the number of flows without an edge, because there were too many.
	More uint64
	// Errors and Notes say what keeps the run from being complete; see
	// record.Summary.
	Errors []error
	Notes  []string
}

// Host is a host, or many of one role.
type Host struct {
	Addr netip.Addr // the zero Addr where it stands for many
	Name string     // or ""
	// Roles are the roles that are known. Where evidence leaves it open which of
	// some the host has, one element holds them, joined by "|".
	Roles   []string
	Proofs  []record.RoleProof
	Version string // Exchange version, or ""
	Flows   uint64
}

// Many reports whether h stands for the hosts of a role that are too many to be kept
// one by one.
func (h *Host) Many() bool { return !h.Addr.IsValid() }

// Title returns the name of h for people: its name, else its address.
func (h *Host) Title() string {
	switch {
	case h.Name != "":
		return h.Name
	case !h.Many():
		return h.Addr.String()
	case len(h.Roles) > 0:
		return "more: " + RoleTitle(h.Roles[0])
	}
	return "more hosts"
}

// Is reports whether h has a role for sure.
func (h *Host) Is(role rules.Role) bool { return slices.Contains(h.Roles, string(role)) }

// Exchange reports whether h is an Exchange server, if only one of open role.
func (h *Host) Exchange() bool {
	return slices.ContainsFunc(h.Roles, func(roles string) bool {
		for r := range strings.SplitSeq(roles, "|") {
			if !rules.Role(r).Exchange() {
				return false
			}
		}
		return true
	})
}

// Edge is a service that a host uses of another.
type Edge struct {
	Client, Server *Host
	// Label is the id of the data path or of its group, empty where there is none.
	// Name is its name for people, or what the flow is.
	Label, Name string
	Port        uint16 // the server's; 0 for media, of which each call has its own
	Proto       uint8  // capture.TCP, capture.UDP, ...
	State       State
	// Allowed reports that the site file allows it, though no path explains it.
	Allowed bool
	// Leg is the leg of Path that it follows, or nil.
	Leg *rules.Leg
	*tally.Edge
}

// Dynamic reports whether the port is one that the server announces.
func (e *Edge) Dynamic() bool { return e.Leg != nil && e.Leg.Port.Dynamic }

// Pinned reports whether the site file pins the service to its port.
func (e *Edge) Pinned() bool { return e.Source == observe.FromSite }

// Platform reports whether e is the traffic of Windows itself.
func (e *Edge) Platform() bool { return e.Path != nil && e.Path.Platform() }

// Path is what a run shows of one documented data path.
type Path struct {
	*rules.DataPath
	State State
	Why   string // the state, in words; may be empty
	Flows uint64
	Tied  bool // packets cannot tell it from other paths
	// First and Last are when it was seen; zero if it was not.
	First, Last time.Time
}

// Way is a way through a load balancer: to Outer, and from From to Inner.
type Way struct {
	Outer, Inner  netip.AddrPort
	From, Client  netip.Addr
	Conversations uint64
}

// Options say what a Model holds.
type Options struct {
	Packs *rules.Packs
	// Version is the version whose paths are taken if no host and no flow has one.
	Version string
	// Platform adds the paths of Windows itself to Paths.
	Platform bool
	// PathsOnly leaves out hosts and edges.
	PathsOnly bool
	// Examples is how many flows are kept of each finding and of each blocked
	// connection.
	Examples int
}

// Builder counts records and makes a Model of them on Close.
type Builder struct {
	o Options
	t tally.Tally
	m Model
	// sealed holds the roles of hosts between which IPsec was seen, in both orders.
	sealed map[[2]rules.Role]bool
	// open holds why flows were left undetermined of which not enough was captured.
	open map[openFlow]record.Reason
}

// New returns a Builder.
func New(o Options) *Builder {
	b := &Builder{o: o}
	b.t.Options = tally.Options{Coverage: true, Edges: !o.PathsOnly, Examples: o.Examples}
	return b
}

// Write counts r.
func (b *Builder) Write(r *record.Record) error {
	b.t.Add(r)
	if r.Verdict.Reason == record.Sealed {
		b.seal(r)
	}
	b.leaveOpen(r)
	return nil
}

// seal notes the roles of the ends of a flow of IPsec, which has no client.
func (b *Builder) seal(r *record.Record) {
	if b.sealed == nil {
		b.sealed = map[[2]rules.Role]bool{}
	}
	for x := range r.Client.AllRoles() {
		for y := range r.Server.AllRoles() {
			b.sealed[[2]rules.Role{rules.Role(x), rules.Role(y)}] = true
			b.sealed[[2]rules.Role{rules.Role(y), rules.Role(x)}] = true
		}
	}
}

// Close makes the Model.
func (b *Builder) Close(sum *record.Summary) error {
	b.m = Model{First: sum.First, Last: sum.Last, Flows: b.t.Flows(), Endpoints: slices.Clone(sum.Endpoints), Errors: sum.Errors, Notes: sum.Notes}
	b.paths(sum)
	b.edges(b.hosts(sum))
	for k, j := range b.t.Joined.All() {
		b.m.Ways = append(b.m.Ways, Way{k.Outer, k.Inner, j.From, j.Client, j.Conversations})
	}
	slices.SortFunc(b.m.Ways, func(a, b Way) int { return cmp.Or(a.Outer.Compare(b.Outer), a.Inner.Compare(b.Inner)) })
	return nil
}

// Clone returns a Builder that knows what b has counted so far, for a Model while b goes on
// counting.
func (b *Builder) Clone() *Builder {
	return &Builder{o: b.o, t: *b.t.Clone(), sealed: maps.Clone(b.sealed), open: maps.Clone(b.open)}
}

// Model returns the Model, after Close.
func (b *Builder) Model() *Model { return &b.m }

// Tally returns the counts that the Model is made of. The caller must not change them.
func (b *Builder) Tally() *tally.Tally { return &b.t }

// hosts makes the hosts and returns them by address.
func (b *Builder) hosts(sum *record.Summary) map[netip.Addr]*Host {
	byAddr := map[netip.Addr]*Host{}
	for addr, s := range b.t.Hosts {
		byAddr[addr] = &Host{Addr: addr, Name: s.Name, Roles: s.Roles, Flows: s.Flows}
	}
	for i := range sum.Hosts {
		s := &sum.Hosts[i]
		h := byAddr[s.Addr]
		if h == nil {
			continue
		}
		h.Name, h.Version, h.Proofs = cmp.Or(s.Name, h.Name), s.Version, s.Roles
		var roles []string
		for _, p := range s.Roles {
			if !slices.Contains(roles, p.Role) {
				roles = append(roles, p.Role)
			}
		}
		if len(roles) > 0 {
			h.Roles = certain(roles)
		}
	}
	return byAddr
}

// certain returns roles without the alternatives that others decide.
func certain(roles []string) []string {
	return slices.DeleteFunc(slices.Clone(roles), func(role string) bool {
		if !strings.Contains(role, "|") && role != string(rules.AnyExchange) {
			return false
		}
		return slices.ContainsFunc(roles, func(other string) bool {
			if strings.Contains(other, "|") || other == role {
				return false
			}
			return role == string(rules.AnyExchange) && rules.Role(other).Exchange() || slices.Contains(strings.Split(role, "|"), other)
		})
	})
}

// edges makes the edges, and lists the hosts that take part in one.
func (b *Builder) edges(byAddr map[netip.Addr]*Host) {
	many := map[string]*Host{}
	taken := map[*Host]bool{}
	end := func(addr netip.Addr, role string) *Host {
		h := byAddr[addr]
		if h == nil {
			if h = many[role]; h == nil {
				h = &Host{}
				if role != "" {
					h.Roles = []string{role}
				}
				many[role] = h
			}
		}
		taken[h] = true
		return h
	}
	for k, x := range b.t.Edges.All() {
		slices.Sort(x.IDs)
		slices.Sort(x.Violations)
		e := &Edge{Client: end(k.Client, k.ClientRole), Server: end(k.Server, k.ServerRole), Label: k.Label, Port: k.Port, Proto: k.Proto, Edge: x}
		e.Leg = legOf(e)
		e.State, e.Allowed = stateOf(x), k.Label == "" && k.Status == record.Expected
		switch {
		case k.Label != "":
			e.Name = tally.PathName(k.Label, x.Path, b.o.Packs.GroupName)
		case x.Protocol == "" && e.State == Blocked:
			e.Name = "no connection"
		default:
			e.Name = cmp.Or(x.Protocol, reasonTitle(x.Reason), "not recognised")
		}
		b.m.Edges = append(b.m.Edges, e)
	}
	for h := range taken {
		b.m.Hosts = append(b.m.Hosts, h)
	}
	b.m.More = b.t.Edges.More
	slices.SortFunc(b.m.Hosts, compareHosts)
	slices.SortFunc(b.m.Edges, compareEdges)
}

// reasonTitle returns a reason for people, with its word, or "".
func reasonTitle(reason record.Reason) string {
	for _, entry := range glossary.Lookup(string(reason)) {
		if entry.Kind == glossary.Reason {
			return fmt.Sprintf("%s (%s)", strings.ToLower(entry.Title[:1])+entry.Title[1:], entry.Word)
		}
	}
	return string(reason)
}

func compareEdges(a, b *Edge) int {
	return cmp.Or(compareHosts(a.Server, b.Server), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port), compareHosts(a.Client, b.Client),
		cmp.Compare(a.Label, b.Label), a.State.Compare(b.State), cmp.Compare(a.Name, b.Name))
}

func compareHosts(a, b *Host) int {
	if a.Many() != b.Many() {
		if a.Many() {
			return 1
		}
		return -1
	}
	return cmp.Or(a.Addr.Compare(b.Addr), slices.Compare(a.Roles, b.Roles))
}

// legOf returns the leg of its path that e follows: one with its port, else one whose
// port is announced, of its protocol before others.
func legOf(e *Edge) *rules.Leg {
	if e.Path == nil {
		return nil
	}
	var best *rules.Leg
	rank := 0
	for i := range e.Path.Legs {
		l := &e.Path.Legs[i]
		if e.Proto == capture.TCP && !l.Port.TCP || e.Proto == capture.UDP && !l.Port.UDP {
			continue
		}
		r := 0
		switch {
		case !l.Port.Dynamic && e.Port != 0 && l.Port.From != 0 && l.Port.Contains(e.Port):
			r = 7
		case l.Port.Dynamic && serves(l, e.Service):
			r = 5
		case l.Port.Dynamic:
			r = 3
		default:
			continue
		}
		if l.Protocol == e.Protocol {
			r++
		}
		if r > rank {
			best, rank = l, r
		}
	}
	return best
}

// serves reports whether a leg asks for an RPC service.
func serves(l *rules.Leg, service string) bool {
	return service != "" && slices.ContainsFunc(l.Facts, func(f rules.Fact) bool {
		return slices.ContainsFunc(f.Values, func(v string) bool { return rules.Fits(v, service) })
	})
}

func stateOf(e *tally.Edge) State {
	switch {
	case e.Unexpected > 0:
		return Unexpected
	case e.Blocked == e.Flows:
		return Blocked
	case e.Deviating > 0:
		return Deviating
	case e.Undetermined > 0:
		return Undetermined
	}
	return Seen
}
