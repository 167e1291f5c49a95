package session

import (
	"unsafe"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
)

// State is what a Reader keeps of every flow. Its owner stores it, and makes it
// when the flow begins; nothing in it points anywhere.
type State struct {
	// Ends says which end is the server.
	Ends    flow.Ends
	proto   uint8 // the protocol that names the flow: one plus its index; 0 for none, or foreign
	flags   uint16
	conn    uint32 // the number of its conn while the flow is read, else 0
	content uint32 // the number of what is kept of its content, or 0
	search  search
}

// foreign is what State.proto is while no protocol names a flow that began with what
// no observer knows.
const foreign = 255

// Foreign reports whether the flow began with what no observer knows: the first
// bytes of a stream were seen, or so many datagrams that media would have shown
// themselves.
func (s *State) Foreign() bool { return s.proto == foreign }

// begunForeign notes that the first bytes of a side are of no protocol.
func (s *State) begunForeign() {
	if s.proto == 0 {
		s.proto = foreign
	}
}

// foreignDatagrams is the number of datagrams, looked at in vain, that make a flow a
// foreign one.
const foreignDatagrams = 5

// vain notes that nothing was found in a payload of n bytes. It reports whether
// that was the last one to be looked at.
func (s *State) vain(proto uint8, n int) bool {
	last := s.search.inVain(n)
	if proto == capture.UDP && s.search.bits&vainBits >= foreignDatagrams {
		s.begunForeign()
	}
	return last
}

// The bits of State.flags.
const (
	spokeA    = 1 << iota // A sent payload
	spokeB                // B sent payload
	foundLate             // the protocol was not found by the flow's first bytes
	done                  // nothing more is read
	midA                  // what A sends is not the first that it sends
	midB                  // the same of B
	reason                // why the flow was given up: a Reason, two bits
	_
	truncated // the snap length cut off bytes that might have told more
)

// Reason tells why a flow is read no further although it may have more to tell.
type Reason uint8

// The reasons.
const (
	NotGivenUp   Reason = iota
	Unrecognised        // nothing was found that an observer knows
	TooMany             // too many flows were being read
	TooMuch             // it would have to hold too much
)

func (r Reason) String() string {
	return [...]string{"", "unrecognised", "too-many", "too-much"}[r&3]
}

// GivenUp returns why the flow is read no further.
func (s *State) GivenUp() Reason { return Reason(s.flags / reason & 3) }

// Truncated reports whether the snap length of the capture cut off bytes of the flow that
// might have told more of its content.
func (s *State) Truncated() bool { return s.flags&truncated != 0 }

// Done reports whether nothing more of the flow is read.
func (s *State) Done() bool { return s.flags&done != 0 }

// Reading reports whether the flow is being read.
func (s *State) Reading() bool { return s.conn != 0 }

// Spoke reports whether a sender, 0 for A and 1 for B, sent payload while the
// flow was read.
func (s *State) Spoke(sender int) bool { return s.flags&(spokeA<<sender) != 0 }

// bothSpoke reports whether both sides have sent payload.
func (s *State) bothSpoke() bool { return s.flags&(spokeA|spokeB) == spokeA|spokeB }

// search is how far the search for a flow's protocol has come, once the flow is
// past the first bytes of a side.
//
// Any payload may then begin a message that can be read, and looking at each
// costs time, so those are looked at that probably begin one: the first ones
// after the other side has spoken, or after a pause. Time gives back what was
// looked at in vain, so a flow is given up that keeps sending what nobody
// knows, and not one that says something in between for hours.
type search struct {
	bits uint16 // see below
	last uint16 // the time of the last payload, in units of tick
}

// The bits of search.bits.
const (
	vainBits   = 1<<6 - 1 // payloads looked at in vain
	burstOne   = 1 << 6   // payloads looked at since the other side spoke, 3 bits
	burstBits  = 7 * burstOne
	fromB      = 1 << 9  // B sent the last payload
	paddingOne = 1 << 10 // zero bytes of A that may be padding, 3 bits; then those of B, 3 bits
)

const (
	// maxVain is the number of payloads that are looked at in vain before a flow is
	// given up.
	maxVain = 40
	// firstBytes is the number of payloads for which the first bytes of a side count:
	// a flow is given up if neither side begins with anything that is known.
	firstBytes = maxVain / 2
	// maxBurst is the number of payloads that are looked at in vain until the other
	// side speaks or the sender pauses.
	maxBurst = 6
	// minMessage is the number of bytes below which a payload is no try: it keeps a
	// connection alive, or is a part of a line.
	minMessage = 8
	tick       = 1 << 26 // ns, about a fifteenth of a second
	pause      = 4       // ticks between two messages of one side
	giveBack   = 64      // ticks after which one payload in vain is forgotten
)

// next reports whether a payload that was sent at a time is worth a look.
func (s *search) next(sender int, now int64) bool {
	t := uint16(uint64(now) / tick)
	gap := t - s.last
	s.last = t
	from := uint16(sender) * fromB
	if gap >= pause || s.bits&fromB != from {
		vain := s.bits & vainBits
		s.bits = s.bits&^(vainBits|burstBits|fromB) | from | vain - min(vain, gap/giveBack)
	}
	return s.bits&burstBits < maxBurst*burstOne
}

// firstInVain notes that nothing was found in the first n bytes of a side. It is
// followed by inVain.
func (s *search) firstInVain(n int) {
	if n >= minMessage {
		s.bits += min(firstBytes, maxVain-s.bits&vainBits) - 1
	}
}

// inVain notes that nothing was found in a payload of n bytes. It reports
// whether that was the last one to be looked at.
func (s *search) inVain(n int) bool {
	if n < minMessage {
		return false
	}
	s.bits += burstOne + 1
	return s.bits&vainBits >= maxVain
}

// padding returns the number of bytes of a sender that may be padding.
func (s *search) padding(sender int) uint8 { return uint8(s.bits>>(10+3*sender)) & 7 }

func (s *search) setPadding(sender int, n uint8) {
	shift := 10 + 3*sender
	s.bits = s.bits&^(7<<shift) | uint16(n)<<shift
}

// content is what is kept of a flow that was read.
type content struct {
	facts   observe.Facts
	streams []observe.Stream
	both    bool // both sides have sent payload
}

// contentBytes is about how many bytes a content takes, its number among the free
// ones included.
const contentBytes = int(unsafe.Sizeof(content{})) + 5

// contentBits says how many contents are made at a time.
const contentBits = 10

// contents holds contents by their number, which is never 0.
type contents struct {
	chunks []*[1 << contentBits]content
	free   []uint32
	last   uint32 // the highest number given out
	hand   uint32 // where the last sample ended
	bytes  int    // of all facts and streams, and of contents
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
		k.bytes += contentBytes
	}
	return k.at(s.content)
}

var noFacts observe.Facts

// Content returns what is known of a flow's content: the protocol that names
// the flow, which is one plus its index or 0, whether that was found later than
// by the flow's first bytes, and the facts.
func (r *Reader) Content(s *State) (protocol uint8, late bool, facts *observe.Facts) {
	protocol, late, facts = s.proto, s.flags&foundLate != 0, &noFacts
	if protocol == foreign {
		protocol = 0
	}
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
	r.contents.drop(k)
	r.contents.bytes -= contentBytes
	*k = content{}
	if !r.ending {
		r.contents.free = append(r.contents.free, s.content)
	}
	s.content = 0
}
