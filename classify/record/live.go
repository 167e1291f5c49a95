package record

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

// NoneLabel is the label of traffic without a data path.
const NoneLabel = "none"

// Labels returns every label that traffic can have with a set of packs:
// NoneLabel, then the ids of paths and groups in pack order.
func Labels(packs *rules.Packs) []string {
	labels := []string{NoneLabel}
	known := map[string]bool{NoneLabel: true}
	add := func(id string) {
		if !known[id] {
			known[id] = true
			labels = append(labels, id)
		}
	}
	for _, pack := range packs.All() {
		for i := range pack.Paths {
			p := &pack.Paths[i]
			add(p.ID)
			for j := range p.Legs {
				add(p.Legs[j].Group)
			}
		}
	}
	return labels
}

// PathTraffic is the traffic of one label: a data path's id, the group's id
// where rows are tied, or NoneLabel.
type PathTraffic struct {
	Label   string
	Bytes   Count
	Packets Count
	// Active is the number of live flows counted under the label.
	Active int64
	// LastSeen is the time of the last packet in nanoseconds since the Unix
	// epoch, 0 for never.
	LastSeen int64
	// Relabelled counts the flows that ended under this label after their
	// traffic was counted under another one.
	Relabelled uint64
}

// Snapshot is what an engine has counted so far.
type Snapshot struct {
	// Paths holds one entry a label, in the order of Labels.
	Paths []PathTraffic
	// PendingBytes and PendingPackets belong to live flows that are not yet
	// counted under a label.
	PendingBytes, PendingPackets uint64
	// Packets and IPBytes count what the engine has taken in.
	Packets, IPBytes uint64
	// LiveFlows and HeldFlows are flows in the table, Evicted those that ended
	// early because it was full, Reading those whose content is being read.
	LiveFlows, HeldFlows, Reading int
	Evicted                       uint64
	// Violations counts observers that found another protocol than expected.
	Violations uint64
	// Endpoints counts the learned endpoints that hold now.
	Endpoints []EndpointCount
	// Limits counts, per limit, what was refused or dropped because of it.
	Limits []NamedCount
	// Frames, FrameBytes and Truncated are the source's counts: frames, their
	// bytes on the wire, and frames that the snap length cut.
	Frames, FrameBytes, Truncated uint64
	// Skipped counts frames that became no packet, by reason.
	Skipped []NamedCount
	// Fragments counts datagrams that came in fragments, by what became of them.
	Fragments []NamedCount
	// Copies counts the frames that were left out as copies that a mirror port made. It
	// is in Skipped, too.
	Copies uint64
	// MissingBytes counts the TCP payload bytes that were not there when later ones
	// came, and LateBytes those of them that came after all.
	MissingBytes, LateBytes uint64
	// ClockSteps counts how often the clock of the capture went back, and ClockOutliers
	// the packets whose time was not believed.
	ClockSteps, ClockOutliers uint64
	// Clock is the highest packet time seen, in nanoseconds since the Unix epoch.
	Clock int64
}

// EndpointCount is a number of learned endpoints.
type EndpointCount struct {
	Service string
	Source  observe.Source
	Count   int
}

// Judged is a flow as it stands, with its current verdict. It is valid during the
// call only.
type Judged struct {
	// Record is in state "active", even if the flow has ended: its last record is
	// still to come.
	*Record
	Tags  string // tag stack of the first packet, outermost first
	Ended bool
}
