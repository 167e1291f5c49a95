package session

import (
	"math"
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
	protocols              []observe.Protocol
	asks                   []func(*observe.First) observe.Match
	onTCP                  ports // protocols expected on a server port
	onUDP                  ports
	streams                uint64      // protocols carried by TCP
	text                   uint64      // those that begin with text
	beginsUDP              [256]uint64 // those carried by UDP, by the first byte of a datagram
	ofStreams, ofDatagrams patterns
	userPorts              uint64 // those that use no system port
	onPort                 uint64 // those whose datagrams always use one of their ports
	bound                  uint64 // those ports modulo 64, a bit each
	// begins holds the protocols that can begin with a byte, by direction and byte;
	// known marks those that were worked out.
	begins [2][256]uint64
	first  observe.First
	last   found
}

// patterns holds the patterns of all protocols. It checks four bytes, which is enough to
// refuse nearly all noise. A set of patterns has a bit for each pattern.
type patterns struct {
	at   [4]int            // offsets of the four bytes
	can  [4][1 << 8]uint16 // the patterns that allow each value of those bytes
	of   uint64            // the protocols that have patterns
	bits [16]uint64        // the protocol of each pattern
}

// newPatterns collects the patterns that of returns for each protocol. It selects the
// four bytes so that as little noise as possible passes.
func newPatterns(protocols []observe.Protocol, of func(*observe.Protocol) []observe.Pattern) (p patterns) {
	var list []observe.Pattern
	for i := range protocols {
		for _, x := range of(&protocols[i]) {
			p.bits[len(list)] = 1 << i
			p.of |= 1 << i
			list = append(list, x)
		}
	}
	chance := make([]float64, len(list)) // the probability that noise passes
	for n := range chance {
		chance[n] = 1
	}
	for i := range p.at {
		least := float64(len(list) + 1)
		for at := range observe.MinPatterned {
			sum := 0.
			for n, x := range list {
				mask, _ := x.Byte(at)
				sum += math.Ldexp(chance[n], -bits.OnesCount8(mask))
			}
			if sum < least && !slices.Contains(p.at[:i], at) {
				least, p.at[i] = sum, at
			}
		}
		for n, x := range list {
			mask, _ := x.Byte(p.at[i])
			chance[n] = math.Ldexp(chance[n], -bits.OnesCount8(mask))
		}
		for b := range p.can[i] {
			for n, x := range list {
				if mask, value := x.Byte(p.at[i]); byte(b)&mask == value {
					p.can[i][b] |= 1 << n
				}
			}
		}
	}
	return p
}

// match returns the protocols of a set that can begin with data.
func (p *patterns) match(set uint64, data []byte) uint64 {
	if len(data) < observe.MinPatterned {
		return set
	}
	m := p.can[0][data[p.at[0]]] & p.can[1][data[p.at[1]]] & p.can[2][data[p.at[2]]] & p.can[3][data[p.at[3]]]
	without := p.of
	for ; m != 0; m &= m - 1 {
		without &^= p.bits[bits.TrailingZeros16(m)%16]
	}
	return set &^ without
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
		if p.Stream {
			d.streams |= bit
		}
		if p.Text {
			d.text |= bit
		}
		if p.UserPorts {
			d.userPorts |= bit
		}
		if p.OnPort {
			d.onPort |= bit
			for _, port := range p.UDP {
				d.bound |= 1 << (port % 64)
			}
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
	d.ofStreams = newPatterns(protocols, func(p *observe.Protocol) []observe.Pattern { return p.StreamPatterns })
	d.ofDatagrams = newPatterns(protocols, func(p *observe.Protocol) []observe.Pattern { return p.DatagramPatterns })
	return d
}

// promising reports whether there may be something to read in the payload of
// the flow at hand, which is not being read. Most payload that is nothing known
// costs no conn.
func (r *Reader) promising(p *capture.Packet, ev *flow.Event) bool {
	st, sender := r.at.state, ev.Sender()
	if len(p.Payload) == 0 {
		st.flags |= truncated
		return false
	}
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
	i, more := -1, false
	dir := st.Ends.Direction(sender)
	if set := r.candidates(p.Proto, p.Src.Port, p.Dst.Port, dir, p.Payload); set != 0 {
		i, more = r.choose(set, dir, p.Payload, nil)
	}
	r.detect.last = found{p.Number, i, more}
	if i >= 0 || first && more {
		return true
	}
	if int(p.PayloadLength) > len(p.Payload) {
		st.flags |= truncated
	}
	if first {
		if proxy.Begins(p.Payload[0]) {
			if h, more := proxy.Read(p.Payload); h.Length > 0 || more {
				return true
			}
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
	set := r.detect.streams
	if len(other) == 0 {
		set = r.candidates(r.at.proto, r.at.sides[0].Port, r.at.sides[1].Port, dir, data)
	}
	if set &^= tried; set == 0 {
		return -1, false
	}
	return r.choose(set, dir, data, other)
}

// candidates returns the protocols that may begin with data, which was sent between
// ports a and b. For noise that is nearly always the empty set.
func (r *Reader) candidates(proto uint8, a, b uint16, dir observe.Direction, data []byte) uint64 {
	d := r.detect
	if proto != capture.UDP {
		can := d.begins[dir&1][data[0]]
		if can == 0 {
			can = d.firstByte(dir, data[:1])
		}
		if can = d.ofStreams.match(can&d.streams, data); can&d.text != 0 {
			can = d.textOnly(can, data)
		}
		return can
	}
	can := d.beginsUDP[data[0]]
	if can&d.text != 0 {
		can = d.textOnly(can, data)
	}
	if r.Announcements == 0 {
		can = d.possible(can, a, b, data)
	} // else choose first asks what was announced
	return can
}

// choose looks for the protocol of first bytes of the flow at hand in a set; see
// detector.detect.
func (r *Reader) choose(set uint64, dir observe.Direction, data, other []byte) (index int, more bool) {
	d, f := r.detect, &r.detect.first
	client, server := r.at.ends()
	f.Datagram, f.Announced = r.at.proto == capture.UDP, ""
	if !f.Datagram || r.Announcements != 0 {
		f.Announced = r.cfg.Announced(client, server, r.at.proto)
		if f.Datagram && f.Announced == "" {
			if set = d.possible(set, client.Port, server.Port, data); set == 0 {
				return -1, false
			}
		}
	}
	f.ClientPort, f.ServerPort = client.Port, server.Port
	f.Late = r.at.state.flags&(midA<<r.at.state.Ends.Side(dir)) != 0
	return d.detect(set, dir, data, other)
}

// textOnly removes the protocols that begin with text from a set if the first byte of
// data is text and the second or third is not.
func (d *detector) textOnly(set uint64, data []byte) uint64 {
	if len(data) > 2 && isText(data[0]) && !(isText(data[1]) && isText(data[2])) {
		return set &^ d.text
	}
	return set
}

// possible returns the protocols of a set that can send a datagram between ports a and b
// if neither endpoint was announced.
func (d *detector) possible(set uint64, a, b uint16, data []byte) uint64 {
	set = d.ofDatagrams.match(set, data)
	if (d.bound>>(a%64)|d.bound>>(b%64))&1 == 0 {
		set &^= d.onPort
	}
	if set&d.userPorts != 0 && min(a, b) < observe.MinUserPort {
		set &^= d.userPorts
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
