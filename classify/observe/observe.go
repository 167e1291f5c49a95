// Package observe defines observers. An observer reads one protocol: it takes the
// bytes of a flow and returns facts and learned endpoints as data.
//
// An observer knows its protocol and nothing else: neither Exchange nor the rules
// nor other flows. It puts everything it learns into a Report.
package observe

import (
	"encoding/binary"
	"errors"
	"math/bits"
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

// Input offers bytes to an observer, or tells it that bytes are missing. It is
// valid during the call only.
type Input struct {
	Dir Direction
	// Time is the packet time in nanoseconds since the Unix epoch, and Number
	// the number of the packet that completed Data.
	Time   int64
	Number uint64
	// Data holds the bytes of a stream that the observer has not used yet, in
	// order, or one whole datagram.
	Data []byte
	// Gap is the number of bytes that are missing before whatever is offered next
	// in this direction. Data is then empty.
	Gap int
	// Datagram reports that Data is one datagram. Bytes of it that Observe does not
	// use are dropped.
	Datagram bool
	// Cut reports that the snap length cut off the end of the datagram.
	Cut bool
	// Handshake reports that the beginning of the flow was seen, so that the first
	// bytes offered are the first bytes of the stream.
	Handshake bool
	// Continues reports that the segment that completed Data acknowledges all bytes
	// offered in the other direction so far. It is valid for streams.
	Continues bool
	// Announced is the service that a learned endpoint promised for this flow
	// ("rtp", "emsmdb" ...), or empty.
	Announced string
	// Flow returns the ends of the flow for Ends. It is nil if they are not known.
	Flow func() (client, server netip.AddrPort)
}

// Ends returns the ends of the flow. It builds them on demand, because few
// packets need them.
func (in *Input) Ends() (client, server netip.AddrPort) {
	if in.Flow == nil {
		return client, server
	}
	return in.Flow()
}

// Observer reads one flow. It must be used by one goroutine only.
type Observer interface {
	// Observe reads in and returns the number of bytes that it used. Bytes that it
	// did not use are offered again with more behind them. If n is greater than
	// len(in.Data), the observer does not need the bytes up to there, such as
	// message bodies and stubs, and they are never offered. n is never negative. An
	// observer must report the same facts however the stream is cut into offers.
	//
	// The error is nil to go on, or ErrDone, ErrViolation, ErrReversed or
	// ErrUpgrade itself, never wrapped. With an error n is ignored, except with
	// ErrUpgrade.
	Observe(in *Input, r *Report) (n int, err error)
}

// Finisher is implemented by observers that have something to report when their
// flow ends, such as the quality of a media stream.
type Finisher interface {
	// Finish reports what follows from all that was seen so far. It may be called
	// more than once.
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

// Rereader is implemented by observers that learn endpoints from answers which
// somebody else can try to give first. Again offers bytes that came in the place
// of others in the stream: of those with which the observer last learned
// endpoints. What the observer reports of either is disputed.
type Rereader interface {
	Again(in *Input, r *Report)
}

// Errors that Observe returns.
var (
	// ErrDone means that nothing later on this flow can change what was reported.
	// The flow is not read any further.
	ErrDone = errors.New("observer done")
	// ErrViolation means that the flow does not carry this protocol after all. The
	// next candidate is tried.
	ErrViolation = errors.New("not this protocol")
	// ErrReversed means that client and server are swapped. Unless the handshake
	// proved them, the flow is turned and a new observer starts with the same
	// bytes.
	ErrReversed = errors.New("client and server are reversed")
	// ErrUpgrade hands the flow over to the protocol named in Report.Next, behind
	// the n bytes that were used.
	ErrUpgrade = errors.New("upgrade")
)

// Match is the result of Detect.
type Match uint8

// The results of Detect.
const (
	No   Match = iota // these are not first bytes of this protocol
	More              // they can be, but more bytes are needed to say so
	Yes
)

// First holds the beginning of a flow whose protocol is not known yet. Either side
// may be empty.
type First struct {
	ToServer, ToClient []byte
	// OnPort reports that the server's port is one of the protocol's. Detect should
	// demand more certainty on other ports.
	OnPort bool
	// Datagram reports that the bytes are one datagram.
	Datagram bool
	// ClientPort and ServerPort are those of the flow's ends.
	ClientPort, ServerPort uint16
	// Announced is the service that a learned endpoint promised for this flow,
	// or empty.
	Announced string
}

// Protocol describes how a protocol is detected and read.
type Protocol struct {
	// Name is the protocol's name in output and rules: "dcerpc", "smtp" ...
	Name string
	// TCP and UDP are the server ports on which it is expected and tried first.
	TCP, UDP []uint16
	// Detect reports whether the first bytes of a flow belong to the protocol. It is
	// called on every port, for TCP flows if Stream is set and for UDP flows if
	// Datagram is set. It must be cheap, must not keep the slices, and should return
	// No as early as possible.
	Detect           func(f *First) Match
	Stream, Datagram bool
	// Begins holds the bytes with which a datagram of the protocol can begin. It is
	// empty if any byte can. Detect is not called for other datagrams. Streams need
	// no such list: Detect is called once for each first byte.
	Begins string
	// Possible, if it is set, reports whether Detect may return anything but No for a
	// datagram between two ports, in either direction. It looks at a few bytes, so most
	// datagrams that are nothing known cost no call of Detect. It does not hold for
	// announced endpoints, where it is not called.
	Possible func(a, b uint16, datagram []byte) bool
	// Text reports that if the first byte is text, Detect refuses a second or third
	// byte that is a control character or not ASCII. It is not called for such
	// bytes.
	Text bool
	// Tentative reports that the protocol names a flow only once its observer has
	// reported a fact, because a first packet proves too little (RTP).
	Tentative bool
	// New returns an observer for one flow. The observers of one Protocol may share
	// memory and must be used by one goroutine only.
	New func() Observer
	// Renew resets an observer that is no longer used to what New returns, so that
	// another flow can use it. It is nil where that would gain nothing.
	Renew func(Observer)
}

// Report holds what an observer learned. It belongs to one flow and stays with it
// through upgrades.
type Report struct {
	Facts
	// Endpoints are the endpoints that this call learned. The caller takes them away
	// after each call.
	Endpoints []Endpoint
	// Rejected are the services that this flow's server refused ("abstract syntax not
	// supported"). The caller takes them away after each call.
	Rejected []string
	// Calls are the telephone signalling messages that this call read, in order. The
	// caller takes them away after each call.
	Calls []CallEvent
	// Names are the names of hosts that this call learned. The caller takes them away
	// after each call.
	Names []HostName
	// Ties are numbers that two flows share only if both carry the same bytes, as the
	// legs of one conversation do on either side of a load balancer that passes TLS
	// through. They are taken from random values, so they mean nothing by themselves.
	// They are for matching only and are never printed. The caller takes them away
	// after each call.
	Ties []uint64
	// Streams are the media streams of the flow. Finish replaces them.
	Streams []Stream
	// Next is the protocol that takes over. It is set with ErrUpgrade.
	Next string
	// Identities reports that user and host principals, full paths and names may be
	// reported (--include-identities). Otherwise an observer must not keep them. Facts
	// on which rules depend are the same either way.
	Identities bool
}

// Tie adds a tie for random, the random value of a TLS hello, whose first four
// bytes can be a time and whose last eight a signal (RFC 8446 section 4.1.3). One
// byte repeated is not random, and ties nothing.
func (r *Report) Tie(random []byte) {
	if len(random) >= 32 {
		if t := binary.LittleEndian.Uint64(random[8:]); t != bits.RotateLeft64(t, 8) {
			r.Ties = append(r.Ties, t)
		}
	}
}

// News reports whether there is anything to take away.
func (r *Report) News() bool { return r.Changed || r.Learned() }

// Learned reports whether there is anything to take away besides facts.
func (r *Report) Learned() bool {
	return len(r.Endpoints)+len(r.Rejected)+len(r.Names)+len(r.Calls)+len(r.Ties) > 0
}

// HostName is a name that the traffic gave to a host's address.
type HostName struct {
	Addr netip.Addr
	// Name is in lower case, without a trailing dot.
	Name string
	// Service is the service for which DNS named the host, as SRV records write it
	// ("_ldap._tcp"), "mx" for a mail server, or empty.
	Service string
}

// Learn adds an endpoint.
func (r *Report) Learn(e Endpoint) { r.Endpoints = append(r.Endpoints, e) }

// Source is the kind of message from which an endpoint was learned.
type Source string

// The sources.
const (
	FromMap      Source = "ept_map"
	FromLookup   Source = "ept_lookup"
	FromBind     Source = "bind"
	FromSDP      Source = "sdp"
	FromRedirect Source = "sip_redirect"
	FromPush     Source = "push"
	FromSite     Source = "site"
)

// Endpoint is a server endpoint that a flow announced: flows to it use Service.
type Endpoint struct {
	// Server is where the service listens. The port comes from the announcement and
	// the address from the packet that carried it, except for SDP and SIP redirects,
	// which name other hosts.
	Server netip.AddrPort
	// UDP reports that it is a UDP endpoint; otherwise it is a TCP endpoint.
	UDP bool
	// Service is what is served. RPC services are written "UUID vMAJOR.MINOR"
	// ("a4f1db00-ca47-1067-b31f-00dd010662da v0.81"), others by protocol ("rtp",
	// "rtcp", "sip" ...).
	Service string
	// Annotation is the endpoint mapper's text for the service, or empty.
	Annotation string
	Source     Source
	// From is the end of the flow that announced it: the mapper or the RPC server
	// that answered, the sender of a session description or of a redirect, the
	// client that registered for notifications. A host that announces its own service
	// has the same address in From and Server; SDP and redirects can name any other
	// host. If End is set, From is the sender of the message that ended the scope.
	From netip.AddrPort
	// Announced is the address in the announcement if it differs from Server's, which
	// is a sign of NAT or a load balancer. 0.0.0.0 does not count as different.
	Announced netip.Addr
	// Codecs are the codecs of announced media as facts of RTP name them, with
	// spaces between, where Server has another address than From.
	Codecs string
	// Disputed says that two packets of the flow took the same place in its stream
	// and announced different things: this is one of them.
	Disputed bool
	// Scope is the dialog (SIP Call-ID) whose end ends the entry, or empty.
	Scope string
	// End reports that the entries of Scope end now. All other fields except From are
	// then empty.
	End bool
	// Weak reports that nothing but its own form supports the announcement, because
	// no request for it was seen. It counts one confidence less.
	Weak bool
	// Idle is how long the entry lives without use, in nanoseconds. 0 means the
	// default of 24 h.
	Idle int64
}
