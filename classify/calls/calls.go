// Package calls joins signalling messages and media streams, which come from
// different flows, into telephone calls: legs, redirections, media endpoints,
// quality, the side that hung up and the answer code.
package calls

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/exspan/exspan/classify/observe"
)

// Limits of a Table. It counts what it refuses.
const (
	MaxCalls    = 10_000
	MaxStreams  = 50_000
	maxLegs     = 16 // of one call
	maxMedia    = 16 // of one call
	maxCodecs   = 24 // of one medium
	maxAnnounce = 48 // addresses of one call
)

// An Outcome is the result of a call.
type Outcome string

// All outcomes.
const (
	Answered   Outcome = "answered"
	Rejected   Outcome = "rejected"   // a final answer of 400 or more
	Cancelled  Outcome = "cancelled"  // the caller gave up before an answer
	Redirected Outcome = "redirected" // redirected, and no call to the new place was seen
	Pending    Outcome = "pending"    // no final answer was seen
)

// A Call is one telephone call, from its first INVITE on.
type Call struct {
	// Number is the number of the packet that carried the first message. It
	// identifies the call within one input.
	Number uint64
	// Start is the time of the first message, Answer that of the 200 response, and
	// End that of the BYE, the CANCEL or the last final response. A time is zero if
	// its message was not seen.
	Start, Answer, End time.Time
	Outcome            Outcome
	// Code is the status code of the last final response to an INVITE that set up the
	// call, 302 only if nothing followed it, and 0 for none.
	Code int
	// Diagnostic is the number in the ms-diagnostics header of that response.
	Diagnostic string
	// HungUp is the side that ended the call: "caller", "callee" or empty. By is the
	// host that sent the BYE or CANCEL.
	HungUp string
	By     netip.Addr
	// Caller and Callee are the user parts of both URIs. They are set only if
	// identities are included.
	Caller, Callee string
	Legs           []Leg
	Media          []Medium
	Streams        []Stream
	// Changes is the number of re-INVITEs and UPDATEs with a new description, Holds
	// the number of those that put the call on hold, and Transfers that of REFERs.
	Changes, Holds, Transfers int
	Fax                       bool // T.38 was agreed on
	// OneWay reports whether voice came from one side only although both sides had
	// offered to send. It is set only for answered calls with a stream.
	OneWay bool
}

// A Leg is one attempt to reach the callee, at one place.
type Leg struct {
	From, To netip.AddrPort
	TCP      bool
	Start    time.Time
	// Code is the status code of the last response, which may be provisional; 0 for
	// none.
	Code int
	// RedirectedTo holds the places that a 3xx response named. Redirect is the index
	// of the leg whose redirection led to this one, or -1.
	RedirectedTo []observe.Target
	Redirect     int
}

// A Medium is an address that one side announced for media.
type Medium struct {
	Side       string // "caller" or "callee"
	Kind       string // "audio", "image" ...
	Addr, RTCP netip.AddrPort
	Encryption string // "none", "srtp" or empty
	Direction  string // as announced last
	Codecs     []observe.Codec
}

// A Stream is a media stream with what the description of its call adds.
type Stream struct {
	observe.Stream
	// Side is the side that sent the stream: "caller", "callee", or empty if neither
	// had announced one of its ends.
	Side string
	// Codec is the encoding of most of the packets, Rate the clock rate in Hz. They
	// are empty and 0 if no description names them.
	Codec string
	Rate  int
	// Jitter is the jitter of the packets in that encoding.
	Jitter observe.Jitter
	// Loss is the share of lost packets, 0 to 1.
	Loss float64
	// NAT reports whether one end is at an address that its side did not announce,
	// although it announced others. An address translator or a relay is between.
	NAT bool
	// R is the transmission rating of the E-model (ITU-T G.107) without its delay
	// term. MOS is the mean opinion score estimated from R, 1 to 4.5. Both are 0 for
	// encodings without published values.
	R, MOS float64
}

// A Table collects events and streams. Use New to create one.
type Table struct {
	maxCalls, maxStreams int
	byID                 map[string]*call
	calls                []*call
	streams              []observe.Stream
	// DroppedCalls and DroppedStreams are the numbers refused at the limits.
	DroppedCalls, DroppedStreams uint64
}

// call is a Call under construction.
type call struct {
	Call
	fromTag  string
	partial  bool      // the first INVITE was not seen, so the caller is unknown
	complete bool      // the call is over: another INVITE begins a new one
	changed  [2]uint32 // CSeq of the last change or transfer, by caller and callee
	announce []announcement
}

// announcement is an address at which a side wants to receive media.
type announcement struct {
	addr   netip.AddrPort
	caller bool
	since  int64
	medium int
}

