// Package observe defines observers. An observer reads one protocol: it takes the bytes
// of a flow and returns facts and learned endpoints.
//
// An observer knows only its protocol. It does not know Exchange, rules or other flows.
// It puts everything that it learns into a Report.
package observe

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
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

// Input offers bytes to an observer, or reports that bytes are missing. It is valid only
// during the call.
type Input struct {
	Dir Direction
	// Time is the packet time in nanoseconds since the Unix epoch. Number is the number
	// of the packet that completed Data.
	Time   int64
	Number uint64
	// Data holds one whole datagram, or the bytes of a stream, in order, that the
	// observer has not used yet.
	Data []byte
	// Gap is the number of bytes that are missing before the next Data in this direction.
	// If it is not 0, Data holds the bytes before them that the observer has not used
	// yet: they are not offered again.
	Gap int
	// Datagram reports that Data is one datagram. Any bytes that Observe does not use are
	// dropped.
	Datagram bool
	// Cut reports that the snap length cut off the end of the datagram.
	Cut bool
	// Handshake reports that the capture contains the beginning of the flow, so the first
	// bytes offered are the first bytes of the stream.
	Handshake bool
	// Continues reports that the segment that completed Data acknowledges all bytes
	// offered in the other direction so far. It applies only to streams.
	Continues bool
	// Announced is the service that a learned endpoint promised for this flow ("rtp",
	// "emsmdb" ...), or "".
	Announced string
	// Flow returns the ends of the flow for Ends. It is nil if they are unknown.
	Flow func() (client, server netip.AddrPort)
}

// Ends returns the ends of the flow. It computes them on demand because few packets need
// them.
func (in *Input) Ends() (client, server netip.AddrPort) {
	if in.Flow == nil {
		return client, server
	}
	return in.Flow()
}

// Observer reads one flow. It is not safe for concurrent use.
type Observer interface {
	// Observe reads in and returns the number of bytes that it used. Unused bytes are
	// offered again, followed by more. If n is greater than len(in.Data), the observer
	// does not need the bytes up to n, such as message bodies and stubs, and they are
	// never offered. n is never negative. An observer must report the same facts however
	// the stream is split into calls.
	//
	// The error is nil to continue, or exactly ErrDone, ErrViolation, ErrReversed or
	// ErrUpgrade, never wrapped. With an error n is ignored, except with ErrUpgrade.
	Observe(in *Input, r *Report) (n int, err error)
}

// Finisher is implemented by observers that have something to report at the end of a
// flow, such as the quality of a media stream.
type Finisher interface {
	// Finish reports the conclusions from everything seen so far. It may be called more
	// than once.
	Finish(r *Report)
}

// Holder is implemented by observers whose memory grows with the data of a flow.
type Holder interface {
	// Held returns the approximate number of bytes that the observer holds besides its
	// own struct. It never exceeds MaxHeld by much, whatever the flow sends.
	Held() int
}

// MaxHeld is the number of bytes at which an observer stops holding more.
const MaxHeld = 96 << 10

// Rereader is implemented by observers that learn endpoints from answers that a third
// party can forge. Again offers different bytes for the place in the stream from which
// the observer last learned endpoints. Whatever the observer reports from either version
// is disputed.
type Rereader interface {
	Again(in *Input, r *Report)
}

// Errors that Observe returns.
var (
	// ErrDone means that the rest of the flow cannot change the report. The observer gets
	// no more bytes.
	ErrDone = errors.New("observer done")
	// ErrViolation means that the flow does not carry this protocol after all. The next
	// candidate is tried.
	ErrViolation = errors.New("not this protocol")
	// ErrReversed means that client and server are swapped. Unless the handshake proved
	// the roles, they are exchanged and a new observer starts with the same bytes.
	ErrReversed = errors.New("client and server are reversed")
	// ErrUpgrade hands the flow over to the protocol named in Report.Next, starting after
	// the n bytes used.
	ErrUpgrade = errors.New("upgrade")
)

// Match is the result of Detect.
type Match uint8

// The results of Detect.
const (
	No   Match = iota // these are not the first bytes of this protocol
	More              // they may be, but more bytes are needed to decide
	Yes
)

