package classify

import (
	"bytes"

	"github.com/exspan/exspan/capture"
)

// maxPairs bounds the host pairs whose directions are remembered.
const maxPairs = 4 << 20

// pairs remembers for every host pair in which directions the sensor saw
// packets, so that a one-way SPAN port is not taken for a blocked path. An
// entry is the pair's hash with its two lowest bits replaced by the
// directions: 8 bytes a pair, in open addressing.
type pairs struct {
	table   []uint64
	count   int
	refused uint64
}

func newPairs() *pairs { return &pairs{table: make([]uint64, 1<<10)} }

// key returns the pair's hash without its lowest bits, and the direction bit
// of a packet from a to b.
func (t *pairs) key(a, b capture.Addr) (uint64, uint64) {
	bit := uint64(1)
	if bytes.Compare(a[:], b[:]) > 0 {
		bit = 2
	}
	h := capture.Hash(capture.Endpoint{Addr: a}, capture.Endpoint{Addr: b}, 0) &^ 3
	if h == 0 {
		h = 4
	}
	return h, bit
}

func (t *pairs) slot(key uint64) *uint64 {
	mask := uint64(len(t.table) - 1)
	for pos := (key >> 2) & mask; ; pos = (pos + 1) & mask {
		if e := t.table[pos]; e == 0 || e&^3 == key {
			return &t.table[pos]
		}
	}
}

// saw notes a packet from a to b.
func (t *pairs) saw(a, b capture.Addr) {
	key, bit := t.key(a, b)
	e := t.slot(key)
	if *e != 0 {
		*e |= bit
		return
	}
	if t.count >= maxPairs {
		t.refused++
		return
	}
	*e = key | bit
	t.count++
	if t.count*4 > len(t.table)*3 {
		old := t.table
		t.table = make([]uint64, 2*len(old))
		for _, e := range old {
			if e != 0 {
				*t.slot(e &^ 3) = e
			}
		}
	}
}

// oneWay says whether packets of the pair were only ever seen in one
// direction.
func (t *pairs) oneWay(a, b capture.Addr) bool {
	key, _ := t.key(a, b)
	return *t.slot(key)&3 != 3
}
