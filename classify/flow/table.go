package flow

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
	"unsafe"

	"github.com/exspan/exspan/capture"
)

// ID names a flow in its table. 0 is no flow. An ID is used again after Free.
type ID uint32

const (
	// wheelSize is the number of one-second buckets; more than the longest
	// time-out in seconds.
	wheelSize = 1 << 13
	held      = 0xffff // Flow.bucket of a flow that is not in the wheel
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
	// MaxFlows bounds the flows in the index; beyond it the one that would time
	// out first is ended. Evicted counts those.
	MaxFlows int
	Evicted  uint64

	View
	free   uint32
	fresh  uint32 // the lowest slot number never used
	reused bool

	index []uint64 // tag<<32 | slot; 0 is empty; home position is tag&mask
	live  int
	used  int // slots in use: live, held and not yet freed

	base  int64 // time of second 0 of the clock; set by the first packet
	clock int64 // highest packet time seen
	tick  uint32
	wheel [wheelSize]uint32
	ended []ID

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
	return &Table{MaxFlows: maxFlows, fresh: 1, index: make([]uint64, 1<<10)}
}

// Live returns the number of flows that have not ended.
func (t *Table) Live() int { return t.live }

// Used returns the number of slots in use: live flows and ended ones that were
// not freed.
func (t *Table) Used() int { return t.used }

// Clock returns the highest packet time seen, in nanoseconds since the Unix
// epoch.
func (t *Table) Clock() int64 { return t.clock }

// Bytes returns the memory the table holds, in bytes.
func (t *Table) Bytes() int {
	var c *chunk
	return len(t.chunks)*int(unsafe.Sizeof(*c)) + len(t.index)*8
}

// WarmSize is the number of packets that Warm takes at most.
const WarmSize = 64

// Warm touches the index and the slots that packets will need, so that their
// cache misses overlap. It changes nothing. What it returns are the slots that
// the packets' flows are likely in, 0 for none.
func (t *Table) Warm(packets []capture.Packet) (ids [WarmSize]ID, sum uint64) {
	mask := uint32(len(t.index) - 1)
	packets = packets[:min(len(packets), WarmSize)]
	for i := range packets {
		ids[i] = ID(uint32(t.index[uint32(packets[i].Hash)&mask]))
	}
	for _, id := range ids[:len(packets)] {
		if id != 0 {
			f := t.At(id)
			sum += uint64(f.A.Port) + uint64(f.seen) + f.bytes[1]
		}
	}
	return ids, sum
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
		if f.Proto != proto || t.KeyVLAN && f.VLANs != p.VLANs {
			continue
		}
		if same(&f.A, &p.Src) && same(&f.B, &p.Dst) {
			return ID(uint32(e)), 0
		}
		if same(&f.B, &p.Src) && same(&f.A, &p.Dst) {
			return ID(uint32(e)), 1
		}
	}
}

// same compares two ends in three loads, where == calls a function.
func same(a, b *capture.Endpoint) bool {
	return a.Port == b.Port && binary.NativeEndian.Uint64(a.Addr[8:]) == binary.NativeEndian.Uint64(b.Addr[8:]) &&
		binary.NativeEndian.Uint64(a.Addr[:8]) == binary.NativeEndian.Uint64(b.Addr[:8])
}

// Advance moves the clock to the time of a packet, or of a timer where nothing
// arrives, and ends the flows whose time is over. The
// clock never goes back.
func (t *Table) Advance(now int64) {
	if t.tick == 0 {
		t.base, t.clock = now-int64(time.Second), now
		t.tick = 1
		return
	}
	if now <= t.clock {
		return
	}
	t.clock = now
	seconds := (now - t.base) / int64(time.Second)
	if seconds > 1<<31 {
		seconds = 1 << 31 // 68 years: whatever comes is the same instant
	}
	to := uint32(seconds)
	if to <= t.tick {
		return
	}
	// After a jump further than the wheel is round, one turn meets every flow.
	if to-t.tick > wheelSize {
		t.tick = to - wheelSize
	}
	for t.tick < to {
		t.tick++
		t.turn(t.tick)
	}
}

