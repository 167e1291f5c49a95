package session

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/proxy"
)

// detector finds out which protocol first bytes are of. Sets of protocols have
// a bit for each, by index.
type detector struct {
	protocols []observe.Protocol
	asks      []func(*observe.First) observe.Match
	onTCP     ports // protocols expected on a server port
	onUDP     ports
	streams   uint64      // protocols carried by TCP
	text      uint64      // those that begin with text
	beginsUDP [256]uint64 // those carried by UDP, by the first byte of a datagram
	possibles []func(a, b uint16, datagram []byte) bool
	bounded   uint64 // those with a Possible
	// begins holds the protocols that can begin with a byte, by direction and byte;
	// known marks those that were worked out.
	begins [2][256]uint64
	first  observe.First
	last   found
}

// found is what was found in the payload of the packet with a number.
type found struct {
	number uint64
	index  int // of the protocol, or -1
	more   bool
}

func newDetector(protocols []observe.Protocol) *detector {
	d := &detector{protocols: protocols, onTCP: ports{sets: []uint64{0}}, onUDP: ports{sets: []uint64{0}}}
	for i, p := range protocols {
		bit := uint64(1) << i
		d.asks = append(d.asks, p.Detect)
		d.possibles = append(d.possibles, p.Possible)
		if p.Stream {
			d.streams |= bit
		}
		if p.Text {
			d.text |= bit
		}
		if p.Possible != nil {
			d.bounded |= bit
		}
		for b := range d.beginsUDP {
			if p.Datagram && (p.Begins == "" || strings.IndexByte(p.Begins, byte(b)) >= 0) {
				d.beginsUDP[b] |= bit
			}
		}
		for _, port := range p.TCP {
			d.onTCP.add(port, bit)
		}
		for _, port := range p.UDP {
			d.onUDP.add(port, bit)
		}
	}
	return d
}

// promising reports whether there may be something to read in the payload of
// the flow at hand, which is not being read. Most payload that is nothing known
// costs no conn.
func (r *Reader) promising(p *capture.Packet, ev *flow.Event) bool {
	if len(p.Payload) == 0 {
		return false
	}
	st, sender := r.at.state, ev.Sender()
	first := false // these may be the first bytes of the sender
	if p.Proto == capture.TCP {
		if n := padding(p); n > 0 {
			st.search.setPadding(sender, n)
			return false
		}
		if ev.What&flow.Begun == 0 {
			st.flags |= midA | midB
		}
		first = st.flags&(midA<<sender) == 0
		if first && ev.What&(flow.KnownA<<sender) != 0 && sequence(p) != ev.Next[sender]-uint32(st.search.padding(sender)) {
			return true // others come before them
		}
	}
	if !st.search.next(sender, p.Time) && !first {
		return false
	}
	i, more := r.seek(0, st.Ends.Direction(sender), p.Payload, nil)
	r.detect.last = found{p.Number, i, more}
	if i >= 0 || first && more {
		return true
	}
	if first {
		if h, more := proxy.Read(p.Payload); h.Length > 0 || more {
			return true
		}
		st.flags |= midA << sender
		if len(p.Payload) == int(p.PayloadLength) {
			st.begunForeign()
		}
		st.search.firstInVain(len(p.Payload))
	}
	if st.vain(p.Proto, len(p.Payload)) {
		r.abandon(r.at.id, st, Unrecognised)
	}
	return false
}

// find looks for the protocol of bytes that a sender of the flow at hand sent,
// among those that have not refused them. other is what the other side sent
// before.
func (r *Reader) find(c *conn, sender int, data, other []byte) (index int, more bool) {
	if last, p := &r.detect.last, r.at.packet; p != nil && last.number == p.Number && c.tried == 0 && len(other) == 0 && len(data) == len(p.Payload) {
		last.number = 0
		return last.index, last.more
	}
	return r.seek(c.tried, r.at.state.Ends.Direction(sender), data, other)
}

