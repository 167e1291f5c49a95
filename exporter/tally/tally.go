// Package tally counts flows by what a person asks about: data path, finding,
// blocked connection, unexpected service, host and pair of hosts. The table,
// coverage and comparisons read the same counts.
//
// Every map is capped, so that memory does not grow with the number of flows;
// what found no place is counted.
package tally

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// The caps.
const (
	MaxKept    = 4096    // keys of one map
	MaxPairs   = 1 << 16 // pairs of hosts
	maxMechs   = 16      // mechanisms of one path
	maxDetails = 8       // different details of one finding
	maxWords   = 8       // protocols of one finding
)

// Options say what is counted besides the usual.
type Options struct {
	// Examples is how many flows are kept of each finding and of each blocked
	// connection.
	Examples int
	// Pairs counts flows by pair of hosts too.
	Pairs bool
	// Coverage counts flows by single data path too, a flow that may follow
	// several under each of them.
	Coverage bool
	// Edges counts flows by ends and service too, and keeps the hosts.
	Edges bool
}

// Tally holds the counts. Its zero value keeps no examples and is ready to use.
type Tally struct {
	Options Options

	Bytes uint64
	// Attention is the number of flows that are deviating, unexpected or
	// blocked.
	Attention uint64

	Paths        Counts[string, Path] // by path, or group where packets cannot tell
	Findings     Counts[FindingKey, Finding]
	Blocked      Counts[BlockedKey, Blocked]
	Unexpected   Counts[ServiceKey, Service]
	Undetermined Counts[ServiceKey, Service]
	Unrelated    Counts[string, Traffic] // by protocol
	MailLike     Counts[ServiceKey, Service]
	Allowed      Counts[string, Traffic] // by the site file's note
	Pairs        Counts[PairKey, Pair]
	Joined       Counts[JoinedKey, Joined] // conversations of two legs

	// With Options.Edges: who uses which service of whom, and what records said of
	// hosts.
	Edges Counts[EdgeKey, Edge]
	Hosts map[netip.Addr]*Seat

	// With Options.Coverage: what was seen of each path, the flows of which one
	// direction was seen only, and the roles of their ends.
	ByPath map[string]*Cover
	OneWay uint64
	Roles  map[string]bool

	flows   statuses
	waiting waitingLegs
	words   []string // names of protocols and reasons: there are few
	names   map[netip.Addr]string

	places int // hosts that only are somewhere
}

// statuses counts flows by status.
type statuses struct{ expected, deviating, unexpected, undetermined, unrelated, other uint64 }

// Of returns the number of flows with a status.
func (t *Tally) Of(status record.Status) uint64 {
	switch status {
	case record.Expected:
		return t.flows.expected
	case record.Deviating:
		return t.flows.deviating
	case record.Unexpected:
		return t.flows.unexpected
	case record.Undetermined:
		return t.flows.undetermined
	case record.Unrelated:
		return t.flows.unrelated
	}
	return 0
}

// Flows returns the number of all flows.
func (t *Tally) Flows() uint64 {
	f := &t.flows
	return f.expected + f.deviating + f.unexpected + f.undetermined + f.unrelated + f.other
}

// BlockedFlows returns the number of flows on documented paths that were tried in vain.
func (t *Tally) BlockedFlows() uint64 {
	n := t.Blocked.More
	for _, b := range t.Blocked.All() {
		n += b.Flows
	}
	return n
}

// Name returns the name that records gave a host, or "".
func (t *Tally) Name(addr netip.Addr) string { return t.names[addr] }

// Traffic is an amount of traffic.
type Traffic struct {
	Flows, Packets, Bytes uint64
}

func (t *Traffic) count(r *record.Record) {
	t.Flows++
	t.Packets += r.Packets[0] + r.Packets[1]
	t.Bytes += r.Bytes[0] + r.Bytes[1]
}

// Period is the time in which flows were seen.
type Period struct{ First, Last time.Time }

// extend makes p hold the time of r.
func (p *Period) extend(r *record.Record) {
	if r.First.Before(p.First) {
		p.First = r.First
	}
	if r.Last.After(p.Last) {
		p.Last = r.Last
	}
}

// Security counts flows by how they authenticate and are encrypted.
type Security struct{ Auth, Encryption Mechanisms }