// turn goes through one bucket: flows whose deadline has come end, the others
// go to the bucket of theirs.
func (t *Table) turn(now uint32) {
	id := t.wheel[now%wheelSize]
	t.wheel[now%wheelSize] = 0
	for id != 0 {
		f := t.At(ID(id))
		next := f.link
		f.bucket = held
		if f.seen+timeouts[f.class] <= now {
			t.end(ID(id))
		} else {
			t.schedule(id, f)
		}
		id = next
	}
}

// schedule puts a flow into the bucket of its deadline.
func (t *Table) schedule(id uint32, f *Flow) {
	deadline := f.seen + timeouts[f.class]
	if deadline <= t.tick {
		deadline = t.tick + 1
	}
	f.bucket = uint16(deadline % wheelSize)
	head := t.wheel[f.bucket]
	f.prev, f.link = 0, head
	if head != 0 {
		t.At(ID(head)).prev = id
	}
	t.wheel[f.bucket] = id
}

func (t *Table) unschedule(f *Flow) {
	if f.bucket == held {
		return
	}
	if f.prev != 0 {
		t.At(ID(f.prev)).link = f.link
	} else {
		t.wheel[f.bucket] = f.link
	}
	if f.link != 0 {
		t.At(ID(f.link)).prev = f.prev
	}
	f.bucket = held
}

// Track finds or makes the flow of a TCP or UDP packet and counts the packet.
// It returns the flow, the packet's sender (0 for A, 1 for B) and whether the
// flow is new. Follow names the flows that it ended.
func (t *Table) Track(p *capture.Packet) (id ID, sender int, isNew bool) {
	t.Advance(p.Time)
	id, sender = t.find(p, p.Proto)
	if id != 0 && t.over(id, p) {
		t.finish(id)
		id = 0
	}
	if id == 0 {
		id, sender, isNew = t.add(p), 0, true
	}
	f := t.At(id)
	t.before.next, t.before.seen, t.closed = f.next, f.Seen, false
	f.packets[sender]++
	f.bytes[sender] += uint64(p.Length)
	f.Last = max(f.Last, p.Time)
	f.First = min(f.First, p.Time)
	f.seen = t.tick
	if p.PayloadLength > 0 {
		f.Seen |= SeenPayloadA << sender
	}
	if p.Proto == capture.TCP {
		if p.Flags&(capture.SYN|capture.FIN|capture.RST) != 0 || f.class == classHalfOpen {
			t.transition(id, f, sender, p)
		}
		f.sequence(sender, p)
	}
	return id, sender, isNew
}

// over says whether a packet on a known key begins another flow: the old one
// timed out, or a SYN with another initial sequence number came after its end
// or after a silence.
func (t *Table) over(id ID, p *capture.Packet) bool {
	f := t.At(id)
	if t.tick > f.seen+timeouts[f.class] {
		return true
	}
	if p.Proto != capture.TCP || p.Flags&(capture.SYN|capture.ACK) != capture.SYN {
		return false
	}
	if f.Seen&SeenSYN != 0 && f.isn == p.Seq {
		return false
	}
	return f.Seen&(SeenFinA|SeenFinB|SeenRST) != 0 || p.Time-f.Last > renewAfter
}

// transition follows TCP's set-up and end.
func (t *Table) transition(id ID, f *Flow, sender int, p *capture.Packet) {
	was := f.class
	client := 0
	if f.Seen&seenSYNByB != 0 {
		client = 1
	}
	switch {
	case p.Flags&capture.RST != 0:
		if f.Seen&(SeenSYN|SeenSYNACK) == SeenSYN && sender != client && f.Seen&SeenPayload == 0 {
			f.Seen |= SeenRefused
		}
		f.Seen |= SeenRST
		f.class = classClosed
	case p.Flags&(capture.SYN|capture.ACK) == capture.SYN:
		if f.Seen&SeenSYN == 0 {
			f.isn = p.Seq
			if sender == 1 {
				f.Seen |= seenSYNByB
			}
		}
		f.Seen |= SeenSYN
		if f.syns < 255 {
			f.syns++
		}
	case p.Flags&capture.SYN != 0:
		if f.Seen&(SeenSYN|SeenSYNACK) == SeenSYN {
			f.setup = uint32(min(max((p.Time-f.First)/int64(time.Microsecond), 1), 1<<32-1))
		}
		f.Seen |= SeenSYNACK
		f.class = classEstablished
	default:
		// Something other than a SYN on a half-open flow: the sensor missed the
		// answer.
		if f.class == classHalfOpen && (sender != client || p.PayloadLength > 0) {
			f.class = classEstablished
		}
	}
	if p.Flags&capture.FIN != 0 {
		f.Seen |= SeenFinA << sender
		if f.Seen&(SeenFinA|SeenFinB) == SeenFinA|SeenFinB {
			t.closed = t.closed || was != classClosed
			f.class = classClosed
		}
	}
	if f.class != was && timeouts[f.class] < timeouts[was] {
		t.unschedule(f)
		t.schedule(uint32(id), f)
	}
}

