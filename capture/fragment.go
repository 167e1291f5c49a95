package capture

import (
	"encoding/binary"
	"time"
)

// FragmentLimits bounds the reassembly of IP fragments. A zero field means the
// default. Each limit has a counter in FragmentStats.
type FragmentLimits struct {
	// Datagrams is the number of incomplete datagrams kept, 1,024 by default; for one
	// more, one of tiny fragments is given up, or one from the same source, else one
	// that shows nothing of being honest, else the oldest.
	Datagrams int
	// Fragments is the number of fragments of one datagram, 128 by default: a
	// datagram of 65,535 bytes at the smallest MTU that every host accepts (576,
	// RFC 791) has 119. Further ones are refused with SkipLimit.
	Fragments int
	// Bytes is the sum of all payload bytes kept, 4 MiB by default; for more,
	// datagrams are given up in the same order.
	Bytes int
	// Timeout is how long after its first fragment a datagram is given up, in
	// packet time; 30 s by default (RFC 1122 section 3.3.2 and RFC 8200 section
	// 4.5 ask receivers for 60 s, Windows and Linux take 30 to 60).
	Timeout time.Duration
}

// FragmentStats counts what became of fragmented datagrams.
type FragmentStats struct {
	Reassembled uint64 // datagrams completed
	Expired     uint64 // datagrams given up because of their age
	Evicted     uint64 // datagrams given up for the limits of datagrams or bytes
	Refused     uint64 // fragments beyond the limit of one datagram
	Overlapping uint64 // fragments that overlap others and are no repetition
}

type fragmentKey struct {
	src, dst Addr
	id       uint32
	proto    uint8 // 0 for IPv6
	version  uint8
}

// fragment is the payload bytes [off, off+length) of a datagram; data can be
// shorter where the snap length cut it.
type fragment struct {
	off, length int
	data        []byte
}

// datagram is what there is of a fragmented datagram.
type datagram struct {
	key        fragmentKey
	first      int64      // time of the first fragment seen
	parts      []fragment // in order of arrival
	earlier    []EarlierFrame
	covered    []span    // disjoint, ascending
	total      int       // length of the payload, -1 until the last fragment came
	length     uint32    // sum of the IP lengths
	bytes      int       // kept in parts
	next       uint8     // IPv6: what follows the fragment header of the first fragment
	refused    bool      // never complete: overlapping (RFC 5722) or contradicting itself
	prev, foll *datagram // order of first
}

type span struct{ from, to int }

type fragments struct {
	stats  FragmentStats
	table  map[fragmentKey]*datagram
	oldest *datagram
	newest *datagram
	bytes  int
	// honest holds sources of datagrams that were completed, by a hash of the address.
	honest [1 << honestBits]Addr
}

const honestBits = 8

// honestAt returns the place of a source in honest.
func (t *fragments) honestAt(src Addr) *Addr {
	return &t.honest[src.Hash()>>(64-honestBits)]
}

// FragmentStats returns what became of fragmented datagrams so far.
func (d *Decoder) FragmentStats() FragmentStats { return d.frags.stats }

// fragment4 takes a fragment of an IPv4 packet; field is the header's flags
// and fragment offset (RFC 791 section 3.2).
func (d *Decoder) fragment4(proto uint8, field uint16, b []byte, header, wire int, p *Packet, depth int) Skip {
	key := fragmentKey{src: p.Src.Addr, dst: p.Dst.Addr, id: uint32(binary.BigEndian.Uint16(b[4:])), proto: proto, version: 4}
	f := fragment{off: int(field&0x1fff) * 8, length: wire - header, data: b[header:]}
	g, s := d.fragment(key, f, field&0x2000 != 0, proto, p)
	if s != SkipNone {
		return s
	}
	data := g.assemble()
	return d.transport(proto, data, g.total, p, depth)
}

