package observe

import (
	"hash/maphash"
	"slices"
	"unsafe"
)

// emptySize is about how many bytes a list takes besides its facts.
const emptySize = int32(unsafe.Sizeof(List{})) + 2*int32(unsafe.Sizeof(Fact{}))

// List is an immutable list of facts that flows share. It extends another list by one
// fact.
type List struct {
	last  Fact // of facts
	facts []Fact
	next  *List // the most recent list that extends this one, or nil
	// id identifies the list within lists. from is the id of the list that it extends.
	id, from uint64
	lists    *FactLists // the FactLists that share the list; nil if it is not shared
	size     int32      // bytes of the list and of its facts
	kept     int32      // how often Keep was called, less Drop
	grown    bool       // another list uses the spare capacity of facts
}

// ID returns a number that is unique within one FactLists, or 0 for a nil list.
func (l *List) ID() uint64 {
	if l == nil {
		return 0
	}
	return l.id
}

// All returns all facts of the list in the order in which they were added. The caller
// must not change the slice.
func (l *List) All() []Fact {
	if l == nil {
		return nil
	}
	return l.facts
}

// Has reports whether value is in the set of name.
func (l *List) Has(name, value string) bool {
	all := l.All()
	for i := range all {
		if all[i].Value == value && all[i].Name == name { // values differ more often than names
			return true
		}
	}
	return false
}

// Any reports whether name has any value.
func (l *List) Any(name string) bool {
	all := l.All()
	for i := range all {
		if all[i].Name == name {
			return true
		}
	}
	return false
}

// FactLists lets flows with equal facts share one list. Most flows of a kind report the
// same facts in the same order. FactLists is not safe for concurrent use.
type FactLists struct {
	seed maphash.Seed
	root *List
	last uint64 // the last id assigned
	// recent holds lists by the list and the fact that produced them, most recently used
	// first. A new list replaces the least recently used one.
	recent [1 << 11][4]*List
}

// NewFactLists returns an empty FactLists.
func NewFactLists() *FactLists {
	l := &FactLists{seed: maphash.MakeSeed()}
	l.root = &List{lists: l}
	return l
}

// Empty returns an empty set of facts whose lists are shared as it grows.
func (l *FactLists) Empty() Facts { return Facts{list: l.root} }

// with returns the list extended by f, which must not be in it.
func (l *List) with(f Fact) *List {
	if l == nil {
		l = &List{}
	}
	if n := l.known(f); n != nil {
		return n
	}
	l.next = l.extend(f)
	if l.lists != nil {
		place := l.place(maphash.String(l.lists.seed, f.Value))
		copy(place[1:], place[:])
		place[0] = l.next
	}
	return l.next
}

// known returns the list extended by f if recent holds it, and nil otherwise.
func (l *List) known(f Fact) *List {
	if l.lists == nil {
		return nil
	}
	place := l.place(maphash.String(l.lists.seed, f.Value))
	for i, n := range place {
		if n != nil && n.from == l.id && n.last == f {
			return l.touch(place, i)
		}
	}
	return nil
}

// knownBytes is like known, for a value that is not yet a string. A list never contains a
// fact twice, so knownBytes returns nil for a fact that is in l.
func (l *List) knownBytes(name string, value []byte) *List {
	if l.lists == nil {
		return nil
	}
	place := l.place(maphash.Bytes(l.lists.seed, value))
	for i, n := range place {
		if n != nil && n.from == l.id && n.last.Value == string(value) && n.last.Name == name {
			return l.touch(place, i)
		}
	}
	return nil
}

// touch returns the list at index i of place. It moves the list to the front and makes it
// the next list of l.
func (l *List) touch(place *[4]*List, i int) *List {
	n := place[i]
	if i > 0 {
		copy(place[1:], place[:i])
		place[0] = n
	}
	l.next = n
	return n
}

// place returns the place in recent for the list extended by a fact with the given hash
// of its value.
func (l *List) place(hash uint64) *[4]*List {
	hash += l.id * 0x9e3779b97f4a7c15
	return &l.lists.recent[hash>>32%uint64(len(l.lists.recent))]
}

// extend returns a new list that extends l by f.
func (l *List) extend(f Fact) *List {
	n := &List{last: f, facts: l.facts, from: l.id, lists: l.lists}
	if l.grown || len(l.facts) == cap(l.facts) {
		n.facts = append(make([]Fact, 0, len(l.facts)+4), l.facts...)
	} else {
		l.grown = true
	}
	n.facts = append(n.facts, f)
	n.size = max(l.size, emptySize) + int32(unsafe.Sizeof(f)) + int32(len(f.Value))
	if s := l.lists; s != nil {
		s.last++
		n.id = s.last
	}
	return n
}

// without returns the list without some facts.
func (l *List) without(facts ...Fact) *List {
	var r *List
	if l.lists != nil {
		r = l.lists.root
	}
	for _, x := range l.facts {
		if !slices.Contains(facts, x) {
			r = r.with(x)
		}
	}
	return r
}
