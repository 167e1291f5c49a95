package observe

import (
	"net/netip"
	"time"
)

// CallEvent is one signalling message of a telephone call, as it was read. A
// reader of several flows joins the events of a call by CallID.
type CallEvent struct {
	// Time is the packet time in nanoseconds since the Unix epoch, and Number the
	// packet's number.
	Time   int64
	Number uint64
	// CallID is the Call-ID, FromTag and ToTag the tags of the dialog (RFC 3261
	// section 12). They may hold host names and are not for output.
	CallID, FromTag, ToTag string
	// Src sent the message to Dst.
	Src, Dst netip.AddrPort
	// TCP reports that it came over TCP, otherwise over UDP.
	TCP bool
	// Method is that of the request, for a response that of the request it
	// answers; CSeq is its sequence number.
	Method string
	CSeq   uint32
	// Code is the status code of a response, 100 to 699, and 0 for a request.
	Code int
	// Targets are the places a redirection (3xx) names.
	Targets []Target
	// Diagnostic is the number in an ms-diagnostics header ([MS-OCER]), or empty.
	Diagnostic string
	// Media is what the message's session description announces for its sender.
	Media []Media
	// Caller and Callee are the user parts of the From and To addresses; only
	// with Report.Identities.
	Caller, Callee string
}

// Target is a place named by a redirection. Addr is not valid where the place
// is named by a host name.
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
	// Addr is where the sender of the description wants to receive; its port is 0
	// where the medium was refused, its address unspecified (or not valid) where
	// none was given or the call is held.
	Addr netip.AddrPort
	// Ports is the number of port pairs from Addr on, usually 1.
	Ports int
	// RTCP is where the sender wants to receive RTCP, if it wants it elsewhere
	// than on Addr.
	RTCP netip.AddrPort
	// Candidates are further addresses for the same medium (ICE, RFC 8839).
	Candidates []netip.AddrPort
	// Direction is "sendrecv", "sendonly", "recvonly" or "inactive".
	Direction string
	// Encryption is "none", "srtp", or empty where both were offered.
	Encryption string
	Codecs     []Codec
}

// Codec is what an RTP payload type stands for.
type Codec struct {
	Type uint8
	Name string // "PCMU", "x-msrta" ...; empty if the description has none
	Rate int    // clock rate in Hz, 0 if the description has none
}

// Stream is the quality of one RTP stream: the packets of one SSRC in one
// direction of one flow (RFC 3550).
type Stream struct {
	SSRC     uint32
	Src, Dst netip.AddrPort
	// Announced reports that an SDP body announced an end of the flow.
	Announced bool
	// First and Last are the times of the first and last packet in nanoseconds
	// since the Unix epoch; 0 if only RTCP speaks of the stream.
	First, Last int64
	// Packets counts packets, Bytes their payload without header and padding.
	Packets, Bytes uint64
	// Expected is the extended highest sequence number less the first plus one,
	// Lost those of them that never came. Duplicates do not make up for lost
	// packets, as they do in RFC 3550 appendix A.3. Bursts counts the runs of
	// consecutive lost packets.
	Expected, Lost, Bursts uint64
	// Duplicates and Reordered count packets that came again or late.
	Duplicates, Reordered uint64
	// Restarts counts jumps to another sequence, each counted by itself.
	Restarts uint64
	// LargestGap is the longest time between two packets. Talk is the time in
	// which voice packets came no more than 200 ms apart; comfort noise and
	// telephone events are no voice.
	LargestGap, Talk time.Duration
	// Payloads holds the payload types seen, at most eight.
	Payloads []Payload
	// Reports counts the RTCP reception reports about this stream (RFC 3550 section
	// 6.4.1). The following fields are those of the last one: the packets lost since
	// the beginning, the fraction lost in 1/256, and the jitter in units of the RTP
	// clock.
	Reports        uint64
	ReportedLost   int32
	ReportedShare  uint8
	ReportedJitter uint32
	// SenderPackets is the number of packets sent by the last RTCP sender report;
	// 0 for none.
	SenderPackets uint32
}

// Payload is what a stream carried under one RTP payload type.
type Payload struct {
	Type uint8
	// Name is the encoding's name for the types that RFC 3551 assigns.
	Name    string
	Packets uint64
	// Jitter is the interarrival jitter at the type's clock rate; for a dynamic
	// type at each of the common rates, to be chosen from when the rate is known.
	Jitter []Jitter
}

// Jitter is the interarrival jitter of RFC 3550 section 6.4.1 for a clock rate
// in Hz: the last estimate, the mean and the largest.
type Jitter struct {
	Rate            int
	Last, Mean, Max time.Duration
}
