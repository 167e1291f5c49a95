package classify

import (
	"slices"
	"time"
	"unsafe"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// pendingTime is the packet time after which a flow's traffic is counted where
// its verdict puts it then.
const pendingTime = int64(10 * time.Second)

// ledger counts bytes and packets by label. The traffic of a flow is pending
// until it gets a label: when its verdict rests on more than its port, after
// pendingTime, or at its end. A nil ledger counts nothing.
type ledger struct {
	paths          []record.PathTraffic // the first is NoneLabel
	index          map[string]uint16    // into paths, plus one, by label
	pendingBytes   uint64
	pendingPackets uint64
	// born holds the flows that may be pending, in order of their begin, from head
	// on.
	born []birth
	head int
}

// birth names a flow whose place may be another flow's by now.
type birth struct {
	number uint64 // of its first packet
	id     flow.ID
	time   uint32 // in units of birthUnit; it begins again after 52 days
}

// birthUnit is about a thousandth of a second, in nanoseconds.
const birthUnit = 1 << 20

func newLedger(packs *rules.Packs) *ledger {
	l := &ledger{index: map[string]uint16{}}
	l.addLabels(packs)
	return l
}

// addLabels adds the labels of a set of packs that are missing. What was counted
// under a label that is gone stays listed, so that no counter goes back.
func (l *ledger) addLabels(packs *rules.Packs) {
	if l == nil {
		return
	}
	for _, label := range record.Labels(packs) {
		if l.index[label] == 0 {
			l.paths = append(l.paths, record.PathTraffic{Label: label})
			l.index[label] = uint16(len(l.paths))
		}
	}
}

// packet counts a packet of a flow; now is the engine's time, which does not go back.
func (l *ledger) packet(p *capture.Packet, ev *flow.Event, st *state, now int64) {
	if l == nil {
		return
	}
	if st.label == 0 {
		l.pendingBytes += uint64(p.Length)
		l.pendingPackets++
		if ev.What&flow.New != 0 {
			l.born = append(l.born, birth{p.Number, ev.ID, uint32(now / birthUnit)})
		}
		return
	}
	path := &l.paths[st.label-1]
	d := st.Ends.Direction(ev.Sender())
	path.Bytes[d] += uint64(p.Length)
	path.Packets[d]++
	path.LastSeen = max(path.LastSeen, p.Time)
}

// unlabelled counts a packet that belongs to no flow.
func (l *ledger) unlabelled(p *capture.Packet) {
	if l == nil {
		return
	}
	l.paths[0].Bytes[observe.ToServer] += uint64(p.Length)
	l.paths[0].Packets[observe.ToServer]++
}

// count counts a pending flow under the label of a verdict.
func (l *ledger) count(s *slot, v *record.Verdict) {
	s.label = l.labelOf(v)
	path := &l.paths[s.label-1]
	for _, d := range [...]observe.Direction{observe.ToServer, observe.ToClient} {
		side := s.Ends.Side(d)
		path.Bytes[d] += s.Bytes(side)
		path.Packets[d] += s.Packets(side)
		l.pendingBytes -= s.Bytes(side)
		l.pendingPackets -= s.Packets(side)
	}
	path.LastSeen = max(path.LastSeen, s.Last)
	path.Active++
}

func (l *ledger) labelOf(v *record.Verdict) uint16 {
	if v.Group != "" {
		if i := l.index[v.Group]; i != 0 {
			return i
		}
	}
	return l.index[record.NoneLabel]
}

// ended takes in the end of a flow.
func (l *ledger) ended(s *slot, v *record.Verdict) {
	if l == nil {
		return
	}
	if s.label == 0 {
		l.count(s, v)
	}
	l.paths[s.label-1].Active--
}

// final notes where the last record of a flow puts it.
func (l *ledger) final(s *slot, v *record.Verdict) {
	if l == nil {
		return
	}
	if label := l.labelOf(v); label != s.label {
		l.paths[label-1].Relabelled++
	}
}

// due takes the next flow that began at least pendingTime ago.
func (l *ledger) due(now int64) (b birth, ok bool) {
	if l == nil || l.head == len(l.born) || uint32(now/birthUnit)-l.born[l.head].time < uint32(pendingTime/birthUnit) {
		return b, false
	}
	b = l.born[l.head]
	l.head++
	if l.head > 4096 && l.head*2 > len(l.born) {
		l.born = l.born[:copy(l.born, l.born[l.head:])]
		l.head = 0
	}
	return b, true
}

// memory returns the bytes that the list of flows just begun takes.
func (l *ledger) memory() int {
	if l == nil {
		return 0
	}
	return cap(l.born) * int(unsafe.Sizeof(birth{}))
}

// snapshot adds the counts of the ledger to s.
func (l *ledger) snapshot(s *record.Snapshot) {
	if l == nil {
		return
	}
	s.Paths = slices.Clone(l.paths)
	s.PendingBytes, s.PendingPackets = l.pendingBytes, l.pendingPackets
}

// judged gives a flow as it stands to whoever asked for it.
func (e *Engine) judged(s *slot, sub *subject, v *record.Verdict, hasEnded bool) {
	if e.cfg.OnJudged == nil || e.cfg.JudgedIf != nil && !e.cfg.JudgedIf(s.Number, v) {
		return
	}
	j := record.Judged{Record: e.fill(s, sub, v, "active"), Ended: hasEnded}
	if s.VLANs != 0 {
		j.Tags = e.out.vlanText(s.VLANs)
	}
	e.cfg.OnJudged(j)
}

// countPending counts a pending flow under its label if its verdict has at
// least the confidence wanted. outcome is how its set-up went so far.
func (e *Engine) countPending(s *slot, want record.Confidence, outcome record.Outcome) {
	sub := e.subjectOf(s, outcome)
	if v := e.verdictOf(sub); v.Confidence >= want {
		e.ledger.count(s, v)
		e.judged(s, sub, v, false)
	}
}

// newFacts takes in that more is known of a flow.
func (e *Engine) newFacts(id flow.ID) {
	if e.ledger == nil {
		return
	}
	switch s := e.flows.at(id); {
	case s.has(ended):
	case s.label == 0:
		e.countPending(&s, record.Learned, record.Answered)
	case e.cfg.OnJudged != nil:
		sub := e.subjectOf(&s, record.Answered)
		e.judged(&s, sub, e.verdictOf(sub), false)
	}
}

// trimBorn takes the flows off the list of those just begun that are pending no more,
// as most of a flood soon are not.
func (e *Engine) trimBorn() {
	l := e.ledger
	left := slices.DeleteFunc(l.born[l.head:], func(b birth) bool {
		s := e.flows.stateOf(b.id)
		return s.label != 0 || s.has(ended) || e.flows.view.At(b.id).Number != b.number
	})
	l.born = l.born[:copy(l.born, left)]
	l.head = 0
}

// minBorn is how long the list of flows just begun may be in any case.
const minBorn = 1 << 16

// countDue counts the flows that were pending long enough.
func (e *Engine) countDue() {
	if l := e.ledger; l != nil && len(l.born) > minBorn && len(l.born)-l.head > 2*e.flows.used {
		e.trimBorn()
	}
	for {
		b, ok := e.ledger.due(e.passed())
		if !ok {
			return
		}
		e.breathe()
		if s := e.flows.at(b.id); s.Number == b.number && s.label == 0 && !s.has(ended) {
			e.countPending(&s, record.NoConfidence, e.outcomeOf(&s))
		}
	}
}