// First holds the beginning of a flow whose protocol is unknown. Either side may be
// empty.
type First struct {
	ToServer, ToClient []byte
	// OnPort reports that the server's port is one of the protocol's ports. Detect should
	// require more certainty on other ports.
	OnPort bool
	// Datagram reports that the bytes are one datagram.
	Datagram bool
	// Late reports that these are not the first bytes of their sender, because earlier
	// bytes were not seen.
	Late bool
	// ClientPort and ServerPort are the ports of the flow's ends.
	ClientPort, ServerPort uint16
	// Announced is the service that a learned endpoint promised for this flow, or "".
	Announced string
}

// Pattern is a pattern of eight bytes, read as a big-endian number. Bytes match it if
// they equal Value in all bits that are set in Mask.
type Pattern struct {
	// At is the offset of the bytes, at most MinPatterned-8.
	At          int
	Mask, Value uint64
}

// Byte returns the mask and the value of the byte at an offset.
func (p *Pattern) Byte(at int) (mask, value byte) {
	if at < p.At || at >= p.At+8 {
		return 0, 0
	}
	shift := 56 - 8*(at-p.At)
	return byte(p.Mask >> shift), byte(p.Value >> shift)
}

// MinPatterned is the length in bytes from which patterns hold.
const MinPatterned = 24

// MinUserPort is the first port above the system ports (RFC 6335 section 6).
const MinUserPort = 1024

// Protocol describes how to detect and read a protocol.
type Protocol struct {
	// Name is the protocol's name in output and rules: "dcerpc", "smtp" ...
	Name string
	// TCP and UDP are the server ports on which the protocol is expected and tried first.
	TCP, UDP []uint16
	// Detect reports whether the first bytes of a flow belong to the protocol. It is
	// called on every port, for TCP flows if Stream is set and for UDP flows if Datagram
	// is set. It must be cheap, must not retain the slices, and should return No as early
	// as possible.
	Detect           func(f *First) Match
	Stream, Datagram bool
	// Begins lists the possible first bytes of the protocol's datagrams. It is empty if
	// any byte is possible. Detect is not called for other datagrams. Streams need no
	// such list because Detect is called once for each first byte.
	Begins string
	// DatagramPatterns lists patterns of the protocol's datagrams, and StreamPatterns
	// patterns of the first bytes that one side sends. Detect returns No for bytes that
	// match none of them, if there are at least MinPatterned bytes. So most noise costs no
	// call of Detect. A protocol without patterns can begin with any bytes.
	DatagramPatterns, StreamPatterns []Pattern
	// UserPorts reports that Detect returns No for a datagram to or from a port below
	// MinUserPort.
	UserPorts bool
	// OnPort reports that Detect returns No for a datagram unless one of its ports is in
	// UDP. DatagramPatterns, UserPorts and OnPort do not apply to announced endpoints.
	OnPort bool
	// Text reports that if the first byte is text, Detect refuses a second or third
	// byte that is a control character or not ASCII. It is not called for such
	// bytes.
	Text bool
	// Tentative reports that the protocol's name applies to a flow only after its
	// observer has reported a fact, because the first packet proves too little (RTP).
	Tentative bool
	// New returns an observer for one flow. The observers of one Protocol may share
	// memory and are not safe for concurrent use.
	New func() Observer
	// Renew resets an unused observer to the state in which New returns one, so that
	// another flow can use it. It is nil if reuse would save nothing.
	Renew func(Observer)
}

// Report holds what an observer learned. It belongs to one flow and remains with the flow
// through upgrades.
type Report struct {
	Facts
	// Endpoints are the endpoints that this call learned. The caller takes them after
	// each call.
	Endpoints []Endpoint
	// Rejected are the services that this flow's server refused ("abstract syntax not
	// supported"). The caller takes them after each call.
	Rejected []string
	// Calls are the telephone signalling messages that this call read, in order. The
	// caller takes them after each call.
	Calls []CallEvent
	// Names are the host names that this call learned. The caller takes them after each
	// call.
	Names []HostName
	// Ties are numbers that two flows share only if both carry the same bytes. The legs
	// of a conversation on both sides of a load balancer that passes TLS through are such
	// flows. With the bit SessionTie the bytes name a session, which a client can resume
	// in another flow. Ties are derived from random values and have no other meaning. They are used
	// only for matching and are never printed. The caller takes them after each call.
	Ties []uint64
	// Streams are the media streams of the flow. Finish replaces them.
	Streams []Stream
	// Next is the protocol that takes over. It is set with ErrUpgrade.
	Next string
	// Identities reports that the observer may report the principals of users and hosts,
	// full paths and names (--include-identities). Otherwise the observer must not retain
	// them. It does not affect the facts that rules use.
	Identities bool
}

