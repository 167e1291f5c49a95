package classify

import (
	"runtime"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
)

// The functions below start memory reads that are needed soon, so that they
// overlap: a processor waits for each of them longer than it takes to deal with
// a packet. runtime.KeepAlive keeps the compiler from leaving the reads out.

// prefetchFlows starts the reads that tracking the packets of a batch needs.
func prefetchFlows(t *flow.Table, packets []capture.Packet) { runtime.KeepAlive(t.Warm(packets)) }

// prefetch starts the reads that taking in events needs: of what is kept of
// their flows, and of the payloads, which another processor may have. The turns of the
// loop do not depend on each other.
func (e *Engine) prefetch(packets []capture.Packet, events []flow.Event) {
	sum := uint64(0)
	for i := range events {
		ev := &events[i]
		if int(ev.Packet) < len(packets) {
			if data := packets[ev.Packet].Payload; len(data) > 0 {
				sum += uint64(data[0])
			}
		}
		// Whether it is the flow of the event before could not be guessed, and costs more
		// than to do it again.
		if chunk := int(ev.ID >> stateBits); chunk < len(e.flows.states) { // else it has not begun yet
			if ev.What&flow.Ended != 0 {
				sum += e.prefetchEnd(ev.ID)
			} else {
				sum += e.reader.Touch(&e.flows.states[chunk][ev.ID%stateChunk].State)
			}
		}
	}
	runtime.KeepAlive(sum)
}

// prefetchEnds starts the reads that the ends of flows need.
func (e *Engine) prefetchEnds(ids []flow.ID) {
	sum := uint64(0)
	for _, id := range ids {
		sum += e.prefetchEnd(id)
	}
	runtime.KeepAlive(sum)
}

// prefetchEnd starts the reads that the end of a flow needs. The caller keeps
// the result alive.
func (e *Engine) prefetchEnd(id flow.ID) uint64 {
	f, st := e.flows.view.At(id), e.flows.stateOf(id)
	sum := f.Number + uint64(f.Proto)
	if !f.BothWays() {
		sum += e.inventory.Pairs.Touch(&f.Sides[0].Addr, &f.Sides[1].Addr)
	}
	return sum + e.reader.TouchEnd(&st.State)
}
