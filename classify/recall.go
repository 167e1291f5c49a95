package classify

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// likeness is all of a flow that its verdict depends on. What it points to does
// not change, but for the entry.
type likeness struct {
	client, server *roleSet
	facts          *observe.List // nil for no facts
	entry          *entry        // the only one, or nil
	revised        uint64        // endpoints.revised, where there is an entry
	rest           uint64        // port, protocols, outcome, and what was seen
}

// recall remembers verdicts: most flows are like one judged before.
type recall struct {
	// recent holds verdicts by likeness, the one used last first; one takes the
	// place of another.
	recent [1 << recallBits][2]recalled
	fresh  record.Verdict
}

const recallBits = 11

type recalled struct {
	likeness
	verdict *record.Verdict
}

// likenessOf returns a subject's, and whether it has one: a flow with several
// learned endpoints has none.
func (e *Engine) likenessOf(s *subject, outcome record.Outcome) (likeness, bool) {
	l := likeness{client: s.client, server: s.server, facts: s.facts.List(), rest: uint64(s.port) | uint64(s.proto)<<16 | uint64(s.reader)<<24}
	if len(s.entries) > 1 {
		return l, false
	}
	if len(s.entries) == 1 {
		l.entry, l.revised = s.entries[0], e.endpoints.revised
	}
	switch outcome { // no other matters to a verdict
	case record.Prohibited:
		l.rest |= 1 << 32
	case record.Refused:
		l.rest |= 2 << 32
	case record.Unanswered:
		l.rest |= 3 << 32
	}
	if s.payload {
		l.rest |= 1 << 34
	}
	if s.begun {
		l.rest |= 1 << 35
	}
	if s.late {
		l.rest |= 1 << 36
	}
	return l, true
}

var unrelated = record.Verdict{Status: record.Unrelated}

// verdictOf returns what judge says of a flow, from memory where it can. The
// verdict is valid until the next call, and is not to be changed.
func (e *Engine) verdictOf(s *subject, outcome record.Outcome) *record.Verdict {
	if !s.client.exchange && !s.server.exchange {
		return &unrelated
	}
	r := e.recall
	like, ok := e.likenessOf(s, outcome)
	if !ok {
		r.fresh = e.judge(s, outcome)
		return &r.fresh
	}
	hash := (like.rest + like.facts.ID()<<36 + like.client.id<<48 + like.server.id<<56) * 0x9e3779b97f4a7c15
	known := &r.recent[hash>>(64-recallBits)]
	if known[0].likeness != like {
		known[0], known[1] = known[1], known[0]
		if known[0].likeness != like {
			v := e.judge(s, outcome)
			known[0] = recalled{like, &v}
		}
	}
	return known[0].verdict
}