// seek looks for the protocol of first bytes of the flow at hand; see
// detector.detect.
func (r *Reader) seek(tried uint64, dir observe.Direction, data, other []byte) (index int, more bool) {
	d := r.detect
	set, datagram := d.streams, r.at.proto == capture.UDP
	if len(other) == 0 {
		set = d.beginning(datagram, dir, data)
	}
	if set &^= tried; set == 0 {
		return -1, false
	}
	f := &d.first
	client, server := r.at.ends()
	f.Datagram, f.Announced = datagram, r.cfg.Announced(client, server, r.at.proto)
	if datagram && f.Announced == "" {
		if set = d.possible(set, client.Port, server.Port, data); set == 0 {
			return -1, false
		}
	}
	f.ClientPort, f.ServerPort = client.Port, server.Port
	f.Late = r.at.state.flags&(midA<<r.at.state.Ends.Side(dir)) != 0
	return d.detect(set, dir, data, other)
}

// beginning returns the protocols that can begin with the first bytes of data.
func (d *detector) beginning(datagram bool, dir observe.Direction, data []byte) uint64 {
	var can uint64
	if datagram {
		can = d.beginsUDP[data[0]]
	} else {
		if can = d.begins[dir][data[0]]; can == 0 {
			can = d.firstByte(dir, data[:1])
		}
		can &= d.streams
	}
	if can&d.text != 0 && len(data) > 2 && isText(data[0]) && !(isText(data[1]) && isText(data[2])) {
		can &^= d.text
	}
	return can
}

// possible returns those of a set of protocols that a datagram between two ports
// can be of where no endpoint was announced.
func (d *detector) possible(set uint64, a, b uint16, data []byte) uint64 {
	for look := set & d.bounded; look != 0; look &= look - 1 {
		if i := bits.TrailingZeros64(look); !d.possibles[i](a, b, data) {
			set &^= 1 << i
		}
	}
	return set
}

// isText reports whether a byte is ASCII text.
func isText(b byte) bool { return b >= ' ' && b <= '~' || b == '\t' || b == '\r' || b == '\n' }

// detect asks a set of protocols about the first bytes of the flow that d.first
// describes: those expected on the server's port first, then the others in
// order. It returns the protocol's index, or -1 and whether more bytes may tell.
func (d *detector) detect(set uint64, dir observe.Direction, data, other []byte) (index int, more bool) {
	f := &d.first
	if dir == observe.ToServer {
		f.ToServer, f.ToClient = data, other
	} else {
		f.ToServer, f.ToClient = other, data
	}
	on := &d.onTCP
	if f.Datagram {
		on = &d.onUDP
	}
	index = -1
	expected := on.at(f.ServerPort) & set
	if expected != 0 {
		index, more = d.ask(expected, true)
	}
	if set &^= expected; set != 0 && index < 0 && !more {
		index, more = d.ask(set, false)
	}
	f.ToServer, f.ToClient = nil, nil
	return index, more
}

// ask asks a set of protocols in order.
func (d *detector) ask(set uint64, onPort bool) (index int, more bool) {
	d.first.OnPort = onPort
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(set)
		switch d.asks[i](&d.first) {
		case observe.Yes:
			return i, false
		case observe.More:
			more = true
		}
	}
	return -1, more
}

// known marks an entry of detector.begins that was worked out.
const known = 1 << 63

// anyPort is one that no protocol expects.
const anyPort = 1024

// firstByte works out which protocols can begin one direction of a stream with
// a byte: a protocol that refuses it refuses what begins with it.
func (d *detector) firstByte(dir observe.Direction, data []byte) uint64 {
	can := uint64(known)
	f := observe.First{ClientPort: anyPort, ServerPort: anyPort}
	if dir == observe.ToServer {
		f.ToServer = data
	} else {
		f.ToClient = data
	}
	for i := range d.protocols {
		if d.streams&(1<<i) == 0 {
			continue
		}
		for _, f.OnPort = range [...]bool{true, false} {
			if d.protocols[i].Detect(&f) != observe.No {
				can |= 1 << i
			}
		}
	}
	d.begins[dir][data[0]] = can
	return can
}

// ports has a set of protocols for each port.
type ports struct {
	index [1 << 16]uint8 // into sets
	sets  []uint64       // the first is empty
}

// add adds a protocol to the set of a port.
func (p *ports) add(port uint16, bit uint64) {
	set := p.at(port) | bit
	i := slices.Index(p.sets, set)
	if i < 0 {
		i = len(p.sets)
		p.sets = append(p.sets, set)
	}
	p.index[port] = uint8(i)
}

// at returns the set of a port.
func (p *ports) at(port uint16) uint64 { return p.sets[p.index[port]] }
