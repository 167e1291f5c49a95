package inventory

import (
	"bytes"

	"github.com/exspan/exspan/capture"
)

// maxPairs bounds the host pairs whose directions are remembered, unless Limit does.
const maxPairs = 3 << 20

// bothWays stands for both direction bits of a pair.
const bothWays = 3

// Pairs remembers for every host pair in which directions the sensor saw
// packets, so that a one-way SPAN port is not taken for a blocked path. An
// entry is the pair's hash with its two lowest bits replaced by the
// directions: 8 bytes a pair, in open addressing.
type Pairs struct {
	// Asked is for the owner: whether a pair has been asked for.
	Asked bool

	table   []uint64
	count   int
	max     int // of count
	refused uint64
	// waiting holds what was seen and is not in the table yet: taken in together,
	// the cache misses of many overlap.
	waiting [64]uint64
	n       int
	// full says that no pair is added any more: what is noted is noted of those in
	// the table.
	full bool
}

func newPairs() Pairs { return Pairs{table: make([]uint64, 1<<10), max: maxPairs} }

// pairKey returns the pair's hash without its lowest bits.
func pairKey(a, b *capture.Addr) uint64 {
	if h := capture.HashPair(a, b) &^ bothWays; h != 0 {
		return h
	}
	return bothWays + 1
}

func (t *Pairs) slot(key uint64) *uint64 {
	mask := uint64(len(t.table) - 1)
	for pos := (key >> 2) & mask; ; pos = (pos + 1) & mask {
		if e := t.table[pos]; e == 0 || e&^bothWays == key {
			return &t.table[pos]
		}
	}
}

// Saw notes packets from a to b, or in both directions.
func (t *Pairs) Saw(a, b capture.Addr, both bool) {
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

func (t *Pairs) flush() {
	t.prefetchWaiting()
	for _, w := range t.waiting[:t.n] {
		t.put(w&^bothWays, w&bothWays)
	}
	t.n = 0
}

// Freeze takes no more pairs in: what is noted later is noted of the pairs that
// are there.
func (t *Pairs) Freeze() {
	t.flush()
	t.full = true
}

// Len returns the number of pairs.
func (t *Pairs) Len() int { return t.count }

// Memory returns the bytes that the table takes.
func (t *Pairs) Memory() int { return 8 * len(t.table) }

func (t *Pairs) put(key, bits uint64) {
	e := t.slot(key)
	if *e != 0 {
		*e |= bits
		return
	}
	if t.full {
		return
	}
	if t.count >= t.max {
		t.refused++
		return
	}
	*e = key | bits
	t.count++
	if t.count*4 > len(t.table)*3 { // never at max
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

// OneWay reports whether packets of the pair were only ever seen in one
// direction.
func (t *Pairs) OneWay(a, b capture.Addr) bool {
	if t.n > 0 {
		t.flush()
	}
	return *t.slot(pairKey(&a, &b))&bothWays != bothWays
}
