package live

import (
	"math/bits"
	"sync/atomic"

	"github.com/exspan/exspan/capture"
)

// Watch looks at packets for what a SPAN port can do wrong: sending the same
// packet twice, and sending one direction only. It is given packets by one
// goroutine.
type Watch struct {
	duplicates atomic.Uint64
	packets    uint64
	seen       [1 << 12]seen
	pairs      map[pair]uint8
}

type seen struct {
	packet uint64 // hash of what tells packets apart
	time   int64
}

type pair struct{ low, high capture.Addr }

const (
	duplicateTime = 2_000_000 // nanoseconds; a packet is mirrored twice within less
	maxPairs      = 4096
)

// NewWatch returns a Watch.
func NewWatch() *Watch { return &Watch{pairs: make(map[pair]uint8)} }

// Packets looks at packets in order of time.
func (w *Watch) Packets(packets []capture.Packet) {
	for i := range packets {
		p := &packets[i]
		w.packets++
		switch p.Proto {
		case capture.TCP:
			// Bare acknowledgements can be the same on purpose.
			if p.PayloadLength > 0 || p.Flags&(capture.SYN|capture.FIN|capture.RST) != 0 {
				w.duplicate(p, uint64(p.Seq)<<32|uint64(p.Ack))
			}
			if w.pairs != nil && p.PayloadLength > 0 && len(w.pairs) < maxPairs {
				w.direction(p)
			}
		case capture.UDP:
			// Shorter payloads can be the same on purpose, and the header of RTP,
			// which has a sequence number, is 12 bytes.
			if len(p.Payload) >= 12 {
				w.duplicate(p, prefix(p.Payload))
			}
		}
	}
}

// prefix mixes up to 32 bytes.
func prefix(b []byte) uint64 {
	h := uint64(len(b))
	for _, c := range b[:min(len(b), 32)] {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return h
}

func (w *Watch) duplicate(p *capture.Packet, more uint64) {
	// The hash of a packet is that of both its directions.
	hi, lo := bits.Mul64(p.Hash^uint64(p.Src.Port)<<48^uint64(p.PayloadLength)<<8^uint64(p.Flags), more|1)
	h := hi ^ lo
	s := &w.seen[h&uint64(len(w.seen)-1)]
	if s.packet == h && uint64(p.Time-s.time) < duplicateTime {
		w.duplicates.Add(1)
		return
	}
	*s = seen{h, p.Time}
}

func (w *Watch) direction(p *capture.Packet) {
	k, bit := pair{p.Src.Addr, p.Dst.Addr}, uint8(1)
	for i := range k.low {
		if k.low[i] != k.high[i] {
			if k.low[i] > k.high[i] {
				k.low, k.high, bit = k.high, k.low, 2
			}
			break
		}
	}
	w.pairs[k] |= bit
}

// Duplicates is the number of packets that were seen twice within 2 ms. It may
// be called by any goroutine.
func (w *Watch) Duplicates() uint64 { return w.duplicates.Load() }

// Share returns the share of packets that were seen twice, 0 to 1, and that of
// pairs of hosts with data in one direction only; each is 0 where too little was
// was seen to say. What is remembered of pairs is forgotten.
func (w *Watch) Share() (duplicates, oneWay float64) {
	const few = 20
	if w.packets >= few {
		duplicates = float64(w.Duplicates()) / float64(w.packets)
	}
	n := 0
	for _, d := range w.pairs {
		if d != 3 {
			n++
		}
	}
	if len(w.pairs) >= 3 {
		oneWay = float64(n) / float64(len(w.pairs))
	}
	w.pairs = nil
	return duplicates, oneWay
}
