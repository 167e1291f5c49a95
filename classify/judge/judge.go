// Package judge decides what a flow is. A verdict depends on the Subject and on
// the rules and nothing else, so verdicts are remembered by their Subject.
package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Subject is all of a flow that its verdict depends on. What it points to is
// shared and does not change, so two flows with equal Subjects have the same
// verdict.
type Subject struct {
	// Client and Server are what is known of the two ends.
	Client, Server *match.RoleSet
	// Announced holds the services announced for the server's endpoint; nil for
	// none.
	Announced *match.Announced
	// Facts are what was read of the content; nil for nothing.
	Facts *observe.List
	// Protocol is the protocol that was recognised, or empty.
	Protocol string
	Outcome  record.Outcome
	Dropped  string // what dropped the flow's packets, if the captured computer says so
	Port     uint16 // of the server
	Proto    uint8  // capture.TCP or capture.UDP
	Payload  bool   // payload was seen
	Begun    bool   // the begin of the flow was seen
	Late     bool   // the protocol was not found by the first bytes of the flow
	Foreign  bool   // the flow began with what no observer knows
	Blind    Blind  // what kept the content from being seen whole
}

// Verdict is the verdict on all flows with the same Subject. It must not be
// changed.
type Verdict struct {
	// Verdict lacks in Why what differs between these flows: by whom and when the
	// service was announced, and the addresses of hosts. Judge.Word adds it.
	record.Verdict
	// Service is the index in Subject.Announced.Services of the service that the
	// verdict rests on, or -1.
	Service int
	service *match.Service
	// client and server report whether the verdict depends on that end's role, which
	// is not known.
	client, server bool
	// before is the number of rulesets that are known not to document the flow.
	before int
	id     uint64
}

// Origin is what differs between flows with the same Subject.
type Origin struct {
	// From announced the service that the verdict rests on, at the packet time
	// Learned in nanoseconds since the Unix epoch.
	From    netip.AddrPort
	Learned int64
	// Sensor is the other sensor that saw it; empty for this one.
	Sensor string
	// Client and Server are the addresses of the flow.
	Client, Server netip.Addr
}

// Open reports whether the words of a verdict need the Origin of a flow.
func (v *Verdict) Open() bool { return v.service != nil || v.client || v.server }

// Judge judges flows by one set of rules. It is used by one goroutine.
type Judge struct {
	packs    *rules.Packs
	policy   *rules.Policy
	site     *rules.Site // nil for none
	assumed  string      // the version where nothing tells
	rulesets []*ruleset
	platform *ruleset // the rows of Windows, or nil

	memo   [1 << memoBits][2]remembered
	worded [1 << memoBits]worded
	last   uint64 // Verdict.id
	spoken [1 << spokenBits]spoken

	// Their room is used again.
	hits, platformHits, absentHits, others []hit
	tied                                   []*hit
}

const (
	memoBits   = 11
	spokenBits = 10
)

// remembered is a verdict by its Subject.
type remembered struct {
	subject Subject
	verdict *Verdict
}

// worded is a verdict with all of its words.
type worded struct {
	of      *Verdict
	origin  Origin
	verdict *record.Verdict
}

// New returns a Judge. The packs must have paths for the given version, which is
// assumed for servers without one.
func New(packs *rules.Packs, site *rules.Site, version string) (*Judge, error) {
	j := &Judge{packs: packs, policy: packs.Policy(), site: site, assumed: version}
	var versions []string
	for _, p := range packs.All() {
		switch {
		case len(p.Paths) == 0:
		case p.Version == rules.Platform:
			j.platform = &ruleset{version: p.Version, pack: p}
		default:
			j.rulesets = append(j.rulesets, &ruleset{version: p.Version, pack: p})
			versions = append(versions, p.Version)
		}
	}
	if !slices.ContainsFunc(versions, func(v string) bool { return strings.EqualFold(v, packVersion(version)) }) {
		return nil, fmt.Errorf("no rules for Exchange %s; there are rules for %s", version, strings.Join(versions, ", "))
	}
	return j, nil
}

var unrelated = Verdict{Verdict: record.Verdict{Status: record.Unrelated}, Service: -1}

// Verdict returns the verdict on a flow.
func (j *Judge) Verdict(s *Subject) *Verdict {
	if Unrelated(s.Client, s.Server) {
		return &unrelated
	}
	exchange := s.Client.Exchange || s.Server.Exchange
	known := &j.memo[s.hash()>>(64-memoBits)]
	if known[0].subject != *s {
		known[0], known[1] = known[1], known[0] // the one used last comes first
		if known[0].subject != *s {
			v := j.decide(s)
			if !exchange && v.Status != record.Expected && v.Status != record.Deviating {
				v = unrelated
			}
			j.last++
			v.id = j.last
			known[0] = remembered{*s, &v}
		}
	}
	return known[0].verdict
}

// Unrelated reports whether neither end of a flow is an Exchange server or in front of
// one, so that the flow is unrelated whatever it carries.
func Unrelated(client, server *match.RoleSet) bool {
	return !client.Exchange && !server.Exchange && !server.Front
}

// hash returns a number that differs between most subjects.
func (s *Subject) hash() uint64 {
	h := uint64(s.Port) + s.Facts.ID()<<16 + s.Client.ID<<40 + s.Server.ID<<48 + uint64(len(s.Outcome))<<60
	if s.Announced != nil {
		h += s.Announced.ID << 32
	}
	return h * 0x9e3779b97f4a7c15
}

// Word returns a verdict with the words that differ between flows alike. The
// origin is not used unless v.Open.
func (j *Judge) Word(v *Verdict, origin Origin) *record.Verdict {
	if !v.Open() {
		return &v.Verdict
	}
	switch { // what is not said makes no difference
	case v.service == nil:
		origin.From, origin.Learned, origin.Sensor = netip.AddrPort{}, 0, ""
	case !v.client && !v.server:
		origin.Client, origin.Server = netip.Addr{}, netip.Addr{}
	}
	w := &j.worded[(v.id+uint64(origin.Learned))*0x9e3779b97f4a7c15>>(64-memoBits)]
	if w.of != v || w.origin != origin {
		full := v.Verdict
		if v.service != nil {
			full.Why = announcement(v.Why, v.service, origin)
		}
		full.Why += openRoles(v, origin)
		*w = worded{v, origin, &full}
	}
	return w.verdict
}