// note counts the mechanisms of r.
func (s *Security) note(r *record.Record) {
	if r.Facts == nil {
		return
	}
	for _, f := range r.Facts.All() {
		switch f.Name {
		case observe.Auth:
			s.Auth.count(f.Value, maxMechs)
		case observe.Encryption:
			s.Encryption.count(f.Value, maxMechs)
		}
	}
}

// Path is a data path, or a group of them that packets cannot tell apart.
type Path struct {
	Traffic
	Label string          // the path's id, or the group's
	Path  *rules.DataPath // the first path of the last flow
	IDs   []string        // every path that a flow of it may follow
	Tied  uint64          // flows that may follow more than one
	// LowSource reports whether the reference itself is uncertain.
	LowSource           bool
	Expected, Deviating uint64
	Blocked             uint64 // flows that were refused, prohibited or never answered
	Weakest, Strongest  record.Confidence
	Security
	Period

	also []*rules.DataPath // with Path those of the last flow
}

// Mechanisms counts flows by mechanism, in the order first seen.
type Mechanisms []Mechanism

// Mechanism is a way to authenticate or encrypt.
type Mechanism struct {
	Name  string
	Flows uint64
}

func (m *Mechanisms) count(name string, limit int) {
	for i := range *m {
		if (*m)[i].Name == name {
			(*m)[i].Flows++
			return
		}
	}
	if len(*m) < limit {
		*m = append(*m, Mechanism{strings.Clone(name), 1})
	}
}

// Sorted returns the mechanisms, the most frequent first.
func (m Mechanisms) Sorted() Mechanisms {
	m = slices.Clone(m)
	slices.SortStableFunc(m, func(a, b Mechanism) int { return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Name, b.Name)) })
	return m
}

// FindingKey is a finding on a data path or a group. A finding that the site file
// accepts is another one.
type FindingKey struct {
	ID    record.FindingID
	Path  string
	Level record.Level
}

// Finding counts the flows with one finding on one path.
type Finding struct {
	Flows     uint64
	Level     record.Level
	Path      *rules.DataPath
	Details   Mechanisms // what was seen and what is documented, in words
	Protocols []string
	Examples  []Example
}

// Example is one flow, and the number of flows like it.
type Example struct {
	Client, Server netip.AddrPort // of the first of them
	Proto          uint8
	Why            string
	Flows          uint64
}

// ServiceKey is a server port with what was spoken on it. It is made of numbers
// side by side, because most flows off path differ in it, and a map hashes them
// at once.
type ServiceKey struct {
	server                        [16]byte
	port, proto, reason, protocol uint16 // the last two as numbers of words
}

// Service is a server port that no data path explains.
type Service struct {
	Traffic
	Reason      record.Reason
	Server      netip.AddrPort
	Proto       uint8
	Protocol    string
	Client      netip.AddrPort // of the first flow
	Outcome     record.Outcome
	Why         string
	ServerRoles string // joined by commas; empty if none is known
	ClientRoles string
}

// BlockedKey is what was tried in vain.
type BlockedKey struct {
	Outcome record.Outcome
	Path    string
	Server  netip.AddrPort
	Proto   uint8
}

// Blocked counts the connections that were tried in vain.
type Blocked struct {
	Flows   uint64
	Path    *rules.DataPath
	Clients []netip.Addr // the first of them
}

// PairKey is a client and a server with the label of a path; where there is
// none, with the status, port and protocol.
type PairKey struct {
	Client, Server netip.Addr
	Label          string
}

// Pair counts the flows of two hosts on a data path.
type Pair struct {
	Traffic
	Client, Server string          // names
	Path           *rules.DataPath // of the first flow, or nil
}

// Label returns the id under which a flow is counted: its group, or its data
// path where nothing ties, or "".
func Label(v *record.Verdict) string {
	if v.Path == nil {
		return ""
	}
	return cmp.Or(v.Group, v.Path.ID)
}

// PathName returns the name of a label for people: that of the path, or that of
// the group where paths tie. groupName may be nil. p is a path of the label.
func PathName(label string, p *rules.DataPath, groupName func(string) string) string {
	if p != nil && p.ID == label {
		return cmp.Or(p.Name, label)
	}
	if groupName != nil {
		return cmp.Or(groupName(label), label)
	}
	return label
}

