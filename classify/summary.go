package classify

import (
	"cmp"
	"slices"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/record"
)

// summary says what the run learned besides its flows.
func (e *Engine) summary(errs []error) *record.Summary {
	s := &record.Summary{
		Frames: e.counts.source.Frames, Packets: e.counts.packets, IPBytes: e.counts.ipBytes, Errors: errs,
	}
	if e.counts.began != 0 {
		s.First, s.Last = time.Unix(0, e.counts.began).UTC(), time.Unix(0, e.clock).UTC()
	}
	s.AckedUnseen = e.counts.loss.share()
	s.Hosts, s.Endpoints = e.inventory.Hosts(e.tunnels.describe), e.inventory.Endpoints()
	s.Limits = e.limits()
	if e.calls != nil {
		s.Calls, s.Streams = e.calls.Calls()
	}
	source := &e.counts.source
	s.Skipped, s.Missed, s.Truncated, s.SnapLength = skips(source), source.Missed(), source.Truncated, source.SnapLength
	for _, u := range source.Unread {
		if u.Frames > 0 {
			s.Unread = append(s.Unread, record.NamedCount{ID: u.String(), Name: u.String(), Count: u.Frames})
		}
	}
	slices.SortStableFunc(s.Unread, func(a, b record.NamedCount) int { return cmp.Compare(b.Count, a.Count) })
	return s
}

// Summary returns what was learned so far. It may be called while batches are taken in, by
// any goroutine; they wait for it.
func (e *Engine) Summary() *record.Summary {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.summary(nil)
	s.Notes, s.Drops = slices.Clone(e.out.notes), slices.Clone(e.out.drops)
	return s
}

// fragments lists what became of fragmented datagrams.
func fragments(f *capture.FragmentStats) []record.NamedCount {
	return []record.NamedCount{
		{ID: "reassembled", Name: "reassembled", Count: f.Reassembled},
		{ID: "expired", Name: "given up because of their age", Count: f.Expired},
		{ID: "evicted", Name: "given up because too many were incomplete", Count: f.Evicted},
		{ID: "refused", Name: "given up for too many fragments", Count: f.Refused},
		{ID: "overlapping", Name: "with fragments that overlap", Count: f.Overlapping},
	}
}

// limits lists, for every limit that was reached, how often it was.
func (e *Engine) limits() []record.NamedCount {
	var out []record.NamedCount
	limit := func(id, name string, n uint64) {
		if n > 0 {
			out = append(out, record.NamedCount{ID: id, Name: name, Count: n})
		}
	}
	limit("flows", "flows ended early because the flow table was full", e.counts.evicted)
	limit("held_flows", "flows judged early because too many were held", e.counts.heldEarly)
	limit("conns", "flows not read on because too many were being read", e.reader.Conns)
	limit("unrecognised", "flows given up that kept sending what is not known", e.reader.Unrecognised)
	limit("stream_bytes", "flows not read on because one message was too long", e.reader.StreamHeld)
	limit("buffered_bytes", "flows not read on because streams and observers held too much in all", e.reader.Counts.Buffered)
	limit("facts", "facts left out because there were too many", e.reader.Counts.Facts)
	limit("flow_marks", "VLAN tags and tunnels of flows not remembered because there were too many", e.flows.unmarked+e.tunnels.unmarked)
	limit("legs", "flows not compared with the other legs of their conversation because there were too many", e.legs.refused)
	for _, l := range e.inventory.Limits() {
		limit(l.ID, l.Name, l.Count)
	}
	limit("fragments", "fragmented datagrams given up because too many were incomplete", e.counts.source.Fragments.Evicted)
	limit("fragments_datagram", "fragmented datagrams given up for too many fragments", e.counts.source.Fragments.Refused)
	limit("clock_steps", "times that the clock of the capture went back", e.counts.clockSteps)
	limit("clock_outliers", "packets whose time was too far from that of others to be believed", e.counts.clockOutliers)
	if e.calls != nil {
		limit("calls", "calls left out", e.calls.DroppedCalls)
		limit("media_streams", "media streams left out", e.calls.DroppedStreams)
	}
	return out
}

// skips lists the frames that became no packet, by reason.
func skips(stats *capture.Stats) []record.NamedCount {
	var out []record.NamedCount
	for reason := capture.Skip(1); reason < capture.NumSkips; reason++ {
		if n := stats.Skipped[reason]; n > 0 {
			out = append(out, record.NamedCount{ID: reason.String(), Name: reason.String(), Count: n})
		}
	}
	return out
}

// Snapshot returns the counts as they stand. It may be called while batches
// are taken in, by any goroutine.
func (e *Engine) Snapshot() *record.Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &record.Snapshot{
		Packets: e.counts.packets, IPBytes: e.counts.ipBytes, LiveFlows: e.counts.live, HeldFlows: e.held.Len(), Reading: e.reader.Reading(),
		Evicted: e.counts.evicted, Violations: e.reader.Violations, Limits: e.limits(), Clock: e.clock,
		Frames: e.counts.source.Frames, FrameBytes: e.counts.source.Bytes, Truncated: e.counts.source.Truncated, Skipped: skips(&e.counts.source),
		Fragments: fragments(&e.counts.source.Fragments), Copies: e.counts.source.Skipped[capture.SkipDuplicate],
		MissingBytes: e.counts.missing, LateBytes: e.counts.late, ClockSteps: e.counts.clockSteps, ClockOutliers: e.counts.clockOutliers,
	}
	e.ledger.snapshot(s)
	s.Endpoints = e.inventory.Counts(s.Clock)
	return s
}
