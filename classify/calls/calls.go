// Package calls joins the signalling messages of several flows and the media
// streams of others into telephone calls: legs, redirections, media endpoints,
// quality, who hung up and the answer code. It is data in, data out.
package calls

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/exspan/exspan/classify/observe"
)

// Limits of a Table. What goes beyond is counted.
const (
	MaxCalls    = 10_000
	MaxStreams  = 50_000
	maxLegs     = 16 // of one call
	maxMedia    = 16 // of one call
	maxCodecs   = 24 // of one medium
	maxAnnounce = 48 // addresses of one call
)

// Outcome is how a call went.
type Outcome string

// The outcomes, a closed list.
const (
	Answered   Outcome = "answered"
	Rejected   Outcome = "rejected"   // a final answer of 400 or more
	Cancelled  Outcome = "cancelled"  // the caller gave up before an answer
	Redirected Outcome = "redirected" // sent elsewhere, and no call there was seen
	Pending    Outcome = "pending"    // no final answer was seen
)

// Call is one call from its first INVITE on.
type Call struct {
	// Number is that of the packet with the first message, which identifies the
	// call in one input.
	Number uint64
	// Start is the time of the first message, Answer of the final answer of 200,
	// End of the BYE, the CANCEL or the last final answer; zero where not seen.
	Start, Answer, End time.Time
	Outcome            Outcome
	// Code is the last final answer to an INVITE that set up the call (302 only
	// where nothing followed it), 0 for none.
	Code int
	// Diagnostic is the number in an ms-diagnostics header of that answer.
	Diagnostic string
	// HungUp says who ended the call: "caller", "callee" or empty. By is the host
	// that sent the BYE or CANCEL.
	HungUp string
	By     netip.Addr
	// Caller and Callee are user parts; only with identities.
	Caller, Callee string
	Legs           []Leg
	Media          []Medium
	Streams        []Stream
	// Changes counts re-INVITEs and UPDATEs with a new description, Holds those of
	// them that put the call on hold, Transfers the REFERs.
	Changes, Holds, Transfers int
	Fax                       bool // T.38 was agreed on
	// OneWay says that voice came from one side alone although both sides offered
	// to send. Only for answered calls with a stream.
	OneWay bool
}

// Leg is one place that the call was sent to.
type Leg struct {
	From, To netip.AddrPort
	TCP      bool
	Start    time.Time
	// Code is the last answer seen, provisional ones included; 0 for none.
	Code int
	// RedirectedTo are the places named by a 3xx answer. Redirect is the index of
	// the leg whose redirection led here, or -1.
	RedirectedTo []observe.Target
	Redirect     int
}

// Medium is an address that one side announced.
type Medium struct {
	Side       string // "caller" or "callee"
	Kind       string // "audio", "image" ...
	Addr, RTCP netip.AddrPort
	Encryption string // "none", "srtp" or empty
	Direction  string // the last one announced
	Codecs     []observe.Codec
}

// Stream is a media stream with what the call knows of it.
type Stream struct {
	observe.Stream
	// Side is who sent it: "caller", "callee" or empty if neither announced an
	// end of it.
	Side string
	// Codec is the encoding of most of its packets, Rate the clock rate in Hz; empty
	// and 0 where no description says.
	Codec string
	Rate  int
	// Jitter is that of the codec's packets.
	Jitter observe.Jitter
	// Loss is the share of lost packets, 0 to 1.
	Loss float64
	// NAT says that one end is an address that nobody announced although that side
	// did announce some: a translator or a relay stands between.
	NAT bool
	// R is the transmission rating of the E-model without its delay term, and MOS
	// the mean opinion score estimated from it, 1 to 4.5; both 0 for encodings
	// without published values.
	R, MOS float64
}

// Table collects events and streams. The zero value is not usable; see New.
type Table struct {
	maxCalls, maxStreams int
	byID                 map[string]*call
	calls                []*call
	streams              []observe.Stream
	// DroppedCalls and DroppedStreams count what was refused by the limits.
	DroppedCalls, DroppedStreams uint64
}

// call is a Call that is being put together.
type call struct {
	Call
	fromTag  string
	partial  bool      // the first INVITE was not seen: who is the caller is not known
	over     bool      // a new INVITE is a new call
	changed  [2]uint32 // CSeq of the last change or transfer, by caller and callee
	announce []announcement
}

// announcement is an address that a side wants media on.
type announcement struct {
	addr   netip.AddrPort
	caller bool
	since  int64
	medium int
}

// New returns an empty table with the default limits.
func New() *Table {
	return &Table{maxCalls: MaxCalls, maxStreams: MaxStreams, byID: map[string]*call{}}
}

// AddStreams takes the streams of a flow whose record is final.
func (t *Table) AddStreams(list []observe.Stream) {
	for i := range list {
		if len(t.streams) >= t.maxStreams {
			t.DroppedStreams++
			continue
		}
		t.streams = append(t.streams, list[i])
	}
}

// Add takes an event. Events come in packet order.
func (t *Table) Add(ev *observe.CallEvent) {
	switch ev.Method {
	case "OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE":
		return // no call comes of these
	}
	c := t.byID[ev.CallID]
	initial := ev.Method == "INVITE" && ev.Code == 0 && ev.ToTag == ""
	if c == nil || c.over && initial && ev.FromTag != c.fromTag {
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
		c.over = false
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

// byCaller says whether the request of a message came from the caller: by its
// tags, where these fit neither end by its address.
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

// begin takes an INVITE that sets up a leg.
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

// answer takes a response to an INVITE of the caller.
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
		c.over = ev.Code >= 400
	}
}

// end takes the request that ends the call. The first one counts.
func (c *call) end(ev *observe.CallEvent, side string, o Outcome) {
	if ev.Method == "CANCEL" && !c.Answer.IsZero() || c.HungUp != "" {
		return
	}
	if c.partial && ev.Method == "BYE" {
		side = ""
	}
	c.HungUp, c.By, c.End, c.Outcome = side, ev.Src.Addr(), stamp(ev.Time), o
	if ev.Method == "BYE" {
		c.over = true
	}
}

// describe takes the media that a message announces for its sender.
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
		// 0.0.0.0 was the way to hold before there was sendonly (RFC 3264 section
		// 8.4).
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
			// The latest name of a payload type holds.
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

// fresh says whether a request is not one that was counted before, sent again
// or seen on another leg.
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

// promise notes an address that a side wants media on.
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