// New returns an empty Table with the default limits.
func New() *Table {
	return &Table{maxCalls: MaxCalls, maxStreams: MaxStreams, byID: map[string]*call{}}
}

// AddStreams adds the streams of a flow whose record is final.
func (t *Table) AddStreams(list []observe.Stream) {
	for i := range list {
		if len(t.streams) >= t.maxStreams {
			t.DroppedStreams++
			continue
		}
		t.streams = append(t.streams, list[i])
	}
}

// Add adds an event. Events must be added in the order of packets.
func (t *Table) Add(ev *observe.CallEvent) {
	switch ev.Method {
	case "OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE":
		return // no call comes of these
	}
	c := t.byID[ev.CallID]
	initial := ev.Method == "INVITE" && ev.Code == 0 && ev.ToTag == ""
	if c == nil || c.complete && initial && ev.FromTag != c.fromTag {
		if len(t.calls) >= t.maxCalls {
			t.DroppedCalls++
			return
		}
		c = &call{fromTag: ev.FromTag, partial: !initial}
		c.Number, c.Start, c.Outcome = ev.Number, stamp(ev.Time), Pending
		t.byID[ev.CallID] = c
		t.calls = append(t.calls, c)
	}
	byCaller := c.byCaller(ev)
	sender := byCaller == (ev.Code == 0)
	if byCaller {
		c.Caller, c.Callee = cmp.Or(c.Caller, ev.Caller), cmp.Or(c.Callee, ev.Callee)
	}
	switch {
	case initial:
		c.complete = false
		c.begin(ev)
	case ev.Method == "INVITE" && ev.Code != 0 && byCaller:
		c.answer(ev)
	case ev.Method == "CANCEL":
		c.end(ev, "caller", Cancelled)
	case ev.Method == "BYE" && ev.Code == 0:
		side := "callee"
		if byCaller {
			side = "caller"
		}
		c.end(ev, side, c.Outcome)
	case ev.Method == "REFER":
		if c.fresh(ev, byCaller) {
			c.Transfers++
		}
	}
	c.describe(ev, sender, initial)
}

// byCaller reports whether the request of a message came from the caller. It
// compares tags, and addresses where the tags match neither end.
func (c *call) byCaller(ev *observe.CallEvent) bool {
	if ev.FromTag == c.fromTag || ev.ToTag == c.fromTag {
		return ev.FromTag == c.fromTag
	}
	from := ev.Src.Addr()
	if ev.Code != 0 {
		from = ev.Dst.Addr()
	}
	return slices.ContainsFunc(c.Legs, func(l Leg) bool { return l.From.Addr() == from })
}

// begin adds an INVITE that sets up a leg.
func (c *call) begin(ev *observe.CallEvent) {
	for i := range c.Legs {
		if l := &c.Legs[i]; l.From.Addr() == ev.Src.Addr() && l.To == ev.Dst {
			return // again, or with credentials
		}
	}
	if len(c.Legs) >= maxLegs {
		return
	}
	l := Leg{From: ev.Src, To: ev.Dst, TCP: ev.TCP, Start: stamp(ev.Time), Redirect: -1}
	for i := range c.Legs {
		for _, t := range c.Legs[i].RedirectedTo {
			if t.Port == ev.Dst.Port() && (t.Addr == ev.Dst.Addr() || !t.Addr.IsValid()) {
				l.Redirect = i
			}
		}
	}
	if l.Redirect >= 0 && c.Outcome == Redirected {
		c.Outcome, c.Code, c.Diagnostic, c.End = Pending, 0, "", time.Time{}
	}
	c.Legs = append(c.Legs, l)
}

// answer adds a response to an INVITE of the caller.
func (c *call) answer(ev *observe.CallEvent) {
	var l *Leg
	for i := range c.Legs {
		k := &c.Legs[i]
		if k.From.Addr() == ev.Dst.Addr() && k.To == ev.Src {
			l = k
			break
		}
		if k.From.Addr() == ev.Dst.Addr() && k.To.Addr() == ev.Src.Addr() {
			l = k
		}
	}
	if l == nil {
		if len(c.Legs) >= maxLegs {
			return
		}
		c.Legs = append(c.Legs, Leg{From: ev.Dst, To: ev.Src, TCP: ev.TCP, Start: stamp(ev.Time), Redirect: -1})
		l = &c.Legs[len(c.Legs)-1]
	}
	if !c.Answer.IsZero() && ev.Code >= 300 {
		return // a change of the call was refused, not the call
	}
	if ev.Code >= 200 || l.Code < 200 {
		l.Code = ev.Code
	}
	if ev.Code < 200 || ev.Code == 401 || ev.Code == 407 {
		return
	}
	switch {
	case ev.Code < 300:
		if c.Answer.IsZero() {
			c.Answer = stamp(ev.Time)
			c.End = time.Time{}
			c.HungUp, c.By = "", netip.Addr{}
		}
		c.Outcome = Answered
	case ev.Code < 400:
		c.Outcome = Redirected
		if l.RedirectedTo == nil {
			l.RedirectedTo = ev.Targets
		}
	case c.Outcome != Cancelled:
		c.Outcome = Rejected
	}
	c.Code, c.Diagnostic = ev.Code, ev.Diagnostic
	if ev.Code >= 300 {
		if c.Outcome != Cancelled {
			c.End = stamp(ev.Time)
		}
		c.complete = ev.Code >= 400
	}
}

