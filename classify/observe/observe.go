// Package observe says what an observer is: a reader of one protocol that takes
// bytes off a flow and gives facts and learned endpoints back, as data.
//
// An observer knows its protocol and nothing else: not Exchange, not the
// rules, not other flows. Everything it learns goes into the Report.
package observe

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Direction is the direction of bytes on a flow.
type Direction uint8

// The two directions.
const (
	ToServer Direction = iota
	ToClient
)

// Reverse returns the other direction.
func (d Direction) Reverse() Direction { return d ^ 1 }

func (d Direction) String() string {
	if d == ToServer {
		return "to_server"
	}
	return "to_client"
}

// Input is one offer of bytes, or the word that bytes are missing. It is valid
// during the call only.
type Input struct {
	Dir Direction
	// Time is the packet time in nanoseconds since the Unix epoch, and Number
	// the number of the packet that completed Data.
	Time   int64
	Number uint64
	// Data holds the bytes of a stream that were not used yet, in order, or one
	// whole datagram.
	Data []byte
	// Gap is the number of bytes that were never seen and come before anything
	// offered later in this direction; Data is then empty.
	Gap int
	// Datagram says that Data is one datagram. What Observe leaves of it is
	// dropped.
	Datagram bool
	// Cut is set for a datagram whose end the snap length took.
	Cut bool
	// Handshake says that the flow's begin was seen, so that the first bytes
	// offered are the first bytes of the stream.
	Handshake bool
	// Continues says that the acknowledgement number of the segment that
	// completed Data covers all bytes offered in the other direction so far.
	// Valid for streams.
	Continues bool
	// Announced is the service that a learned endpoint promised for this flow
	// ("rtp", "emsmdb" ...), or empty.
	Announced string
	// Flow tells the flow's ends to Ends; nil for ends that are not known.
	Flow func() (client, server netip.AddrPort)
}

// Ends returns the flow's ends. They are put together when they are asked for:
// few packets need them.
func (in *Input) Ends() (client, server netip.AddrPort) {
	if in.Flow == nil {
		return client, server
	}
	return in.Flow()
}

// Observer reads one flow. It is used by one goroutine.
type Observer interface {
	// Observe looks at in and says how many bytes it used. Bytes that it did not
	// use are offered again with more behind them; n beyond len(in.Data) means
	// that the observer needs nothing of the bytes up to there (message bodies,
	// stubs), and they are never offered. n is never negative. An observer must
	// report the same facts however the stream is cut into offers.
	//
	// The error is nil to go on, or ErrDone, ErrViolation, ErrReversed or
	// ErrUpgrade itself, never wrapped; n is then ignored, except with ErrUpgrade.
	Observe(in *Input, r *Report) (n int, err error)
}

// Finisher is implemented by observers that have something to report when
// their flow ends, such as the quality of a media stream. Finish may be called
// more than once, each time with all that was seen so far.
type Finisher interface {
	Finish(r *Report)
}

// Holder is implemented by observers whose memory grows with what a flow sends.
type Holder interface {
	// Held returns about how many bytes the observer holds besides its own
	// structure. It stays near MaxHeld at most, whatever the flow sends.
	Held() int
}

// MaxHeld is the number of bytes beyond which an observer holds no more.
const MaxHeld = 96 << 10

// What an observer can say besides a number of bytes.
var (
	// ErrDone says that nothing later on this flow can change what was
	// reported. The rest of the flow costs a look-up a packet.
	ErrDone = errors.New("observer done")
	// ErrViolation says that the flow is not this protocol after all. The next
	// candidate is tried.
	ErrViolation = errors.New("not this protocol")
	// ErrReversed says that client and server are the other way round. Unless
	// the handshake proved them, the flow is turned and a new observer starts
	// with the same bytes.
	ErrReversed = errors.New("client and server are reversed")
	// ErrUpgrade hands the flow to the protocol named in Report.Next, from the n
	// bytes on that were used.
	ErrUpgrade = errors.New("upgrade")
)

// Match is what Detect says.
type Match uint8

// The answers.
const (
	No   Match = iota // these are not first bytes of this protocol
	More              // they can be, but more bytes are needed to say so
	Yes
)

// First is what there is of a flow's beginning when its protocol is looked
// for. Either side may be empty.
type First struct {
	ToServer, ToClient []byte
	// OnPort says that the server's port is one of the protocol's Ports. Away
	// from them Detect should ask for more certainty.
	OnPort bool
	// Datagram says that the bytes are one datagram.
	Datagram bool
	// ClientPort and ServerPort are those of the flow's ends.
	ClientPort, ServerPort uint16
	// Announced is the service that a learned endpoint promised for this flow,
	// or empty.
	Announced string
}

