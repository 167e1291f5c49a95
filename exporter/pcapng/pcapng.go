// Package pcapng writes the packets of flows selected by verdict to a capture file. Each
// packet has the verdict as its comment.
//
// A verdict is known only when the record of its flow is final, and by then the packets
// are gone. The input is therefore read twice: a Selection first remembers the selected
// flows, and then copies their packets.
package pcapng

import (
	"cmp"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
)

// MaxFlows is the maximum number of flows in a Selection.
const MaxFlows = 250_000

// A Selection is a sink that remembers the flows with certain statuses.
type Selection struct {
	statuses []record.Status
	vlans    bool
	flows    map[key][]span
	kept     int
	// Refused is the number of flows beyond MaxFlows. Their packets are not copied.
	Refused uint64
}

// key holds the two ends of a flow, the lower one first, and its VLAN tags if they
// distinguish flows.
type key struct {
	a, b  capture.Endpoint
	proto uint8
	vlan  string
}

func keyOf(a, b capture.Endpoint, proto uint8, vlan string) key {
	if c := slices.Compare(a.Addr[:], b.Addr[:]); c > 0 || c == 0 && a.Port > b.Port {
		a, b = b, a
	}
	return key{a, b, proto, vlan}
}

// span is one of several flows that can have the same key.
type span struct {
	number  uint64 // number of its first packet
	last    int64  // time of its last packet
	comment string
}

// NewSelection returns a Selection of the flows with one of the statuses. If vlans
// is true, VLAN tags are part of the key of a flow; see classify.Config.KeyVLAN.
func NewSelection(statuses []record.Status, vlans bool) *Selection {
	return &Selection{statuses: statuses, vlans: vlans, flows: map[key][]span{}}
}

// Write remembers the flow of r if it is selected.
func (s *Selection) Write(r *record.Record) error {
	if r.State == "active" || !slices.Contains(s.statuses, r.Verdict.Status) {
		return nil
	}
	if s.kept >= MaxFlows {
		s.Refused++
		return nil
	}
	s.kept++
	vlan := ""
	if s.vlans && len(r.VLANs) > 0 {
		vlan = r.VLANs[0]
	}
	k := keyOf(capture.EndpointFrom(netip.AddrPortFrom(r.Client.Addr, r.Client.Port)),
		capture.EndpointFrom(netip.AddrPortFrom(r.Server.Addr, r.Server.Port)), r.Proto, vlan)
	s.flows[k] = append(s.flows[k], span{r.Number, r.Last.UnixNano(), comment(r)})
	return nil
}

// Close does nothing.
func (s *Selection) Close(*record.Summary) error { return nil }

// comment returns the verdict as one line.
func comment(r *record.Record) string {
	v := &r.Verdict
	text := "exspan: " + string(v.Status)
	if v.Path != nil {
		text += " " + v.Path.ID
		for _, p := range v.Also {
			text += "|" + p.ID
		}
		text += ", confidence " + v.Confidence.String()
	}
	if v.Reason != "" {
		text += ", " + string(v.Reason)
	}
	for _, f := range v.Findings {
		text += ", " + string(f.ID)
	}
	if v.Why != "" {
		text += ": " + strings.ToValidUTF8(v.Why, "?")
	}
	return text
}

// find returns the flow of p, or nil.
func (s *Selection) find(p *capture.Packet) *span {
	proto := p.Proto
	if proto == capture.ICMP || proto == capture.ICMPv6 {
		proto = p.Quoted
	}
	vlan := ""
	if s.vlans {
		vlan = p.VLANs.String()
	}
	flows := s.flows[keyOf(p.Src, p.Dst, proto, vlan)]
	i, exact := slices.BinarySearchFunc(flows, p.Number, func(f span, n uint64) int { return cmp.Compare(f.number, n) })
	if !exact {
		i-- // the last one that started before p
	}
	if i < 0 || p.Time > flows[i].last {
		return nil
	}
	return &flows[i]
}

// Copy reads src, which must keep frames, up to the packet with the number limit, and
// writes the packets of the selected flows to w as pcapng. It returns the number of
// packets written. src must deliver the same packets, with the same numbers, as in the
// first run.
func (s *Selection) Copy(w io.Writer, src capture.Source, limit uint64) (packets uint64, err error) {
	for _, flows := range s.flows {
		slices.SortFunc(flows, func(a, b span) int { return cmp.Compare(a.number, b.number) })
	}
	out, err := capture.NewWriter(w, "exspan")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Flush()) }()
	for {
		b, err := src.Read()
		if errors.Is(err, io.EOF) {
			return packets, nil
		}
		if err != nil {
			return packets, err
		}
		for i := range b.Packets {
			p := &b.Packets[i]
			if p.Number > limit {
				b.Release()
				return packets, nil
			}
			if f := s.find(p); f != nil {
				packets++
				if err := out.Write(p, f.comment); err != nil {
					b.Release()
					return packets, err
				}
			}
		}
		b.Release()
	}
}
