package classify

import (
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// output is what goes to the sink.
type output struct {
	sink      record.Sink
	unrelated func(flows, packets, bytes uint64)     // see record.Counter; nil if the sink needs every record
	nothing   struct{ flows, packets, bytes uint64 } // for unrelated
	err       error                                  // the first of the sink
	record    record.Record                          // used again for each
	vlanTexts map[capture.VLANs]string
	notes     []string      // what the summary tells of the input
	drops     []record.Drop // the same
}

// newOutput returns what writes to a sink. whole reports whether something else than the
// sink wants every record.
func newOutput(sink record.Sink, whole bool) output {
	o := output{sink: sink, vlanTexts: map[capture.VLANs]string{}}
	if c, ok := sink.(record.Counter); ok && !whole {
		o.unrelated = c.CountUnrelated()
	}
	return o
}

// note keeps an error of the sink if it is the first.
func (o *output) note(err error) {
	if o.err == nil {
		o.err = err
	}
}

// close gives the sink the summary.
func (o *output) close(sum *record.Summary) {
	if n := &o.nothing; n.flows > 0 {
		o.unrelated(n.flows, n.packets, n.bytes)
	}
	sum.Notes, sum.Drops = o.notes, o.drops
	o.note(o.sink.Close(sum))
}

// fill returns the record of a flow as it stands; state is that of the record,
// which is used again for the next.
func (e *Engine) fill(s *slot, sub *subject, v *record.Verdict, state string) *record.Record {
	client, server := s.ends()
	r := &e.out.record
	r.Number, r.Proto, r.Sensor = s.Number, s.Proto, e.cfg.Sensor
	if r.Interface = ""; int(s.face) < len(e.cfg.Interfaces) {
		r.Interface = e.cfg.Interfaces[s.face]
	}
	r.First, r.Last = time.Unix(0, min(s.First, s.Last)).UTC(), time.Unix(0, s.Last).UTC()
	// One field at a time: a literal would be made aside and copied.
	r.Client.Addr, r.Client.Port, r.Client.Name, r.Client.Roles = client.Addr.Netip(), client.Port, sub.clientName, sub.Client.Names
	r.Server.Addr, r.Server.Port, r.Server.Name, r.Server.Roles = server.Addr.Netip(), server.Port, sub.serverName, sub.Server.Names
	f, side := s.Flow, s.Ends.Side(observe.ToServer)
	r.Packets = record.Count{f.Packets(side), f.Packets(1 - side)}
	r.Bytes = record.Count{f.Bytes(side), f.Bytes(1 - side)}
	r.GapBytes = record.Count{f.GapBytes(side), f.GapBytes(1 - side)}
	r.State, r.Outcome, r.Protocol, r.Facts, r.SetupTime = state, sub.Outcome, sub.Protocol, sub.facts, s.SetupTime()
	if v.Status != record.Unrelated || r.Verdict.Status != record.Unrelated {
		r.Verdict = *v // else it is there, from a flow before
	}
	r.GivenUp = s.GivenUp().String()
	r.VLANs, r.Endpoint = r.VLANs[:0], nil
	if s.VLANs != 0 {
		r.VLANs = append(r.VLANs, e.out.vlanText(s.VLANs))
	}
	if len(e.flows.vlans) > 0 {
		for _, v := range e.flows.vlans[s.id] {
			r.VLANs = append(r.VLANs, e.out.vlanText(v))
		}
	}
	if r.Conversation = ""; s.has(isLeg) {
		r.Conversation = e.legs.of[s.id]
	}
	r.Streams = e.reader.Streams(&s.State)
	if en := sub.used(); en != nil {
		if state == "ended" {
			en.Count()
		}
		p := en.Public()
		r.Endpoint = &p
	}
	return r
}

// write gives the sink a record of a flow; state is that of the record.
func (e *Engine) write(s *slot, sub *subject, v *record.Verdict, state string) {
	r := e.fill(s, sub, v, state)
	e.out.note(e.out.sink.Write(r))
	if e.cfg.Explain == nil || state != "ended" {
		return
	}
	if tell := e.cfg.Explain(r); tell != nil {
		tell(e.judge.Candidates(&sub.Subject))
	}
}

// vlanText returns a tag stack as records show it. A network has few.
func (o *output) vlanText(v capture.VLANs) string {
	text, known := o.vlanTexts[v]
	if !known {
		if len(o.vlanTexts) >= 4096 {
			clear(o.vlanTexts)
		}
		text = v.String()
		o.vlanTexts[v] = text
	}
	return text
}

// Tell takes what the captures tell besides packets: what keeps them from being
// complete, and which packets a captured computer dropped. It is called before Close.
func (e *Engine) Tell(traces []*capture.Trace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range traces {
		for _, n := range t.Notes {
			e.out.notes = append(e.out.notes, t.File+": "+n)
		}
		for i := range t.Drops {
			d := &t.Drops[i]
			e.forbid(d)
			r := record.Drop{
				Proto: d.Proto, Reason: d.Reason, Forbidden: d.Filter, By: d.By, Component: d.Component, Captured: d.Captured, Packets: d.Packets,
				First: time.Unix(0, d.First).UTC(), Last: time.Unix(0, d.Last).UTC(),
			}
			if d.Proto != 0 {
				r.Src, r.Dst = d.Src.AddrPort(), d.Dst.AddrPort()
			}
			e.out.drops = append(e.out.drops, r)
		}
	}
}
