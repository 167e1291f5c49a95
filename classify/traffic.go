package classify

import (
	"cmp"
	"slices"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// settleTime is the packet time after which a flow's traffic is counted where
// its label stands then.
const settleTime = int64(10 * time.Second)

// traffic counts bytes and packets by label. A flow's are pending until it
// settles: when its verdict rests on more than its port, after settleTime, or at
// its end.
type traffic struct {
	paths          []record.PathTraffic // the first is NoneLabel
	index          map[string]uint16
	pendingBytes   uint64
	pendingPackets uint64
	// born holds the flows that may be pending, in order of their begin.
	born []birth
	head int
	// judged is told the verdicts; nil for nobody.
	judged func(record.Judged)
}

// OnJudged makes the engine tell f the verdict of every flow when it settles,
// when facts change after that, and when the flow ends. It is to be called
// before the first batch, on an engine with Config.Traffic; f is called by Batch
// and Close, and must not call the engine.
func (e *Engine) OnJudged(f func(record.Judged)) { e.traffic.judged = f }

func (t *traffic) tell(s *slot, v *record.Verdict, ended bool) {
	if t.judged != nil {
		t.judged(record.Judged{Client: s.Client().AddrPort(), Server: s.Server().AddrPort(), Proto: s.Proto, VLANs: s.VLANs.String(), Verdict: v, Ended: ended})
	}
}

type birth struct {
	id     flow.ID
	number uint64
	time   int64
}

func newTraffic(packs *rules.Packs) *traffic {
	t := &traffic{index: map[string]uint16{}}
	for i, l := range record.Labels(packs) {
		t.paths = append(t.paths, record.PathTraffic{Label: l})
		t.index[l] = uint16(i + 1)
	}
	return t
}

// packet counts one packet.
func (t *traffic) packet(s *slot, sender int, isNew bool, p *capture.Packet) {
	if s.Owner.label == 0 {
		t.pendingBytes += uint64(p.Length)
		t.pendingPackets++
		if isNew {
			t.born = append(t.born, birth{s.id, s.Number, s.First})
		}
		return
	}
	path := &t.paths[s.Owner.label-1]
	d := s.Owner.Ends.Direction(sender)
	path.Bytes[d] += uint64(p.Length)
	path.Packets[d]++
	path.LastSeen = max(path.LastSeen, p.Time)
}

// unlabelled counts a packet that belongs to no flow.
func (t *traffic) unlabelled(p *capture.Packet) {
	t.paths[0].Bytes[observe.ToServer] += uint64(p.Length)
	t.paths[0].Packets[observe.ToServer]++
}

// settle counts a pending flow under the label of a verdict.
func (t *traffic) settle(s *slot, v *record.Verdict) {
	label := t.labelOf(v)
	s.Owner.label = label
	path := &t.paths[label-1]
	for _, d := range [...]observe.Direction{observe.ToServer, observe.ToClient} {
		path.Bytes[d] += s.Bytes(d)
		path.Packets[d] += s.Packets(d)
		t.pendingBytes -= s.Bytes(d)
		t.pendingPackets -= s.Packets(d)
	}
	path.LastSeen = max(path.LastSeen, s.Last)
	path.Active++
	t.tell(s, v, false)
}

func (t *traffic) labelOf(v *record.Verdict) uint16 {
	if v.Group != "" {
		if i := t.index[v.Group]; i != 0 {
			return i
		}
	}
	return t.index[record.NoneLabel]
}

// ended settles a flow at its end, once.
func (t *traffic) ended(s *slot, v *record.Verdict) {
	if s.Owner.said&over != 0 {
		return
	}
	if s.Owner.label == 0 {
		t.settle(s, v)
	}
	s.Owner.said |= over
	t.tell(s, v, true)
	t.paths[s.Owner.label-1].Active--
}

// final notes where a flow's record put it.
func (t *traffic) final(s *slot, v *record.Verdict) {
	if label := t.labelOf(v); label != s.Owner.label {
		t.paths[label-1].Relabelled++
	}
}

// trySettle settles a pending flow if its verdict has the confidence wanted.
func (e *Engine) trySettle(s *slot, want record.Confidence) {
	sub := e.subjectOf(s)
	if v := e.verdictOf(sub, record.Answered); v.Confidence >= want {
		e.traffic.settle(s, v)
	}
}

// newFacts settles a live flow of which more is known now, if that is enough.
func (e *Engine) newFacts(s *slot) {
	switch {
	case s.Owner.said&over != 0:
	case s.Owner.label == 0:
		e.trySettle(s, record.Learned)
	case e.traffic.judged != nil:
		sub := e.subjectOf(s)
		e.traffic.tell(s, e.verdictOf(sub, record.Answered), false)
	}
}

// passTime settles the flows that were pending long enough, and writes interim
// records when it is time.
func (e *Engine) passTime() {
	t := e.traffic
	now := e.clock
	for t.head < len(t.born) && t.born[t.head].time+settleTime <= now {
		e.breathe()
		b := t.born[t.head]
		t.head++
		if s := e.at(b.id); s.Number == b.number && s.Owner.label == 0 && s.Owner.said&over == 0 {
			e.trySettle(&s, record.NoConfidence)
		}
	}
	if t.head > 4096 && t.head*2 > len(t.born) {
		t.born = t.born[:copy(t.born, t.born[t.head:])]
		t.head = 0
	}
}

// interimBatch is how many interim records are written between two batches of
// packets at most, so that a capture is not kept waiting.
const interimBatch = 256

// interim writes a record of every live flow that had packets since the last
// time, a few at a time.
func (e *Engine) interim() {
	now := e.clock
	if e.cfg.Interim == 0 || len(e.interimLeft) == 0 && now < e.interimNext {
		return
	}
	if len(e.interimLeft) == 0 {
		if e.interimNext != 0 {
			e.table.All(func(id flow.ID, s *flow.Flow) bool {
				if s.Last > e.interimLast {
					e.interimLeft = append(e.interimLeft, birth{id, s.Number, 0})
				}
				return true
			})
		}
		e.interimLast = now
		e.interimNext = now + int64(e.cfg.Interim)
	}
	n := max(len(e.interimLeft)-interimBatch, 0)
	for _, b := range e.interimLeft[n:] {
		s := e.at(b.id)
		if s.Number != b.number || s.Owner.said&over != 0 {
			continue // it has ended meanwhile
		}
		sub := e.subjectOf(&s)
		outcome := e.outcomeOf(&s)
		e.write(&s, sub, outcome, e.verdictOf(sub, outcome), "active")
	}
	if e.interimLeft = e.interimLeft[:n]; n == 0 && cap(e.interimLeft) > 1<<16 {
		e.interimLeft = nil
	}
}

// Snapshot returns the counts as they stand. It may be called while batches
// are taken in, by any goroutine.
func (e *Engine) Snapshot() *record.Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &record.Snapshot{
		Packets: e.tracked.packets, IPBytes: e.tracked.ipBytes, LiveFlows: e.tracked.live, HeldFlows: e.held.Len(), Reading: e.reader.Reading(),
		Evicted: e.tracked.evicted, Violations: e.reader.Violations, Limits: e.limits(), Clock: e.clock,
		Frames: e.stats.Frames, FrameBytes: e.stats.Bytes, Truncated: e.stats.Truncated, Skipped: skips(&e.stats),
	}
	if e.traffic != nil {
		s.Paths = slices.Clone(e.traffic.paths)
		s.PendingBytes, s.PendingPackets = e.traffic.pendingBytes, e.traffic.pendingPackets
	}
	type key struct {
		service string
		source  observe.Source
	}
	counts := map[key]int{}
	for _, en := range e.endpoints.all {
		if !en.overAt(s.Clock) {
			counts[key{en.service, en.source}]++
		}
	}
	for k, n := range counts {
		s.Endpoints = append(s.Endpoints, record.EndpointCount{Service: k.service, Source: k.source, Count: n})
	}
	slices.SortFunc(s.Endpoints, func(a, b record.EndpointCount) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Source, b.Source))
	})
	return s
}

// relabel keeps the counts of the labels that are left after a reload, and
// adds the new ones. What was counted under a label that is gone stays listed,
// so that no counter goes back.
func (t *traffic) relabel(fresh *traffic) {
	for _, p := range fresh.paths {
		if t.index[p.Label] == 0 {
			t.paths = append(t.paths, p)
			t.index[p.Label] = uint16(len(t.paths))
		}
	}
}
