package observe

import (
	"net/netip"
	"time"
)

// CallEvent is one signalling message of a telephone call. The reader of several flows
// groups the events of a call by CallID.
type CallEvent struct {
	// Time is the packet time in nanoseconds since the Unix epoch, and Number the
	// packet's number.
	Time   int64
	Number uint64
	// CallID is the Call-ID, and FromTag and ToTag are the tags of the dialog (RFC 3261
	// section 12). They may contain host names and must not be printed.
	CallID, FromTag, ToTag string
	// Src sent the message to Dst.
	Src, Dst netip.AddrPort
	// TCP reports that the message came over TCP. Otherwise it came over UDP.
	TCP bool
	// Method is the method of a request, or of the request that a response answers. CSeq
	// is its sequence number.
	Method string
	CSeq   uint32
	// Code is the status code of a response, 100 to 699, or 0 for a request.
	Code int
	// Targets are the destinations that a redirection (3xx) names.
	Targets []Target
	// Diagnostic is the number in the ms-diagnostics header ([MS-OCER]), or "".
	Diagnostic string
	// Media holds the media that the session description of the message announces for its
	// sender.
	Media []Media
	// Caller and Callee are the user parts of the From and To addresses. They are set
	// only with Report.Identities.
	Caller, Callee string
}

// Target is a destination that a redirection names. Addr is invalid if the redirection
// gives a host name.
type Target struct {
	Host      string
	Addr      netip.Addr
	Port      uint16
	Transport string // "tcp", "udp", "tls"
}

// Media is one media line of a session description (RFC 8866).
type Media struct {
	// Kind is "audio", "video", "image" ..., Proto "RTP/AVP", "RTP/SAVP", "udptl" ...
	Kind, Proto string
	// Addr is the address at which the sender of the description wants to receive. Its
	// port is 0 if the sender refused the medium. Its address is unspecified or invalid
	// if the description has none or the call is on hold.
	Addr netip.AddrPort
	// Ports is the number of port pairs that start at Addr, usually 1.
	Ports int
	// RTCP is the address at which the sender wants to receive RTCP, if the description
	// gives one.
	RTCP netip.AddrPort
	// Candidates are additional addresses for the same medium (ICE, RFC 8839).
	Candidates []netip.AddrPort
	// Direction is "sendrecv", "sendonly", "recvonly" or "inactive".
	Direction string
	// Encryption is "none" or "srtp", or "" if the sender offered both.
	Encryption string
	Codecs     []Codec
}

// Codec is the meaning of an RTP payload type.
type Codec struct {
	Type uint8
	Name string // "PCMU", "x-msrta" ...; "" if the description gives none
	Rate int    // clock rate in Hz; 0 if the description gives none
}

// Stream is the quality of one RTP stream, that is, of the packets of one SSRC in one
// direction of a flow (RFC 3550).
type Stream struct {
	SSRC     uint32
	Src, Dst netip.AddrPort
	// Announced reports that an SDP body announced one of the flow's two ends.
	Announced bool
	// First and Last are the times of the first and last packet in nanoseconds since the
	// Unix epoch. They are 0 if only RTCP mentions the stream.
	First, Last int64
	// Packets is the number of packets. Bytes is the size of their payloads, without
	// headers and padding.
	Packets, Bytes uint64
	// Expected is the extended highest sequence number minus the first one, plus one.
	// Lost is the number of expected packets that never came; unlike in RFC 3550 appendix
	// A.3, duplicates do not offset losses. Bursts is the number of runs of consecutive
	// lost packets.
	Expected, Lost, Bursts uint64
	// Duplicates is the number of packets that came again. Reordered is the number of
	// packets that came late.
	Duplicates, Reordered uint64
	// Restarts is the number of jumps to another sequence. Each sequence is counted by
	// itself.
	Restarts uint64
	// LargestGap is the longest time between two packets. Talk is the time in which voice
	// packets came at most 200 ms apart. Comfort noise and telephone events are not
	// voice.
	LargestGap, Talk time.Duration
	// Payloads holds the payload types of the stream, at most eight.
	Payloads []Payload
	// Reports is the number of RTCP reception reports about this stream (RFC 3550 section
	// 6.4.1). The following fields are those of the last report: the packets lost since
	// the beginning, the fraction lost in units of 1/256, and the jitter in units of the
	// RTP clock.
	Reports        uint64
	ReportedLost   int32
	ReportedShare  uint8
	ReportedJitter uint32
	// SenderPackets is the number of sent packets according to the last RTCP sender
	// report, or 0 if there was none.
	SenderPackets uint32
}

// Payload is the part of a stream with one RTP payload type.
type Payload struct {
	Type uint8
	// Name is the encoding's name, for the types that RFC 3551 assigns.
	Name    string
	Packets uint64
	// Jitter is the interarrival jitter at the type's clock rate. The rate of a dynamic
	// type may be unknown; Jitter then has an element for each of the common rates.
	Jitter []Jitter
}

// Jitter is the interarrival jitter of RFC 3550 section 6.4.1 for a clock rate in Hz: the
// last, mean and largest estimates.
type Jitter struct {
	Rate            int
	Last, Mean, Max time.Duration
}
