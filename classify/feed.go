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
	if src, ok := src.(capture.Pieces); ok && parallel && e.traffic == nil && e.cfg.Interim == 0 {
		return e.relay(src, each)
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

// maxRunners is how many goroutines relay a source: more would wait for each other.
const maxRunners = 3

// relay is how goroutines, the runners, share a source. In turn they take some
// pieces of it, each through all that is to be done, so that what a runner has read
// stays in the cache of its processor. A stage is done for one piece after the other.
type relay struct {
	engine *Engine
	src    capture.Pieces
	each   func(*capture.Batch) error

	// The stages, and what belongs to whose turn it is there.
	decode turns
	ended  bool
	srcErr error

	track turns
	sums  tracked

	take    turns
	takeErr error
	failed  atomic.Bool
}

// perTurn is how many pieces a runner takes at a time: enough to make passing on the
// turn cheap, and not more than a processor's own cache keeps until they are read.
const perTurn = 4

// step is a batch on its way through the stages.
type step struct {
	batch   *capture.Batch
	events  []flow.Event
	view    flow.View
	tracked tracked
	// For the table: flows whose payload is not wanted any more, and then flows whose
	// places are free.
	quieted, freed []flow.ID
}

// relay feeds the engine with several goroutines.
func (e *Engine) relay(src capture.Pieces, each func(*capture.Batch) error) error {
	n := min(max(runtime.GOMAXPROCS(0), 2), maxRunners)
	r := &relay{engine: e, src: src, each: each, sums: e.tracked, decode: newTurns(n), track: newTurns(n), take: newTurns(n)}
	steps := make([][]step, n)
	e.ahead = true
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { steps[i] = r.run(i, n) })
	}
	all.Wait()
	// The table is the engine's alone again.
	e.ahead = false
	for i := range steps {
		for k := range steps[i] {
			e.tell(&steps[i][k])
		}
	}
	e.tell(&step{quieted: e.quieted, freed: e.freed})
	e.quieted, e.freed = nil, nil
	return errors.Join(r.takeErr, r.srcErr)
}

// run takes pieces through the stages: those of runner i of n. It returns what the
// table is still to be told.
func (r *relay) run(i, n int) []step {
	var batches []*capture.Batch
	var steps []step
	fetched := i * perTurn
	for number := i; ; number += n {
		for ; fetched < (number+1)*perTurn; fetched++ {
			r.src.Fetch(fetched)
		}

		r.decode.wait(i)
		batches = batches[:0]
		r.ended = r.ended || r.failed.Load()
		for k := 0; k < perTurn && !r.ended; k++ {
			var err error
			if batches, err = r.src.Decode(batches); err != nil {
				r.ended, r.srcErr = true, notEOF(err)
			}
		}
		ended := r.ended
		r.decode.pass(i)
		if ended && len(batches) == 0 {
			return steps
		}

		r.track.wait(i)
		for len(steps) < len(batches) {
			steps = append(steps, step{})
		}
		for k := range steps {
			r.engine.tell(&steps[k])
		}
		for k, b := range batches {
			steps[k].batch = b
			r.engine.track(&steps[k], &r.sums)
		}
		r.track.pass(i)

		// The longest stage. Whose turn has not come fetches meanwhile.
		fetched = (number + n) * perTurn
		for ; fetched < (number+n+1)*perTurn && !r.take.come(i); fetched++ {
			r.src.Fetch(fetched)
		}
		r.take.wait(i)
		for k := range batches {
			if r.takeErr == nil {
				if r.takeErr = r.each(batches[k]); r.takeErr == nil {
					r.takeErr = r.engine.takeStep(&steps[k])
				}
				r.failed.Store(r.takeErr != nil)
			}
		}
		r.take.pass(i)
		for _, b := range batches {
			b.Release()
		}
	}
}

// track tracks the flows of a batch.
func (e *Engine) track(st *step, sums *tracked) {
	b, t := st.batch, e.table
	st.events = st.events[:0]
	if b.Tick != 0 {
		st.events = t.Idle(b.Tick, st.events)
	}
	for i := 0; i < len(b.Packets); {
		n := min(len(b.Packets), i+flow.WarmSize)
		sums.warmth += t.Warm(b.Packets[i:n])
		st.events = t.Follow(b.Packets[:n], i, st.events)
		i = n
	}
	sums.note(t, b)
	st.view, st.tracked = t.View, *sums
}

// tell tells the table what a step brought back.
func (e *Engine) tell(st *step) {
	for _, id := range st.quieted {
		e.table.Quiet(id)
	}
	for _, id := range st.freed {
		e.table.Free(id)
	}
	st.quieted, st.freed = st.quieted[:0], st.freed[:0]
}

// takeStep takes in a batch that was tracked.
func (e *Engine) takeStep(st *step) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view, e.tracked, e.stats = st.view, st.tracked, st.batch.Stats
	e.takeAll(st.batch.Packets, st.events)
	if cap(st.events) > maxEvents {
		st.events = nil // many flows ended at once: that is not kept for the next time
	}
	st.quieted, e.quieted = e.quieted, st.quieted
	st.freed, e.freed = e.freed, st.freed
	return e.sinkErr
}

// free gives the place of a flow back to the table.
func (e *Engine) free(id flow.ID) {
	if e.ahead {
		e.freed = append(e.freed, id)
	} else {
		e.table.Free(id)
	}
}

// turns lets runners through one after the other, again and again: whose turn has
// come finds something in the channel of its number.
type turns []chan struct{}

// spins is how often a runner looks whether its turn has come before it falls
// asleep, for about a tenth of a millisecond: to be woken takes longer than most
// waits.
const spins = 400

func newTurns(n int) turns {
	t := make(turns, n)
	for i := range t {
		t[i] = make(chan struct{}, 1)
	}
	t[0] <- struct{}{}
	return t
}

// come says whether the turn of runner i has come.
func (t turns) come(i int) bool { return len(t[i]) > 0 }

// wait waits for the turn of runner i.
func (t turns) wait(i int) {
	for n := 0; n < spins && !t.come(i); n++ {
		runtime.Gosched()
	}
	<-t[i]
}

// pass ends the turn of runner i.
func (t turns) pass(i int) { t[(i+1)%len(t)] <- struct{}{} }