// hint returns a number that differs between most servers.
func hint(server netip.AddrPort) int {
	addr := server.Addr().As16()
	return int(server.Port())*31 + int(addr[15])
}

// number returns the number of a word.
func (t *Tally) number(word string) uint16 {
	i := slices.Index(t.words, word)
	if i < 0 {
		i = len(t.words)
		t.words = append(t.words, strings.Clone(word))
	}
	return uint16(i)
}

// Add counts a record, unless it is an interim one.
func (t *Tally) Add(r *record.Record) {
	if r.State == "active" {
		return // the last record of the flow counts
	}
	v := &r.Verdict
	t.Bytes += r.Bytes[0] + r.Bytes[1]
	switch v.Status {
	case record.Unrelated:
		t.flows.unrelated++
		if u := t.Unrelated.at(r.Protocol, len(r.Protocol)); u != nil {
			u.count(r)
		}
		if mailProtocol(r.Protocol) {
			t.service(&t.MailLike, r)
		}
	case record.Undetermined:
		t.flows.undetermined++
		t.service(&t.Undetermined, r)
	case record.Unexpected:
		t.flows.unexpected++
		t.Attention++
		t.service(&t.Unexpected, r)
	case record.Deviating:
		t.flows.deviating++
		t.Attention++
	case record.Expected:
		t.flows.expected++
		if r.Outcome.Blocked() {
			t.Attention++
		}
		if v.Path == nil {
			if a := t.Allowed.at(v.Why, len(v.Why)); a != nil {
				a.count(r)
			}
		}
	default:
		t.flows.other++
	}
	if v.Path != nil {
		t.onPath(r)
	}
	if r.Conversation != "" {
		t.leg(r)
	}
	if t.Options.Pairs {
		t.pair(r)
	}
	if t.Options.Coverage {
		t.cover(r)
	}
	if t.Options.Edges {
		t.edge(r)
	}
}

// AddUnrelated counts unrelated flows without a protocol, as Add does where Options
// ask for nothing but examples and pairs.
func (t *Tally) AddUnrelated(flows, packets, bytes uint64) {
	t.Bytes += bytes
	t.flows.unrelated += flows
	if u := t.Unrelated.at("", 0); u != nil {
		u.Flows += flows
		u.Packets += packets
		u.Bytes += bytes
	}
}

// mailProtocol reports whether a protocol hints at a mail server.
func mailProtocol(protocol string) bool {
	switch protocol {
	case "smtp", "imap", "pop3":
		return true
	}
	return false
}

// service counts a flow by its server port.
func (t *Tally) service(counts *Counts[ServiceKey, Service], r *record.Record) {
	server := netip.AddrPortFrom(r.Server.Addr, r.Server.Port)
	k := ServiceKey{r.Server.Addr.As16(), r.Server.Port, uint16(r.Proto), t.number(string(r.Verdict.Reason)), t.number(r.Protocol)}
	u := counts.at(k, hint(server))
	if u == nil {
		return
	}
	if u.Flows == 0 {
		u.Reason, u.Server, u.Proto, u.Protocol = r.Verdict.Reason, server, r.Proto, r.Protocol
		u.Client, u.Outcome, u.Why = netip.AddrPortFrom(r.Client.Addr, r.Client.Port), r.Outcome, strings.Clone(r.Verdict.Why)
		u.ServerRoles, u.ClientRoles = strings.Join(r.Server.Roles, ","), strings.Join(r.Client.Roles, ",")
		t.name(r)
	}
	u.count(r)
}

// name remembers the names of a record's hosts. It is called for flows that are
// shown, of which the caps bound the number.
func (t *Tally) name(r *record.Record) {
	for _, h := range [...]*record.Host{&r.Client, &r.Server} {
		if h.Name == "" {
			continue
		}
		if t.names == nil {
			t.names = map[netip.Addr]string{}
		}
		if _, ok := t.names[h.Addr]; !ok && len(t.names) < MaxPairs {
			t.names[h.Addr] = strings.Clone(h.Name)
		}
	}
}

