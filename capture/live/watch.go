package live

import (
	"math/bits"
	"sync/atomic"

	"github.com/exspan/exspan/capture"
)

// A Watch detects mistakes in the configuration of a SPAN port: packets that arrive
// twice, and traffic of one direction only. Only one goroutine may pass it packets.
type Watch struct {
	duplicates atomic.Uint64
	packets    uint64
	seen       [1 << 12]seen
	pairs      map[pair]uint8
}

type seen struct {
	packet uint64 // hash of what distinguishes packets
	time   int64
}

type pair struct{ low, high capture.Addr }

const (
	duplicateTime = 2_000_000 // nanoseconds; both copies of a packet arrive within this time
	maxPairs      = 4096
)

// NewWatch returns a Watch.
func NewWatch() *Watch { return &Watch{pairs: make(map[pair]uint8)} }

// Packets inspects packets, which must be in order of time.
func (w *Watch) Packets(packets []capture.Packet) {
	for i := range packets {
		p := &packets[i]
		w.packets++
		switch p.Proto {
		case capture.TCP:
			// Two bare acknowledgements may be equal legitimately.
			if p.PayloadLength > 0 || p.Flags&(capture.SYN|capture.FIN|capture.RST) != 0 {
				w.duplicate(p, uint64(p.Seq)<<32|uint64(p.Ack))
			}
			if w.pairs != nil && p.PayloadLength > 0 && len(w.pairs) < maxPairs {
				w.direction(p)
			}
		case capture.UDP:
			// Shorter payloads may be equal legitimately. The header of RTP, which has a
			// sequence number, takes 12 bytes.
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

// Duplicates returns the number of packets seen twice within 2 ms. It may be called
// by any goroutine.
func (w *Watch) Duplicates() uint64 { return w.duplicates.Load() }

// Share returns two fractions, 0 to 1: packets that were seen twice, and pairs of
// hosts with data in one direction only. Each is 0 if there was too little traffic to
// tell. Share resets what it knows of pairs.
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
