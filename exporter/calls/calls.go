// Package calls writes telephone calls instead of flows, as text or as one line of JSON
// for each call. Media streams without a call come last.
package calls

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/record"
)

// A Sink writes the calls of a run when the run ends.
type Sink struct {
	w    io.Writer
	json bool
}

// New returns a Sink that writes to w. It writes NDJSON if ndjson is true, and text
// otherwise.
func New(w io.Writer, ndjson bool) *Sink { return &Sink{w, ndjson} }

// Write does nothing, because calls are complete only at the end.
func (s *Sink) Write(*record.Record) error { return nil }

// Close writes the calls.
func (s *Sink) Close(sum *record.Summary) error {
	if s.json {
		return s.ndjson(sum)
	}
	return s.table(sum)
}

// The NDJSON form of a call. Times are RFC 3339 in UTC. Durations are in milliseconds or
// seconds, as named. Absent values are omitted.
type (
	call struct {
		Call       uint64   `json:"call"`
		Start      string   `json:"start"`
		Answer     string   `json:"answer,omitempty"`
		End        string   `json:"end,omitempty"`
		Outcome    string   `json:"outcome"`
		Code       int      `json:"code,omitempty"`
		Diagnostic string   `json:"diagnostic,omitempty"`
		HungUp     string   `json:"hung_up,omitempty"`
		By         string   `json:"by,omitempty"`
		Caller     string   `json:"caller,omitempty"`
		Callee     string   `json:"callee,omitempty"`
		Legs       []leg    `json:"legs"`
		Media      []medium `json:"media,omitempty"`
		Streams    []stream `json:"streams,omitempty"`
		Changes    int      `json:"changes,omitempty"`
		Holds      int      `json:"holds,omitempty"`
		Transfers  int      `json:"transfers,omitempty"`
		Fax        bool     `json:"fax,omitempty"`
		OneWay     bool     `json:"one_way,omitempty"`
	}
	leg struct {
		From       string   `json:"from"`
		To         string   `json:"to"`
		Transport  string   `json:"transport"`
		Start      string   `json:"start"`
		Code       int      `json:"code,omitempty"`
		Redirected []string `json:"redirected_to,omitempty"`
		// RedirectedBy is the index of the leg whose redirection led to this leg.
		RedirectedBy *int `json:"redirected_by,omitempty"`
	}
	medium struct {
		Side       string   `json:"side"`
		Kind       string   `json:"kind"`
		Addr       string   `json:"addr,omitempty"`
		RTCP       string   `json:"rtcp,omitempty"`
		Encryption string   `json:"encryption,omitempty"`
		Direction  string   `json:"direction,omitempty"`
		Codecs     []string `json:"codecs,omitempty"`
	}
	stream struct {
		SSRC       string  `json:"ssrc"`
		From       string  `json:"from"`
		To         string  `json:"to"`
		Side       string  `json:"side,omitempty"`
		Codec      string  `json:"codec,omitempty"`
		Packets    uint64  `json:"packets"`
		Expected   uint64  `json:"expected"`
		Lost       uint64  `json:"lost"`
		Duplicates uint64  `json:"duplicates,omitempty"`
		Reordered  uint64  `json:"reordered,omitempty"`
		JitterMS   float64 `json:"jitter_ms,omitempty"`
		GapMS      float64 `json:"largest_gap_ms,omitempty"`
		TalkS      float64 `json:"talk_s,omitempty"`
		R          float64 `json:"r,omitempty"`
		MOS        float64 `json:"mos,omitempty"`
		NAT        bool    `json:"nat,omitempty"`
	}
)

func (s *Sink) ndjson(sum *record.Summary) error {
	enc := json.NewEncoder(s.w)
	enc.SetEscapeHTML(false)
	for i := range sum.Calls {
		if err := enc.Encode(shape(&sum.Calls[i])); err != nil {
			return err
		}
	}
	for i := range sum.Streams {
		if err := enc.Encode(struct {
			Stream stream `json:"stream"`
		}{shapeStream(&sum.Streams[i])}); err != nil {
			return err
		}
	}
	return nil
}

func shape(c *calls.Call) call {
	out := call{Call: c.Number, Start: stamp(c.Start), Answer: stamp(c.Answer), End: stamp(c.End), Outcome: string(c.Outcome), Code: c.Code,
		Diagnostic: c.Diagnostic, HungUp: c.HungUp, Caller: c.Caller, Callee: c.Callee, Legs: []leg{}, Changes: c.Changes, Holds: c.Holds,
		Transfers: c.Transfers, Fax: c.Fax, OneWay: c.OneWay}
	if c.By.IsValid() {
		out.By = c.By.String()
	}
	for _, l := range c.Legs {
		x := leg{From: l.From.String(), To: l.To.String(), Transport: transport(l.TCP), Start: stamp(l.Start), Code: l.Code}
		for _, t := range l.RedirectedTo {
			x.Redirected = append(x.Redirected, t.Host+":"+strconv.Itoa(int(t.Port)))
		}
		if l.Redirect >= 0 {
			x.RedirectedBy = &l.Redirect
		}
		out.Legs = append(out.Legs, x)
	}
	for _, m := range c.Media {
		x := medium{Side: m.Side, Kind: m.Kind, Addr: addr(m.Addr), RTCP: addr(m.RTCP), Encryption: m.Encryption, Direction: m.Direction}
		for _, k := range m.Codecs {
			if k.Name != "" {
				x.Codecs = append(x.Codecs, k.Name+"/"+strconv.Itoa(k.Rate))
			}
		}
		out.Media = append(out.Media, x)
	}
	for i := range c.Streams {
		out.Streams = append(out.Streams, shapeStream(&c.Streams[i]))
	}
	return out
}

