package observe

import (
	"hash/maphash"
	"slices"
)

// FactLists lets flows whose facts are equal share one list of them: most flows
// of a kind say the same. It is used by one goroutine.
type FactLists struct {
	seed maphash.Seed
	// recent holds lists by their hash; a list takes the place of another.
	recent [1 << 10][]Fact
}

// NewFactLists returns an empty FactLists.
func NewFactLists() *FactLists { return &FactLists{seed: maphash.MakeSeed()} }

// Share makes f share the list of equal facts, if one is known; its own may be
// shared from then on. Facts whose list is shared take a copy of it when they
// change.
func (l *FactLists) Share(f *Facts) {
	if f.shared || len(f.list) == 0 {
		return
	}
	hash := uint64(0)
	for i := range f.list {
		hash = hash*0x9e3779b97f4a7c15 + maphash.String(l.seed, f.list[i].Value)
	}
	known := &l.recent[(hash>>32^hash)%uint64(len(l.recent))]
	if !slices.Equal(*known, f.list) {
		*known = slices.Clip(f.list)
	}
	f.list, f.shared = *known, true
}

// List names the list of facts: where it is the same, so are the facts. It is
// nil where there are none, and where the list is not shared.
func (f *Facts) List() *Fact {
	if !f.shared {
		return nil
	}
	return &f.list[0]
}
