package capture

import (
	"sync"
	"sync/atomic"
)

const (
	blockSize = 128 << 10 // one read(2)
	mergeSize = 64 << 10  // the same where several files are open
	smallSize = 8 << 10   // and where manyOpen are
	manyOpen  = 64        // files
	batchSize = 512       // packets, at most
	groupSize = 4         // batches that go from one goroutine to another at once
)

// block is a piece of the input that the payloads of some batches point into.
// It goes back where it came from when nobody refers to it.
type block struct {
	buf  []byte
	refs atomic.Int32
	pool *pool
	free func() // takes the place of pool where the memory is lent
}

func (b *block) release() {
	switch {
	case b.refs.Add(-1) > 0:
	case b.free != nil:
		b.free()
	default:
		b.pool.putBlock(b)
	}
}

// fileBatch is a Batch, the blocks it refers to and the array of its packets.
type fileBatch struct {
	array [batchSize]Packet // first, to begin where a cache line does
	n     int               // how many of array are in use
	Batch
	frames []Frame // of array, where frames are kept
	blocks []*block
	pool   *pool
}

// refer keeps k until the batch is released.
func (b *fileBatch) refer(k *block) {
	k.refs.Add(1)
	b.blocks = append(b.blocks, k)
}

func (b *fileBatch) done() {
	for _, k := range b.blocks {
		k.release()
	}
	b.blocks = b.blocks[:0]
	b.pool.putBatch(b)
}

// pool keeps blocks and batches for reuse. Both may come back from any
// goroutine. What came back last goes out first: it is still in the processor's
// cache, and what is seldom needed is seldom touched.
type pool struct {
	size    int // bytes of a block
	mu      sync.Mutex
	blocks  []*block
	batches []*fileBatch
}

// poolSize is how many blocks, and batches, a pool keeps: more than are in use at a
// time. What finds no room is garbage, which a short run never collects.
const poolSize = 64

func newPool(size int) *pool {
	return &pool{size: size, blocks: make([]*block, 0, poolSize), batches: make([]*fileBatch, 0, poolSize)}
}

// block returns a block of at least size bytes with one reference.
func (p *pool) block(size int) *block {
	var b *block
	if size <= p.size {
		p.mu.Lock()
		b, p.blocks = pop(p.blocks)
		p.mu.Unlock()
	}
	if b == nil {
		b = &block{buf: make([]byte, max(size, p.size)), pool: p}
	}
	b.refs.Store(1)
	return b
}

func (p *pool) putBlock(b *block) {
	if len(b.buf) > p.size {
		return // made for one large frame
	}
	p.mu.Lock()
	p.blocks = push(p.blocks, b)
	p.mu.Unlock()
}

func (p *pool) batch() *fileBatch {
	p.mu.Lock()
	var b *fileBatch
	b, p.batches = pop(p.batches)
	p.mu.Unlock()
	if b == nil {
		b = &fileBatch{pool: p, blocks: make([]*block, 0, 2)}
		b.release = b.done
	}
	b.n, b.Packets, b.Tick = 0, nil, 0
	return b
}

func (p *pool) putBatch(b *fileBatch) {
	p.mu.Lock()
	p.batches = push(p.batches, b)
	p.mu.Unlock()
}

func pop[T any](s []*T) (*T, []*T) {
	n := len(s) - 1
	if n < 0 {
		return nil, s
	}
	return s[n], s[:n]
}

func push[T any](s []*T, v *T) []*T {
	if len(s) == poolSize {
		return s
	}
	return append(s, v)
}
