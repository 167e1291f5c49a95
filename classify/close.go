package classify

import "github.com/exspan/exspan/classify/flow"

// Close ends all flows, writes what is open and closes the sink. errs is what
// damaged the input.
func (e *Engine) Close(errs []error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clock = e.table.Clock()
	e.view = e.table.View
	final, finished := e.emitAll, func() {}
	if e.beside {
		final, finished = e.emitBeside()
	}
	e.table.EndAll(func(ids []flow.ID) {
		for _, id := range ids {
			s := e.at(id)
			e.finishReading(&s)
			e.pass(&s)
		}
	}, func(ids []flow.ID) {
		// What waited is final now, at once.
		if !e.closing {
			e.closing = true
			e.allEnded()
		}
		for _, id := range ids {
			if f := e.view.At(id); !f.BothWays() {
				e.warmth += e.pairs.warm(&f.Sides[0].Addr, &f.Sides[1].Addr)
			}
		}
		final(ids)
	})
	finished()
	e.held = flow.Held{}
	sum := e.summary(errs)
	if err := e.sink.Close(sum); err != nil && e.sinkErr == nil {
		e.sinkErr = err
	}
	return e.sinkErr
}

// emitAll judges flows and writes their records.
func (e *Engine) emitAll(ids []flow.ID) {
	for _, id := range ids {
		s := e.at(id)
		e.emit(&s, true)
	}
}

// judged is a flow on its way from the rules to the sink.
type judged struct {
	slot    slot
	subject subject
	outcome Outcome
	verdict *Verdict
}

// emitBeside returns what does the same on two processors: a function that judges
// flows, while another goroutine writes the records of those before them; and one
// that waits for the last record. To judge a flow nothing is read that a record
// changes.
func (e *Engine) emitBeside() (emit func([]flow.ID), wait func()) {
	const runs = 8
	ready, back, done := make(chan []judged, runs), make(chan []judged, runs), make(chan struct{})
	for range runs {
		back <- make([]judged, flow.WarmSize)
	}
	go func() {
		defer close(done)
		for run := range ready {
			for i := range run {
				j := &run[i]
				e.last(&j.slot, &j.subject, j.outcome, j.verdict)
			}
			back <- run
		}
	}()
	emit = func(ids []flow.ID) {
		run := (<-back)[:len(ids)]
		for i, id := range ids {
			j := &run[i]
			j.slot = e.at(id)
			e.describe(&j.subject, &j.slot)
			j.outcome = e.outcomeOf(&j.slot)
			j.verdict = e.verdictOf(&j.subject, j.outcome)
		}
		ready <- run
	}
	wait = func() {
		close(ready)
		<-done
	}
	return emit, wait
}
