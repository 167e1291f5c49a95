package classify

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// summary says what the run learned besides its flows.
func (e *Engine) summary(errs []error) *record.Summary {
	s := &record.Summary{
		Frames: e.stats.Frames, Packets: e.tracked.packets, IPBytes: e.tracked.ipBytes, Errors: errs,
	}
	if e.tracked.began != 0 {
		s.First, s.Last = time.Unix(0, e.tracked.began).UTC(), time.Unix(0, e.clock).UTC()
	}
	if total := e.payload + e.gapBytes; total > 0 {
		s.AckedUnseen = float64(e.gapBytes) / float64(total)
	}
	for a, h := range e.hosts.byAddr {
		hs := record.HostSummary{Addr: h.addr, Name: h.name, Version: h.version}
		if h.site != nil {
			for _, r := range h.site.Roles {
				hs.Roles = append(hs.Roles, record.RoleProof{Role: string(r), Evidence: "site file"})
			}
		} else {
			set := e.hosts.of(a)
			for _, p := range h.proofs {
				if name := joinRoles(p.roles); slices.Contains(set.names, name) {
					hs.Roles = append(hs.Roles, record.RoleProof{Role: name, Evidence: p.evidence})
				}
			}
		}
		if len(hs.Roles) > 0 {
			s.Hosts = append(s.Hosts, hs)
		}
	}
	slices.SortFunc(s.Hosts, func(a, b record.HostSummary) int { return a.Addr.Compare(b.Addr) })
	s.Endpoints = e.endpoints.summary()
	s.Limits = e.limits()
	if e.calls != nil {
		s.Calls, s.Streams = e.calls.Calls()
	}
	s.Skipped = skips(&e.stats)
	return s
}

// limits lists, for every limit that was reached, how often it was.
func (e *Engine) limits() []record.NamedCount {
	var out []record.NamedCount
	limit := func(id, name string, n uint64) {
		if n > 0 {
			out = append(out, record.NamedCount{ID: id, Name: name, Count: n})
		}
	}
	limit("flows", "flows ended early because the flow table was full", e.tracked.evicted)
	limit("held_flows", "flows judged early because too many were held", e.counts.heldEarly)
	limit("conns", "flows not read because too many were being read", e.reader.Conns)
	limit("stream_bytes", "flows not read on because one message was too long", e.reader.StreamHeld)
	limit("buffered_bytes", "flows not read on because streams held too much in all", e.reader.Counts.Buffered)
	limit("facts", "facts left out of flows that had too many", e.reader.Counts.Facts)
	limit("endpoints", "learned endpoints refused", e.endpoints.refused)
	limit("hosts", "hosts not remembered", e.hosts.refused)
	limit("host_pairs", "host pairs not remembered", e.pairs.refused)
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

// summary lists all entries by server, those of one in order of learning.
func (t *endpoints) summary() []record.EndpointSummary {
	// There can be many: only what is compared is moved about.
	type place struct {
		server netip.AddrPort
		i      int
	}
	order := make([]place, len(t.all))
	for i, en := range t.all {
		order[i] = place{en.key.server.AddrPort(), i}
	}
	slices.SortFunc(order, func(a, b place) int {
		if c := a.server.Compare(b.server); c != 0 {
			return c
		}
		return a.i - b.i
	})
	list := make([]record.EndpointSummary, len(order))
	for i := range order {
		en := t.all[order[i].i]
		list[i] = record.EndpointSummary{
			Server: order[i].server, UDP: en.key.proto == capture.UDP, LearnedEndpoint: en.public(), Ended: en.ended != 0, Flows: en.flows,
		}
	}
	return list
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
	e.ledger.snapshot(s)
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
