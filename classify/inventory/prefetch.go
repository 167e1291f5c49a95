package inventory

import (
	"runtime"

	"github.com/exspan/exspan/capture"
)

// Touch starts the memory read that OneWay and Saw need for a pair. The caller
// keeps the result alive, or the compiler would leave the read out.
func (t *Pairs) Touch(a, b *capture.Addr) uint64 {
	return t.table[pairKey(a, b)>>2&uint64(len(t.table)-1)]
}

// prefetchWaiting starts the memory reads of the pairs that wait, so that their
// cache misses overlap.
func (t *Pairs) prefetchWaiting() {
	mask, sum := uint64(len(t.table)-1), uint64(0)
	for _, w := range t.waiting[:t.n] {
		sum += t.table[w>>2&mask]
	}
	runtime.KeepAlive(sum)
}
