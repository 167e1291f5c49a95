package classify

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
)

// maxEvents is how many events there is room for from one batch to the next.
const maxEvents = 1 << 14

// Feed takes in all that a source delivers, with parallel by some goroutines at
// once if it comes in pieces; what comes out is the same. each is called
// with every batch before its content is read; an error of it ends the feeding, as
// does one of the source other than io.EOF, or of the sink. Batches have less than
// 65,536 packets.
//
// Snapshot then tells of what was tracked and read. An engine that counts
// traffic as it passes, or writes interim records, does all in one goroutine.
func (e *Engine) Feed(src capture.Source, parallel bool, each func(*capture.Batch) error) error {
	if src, ok := src.(capture.Pieces); ok && parallel && e.ledger == nil && e.cfg.Interim == 0 {
		return e.share(src, each)
	}
	for {
		b, err := src.Read()
		if err != nil {
			return notEOF(err)
		}
		if err = each(b); err == nil {
			err = e.Batch(b)
		}
		b.Release()
		if err != nil {
			return err
		}
	}
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// maxCrew is how many goroutines share a source: more would wait for each other.
const maxCrew = 3

const (
	// fetchAhead is how many pieces are fetched before they are decoded, at most.
	fetchAhead = 3
	// trackAhead is how many pieces are tracked before the engine takes them in, at
	// most. More of them would not stay in the processors' caches meanwhile.
	trackAhead = 3
)

// crew is how goroutines share a source that comes in pieces. The first one is in the
// engine, and the second one decodes and tracks, so that what either keeps of flows
// stays in the cache of one processor; both do piece after piece. Whoever cannot go
// on fetches a piece that is wanted soon.
type crew struct {
	engine *Engine
	src    capture.Pieces
	each   func(*capture.Batch) error

	mu       sync.Mutex // of all below but portions and sums
	changed  sync.Cond
	changes  atomic.Uint32 // how often mu was left with something new
	asleep   int
	fetching int              // the piece to be fetched next
	fetched  [fetchAhead]bool // the pieces that were
	tracked  int              // the piece to be decoded and tracked next
	taken    int              // the piece that the engine takes in next
	ended    bool             // no piece is tracked any more
	srcErr   error
	takeErr  error

	portions [trackAhead]portion
	sums     tracked
}

// portion is what the engine is given of a piece.
type portion struct {
	batches []*capture.Batch
	steps   []step // of each batch, and maybe older ones
}

// step is what goes with a batch from the table to the engine and back.
type step struct {
	events  []flow.Event
	view    flow.View
	tracked tracked
	// For the table: flows whose payload is not wanted any more, and then flows whose
	// places are free.
	quieted, freed []flow.ID
}

// share feeds the engine with several goroutines.
func (e *Engine) share(src capture.Pieces, each func(*capture.Batch) error) error {
	e.parallel = true
	c := &crew{engine: e, src: src, each: each, sums: e.counts.tracked}
	c.changed.L = &c.mu
	var all sync.WaitGroup
	for i := range min(max(runtime.GOMAXPROCS(0), 2), maxCrew) - 1 {
		all.Go(func() { c.work(i + 1) })
	}
	c.work(0) // here, as what follows uses the engine too
	all.Wait()
	// The table is the engine's alone again.
	for i := range c.portions {
		e.tell(c.portions[i].steps)
	}
	e.giveBack()
	return errors.Join(c.takeErr, c.srcErr)
}

// work is what goroutine i does.
func (c *crew) work(i int) {
	c.mu.Lock() // not to be unlocked by defer, as it is not locked where something panics
	for {
		switch {
		case i == 0 && c.taken < c.tracked:
			p, err := &c.portions[c.taken%trackAhead], c.takeErr
			c.unlocked(func() { err = c.take(p, err) })
			c.takeErr = err
			c.taken++
		case i == 1 && !c.ended && c.takeErr != nil:
			c.ended = true
		case i == 1 && !c.ended && c.fetched[c.tracked%fetchAhead] && c.tracked < c.taken+trackAhead:
			p, err := &c.portions[c.tracked%trackAhead], error(nil)
			c.unlocked(func() { err = c.track(p) })
			c.ended, c.srcErr = err != nil, notEOF(err)
			c.fetched[c.tracked%fetchAhead] = false
			c.tracked++
		case !c.ended && c.fetching < c.tracked+fetchAhead:
			n := c.fetching
			c.fetching++
			c.unlocked(func() { c.src.Fetch(n) })
			c.fetched[n%fetchAhead] = true
		case c.ended && (i != 0 || c.taken == c.tracked):
			c.mu.Unlock()
			return
		default:
			c.wait()
			continue
		}
		c.changes.Add(1)
		if c.asleep > 0 {
			c.changed.Broadcast()
		}
	}
}

// unlocked does what takes its time.
func (c *crew) unlocked(f func()) {
	c.mu.Unlock()
	f()
	c.mu.Lock()
}

// spins is how often a goroutine looks for a change before it sleeps, for about a tenth
// of a millisecond: to be woken takes longer than most waits.
const spins = 100_000

// wait waits until another goroutine has changed something.
func (c *crew) wait() {
	seen := c.changes.Load()
	c.mu.Unlock()
	for n := 0; n < spins && c.changes.Load() == seen; n++ {
	}
	c.mu.Lock()
	for c.changes.Load() == seen {
		c.asleep++
		c.changed.Wait()
		c.asleep--
	}
}

// track decodes the next piece and tracks its flows.
func (c *crew) track(p *portion) (err error) {
	c.engine.tell(p.steps)
	p.batches, err = c.src.Decode(p.batches[:0])
	for len(p.steps) < len(p.batches) {
		p.steps = append(p.steps, step{})
	}
	for i, b := range p.batches {
		c.engine.track(b, &p.steps[i], &c.sums)
	}
	return err
}

// take lets the engine take in a piece, unless there was an error.
func (c *crew) take(p *portion, err error) error {
	for i, b := range p.batches {
		if err == nil {
			err = c.each(b)
		}
		if err == nil {
			err = c.engine.takeStep(b, &p.steps[i])
		}
		b.Release()
	}
	return err
}

// track tracks the flows of a batch.
func (e *Engine) track(b *capture.Batch, st *step, sums *tracked) {
	t := e.flows.table
	st.events = st.events[:0]
	if b.Tick != 0 {
		st.events = t.Idle(b.Tick, st.events)
	}
	for i := 0; i < len(b.Packets); {
		n := min(len(b.Packets), i+flow.WarmSize)
		prefetchFlows(t, b.Packets[i:n])
		st.events = t.Follow(b.Packets[:n], i, st.events)
		i = n
	}
	sums.note(t, b)
	st.view, st.tracked = t.View, *sums
}

// tell tells the table what steps brought back.
func (e *Engine) tell(steps []step) {
	for i := range steps {
		st := &steps[i]
		e.flows.giveBack(st.quieted, st.freed)
		st.quieted, st.freed = st.quieted[:0], st.freed[:0]
	}
}

// takeStep takes in a batch that was tracked.
func (e *Engine) takeStep(b *capture.Batch, st *step) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flows.view, e.counts.tracked, e.counts.source = st.view, st.tracked, b.Stats
	e.tunnels.table = b.Tunnels
	e.takeAll(b.Packets, st.events)
	if cap(st.events) > maxEvents {
		st.events = nil // many flows ended at once: that is not kept for the next time
	}
	st.quieted, e.reader.Quiet = e.reader.Quiet, st.quieted
	st.freed, e.flows.freed = e.flows.freed, st.freed
	return e.out.err
}