// end adds a request that ends the call. Only the first one counts.
func (c *call) end(ev *observe.CallEvent, side string, o Outcome) {
	if ev.Method == "CANCEL" && !c.Answer.IsZero() || c.HungUp != "" {
		return
	}
	if c.partial && ev.Method == "BYE" {
		side = ""
	}
	c.HungUp, c.By, c.End, c.Outcome = side, ev.Src.Addr(), stamp(ev.Time), o
	if ev.Method == "BYE" {
		c.complete = true
	}
}

// describe adds the media that a message announces for its sender.
func (c *call) describe(ev *observe.CallEvent, caller, initial bool) {
	if len(ev.Media) == 0 {
		return
	}
	side := "callee"
	if caller {
		side = "caller"
	}
	held := false
	for i := range ev.Media {
		m := &ev.Media[i]
		// Before sendonly, an address of 0.0.0.0 meant hold (RFC 3264 section 8.4).
		held = held || m.Direction == "sendonly" || m.Direction == "inactive" || m.Addr.Addr().IsValid() && m.Addr.Addr().IsUnspecified()
		if m.Addr.Port() == 0 || !m.Addr.Addr().IsValid() || m.Addr.Addr().IsUnspecified() {
			continue
		}
		if m.Proto == "udptl" || m.Proto == "UDPTL" {
			c.Fax = c.Fax || ev.Code != 0
		}
		k := slices.IndexFunc(c.Media, func(o Medium) bool { return o.Side == side && o.Kind == m.Kind && o.Addr == m.Addr })
		if k < 0 {
			if len(c.Media) >= maxMedia {
				continue
			}
			k = len(c.Media)
			c.Media = append(c.Media, Medium{Side: side, Kind: m.Kind, Addr: m.Addr})
		}
		o := &c.Media[k]
		o.RTCP, o.Direction = m.RTCP, m.Direction
		if m.Encryption != "" {
			o.Encryption = m.Encryption
		}
		for _, codec := range m.Codecs {
			// The latest name of a payload type is in force.
			if j := slices.IndexFunc(o.Codecs, func(x observe.Codec) bool { return x.Type == codec.Type }); j >= 0 {
				if codec.Name != "" {
					o.Codecs[j] = codec
				}
			} else if len(o.Codecs) < maxCodecs {
				o.Codecs = append(o.Codecs, codec)
			}
		}
		c.promise(m.Addr, caller, ev.Time, k)
		c.promise(m.RTCP, caller, ev.Time, k)
		for j := 1; j < m.Ports; j++ {
			if p := int(m.Addr.Port()) + 2*j; p < 65535 {
				c.promise(netip.AddrPortFrom(m.Addr.Addr(), uint16(p)), caller, ev.Time, k)
			}
		}
		for _, a := range m.Candidates {
			c.promise(a, caller, ev.Time, k)
		}
	}
	if ev.Code == 0 && (ev.Method == "INVITE" && !initial || ev.Method == "UPDATE") && c.fresh(ev, caller) {
		c.Changes++
		if held {
			c.Holds++
		}
	}
}

// fresh reports whether a request has not been counted yet. Retransmissions and
// copies on other legs are not fresh.
func (c *call) fresh(ev *observe.CallEvent, caller bool) bool {
	i := 0
	if !caller {
		i = 1
	}
	if c.changed[i] == ev.CSeq {
		return false
	}
	c.changed[i] = ev.CSeq
	return true
}

// promise records an address at which a side wants to receive media.
func (c *call) promise(a netip.AddrPort, caller bool, since int64, medium int) {
	if !a.IsValid() || a.Port() == 0 || len(c.announce) >= maxAnnounce {
		return
	}
	for i := range c.announce {
		if c.announce[i].addr == a && c.announce[i].caller == caller {
			return
		}
	}
	c.announce = append(c.announce, announcement{a, caller, since, medium})
}

func stamp(ns int64) time.Time { return time.Unix(0, ns).UTC() }
