package classify

import (
	"github.com/exspan/exspan/capture"
)

// dropEnds is the flow of dropped packets, in their direction.
type dropEnds struct {
	src, dst capture.Endpoint
	proto    uint8
}

// forbid notes a drop that a filter or a policy explains, under its flow.
func (e *Engine) forbid(d *capture.Drop) {
	k := dropEnds{d.Src, d.Dst, d.Proto}
	if !d.Filter || d.Proto == 0 || e.dropped[k] != "" {
		return
	}
	if e.dropped == nil {
		e.dropped = map[dropEnds]string{}
	}
	e.dropped[k] = d.By + " (" + d.Reason + " in " + d.Component + ")"
}

// droppedBy names the filter that dropped packets of a flow, as the captured computer
// reports it. It is empty for a flow with packets in both directions, whose silence
// needs no explanation, and until the traces have ended.
func (e *Engine) droppedBy(s *slot) string {
	if len(e.dropped) == 0 || s.Flow.BothWays() {
		return ""
	}
	client, server := s.ends()
	if by := e.dropped[dropEnds{*client, *server, s.Proto}]; by != "" {
		return by
	}
	return e.dropped[dropEnds{*server, *client, s.Proto}]
}
