package classify

import "github.com/exspan/exspan/classify/observe"

// maxRecalled bounds the verdicts that are remembered.
const maxRecalled = 4096

// likeness is all of a flow that its verdict depends on. What it points to does
// not change: role sets and lists of facts never do, and when an entry does,
// everything remembered is forgotten.
type likeness struct {
	client, server *roleSet
	facts          *observe.List // nil for no facts
	entry          *entry        // the only one, or nil
	port           uint16
	proto          uint8
	reader         uint8
	outcome        uint8
	flags          uint8
}

// recall remembers verdicts: most flows are like one judged before.
type recall struct {
	verdicts map[likeness]*Verdict
	revised  uint64 // endpoints.revised when they were made
	fresh    Verdict
}

func newRecall() *recall { return &recall{verdicts: map[likeness]*Verdict{}} }

// likenessOf returns a subject's, and whether it has one: a flow with several
// learned endpoints has none.
func likenessOf(s *subject, outcome Outcome) (likeness, bool) {
	l := likeness{client: s.client, server: s.server, facts: s.facts.List(), port: s.port, proto: s.proto, reader: s.reader}
	if len(s.entries) > 1 {
		return l, false
	}
	if len(s.entries) == 1 {
		l.entry = s.entries[0]
	}
	switch outcome { // no other matters to a verdict
	case Prohibited:
		l.outcome = 1
	case Refused:
		l.outcome = 2
	case Unanswered:
		l.outcome = 3
	}
	for i, set := range [...]bool{s.payload, s.begun, s.late} {
		if set {
			l.flags |= 1 << i
		}
	}
	return l, true
}

var unrelated = Verdict{Status: Unrelated}

// verdictOf returns what judge says of a flow, from memory where it can. The
// verdict is valid until the next call, and is not to be changed.
func (e *Engine) verdictOf(s *subject, outcome Outcome) *Verdict {
	if !s.client.exchange && !s.server.exchange {
		return &unrelated
	}
	r := e.recall
	like, ok := likenessOf(s, outcome)
	if !ok {
		r.fresh = e.judge(s, outcome)
		return &r.fresh
	}
	if r.revised != e.endpoints.revised || len(r.verdicts) >= maxRecalled {
		clear(r.verdicts)
		r.revised = e.endpoints.revised
	}
	v := r.verdicts[like]
	if v == nil {
		judged := e.judge(s, outcome)
		v = &judged
		r.verdicts[like] = v
	}
	return v
}
