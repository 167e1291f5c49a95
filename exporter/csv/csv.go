// Package csv writes one line for each flow, as CSV with a header line (RFC 4180), for
// spreadsheets and databases.
//
// The values of a list are separated by "|". A "|" or "\" inside a value is written as
// "\|" or "\\". A cell that begins with =, +, - or @ is prefixed with ', because
// spreadsheets would interpret it as a formula.
package csv

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// header lists the names of the columns. New columns may only be added at the end.
var header = []string{
	"first", "last", "community_id", "proto",
	"client_ip", "client_port", "client_name", "client_roles",
	"server_ip", "server_port", "server_name", "server_roles",
	"vlan", "packets_to_server", "packets_to_client", "bytes_to_server", "bytes_to_client",
	"gap_bytes_to_server", "gap_bytes_to_client",
	"state", "outcome", "setup_us", "protocol", "auth", "encryption", "facts",
	"endpoint_service", "endpoint_annotation", "endpoint_source", "endpoint_from", "endpoint_announced", "endpoint_learned",
	"status", "path", "also", "group", "confidence", "source_confidence", "reason", "why",
	"violations", "remarks", "version", "version_source", "conversation",
}

// Sink writes records to a writer.
type Sink struct {
	w       *csv.Writer
	row     []string
	started bool
}

// New returns a Sink that writes to w. It buffers output; Close flushes it.
func New(w io.Writer) *Sink {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	return &Sink{w: c}
}

// Write writes r as one line.
func (s *Sink) Write(r *record.Record) error {
	if err := s.start(); err != nil {
		return err
	}
	s.row = row(s.row[:0], r)
	return s.w.Write(s.row)
}

// Close flushes the output. It writes the header if there was no flow.
func (s *Sink) Close(*record.Summary) error {
	if err := s.start(); err != nil {
		return err
	}
	s.w.Flush()
	return s.w.Error()
}

func (s *Sink) start() error {
	if s.started {
		return nil
	}
	s.started = true
	return s.w.Write(header)
}

func row(f []string, r *record.Record) []string {
	f = append(f, stamp(r.First), stamp(r.Last), r.CommunityID(), proto(r.Proto))
	f = host(f, &r.Client)
	f = host(f, &r.Server)
	f = append(f, list(r.VLANs))
	f = append(f, number(r.Packets[observe.ToServer]), number(r.Packets[observe.ToClient]),
		number(r.Bytes[observe.ToServer]), number(r.Bytes[observe.ToClient]),
		number(r.GapBytes[observe.ToServer]), number(r.GapBytes[observe.ToClient]))
	setup := ""
	if r.SetupTime > 0 {
		setup = strconv.FormatInt(r.SetupTime.Microseconds(), 10)
	}
	f = append(f, r.State, string(r.Outcome), setup, text(r.Protocol))
	if r.Facts != nil {
		f = append(f, list(r.Facts.Values(observe.Auth)), list(r.Facts.Values(observe.Encryption)), facts(r.Facts.All()))
	} else {
		f = append(f, "", "", "")
	}
	if e := r.Endpoint; e != nil {
		f = append(f, text(e.Service), text(e.Annotation), string(e.Source), "", "", stamp(e.Learned))
		if e.From.IsValid() {
			f[len(f)-3] = e.From.String()
		}
		if e.Announced.IsValid() {
			f[len(f)-2] = e.Announced.String()
		}
	} else {
		f = append(f, "", "", "", "", "", "")
	}
	v := &r.Verdict
	path, group, grade := "", "", ""
	if v.Path != nil {
		path, group, grade = v.Path.ID, v.Group, v.Path.Confidence
	}
	var also []string
	for _, p := range v.Also {
		also = append(also, p.ID)
	}
	f = append(f, string(v.Status), text(path), list(also), text(group), v.Confidence.String(), text(grade), string(v.Reason), text(v.Why))
	return append(f, findings(v.Findings, record.Violation), findings(v.Findings, record.Remark, record.Accepted), text(v.Version), string(v.VersionSource), text(r.Conversation))
}

func host(f []string, h *record.Host) []string {
	ip := ""
	if h.Addr.IsValid() {
		ip = h.Addr.String()
	}
	return append(f, ip, number(uint64(h.Port)), text(h.Name), list(h.Roles))
}

func proto(p uint8) string {
	return capture.ProtoName(p)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// stamp returns t as RFC 3339 in UTC with nine decimal places.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000000Z")
}

func facts(all []observe.Fact) string {
	items := make([]string, len(all))
	for i, x := range all {
		items[i] = x.Name + "=" + x.Value
	}
	return list(items)
}

// findings returns the ids of the findings with the given levels.
func findings(all []record.Finding, levels ...record.Level) string {
	var ids []string
	for _, x := range all {
		if slices.Contains(levels, x.Level) {
			ids = append(ids, string(x.ID))
		}
	}
	return list(ids)
}

var escape = strings.NewReplacer(`\`, `\\`, `|`, `\|`)

func list(items []string) string {
	switch len(items) {
	case 0:
		return ""
	case 1:
		return text(escape.Replace(items[0]))
	}
	var b strings.Builder
	for i, s := range items {
		if i > 0 {
			b.WriteByte('|')
		}
		_, _ = escape.WriteString(&b, s)
	}
	return text(b.String())
}

// text protects against spreadsheet formulas. Some programs skip tabs and carriage
// returns before a formula, so text treats them as its beginning.
func text(s string) string {
	if s == "" {
		return s
	}
	switch s[0] {
	case '=', '+', '-', '@', '\t', '\r':
		return "'" + s
	}
	return s
}
