package classify

import "github.com/exspan/exspan/classify/flow"

const (
	// interimBatch is how many interim records are written between two batches of
	// packets at most, so that a capture is not kept waiting.
	interimBatch = 256
	// interimWalk is how many places of flows are looked at meanwhile at most.
	interimWalk = 8192
)

// interim is the state of interim records.
type interim struct {
	due   int64   // Engine.passed of the next ones
	last  int64   // packet time of the last ones
	since int64   // packet time of those before
	next  flow.ID // the place to be looked at next; 0 when all were
}

// writeInterim writes a record of every live flow that had packets since the
// last time, a few at a time.
func (e *Engine) writeInterim() {
	now, in := e.passed(), &e.interim
	if e.cfg.Interim == 0 || in.next == 0 && now < in.due {
		return
	}
	if in.next == 0 {
		if in.due != 0 {
			in.next = 1
		}
		in.since, in.last = in.last, e.clock
		in.due = now + int64(e.cfg.Interim)
	}
	written, end := 0, flow.ID(len(e.flows.states))<<stateBits
	for range interimWalk {
		if in.next == 0 || written == interimBatch {
			return
		}
		if in.next >= end {
			in.next = 0
			return
		}
		s := e.flows.at(in.next)
		in.next++
		if s.Live() && s.Last > in.since && s.First <= in.last {
			sub := e.subjectOf(&s, e.outcomeOf(&s))
			e.write(&s, sub, e.verdictOf(sub), "active")
			written++
		}
	}
}