// fragment6 takes a fragment of an IPv6 packet; b begins with the fragment
// header (RFC 8200 section 4.5).
func (d *Decoder) fragment6(b []byte, wire int, p *Packet, depth int) Skip {
	field := binary.BigEndian.Uint16(b[2:])
	key := fragmentKey{src: p.Src.Addr, dst: p.Dst.Addr, id: binary.BigEndian.Uint32(b[4:]), version: 6}
	f := fragment{off: int(field &^ 7), length: wire - 8, data: b[8:]}
	g, s := d.fragment(key, f, field&1 != 0, b[0], p)
	if s != SkipNone {
		return s
	}
	data := g.assemble()
	return d.extensions(g.next, data, g.total, p, depth+1)
}

// fragment adds f to its datagram and returns the datagram and SkipNone when
// that completes it; p.Length and p.Frames are then those of the whole.
func (d *Decoder) fragment(key fragmentKey, f fragment, more bool, next uint8, p *Packet) (*datagram, Skip) {
	t := &d.frags
	limits := d.Fragments.orDefaults()
	for t.oldest != nil && p.Time-t.oldest.first > int64(limits.Timeout) {
		if !t.oldest.refused {
			t.stats.Expired++
		}
		t.remove(t.oldest)
	}
	if more && f.length%8 != 0 || f.length == 0 || f.off+f.length > 65535 {
		return nil, SkipMalformed
	}
	g := t.table[key]
	if g == nil {
		if t.table == nil {
			t.table = make(map[fragmentKey]*datagram)
		}
		g = &datagram{key: key, first: p.Time, total: -1}
		t.add(g)
	}
	if g.refused {
		return nil, SkipMalformed
	}
	end := f.off + f.length
	if !more && g.total >= 0 && g.total != end || g.total >= 0 && end > g.total ||
		!more && len(g.covered) > 0 && g.covered[len(g.covered)-1].to > end {
		t.refuse(g)
		return nil, SkipMalformed
	}
	switch g.cover(f) {
	case repeated:
		return nil, SkipFragment
	case overlapping:
		t.stats.Overlapping++
		if key.version == 6 { // RFC 5722: such a datagram is dropped whole
			t.refuse(g)
			return nil, SkipMalformed
		}
	}
	if len(g.parts) == limits.Fragments {
		t.stats.Refused++
		t.refuse(g)
		return nil, SkipLimit
	}
	if !more {
		g.total = end
	}
	if f.off == 0 {
		g.next = next
	}
	g.length += p.Length
	f.data = append([]byte(nil), f.data...)
	g.parts = append(g.parts, f)
	g.bytes += len(f.data)
	t.bytes += len(f.data)
	if len(g.covered) == 1 && g.covered[0].from == 0 && g.covered[0].to == g.total {
		t.remove(g)
		t.stats.Reassembled++
		*t.honestAt(key.src) = key.src
		p.Length = g.length
		p.Frames += uint16(len(g.parts) - 1)
		if p.Frame != nil {
			p.Frame.Earlier = append(g.earlier, p.Frame.Earlier...)
		}
		return g, SkipNone
	}
	if f := p.Frame; f != nil {
		g.earlier = append(g.earlier, f.Earlier...)
		g.earlier = append(g.earlier, EarlierFrame{p.Time, f.WireLength, append([]byte(nil), f.Data...)})
		g.bytes += len(f.Data)
		t.bytes += len(f.Data)
	}
	for len(t.table) > limits.Datagrams || t.bytes > limits.Bytes {
		t.stats.Evicted++
		t.remove(t.victim(key))
	}
	return nil, SkipFragment
}

const (
	// leastFragment is the length below which no router makes a fragment that is not
	// the last one: links carry at least 576 bytes in practice (RFC 791 asks for 68).
	leastFragment = 256
	// maxVictims is how many datagrams are looked at to find one to be given up.
	maxVictims = 64
)

