package classify

import (
	"errors"
	"io"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
)

// step is a batch whose packets the table has tracked, on its way from the
// goroutine that does so to the one that reads flows.
type step struct {
	batch   *capture.Batch
	events  []flow.Event
	view    flow.View
	tracked tracked
	// On the way back: flows whose payload is not wanted any more, and then flows
	// whose places are free.
	quieted, freed []flow.ID
}

// stepsAhead is how many batches the table is ahead at most: few, so that what it
// has read is still in the processor's cache, and enough for the two goroutines
// to seldom wait for each other.
const stepsAhead = 8

// maxEvents is how many events there is room for from one batch to the next.
const maxEvents = 1 << 14

// Feed takes in all that a source delivers. With ahead it reads the source and
// tracks flows in a goroutine of its own, a few batches ahead of the rest of the
// work; what comes out is the same. each is called with every batch before its
// content is read; an error of it ends the feeding, as does one of the source
// other than io.EOF, or of the sink. Batches have less than 65,536 packets.
//
// Snapshot then tells of what was tracked and read. An engine that counts
// traffic as it passes, or writes interim records, is never ahead.
func (e *Engine) Feed(src capture.Source, ahead bool, each func(*capture.Batch) error) error {
	if !ahead || e.traffic != nil || e.cfg.Interim != 0 {
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
	steps, back := make(chan *step, stepsAhead), make(chan *step, stepsAhead)
	for range stepsAhead {
		back <- &step{}
	}
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(steps)
		failed <- e.track(src, steps, back, stop)
	}()
	e.ahead = true
	var err error
	var taken []*step
	for st := range steps {
		if err == nil {
			if err = each(st.batch); err == nil {
				err = e.takeStep(st)
			}
			if err != nil {
				close(stop)
			}
		}
		st.batch.Release()
		// Waking the other goroutine costs more than tracking a hundred packets: it is
		// done for some batches at once, unless it is waited for.
		if taken = append(taken, st); len(taken) >= stepsAhead/2 || len(steps) == 0 {
			for _, st := range taken {
				back <- st
			}
			taken = taken[:0]
		}
	}
	for _, st := range taken {
		back <- st
	}
	// The table is the engine's alone again.
	e.ahead = false
	for range stepsAhead {
		e.tell(<-back)
	}
	e.tell(&step{quieted: e.quieted, freed: e.freed})
	e.quieted, e.freed = nil, nil
	return errors.Join(err, <-failed)
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// track tracks the flows of all that a source delivers.
func (e *Engine) track(src capture.Source, steps chan<- *step, back <-chan *step, stop <-chan struct{}) error {
	sums := e.tracked
	for {
		b, err := src.Read()
		if err != nil {
			return notEOF(err)
		}
		var st *step
		select {
		case st = <-back:
		case <-stop:
			b.Release()
			return nil
		}
		e.tell(st)
		st.batch, st.events = b, st.events[:0]
		if b.Tick != 0 {
			st.events = e.table.Idle(b.Tick, st.events)
		}
		for i := 0; i < len(b.Packets); {
			n := min(len(b.Packets), i+flow.WarmSize)
			sums.warmth += e.table.Warm(b.Packets[i:n])
			st.events = e.table.Follow(b.Packets[:n], i, st.events)
			i = n
		}
		sums.note(e.table, b)
		st.view, st.tracked = e.table.View, sums
		steps <- st // has room for every step there is
	}
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
