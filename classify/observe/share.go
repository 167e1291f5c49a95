package observe

import (
	"hash/maphash"
	"slices"
)

// maxSpare bounds the lists that are kept to be used again: flows begin about
// as often as they end.
const maxSpare = 256

// FactLists lets flows whose facts are equal share one list of them: most flows
// of a kind say the same. It is used by one goroutine.
type FactLists struct {
	seed maphash.Seed
	// recent holds lists by their hash; a list takes the place of another.
	recent [1 << 10][]Fact
	spare  [][]Fact // empty lists, at most maxSpare
}

// NewFactLists returns an empty FactLists.
func NewFactLists() *FactLists { return &FactLists{seed: maphash.MakeSeed()} }

// Empty returns facts without values, with room for some where there is any to
// spare.
func (l *FactLists) Empty() Facts {
	n := len(l.spare)
	if n == 0 {
		return Facts{}
	}
	f := Facts{list: l.spare[n-1]}
	l.spare = l.spare[:n-1]
	return f
}

// Share makes f share the list of equal facts, which is no longer than they
// need. Its own list must be in no other use: it is given out again by Empty.
// Facts whose list is shared take a copy of it when they change.
func (l *FactLists) Share(f *Facts) {
	if f.shared {
		return
	}
	own := f.list
	if len(own) == 0 {
		f.list = nil
		l.keep(own)
		return
	}
	hash := uint64(0)
	for i := range f.list {
		hash = hash*0x9e3779b97f4a7c15 + maphash.String(l.seed, f.list[i].Value)
	}
	known := &l.recent[(hash>>32^hash)%uint64(len(l.recent))]
	if !slices.Equal(*known, own) {
		*known = append(make([]Fact, 0, len(own)), own...)
	}
	f.list, f.shared = *known, true
	clear(own)
	l.keep(own[:0])
}

// keep keeps a list for later, unless there are many.
func (l *FactLists) keep(list []Fact) {
	if cap(list) > 0 && len(l.spare) < maxSpare {
		l.spare = append(l.spare, list)
	}
}

// List names the list of facts: where it is the same, so are the facts. It is
// nil where there are none, and where the list is not shared.
func (f *Facts) List() *Fact {
	if !f.shared {
		return nil
	}
	return &f.list[0]
}
