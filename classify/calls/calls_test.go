package calls

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/exspan/exspan/classify/observe"
)

var addr = netip.MustParseAddrPort

// second is the time of a second of the tests.
func second(s float64) int64 { return 1_600_000_000e9 + int64(s*1e9) }

// step builds an event: "pbx>um INVITE" and an answer "pbx<um INVITE 200",
// with the tags of a call from the PBX to Unified Messaging.
func step(at float64, id, ends, method string, code int, media ...observe.Media) *observe.CallEvent {
	hosts := map[string]netip.AddrPort{"pbx": addr("10.0.0.9:5060"), "um": addr("10.0.0.5:5060"), "worker": addr("10.0.0.5:5065"),
		"pbx2": addr("10.0.1.9:5060"), "um2": addr("10.0.1.5:5060")}
	a, b, answer := strings.Cut(ends, "<")
	if !answer {
		a, b, _ = strings.Cut(ends, ">")
	}
	ev := &observe.CallEvent{Time: second(at), Number: uint64(at*10) + 1, CallID: id, FromTag: "a", ToTag: "b", Src: hosts[a], Dst: hosts[b],
		TCP:    true,
		Method: method, Code: code, CSeq: uint32(at*10) + 1, Media: media}
	if strings.HasPrefix(a, "um") || a == "worker" {
		ev.FromTag, ev.ToTag = "b", "a"
	}
	if answer {
		ev.Src, ev.Dst = ev.Dst, ev.Src
	} else if method == "INVITE" && strings.HasPrefix(a, "pbx") && at < 3 {
		ev.ToTag = ""
	}
	return ev
}

func audio(at string, direction string, codecs ...observe.Codec) observe.Media {
	a := addr(at)
	return observe.Media{Kind: "audio", Proto: "RTP/AVP", Addr: a, Ports: 1, RTCP: netip.AddrPortFrom(a.Addr(), a.Port()+1),
		Direction:  direction,
		Encryption: "none", Codecs: codecs}
}

var (
	pcma  = observe.Codec{Type: 8, Name: "PCMA", Rate: 8000}
	rta   = observe.Codec{Type: 114, Name: "x-msrta", Rate: 16000}
	event = observe.Codec{Type: 101, Name: "telephone-event", Rate: 8000}
)

func stream(src, dst string, from, to float64, pt uint8, packets, lost, bursts uint64) observe.Stream {
	p := observe.Payload{Type: pt, Packets: packets}
	if pt == 8 {
		p.Name = "PCMA"
		p.Jitter = []observe.Jitter{{Rate: 8000, Last: time.Millisecond}}
	} else {
		p.Jitter = []observe.Jitter{{Rate: 8000, Last: time.Millisecond}, {Rate: 16000, Last: 2 * time.Millisecond}}
	}
	return observe.Stream{SSRC: uint32(pt), Src: addr(src), Dst: addr(dst), First: second(from), Last: second(to), Packets: packets,
		Expected: packets + lost, Lost: lost, Bursts: bursts, Payloads: []observe.Payload{p}}
}

// text writes a call as lines.
func text(c *Call) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d hungup=%s", c.Outcome, c.Code, c.HungUp)
	if c.Changes+c.Holds+c.Transfers > 0 {
		fmt.Fprintf(&b, " changes=%d holds=%d transfers=%d", c.Changes, c.Holds, c.Transfers)
	}
	if c.Fax {
		b.WriteString(" fax")
	}
	if c.OneWay {
		b.WriteString(" oneway")
	}
	if !c.Answer.IsZero() && !c.End.IsZero() {
		fmt.Fprintf(&b, " %s", c.End.Sub(c.Answer))
	}
	for _, l := range c.Legs {
		fmt.Fprintf(&b, "\nleg %s>%s %d from=%d", l.From, l.To, l.Code, l.Redirect)
	}
	for _, m := range c.Media {
		fmt.Fprintf(&b, "\n%s %s %s %s", m.Side, m.Kind, m.Addr, m.Direction)
	}
	for _, s := range c.Streams {
		fmt.Fprintf(&b, "\nstream %s %s>%s %s/%d jitter=%s nat=%v", s.Side, s.Src, s.Dst, s.Codec, s.Rate, s.Jitter.Last, s.NAT)
	}
	return b.String()
}

