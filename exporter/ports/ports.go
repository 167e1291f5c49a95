// Package ports tells which ports announced services had over time, and whether
// and how each can be pinned to one.
package ports

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter"
	"github.com/exspan/exspan/exporter/text"
	"github.com/exspan/exspan/rules"
)

// Options say what is known and how it is written.
type Options struct {
	Packs *rules.Packs
	// Version is taken for hosts whose version is not known.
	Version string
	JSON    bool
	Width   int // 0 means 100
}

// Row is a service of a host.
type Row struct {
	Host    string      `json:"host"`
	Address netip.Addr  `json:"address"`
	Service string      `json:"service"`
	Ports   []PortInUse `json:"ports"`
	// Pins are the documented ways to pin it. Empty if no document knows one.
	Pins []Pin `json:"pins,omitempty"`
}

// PortInUse is a port that a service had.
type PortInUse struct {
	Port  uint16    `json:"port"`
	Since time.Time `json:"since,omitzero"`
	Ended bool      `json:"ended,omitempty"`
	Flows uint64    `json:"flows"`
}

// Pin is a documented way to pin a service to a port.
type Pin struct {
	Service string `json:"service"`
	Default string `json:"default,omitempty"`
	Range   string `json:"range,omitempty"`
	By      string `json:"by,omitempty"`
	Where   string `json:"where,omitempty"`
	Value   string `json:"value,omitempty"`
	Type    string `json:"type,omitempty"`
	Restart string `json:"restart,omitempty"`
	Note    string `json:"note,omitempty"`
	Source  string `json:"source"`
	// Inside reports whether all ports are in Range; nil if Range names none.
	Inside *bool `json:"inside_range,omitempty"`
}

// How says how to pin the service, or "" if no document does.
func (p *Pin) How() string {
	if p.Where == "" {
		return ""
	}
	s := "Pin it by " + p.By + ": " + p.Where
	if p.Value != "" {
		s += ", " + p.Value
	}
	if p.Type != "" {
		s += " (" + p.Type + ")"
	}
	if p.Restart != "" {
		s += "; restart " + p.Restart
	}
	return s
}

// Sink writes the ports on Close.
type Sink struct {
	w io.Writer
	o Options
}

// New returns a sink that writes to w when it is closed.
func New(w io.Writer, o Options) *Sink {
	if o.Width <= 0 {
		o.Width = 100
	}
	return &Sink{w, o}
}

// Write does nothing: the summary holds the endpoints.
func (s *Sink) Write(*record.Record) error { return nil }

// Close writes the ports.
func (s *Sink) Close(sum *record.Summary) error {
	rows := Rows(sum, s.o)
	if s.o.JSON {
		return exporter.JSON(s.w, rows)
	}
	var b strings.Builder
	if len(rows) == 0 {
		b.WriteString("No endpoint of an RPC service was learned.\n")
	}
	for i := range rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		s.write(&b, &rows[i])
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}

// rpc reports whether an endpoint is of an RPC service, as opposed to media and
// signalling.
func rpc(e *record.EndpointSummary) bool {
	switch e.Source {
	case observe.FromMap, observe.FromLookup, observe.FromBind, observe.FromSite:
		return !e.UDP
	}
	return false
}

// Rows returns the RPC services whose endpoints were learned, by the order of the summary.
func Rows(sum *record.Summary, o Options) []Row {
	type key struct {
		addr    netip.Addr
		service string
	}
	hosts := map[netip.Addr]*record.HostSummary{}
	for i := range sum.Hosts {
		hosts[sum.Hosts[i].Addr] = &sum.Hosts[i]
	}
	index := map[key]int{}
	rows := []Row{}
	for i := range sum.Endpoints {
		e := &sum.Endpoints[i]
		if !rpc(e) {
			continue
		}
		k := key{e.Server.Addr(), e.Service}
		n, ok := index[k]
		if !ok {
			n = len(rows)
			index[k] = n
			r := Row{Host: k.addr.String(), Address: k.addr, Service: e.Service}
			version := o.Version
			if h := hosts[k.addr]; h != nil {
				r.Host, version = cmp.Or(h.Name, r.Host), cmp.Or(h.Version, version)
			}
			r.Pins = pins(o.Packs, version, e.Service)
			rows = append(rows, r)
		}
		rows[n].Ports = append(rows[n].Ports, PortInUse{e.Server.Port(), e.Learned, e.Ended, e.Flows})
	}
	for i := range rows {
		for j := range rows[i].Pins {
			rows[i].Pins[j].Inside = inside(rows[i].Pins[j].Range, rows[i].Ports)
		}
	}
	return rows
}

// pins returns the documented ways to pin a service, those of its
// Exchange version, else those of Windows.
func pins(packs *rules.Packs, version, service string) []Pin {
	var list []Pin
	pinned := packs.Pinned(version)
	if !slices.ContainsFunc(pinned, func(p *rules.Pinned) bool { return slices.Contains(p.Interfaces, service) }) {
		pinned = packs.Pinned(rules.Platform)
	}
	for _, p := range pinned {
		if slices.Contains(p.Interfaces, service) {
			list = append(list, Pin{Service: p.Service, Default: p.Default, Range: p.Range, By: p.By, Where: p.Where, Value: p.Value, Type: p.Type,
				Restart: p.Restart, Note: p.Note, Source: p.Source})
		}
	}
	return list
}

var portRange = regexp.MustCompile(`^(\d+)-(\d+)\b`)

// inside reports whether all ports are in a range, nil if the text names none.
func inside(text string, ports []PortInUse) *bool {
	m := portRange.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	from, _ := strconv.Atoi(m[1])
	to, _ := strconv.Atoi(m[2])
	all := !slices.ContainsFunc(ports, func(p PortInUse) bool { return int(p.Port) < from || int(p.Port) > to })
	return &all
}

func (s *Sink) write(b *strings.Builder, r *Row) {
	parts := make([]string, len(r.Ports))
	for i, p := range r.Ports {
		parts[i] = fmt.Sprintf("%d/tcp", p.Port)
		if !p.Since.IsZero() {
			parts[i] += " since " + text.Moment(p.Since)
		}
		if p.Ended {
			parts[i] += ", ended"
		}
		parts[i] += " (" + text.Count(p.Flows, "flow") + ")"
	}
	s.line(b, 0, r.Host+"  "+r.Service+"  "+strings.Join(parts, "; "))
	if len(r.Pins) == 0 {
		s.line(b, 4, "No document names a way to pin it.")
	}
	for i := range r.Pins {
		p := &r.Pins[i]
		line := p.Service + ": by default " + cmp.Or(p.Default, "not said")
		if p.Range != "" {
			line += "; documented for pinning: " + p.Range
		}
		if p.Inside != nil && *p.Inside {
			line += "; its port is in that range"
		} else if p.Inside != nil {
			line += "; its port is not in that range, so it is dynamic or pinned elsewhere"
		}
		s.line(b, 4, line)
		if how := p.How(); how != "" {
			s.line(b, 6, how)
		}
		if p.Note != "" {
			s.line(b, 6, "Note: "+p.Note)
		}
		s.line(b, 6, "Source: "+p.Source)
	}
}

// line writes text broken at spaces, later lines two columns further in.
func (s *Sink) line(b *strings.Builder, indent int, t string) {
	for _, l := range text.Wrap(text.Printable(t), s.o.Width, indent, indent+2) {
		b.WriteString(l + "\n")
	}
}
