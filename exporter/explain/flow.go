// Package explain writes why a flow got its verdict.
package explain

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// Flow is a flow to explain: its last record, and the results of reading its packets
// again.
type Flow struct {
	Record     record.Record // a copy
	Facts      []Fact
	Candidates []record.Candidate
	// First and Last are the numbers of its first and last frame. Frames is the number of
	// its frames. They are 0 if unknown.
	First, Last, Frames uint64
	// Others is the number of frames between the same ends that belong to other flows.
	Others uint64
	// Announced is the number of the frame that announced the server's endpoint, or 0.
	Announced uint64
	// KeyVLAN reports that VLAN tags distinguish the flow from others between its ends.
	KeyVLAN bool
}

// Fact is a fact of the flow.
type Fact struct {
	Name, Value string
	Frame       uint64 // number of the frame in which it was read; 0 if unknown
}

// NewFlow returns the flow of a record. It copies the record.
func NewFlow(r *record.Record) *Flow {
	f := &Flow{Record: *r}
	f.Record.VLANs = slices.Clone(r.VLANs)
	f.Record.Client.Name, f.Record.Server.Name = strings.Clone(r.Client.Name), strings.Clone(r.Server.Name)
	f.Record.Client.Roles, f.Record.Server.Roles = slices.Clone(r.Client.Roles), slices.Clone(r.Server.Roles)
	if r.Facts != nil {
		for _, x := range r.Facts.All() {
			f.Facts = append(f.Facts, Fact{Name: x.Name, Value: strings.Clone(x.Value)})
		}
	}
	f.Record.Facts = nil
	if r.Endpoint != nil {
		e := *r.Endpoint
		f.Record.Endpoint = &e
	}
	f.Record.Verdict.Findings = slices.Clone(r.Verdict.Findings)
	f.Record.Verdict.Also = slices.Clone(r.Verdict.Also)
	return f
}

// Packet processes a packet of the second reading. It reports whether the packet is one
// between the flow's ends.
func (f *Flow) Packet(p *capture.Packet) bool {
	src, dst := p.Src.AddrPort(), p.Dst.AddrPort()
	if e := f.Record.Endpoint; e != nil && f.Announced == 0 && e.From == src && time.Unix(0, p.Time).Equal(e.Learned) {
		f.Announced = p.Number
	}
	if p.Proto != f.Record.Proto || !f.between(src, dst) || f.KeyVLAN && !f.tagged(p.VLANs) {
		return false
	}
	at := time.Unix(0, p.Time)
	if at.Before(f.Record.First) || at.After(f.Record.Last) || p.Number < f.Record.Number {
		f.Others++
		return true
	}
	if f.First == 0 {
		f.First = p.Number
	}
	f.Last = p.Number
	f.Frames++
	return true
}

// tagged reports whether the flow has the VLAN tags v.
func (f *Flow) tagged(v capture.VLANs) bool {
	if len(f.Record.VLANs) == 0 {
		return v == 0
	}
	return f.Record.VLANs[0] == v.String()
}

func (f *Flow) between(a, b netip.AddrPort) bool {
	client := netip.AddrPortFrom(f.Record.Client.Addr, f.Record.Client.Port)
	server := netip.AddrPortFrom(f.Record.Server.Addr, f.Record.Server.Port)
	return a == client && b == server || a == server && b == client
}

// Read records that the facts of r were read no later than in the given frame.
func (f *Flow) Read(r *record.Record, frame uint64) {
	if r.Facts == nil || r.Proto != f.Record.Proto || frame < f.First || frame > f.Last ||
		!f.between(netip.AddrPortFrom(r.Client.Addr, r.Client.Port), netip.AddrPortFrom(r.Server.Addr, r.Server.Port)) {
		return
	}
	for _, x := range r.Facts.All() {
		for i := range f.Facts {
			if y := &f.Facts[i]; y.Frame == 0 && y.Name == x.Name && y.Value == x.Value {
				y.Frame = frame
			}
		}
	}
}

// Filter returns a display filter with which Wireshark and tshark show exactly the frames
// of the flow.
func (f *Flow) Filter() string {
	r := &f.Record
	ip := "ip"
	if r.Client.Addr.Is6() && !r.Client.Addr.Is4In6() {
		ip = "ipv6"
	}
	way := func(a, b *record.Host) string {
		ends := ip + ".src==" + a.Addr.Unmap().String() + " && " + ip + ".dst==" + b.Addr.Unmap().String()
		switch f.Record.Proto {
		case capture.ESP:
			return ends + " && esp"
		case capture.UDP:
			return ends + " && udp.srcport==" + port(a.Port) + " && udp.dstport==" + port(b.Port)
		}
		return ends + " && tcp.srcport==" + port(a.Port) + " && tcp.dstport==" + port(b.Port)
	}
	filter := "((" + way(&r.Client, &r.Server) + ") || (" + way(&r.Server, &r.Client) + ")) && !icmp && !icmpv6"
	if f.KeyVLAN {
		filter += " && " + f.vlanFilter()
	}
	if f.Others > 0 && f.Last > 0 {
		filter += " && frame.number>=" + number(f.First) + " && frame.number<=" + number(f.Last)
	}
	return filter
}

// vlanFilter selects frames with the flow's VLAN tags. The outer tag may be one of IEEE
// 802.1ad, for which Wireshark has a different field.
func (f *Flow) vlanFilter() string {
	if len(f.Record.VLANs) == 0 {
		return "!vlan && !ieee8021ad"
	}
	tags := strings.Split(f.Record.VLANs[0], ".")
	stack := func(tags []string) string {
		if len(tags) == 0 {
			return " && !vlan"
		}
		filter := " && count(vlan.id)==" + strconv.Itoa(len(tags))
		for i, id := range tags {
			filter += " && vlan.id#" + strconv.Itoa(i+1) + "==" + id
		}
		return filter
	}
	return "((!ieee8021ad" + stack(tags) + ") || (ieee8021ad.id==" + tags[0] + stack(tags[1:]) + "))"
}

// transportFact reports whether a fact describes the authentication or encryption of the
// flow.
func transportFact(name string) bool { return name == observe.Auth || name == observe.Encryption }
