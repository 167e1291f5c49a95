package classify

import (
	"math/bits"
	"slices"

	"github.com/exspan/exspan/classify/inventory"
)

// Limits bounds what an engine holds. A zero field means its share of
// DefaultMemory.
type Limits struct {
	// MaxTracked bounds the flows that have a place, live ones and ended ones whose
	// verdict is open; MaxFlows the live ones of them, and MaxHeld the others.
	MaxTracked, MaxFlows, MaxHeld int
	// MaxMarked bounds the flows whose VLAN tags changed, and those seen in tunnels.
	MaxMarked int
	MaxConns  int // flows whose content is being read
	// MaxBuffered bounds the bytes of streams that wait for more, and of what
	// observers hold; MaxFactBytes those of what was read of all flows.
	MaxBuffered, MaxFactBytes int
	// MaxEndpoints bounds the learned endpoints, MaxHosts the hosts whose roles are
	// known and as well those of which only the name is, and MaxPairs the pairs of
	// hosts whose directions are remembered.
	MaxEndpoints, MaxHosts, MaxPairs int
}

// DefaultMemory is the memory, in bytes, among which a zero Limits divides what an
// engine holds.
const DefaultMemory = 512 << 20

// Share is a part of an engine's memory.
type Share struct {
	ID, Name string // what takes it
	Percent  int64  // of the engine's memory
	Each     int64  // bytes that one of what is counted takes; 1 where bytes are counted
	Full     string // what happens when it is used up
	// Limits are the ids of the counters that tell how often that was: see
	// record.Snapshot.Limits.
	Limits []string
	Room   int64 // how many there is room for
}

// The indexes of shares.
const (
	shareFlows = iota
	shareMarks
	sharePairs
	shareConns
	shareBuffers
	shareFacts
	shareEndpoints
	shareHosts
)

// shares are the parts into which an engine's memory is divided. What is left is for
// garbage that was not collected yet.
var shares = [...]Share{
	// A place in the table takes 148 bytes, its state 20, its entry in the index up to
	// 21, one among the flows just begun up to 24, and putting all in order at the end 12.
	shareFlows: {ID: "flows", Name: "flows, live and held", Percent: 42, Each: 225, Limits: []string{"flows", "held_flows"},
		Full: "the held flow that waits for longest is judged, and live flows end early, those last of which both sides sent payload"},
	shareMarks: {ID: "marks", Name: "VLAN tags and tunnels of flows", Percent: 2, Each: 256, Limits: []string{"flow_marks"},
		Full: "further tags and tunnels are not remembered"},
	sharePairs: {ID: "pairs", Name: "directions of host pairs", Percent: 5, Each: 11, Limits: []string{"host_pairs"},
		Full: "further pairs count as seen in one direction"},
	shareConns: {ID: "reading", Name: "flows being read", Percent: 7, Each: 720, Limits: []string{"conns"},
		Full: "the reading of a flow ends: one-sided ones come first, then those that told nothing, then those that are silent for longest"},
	shareBuffers: {ID: "buffers", Name: "streams, and what observers hold", Percent: 8, Each: 1, Limits: []string{"buffered_bytes", "stream_bytes"},
		Full: "the reading of a flow ends, in the same order, and of those that hold most"},
	shareFacts: {ID: "facts", Name: "what was read of flows", Percent: 11, Each: 1, Limits: []string{"facts"},
		Full: "the facts of a flow are dropped: those of one-sided flows come first, then those of flows with most"},
	shareEndpoints: {ID: "endpoints", Name: "learned endpoints", Percent: 6, Each: 1024, Limits: []string{"endpoints", "server_endpoints", "all_endpoints"},
		Full: "endpoints are forgotten: what is over comes first, then what proves least, then what comes from sources with more than their share"},
	shareHosts: {ID: "hosts", Name: "roles, versions and names of hosts", Percent: 6, Each: 2 * 420, Limits: []string{"hosts", "host_proofs"},
		Full: "further hosts are not remembered"},
}

// SharesOf returns the parts into which a number of bytes is divided, with the room
// that is in each.
func SharesOf(memory int64) []Share {
	list := slices.Clone(shares[:])
	for i := range list {
		s := &list[i]
		s.Room = max(memory*s.Percent/100/s.Each, 16)
		switch i {
		case shareFlows:
			s.Room = min(s.Room, 1<<28)
		case sharePairs: // the table doubles, and is three quarters full then
			s.Room = 3 << (bits.Len64(uint64(memory*s.Percent/100/8)) - 1) / 4
		case shareEndpoints:
			s.Room = min(s.Room, inventory.MaxEndpoints)
		case shareHosts:
			s.Room = min(s.Room, inventory.MaxHosts)
		}
	}
	return list
}

// LimitsOf divides a number of bytes into the shares of what an engine holds.
func LimitsOf(memory int64) Limits {
	s := SharesOf(memory)
	room := func(share int) int { return int(s[share].Room) }
	tracked := room(shareFlows)
	return Limits{
		MaxTracked: tracked, MaxFlows: tracked - tracked/4, MaxHeld: tracked, MaxMarked: room(shareMarks),
		MaxConns: room(shareConns), MaxBuffered: room(shareBuffers), MaxFactBytes: room(shareFacts),
		MaxEndpoints: room(shareEndpoints), MaxHosts: room(shareHosts), MaxPairs: room(sharePairs),
	}
}

// orShares returns l with the shares of DefaultMemory where it says nothing.
func (l Limits) orShares() Limits {
	s := LimitsOf(DefaultMemory)
	for _, x := range []struct{ limit, share *int }{
		{&l.MaxTracked, &s.MaxTracked}, {&l.MaxFlows, &s.MaxFlows}, {&l.MaxHeld, &s.MaxHeld}, {&l.MaxMarked, &s.MaxMarked},
		{&l.MaxConns, &s.MaxConns}, {&l.MaxBuffered, &s.MaxBuffered}, {&l.MaxFactBytes, &s.MaxFactBytes},
		{&l.MaxEndpoints, &s.MaxEndpoints}, {&l.MaxHosts, &s.MaxHosts}, {&l.MaxPairs, &s.MaxPairs},
	} {
		if *x.limit == 0 {
			*x.limit = *x.share
		}
	}
	return l
}
