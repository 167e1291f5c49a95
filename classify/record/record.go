// Package record declares what exspan says of a flow: records, verdicts,
// findings and the summary of a run. Exporters need this package and not the
// engine that makes the records.
package record

import (
	"iter"
	"net/netip"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/communityid"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

// Status is what a verdict says in one word.
type Status string

// The statuses, a closed list.
const (
	Expected     Status = "expected"     // a documented data path, used as documented
	Deviating    Status = "deviating"    // a documented data path with at least one violation
	Unexpected   Status = "unexpected"   // an Exchange server takes part, and no data path explains the flow
	Unrelated    Status = "unrelated"    // no Exchange server takes part
	Undetermined Status = "undetermined" // too little was seen to say
)

// Reason says why a flow is unexpected or undetermined.
type Reason string

// The reasons of unexpected flows, a closed list, and of undetermined ones.
const (
	NoPath       Reason = "no-path"
	WrongRole    Reason = "wrong-role"
	WrongVersion Reason = "wrong-version"
	LocalOnly    Reason = "local-only"

	NoPayload   Reason = "no-payload"      // no payload, and no documented port
	NotBegun    Reason = "not-begun"       // the begin was not seen, and nothing announced the port
	Unannounced Reason = "unannounced"     // services of the two hosts use such ports, and nothing announced this one
	UnknownRole Reason = "unknown-role"    // it depends on the role of a host that is not known
	NoRules     Reason = "no-rules"        // there are no rules for the version of the server
	NoVersion   Reason = "unknown-version" // the version that is assumed of a server must not have it, another one may
	Sealed      Reason = "encrypted"       // IPsec carries it, and may carry anything

	Truncated    Reason = "truncated"     // the snap length cut off what would tell
	OneDirection Reason = "one-direction" // what would tell is in the direction that was not captured
)

// Confidence grades a verdict.
type Confidence uint8

// The grades, weakest first. The zero value is no confidence.
const (
	NoConfidence Confidence = iota
	ByPort                  // port and roles only
	ByPattern               // the content fits, nothing announced it
	Learned                 // the server endpoint was announced
	Observed                // the protocol itself was read on this flow
)

var confidenceNames = [...]string{"", "port", "pattern", "learned", "observed"}

func (c Confidence) String() string { return confidenceNames[c] }

// Level is the weight of a finding.
type Level string

// The levels.
const (
	Violation Level = "violation"
	Remark    Level = "remark"
	// Accepted is a violation that the site file accepts.
	Accepted Level = "accepted"
)

// Finding is something about a flow with a data path that its documentation
// does not promise.
type Finding struct {
	ID     FindingID
	Level  Level
	Detail string
}

// Verdict is what exspan says of a flow.
type Verdict struct {
	Status Status
	// Path is the first matching data path in pack order, Also all others that
	// match as well; both nil unless the status is expected or deviating.
	Path *rules.DataPath
	Also []*rules.DataPath
	// Group is the id that stands for Path and Also together: Path's own where
	// nothing ties. Empty where Path is nil.
	Group string
	// Confidence is that of the match or, for a wrong role, of the data path that
	// nothing but the roles keeps from matching.
	Confidence Confidence
	Reason     Reason
	// Version is the Exchange version whose rules the verdict rests on; empty where
	// no Exchange server takes part.
	Version       string
	VersionSource VersionSource
	// Why is one line that a person can check.
	Why      string
	Findings []Finding
}

// Platform reports whether the flow is the traffic of Windows itself, on no data
// path of Exchange.
func (v *Verdict) Platform() bool { return v.Path != nil && v.Path.Platform() }

// VersionSource tells how the version of a server is known.
type VersionSource string

// The sources of a version, in order of precedence.
const (
	BySite         VersionSource = "site"         // the site file
	ByTraffic      VersionSource = "traffic"      // a build number or the like
	ByFlag         VersionSource = "flag"         // --exchange
	ByOrganisation VersionSource = "organisation" // the version of other servers
	ByDefault      VersionSource = "default"      // assumed
)

// Outcome is how a flow's set-up went.
type Outcome string

// The outcomes, a closed list.
const (
	Answered   Outcome = "answered"
	Refused    Outcome = "refused"    // RST to the SYN, or ICMP port unreachable
	Unanswered Outcome = "unanswered" // two or more SYNs, or 3 s of silence
	Incomplete Outcome = "incomplete" // a SYN, and the input ended before 3 s
	Prohibited Outcome = "prohibited" // ICMP administratively prohibited, or dropped by a filter of the captured computer
	Midstream  Outcome = "midstream"  // the begin was not seen
	OneWay     Outcome = "one-way"    // this sensor never sees the reverse direction of the host pair
)

// Blocked reports whether the flow was tried in vain.
func (o Outcome) Blocked() bool { return o == Refused || o == Unanswered || o == Prohibited }

// Host is one end of a record.
type Host struct {
	Addr  netip.Addr
	Port  uint16
	Name  string   // from the site file or learned from traffic; may be empty
	Roles []string // "mailbox", "mailbox|cas" where the evidence leaves it open
}

// MayBe reports whether h has a role, or may have it where the evidence leaves that open.
func (h *Host) MayBe(role string) bool {
	for name := range h.AllRoles() {
		if name == role {
			return true
		}
	}
	return false
}

// AllRoles returns the roles that h has, or may have where the evidence leaves that open.
func (h *Host) AllRoles() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, names := range h.Roles {
			for name := range strings.SplitSeq(names, "|") {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// LearnedEndpoint is the announced endpoint that a flow used.
type LearnedEndpoint struct {
	Service string // short name, "UUID vX.Y" for interfaces without a name
	// Annotation is the endpoint mapper's text, if any.
	Annotation string
	Source     observe.Source
	From       netip.AddrPort
	Announced  netip.Addr // where it differs from the server's address
	Learned    time.Time  // zero for the site file
	Sensor     string     // that saw the announcement; empty for the sensor of the record
}

// Count is traffic by direction, indexed by observe.Direction.
type Count [2]uint64

// Record is what a Sink gets for a flow. It is valid during the call only.
type Record struct {
	// Number is that of the flow's first packet.
	Number      uint64
	First, Last time.Time
	Proto       uint8 // capture.TCP or capture.UDP
	Client      Host
	Server      Host
	VLANs       []string // tag stacks seen, outermost first
	Packets     Count
	Bytes       Count
	GapBytes    Count
	// Sensor is the name of the sensor, and Interface the interface that the flow's
	// first packet was captured from. Both are empty where they do not apply.
	Sensor, Interface string
	// State is "active" in interim records, "ended" in the last one.
	State    string
	Outcome  Outcome
	Protocol string // empty when not recognised
	// GivenUp tells why the content was read no further although there was more:
	// "unrecognised", "too-many" flows being read, or "too-much" to hold. It is empty
	// for most.
	GivenUp string
	Facts   *observe.Facts
	// Conversation is shared by the flows that are legs of one conversation, on either
	// side of a load balancer, as far as one of them proves it; empty for others. It
	// is the Community ID of the leg nearest to the client.
	Conversation string
	Endpoint     *LearnedEndpoint // nil when none was learned
	// Streams is the quality of the flow's media, known when it has ended.
	Streams []observe.Stream
	// SetupTime is the time from SYN to SYN-ACK; 0 when not seen.
	SetupTime time.Duration
	Verdict   Verdict
}

// CommunityID returns the flow's Community ID, version 1.
func (r *Record) CommunityID() string {
	return communityid.V1(r.Proto, netip.AddrPortFrom(r.Client.Addr, r.Client.Port), netip.AddrPortFrom(r.Server.Addr, r.Server.Port))
}

// Sink receives records in order of finalisation.
type Sink interface {
	// Write is called from one goroutine. It must not keep r.
	Write(r *Record) error
	// Close is called once after the last record, with the run's summary.
	Close(s *Summary) error
}

// Counter is a Sink that needs no record of most unrelated flows.
type Counter interface {
	Sink
	// CountUnrelated returns a function that takes the place of Write for ended flows
	// whose status is Unrelated, of which nothing was recognised: they have no protocol,
	// endpoint or conversation. The function gets their number, packets and IP bytes; it
	// is called before Close. CountUnrelated returns nil if the sink needs the records all
	// the same.
	CountUnrelated() func(flows, packets, bytes uint64)
}

// HostSummary is what was learned of one host.
type HostSummary struct {
	Addr  netip.Addr
	Name  string
	Roles []RoleProof
	// Hints are weak evidence that does not count beside Roles.
	Hints []RoleProof
	// Inside describes the tunnel inside which alone the host is known, or is empty:
	// another network may have the same address.
	Inside string
	// Version is the Exchange version of it, or empty. Build is the build number
	// that proves it, with the update it belongs to ("15.1.2507.6 (2016 CU23)").
	Version, Build string
}

// RoleProof is a role, or alternatives joined by "|", and what proves it.
type RoleProof struct {
	Role     string
	Evidence string
	// Weak reports whether it counts only as long as nothing else is known.
	Weak bool
}

// EndpointSummary is one learned endpoint at the end of the run.
type EndpointSummary struct {
	Server netip.AddrPort
	UDP    bool
	LearnedEndpoint
	Ended bool
	Flows uint64 // flows labelled through it
}

// Summary is what a run learned besides its flows.
type Summary struct {
	First, Last time.Time
	Hosts       []HostSummary
	Endpoints   []EndpointSummary
	// Calls holds the telephone calls, Streams the media streams that belong to
	// none; only with Config.Calls.
	Calls   []calls.Call
	Streams []calls.Stream
	// Limits counts, per limit, what was refused or dropped because of it.
	Limits []NamedCount
	// Skipped counts frames that became no packet, by reason.
	Skipped []NamedCount
	// Unread counts the same frames by what they are, as "SCTP (IP protocol 132)", as
	// far as that is known. Missed is how many of Frames may hold what somebody
	// would want to know of: the skipped ones without ARP and the like, fragments
	// and copies.
	Unread []NamedCount
	Missed uint64
	// Truncated counts the packets that the snap length cut, and SnapLength is the one
	// in bytes that would have done.
	Truncated  uint64
	SnapLength uint32
	Frames     uint64
	Packets    uint64
	IPBytes    uint64
	// LeftOut counts the flows that got no record, because they are the traffic of
	// Windows itself and the operator wants none of it.
	LeftOut uint64
	// AckedUnseen is the share of acknowledged TCP bytes that was never seen, 0 to 1.
	AckedUnseen float64
	// Errors holds what damaged the input, in order.
	Errors []error
	// Notes says what keeps the input from being complete, though nothing of it is
	// damaged.
	Notes []string
	// Drops are packets that the captured computer says it dropped. They are not
	// among the packets of flows. The ones with most packets come first.
	Drops []Drop
}

// Drop is a number of packets of one flow that a captured computer says it
// dropped, at one place for one reason.
type Drop struct {
	// Src and Dst are the ends of the packets, in their direction; they and Proto are
	// zero where the flow cannot be told.
	Src, Dst netip.AddrPort
	Proto    uint8
	// Reason is what the computer's system calls it: "INET_ReceiveInspection".
	Reason string
	// Forbidden reports whether a filter or a policy forbade the packets.
	Forbidden bool
	// By names in words what drops packets for this reason.
	By string
	// Component is the part of the system that dropped them: "tcpip.sys".
	Component string
	// Captured reports whether some of the packets were captured before they were
	// dropped.
	Captured    bool
	Packets     uint64
	First, Last time.Time
}

// NamedCount is a counter with its name. ID names it where words are too long:
// lower case and underscores.
type NamedCount struct {
	ID    string
	Name  string
	Count uint64
}
