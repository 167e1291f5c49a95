package calls

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/observe"
)

// grace is how long packets may follow the end of their call.
const grace = 10 * time.Second

// promised is an announcement with its call.
type promised struct {
	announcement
	call *call
}

// Calls returns all calls, with their streams, in the order of their first messages,
// and the streams that belong to no call. More events and streams may be added
// afterwards.
func (t *Table) Calls() (list []Call, loose []Stream) {
	byAddr := map[netip.AddrPort][]promised{}
	for _, c := range t.calls {
		c.Streams = nil
		for _, a := range c.announce {
			byAddr[a.addr] = append(byAddr[a.addr], promised{a, c})
		}
	}
	for _, s := range merge(t.streams) {
		to, okTo := find(byAddr[s.Dst], &s)
		from, okFrom := find(byAddr[s.Src], &s)
		if okTo && okFrom && to.call != from.call {
			// The ends belong to different calls. The receiver's announcement decides,
			// because an announcement says where its side receives.
			okFrom = false
		}
		switch {
		case okTo:
			q := Stream{Stream: s, Side: side(!to.caller), NAT: !okFrom && to.call.described(side(!to.caller))}
			media := []Medium{to.call.Media[to.medium]}
			if okFrom {
				media = append(media, from.call.Media[from.medium])
			}
			q.measure(media)
			to.call.Streams = append(to.call.Streams, q)
		case okFrom:
			// The receiver announced another address, or nothing.
			q := Stream{Stream: s, Side: side(from.caller), NAT: from.call.described(side(!from.caller))}
			media := []Medium{from.call.Media[from.medium]}
			q.measure(media)
			from.call.Streams = append(from.call.Streams, q)
		default:
			q := Stream{Stream: s}
			q.measure(nil)
			loose = append(loose, q)
		}
	}
	for _, c := range t.calls {
		if len(c.Legs) == 0 && len(c.Media) == 0 {
			continue // a single message of a call that ended before the capture
		}
		slices.SortStableFunc(c.Streams, func(a, b Stream) int { return cmp.Compare(a.First, b.First) })
		c.OneWay = c.oneWay()
		list = append(list, c.Call)
	}
	slices.SortStableFunc(loose, func(a, b Stream) int { return cmp.Compare(a.First, b.First) })
	return list, loose
}

// described reports whether a side announced any address.
func (c *call) described(side string) bool {
	return slices.ContainsFunc(c.Media, func(m Medium) bool { return m.Side == side })
}

func side(caller bool) string {
	if caller {
		return "caller"
	}
	return "callee"
}

// find returns the announcement that covers a stream: the latest one made before
// the end of the stream, whose call had not ended before its beginning.
func find(list []promised, s *observe.Stream) (best promised, ok bool) {
	for _, p := range list {
		if s.First != 0 && (p.since > s.Last || !p.call.End.IsZero() && stamp(s.First).After(p.call.End.Add(grace))) {
			continue
		}
		if !ok || p.since > best.since {
			best, ok = p, true
		}
	}
	return best, ok
}

// merge adds reports from RTCP flows to the streams with the same SSRC, hosts and
// direction.
func merge(streams []observe.Stream) []observe.Stream {
	type key struct {
		ssrc     uint32
		src, dst netip.Addr
	}
	at := map[key]int{}
	var out []observe.Stream
	for _, s := range streams {
		if s.Packets > 0 {
			at[key{s.SSRC, s.Src.Addr(), s.Dst.Addr()}] = len(out)
			out = append(out, s)
		}
	}
	for _, s := range streams {
		if s.Packets > 0 {
			continue
		}
		i, ok := at[key{s.SSRC, s.Src.Addr(), s.Dst.Addr()}]
		if !ok {
			continue // RTCP about packets that were not captured
		}
		o := &out[i]
		if s.Reports > 0 {
			o.Reports, o.ReportedLost, o.ReportedShare, o.ReportedJitter = s.Reports, s.ReportedLost, s.ReportedShare, s.ReportedJitter
		}
		o.SenderPackets = max(o.SenderPackets, s.SenderPackets)
	}
	return out
}

// Quality measures a stream without the description of a call. Encodings and clock
// rates are those that RFC 3551 assigns.
func Quality(s observe.Stream) Stream {
	q := Stream{Stream: s}
	q.measure(nil)
	return q
}

