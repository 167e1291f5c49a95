package flow

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"
	"unsafe"

	"github.com/exspan/exspan/capture"
)

// ID names a flow in its table. 0 is no flow. An ID is used again after Free.
type ID uint32

// wheelSize is the number of one-second buckets; more than the longest time-out in
// seconds.
const wheelSize = 1 << 13

// The buckets of the flows that evict has put aside, and how often, in seconds, they
// go back to those of their deadlines.
const (
	answered = wheelSize + iota
	conversation
	numBuckets
	asideTime = 8
)

// Table finds the flow of each packet. It is used by one goroutine.
//
// Live flows are found through an open-addressing index of 8 bytes an entry;
// the flows themselves lie in chunks that are never moved, so pointers to
// flows stay valid until Free. Nothing in a flow points anywhere, so the garbage
// collector never walks them.
type Table struct {
	// Every makes Follow tell of every packet.
	Every bool
	// KeyVLAN makes the tag stack part of the key.
	KeyVLAN bool
	// MaxFlows bounds the flows in the index; beyond it one is ended early. Evicted
	// counts those.
	MaxFlows int
	Evicted  uint64
	// Packets and IPBytes are what Follow has followed, ICMP errors too.
	Packets, IPBytes uint64
	// Missing counts the payload bytes of TCP that were not there when later ones
	// came, and Late those of them that came after all.
	Missing, Late uint64

	View
	free   uint32
	fresh  uint32 // the lowest slot number never used
	reused bool

	index []uint64 // tag<<32 | slot; 0 is empty; home position is tag&mask
	live  int
	used  int // slots in use: live, held and not yet freed

	// hints are the live flows that the packets last warmed are likely of, by
	// their index; 0 is none. hinted are where these flows lie; where there is no hint,
	// that is any flow.
	hints  [WarmSize]ID
	hinted [WarmSize]*Flow

	clock   clock
	waiting ID                 // the flow of the packet that the clock waits for another one to confirm
	wheel   [numBuckets]uint32 // the newest flow of each bucket
	tails   [numBuckets]uint32 // the oldest one
	aside   [2]int             // how many flows are in the buckets answered and conversation
	floor   uint32             // no bucket before that of this second has a flow
	ended   []ID
	events  []Event
	keys    []uint64 // used again by sort

	// What the packet tracked last found and did: the sequence numbers that would
	// have continued both streams, and the Seen bits then; whether it ended the
	// second stream.
	before struct {
		next [2]uint32
		seen uint16
	}
	closed bool
}

// NewTable returns an empty table for at most maxFlows live flows.
func NewTable(maxFlows int) *Table {
	t := &Table{MaxFlows: maxFlows, fresh: 1, clock: newClock(), index: make([]uint64, 1<<10), View: View{[]*chunk{new(chunk)}}}
	for i := range t.hinted {
		t.hinted[i] = t.At(0)
	}
	return t
}

// Live returns the number of flows that have not ended.
func (t *Table) Live() int { return t.live }

// Used returns the number of slots in use: live flows and ended ones that were
// not freed.
func (t *Table) Used() int { return t.used }

// Clock returns the packet time, in nanoseconds since the Unix epoch: that of the
// latest packet, leaving out those whose times are not believed. It can go back.
func (t *Table) Clock() int64 { return t.clock.now }

// Bytes returns the memory the table holds, in bytes.
func (t *Table) Bytes() int {
	var c *chunk
	return len(t.chunks)*int(unsafe.Sizeof(*c)) + len(t.index)*8
}

// WarmSize is the number of packets that Warm takes at most.
const WarmSize = 64

// Warm finds the flows that packets are likely of and touches what Follow will
// need of them, so that their cache misses overlap. What it returns keeps the
// compiler from leaving that out.
func (t *Table) Warm(packets []capture.Packet) (sum uint64) {
	index, mask := t.index, uint32(len(t.index)-1)
	packets = packets[:min(len(packets), WarmSize)]
	id, f, hash := ID(0), t.At(0), uint64(0)
	for i := range packets {
		if h := packets[i].Hash; h != hash || i == 0 {
			hash = h
			tag := uint32(h)
			pos := tag & mask
			e := index[pos]
			for e != 0 && uint32(e>>32) != tag {
				pos = (pos + 1) & mask
				e = index[pos]
			}
			id = ID(uint32(e))
			f = t.At(id)
			sum += uint64(f.seen) + f.bytes[1]
		}
		t.hints[i], t.hinted[i] = id, f
	}
	return sum
}

