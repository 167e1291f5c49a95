package session

import (
	"unsafe"

	"github.com/exspan/exspan/classify/observe"
)

// streamBytes is about how many bytes a media stream takes.
const streamBytes = int(unsafe.Sizeof(observe.Stream{})) + 64

// keepStreams keeps the media streams of a flow.
func (k *contents) keepStreams(st *State, streams []observe.Stream) {
	x := k.of(st)
	k.bytes += (len(streams) - len(x.streams)) * streamBytes
	x.streams = streams
}

// drop drops what a content holds.
func (k *contents) drop(x *content) {
	k.bytes -= x.facts.Drop() + len(x.streams)*streamBytes
	x.facts, x.streams = observe.Facts{Dropped: x.facts.Dropped}, nil
}

// replaceFacts puts facts in the place of others.
func (r *Reader) replaceFacts(old, facts *observe.Facts) {
	r.contents.bytes += facts.Keep() - old.Drop()
	*old = *facts
}

// ManyFacts reports whether flows that wait to be judged had better be judged now, as
// there is no room for the facts of conversations.
func (r *Reader) ManyFacts() bool {
	if r.squeezed && r.contents.bytes <= r.cfg.MaxFactBytes/8*7 {
		r.squeezed = false
	}
	return r.squeezed
}

// shed drops the facts of a flow other than that of c: of one that is not read any
// more or, if that has more to lose, of one that is.
func (r *Reader) shed(c *conn) {
	x, w := r.contents.leastWorth()
	if v, vw := r.conns.leastWorth(c); v != nil && (x == nil || vw < w) {
		r.Counts.Facts += uint64(v.facts.Len())
		r.contents.bytes -= v.facts.Drop()
		v.facts = observe.Facts{Dropped: v.facts.Dropped}
		r.evict(v, TooMuch)
		w = vw
	} else if x != nil {
		r.Counts.Facts += uint64(x.facts.Len())
		r.contents.drop(x)
	}
	r.squeezed = r.squeezed || w > 0
}

// manyBytes is what the facts of a conversation hardly ever take.
const manyBytes = 4 << 10

// worth tells how much it would be to lose facts of some size: least of all those of
// flows of which a single side sent payload, then those of the largest size, then
// those of the smallest, which are of the shortest conversations.
func worth(both bool, size int) int {
	switch {
	case !both:
		return -1<<30 - size
	case size > manyBytes:
		return -size
	}
	return size
}

// leastWorth returns a content to be dropped, out of a sample, and how much that is
// worth; nil where there is none.
func (k *contents) leastWorth() (found *content, least int) {
	for range min(sample, k.last) {
		if k.hand++; k.hand > k.last {
			k.hand = 1
		}
		x := k.at(k.hand)
		size := x.facts.Size() + len(x.streams)*streamBytes
		if size == 0 {
			continue
		}
		if w := worth(x.both, size); found == nil || w < least {
			found, least = x, w
		}
	}
	return found, least
}

// leastWorth returns a flow that is read, other than one, whose facts are to be
// dropped, out of a sample, and how much they are worth; nil where there is none.
func (k *conns) leastWorth(but *conn) (found *conn, least int) {
	// A block that was just made can be free but for a few.
	for n, looks := 0, 0; n < sample && looks < min(sample+connBlock, len(k.all)); looks++ {
		if k.hand++; k.hand >= len(k.all) {
			k.hand = 0
		}
		c := k.all[k.hand]
		if c.state == nil || c == but || c.facts.Len() == 0 {
			continue
		}
		n++
		if w := worth(c.state.bothSpoke(), c.facts.Size()); found == nil || w < least {
			found, least = c, w
		}
	}
	return found, least
}
