package tally

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// The caps of edges.
const (
	// MaxPlaces is how many hosts are kept one by one that only are somewhere, such as
	// clients and hosts on the internet. All others of a role count as one.
	MaxPlaces = 1024
	// MaxHosts is how many hosts are kept in all.
	MaxHosts = 1 << 14
	maxTexts = 8 // different findings of one edge
)

// EdgeKey is a service that one host uses of another.
type EdgeKey struct {
	// Client and Server are addresses; the zero Addr stands for the many hosts of
	// ClientRole or ServerRole that are not kept one by one.
	Client, Server         netip.Addr
	ClientRole, ServerRole string
	// Label is the id of the data path or group, or empty; see Label.
	Label  string
	Status record.Status // where Label is empty; Expected means that the site file allows it
	Proto  uint8
	// Port is the server's; 0 for media, of which each call has its own.
	Port uint16
	// Protocol is what was read, where Label is empty.
	Protocol string
}

// Edge counts the flows of one EdgeKey.
type Edge struct {
	Traffic
	Path                                          *rules.DataPath // of the last flow, or nil
	IDs                                           []string        // every path that a flow of it may follow
	Expected, Deviating, Unexpected, Undetermined uint64
	Blocked                                       uint64         // flows that were refused, prohibited or never answered
	Outcome                                       record.Outcome // of the last of them
	Security
	Period
	Violations []record.FindingID
	Protocol   string // read on the last flow where it was known
	// Service is what was announced at the port, and Source how; empty where nothing
	// was.
	Service string
	Source  observe.Source
	Reason  record.Reason // of the first flow without a path
	Why     string
}

// Seat is what records said of a host.
type Seat struct {
	Name  string
	Roles []string
	Flows uint64
}

// place reports whether roles only say where a host is. There may be any number of
// such hosts.
func place(roles []string) bool {
	for _, r := range roles {
		switch rules.Role(r) {
		case rules.Client, rules.Internet, rules.ExchangeOnline:
		default:
			return false
		}
	}
	return true
}

// seat returns the address under which a host is counted, or the zero Addr and its
// role where it is one of many.
func (t *Tally) seat(h *record.Host) (netip.Addr, string) {
	s := t.Hosts[h.Addr]
	if s == nil {
		many := place(h.Roles)
		if many && t.places >= MaxPlaces || len(t.Hosts) >= MaxHosts {
			role := ""
			if len(h.Roles) > 0 {
				role = strings.Clone(h.Roles[0])
			}
			return netip.Addr{}, role
		}
		if many {
			t.places++
		}
		if t.Hosts == nil {
			t.Hosts = map[netip.Addr]*Seat{}
		}
		s = &Seat{}
		t.Hosts[h.Addr] = s
	}
	s.Flows++
	if s.Name == "" && h.Name != "" {
		s.Name = strings.Clone(h.Name)
	}
	if len(h.Roles) >= len(s.Roles) && !slices.Equal(s.Roles, h.Roles) {
		s.Roles = s.Roles[:0]
		for _, r := range h.Roles {
			s.Roles = append(s.Roles, strings.Clone(r))
		}
	}
	return h.Addr, ""
}

// edge counts a flow that concerns Exchange by its ends and what it is.
func (t *Tally) edge(r *record.Record) {
	v := &r.Verdict
	if v.Status == record.Unrelated {
		return
	}
	t.Edges.max = MaxPairs
	k := EdgeKey{Proto: r.Proto, Port: r.Server.Port, Label: Label(v)}
	k.Client, k.ClientRole = t.seat(&r.Client)
	k.Server, k.ServerRole = t.seat(&r.Server)
	if k.Label == "" {
		k.Status, k.Protocol = v.Status, r.Protocol
	}
	if r.Endpoint != nil && r.Endpoint.Source == observe.FromSDP {
		k.Port = 0
	}
	a, b := k.Client.As16(), k.Server.As16()
	e := t.Edges.at(k, int(a[15])*251+int(b[15])*31+int(k.Port))
	if e == nil {
		return
	}
	if e.Flows == 0 {
		e.First, e.Last = r.First, r.Last
		e.Reason, e.Why = v.Reason, strings.Clone(v.Why)
	}
	e.count(r)
	e.extend(r)
	switch v.Status {
	case record.Expected:
		e.Expected++
	case record.Deviating:
		e.Deviating++
	case record.Unexpected:
		e.Unexpected++
	default:
		e.Undetermined++
	}
	if r.Outcome.Blocked() {
		e.Blocked++
		e.Outcome = r.Outcome
	}
	if r.Protocol != "" {
		e.Protocol = r.Protocol
	}
	if r.Endpoint != nil && (e.Service != r.Endpoint.Service || e.Source != r.Endpoint.Source) {
		e.Service, e.Source = strings.Clone(r.Endpoint.Service), r.Endpoint.Source
	}
	e.follows(v)
	e.note(r)
}

// follows notes the paths and violations of a verdict.
func (e *Edge) follows(v *record.Verdict) {
	for i := range v.Findings {
		f := &v.Findings[i]
		if f.Level == record.Violation && len(e.Violations) < maxTexts && !slices.Contains(e.Violations, f.ID) {
			e.Violations = append(e.Violations, f.ID)
		}
	}
	if v.Path == nil {
		return
	}
	e.Path = v.Path
	if !slices.Contains(e.IDs, v.Path.ID) {
		e.IDs = append(e.IDs, v.Path.ID)
	}
	for _, p := range v.Also {
		if !slices.Contains(e.IDs, p.ID) {
			e.IDs = append(e.IDs, p.ID)
		}
	}
}
