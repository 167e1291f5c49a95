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

// Slot is a flow with its owner's state beside it.
type Slot[T any] struct {
	Owner T
	Flow
}

const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
	// wheelSize is the number of one-second buckets; more than the longest
	// time-out in seconds.
	wheelSize = 1 << 13
	held      = 0xffff // Flow.bucket of a flow that is not in the wheel
)

// Table finds the flow of each packet. It is used by one goroutine.
//
// Live flows are found through an open-addressing index of 8 bytes an entry;
// the flows themselves lie in chunks that are never moved, so pointers to
// slots stay valid until Free. Nothing in a table points anywhere as long as T
// holds no pointers, so the garbage collector never walks it.
type Table[T any] struct {
	// IsServer, if set, says whether an endpoint is known to be a server: it
	// decides who is the client where no handshake was seen.
	IsServer func(e capture.Endpoint, proto uint8) bool
	// KeyVLAN makes the tag stack part of the key.
	KeyVLAN bool
	// MaxFlows bounds the flows in the index; beyond it the one that would time
	// out first is ended. Evicted counts those.
	MaxFlows int
	Evicted  uint64

	// Expected is the sequence number that would have continued the sender's
	// stream before the packet tracked last; valid iff HaveExpected.
	Expected     uint32
	HaveExpected bool

	chunks []*[chunkSize]Slot[T]
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

	heldFirst, heldLast uint32 // ended flows that wait, linked in order of their end
	heldCount           int
}

// NewTable returns an empty table for at most maxFlows live flows.
func NewTable[T any](maxFlows int) *Table[T] {
	return &Table[T]{MaxFlows: maxFlows, fresh: 1, index: make([]uint64, 1<<10)}
}

// At returns the slot of a flow.
func (t *Table[T]) At(id ID) *Slot[T] {
	return &t.chunks[id>>chunkBits][id&(chunkSize-1)]
}

// Live returns the number of flows that have not ended.
func (t *Table[T]) Live() int { return t.live }

// Used returns the number of slots in use: live flows and ended ones that were
// not freed.
func (t *Table[T]) Used() int { return t.used }

// Clock returns the highest packet time seen, in nanoseconds since the Unix
// epoch.
func (t *Table[T]) Clock() int64 { return t.clock }

// Bytes returns the memory the table holds, in bytes.
func (t *Table[T]) Bytes() int {
	var s *[chunkSize]Slot[T]
	return len(t.chunks)*int(unsafe.Sizeof(*s)) + len(t.index)*8
}

// WarmSize is the number of packets that Warm takes at most.
const WarmSize = 64

// Warm touches the index and the slots that packets will need, so that their
// cache misses overlap. It changes nothing. What it returns are the slots that
// the packets' flows are likely in, 0 for none.
func (t *Table[T]) Warm(packets []capture.Packet) (ids [WarmSize]ID, sum uint64) {
	mask := uint32(len(t.index) - 1)
	packets = packets[:min(len(packets), WarmSize)]
	for i := range packets {
		ids[i] = ID(uint32(t.index[uint32(packets[i].Hash)&mask]))
	}
	for _, id := range ids[:len(packets)] {
		if id != 0 {
			f := &t.At(id).Flow
			sum += uint64(f.A.Port) + uint64(f.seen) + f.bytes[1]
		}
	}
	return ids, sum
}