func shapeStream(s *calls.Stream) stream {
	return stream{SSRC: fmt.Sprintf("0x%08x", s.SSRC), From: s.Src.String(), To: s.Dst.String(), Side: s.Side, Codec: s.Codec,
		Packets: s.Packets, Expected: s.Expected, Lost: s.Lost, Duplicates: s.Duplicates, Reordered: s.Reordered,
		JitterMS: round(s.Jitter.Mean.Seconds()*1e3, 3), GapMS: round(s.LargestGap.Seconds()*1e3, 3), TalkS: round(s.Talk.Seconds(), 3),
		R: round(s.R, 1), MOS: round(s.MOS, 2), NAT: s.NAT}
}

// table writes one paragraph for each call.
func (s *Sink) table(sum *record.Summary) error {
	var b strings.Builder
	line := func(indent int, format string, args ...any) {
		b.WriteString(strings.Repeat(" ", indent))
		fmt.Fprintf(&b, format, args...)
		b.WriteByte('\n')
	}
	line(0, "%s, %s without a call", count(len(sum.Calls), "call"), count(len(sum.Streams), "media stream"))
	for i := range sum.Calls {
		c := &sum.Calls[i]
		b.WriteByte('\n')
		line(0, "%s  %s", c.Start.Format("2006-01-02 15:04:05"), Headline(c))
		for n, l := range c.Legs {
			text := fmt.Sprintf("leg %d  %s > %s %s", n+1, l.From, l.To, transport(l.TCP))
			if l.Code != 0 {
				text += fmt.Sprintf("  answer %d", l.Code)
			}
			if l.Redirect >= 0 {
				text += fmt.Sprintf("  redirected by leg %d", l.Redirect+1)
			}
			line(2, "%s", text)
		}
		for _, m := range c.Media {
			line(2, "%s wants %s at %s%s%s", m.Side, m.Kind, addr(m.Addr), word(m.Encryption), word(m.Direction))
		}
		for n := range c.Streams {
			line(2, "%s", Quality(&c.Streams[n]))
		}
	}
	if len(sum.Streams) > 0 {
		b.WriteByte('\n')
		line(0, "Media streams without a call")
		for i := range sum.Streams {
			line(2, "%s", Quality(&sum.Streams[i]))
		}
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}

// count returns n and the noun what, in the plural unless n is 1.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Headline says in one line how a call went.
func Headline(c *calls.Call) string {
	text := string(c.Outcome)
	if c.Code != 0 {
		text += fmt.Sprintf(" (%d)", c.Code)
	}
	if c.Caller != "" || c.Callee != "" {
		text += fmt.Sprintf("  %q to %q", c.Caller, c.Callee)
	}
	if !c.Answer.IsZero() && c.End.After(c.Answer) {
		text += fmt.Sprintf("  %s", c.End.Sub(c.Answer).Round(time.Millisecond))
	}
	if c.HungUp != "" {
		text += "  " + c.HungUp + " hung up"
	}
	if c.Changes > 0 {
		text += fmt.Sprintf("  %d changes", c.Changes)
	}
	if c.Holds > 0 {
		text += fmt.Sprintf("  %d holds", c.Holds)
	}
	if c.Transfers > 0 {
		text += fmt.Sprintf("  %d transfers", c.Transfers)
	}
	if c.Fax {
		text += "  fax"
	}
	if c.OneWay {
		text += "  ONE-WAY AUDIO"
	}
	return text
}

// Quality describes the measured quality of a stream. The MOS estimate omits the
// delay term of the E-model, which a passive observer cannot measure.
func Quality(s *calls.Stream) string {
	var b strings.Builder
	from := s.Side
	if from == "" {
		from = "stream"
	}
	codec := s.Codec
	if codec == "" {
		codec = "codec unknown"
	}
	fmt.Fprintf(&b, "%s  %s > %s  %s  %d packets, %d lost (%.1f %%), jitter %.1f ms", from, s.Src, s.Dst, codec, s.Packets, s.Lost, 100*s.Loss,
		s.Jitter.Mean.Seconds()*1e3)
	if s.Reordered > 0 || s.Duplicates > 0 {
		fmt.Fprintf(&b, ", %d late, %d twice", s.Reordered, s.Duplicates)
	}
	fmt.Fprintf(&b, ", largest gap %d ms", s.LargestGap.Milliseconds())
	if s.MOS > 0 {
		fmt.Fprintf(&b, ", MOS %.1f without delay", s.MOS)
	}
	if s.NAT {
		b.WriteString(", from another address than announced")
	}
	return b.String()
}

func transport(tcp bool) string {
	if tcp {
		return "tcp"
	}
	return "udp"
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000000Z")
}

func addr(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func word(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}

func round(v float64, digits int) float64 {
	f, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'f', digits, 64), 64)
	return f
}
