package table

import (
	"cmp"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/exporter/tally"
	"github.com/exspan/exspan/exporter/text"
)

// writeJoined writes a line for each way of two legs: by a load balancer to a
// server.
func (s *Sink) writeJoined(p *printer) {
	if s.t.Joined.Len() == 0 {
		return
	}
	keys := make([]tally.JoinedKey, 0, s.t.Joined.Len())
	for k := range s.t.Joined.All() {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b tally.JoinedKey) int { return cmp.Or(a.Outer.Compare(b.Outer), a.Inner.Compare(b.Inner)) })
	p.heading("JOINED LEGS")
	for i, k := range keys {
		if i == maxShown && !s.o.All {
			p.wrap(2, 4, "and "+text.Count(uint64(len(keys)-i), "more way")+": --all")
			break
		}
		j := s.t.Joined.Get(k)
		line := "  " + s.host(j.Client)
		if j.Clients {
			line += ", ..."
		}
		line += " > " + s.end(k.Outer, capture.TCP)
		if from := s.host(j.From); from != s.host(k.Outer.Addr()) {
			line += ", " + from
		}
		p.spread(plain, line+" > "+s.end(k.Inner, capture.TCP), text.Count(j.Conversations, "conversation"))
	}
	p.more(s.t.Joined.More)
}
