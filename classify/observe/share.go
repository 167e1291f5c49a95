package observe

import "hash/maphash"

// List is a list of facts that does not change, so that flows can share it. It
// grows out of another by one fact.
type List struct {
	last  Fact // of facts
	facts []Fact
	next  *List // the one that grew out of it last, or nil
	// id names the list among those of lists, and from is the one that it grew out of.
	id, from uint64
	lists    *FactLists // where it began; nil for a list that is nobody else's
	grown    bool       // another has the room behind facts
}

// ID returns a number that no other list of the same FactLists has, 0 where there is
// no list.
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

// FactLists lets flows whose facts are equal share one list of them: most flows
// of a kind say the same, in the same order. It is used by one goroutine.
type FactLists struct {
	seed maphash.Seed
	root *List
	last uint64 // id
	// recent holds lists by what they grew out of and by what, the latest used
	// first; a list takes the place of another.
	recent [1 << 10][4]*List
}

// NewFactLists returns an empty FactLists.
func NewFactLists() *FactLists {
	l := &FactLists{seed: maphash.MakeSeed()}
	l.root = &List{lists: l}
	return l
}

// Empty returns facts without values, whose lists are shared as they grow.
func (l *FactLists) Empty() Facts { return Facts{list: l.root} }

// with returns the list with one more fact, which is not in it.
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

// known returns the list with one more fact if it is remembered, else nil.
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

// knownBytes is known for a value that is no string yet. A list never has a fact
// twice, so that none is found for one that is in l.
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

// again returns the list at a place, which comes next and is now the latest used.
func (l *List) again(place *[4]*List, i int) *List {
	n := place[i]
	if i > 0 {
		copy(place[1:], place[:i])
		place[0] = n
	}
	l.next = n
	return n
}

// place returns where the list with one more fact is remembered, by the hash of
// its value.
func (l *List) place(hash uint64) *[4]*List {
	hash += l.id * 0x9e3779b97f4a7c15
	return &l.lists.recent[hash>>32%uint64(len(l.lists.recent))]
}

// and makes a list of one fact more.
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

// without returns the list without a fact that is in it.
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
