package classify

import "github.com/exspan/exspan/classify/flow"

// interimBatch is how many interim records are written between two batches of
// packets at most, so that a capture is not kept waiting.
const interimBatch = 256

// interim is the state of interim records.
type interim struct {
	due  int64   // Engine.passed of the next ones
	last int64   // packet time of the last ones
	todo []birth // flows whose records are still to be written
}

// writeInterim writes a record of every live flow that had packets since the
// last time, a few at a time.
func (e *Engine) writeInterim() {
	now, in := e.passed, &e.interim
	if e.cfg.Interim == 0 || len(in.todo) == 0 && now < in.due {
		return
	}
	if len(in.todo) == 0 {
		if in.due != 0 {
			e.flows.table.All(func(id flow.ID, f *flow.Flow) bool {
				if f.Last > in.last {
					in.todo = append(in.todo, birth{id, f.Number, 0})
				}
				return true
			})
		}
		in.last = e.clock
		in.due = now + int64(e.cfg.Interim)
	}
	n := max(len(in.todo)-interimBatch, 0)
	for _, b := range in.todo[n:] {
		s := e.flows.at(b.id)
		if s.Number != b.number || s.has(ended) {
			continue
		}
		sub := e.subjectOf(&s, e.outcomeOf(&s))
		e.write(&s, sub, e.verdictOf(sub), "active")
	}
	if in.todo = in.todo[:n]; n == 0 && cap(in.todo) > 1<<16 {
		in.todo = nil
	}
}
