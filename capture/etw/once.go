package etw

import (
	"hash/maphash"
)

const (
	forget   = 1_000_000_000 // ns after which the same bytes are another packet
	keyBytes = 80            // of a packet's content that tell it from others
	otherLen = 46            // the same where it is not IP
	maxKeys  = 1 << 20       // packets that are remembered at a time
	maxSeen  = 64            // points that one packet is remembered at
)

// once delivers each packet once. Windows logs one at each layer that it passes,
// and newer versions no longer say which events are the same packet's, so the
// content tells: what is seen more often at one point than at any other before is a
// packet of its own.
type once struct {
	table   []int32 // the first of each chain of packets; their number is a power of two
	packets []known
	points  []point
	free    int32 // packets that are not in use, linked by next
	spare   int32 // points that are not
	// The packets by when they were seen last: the oldest and the newest.
	oldest, newest int32
	limit          int // keyBytes, or what a short 802.11 frame had
	scratch        [keyBytes + 16]byte
	full           uint64
}

// seeds make it impossible to write a file whose packets are taken for each other.
var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// known is a packet that was seen.
type known struct {
	key          [2]uint64
	last         int64
	most         uint32 // how often it was seen at one point
	seen         uint32
	points       int32
	next         int32 // in its chain
	older, newer int32
}

type point struct {
	at    Point
	count uint32
	next  int32
}

const none = -1

func (o *once) init() {
	o.free, o.spare, o.oldest, o.newest, o.limit = none, none, none, none, keyBytes
	o.grow(1 << 10)
}

func (o *once) grow(size int) {
	o.table = make([]int32, size)
	for i := range o.table {
		o.table[i] = none
	}
	for i := o.oldest; i != none; i = o.packets[i].newer {
		slot := &o.table[o.packets[i].key[0]&uint64(size-1)]
		o.packets[i].next, *slot = *slot, i
	}
}

// first reports whether f is to be delivered: as far as can be told, another event
// did not show this packet before.
func (o *once) first(f *Frame, wlan bool) bool {
	key := o.key(f, wlan)
	f.Key = key
	for o.oldest != none && f.Time-o.packets[o.oldest].last > forget {
		o.remove(o.oldest)
	}
	i := o.find(key)
	if i == none {
		i = o.add(key)
	} else {
		o.unlink(i)
	}
	o.link(i)
	k := &o.packets[i]
	k.last = max(k.last, f.Time)
	p := o.at(k, f.Point)
	if p == nil {
		return false
	}
	if p.count++; p.count > k.most {
		k.most = p.count
		return true
	}
	return false
}

// key is a hash of what stays the same between two points: not checksums, which the
// adapter may compute, nor what pads a short frame, nor MAC addresses.
func (o *once) key(f *Frame, wlan bool) [2]uint64 {
	p := layer3(f.Data)
	b := o.scratch[:6]
	be.PutUint16(b, p.kind)
	be.PutUint32(b[2:], uint32(p.length))
	content := f.Data[p.offset:]
	if p.length == 0 {
		b = append(b, content[:min(len(content), otherLen)]...)
		return [2]uint64{maphash.Bytes(seeds[0], b), maphash.Bytes(seeds[1], b)}
	}
	n := min(len(content), p.length)
	if wlan && n < o.limit && uint32(len(f.Data)) < f.Wire {
		// Ethernet has a shorter header, so there more of the packet was kept.
		o.limit = max(n, 28)
	}
	b = append(b, content[:min(n, o.limit)]...)
	l3 := b[6:]
	if p.kind == 0x0800 && len(l3) >= 12 {
		l3[10], l3[11] = 0, 0
	}
	sum := 0
	switch p.proto {
	case 6:
		sum = p.head + 16
	case 17:
		sum = p.head + 6
	}
	if sum > 0 && len(l3) >= sum+2 {
		l3[sum], l3[sum+1] = 0, 0
	}
	return [2]uint64{maphash.Bytes(seeds[0], b), maphash.Bytes(seeds[1], b)}
}

func (o *once) find(key [2]uint64) int32 {
	for i := o.table[key[0]&uint64(len(o.table)-1)]; i != none; i = o.packets[i].next {
		if o.packets[i].key == key {
			return i
		}
	}
	return none
}

func (o *once) add(key [2]uint64) int32 {
	if o.free == none && len(o.packets) >= maxKeys {
		o.full++
		o.remove(o.oldest)
	}
	i := o.free
	if i == none {
		if len(o.packets) == len(o.table) {
			o.grow(2 * len(o.table))
		}
		i = int32(len(o.packets))
		o.packets = append(o.packets, known{})
	} else {
		o.free = o.packets[i].next
	}
	slot := &o.table[key[0]&uint64(len(o.table)-1)]
	o.packets[i] = known{key: key, points: none, next: *slot}
	*slot = i
	return i
}

// at returns the count of k at a point, or nil beyond the limit.
func (o *once) at(k *known, where Point) *point {
	for i := k.points; i != none; i = o.points[i].next {
		if o.points[i].at == where {
			return &o.points[i]
		}
	}
	if k.seen == maxSeen {
		return nil
	}
	k.seen++
	i := o.spare
	if i == none {
		i = int32(len(o.points))
		o.points = append(o.points, point{})
	} else {
		o.spare = o.points[i].next
	}
	o.points[i] = point{at: where, next: k.points}
	k.points = i
	return &o.points[i]
}

// remove forgets packet i.
func (o *once) remove(i int32) {
	o.unlink(i)
	k := &o.packets[i]
	slot := &o.table[k.key[0]&uint64(len(o.table)-1)]
	for *slot != i {
		slot = &o.packets[*slot].next
	}
	*slot = k.next
	for j := k.points; j != none; {
		next := o.points[j].next
		o.points[j].next, o.spare = o.spare, j
		j = next
	}
	k.next, o.free = o.free, i
}

// link makes packet i the newest.
func (o *once) link(i int32) {
	k := &o.packets[i]
	k.older, k.newer = o.newest, none
	if o.newest != none {
		o.packets[o.newest].newer = i
	} else {
		o.oldest = i
	}
	o.newest = i
}

func (o *once) unlink(i int32) {
	k := &o.packets[i]
	if k.older != none {
		o.packets[k.older].newer = k.newer
	} else {
		o.oldest = k.newer
	}
	if k.newer != none {
		o.packets[k.newer].older = k.older
	} else {
		o.newest = k.older
	}
}
