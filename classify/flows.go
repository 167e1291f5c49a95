package classify

import (
	"iter"
	"slices"
	"unsafe"

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
	face  uint8 // into Config.Interfaces, of the first packet
}

// mark is a set of what happened to a flow.
type mark uint8

// The marks.
const (
	prohibited mark = 1 << iota // ICMP: administratively prohibited
	refused                     // ICMP: port unreachable
	twoSided                    // both ends have sent, and the pair of hosts was not told yet
	ended                       // the flow has ended
	isLeg                       // legs has taken the flow in
	mailLeg                     // and it carries mail protocols rather than HTTP
	inTunnel                    // tunnels knows the flow
)

func (s *state) has(m mark) bool { return s.marks&m != 0 }
func (s *state) set(m mark)      { s.marks |= m }
func (s *state) clear(m mark)    { s.marks &^= m }

const (
	stateBits  = 12
	stateChunk = 1 << stateBits
)

// flows are the flows of the table, with their states. While several goroutines
// share a source, the table is used by another one, which may be ahead; the view
// finds the flows that it has told of.
type flows struct {
	table  *flow.Table
	view   flow.View
	states []*[stateChunk]state
	vlans  map[flow.ID][]capture.VLANs // tag stacks besides that of the first packet
	events []flow.Event                // used again for each batch
	freed  []flow.ID                   // places to be given back to the table
	used   int                         // places taken and not freed

	maxMarked int    // of vlans
	unmarked  uint64 // tag stacks not noted for that
}

// slot is a flow with its state, once the flow has ended or while no other
// goroutine deals with it.
type slot struct {
	*flow.Flow
	*state
	id flow.ID
}

// ends returns both ends where they lie.
func (s *slot) ends() (client, server *capture.Endpoint) {
	side := s.Ends.Side(observe.ToServer) & 1
	return &s.Sides[side], &s.Sides[side^1]
}

// stateOf returns the state of a flow.
func (f *flows) stateOf(id flow.ID) *state { return &f.states[id>>stateBits][id%stateChunk] }

// marked returns the flows with a mark, of those that have a place or had it last.
func (f *flows) marked(m mark) iter.Seq[flow.ID] {
	return func(yield func(flow.ID) bool) {
		for i, states := range f.states {
			for j := range states {
				if states[j].has(m) && !yield(flow.ID(i<<stateBits|j)) {
					return
				}
			}
		}
	}
}

// at returns a flow that has ended, or with which no other goroutine deals.
func (f *flows) at(id flow.ID) slot { return slot{f.view.At(id), f.stateOf(id), id} }

// begin makes the state of a new flow.
func (f *flows) begin(id flow.ID, ends flow.Ends) {
	for int(id>>stateBits) >= len(f.states) {
		states := new([stateChunk]state)
		clear(states[:]) // as new memory is best written first
		f.states = append(f.states, states)
	}
	*f.stateOf(id) = state{State: session.State{Ends: ends}}
	f.used++
}

// addVLANs notes a tag stack other than that of the flow's first packet.
func (f *flows) addVLANs(id flow.ID, v capture.VLANs) {
	const most = 8
	known := f.vlans[id]
	switch {
	case len(known) == most || slices.Contains(known, v):
	case known == nil && len(f.vlans) >= f.maxMarked:
		f.unmarked++
	default:
		f.vlans[id] = append(known, v)
	}
}

// free frees the place of a flow, once giveBack is called.
func (f *flows) free(id flow.ID) {
	if len(f.vlans) > 0 {
		delete(f.vlans, id)
	}
	f.freed = append(f.freed, id)
	f.used--
}

// giveBack tells the table which flows' payload is not wanted any more, and
// which places are free.
func (f *flows) giveBack(quiet, freed []flow.ID) {
	for _, id := range quiet {
		f.table.Quiet(id)
	}
	for _, id := range freed {
		f.table.Free(id)
	}
}

// memory returns the bytes that the states take.
func (f *flows) memory() int { return len(f.states) * int(unsafe.Sizeof([stateChunk]state{})) }