// Protocol describes how one protocol is found and read.
type Protocol struct {
	// Name is the protocol's name in output and rules: "dcerpc", "smtp" ...
	Name string
	// TCP and UDP are the server ports where it is expected and tried first.
	TCP, UDP []uint16
	// Detect looks at a flow's first bytes. It is tried on every port, for TCP
	// flows if Stream and for UDP flows if Datagram. It must be cheap, must not
	// keep the slices, and should answer No as early as it can.
	Detect           func(f *First) Match
	Stream, Datagram bool
	// Begins holds the bytes that a datagram of the protocol can begin with, so
	// that Detect is not asked about others; it is empty if that can be any.
	// Streams need no such word: Detect is asked about each first byte once.
	Begins string
	// Text says that where the first byte is text, Detect refuses what has
	// control characters or bytes beyond ASCII as the second or third, so that it
	// is not asked about such bytes.
	Text bool
	// Tentative protocols name the flow only when their observer reports its
	// first fact, because a first packet proves too little (RTP).
	Tentative bool
	// New returns an observer for one flow. The observers of one Protocol can
	// share what they remember, and are used by one goroutine.
	New func() Observer
	// Renew makes an observer, which is not used any more, what New returns, so that
	// another flow can have it. It is nil where that would gain nothing.
	Renew func(Observer)
}

// Report is where an observer puts what it learned. It belongs to one flow and
// stays with it through upgrades.
type Report struct {
	Facts
	// Endpoints are the endpoints learned by this call; the caller takes them
	// away after each call.
	Endpoints []Endpoint
	// Rejected are endpoints of this flow's server whose service was refused by
	// it ("abstract syntax not supported"); taken away after each call too.
	Rejected []string
	// Calls are the telephone signalling messages read by this call, in order;
	// taken away after each call too.
	Calls []CallEvent
	// Names are names of hosts that this call learned; taken away after each
	// call too.
	Names []HostName
	// Ties are numbers that this flow shares with another one only if both carry
	// the same bytes: the legs of one conversation on either side of a load balancer
	// that passes TLS through. They are made of random values, so they say nothing
	// by themselves, and are for matching: they are never printed. Taken away after
	// each call too.
	Ties []uint64
	// Streams are the media streams of the flow, replaced by each Finish.
	Streams []Stream
	// Next is the protocol that takes over; set with ErrUpgrade.
	Next string
	// Identities says that user and host principals, full paths and names may
	// be reported (--include-identities). Without it an observer must not keep
	// them.
	Identities bool
}

// Tie adds a tie for random, the random value of a TLS hello, whose first four
// bytes can be a time and whose last eight a signal (RFC 8446 section 4.1.3).
func (r *Report) Tie(random []byte) {
	if len(random) >= 32 {
		if t := binary.LittleEndian.Uint64(random[8:]); t != 0 {
			r.Ties = append(r.Ties, t)
		}
	}
}

// News says whether there is anything to be taken away.
func (r *Report) News() bool { return r.Changed || r.Learned() }

// Learned says whether there is anything to be taken away besides facts.
func (r *Report) Learned() bool {
	return len(r.Endpoints)+len(r.Rejected)+len(r.Names)+len(r.Calls)+len(r.Ties) > 0
}

// HostName says that a name was given for a host's address.
type HostName struct {
	Addr netip.Addr
	// Name is in lower case, without the dot at its end.
	Name string
}

// Learn adds an endpoint.
func (r *Report) Learn(e Endpoint) { r.Endpoints = append(r.Endpoints, e) }

// Source is where an endpoint was learned.
type Source string

// The sources, a closed list.
const (
	FromMap      Source = "ept_map"
	FromLookup   Source = "ept_lookup"
	FromBind     Source = "bind"
	FromSDP      Source = "sdp"
	FromRedirect Source = "sip_redirect"
	FromPush     Source = "push"
	FromSite     Source = "site"
)

// Endpoint is a server endpoint that some flow announced: whoever talks to it
// uses Service.
type Endpoint struct {
	// Server is where the service listens. The port comes from the
	// announcement, the address from the packet that carried it, except for SDP
	// and SIP redirects, which name other hosts.
	Server netip.AddrPort
	// UDP says that it is a UDP endpoint; TCP otherwise.
	UDP bool
	// Service names what is served. RPC services are written "UUID vMAJOR.MINOR"
	// ("a4f1db00-ca47-1067-b31f-00dd010662da v0.81"), others by protocol
	// ("rtp", "rtcp", "sip" ...).
	Service string
	// Annotation is the mapper's text for the service, if it gave one.
	Annotation string
	Source     Source
	// From is the end of the flow that announced it: the mapper or the RPC server
	// that answered, the sender of a session description or of a redirect, the
	// client that registered for notifications. Who announces its own service has
	// From's address in Server; SDP and redirects can name any other. In one
	// that ends a scope, it is the sender of the message that ends it.
	From netip.AddrPort
	// Announced is the address in the announcement where it differs from
	// Server's (0.0.0.0 is no difference); a sign of NAT or a load balancer.
	Announced netip.Addr
	// Scope ties the entry to a dialog (SIP Call-ID) that ends it; empty for none.
	Scope string
	// End says that the scope's entries end now; the other fields but Scope and From
	// are then empty.
	End bool
	// Weak says that the announcement's own form is all that speaks for it (no
	// request was seen); it counts one confidence less.
	Weak bool
	// Idle is how long the entry lives without use, in nanoseconds; 0 means the
	// default of 24 h.
	Idle int64
}