func table(steps []*observe.CallEvent, streams ...observe.Stream) *Table {
	t := New()
	for _, e := range steps {
		t.Add(e)
	}
	t.AddStreams(streams)
	return t
}

func TestCalls(t *testing.T) {
	redirect := func(at float64) *observe.CallEvent {
		e := step(at, "1", "pbx<um", "INVITE", 302)
		e.Targets = []observe.Target{{Host: "um1.example.com", Port: 5065, Transport: "tcp"}}
		return e
	}
	ua, ub := audio("10.0.0.9:4000", "sendrecv", pcma, rta, event), audio("10.0.0.5:6000", "sendrecv", rta, event)
	for _, tt := range []struct {
		name    string
		steps   []*observe.CallEvent
		streams []observe.Stream
		want    string
	}{
		{"a redirection to a worker, both sides talk, the caller hangs up",
			[]*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0, ua), redirect(0.1), step(0.2, "1", "pbx>worker", "INVITE", 0, ua),
				step(0.3, "1", "pbx<worker", "INVITE", 180), step(1, "1", "pbx<worker", "INVITE", 200, ub), step(11, "1", "pbx>worker", "BYE", 0),
				step(11.1, "1", "pbx<worker", "BYE", 200)},
			[]observe.Stream{stream("10.0.0.9:4000", "10.0.0.5:6000", 1, 11, 114, 500, 0, 0), stream("10.0.0.5:6000", "10.0.0.9:4000", 1.5, 11, 8,
				500, 0, 0)},
			`answered 200 hungup=caller 10s
leg 10.0.0.9:5060>10.0.0.5:5060 302 from=-1
leg 10.0.0.9:5060>10.0.0.5:5065 200 from=0
caller audio 10.0.0.9:4000 sendrecv
callee audio 10.0.0.5:6000 sendrecv
stream caller 10.0.0.9:4000>10.0.0.5:6000 x-msrta/16000 jitter=2ms nat=false
stream callee 10.0.0.5:6000>10.0.0.9:4000 PCMA/8000 jitter=1ms nat=false`},
		{"a redirection that nobody followed", []*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0, ua), redirect(0.1)}, nil,
			"redirected 302 hungup=\nleg 10.0.0.9:5060>10.0.0.5:5060 302 from=-1\ncaller audio 10.0.0.9:4000 sendrecv"},
		{"refused", []*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0), step(1, "1", "pbx<um", "INVITE", 486)}, nil,
			"rejected 486 hungup=\nleg 10.0.0.9:5060>10.0.0.5:5060 486 from=-1"},
		{"given up", []*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0), step(1, "1", "pbx<um", "INVITE", 180),
			step(2, "1", "pbx>um", "CANCEL", 0), step(2.1, "1", "pbx<um", "INVITE", 487)}, nil,
			"cancelled 487 hungup=caller\nleg 10.0.0.9:5060>10.0.0.5:5060 487 from=-1"},
		{"challenged, then answered", []*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0), step(0.1, "1", "pbx<um", "INVITE", 407),
			step(0.2, "1", "pbx>um", "INVITE", 0), step(1, "1", "pbx<um", "INVITE", 200), step(5, "1", "um>pbx", "BYE", 0)}, nil,
			"answered 200 hungup=callee 4s\nleg 10.0.0.9:5060>10.0.0.5:5060 200 from=-1"},
		{"no answer seen", []*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0), step(1, "1", "pbx<um", "INVITE", 183)}, nil,
			"pending 0 hungup=\nleg 10.0.0.9:5060>10.0.0.5:5060 183 from=-1"},
		{"held by either way, sent twice, moved to another port, a refused change, a transfer",
			[]*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0, ua), step(1, "1", "pbx<um", "INVITE", 200, ub),
				step(4, "1", "pbx>um", "INVITE", 0, audio("10.0.0.9:4000", "sendonly", pcma)),
				step(4, "1", "pbx>um", "INVITE", 0, audio("10.0.0.9:4000", "sendonly", pcma)),
				step(5, "1", "pbx>um", "INVITE", 0, audio("0.0.0.0:4000", "sendrecv", pcma)),
				step(6, "1", "pbx>um", "UPDATE", 0, audio("10.0.0.9:4100", "sendrecv", pcma)),
				step(7, "1", "um>pbx", "INVITE", 0), step(7, "1", "um<pbx", "INVITE", 488), step(8, "1", "um>pbx", "REFER", 0)},
			[]observe.Stream{stream("10.0.0.5:6000", "10.0.0.9:4100", 6, 8, 8, 100, 0, 0)},
			`answered 200 hungup= changes=3 holds=2 transfers=1 oneway
leg 10.0.0.9:5060>10.0.0.5:5060 200 from=-1
caller audio 10.0.0.9:4000 sendonly
callee audio 10.0.0.5:6000 sendrecv
caller audio 10.0.0.9:4100 sendrecv
stream callee 10.0.0.5:6000>10.0.0.9:4100 PCMA/8000 jitter=1ms nat=false`},
		{"media from behind a NAT fit on one side",
			[]*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0, ua), step(1, "1", "pbx<um", "INVITE", 200, ub)},
			[]observe.Stream{stream("203.0.113.7:61000", "10.0.0.5:6000", 1, 3, 114, 100, 0, 0), stream("10.0.0.5:6000", "203.0.113.7:61000", 1, 3,
				8, 100, 0, 0)},
			`answered 200 hungup=
leg 10.0.0.9:5060>10.0.0.5:5060 200 from=-1
caller audio 10.0.0.9:4000 sendrecv
callee audio 10.0.0.5:6000 sendrecv
stream caller 203.0.113.7:61000>10.0.0.5:6000 x-msrta/16000 jitter=2ms nat=true
stream callee 10.0.0.5:6000>203.0.113.7:61000 PCMA/8000 jitter=1ms nat=true`},
		{"the begin was not seen", []*observe.CallEvent{step(4, "1", "pbx<um", "INVITE", 200, ub), step(5, "1", "pbx>um", "BYE", 0)}, nil,
			"answered 200 hungup= 1s\nleg 10.0.0.9:5060>10.0.0.5:5060 200 from=-1\ncallee audio 10.0.0.5:6000 sendrecv"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tb := table(tt.steps, tt.streams...)
			list, loose := tb.Calls()
			if len(list) != 1 || len(loose) != 0 {
				t.Fatalf("%d calls, %d loose streams", len(list), len(loose))
			}
			if got := text(&list[0]); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			again, _ := tb.Calls()
			if got := text(&again[0]); got != tt.want {
				t.Errorf("asked again\n%s", got)
			}
		})
	}
}

