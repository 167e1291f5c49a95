// Package ndjson writes one line of JSON (RFC 8259) for each flow, and reads such lines.
// The names and the nesting of fields are a public interface: fields may be added, but
// existing ones do not change. Absent values are omitted: there are no empty strings,
// empty arrays or nulls.
package ndjson

import (
	"io"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/communityid"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// A Sink writes records to a writer. It calls the writer's Write once for each record.
// Pass a buffered writer if this matters.
type Sink struct {
	w   io.Writer
	buf []byte
	enc encoder
}

// New returns a sink that writes to w.
func New(w io.Writer) *Sink { return &Sink{w: w} }

// Write writes r as one line.
func (s *Sink) Write(r *record.Record) error {
	s.buf = append(s.enc.record(s.buf[:0], r), '\n')
	_, err := s.w.Write(s.buf)
	return err
}

// Close does nothing, because the summary is not a flow.
func (s *Sink) Close(*record.Summary) error { return nil }

// encoder caches the last whole second and its text, because consecutive records often
// share it.
type encoder struct {
	second int64
	text   []byte
}

func (e *encoder) record(b []byte, r *record.Record) []byte {
	b = append(b, '{')
	if !r.First.IsZero() {
		b = e.time(key(b, "first"), r.First)
	}
	if !r.Last.IsZero() {
		b = e.time(key(b, "last"), r.Last)
	}
	b = stringField(b, "sensor", r.Sensor)
	b = stringField(b, "interface", r.Interface)
	b = append(key(b, "community_id"), '"')
	b = communityid.AppendV1(b, r.Proto, netip.AddrPortFrom(r.Client.Addr, r.Client.Port),
		netip.AddrPortFrom(r.Server.Addr, r.Server.Port))
	b = append(b, '"')
	b = stringField(b, "conversation", r.Conversation)
	b = stringField(b, "proto", capture.ProtoName(r.Proto))
	b = host(key(b, "client"), &r.Client)
	b = host(key(b, "server"), &r.Server)
	b = stringList(b, "vlan", r.VLANs)
	b = counts(key(b, "packets"), r.Packets)
	b = counts(key(b, "bytes"), r.Bytes)
	if r.GapBytes != (record.Count{}) {
		b = counts(key(b, "gap_bytes"), r.GapBytes)
	}
	b = stringField(b, "state", r.State)
	b = stringField(b, "outcome", string(r.Outcome))
	if r.SetupTime > 0 {
		b = strconv.AppendInt(key(b, "setup_us"), r.SetupTime.Microseconds(), 10)
	}
	b = stringField(b, "protocol", r.Protocol)
	b = stringField(b, "given_up", r.GivenUp)
	if r.Facts != nil && r.Facts.Len() > 0 {
		b = facts(key(b, "facts"), r.Facts.All())
	}
	if r.Endpoint != nil {
		b = e.endpoint(key(b, "endpoint"), r.Endpoint)
	}
	b = verdict(key(b, "verdict"), &r.Verdict)
	return append(b, '}')
}

func host(b []byte, h *record.Host) []byte {
	b = append(b, '{')
	if h.Addr.IsValid() {
		b = append(key(b, "ip"), '"')
		b = append(h.Addr.AppendTo(b), '"')
	}
	b = strconv.AppendUint(key(b, "port"), uint64(h.Port), 10)
	b = stringField(b, "name", h.Name)
	b = stringList(b, "roles", h.Roles)
	return append(b, '}')
}

func counts(b []byte, c record.Count) []byte {
	b = append(b, `{"to_server":`...)
	b = strconv.AppendUint(b, c[observe.ToServer], 10)
	b = append(b, `,"to_client":`...)
	b = strconv.AppendUint(b, c[observe.ToClient], 10)
	return append(b, '}')
}

// facts writes one array for each name, in the order of first values. The quadratic
// search covers at most observe.MaxFactValues values.
func facts(b []byte, all []observe.Fact) []byte {
	b = append(b, '{')
	for i := range all {
		name := all[i].Name
		if seen(all[:i], name) {
			continue
		}
		b = append(stringKey(b, name), '[')
		for j := i; j < len(all); j++ {
			if all[j].Name == name {
				b = appendString(comma(b), all[j].Value)
			}
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func seen(facts []observe.Fact, name string) bool {
	for i := range facts {
		if facts[i].Name == name {
			return true
		}
	}
	return false
}

func (e *encoder) endpoint(b []byte, p *record.LearnedEndpoint) []byte {
	b = append(b, '{')
	b = stringField(b, "service", p.Service)
	b = stringField(b, "annotation", p.Annotation)
	b = stringField(b, "source", string(p.Source))
	if p.From.IsValid() {
		b = append(key(b, "from"), '"')
		b = append(p.From.AppendTo(b), '"')
	}
	if p.Announced.IsValid() {
		b = append(key(b, "announced"), '"')
		b = append(p.Announced.AppendTo(b), '"')
	}
	if !p.Learned.IsZero() {
		b = e.time(key(b, "learned"), p.Learned)
	}
	b = stringField(b, "sensor", p.Sensor)
	return append(b, '}')
}

func verdict(b []byte, v *record.Verdict) []byte {
	b = append(b, '{')
	b = stringField(b, "status", string(v.Status))
	if p := v.Path; p != nil {
		b = stringField(b, "path", p.ID)
		if len(v.Also) > 0 {
			b = also(key(b, "also"), v.Also)
		}
		b = stringField(b, "group", v.Group)
	}
	b = stringField(b, "confidence", v.Confidence.String())
	if v.Path != nil {
		b = stringField(b, "source_confidence", v.Path.Confidence)
	}
	b = stringField(b, "version", v.Version)
	b = stringField(b, "version_source", string(v.VersionSource))
	b = stringField(b, "reason", string(v.Reason))
	b = stringField(b, "why", v.Why)
	if len(v.Findings) > 0 {
		b = append(key(b, "findings"), '[')
		for i := range v.Findings {
			f := &v.Findings[i]
			b = append(comma(b), '{')
			b = stringField(b, "id", string(f.ID))
			b = stringField(b, "level", string(f.Level))
			b = stringField(b, "detail", f.Detail)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func also(b []byte, paths []*rules.DataPath) []byte {
	b = append(b, '[')
	for _, p := range paths {
		b = appendString(comma(b), p.ID)
	}
	return append(b, ']')
}

// comma appends a comma unless b ends with an opening bracket.
func comma(b []byte) []byte {
	if n := len(b); n > 0 && (b[n-1] == '{' || b[n-1] == '[') {
		return b
	}
	return append(b, ',')
}

// key appends the name of a member, which must need no escaping, and a colon.
func key(b []byte, name string) []byte {
	b = append(comma(b), '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func stringKey(b []byte, name string) []byte {
	return append(appendString(comma(b), name), ':')
}

func stringField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(key(b, name), value)
}

func stringList(b []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(key(b, name), '[')
	for _, s := range list {
		b = appendString(comma(b), s)
	}
	return append(b, ']')
}

// time appends t in UTC as RFC 3339 with nanoseconds. The year always has four digits,
// because times in capture files are between 1969 and 2262.
func (e *encoder) time(b []byte, t time.Time) []byte {
	if s := t.Unix(); s != e.second || e.text == nil {
		e.second = s
		e.text = t.UTC().AppendFormat(e.text[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, '"')
	b = append(b, e.text...)
	digits := [9]byte{}
	for i, ns := 8, t.Nanosecond(); i >= 0; i, ns = i-1, ns/10 {
		digits[i] = byte('0' + ns%10)
	}
	b = append(b, digits[:]...)
	return append(b, 'Z', '"')
}

const hex = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259 section 7). The result is identical
// to that of encoding/json without HTML escaping: invalid UTF-8 becomes U+FFFD, and
// U+2028 and U+2029 are escaped because JavaScript interprets them as line ends.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, s[start:i]...)
			b = append(b, `\ufffd`...)
			start = i + size
		case r < 0xa0 || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r):
			b = append(b, s[start:i]...)
			b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
			start = i + size
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
