package classify

import (
	"github.com/exspan/exspan/classify/inventory"
	"github.com/exspan/exspan/classify/knowledge"
)

// learned passes on what the engine has learned itself.
func (e *Engine) learned(changes []inventory.Change) {
	if e.cfg.OnLearned == nil {
		return
	}
	for i := range changes {
		e.facts = e.inventory.FactsOf(&changes[i], e.facts[:0], e.clock)
		for j := range e.facts {
			e.cfg.OnLearned(&e.facts[j])
		}
	}
}

// Share takes in what other sensors tell, between two batches. It explains flows to
// come and those whose records wait. It may be called by any goroutine; as packets wait
// meanwhile, the list should be short.
func (e *Engine) Share(list []knowledge.Told) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range list {
		if changes := e.inventory.Tell(list[i].Sensor, &list[i].Fact, e.clock, int64(e.cfg.Hold)); len(changes) > 0 {
			e.learned(changes)
		}
	}
	e.reader.Announcements = e.inventory.MediaAnnounced()
}

// Facts appends to list the next part of what the engine learned itself, and reports
// whether there is more. It may be called by any goroutine; packets do not wait
// between its calls.
func (e *Engine) Facts(w *inventory.Walk, list []knowledge.Fact) ([]knowledge.Fact, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inventory.Facts(w, list, e.clock)
}

// ToldCounts returns what other sensors told and was not taken in, and the number of
// facts of endpoints and hosts that were.
func (e *Engine) ToldCounts() (c inventory.ToldCounts, endpoints, hosts int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inventory.ToldCounts()
}