// TestSamePorts: two calls at once with the same ports on different hosts, and
// two after each other on the same ones, keep their streams.
func TestSamePorts(t *testing.T) {
	call := func(at float64, id, a, b, ma, mb string) []*observe.CallEvent {
		return []*observe.CallEvent{step(at, id, a+">"+b, "INVITE", 0, audio(ma, "sendrecv", pcma)),
			step(at+0.5, id, a+"<"+b, "INVITE", 200, audio(mb, "sendrecv", pcma))}
	}
	var steps []*observe.CallEvent
	steps = append(steps, call(0, "1", "pbx", "um", "10.0.0.9:4000", "10.0.0.5:6000")...)
	steps = append(steps, call(0.1, "2", "pbx2", "um2", "10.0.1.9:4000", "10.0.1.5:6000")...)
	steps = append(steps, step(20, "1", "pbx>um", "BYE", 0))
	third := call(50, "3", "pbx", "um", "10.0.0.9:4000", "10.0.0.5:6000")
	third[0].ToTag = ""
	steps = append(steps, third...)
	list, loose := table(steps, stream("10.0.0.9:4000", "10.0.0.5:6000", 1, 20, 8, 10, 0, 0), stream("10.0.1.9:4000", "10.0.1.5:6000", 1, 20,
		8, 20, 0, 0),
		stream("10.0.0.9:4000", "10.0.0.5:6000", 51, 60, 8, 30, 0, 0), stream("10.0.0.9:4000", "10.0.0.5:6000", 35, 40, 8, 40, 0, 0)).Calls()
	if len(list) != 3 || len(loose) != 1 || loose[0].Packets != 40 {
		t.Fatalf("%d calls, loose %+v", len(list), loose)
	}
	for i, want := range []uint64{10, 20, 30} {
		if len(list[i].Streams) != 1 || list[i].Streams[0].Packets != want {
			t.Errorf("call %d: %+v", i, list[i].Streams)
		}
	}
}

