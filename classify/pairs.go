package classify

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
)

// noteAnswer notes that both ends of a flow have sent. Nearly every flow is of
// that kind, and whether a pair was seen in both directions is asked of the
// others alone, mostly at the end of the input. Until somebody asks, the flow's
// own mark will do, as long as the flow has a place in the table.
func (e *Engine) noteAnswer(st *state, p *capture.Packet) {
	st.set(twoSided)
	if e.inventory.Pairs.Asked {
		e.inventory.Pairs.Saw(p.Src.Addr, p.Dst.Addr, true)
	}
}

// notePair notes the pair of a flow that gives its place up.
func (e *Engine) notePair(s *slot) {
	if s.has(twoSided) && !e.inventory.Pairs.Asked {
		e.inventory.Pairs.Saw(s.Sides[0].Addr, s.Sides[1].Addr, true)
	}
	s.clear(twoSided)
}

// notePairs notes the pairs of the flows that have a place, from their marks.
func (e *Engine) notePairs() {
	e.inventory.Pairs.Asked = true
	for id := range e.flows.marked(twoSided) {
		f := e.flows.view.At(id)
		e.inventory.Pairs.Saw(f.Sides[0].Addr, f.Sides[1].Addr, true)
	}
}

// oneWay reports whether packets between a flow's hosts were only ever seen in
// one direction.
func (e *Engine) oneWay(f *flow.Flow) bool {
	if !e.inventory.Pairs.Asked {
		e.notePairs()
	}
	return e.inventory.Pairs.OneWay(f.Sides[0].Addr, f.Sides[1].Addr)
}

// pairsComplete is called when all flows have ended: no pair will be asked for but
// those of flows seen in one direction, which are in the table.
func (e *Engine) pairsComplete() {
	e.inventory.Pairs.Freeze()
	if !e.inventory.Pairs.Asked && e.inventory.Pairs.Len() > 0 {
		e.notePairs()
	}
	e.inventory.Pairs.Asked = true
}