// measure names the codec, picks the jitter at its clock rate and estimates
// the quality. A payload type means what the receiver announced (RFC 3264
// section 5.1), else what the sender did.
func (q *Stream) measure(media []Medium) {
	if q.Expected > 0 {
		q.Loss = float64(q.Lost) / float64(q.Expected)
	}
	var main *observe.Payload
	for i := range q.Payloads {
		p := &q.Payloads[i]
		name, rate := named(p, media)
		if strings.EqualFold(name, "telephone-event") || strings.EqualFold(name, "CN") {
			continue
		}
		if main == nil || p.Packets > main.Packets {
			main, q.Codec, q.Rate = p, name, rate
		}
	}
	if main == nil {
		return
	}
	for _, j := range main.Jitter {
		if j.Rate == q.Rate {
			q.Jitter = j
		}
	}
	burst := 1.0
	if q.Bursts > 0 {
		// The mean length of a burst over that expected of random loss (G.107
		// section 7.2).
		burst = float64(q.Lost) / float64(q.Bursts) * (1 - q.Loss)
	}
	q.R, q.MOS = Rate(q.Codec, 100*q.Loss, max(burst, 1))
}

func named(p *observe.Payload, media []Medium) (string, int) {
	for i := range media {
		for _, c := range media[i].Codecs {
			if c.Type == p.Type && c.Name != "" {
				return c.Name, c.Rate
			}
		}
	}
	for _, j := range p.Jitter {
		if p.Name != "" {
			return p.Name, j.Rate
		}
	}
	return "", 0
}

// oneWay reports whether voice came from one side only although both had announced
// that they would send and receive.
func (c *call) oneWay() bool {
	if c.Outcome != Answered || len(c.Streams) == 0 {
		return false
	}
	var ready, sent [2]bool
	for _, m := range c.Media {
		if m.Kind == "audio" && m.Direction == "sendrecv" {
			ready[index(m.Side)] = true
		}
	}
	for i := range c.Streams {
		if c.Streams[i].Packets > 0 && c.Streams[i].Side != "" {
			sent[index(c.Streams[i].Side)] = true
		}
	}
	return ready[0] && ready[1] && sent[0] != sent[1]
}

func index(side string) int {
	if side == "caller" {
		return 0
	}
	return 1
}

// impairment holds the equipment impairment factor Ie and the packet-loss
// robustness factor Bpl of a codec (ITU-T G.113 Appendix I, tables I.1 and
// I.4). Bpl is 0 where none is published.
type impairment struct {
	name    string
	ie, bpl float64
}

// G.711 is taken without packet loss concealment, which cannot be seen on the
// wire.
var impairments = [...]impairment{
	{"PCMU", 0, 4.3},
	{"PCMA", 0, 4.3},
	{"G723", 15, 16.1},
	{"G729", 11, 19},
	{"GSM-EFR", 5, 10},
	{"GSM", 20, 0},
	{"GSM-HR", 23, 0},
	{"G728", 7, 0},
	{"G726-40", 2, 0},
	{"G726-32", 7, 0},
	{"AAL2-G726-32", 7, 0},
	{"G726-24", 25, 0},
	{"G726-16", 50, 0},
}

// Rate estimates the transmission rating R of the E-model (ITU-T G.107) for a
// codec by its RTP encoding name, a packet loss in percent (0 to 100) and a
// burst ratio (1 for random loss), with the delay term taken as zero:
// R = 93.2 - Ie-eff. MOS is the mean opinion score, 1 to 4.5. Both are 0 for a
// codec without published values.
func Rate(codec string, loss, burst float64) (r, mos float64) {
	for _, i := range impairments {
		if !strings.EqualFold(i.name, codec) {
			continue
		}
		eff := i.ie
		if loss > 0 {
			if i.bpl == 0 {
				return 0, 0
			}
			eff += (95 - i.ie) * loss / (loss/burst + i.bpl)
		}
		r = 93.2 - eff
		return r, score(r)
	}
	return 0, 0
}

// score turns R into a mean opinion score (G.107 Annex B).
func score(r float64) float64 {
	switch {
	case r <= 0:
		return 1
	case r >= 100:
		return 4.5
	}
	return math.Max(1, math.Min(4.5, 1+0.035*r+r*(r-60)*(100-r)*7e-6))
}