// find returns the live flow of a packet and its sender: 0 for A, 1 for B.
func (t *Table) find(p *capture.Packet, proto uint8) (ID, int) {
	mask := uint32(len(t.index) - 1)
	tag := uint32(p.Hash)
	for pos := tag & mask; ; pos = (pos + 1) & mask {
		e := t.index[pos]
		if e == 0 {
			return 0, 0
		}
		if uint32(e>>32) != tag {
			continue
		}
		f := t.At(ID(uint32(e)))
		if sender, ok := f.sender(p, proto); ok && (!t.KeyVLAN || f.VLANs == p.VLANs) {
			return ID(uint32(e)), sender
		}
	}
}

// Advance moves the clock to the time of a timer where nothing arrives, and ends the
// flows whose time is over.
func (t *Table) Advance(now int64) {
	if now >= t.clock.until || now < t.clock.now {
		t.advance(now)
		if now == t.clock.ahead { // no packet's time, but that of the system
			t.advance(now)
		}
	} else {
		t.clock.now = now
	}
}

// advance moves the clock to the time of a packet.
func (t *Table) advance(now int64) {
	to := t.clock.see(now)
	if t.waiting != 0 && to > t.clock.tick {
		t.At(t.waiting).seen = to // its packet was of that time
	}
	t.waiting = 0
	// After a jump further than the wheel is round, one turn meets every flow.
	if to-t.clock.tick > wheelSize {
		t.clock.tick = to - wheelSize
	}
	for t.clock.tick < to {
		t.clock.tick++
		if t.clock.tick%asideTime == 0 {
			t.turn(t.clock.tick, answered)
			t.turn(t.clock.tick, conversation)
		}
		t.turn(t.clock.tick, t.clock.tick%wheelSize)
	}
	t.clock.until = math.MinInt64 // the next packet is to be seen too
	if t.clock.settled() {
		t.clock.until = t.clock.base + (int64(t.clock.tick)+1)*int64(time.Second)
	}
}

// Finish is called when nothing more comes, before EndAll: it decides what the time
// is if the last packets left that open.
func (t *Table) Finish() { t.clock.finish() }

// Steps returns how often the clock went back.
func (t *Table) Steps() uint64 { return t.clock.steps }

// Outliers returns the number of packets with a time that was not believed: far
// ahead of the packets around them, or behind.
func (t *Table) Outliers() uint64 { return t.clock.outliers }

// turn goes through one bucket: flows whose deadline has come end, the others
// go to the bucket of theirs.
func (t *Table) turn(now, bucket uint32) {
	id := t.wheel[bucket]
	t.wheel[bucket], t.tails[bucket] = 0, 0
	if bucket >= answered {
		t.aside[bucket-answered] = 0
	}
	for id != 0 {
		f := t.At(ID(id))
		next := t.cold(ID(id)).link
		if f.seen+timeouts[f.class] <= now {
			t.end(ID(id))
		} else {
			t.schedule(id, f)
		}
		id = next
	}
}

// schedule puts a flow into the bucket of its deadline, or an earlier one: one of one
// direction is found soon, if evict looks for it.
func (t *Table) schedule(id uint32, f *Flow) {
	deadline := f.seen + timeouts[f.class]
	if !f.BothWays() {
		deadline = min(deadline, t.clock.tick+soon)
	}
	if deadline <= t.clock.tick {
		deadline = t.clock.tick + 1
	}
	t.floor = min(t.floor, deadline)
	t.enter(id, deadline%wheelSize)
}

// enter puts a flow into a bucket.
func (t *Table) enter(id, bucket uint32) {
	r := t.cold(ID(id))
	r.bucket = uint16(bucket)
	if bucket >= answered {
		t.aside[bucket-answered]++
	}
	head := t.wheel[bucket]
	r.prev, r.link = 0, head
	if head != 0 {
		t.cold(ID(head)).prev = id
	} else {
		t.tails[bucket] = id
	}
	t.wheel[bucket] = id
}

func (t *Table) unschedule(id ID) {
	r := t.cold(id)
	if r.bucket >= answered {
		t.aside[r.bucket-answered]--
	}
	if r.prev != 0 {
		t.cold(ID(r.prev)).link = r.link
	} else {
		t.wheel[r.bucket] = r.link
	}
	if r.link != 0 {
		t.cold(ID(r.link)).prev = r.prev
	} else {
		t.tails[r.bucket] = r.prev
	}
}

