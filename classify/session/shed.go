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

// size returns about how many bytes a content holds.
func (x *content) size() int { return x.facts.Size() + len(x.streams)*streamBytes }

// replaceFacts puts facts in the place of others.
func (r *Reader) replaceFacts(old, facts *observe.Facts) {
	r.contents.bytes += facts.Keep() - old.Drop()
	*old = *facts
}

// ManyFacts reports whether it is time to make room for facts: those of flows that
// wait to be judged are dropped last.
func (r *Reader) ManyFacts() bool { return r.contents.bytes > r.cfg.MaxFactBytes/8*7 }

// manyBytes is what the facts of a conversation hardly ever take.
const manyBytes = 4 << 10

// shed drops the facts of a flow other than that of c: out of a sample, one of a flow
// of which a single side sent payload, else the one with most.
func (r *Reader) shed(c *conn) {
	worst, size, rank := r.contents.fattest()
	if v := r.conns.fattest(c); v != nil {
		if n, k := v.facts.Size(), factRank(v.state.flags&(spokeA|spokeB) == spokeA|spokeB, v.facts.Size()); worst == nil || k > rank || k == rank && n > size {
			r.Counts.Facts += uint64(v.facts.Len())
			r.contents.bytes -= v.facts.Drop()
			v.facts = observe.Facts{Dropped: v.facts.Dropped}
			r.evict(v, TooMuch)
			return
		}
	}
	if worst != nil {
		r.Counts.Facts += uint64(worst.facts.Len())
		r.contents.drop(worst)
	}
}

// factRank tells how little facts are worth.
func factRank(both bool, size int) int {
	switch {
	case !both:
		return 2
	case size > manyBytes:
		return 1
	}
	return 0
}

// fattest returns the content that is to go, out of a sample; nil where there is none.
func (k *contents) fattest() (worst *content, size, rank int) {
	for range min(sample, k.last) {
		if k.hand++; k.hand > k.last {
			k.hand = 1
		}
		x := k.at(k.hand)
		n := x.size()
		if n == 0 {
			continue
		}
		if c := factRank(x.both, n); worst == nil || c > rank || c == rank && n > size {
			worst, size, rank = x, n, c
		}
	}
	return worst, size, rank
}

// fattest returns the flow that is read, other than one, whose facts are to go, out of
// a sample; nil where there is none.
func (k *conns) fattest(but *conn) (worst *conn) {
	size, rank := 0, 0
	for range min(sample, len(k.all)) {
		if k.hand++; k.hand >= len(k.all) {
			k.hand = 0
		}
		c := k.all[k.hand]
		if c.state == nil || c == but || c.facts.Len() == 0 {
			continue
		}
		if n, x := c.facts.Size(), factRank(c.state.flags&(spokeA|spokeB) == spokeA|spokeB, c.facts.Size()); worst == nil || x > rank || x == rank && n > size {
			worst, size, rank = c, n, x
		}
	}
	return worst
}
