package live

import (
	"bytes"

	"github.com/exspan/exspan/capture"
)

// A Watch tells whether a SPAN port mirrors one direction only, by a sample of the TCP
// connections. Only one goroutine may use it.
type Watch struct {
	seen  [1 << 12]seen
	round uint32
}

// seen is a connection of the sample.
type seen struct {
	hash    uint64
	round   uint32 // in which it was seen
	packets uint8  // at most fewPackets
	from    uint8  // which ends have sent, as bits
}

const (
	fewPackets     = 3  // a connection with fewer may just have begun
	fewConnections = 20 // fewer tell nothing
)

// NewWatch returns a Watch.
func NewWatch() *Watch { return &Watch{round: 1} }

// Packets inspects packets.
func (w *Watch) Packets(packets []capture.Packet) {
	for i := range packets {
		p := &packets[i]
		if p.Proto != capture.TCP || p.Flags&capture.ACK == 0 { // nobody may answer a SYN
			continue
		}
		s := &w.seen[p.Hash&uint64(len(w.seen)-1)]
		if s.round != w.round {
			*s = seen{hash: p.Hash, round: w.round}
		}
		if s.hash != p.Hash || s.from == 3 { // another connection has the place, or all is known
			continue
		}
		s.packets = min(s.packets+1, fewPackets)
		s.from |= end(p)
	}
}

// end returns which end of its connection sent a packet, 1 or 2.
func end(p *capture.Packet) uint8 {
	if c := bytes.Compare(p.Src.Addr[:], p.Dst.Addr[:]); c < 0 || c == 0 && p.Src.Port < p.Dst.Port {
		return 1
	}
	return 2
}

// OneWay returns the share, 0 to 1, of the connections seen since its last call of
// which only one end was heard. A TCP connection that goes on is heard from both. ok
// is false if there were too few connections to tell.
func (w *Watch) OneWay() (share float64, ok bool) {
	all, one := 0, 0
	for i := range w.seen {
		s := &w.seen[i]
		switch {
		case s.round != w.round:
		case s.from == 3:
			all++
		case s.packets >= fewPackets:
			all++
			one++
		}
	}
	w.round++
	if all < fewConnections {
		return 0, false
	}
	return float64(one) / float64(all), true
}
