package capture

import "sync/atomic"

const (
	blockSize = 128 << 10 // one read(2)
	mergeSize = 64 << 10  // the same where several files are open
	batchSize = 512       // packets, at most
	groupSize = 4         // batches that go from one goroutine to another at once
)

// block is a piece of the input that the payloads of some batches point into.
// It goes back to its pool when nobody refers to it.
type block struct {
	buf  []byte
	refs atomic.Int32
	pool *pool
}

func (b *block) release() {
	if b.refs.Add(-1) == 0 {
		b.pool.putBlock(b)
	}
}

// fileBatch is a Batch, the blocks it refers to and the array of its packets.
type fileBatch struct {
	array [batchSize]Packet // first, to begin where a cache line does
	n     int               // how many of array are in use
	Batch
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
	select {
	case b.pool.batches <- b:
	default:
	}
}

// pool keeps blocks and batches for reuse. Both may come back from any
// goroutine; there are never more than those that are in use plus a few.
type pool struct {
	size    int // bytes of a block
	blocks  chan *block
	batches chan *fileBatch
}

func newPool(size int) *pool {
	const n = 4 * groupSize // one group is being made, one waits, and as much is in use
	return &pool{size: size, blocks: make(chan *block, n), batches: make(chan *fileBatch, n)}
}

// block returns a block of at least size bytes with one reference.
func (p *pool) block(size int) *block {
	if size <= p.size {
		select {
		case b := <-p.blocks:
			b.refs.Store(1)
			return b
		default:
		}
	}
	b := &block{buf: make([]byte, max(size, p.size)), pool: p}
	b.refs.Store(1)
	return b
}

func (p *pool) putBlock(b *block) {
	if len(b.buf) > p.size {
		return // made for one large frame
	}
	select {
	case p.blocks <- b:
	default:
	}
}

func (p *pool) batch() *fileBatch {
	select {
	case b := <-p.batches:
		b.n, b.Packets, b.Tick = 0, nil, 0
		return b
	default:
	}
	b := &fileBatch{pool: p, blocks: make([]*block, 0, 2)}
	b.release = b.done
	return b
}
