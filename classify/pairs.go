package classify

import (
	"bytes"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
)

// maxPairs bounds the host pairs whose directions are remembered.
const maxPairs = 4 << 20

// bothWays stands for both direction bits of a pair.
const bothWays = 3

// pairs remembers for every host pair in which directions the sensor saw
// packets, so that a one-way SPAN port is not taken for a blocked path. An
// entry is the pair's hash with its two lowest bits replaced by the
// directions: 8 bytes a pair, in open addressing.
type pairs struct {
	table   []uint64
	count   int
	refused uint64
	// waiting holds what was seen and is not in the table yet: taken in together,
	// the cache misses of many overlap.
	waiting [64]uint64
	n       int
	// full says that no pair is added any more: what is noted is noted of those in
	// the table.
	full bool
}

func newPairs() *pairs { return &pairs{table: make([]uint64, 1<<10)} }

// pairKey returns the pair's hash without its lowest bits.
func pairKey(a, b *capture.Addr) uint64 {
	if h := capture.HashPair(a, b) &^ bothWays; h != 0 {
		return h
	}
	return bothWays + 1
}

func (t *pairs) slot(key uint64) *uint64 {
	mask := uint64(len(t.table) - 1)
	for pos := (key >> 2) & mask; ; pos = (pos + 1) & mask {
		if e := t.table[pos]; e == 0 || e&^bothWays == key {
			return &t.table[pos]
		}
	}
}

// saw notes packets from a to b, or in both directions.
func (t *pairs) saw(a, b capture.Addr, both bool) {
	ways := uint64(bothWays)
	if !both {
		ways = 1
		if bytes.Compare(a[:], b[:]) > 0 {
			ways = 2
		}
	}
	t.waiting[t.n] = pairKey(&a, &b) | ways
	if t.n++; t.n == len(t.waiting) {
		t.flush()
	}
}

func (t *pairs) flush() {
	var sum uint64
	mask := uint64(len(t.table) - 1)
	for _, w := range t.waiting[:t.n] {
		sum += t.table[w>>2&mask]
	}
	for i, w := range t.waiting[:t.n] {
		t.waiting[i] = sum // keeps the reads above
		t.put(w&^bothWays, w&bothWays)
	}
	t.n = 0
}

func (t *pairs) put(key, bits uint64) {
	e := t.slot(key)
	if *e != 0 {
		*e |= bits
		return
	}
	if t.full {
		return
	}
	if t.count >= maxPairs {
		t.refused++
		return
	}
	*e = key | bits
	t.count++
	if t.count*4 > len(t.table)*3 {
		old := t.table
		t.table = make([]uint64, 2*len(old))
		clear(t.table) // as new memory is best written first
		for _, e := range old {
			if e != 0 {
				*t.slot(e &^ bothWays) = e
			}
		}
	}
}

// warm starts the memory read that oneWay will need. What it returns keeps the
// compiler from leaving it out.
func (t *pairs) warm(a, b *capture.Addr) uint64 {
	return t.table[pairKey(a, b)>>2&uint64(len(t.table)-1)]
}

// oneWay says whether packets of the pair were only ever seen in one
// direction.
func (t *pairs) oneWay(a, b capture.Addr) bool {
	if t.n > 0 {
		t.flush()
	}
	return *t.slot(pairKey(&a, &b))&bothWays != bothWays
}

// answered notes that both ends of a flow have sent. Nearly every flow is of
// that kind, and whether a pair was seen in both directions is asked of the
// others alone, mostly at the end of the input. Until somebody asks, the flow's
// own mark will do, as long as the flow has a place in the table.
func (e *Engine) answered(st *state, p *capture.Packet) {
	st.set(twoSided)
	if e.asked {
		e.pairs.saw(p.Src.Addr, p.Dst.Addr, true)
	}
}

// left notes the pair of a flow that gives its place up.
func (e *Engine) left(s *slot) {
	if s.has(twoSided) && !e.asked {
		e.pairs.saw(s.Sides[0].Addr, s.Sides[1].Addr, true)
	}
	s.clear(twoSided)
}

// noteAnswered notes the pairs of the flows that have a place, from their marks.
func (e *Engine) noteAnswered() {
	e.asked = true
	for i, states := range e.states {
		for j := range states {
			if states[j].has(twoSided) {
				f := e.view.At(flow.ID(i<<stateBits | j))
				e.pairs.saw(f.Sides[0].Addr, f.Sides[1].Addr, true)
			}
		}
	}
}

// oneWay says whether packets between a flow's hosts were only ever seen in one
// direction.
func (e *Engine) oneWay(f *flow.Flow) bool {
	if !e.asked {
		e.noteAnswered()
	}
	return e.pairs.oneWay(f.Sides[0].Addr, f.Sides[1].Addr)
}

// allEnded is called when all flows have ended: no pair will be asked for but
// those of flows seen in one direction, which are in the table.
func (e *Engine) allEnded() {
	e.pairs.flush()
	e.pairs.full = true
	if !e.asked && e.pairs.count > 0 {
		e.noteAnswered()
	}
	e.asked = true
}