// TestReports: RTCP on its own port speaks of the streams beside it.
func TestReports(t *testing.T) {
	s := stream("10.0.0.9:4000", "10.0.0.5:6000", 1, 20, 8, 10, 0, 0)
	rtcp := observe.Stream{SSRC: s.SSRC, Src: addr("10.0.0.9:4001"), Dst: addr("10.0.0.5:6001"), Reports: 3, ReportedLost: 7,
		SenderPackets: 17}
	list, loose := table([]*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0, audio("10.0.0.9:4000", "sendrecv", pcma))}, rtcp, s).Calls()
	if len(loose) != 0 || len(list) != 1 || len(list[0].Streams) != 1 {
		t.Fatalf("%+v %+v", list, loose)
	}
	if q := list[0].Streams[0]; q.Reports != 3 || q.ReportedLost != 7 || q.SenderPackets != 17 || q.Packets != 10 {
		t.Errorf("%+v", q)
	}
}

func TestLimits(t *testing.T) {
	tb := New()
	tb.maxCalls, tb.maxStreams = 10, 10
	for i := range 100 {
		tb.Add(step(0, strconv.Itoa(i), "pbx>um", "INVITE", 0))
		for j := range 1000 {
			ev := step(1, strconv.Itoa(i), "pbx>um", "INVITE", 0, audio(fmt.Sprintf("10.0.0.9:%d", 1000+j), "sendrecv", pcma))
			ev.Dst = netip.AddrPortFrom(ev.Dst.Addr(), uint16(1000+j))
			tb.Add(ev)
		}
		tb.AddStreams([]observe.Stream{{}, {}})
	}
	if tb.DroppedCalls != 90*1001 || tb.DroppedStreams != 190 {
		t.Errorf("%d and %d dropped", tb.DroppedCalls, tb.DroppedStreams)
	}
	list, _ := tb.Calls()
	for _, c := range list {
		if len(c.Legs) > maxLegs || len(c.Media) > maxMedia {
			t.Fatalf("%d legs, %d media", len(c.Legs), len(c.Media))
		}
	}
}

// TestScore holds the scores to the table in G.107 Annex B (R to MOS) and R to
// its formula, computed by hand with the values of G.113 Appendix I.
func TestScore(t *testing.T) {
	for r, want := range map[float64]float64{90: 4.34, 80: 4.03, 70: 3.60, 60: 3.10, 50: 2.58, 93.2: 4.41, 0: 1, -20: 1, 100: 4.5, 120: 4.5} {
		if got := score(r); math.Abs(got-want) > 0.01 {
			t.Errorf("R %v: MOS %.3f, want %.2f", r, got, want)
		}
	}
	for _, tt := range []struct {
		codec       string
		loss, burst float64
		r           float64
	}{
		{"PCMU", 0, 1, 93.2},
		{"pcma", 1, 1, 93.2 - 95*1/(1+4.3)},
		{"G729", 0, 1, 82.2},
		{"G729", 2, 1, 93.2 - 11 - 84*2/21.0},
		{"G729", 2, 2, 93.2 - 11 - 84*2/20.0},
		{"G723", 3, 1, 93.2 - 15 - 80*3/19.1},
		{"GSM", 0, 1, 73.2},
		{"GSM", 1, 1, 0},
		{"x-msrta", 0, 1, 0},
		{"G722", 0, 1, 0},
		{"", 0, 1, 0},
	} {
		r, mos := Rate(tt.codec, tt.loss, tt.burst)
		if math.Abs(r-tt.r) > 1e-9 || (mos == 0) != (tt.r == 0) {
			t.Errorf("%s at %v %%: R %v, MOS %v, want R %v", tt.codec, tt.loss, r, mos, tt.r)
		}
	}
	// Ten lost in two bursts of a thousand: five in a row where random loss would
	// give 1/(1-0.01).
	list, _ := table([]*observe.CallEvent{step(0, "1", "pbx>um", "INVITE", 0, audio("10.0.0.9:4000", "sendrecv", pcma))},
		stream("10.0.0.5:6000", "10.0.0.9:4000", 1, 20, 8, 990, 10, 2)).Calls()
	q := list[0].Streams[0]
	if want := 93.2 - 95*1/(1/(5*0.99)+4.3); math.Abs(q.R-want) > 1e-9 || math.Abs(q.Loss-0.01) > 1e-9 {
		t.Errorf("R %v, want %v, loss %v", q.R, want, q.Loss)
	}
}