// track counts a packet: one of the live flow id, sent by sender, or if id is 0, of
// one that has to be found or made. It returns the flow, the packet's sender (0
// for A, 1 for B) and whether the flow is new.
func (t *Table) track(p *capture.Packet, known ID, from int) (id ID, f *Flow, sender int, isNew bool) {
	if id, sender = known, from; p.Time >= t.clock.until || p.Time < t.clock.now-slack {
		t.advance(p.Time)
		id = 0 // may have ended
	} else if p.Time > t.clock.now {
		t.clock.now = p.Time
	}
	if id == 0 {
		id, sender = t.find(p, p.Proto)
	}
	if id != 0 {
		f = t.At(id)
	}
	if id != 0 && (t.expired(f, p) || p.Flags&capture.SYN != 0 && t.renews(id, f, p)) {
		t.finish(id)
		id = 0
	}
	if id == 0 {
		id, sender, isNew = t.add(p), 0, true
		f = t.At(id)
	}
	sender &= 1 // says that indexes are in range
	t.before.next, t.before.seen, t.closed = f.next, f.Seen, false
	f.packets[sender]++
	f.bytes[sender] += uint64(p.Length)
	t.stamp(f, p.Time)
	f.seen = t.clock.tick
	if t.clock.ahead != 0 {
		t.waiting = id
	}
	if p.PayloadLength > 0 {
		f.Seen |= SeenPayloadA << sender
	}
	if p.Proto == capture.TCP {
		if p.Flags&(capture.SYN|capture.FIN|capture.RST) != 0 || f.class == classHalfOpen || f.class >= classResetA {
			t.transition(id, f, sender, p)
		} else if p.Seq == f.next[sender] && f.Seen&(SeenNextA<<sender) != 0 {
			f.next[sender] += p.PayloadLength
			return id, f, sender, isNew
		}
		t.sequence(f, sender, p)
	}
	return id, f, sender, isNew
}

// stamp takes the time of a packet for the first or the last one of its flow.
func (t *Table) stamp(f *Flow, now int64) {
	switch {
	case now > f.Last:
		if now <= max(t.clock.now, f.Last)+lastLeap { // else it is not believed
			f.Last = now
		}
	case f.Last > t.clock.now+slack && now <= t.clock.now: // the clock went back meanwhile
		f.First, f.Last = min(f.First, now), now
	case now < f.First && now >= f.First-slack:
		f.First = now
	}
}

// expired reports whether a flow had timed out when a packet came. The clock may not
// be that far yet: it waits for another packet after a long silence.
func (t *Table) expired(f *Flow, p *capture.Packet) bool {
	timeout := timeouts[f.class]
	return t.clock.tick > f.seen+timeout || t.clock.ahead != 0 && p.Time-f.Last > int64(timeout+1)*int64(time.Second)
}

// add makes the flow of a packet that belongs to none.
func (t *Table) add(p *capture.Packet) ID {
	for t.live >= t.MaxFlows {
		t.evict()
	}
	id := t.free
	if id != 0 {
		t.free = t.cold(ID(id)).link
		t.reused = true
	} else {
		id = t.fresh
		t.fresh++
		if int(id>>chunkBits) >= len(t.chunks) {
			t.chunks = append(t.chunks, new(chunk))
		}
	}
	f := t.At(ID(id))
	*f = Flow{}
	f.Sides[0], f.Sides[1], f.Proto, f.VLANs = p.Src, p.Dst, p.Proto, p.VLANs
	f.First, f.Last, f.Number, f.seen = p.Time, p.Time, p.Number, t.clock.tick
	switch {
	case p.Proto != capture.TCP:
		f.class = classUDP
	case p.Flags&(capture.SYN|capture.ACK) == capture.SYN, p.PayloadLength == 0 && p.Flags&capture.SYN == 0:
		f.class = classHalfOpen
	default:
		f.class = classEstablished
	}
	t.cold(ID(id)).tunnel = p.Tunnel
	t.insert(uint32(p.Hash), id)
	t.live++
	t.used++
	t.schedule(id, f)
	return ID(id)
}

func (t *Table) insert(tag, id uint32) {
	if (t.live+1)*4 > len(t.index)*3 {
		t.grow()
	}
	mask := uint32(len(t.index) - 1)
	// The newest flow comes first, those it meets go one place further: packets are
	// mostly of the newest flows.
	e := uint64(tag)<<32 | uint64(id)
	for pos := tag & mask; e != 0; pos = (pos + 1) & mask {
		t.index[pos], e = e, t.index[pos]
	}
}