func (t *Tally) onPath(r *record.Record) {
	v := &r.Verdict
	label := Label(v)
	p := t.Paths.at(label, len(label))
	if p == nil {
		return
	}
	p.add(r, label)
	for i := range v.Findings {
		t.finding(r, i, label)
	}
	if !r.Outcome.Blocked() {
		return
	}
	p.Blocked++
	server := netip.AddrPortFrom(r.Server.Addr, r.Server.Port)
	if b := t.Blocked.at(BlockedKey{r.Outcome, label, server, r.Proto}, hint(server)); b != nil {
		b.Flows++
		b.Path = v.Path
		if len(b.Clients) < t.Options.Examples && !slices.Contains(b.Clients, r.Client.Addr) {
			b.Clients = append(b.Clients, r.Client.Addr)
			t.name(r)
		}
	}
}

func (p *Path) add(r *record.Record, label string) {
	v := &r.Verdict
	if p.Flows == 0 {
		p.Label, p.Weakest, p.First, p.Last = label, v.Confidence, r.First, r.Last
	}
	if p.Path != v.Path || !slices.Equal(p.also, v.Also) {
		p.Path, p.also = v.Path, append(p.also[:0], v.Also...)
		p.LowSource = p.LowSource || v.Path.Confidence == "low"
		p.mayBe(v.Path.ID)
		for _, a := range v.Also {
			p.mayBe(a.ID)
		}
	}
	if len(v.Also) > 0 {
		p.Tied++
	}
	p.count(r)
	if v.Status == record.Deviating {
		p.Deviating++
	} else {
		p.Expected++
	}
	p.Weakest, p.Strongest = min(p.Weakest, v.Confidence), max(p.Strongest, v.Confidence)
	p.extend(r)
	p.note(r)
}

// mayBe adds a path that a flow may follow. The packs bound their number.
func (p *Path) mayBe(id string) {
	if !slices.Contains(p.IDs, id) {
		p.IDs = append(p.IDs, id)
	}
}

// finding counts the finding of r with an index.
func (t *Tally) finding(r *record.Record, index int, label string) {
	f := &r.Verdict.Findings[index]
	x := t.Findings.at(FindingKey{f.ID, label, f.Level}, len(f.ID)<<6+len(label))
	if x == nil {
		return
	}
	if x.Flows == 0 {
		x.Level, x.Path = f.Level, r.Verdict.Path
	}
	if f.Detail != "" {
		x.Details.count(f.Detail, maxDetails)
	}
	for i := range index {
		if o := &r.Verdict.Findings[i]; o.ID == f.ID && o.Level == f.Level {
			return // the flow was counted with that one
		}
	}
	x.Flows++
	if len(x.Protocols) < maxWords && !slices.Contains(x.Protocols, r.Protocol) {
		x.Protocols = append(x.Protocols, r.Protocol)
	}
	client, server := netip.AddrPortFrom(r.Client.Addr, r.Client.Port), netip.AddrPortFrom(r.Server.Addr, r.Server.Port)
	for i := range x.Examples {
		if e := &x.Examples[i]; e.Client.Addr() == client.Addr() && e.Server == server && e.Proto == r.Proto {
			e.Flows++
			return
		}
	}
	if len(x.Examples) < t.Options.Examples {
		x.Examples = append(x.Examples, Example{client, server, r.Proto, strings.Clone(r.Verdict.Why), 1})
		t.name(r)
	}
}

func (t *Tally) pair(r *record.Record) {
	if r.Verdict.Status == record.Unrelated {
		return
	}
	t.Pairs.max = MaxPairs
	label := Label(&r.Verdict)
	if label == "" {
		label = fmt.Sprintf("%s: %d/%s %s", r.Verdict.Status, r.Server.Port, capture.ProtoName(r.Proto), r.Protocol)
	}
	a, b := r.Client.Addr.As16(), r.Server.Addr.As16()
	p := t.Pairs.at(PairKey{r.Client.Addr, r.Server.Addr, label}, int(a[15])*251+int(b[15])*31+len(label))
	if p == nil {
		return
	}
	if p.Flows == 0 {
		p.Client, p.Server, p.Path = strings.Clone(r.Client.Name), strings.Clone(r.Server.Name), r.Verdict.Path
	}
	p.count(r)
}