// find returns the live flow of a packet and its sender: 0 for A, 1 for B.
func (t *Table[T]) find(p *capture.Packet, proto uint8) (ID, int) {
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
// arrives, and ends the flows whose time is over; Ended then names them. The
// clock never goes back.
func (t *Table[T]) Advance(now int64) {
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
func (t *Table[T]) turn(now uint32) {
	id := t.wheel[now%wheelSize]
	t.wheel[now%wheelSize] = 0
	for id != 0 {
		f := &t.At(ID(id)).Flow
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
func (t *Table[T]) schedule(id uint32, f *Flow) {
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

func (t *Table[T]) unschedule(f *Flow) {
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
// flow is new. A flow that the packet ended is named by Ended.
func (t *Table[T]) Track(p *capture.Packet) (id ID, sender int, isNew bool) {
	t.Advance(p.Time)
	id, sender = t.find(p, p.Proto)
	if id != 0 && t.over(id, p) {
		t.finish(id)
		id = 0
	}
	if id == 0 {
		id, sender, isNew = t.add(p), 0, true
	}
	f := &t.At(id).Flow
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
		t.Expected, t.HaveExpected = f.next[sender], f.Seen&(SeenNextA<<sender) != 0
		f.sequence(sender, p)
	}
	return id, sender, isNew
}

// over says whether a packet on a known key begins another flow: the old one
// timed out, or a SYN with another initial sequence number came after its end
// or after a silence.
func (t *Table[T]) over(id ID, p *capture.Packet) bool {
	f := &t.At(id).Flow
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
func (t *Table[T]) transition(id ID, f *Flow, sender int, p *capture.Packet) {
	was := f.class
	switch {
	case p.Flags&capture.RST != 0:
		if f.Seen&(SeenSYN|SeenSYNACK) == SeenSYN && f.Direction(sender) == 1 && f.Seen&SeenPayload == 0 {
			f.Seen |= SeenRefused
		}
		f.Seen |= SeenRST
		f.class = classClosed
	case p.Flags&(capture.SYN|capture.ACK) == capture.SYN:
		if f.Seen&SeenSYN == 0 {
			f.isn = p.Seq
			if f.Seen&SeenServerProof == 0 {
				f.serverIsA = sender == 1
				f.Seen |= SeenServerProof
			}
		}
		f.Seen |= SeenSYN
		if f.syns < 255 {
			f.syns++
		}
	case p.Flags&capture.SYN != 0:
		if f.Seen&SeenServerProof == 0 {
			f.serverIsA = sender == 0
			f.Seen |= SeenServerProof
		}
		if f.Seen&(SeenSYN|SeenSYNACK) == SeenSYN {
			f.setup = uint32(min(max((p.Time-f.First)/int64(time.Microsecond), 1), 1<<32-1))
		}
		f.Seen |= SeenSYNACK
		f.class = classEstablished
	default:
		// Something other than a SYN on a half-open flow: the sensor missed the
		// answer.
		if f.Direction(sender) == 1 || p.PayloadLength > 0 {
			f.class = classEstablished
		}
	}
	if p.Flags&capture.FIN != 0 {
		f.Seen |= SeenFinA << sender
		if f.Seen&(SeenFinA|SeenFinB) == SeenFinA|SeenFinB {
			f.class = classClosed
		}
	}
	if f.class != was && timeouts[f.class] < timeouts[was] {
		t.unschedule(f)
		t.schedule(uint32(id), f)
	}
}

// add makes the flow of a packet that belongs to none.
func (t *Table[T]) add(p *capture.Packet) ID {
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
			t.chunks = append(t.chunks, new([chunkSize]Slot[T]))
		}
	}
	s := t.At(ID(id))
	*s = Slot[T]{Flow: Flow{A: p.Src, B: p.Dst, Proto: p.Proto, VLANs: p.VLANs, First: p.Time, Last: p.Time, Number: p.Number, seen: t.tick}}
	f := &s.Flow
	switch {
	case p.Proto == capture.UDP:
		f.class = classUDP
	case p.Flags&capture.SYN != 0 && p.Flags&capture.ACK == 0:
		f.class = classHalfOpen
	default:
		f.class = classEstablished
	}
	f.serverIsA = t.guess(p)
	t.insert(uint32(p.Hash), id)
	t.live++
	t.used++
	t.schedule(id, f)
	return ID(id)
}

// guess says whether the sender of a flow's first packet is its server, where
// no handshake tells: a known server endpoint, else the lower port.
func (t *Table[T]) guess(p *capture.Packet) bool {
	if p.Proto == capture.TCP && p.Flags&capture.SYN != 0 {
		return p.Flags&capture.ACK != 0
	}
	if t.IsServer != nil {
		src, dst := t.IsServer(p.Src, p.Proto), t.IsServer(p.Dst, p.Proto)
		if src != dst {
			return src
		}
	}
	return p.Src.Port < p.Dst.Port
}

func (t *Table[T]) insert(tag, id uint32) {
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

func (t *Table[T]) grow() {
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
func (t *Table[T]) remove(id ID) {
	f := &t.At(id).Flow
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
func (t *Table[T]) finish(id ID) {
	t.unschedule(&t.At(id).Flow)
	t.end(id)
}

func (t *Table[T]) end(id ID) {
	t.remove(id)
	t.live--
	t.ended = append(t.ended, id)
}

// evict ends the flow whose deadline is next.
func (t *Table[T]) evict() {
	for s := t.tick + 1; ; s++ {
		if id := t.wheel[s%wheelSize]; id != 0 {
			t.finish(ID(id))
			t.Evicted++
			return
		}
	}
}

// Ended returns the flows that ended since the last call, in order. They keep
// their slots until Free. The slice is valid until the next call of Track
// or Advance.
func (t *Table[T]) Ended() []ID {
	e := t.ended
	t.ended = t.ended[:0]
	return e
}

// EndAll ends every live flow and holds it, after f was called for it, in no
// particular order.
func (t *Table[T]) EndAll(f func(*Slot[T])) {
	for i := range t.wheel {
		for id := t.wheel[i]; id != 0; {
			s := t.At(ID(id))
			next := s.link
			s.bucket = held
			f(s)
			t.Hold(ID(id))
			id = next
		}
		t.wheel[i] = 0
	}
	clear(t.index)
	t.live = 0
}

// Hold puts an ended flow behind those that wait already. It keeps its slot.
func (t *Table[T]) Hold(id ID) {
	t.At(id).link = 0
	if t.heldLast == 0 {
		t.heldFirst = uint32(id)
	} else {
		t.At(ID(t.heldLast)).link = uint32(id)
	}
	t.heldLast = uint32(id)
	t.heldCount++
}

// Held returns the number of flows that wait, and the one that ended first.
func (t *Table[T]) Held() (int, ID) { return t.heldCount, ID(t.heldFirst) }

// Unhold takes the flow that ended first off the list.
func (t *Table[T]) Unhold() ID {
	id := ID(t.heldFirst)
	if id != 0 {
		t.heldFirst = t.At(id).link
		if t.heldFirst == 0 {
			t.heldLast = 0
		}
		t.heldCount--
	}
	return id
}

// UnholdAll takes every flow off the list, in order of first packet.
func (t *Table[T]) UnholdAll() []ID {
	ids := make([]ID, 0, t.heldCount)
	for id := t.heldFirst; id != 0; id = t.At(ID(id)).link {
		ids = append(ids, ID(id))
	}
	t.heldFirst, t.heldLast, t.heldCount = 0, 0, 0
	if !t.reused {
		// Slots were given out in order of first packet.
		slices.Sort(ids)
		return ids
	}
	type numbered struct {
		number uint64
		id     ID
	}
	order := make([]numbered, len(ids))
	for i, id := range ids {
		order[i] = numbered{t.At(id).Number, id}
	}
	slices.SortFunc(order, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	for i := range order {
		ids[i] = order[i].id
	}
	return ids
}

// Free gives the slot of an ended flow back.
func (t *Table[T]) Free(id ID) {
	s := t.At(id)
	*s = Slot[T]{}
	s.link = t.free
	t.free = uint32(id)
	t.used--
}

// All calls f for every live flow, in no particular order, until f says false.
func (t *Table[T]) All(f func(ID, *Slot[T]) bool) {
	for _, e := range t.index {
		if e != 0 && !f(ID(uint32(e)), t.At(ID(uint32(e)))) {
			return
		}
	}
}

// Quoted finds the live flow that an ICMP error quotes and marks the flow:
// administratively prohibited (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1)
// or refused (port unreachable). It returns 0 when no such flow is known.
func (t *Table[T]) Quoted(p *capture.Packet) ID {
	t.Advance(p.Time)
	id, sender := t.find(p, p.Quoted)
	if id == 0 {
		return 0
	}
	f := &t.At(id).Flow
	// Only an answer to what the client sent says anything about the path.
	if f.Direction(sender) != 0 || f.Seen&SeenSYNACK != 0 || f.packets[1-sender] > 0 {
		return id
	}
	switch {
	case p.Proto == capture.ICMP && p.ICMPType == 3 && (p.ICMPCode == 9 || p.ICMPCode == 10 || p.ICMPCode == 13),
		p.Proto == capture.ICMPv6 && p.ICMPType == 1 && (p.ICMPCode == 1 || p.ICMPCode == 5 || p.ICMPCode == 6):
		f.Seen |= SeenProhibited
	case p.Proto == capture.ICMP && p.ICMPType == 3 && p.ICMPCode == 3,
		p.Proto == capture.ICMPv6 && p.ICMPType == 1 && p.ICMPCode == 4:
		f.Seen |= SeenRefused
	}
	return id
}