func (t *Table) grow() {
	old := t.index
	t.index = make([]uint64, 2*len(old))
	clear(t.index) // to write new memory first and then read it costs half of the page faults
	mask := uint32(len(t.index) - 1)
	for _, e := range old {
		if e != 0 {
			pos := uint32(e>>32) & mask
			for t.index[pos] != 0 {
				pos = (pos + 1) & mask
			}
			t.index[pos] = e
		}
	}
}

// remove takes a flow out of the index and closes the hole behind it.
func (t *Table) remove(id ID) {
	f := t.At(id)
	mask := uint32(len(t.index) - 1)
	pos := uint32(capture.Hash(f.Sides[0], f.Sides[1], f.Proto)) & mask
	for uint32(t.index[pos]) != uint32(id) {
		pos = (pos + 1) & mask
	}
	for {
		t.index[pos] = 0
		hole := pos
		for {
			pos = (pos + 1) & mask
			e := t.index[pos]
			if e == 0 {
				return
			}
			// An entry may fill the hole if its home is not between hole and pos.
			if home := uint32(e>>32) & mask; (pos-home)&mask >= (pos-hole)&mask {
				t.index[hole] = e
				break
			}
		}
	}
}

// finish ends a flow before its time.
func (t *Table) finish(id ID) {
	t.unschedule(id)
	t.end(id)
}

func (t *Table) end(id ID) {
	t.remove(id)
	t.At(id).class = classNone
	t.live--
	clear(t.hints[:])
	t.ended = append(t.ended, id)
}

// EndAll ends every live flow and calls ended for them, then final for all flows
// that have a place in the table: both in order of first packet, and for a few
// at a time. ended must not free flows.
func (t *Table) EndAll(ended, final func([]ID)) {
	var order []ID
	if t.reused { // otherwise places were given out in that order
		order = make([]ID, 0, t.used)
		for id := ID(1); id < ID(t.fresh); id++ {
			if t.At(id).Proto != 0 {
				order = append(order, id)
			}
		}
		t.sort(order)
	}
	t.each(order, func(id ID) bool {
		f := t.At(id)
		live := f.class != classNone
		f.class = classNone
		return live
	}, ended)
	clear(t.wheel[:])
	clear(t.tails[:])
	t.aside = [2]int{}
	clear(t.index)
	clear(t.hints[:])
	t.live = 0
	t.each(order, func(ID) bool { return true }, final)
}

// each calls f for the flows of a list that are wanted, or without one for all
// that have a place, in order of place. f may free them.
func (t *Table) each(list []ID, wanted func(ID) bool, f func([]ID)) {
	some := make([]ID, 0, WarmSize)
	take := func(id ID) {
		if wanted(id) {
			if some = append(some, id); len(some) == WarmSize {
				f(some)
				some = some[:0]
			}
		}
	}
	for _, id := range list {
		take(id)
	}
	for id := ID(1); list == nil && id < ID(t.fresh); id++ {
		if t.At(id).Proto != 0 {
			take(id)
		}
	}
	f(some)
}

// sort puts flows in order of their first packets.
func (t *Table) sort(ids []ID) {
	// Numbers are sorted faster than what has to be looked up: a packet's number
	// and the flow's place fit into one, or nearly always do.
	place := bits.Len32(t.fresh)
	t.keys = slices.Grow(t.keys[:0], len(ids))
	for _, id := range ids {
		n := t.At(id).Number
		if n>>(64-place) != 0 {
			slices.SortFunc(ids, func(a, b ID) int { return cmp.Compare(t.At(a).Number, t.At(b).Number) })
			return
		}
		t.keys = append(t.keys, n<<place|uint64(id))
	}
	slices.Sort(t.keys)
	for i, k := range t.keys {
		ids[i] = ID(k & (1<<place - 1))
	}
}

// Free gives the slot of an ended flow back.
func (t *Table) Free(id ID) {
	t.At(id).Proto = 0
	t.cold(id).link = t.free
	t.free = uint32(id)
	t.used--
}

// Quiet says that nobody wants the payload of a flow any more, until its ID is
// given to another flow. Follow then leaves out the packets that have nothing
// else to say.
func (t *Table) Quiet(id ID) {
	// One that has ended may be read in another goroutine.
	if f := t.At(id); f.class != classNone {
		f.Seen |= quiet
	}
}

// All calls f for every live flow, in no particular order, until f returns false.
func (t *Table) All(f func(ID, *Flow) bool) {
	for _, e := range t.index {
		if e != 0 && !f(ID(uint32(e)), t.At(ID(uint32(e)))) {
			return
		}
	}
}
