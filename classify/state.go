package classify

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/session"
)

// state is what the engine keeps of a flow beside the table's counters: indexes
// only, so that nothing in it points anywhere.
type state struct {
	session.State
	label uint16 // into ledger.paths, plus one: where the flow's bytes are counted; 0 while pending
	marks mark
}

// mark is a set of what happened to a flow.
type mark uint8

// The marks.
const (
	prohibited mark = 1 << iota // ICMP: administratively prohibited
	refused                     // ICMP: port unreachable
	twoSided                    // both ends have sent, and the pair of hosts was not told yet
	ended                       // the flow has ended
)

func (s *state) has(m mark) bool { return s.marks&m != 0 }
func (s *state) set(m mark)      { s.marks |= m }
func (s *state) clear(m mark)    { s.marks &^= m }

const (
	stateBits  = 12
	stateChunk = 1 << stateBits
)

// stateOf returns the state of a flow.
func (e *Engine) stateOf(id flow.ID) *state { return &e.states[id>>stateBits][id%stateChunk] }

// begin makes the state of a new flow.
func (e *Engine) begin(p *capture.Packet, id flow.ID) {
	for int(id>>stateBits) >= len(e.states) {
		states := new([stateChunk]state)
		clear(states[:]) // as new memory is best written first
		e.states = append(e.states, states)
	}
	ends := flow.Guess(p, func(end capture.Endpoint, proto uint8) bool { return e.inventory.Known(&end, proto, e.clock) })
	e.states[id>>stateBits][id%stateChunk] = state{State: session.State{Ends: ends}}
}

// slot is a flow with its state, once the flow has ended or while no other
// goroutine deals with it.
type slot struct {
	*flow.Flow
	*state
	id flow.ID
}

// at returns a flow that has ended, or with which no other goroutine deals.
func (e *Engine) at(id flow.ID) slot { return slot{e.view.At(id), e.stateOf(id), id} }

// ends returns both ends where they lie.
func (s *slot) ends() (client, server *capture.Endpoint) {
	side := s.Ends.Side(observe.ToServer)
	return &s.Sides[side], &s.Sides[1-side]
}
