package classify

import "github.com/exspan/exspan/classify/record"

// finalBatch is how many flows are judged while others are written.
const finalBatch = 256

// final is a flow whose last record is to be written.
type final struct {
	slot    slot
	subject subject
	verdict *record.Verdict
}

// finisher emits the flows that are left at the end of the input. One goroutine judges
// them; that of the engine looks up what is known of the next ones meanwhile, and
// writes those that were judged. Judging reads nothing that writing changes, so the
// records and their order are what emit writes.
type finisher struct {
	engine        *Engine
	next          []final // not judged yet
	judging       bool    // a batch was asked for and not taken back
	asked, judged chan []final
}

// newFinisher returns a finisher, or nil where one goroutine does all.
func (e *Engine) newFinisher() *finisher {
	if !e.parallel || e.ledger != nil || e.cfg.Explain != nil {
		return nil
	}
	f := &finisher{engine: e, next: make([]final, 0, finalBatch), asked: make(chan []final, 1), judged: make(chan []final, 1)}
	go f.judge()
	return f
}

// judge judges what it is asked for.
func (f *finisher) judge() {
	for batch := range f.asked {
		for i := range batch {
			batch[i].verdict = f.engine.verdictOf(&batch[i].subject)
		}
		f.judged <- batch
	}
}

// emit does what Engine.emit does with a flow that must be emitted, some of it later.
func (f *finisher) emit(s *slot) {
	e := f.engine
	s.set(ended)
	if e.countNothing(s) {
		return
	}
	if len(f.next) == cap(f.next) {
		f.turn()
	}
	f.next = f.next[:len(f.next)+1]
	to := &f.next[len(f.next)-1]
	sub := e.subjectOf(s, "")
	e.setOutcome(sub, s)
	// The engine's subject gets the room of the flow that was here before.
	to.slot, to.subject, sub.entries = *s, *sub, to.subject.entries
}

// turn gives the next flows to the judge, and writes those that it had.
func (f *finisher) turn() {
	var batch []final
	if f.judging {
		batch = <-f.judged
	} else {
		batch = make([]final, 0, finalBatch)
	}
	f.asked <- f.next
	f.judging, f.next = true, batch[:0]
	for i := range batch {
		d := &batch[i]
		f.engine.write(&d.slot, &d.subject, d.verdict, "ended")
		f.engine.leave(&d.slot)
	}
}

// close emits what is left.
func (f *finisher) close() {
	f.turn()
	f.turn()
	close(f.asked)
}
