package observe

import "hash/maphash"

// List is an immutable list of facts that flows share. It extends another list by
// one fact.
type List struct {
	last  Fact // of facts
	facts []Fact
	next  *List // the list that extended it last, or nil
	// id identifies the list among those of lists; from is the id of the list that it
	// extends.
	id, from uint64
	lists    *FactLists // that share it; nil for a list that is not shared
	grown    bool       // another list uses the room behind facts
}

// ID returns a number that is unique among the lists of one FactLists, or 0 for a
// nil list.
func (l *List) ID() uint64 {
	if l == nil {
		return 0
	}
	return l.id
}

// All returns every fact of the list in the order added. The slice must not be
// changed.
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
		if all[i].Name == name && all[i].Value == value {
			return true
		}
	}
	return false
}

// Any reports whether there is any value of name.
func (l *List) Any(name string) bool {
	all := l.All()
	for i := range all {
		if all[i].Name == name {
			return true
		}
	}
	return false
}

// FactLists lets flows with equal facts share one list, because most flows of a
// kind report the same facts in the same order. It must be used by one goroutine
// only.
type FactLists struct {
	seed maphash.Seed
	root *List
	last uint64 // id
	// recent holds lists by the list and the fact that made them, most recently used
	// first. A new list takes the place of an old one.
	recent [1 << 10][4]*List
}

// NewFactLists returns an empty FactLists.
func NewFactLists() *FactLists {
	l := &FactLists{seed: maphash.MakeSeed()}
	l.root = &List{lists: l}
	return l
}

// Empty returns empty facts whose lists are shared as they grow.
func (l *FactLists) Empty() Facts { return Facts{list: l.root} }

// with returns the list extended by a fact that is not in it.
func (l *List) with(f Fact) *List {
	if l == nil {
		l = &List{}
	}
	if n := l.known(f); n != nil {
		return n
	}
	l.next = l.and(f)
	if l.lists != nil {
		place := l.place(maphash.String(l.lists.seed, f.Value))
		copy(place[1:], place[:])
		place[0] = l.next
	}
	return l.next
}

// known returns the list extended by a fact if it is remembered, and nil otherwise.
func (l *List) known(f Fact) *List {
	if l.lists == nil {
		return nil
	}
	place := l.place(maphash.String(l.lists.seed, f.Value))
	for i, n := range place {
		if n != nil && n.from == l.id && n.last == f {
			return l.again(place, i)
		}
	}
	return nil
}

// knownBytes is like known, for a value that is not a string yet. A list never has
// a fact twice, so it returns nil for a fact that is in l.
func (l *List) knownBytes(name string, value []byte) *List {
	if l.lists == nil {
		return nil
	}
	place := l.place(maphash.Bytes(l.lists.seed, value))
	for i, n := range place {
		if n != nil && n.from == l.id && n.last.Value == string(value) && n.last.Name == name {
			return l.again(place, i)
		}
	}
	return nil
}

// again makes the list at a place the most recently used and the next one, and
// returns it.
func (l *List) again(place *[4]*List, i int) *List {
	n := place[i]
	if i > 0 {
		copy(place[1:], place[:i])
		place[0] = n
	}
	l.next = n
	return n
}

// place returns where the list extended by a fact is remembered, by the hash of the
// fact's value.
func (l *List) place(hash uint64) *[4]*List {
	hash += l.id * 0x9e3779b97f4a7c15
	return &l.lists.recent[hash>>32%uint64(len(l.lists.recent))]
}

// and returns a new list with one more fact.
func (l *List) and(f Fact) *List {
	n := &List{last: f, facts: l.facts, from: l.id, lists: l.lists}
	if l.grown || len(l.facts) == cap(l.facts) {
		n.facts = append(make([]Fact, 0, len(l.facts)+4), l.facts...)
	} else {
		l.grown = true
	}
	n.facts = append(n.facts, f)
	if s := l.lists; s != nil {
		s.last++
		n.id = s.last
	}
	return n
}

// without returns the list without one of its facts.
func (l *List) without(f Fact) *List {
	var r *List
	if l.lists != nil {
		r = l.lists.root
	}
	for _, x := range l.facts {
		if x != f {
			r = r.with(x)
		}
	}
	return r
}
