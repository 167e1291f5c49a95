package session

import (
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
)

// State is what a Reader keeps of every flow. Its owner stores it, and makes it
// when the flow begins; nothing in it points anywhere.
type State struct {
	// Ends says which end is the server.
	Ends    flow.Ends
	proto   uint8  // the protocol that names the flow: one plus its index; 0 for none
	flags   uint8  // tries, and the bits below
	conn    uint32 // the number of its conn while the flow is read, else 0
	content uint32 // the number of what is kept of its content, or 0
}

// The bits of State.flags. The lowest ones count the payloads in which no
// protocol was found.
const (
	triesMask = 1<<3 - 1
	spokeA    = 1 << 3 // A sent payload
	spokeB    = 1 << 4 // B sent payload
	foundLate = 1 << 5 // the protocol was not found by the flow's first bytes
	done      = 1 << 6 // nothing more is read
)

// Done reports whether nothing more of the flow is read.
func (s *State) Done() bool { return s.flags&done != 0 }

// Reading reports whether the flow is being read.
func (s *State) Reading() bool { return s.conn != 0 }

// Spoke reports whether a sender, 0 for A and 1 for B, sent payload while the
// flow was read.
func (s *State) Spoke(sender int) bool { return s.flags&(spokeA<<sender) != 0 }

// try counts a payload in which no protocol was found, and reports whether
// others are worth a look.
func (s *State) try() bool {
	s.flags++
	return s.flags&triesMask < maxTries
}

// content is what is kept of a flow that was read.
type content struct {
	facts   observe.Facts
	streams []observe.Stream
}

// contentBits says how many contents are made at a time.
const contentBits = 10

// contents holds contents by their number, which is never 0.
type contents struct {
	chunks []*[1 << contentBits]content
	free   []uint32
	last   uint32 // the highest number given out
	facts  int    // fact values in all of them
}

func (k *contents) at(n uint32) *content { return &k.chunks[n>>contentBits][n%(1<<contentBits)] }

// of returns the content of a flow, made if need be.
func (k *contents) of(s *State) *content {
	if s.content == 0 {
		if n := len(k.free); n > 0 {
			s.content = k.free[n-1]
			k.free = k.free[:n-1]
		} else {
			k.last++
			if int(k.last>>contentBits) >= len(k.chunks) {
				k.chunks = append(k.chunks, new([1 << contentBits]content))
			}
			s.content = k.last
		}
	}
	return k.at(s.content)
}

var noFacts observe.Facts

// Content returns what is known of a flow's content: the protocol that names
// the flow, which is one plus its index or 0, whether that was found later than
// by the flow's first bytes, and the facts.
func (r *Reader) Content(s *State) (protocol uint8, late bool, facts *observe.Facts) {
	protocol, late, facts = s.proto, s.flags&foundLate != 0, &noFacts
	switch {
	case s.conn != 0:
		c := r.conns.at(s.conn)
		facts = &c.facts
		if c.named {
			protocol, late = c.proto, c.flags&lateFind != 0
		}
	case s.content != 0:
		facts = &r.contents.at(s.content).facts
	}
	return protocol, late, facts
}

// Streams returns the media streams of a flow that has ended.
func (r *Reader) Streams(s *State) []observe.Stream {
	if s.content == 0 {
		return nil
	}
	return r.contents.at(s.content).streams
}

// Forget drops what is kept of a flow that has ended.
func (r *Reader) Forget(s *State) {
	if s.content == 0 {
		return
	}
	k := r.contents.at(s.content)
	r.Counts.Facts += uint64(k.facts.Dropped)
	r.contents.facts -= k.facts.Len()
	*k = content{}
	r.contents.free = append(r.contents.free, s.content)
	s.content = 0
}