// Tunnelled ends the reading of a protocol that opened a tunnel, whose first bytes are
// data: it hands them over to TLS if they can begin that, and nothing else is read there.
// It returns what Observe is to return.
func (r *Report) Tunnelled(data []byte) error {
	if c := data[0]; c != 0x16 && c < 0x80 { // a record of TLS, or a hello of SSL 2
		return ErrDone
	}
	r.Next = "tls"
	return ErrUpgrade
}

// Tie adds a tie for random, the random value of a TLS hello. It ignores the first four
// bytes, which can be a time, and the last eight, which can be a signal (RFC 8446 section
// 4.1.3). A single repeated byte is not random, so Tie ignores such values.
func (r *Report) Tie(random []byte) {
	if len(random) >= 32 {
		if t := binary.LittleEndian.Uint64(random[8:]); t != bits.RotateLeft64(t, 8) {
			r.Ties = append(r.Ties, t&^SessionTie)
		}
	}
}

// SessionTie is set in ties that name a session.
const SessionTie = 1 << 63

// TieSession adds a tie for the id or the ticket of a TLS session. Short ones are not
// random, so TieSession ignores them.
func (r *Report) TieSession(id []byte) {
	if len(id) < 16 {
		return
	}
	hash := uint64(14695981039346656037) // FNV-1a
	for _, b := range id {
		hash = (hash ^ uint64(b)) * 1099511628211
	}
	if t := hash | SessionTie; !slices.Contains(r.Ties, t) {
		r.Ties = append(r.Ties, t)
	}
}

// News reports whether the report holds anything for the caller to take.
func (r *Report) News() bool { return r.Changed || r.Learned() }

// Learned reports whether the report holds anything besides facts for the caller to take.
func (r *Report) Learned() bool {
	return len(r.Endpoints)+len(r.Rejected)+len(r.Names)+len(r.Calls)+len(r.Ties) > 0
}

// HostName is a name that the traffic gave for a host's address.
type HostName struct {
	Addr netip.Addr
	// Name is in lower case and has no trailing dot.
	Name string
	// Service is the service for which DNS named the host, in the form of SRV records
	// ("_ldap._tcp"), "mx" for a mail server, or "".
	Service string
}

// Learn adds an endpoint.
func (r *Report) Learn(e Endpoint) { r.Endpoints = append(r.Endpoints, e) }

// Source is the kind of message that announced an endpoint.
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

// Endpoint is a server endpoint that a flow announced. Flows to it use Service.
type Endpoint struct {
	// Server is the address on which the service listens. The port comes from the
	// announcement. The address comes from the packet that carried it, except for SDP and
	// SIP redirects, which name other hosts.
	Server netip.AddrPort
	// UDP reports that the endpoint is a UDP endpoint. Otherwise it is a TCP endpoint.
	UDP bool
	// Service is the announced service. RPC services have the form "UUID vMAJOR.MINOR"
	// ("a4f1db00-ca47-1067-b31f-00dd010662da v0.81"). Other services are named after the
	// protocol ("rtp", "rtcp", "sip" ...).
	Service string
	// Annotation is the endpoint mapper's text for the service, or "".
	Annotation string
	Source     Source
	// From is the end of the flow that announced the endpoint: the mapper or RPC server
	// that answered, the sender of a session description or redirect, or the client that
	// registered for notifications. If a host announces its own service, From and Server
	// have the same address. SDP and redirects can name any other host. If End is set,
	// From is the sender of the message that ended the scope.
	From netip.AddrPort
	// Announced is the address in the announcement if it differs from the address of
	// Server. A difference indicates NAT or a load balancer. 0.0.0.0 does not count as a
	// difference.
	Announced netip.Addr
	// Codecs lists the codecs of announced media, separated by spaces and named as in RTP
	// facts. It is set if the addresses of Server and From differ.
	Codecs string
	// Disputed reports that two packets of the flow occupied the same place in its stream
	// and announced different endpoints, of which this is one.
	Disputed bool
	// Scope is the dialog (SIP Call-ID) whose end ends the entry, or "".
	Scope string
	// End reports that the entries of Scope end now. All other fields except From are
	// then zero.
	End bool
	// Weak reports that only its own form supports the announcement, because no request
	// for it was seen. It lowers the confidence by one level.
	Weak bool
	// Idle is how long the entry lives without use, in nanoseconds. 0 means the default
	// of 24 h.
	Idle int64
}
