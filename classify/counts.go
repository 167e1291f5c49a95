package classify

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
)

// counts is what an engine counts besides the records it writes.
type counts struct {
	tracked
	source    capture.Stats
	loss      loss
	heldEarly uint64 // flows finalised because MaxHeld waited
	breaths   int    // flows that ended; see Engine.breathe
}

// tracked is what the table has counted, as it stands after a batch.
type tracked struct {
	packets, ipBytes uint64
	began            int64 // time of the first packet
	clock            int64
	live, memory     int
	evicted          uint64
	// How often the clock went back, and packets whose time was not believed.
	clockSteps, clockOutliers uint64
	missing, late             uint64 // TCP payload bytes
}

// note takes what the table counted until the end of a batch.
func (t *tracked) note(table *flow.Table, b *capture.Batch) {
	if t.packets == 0 && len(b.Packets) > 0 {
		t.began = b.Packets[0].Time
	}
	t.packets, t.ipBytes = table.Packets, table.IPBytes
	t.clock, t.live, t.memory, t.evicted = table.Clock(), table.Live(), table.Bytes(), table.Evicted
	t.clockSteps, t.clockOutliers = table.Steps(), table.Outliers()
	t.missing, t.late = table.Missing, table.Late
}

// loss counts the bytes of TCP payload that the sensor saw and did not see, in all
// and by host pair.
type loss struct {
	total lost
	pairs map[uint64]lost // of flows with missing bytes, by the hash of the addresses
}

type lost struct{ seen, missing uint64 }

// maxLossy bounds the pairs of hosts whose loss is counted apart.
const maxLossy = 1 << 16

// add adds a flow that ended.
func (l *loss) add(f *flow.Flow) {
	missing := f.GapBytes(0) + f.GapBytes(1)
	a, b := f.Packets(0)*40, f.Packets(1)*40 // what headers take
	seen := max(f.Bytes(0), a) - a + max(f.Bytes(1), b) - b
	l.total.missing += missing
	l.total.seen += seen
	if missing == 0 {
		return
	}
	key := capture.HashPair(&f.Sides[0].Addr, &f.Sides[1].Addr)
	p, known := l.pairs[key]
	if !known && len(l.pairs) >= maxLossy {
		return
	}
	if l.pairs == nil {
		l.pairs = make(map[uint64]lost)
	}
	l.pairs[key] = lost{p.seen + seen, p.missing + missing}
}

// lossy reports whether more than 1 % of the acknowledged bytes between the hosts
// of f were never seen, in the flows in which any are missing.
func (l *loss) lossy(f *flow.Flow) bool {
	p, known := l.pairs[capture.HashPair(&f.Sides[0].Addr, &f.Sides[1].Addr)]
	if !known && len(l.pairs) >= maxLossy {
		p = l.total // as far as is known
	}
	return p.missing*100 > p.seen+p.missing
}

// share returns the share of the acknowledged bytes that was never seen, from 0
// to 1.
func (l *loss) share() float64 {
	if total := l.total.seen + l.total.missing; total > 0 {
		return float64(l.total.missing) / float64(total)
	}
	return 0
}
