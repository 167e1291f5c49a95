// Package filter passes on the records that meet given criteria.
package filter

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Criteria selects records. A record must meet each criterion that is given, and it meets
// a criterion if one of its values fits.
type Criteria struct {
	Statuses []record.Status
	Reasons  []record.Reason
	Findings []record.FindingID
	// Blocked selects flows whose set-up failed, besides those with one of Findings.
	Blocked bool
	// Paths lists ids of data paths or groups, names of paths, or patterns of path.Match.
	// If a flow may follow several paths, one of them is sufficient.
	Paths []string
	// Roles lists roles of either end.
	Roles []string
	// Hosts lists names or networks of either end; see ParseHost.
	Hosts []Host
	// Ports lists server ports.
	Ports []Port
}

// Host is a name or a network.
type Host struct {
	Name string // in lower case, or ""
	Net  netip.Prefix
}

// ParseHost parses an address, a network such as 10.0.0.0/8, or a name.
func ParseHost(text string) Host {
	if p, err := netip.ParsePrefix(text); err == nil {
		return Host{Net: p.Masked()}
	}
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return Host{Net: netip.PrefixFrom(a, a.BitLen())}
	}
	return Host{Name: strings.ToLower(text)}
}

// Port is a range of server ports.
type Port struct {
	From, To uint16
	Proto    uint8 // capture.TCP or capture.UDP, or 0 for both
}

// ParsePort parses 25, 25/tcp or 6000-6010.
func ParsePort(text string) (Port, error) {
	var p Port
	number, proto, ok := strings.Cut(text, "/")
	switch {
	case !ok:
	case strings.EqualFold(proto, "tcp"):
		p.Proto = capture.TCP
	case strings.EqualFold(proto, "udp"):
		p.Proto = capture.UDP
	default:
		return p, fmt.Errorf("%q is not a port; ports are written as 25, 25/tcp or 6000-6010", text)
	}
	from, to, isRange := strings.Cut(number, "-")
	if !isRange {
		to = from
	}
	a, aerr := strconv.ParseUint(from, 10, 16)
	b, berr := strconv.ParseUint(to, 10, 16)
	if aerr != nil || berr != nil || a > b {
		return p, fmt.Errorf("%q is not a port; ports are written as 25, 25/tcp or 6000-6010", text)
	}
	p.From, p.To = uint16(a), uint16(b)
	return p, nil
}

// Empty reports whether c selects every record.
func (c *Criteria) Empty() bool {
	return len(c.Statuses)+len(c.Reasons)+len(c.Findings)+len(c.Paths)+len(c.Roles)+len(c.Hosts)+len(c.Ports) == 0 && !c.Blocked
}

// Match reports whether r meets the criteria.
func (c *Criteria) Match(r *record.Record) bool {
	v := &r.Verdict
	return (len(c.Statuses) == 0 || slices.Contains(c.Statuses, v.Status)) &&
		(len(c.Reasons) == 0 || slices.Contains(c.Reasons, v.Reason)) &&
		(len(c.Findings) == 0 && !c.Blocked || c.Blocked && Blocked(r) ||
			slices.ContainsFunc(v.Findings, func(f record.Finding) bool { return slices.Contains(c.Findings, f.ID) })) &&
		(len(c.Ports) == 0 || slices.ContainsFunc(c.Ports, func(p Port) bool {
			return r.Server.Port >= p.From && r.Server.Port <= p.To && (p.Proto == 0 || p.Proto == r.Proto)
		})) &&
		(len(c.Roles) == 0 || slices.ContainsFunc(c.Roles, r.Client.MayBe) || slices.ContainsFunc(c.Roles, r.Server.MayBe)) &&
		(len(c.Hosts) == 0 || isHost(c.Hosts, &r.Client) || isHost(c.Hosts, &r.Server)) &&
		(len(c.Paths) == 0 || onPath(c.Paths, v))
}

// Blocked reports whether an Exchange server takes part in a flow whose set-up failed.
func Blocked(r *record.Record) bool {
	return r.Verdict.Status != record.Unrelated && r.Outcome.Blocked()
}

func isHost(hosts []Host, h *record.Host) bool {
	return slices.ContainsFunc(hosts, func(x Host) bool {
		if x.Name == "" {
			return x.Net.Contains(h.Addr.Unmap())
		}
		name := strings.ToLower(h.Name)
		first, _, _ := strings.Cut(name, ".")
		return x.Name == name || x.Name == first
	})
}

func onPath(paths []string, v *record.Verdict) bool {
	if v.Path == nil {
		return false
	}
	is := func(p *rules.DataPath) bool {
		return slices.ContainsFunc(paths, func(want string) bool {
			ok, _ := path.Match(want, p.ID)
			return ok || strings.EqualFold(want, p.Name)
		})
	}
	return slices.ContainsFunc(paths, func(want string) bool { ok, _ := path.Match(want, v.Group); return ok }) ||
		is(v.Path) || slices.ContainsFunc(v.Also, is)
}

// New returns a sink that passes to next the records that meet the criteria, and the
// whole summary.
func New(c *Criteria, next record.Sink) *Sink { return &Sink{criteria: c, next: next} }

// Sink is what New returns.
type Sink struct {
	criteria *Criteria
	next     record.Sink
	// Flows counts the flows that ended, Matched those of them that meet the
	// criteria.
	Flows, Matched uint64
}

// Write gives next a record that meets the criteria.
func (s *Sink) Write(r *record.Record) error {
	match := s.criteria.Match(r)
	if r.State != "active" {
		s.Flows++
		if match {
			s.Matched++
		}
	}
	if !match {
		return nil
	}
	return s.next.Write(r)
}

// Close gives next the summary.
func (s *Sink) Close(sum *record.Summary) error { return s.next.Close(sum) }

// NoPlatform returns a sink that passes to next all records except those of the traffic
// of Windows itself. The summary states how many flows were omitted.
func NoPlatform(next record.Sink) record.Sink { return &noPlatform{next: next} }

type noPlatform struct {
	next    record.Sink
	omitted uint64
}

func (s *noPlatform) Write(r *record.Record) error {
	if !r.Verdict.Platform() {
		return s.next.Write(r)
	}
	if r.State != "active" {
		s.omitted++
	}
	return nil
}

func (s *noPlatform) Close(sum *record.Summary) error {
	sum.LeftOut = s.omitted
	return s.next.Close(sum)
}