// victim returns the datagram to be given up for that of key: among the oldest, one
// of fragments that nobody sends in earnest, or one from the same source, so that
// a flood of either pushes out its own; else one of which a single fragment came from a
// source that never completed a datagram, as in a flood from forged sources, if possible
// to the same destination, so that a flood of one host costs the datagrams of others
// nothing; else the oldest.
func (t *fragments) victim(key fragmentKey) *datagram {
	g := t.oldest
	var lone *datagram // the oldest of those, to the same destination if there is one
	for range maxVictims {
		if g == nil {
			break
		}
		if g.refused || g.tiny() || g.key.src == key.src {
			return g
		}
		same := g.key.dst == key.dst
		if (lone == nil || same && lone.key.dst != key.dst) && len(g.parts) == 1 && *t.honestAt(g.key.src) != g.key.src {
			lone = g
		}
		g = g.foll
	}
	if lone != nil {
		return lone
	}
	return t.oldest
}

// tiny reports whether a datagram has a fragment that is too small to be one.
func (g *datagram) tiny() bool {
	for i := range g.parts {
		if p := &g.parts[i]; p.length < leastFragment && p.off+p.length != g.total {
			return true
		}
	}
	return false
}

func (l FragmentLimits) orDefaults() FragmentLimits {
	if l.Datagrams <= 0 {
		l.Datagrams = 1024
	}
	if l.Fragments <= 0 {
		l.Fragments = 128
	}
	if l.Bytes <= 0 {
		l.Bytes = 4 << 20
	}
	if l.Timeout <= 0 {
		l.Timeout = 30 * time.Second
	}
	return l
}

type coverage uint8

const (
	fresh coverage = iota
	repeated
	overlapping
)

// cover adds f's range to what is covered and says how it met the rest.
func (g *datagram) cover(f fragment) coverage {
	n := span{f.off, f.off + f.length}
	first := 0 // the spans that n touches or overlaps are [first, last)
	for first < len(g.covered) && g.covered[first].to < n.from {
		first++
	}
	last, met := first, fresh
	for last < len(g.covered) && g.covered[last].from <= n.to {
		if s := g.covered[last]; s.from < n.to && n.from < s.to {
			met = overlapping
		}
		last++
	}
	if met == overlapping {
		for _, p := range g.parts {
			if p.off == f.off && p.length == f.length {
				return repeated // a SPAN port shows many packets twice
			}
		}
	}
	if first == last {
		g.covered = append(g.covered, span{})
		copy(g.covered[first+1:], g.covered[first:])
		g.covered[first] = n
		return met
	}
	g.covered[first] = span{min(n.from, g.covered[first].from), max(n.to, g.covered[last-1].to)}
	g.covered = append(g.covered[:first+1], g.covered[last:]...)
	return met
}

// assemble returns the payload up to the first byte that was not captured.
// Where fragments overlap, the bytes that came first win.
func (g *datagram) assemble() []byte {
	b := make([]byte, g.total)
	captured := g.total
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := g.parts[i]
		copy(b[p.off:], p.data)
		if len(p.data) < p.length {
			captured = min(captured, p.off+len(p.data))
		}
	}
	return b[:captured]
}

// refuse gives a datagram's bytes back but keeps its key, so that its other
// fragments are refused too until it expires.
func (t *fragments) refuse(g *datagram) {
	t.bytes -= g.bytes
	g.refused, g.parts, g.covered, g.earlier, g.bytes = true, nil, nil, nil, 0
}

func (t *fragments) add(g *datagram) {
	t.table[g.key] = g
	g.prev = t.newest
	if t.newest != nil {
		t.newest.foll = g
	} else {
		t.oldest = g
	}
	t.newest = g
}

func (t *fragments) remove(g *datagram) {
	delete(t.table, g.key)
	t.bytes -= g.bytes
	if g.prev != nil {
		g.prev.foll = g.foll
	} else {
		t.oldest = g.foll
	}
	if g.foll != nil {
		g.foll.prev = g.prev
	} else {
		t.newest = g.prev
	}
	g.prev, g.foll = nil, nil
}
