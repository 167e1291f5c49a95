package flow

// evict ends a flow to make room: the one that waits for longest for its time to be
// over, if it is over or of one direction. So a flood pushes out its own. Others that
// are met are put aside for some seconds, so that they are not met again for each flow
// that comes. Of those that are no conversations one is ended where they are more than
// half of all, so that new flows have time to be answered, and a conversation where
// nearly all are.
func (t *Table) evict() {
	t.finish(t.victim())
	t.Evicted++
}

func (t *Table) victim() ID {
	for s := max(t.floor, t.clock.tick+1); s < t.clock.tick+wheelSize && !t.mostAreAside(); s++ {
		for id := t.tails[s%wheelSize]; id != 0 && !t.mostAreAside(); id = t.tails[s%wheelSize] {
			bucket := t.At(ID(id)).worth()
			if bucket == 0 {
				t.floor = s
				return ID(id)
			}
			t.move(id, bucket)
		}
		t.floor = s
	}
	for id := t.tails[answered]; id != 0; id = t.tails[answered] {
		if t.At(ID(id)).worth() != conversation {
			return ID(id)
		}
		t.move(id, conversation)
	}
	return t.mostSilent()
}

// mostAreAside reports whether enough flows are put aside to end one of them.
func (t *Table) mostAreAside() bool {
	return t.aside[0] > t.live/2 || t.aside[1] > t.live-t.live/8
}

// move puts a flow into another bucket.
func (t *Table) move(id, bucket uint32) {
	t.unschedule(ID(id))
	t.enter(id, bucket)
}

// worth returns 0 for a flow that is over or of one direction, conversation for one
// with payload of the side that was spoken to, and answered for others.
func (f *Flow) worth() uint32 {
	switch {
	case f.class == classClosed || f.class >= classResetA || !f.BothWays():
		return 0
	case f.Seen&SeenPayloadB == 0:
		return answered
	}
	return conversation
}

// mostSilent returns the conversation that is silent for longest among the first of
// those that were put aside.
func (t *Table) mostSilent() ID {
	const most = 64
	found := t.tails[conversation]
	for n, id := 0, found; n < most && id != 0; n++ {
		if t.At(ID(id)).seen < t.At(ID(found)).seen {
			found = id
		}
		id = t.cold(ID(id)).prev
	}
	return ID(found)
}
