// Package pcapng writes the packets of flows chosen by their verdict to a
// capture file, with the verdict as comment of each packet.
//
// A verdict is known only when its flow is final, and by then the flow's
// packets are gone. So the input is read twice: the first time the chosen flows
// are remembered, the second time their packets are copied.
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

// MaxFlows is how many flows are remembered at most.
const MaxFlows = 250_000

// Selection is a sink that remembers the flows with certain statuses.
type Selection struct {
	statuses []record.Status
	vlans    bool
	flows    map[key][]span
	kept     int
	// Refused counts the flows beyond MaxFlows, whose packets are not copied.
	Refused uint64
}

// key is the ends of a flow, the lower one first, and its VLAN tags where they
// tell flows apart.
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

// span is one flow of several that can have the same ends.
type span struct {
	number  uint64 // of its first packet
	last    int64  // time of its last packet
	comment string
}

// NewSelection returns a selection of the flows with one of the statuses. With
// vlans the VLAN tags are part of a flow's key, as classify.Config.KeyVLAN says.
func NewSelection(statuses []record.Status, vlans bool) *Selection {
	return &Selection{statuses: statuses, vlans: vlans, flows: map[key][]span{}}
}

// Write remembers r's flow if it is wanted.
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

// comment is the verdict in one line.
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

// find returns the flow that p belongs to, or nil.
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
		i-- // the last that began before p
	}
	if i < 0 || p.Time > flows[i].last {
		return nil
	}
	return &flows[i]
}

// Copy reads src, which must keep frames, up to the packet with the number
// limit, and writes the packets of the chosen flows to w as pcapng. It returns
// how many. src must deliver the same packets with the same numbers as when the
// records were made.
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
