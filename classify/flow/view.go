package flow

import "github.com/exspan/exspan/capture"

const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
)

// chunk holds flows side by side. It is large enough to lie on a page of its own,
// so that flows lie on cache lines.
type chunk struct {
	flows [chunkSize]Flow
	cold  [chunkSize]cold
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

// Tunnel returns what carried the first packet of a flow.
func (v View) Tunnel(id ID) capture.TunnelID { return v.cold(id).tunnel }

func (v View) cold(id ID) *cold {
	return &v.chunks[id>>chunkBits].cold[id&(chunkSize-1)]
}

// Held is a list of ended flows, in order of their end. The flows keep their
// places in the table.
type Held struct {
	first, last ID
	count       int
}

// Push puts a flow at the end, with the second since which it waits.
func (h *Held) Push(v View, id ID, since uint32) {
	r := v.cold(id)
	r.link, r.prev = 0, since
	if h.last == 0 {
		h.first = id
	} else {
		v.cold(h.last).link = uint32(id)
	}
	h.last = id
	h.count++
}

// Len returns the number of flows.
func (h *Held) Len() int { return h.count }

// Since returns the second since which the flow that ended first waits.
func (h *Held) Since(v View) uint32 { return v.cold(h.first).prev }

// Pop takes the flow that ended first off the list, and returns it or 0.
func (h *Held) Pop(v View) ID {
	id := h.first
	if id != 0 {
		h.first = ID(v.cold(id).link)
		if h.first == 0 {
			h.last = 0
		}
		h.count--
	}
	return id
}