// add makes the flow of a packet that belongs to none.
func (t *Table) add(p *capture.Packet) ID {
	for t.live >= t.MaxFlows {
		t.evict()
	}
	id := t.free
	if id != 0 {
		t.free = t.At(ID(id)).link
		t.reused = true
	} else {
		id = t.fresh
		t.fresh++
		if int(id>>chunkBits) >= len(t.chunks) {
			t.chunks = append(t.chunks, new(chunk))
		}
	}
	t.setQuiet(ID(id), false)
	f := t.At(ID(id))
	*f = Flow{A: p.Src, B: p.Dst, Proto: p.Proto, VLANs: p.VLANs, First: p.Time, Last: p.Time, Number: p.Number, seen: t.tick}
	switch {
	case p.Proto == capture.UDP:
		f.class = classUDP
	case p.Flags&capture.SYN != 0 && p.Flags&capture.ACK == 0:
		f.class = classHalfOpen
	default:
		f.class = classEstablished
	}
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
	pos := tag & mask
	for t.index[pos] != 0 {
		pos = (pos + 1) & mask
	}
	t.index[pos] = uint64(tag)<<32 | uint64(id)
}

func (t *Table) grow() {
	old := t.index
	t.index = make([]uint64, 2*len(old))
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
	pos := uint32(capture.Hash(f.A, f.B, f.Proto)) & mask
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
	t.unschedule(t.At(id))
	t.end(id)
}

func (t *Table) end(id ID) {
	t.remove(id)
	t.live--
	t.ended = append(t.ended, id)
}

// evict ends the flow whose deadline is next.
func (t *Table) evict() {
	for s := t.tick + 1; ; s++ {
		if id := t.wheel[s%wheelSize]; id != 0 {
			t.finish(ID(id))
			t.Evicted++
			return
		}
	}
}

// EndAll ends every live flow and calls ended for them, then final for all flows
// that have a place in the table: both in order of first packet, and for a few
// at a time. ended must not free flows.
func (t *Table) EndAll(ended, final func([]ID)) {
	t.each(func(id ID) bool {
		f := t.At(id)
		live := f.bucket != held
		f.bucket = held
		return live
	}, ended)
	clear(t.wheel[:])
	clear(t.index)
	t.live = 0
	t.each(func(ID) bool { return true }, final)
}

// each calls f for the flows that have a place and are wanted, in order of first
// packet. f may free them.
func (t *Table) each(wanted func(ID) bool, f func([]ID)) {
	some := make([]ID, 0, WarmSize)
	take := func(id ID) {
		if wanted(id) {
			if some = append(some, id); len(some) == WarmSize {
				f(some)
				some = some[:0]
			}
		}
	}
	if !t.reused {
		// Places were given out in that order.
		for id := ID(1); id < ID(t.fresh); id++ {
			if t.At(id).Proto != 0 {
				take(id)
			}
		}
		f(some)
		return
	}
	type numbered struct {
		number uint64
		id     ID
	}
	order := make([]numbered, 0, t.used)
	for id := ID(1); id < ID(t.fresh); id++ {
		if f := t.At(id); f.Proto != 0 {
			order = append(order, numbered{f.Number, id})
		}
	}
	slices.SortFunc(order, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	for i := range order {
		take(order[i].id)
	}
	f(some)
}

// Free gives the slot of an ended flow back.
func (t *Table) Free(id ID) {
	f := t.At(id)
	*f = Flow{}
	f.link = t.free
	t.free = uint32(id)
	t.used--
}

// All calls f for every live flow, in no particular order, until f says false.
func (t *Table) All(f func(ID, *Flow) bool) {
	for _, e := range t.index {
		if e != 0 && !f(ID(uint32(e)), t.At(ID(uint32(e)))) {
			return
		}
	}
}
