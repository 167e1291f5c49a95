package flow

import "sync/atomic"

const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
)

// chunk holds flows side by side, and for each whether its payload is wanted.
type chunk struct {
	flows [chunkSize]Flow
	quiet [chunkSize / 32]atomic.Uint32
}

// View finds flows by their ID. A copy of a table's finds those that were there
// when it was made, in another goroutine too.
type View struct {
	chunks []*chunk
}

// At returns a flow.
func (v View) At(id ID) *Flow {
	return &v.chunks[id>>chunkBits].flows[id&(chunkSize-1)]
}

// Quiet says that nobody wants the payload of a flow any more, until its ID is
// given to another flow. Follow then leaves out the packets that have nothing
// else to say, sooner or later.
func (v View) Quiet(id ID) { v.setQuiet(id, true) }

func (v View) setQuiet(id ID, on bool) {
	word, bit := &v.chunks[id>>chunkBits].quiet[id%chunkSize/32], uint32(1)<<(id%32)
	switch {
	case on:
		word.Or(bit)
	case word.Load()&bit != 0:
		word.And(^bit)
	}
}

func (v View) isQuiet(id ID) bool {
	return v.chunks[id>>chunkBits].quiet[id%chunkSize/32].Load()&(1<<(id%32)) != 0
}

// Held is a list of ended flows, in order of their end. The flows keep their
// places in the table.
type Held struct {
	first, last ID
	count       int
}

// Push puts a flow at the end.
func (h *Held) Push(v View, id ID) {
	v.At(id).link = 0
	if h.last == 0 {
		h.first = id
	} else {
		v.At(h.last).link = uint32(id)
	}
	h.last = id
	h.count++
}

// Len returns the number of flows.
func (h *Held) Len() int { return h.count }

// First returns the flow that ended first, or 0.
func (h *Held) First() ID { return h.first }

// Pop takes the flow that ended first off the list, and returns it or 0.
func (h *Held) Pop(v View) ID {
	id := h.first
	if id != 0 {
		h.first = ID(v.At(id).link)
		if h.first == 0 {
			h.last = 0
		}
		h.count--
	}
	return id
}
