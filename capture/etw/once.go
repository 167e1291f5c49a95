package etw

import "hash/maphash"

const (
	forget    = 1_000_000_000 // time in ns after which the same bytes are another packet
	keyBytes  = 80            // bytes of a packet's content that distinguish it from others
	otherLen  = 46            // the same for packets other than IP
	maxKeys   = 1 << 19       // packets that a generation remembers
	maxPoints = 4 * maxKeys   // further points that a generation remembers, besides the first one of each packet
	maxSeen   = 64            // points remembered per packet
	minTable  = 1 << 10       // slots of a generation's table

	slotNumber = 2*maxKeys - 1 // the bits of a slot that hold the number of a packet
)

// once delivers each packet once. Windows logs a packet at each layer that it passes.
// Newer versions do not record which events belong to the same packet, so the content
// decides: if it was seen more often at one point than at any point before, it is a new
// packet.
//
// Packets are remembered in two generations, so that old ones are forgotten without a
// search. The older generation contains only packets that were last seen before the newer
// one began.
type once struct {
	newer, older generation
	limit        int // keyBytes, or the content length of a short 802.11 frame
	scratch      [keyBytes + 16]byte
	full         uint64
}

// seed prevents files whose packets are deliberately mistaken for each other.
var seed = maphash.MakeSeed()

// generation holds the packets that were last seen in one period of time.
type generation struct {
	start   int64
	table   []uint32 // indexed by the lowest bits of the key; a slot holds the key's highest bits and the number of the packet plus 1
	packets []known
	points  []point
}

// known is a packet that was seen.
type known struct {
	key  uint64
	last int64
	most uint32 // maximum number of times seen at one point
	seen uint32 // number of points at which it was seen
	// first is the first point that saw it. Most packets have no other. Other points are
	// in a list.
	first point
}

// point is the number of times that a packet was seen at one point. The packet's next
// point has the index next-1 in the generation.
type point struct {
	at    Point
	count uint32
	next  uint32
}

func (o *once) init() {
	o.limit = keyBytes
	o.newer.grow(minTable)
	o.older.grow(minTable)
}

// first reports whether f is to be delivered, that is, whether no earlier event is known
// to show the same packet.
func (o *once) first(f *Frame) bool {
	if f.Time-o.newer.start > forget || len(o.newer.packets) == maxKeys || len(o.newer.points) >= maxPoints {
		o.turn(f.Time)
	}
	k := o.newer.find(f.Key)
	if k == nil {
		k = o.newer.add(f.Key)
		if old := o.older.find(f.Key); old != nil {
			o.newer.take(k, old, &o.older)
		}
	}
	if f.Time-k.last > forget {
		*k = known{key: k.key}
	}
	k.last = max(k.last, f.Time)
	p := o.newer.at(k, f.Point)
	if p == nil {
		return false
	}
	if p.count++; p.count > k.most {
		k.most = p.count
		return true
	}
	return false
}

// knows reports whether the packet of f was seen.
func (o *once) knows(f *Frame) bool {
	k := o.newer.find(f.Key)
	if k == nil {
		k = o.older.find(f.Key)
	}
	return k != nil && f.Time-k.last <= forget
}

// turn starts a new generation at the time t and reuses the memory of the older one.
func (o *once) turn(t int64) {
	if t-o.newer.start <= forget {
		for i := range o.older.packets {
			if t-o.older.packets[i].last <= forget {
				o.full++
			}
		}
	}
	o.newer, o.older = o.older, o.newer
	// Do not clear a large table again and again for few packets, as in a trace whose
	// times jump.
	if n := len(o.newer.table); n > minTable && len(o.newer.packets) < n/16 {
		o.newer.table = o.newer.table[:n/2]
	}
	clear(o.newer.table)
	o.newer.packets, o.newer.points, o.newer.start = o.newer.packets[:0], o.newer.points[:0], t
}

// key returns a hash of the content that does not change between two points. It excludes
// checksums, which the adapter may compute, the padding of short frames, and MAC
// addresses.
func (o *once) key(f *Frame, wlan bool) uint64 {
	p := layer3(f.Data)
	b := o.scratch[:6]
	be.PutUint16(b, p.kind)
	be.PutUint32(b[2:], uint32(p.length))
	content := f.Data[p.offset:]
	if p.length == 0 {
		b = append(b, content[:min(len(content), otherLen)]...)
		return maphash.Bytes(seed, b)
	}
	n := min(len(content), p.length)
	if wlan && n < o.limit && uint32(len(f.Data)) < f.Wire {
		// An Ethernet header is shorter, so more of the packet was kept with one.
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
	return maphash.Bytes(seed, b)
}

// find returns the packet with the given key, or nil.
func (g *generation) find(key uint64) *known {
	mask := uint64(len(g.table) - 1)
	for at := key & mask; g.table[at] != 0; at = (at + 1) & mask {
		if slot := g.table[at]; slot&^slotNumber == slotKey(key) {
			if k := &g.packets[slot&slotNumber-1]; k.key == key {
				return k
			}
		}
	}
	return nil
}

// slotKey returns the bits of the key that a slot holds.
func slotKey(key uint64) uint32 { return uint32(key>>32) &^ slotNumber }

// add adds a packet with a key that no other packet has.
func (g *generation) add(key uint64) *known {
	if 2*len(g.packets) >= len(g.table) {
		g.grow(2 * len(g.table))
	}
	g.packets = append(g.packets, known{key: key})
	g.put(len(g.packets) - 1)
	return &g.packets[len(g.packets)-1]
}

// put adds packet i to the table, at the first free slot from its own position on.
func (g *generation) put(i int) {
	mask := uint64(len(g.table) - 1)
	key := g.packets[i].key
	at := key & mask
	for g.table[at] != 0 {
		at = (at + 1) & mask
	}
	g.table[at] = slotKey(key) | uint32(i+1)
}

func (g *generation) grow(size int) {
	g.table = make([]uint32, size)
	for i := range g.packets {
		g.put(i)
	}
}

// take copies old, a packet of the generation from, to k.
func (g *generation) take(k, old *known, from *generation) {
	*k = *old
	next := &k.first.next
	for *next != 0 {
		p := from.points[*next-1]
		*next = uint32(len(g.points) + 1) // before append moves it
		g.points = append(g.points, p)
		next = &g.points[len(g.points)-1].next
	}
}

// at returns the count of k at a point, or nil if the limit is reached.
func (g *generation) at(k *known, where Point) *point {
	if k.seen == 0 {
		k.seen, k.first = 1, point{at: where}
		return &k.first
	}
	p := &k.first
	for p.at != where {
		if p.next == 0 {
			if k.seen == maxSeen {
				return nil
			}
			k.seen++
			p.next = uint32(len(g.points) + 1) // before p is copied by append
			g.points = append(g.points, point{at: where})
			return &g.points[len(g.points)-1]
		}
		p = &g.points[p.next-1]
	}
	return p
}
