package classify

import (
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/inventory"
	"github.com/exspan/exspan/classify/judge"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// Limits bounds what an engine holds. The zero value means the defaults.
type Limits struct {
	MaxFlows int // live flows; default 2,000,000
	MaxHeld  int // ended flows whose verdict is open; default 1,000,000
	MaxConns int // flows whose content is being read; default 200,000
	// MaxBuffered bounds the bytes of all streams that wait for more; default
	// 128 MiB.
	MaxBuffered int
	// MaxFacts bounds the fact values of all flows in the table; default 4,000,000.
	MaxFacts int
}

// Config says how an engine works.
type Config struct {
	// Packs holds the rules, with paths for every version that may occur.
	Packs *rules.Packs
	// Site is what the operator knows; nil for nothing.
	Site *rules.Site
	// Exchange is the version assumed where neither the site nor traffic tells;
	// a pack must have it.
	Exchange string
	// Hold is how long, in packet time, an ended flow waits for what may still
	// explain it; 0 means to the end of the input.
	Hold time.Duration
	// KeyVLAN makes the VLAN tags part of a flow's key.
	KeyVLAN bool
	// Identities lets observers keep principals and names.
	Identities bool
	// Calls makes the engine join SIP and RTP into calls; see Summary.Calls.
	Calls bool
	// Traffic makes the engine count bytes and packets by data path as they
	// pass; see Engine.Traffic.
	Traffic bool
	// OnJudged is told the verdict of every flow when its traffic is counted under
	// a label, when facts change after that, and when the flow ends. It is called
	// by Batch and Close, and must not call the engine. It implies Traffic.
	OnJudged func(record.Judged)
	// Interim is how often, in packet time, a record of every live flow that had
	// packets since its last one is written; 0 means never.
	Interim time.Duration
	Limits  Limits
}

// Engine turns batches of packets into records. Batches come from one
// goroutine; Snapshot may be called from any.
type Engine struct {
	mu        sync.Mutex // held for each batch and each snapshot
	cfg       Config
	sink      record.Sink
	protocols []observe.Protocol
	reader    *session.Reader
	inventory *inventory.Inventory
	judge     *judge.Judge

	table   *flow.Table
	view    flow.View // what the table's flows are found by
	states  []*[stateChunk]state
	held    flow.Held     // ended flows that wait
	clock   int64         // the packet time at the event at hand; it can go back
	passed  int64         // packet time that has passed since the first event; it never goes back
	closing bool          // all flows have ended
	notes   []string      // what the summary tells of the input
	drops   []record.Drop // the same
	// vlans holds the tag stacks of flows besides that of their first packet.
	vlans map[flow.ID][]capture.VLANs

	calls   *calls.Table
	ledger  *ledger // nil unless traffic is counted
	interim interim
	events  []flow.Event
	freed   []flow.ID // places to be given back to the table

	tracked  tracked
	payload  uint64 // TCP payload bytes seen in order
	gapBytes uint64 // TCP payload bytes never seen
	stats    capture.Stats
	counts   counters

	settled int // flows that ended; see breathe
	record  record.Record
	// vlanTexts holds tag stacks as records show them.
	vlanTexts map[capture.VLANs]string
	subject   subject
	err       error // of the sink
}

// counters counts what limits refused.
type counters struct {
	heldEarly uint64 // flows finalised because MaxHeld waited
}

// New returns an engine that writes to sink.
func New(cfg Config, sink record.Sink) (*Engine, error) {
	if cfg.Limits.MaxFlows == 0 {
		cfg.Limits.MaxFlows = 2_000_000
	}
	if cfg.Limits.MaxHeld == 0 {
		cfg.Limits.MaxHeld = 1_000_000
	}
	if cfg.Limits.MaxConns == 0 {
		cfg.Limits.MaxConns = 200_000
	}
	if cfg.Limits.MaxBuffered == 0 {
		cfg.Limits.MaxBuffered = 128 << 20
	}
	if cfg.Limits.MaxFacts == 0 {
		cfg.Limits.MaxFacts = 4_000_000
	}
	if cfg.Exchange == "" {
		cfg.Exchange = "2010"
	}
	j, err := judge.New(cfg.Packs, cfg.Site, cfg.Exchange)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, sink: sink,
		protocols: session.Protocols(),
		table:     flow.NewTable(cfg.Limits.MaxFlows),
		judge:     j,
		vlans:     map[flow.ID][]capture.VLANs{},
		vlanTexts: map[capture.VLANs]string{},
	}
	e.table.KeyVLAN = cfg.KeyVLAN
	var names []string
	for i := range e.protocols {
		names = append(names, e.protocols[i].Name)
	}
	e.inventory = inventory.New(cfg.Packs, cfg.Site, names)
	e.reader, err = session.NewReader(session.Config{
		Protocols: e.protocols, Announced: e.announced, Identities: cfg.Identities,
		MaxConns: cfg.Limits.MaxConns, MaxBuffered: cfg.Limits.MaxBuffered, MaxFacts: cfg.Limits.MaxFacts,
	})
	if err != nil {
		return nil, err
	}
	if cfg.Calls {
		e.calls = calls.New()
	}
	if cfg.Traffic || cfg.OnJudged != nil {
		e.ledger = newLedger(cfg.Packs, cfg.OnJudged)
		e.table.Every = true
	}
	return e, nil
}

// Batch takes packets in.
func (e *Engine) Batch(b *capture.Batch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b.Tick != 0 {
		e.events = e.table.Idle(b.Tick, e.events[:0])
		e.takeTracked(nil)
		e.countDue()
	}
	packets := b.Packets
	for len(packets) > 0 {
		n := min(len(packets), flow.WarmSize)
		prefetchFlows(e.table, packets[:n])
		if e.ledger == nil {
			e.events = e.table.Follow(packets[:n], 0, e.events[:0])
			e.takeTracked(packets)
		} else {
			for i := range n { // what is counted live is what was tracked until now
				e.events = e.table.Follow(packets[:i+1], i, e.events[:0])
				e.takeTracked(packets)
			}
		}
		packets = packets[n:]
	}
	if cap(e.events) > maxEvents {
		e.events = nil
	}
	e.tracked.note(e.table, b)
	e.stats = b.Stats
	e.writeInterim()
	return e.err
}

// takeTracked takes in what the table has just told.
func (e *Engine) takeTracked(packets []capture.Packet) {
	e.view = e.table.View
	e.takeAll(packets, e.events)
	e.giveBack()
}

// giveBack tells the table which flows' payload is not wanted any more, and
// which places are free.
func (e *Engine) giveBack() {
	for _, id := range e.reader.Quiet {
		e.table.Quiet(id)
	}
	for _, id := range e.freed {
		e.table.Free(id)
	}
	e.reader.Quiet, e.freed = e.reader.Quiet[:0], e.freed[:0]
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
}

// note takes what the table counted until the end of a batch.
func (t *tracked) note(table *flow.Table, b *capture.Batch) {
	if t.packets == 0 && len(b.Packets) > 0 {
		t.began = b.Packets[0].Time
	}
	t.packets, t.ipBytes = table.Packets, table.IPBytes
	t.clock, t.live, t.memory, t.evicted = table.Clock(), table.Live(), table.Bytes(), table.Evicted
	t.clockSteps, t.clockOutliers = table.Steps(), table.Outliers()
}

// takeAll takes in what happened to flows, some of it at a time.
func (e *Engine) takeAll(packets []capture.Packet, events []flow.Event) {
	for len(events) > 0 {
		n := min(len(events), flow.WarmSize)
		e.prefetch(packets, events[:n])
		e.take(packets, events[:n])
		events = events[n:]
	}
}

// notable are the bits of flow.Event.What that ask for more than to read on.
const notable = flow.New | flow.SYN | flow.SYNACK | flow.Answer | flow.OtherVLAN | flow.Reset | flow.Closed | flow.Ended | flow.Second | flow.Quote

// take takes in what happened to flows.
func (e *Engine) take(packets []capture.Packet, events []flow.Event) {
	for i := range events {
		ev := &events[i]
		if passed := ev.Clock - e.clock; passed > 0 && e.clock != 0 {
			e.passed += passed
		} else if passed < 0 {
			e.interim.last = min(e.interim.last, ev.Clock)
		}
		e.clock = ev.Clock
		switch {
		case ev.What&notable == 0 && e.ledger == nil:
			if h := e.reader.Next(&packets[ev.Packet], ev, &e.stateOf(ev.ID).State); h != nil {
				e.absorb(h)
			}
		case ev.What&flow.Ended != 0:
			s := e.at(ev.ID)
			e.settle(&s)
		case ev.What&flow.Second != 0:
			e.second()
		case ev.What&flow.Quote != 0:
			e.quoted(&packets[ev.Packet], ev)
		default:
			e.takePacket(&packets[ev.Packet], ev)
		}
	}
}

// quoted takes in an ICMP error about a flow.
func (e *Engine) quoted(p *capture.Packet, ev *flow.Event) {
	e.ledger.unlabelled(p)
	if ev.ID == 0 {
		return
	}
	s := e.stateOf(ev.ID)
	if s.Ends.Direction(ev.Sender()) != observe.ToServer {
		return
	}
	if ev.What&flow.Prohibited != 0 {
		s.set(prohibited)
	}
	if ev.What&flow.Refused != 0 {
		s.set(refused)
	}
}

// takePacket takes in one packet.
func (e *Engine) takePacket(p *capture.Packet, ev *flow.Event) {
	if ev.What&flow.New != 0 {
		e.begin(p, ev.ID)
	}
	st, sender := e.stateOf(ev.ID), ev.Sender()
	e.ledger.packet(p, ev, st, e.passed)
	e.countDue()
	if ev.What&(flow.SYN|flow.SYNACK) != 0 {
		st.Ends.Handshake(sender, ev.What&flow.SYNACK != 0)
	}
	if ev.What&flow.Answer != 0 {
		e.answered(st, p)
	}
	if ev.What&flow.OtherVLAN != 0 {
		e.addVLANs(ev.ID, p.VLANs)
	}
	if ev.What&flow.Reset != 0 && (ev.What&flow.Refused != 0 || st.has(refused)) {
		server := p.Src
		if st.Ends.Direction(sender) == observe.ToServer {
			server = p.Dst
		}
		e.inventory.Refused(server, p.Time)
	}
	if p.PayloadLength > 0 && !st.Done() {
		if h := e.reader.Read(p, ev, &st.State); h != nil {
			e.absorb(h)
		}
	}
	if ev.What&flow.Closed != 0 {
		if h := e.reader.Closed(p, ev, &st.State); h != nil {
			e.absorb(h)
		}
	}
}

// settle deals with a flow that ended: what is final is written, the rest
// waits.
func (e *Engine) settle(s *slot) {
	e.breathe()
	e.endReading(s)
	e.pass(s)
	if e.emit(s, false) {
		return
	}
	since := max(e.passed-max(e.clock-s.Last, 0), 0)
	e.held.Push(e.view, s.id, uint32((since+int64(time.Second)-1)/int64(time.Second)))
	for e.held.Len() > e.cfg.Limits.MaxHeld {
		e.counts.heldEarly++
		e.emitHeld()
	}
}

// endReading ends the reading of a flow that ended.
func (e *Engine) endReading(s *slot) {
	if h := e.reader.End(s.id, s.Flow, &s.State); h != nil {
		e.absorb(h)
	}
}

// second does what is to be done once in a second of packet time.
func (e *Engine) second() {
	if e.cfg.Hold == 0 {
		return
	}
	for e.held.Len() > 0 && int64(e.held.Since(e.view))*int64(time.Second)+int64(e.cfg.Hold) < e.passed {
		e.breathe()
		e.emitHeld()
	}
}

// emitHeld writes the record of the flow that has waited longest.
func (e *Engine) emitHeld() {
	s := e.at(e.held.Pop(e.view))
	e.emit(&s, true)
}

// breathe lets others have the lock for a moment, between one flow and the
// next, in every hundred or so: many flows can end in one second.
func (e *Engine) breathe() {
	if e.settled++; e.settled%128 == 0 {
		e.mu.Unlock()
		e.mu.Lock()
	}
}

// pass counts what a flow that ended says of the sensor and of its endpoint.
func (e *Engine) pass(s *slot) {
	if !s.BothWays() {
		e.inventory.Pairs.Saw(s.Sides[0].Addr, s.Sides[1].Addr, false)
	}
	if s.Proto == capture.TCP {
		f := s.Flow
		e.gapBytes += f.GapBytes(0) + f.GapBytes(1)
		a, b := f.Packets(0)*40, f.Packets(1)*40 // what headers take
		e.payload += max(f.Bytes(0), a) - a + max(f.Bytes(1), b) - b
	}
	_, server := s.ends()
	e.inventory.Use(server, s.Proto, s.First, s.Last)
}

// lossy says whether more than 1 % of the acknowledged bytes were never seen.
func (e *Engine) lossy() bool { return e.gapBytes*100 > e.payload+e.gapBytes }

// asks reports whether the protocol of a flow is one in which every request
// wants an answer.
func (e *Engine) asks(s *slot) bool {
	protocol, _, _ := e.reader.Content(&s.State)
	if protocol == 0 || s.Reading() {
		return false
	}
	return e.cfg.Packs.Policy().Answers(e.protocols[protocol-1].Name)
}

// emit judges an ended flow and writes its record if it is final, or if it
// must be. It reports whether the record was written; the slot is then free.
func (e *Engine) emit(s *slot, must bool) bool {
	isNew := !s.has(ended)
	s.set(ended)
	sub := e.subjectOf(s, "")
	if !must && e.ledger == nil && !sub.mayBeFinal() {
		return false
	}
	sub.Outcome = e.outcomeOf(s)
	v := e.verdictOf(sub)
	if isNew {
		e.ledger.ended(s, v)
	}
	if !must && !(v.Confidence >= record.Learned && (v.Status == record.Expected || v.Status == record.Deviating)) {
		return false
	}
	e.ledger.final(s, v)
	e.write(s, sub, v, "ended")
	e.reader.Forget(&s.State)
	delete(e.vlans, s.id)
	if !e.closing {
		e.left(s)
	}
	e.freed = append(e.freed, s.id)
	return true
}

// write gives the sink a record of a flow.
func (e *Engine) write(s *slot, sub *subject, v *record.Verdict, state string) {
	client, server := s.ends()
	r := &e.record
	r.Number, r.Proto = s.Number, s.Proto
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
	r.VLANs, r.Endpoint = r.VLANs[:0], nil
	if s.VLANs != 0 {
		r.VLANs = append(r.VLANs, e.vlanText(s.VLANs))
	}
	for _, v := range e.vlans[s.id] {
		r.VLANs = append(r.VLANs, e.vlanText(v))
	}
	r.Streams = e.reader.Streams(&s.State)
	if en := sub.used(); en != nil {
		if state == "ended" {
			en.Count()
		}
		p := en.Public()
		r.Endpoint = &p
	}
	if err := e.sink.Write(r); err != nil && e.err == nil {
		e.err = err
	}
}

// vlanText words a tag stack: a network has few.
func (e *Engine) vlanText(v capture.VLANs) string {
	text, known := e.vlanTexts[v]
	if !known {
		if len(e.vlanTexts) >= 4096 {
			clear(e.vlanTexts)
		}
		text = v.String()
		e.vlanTexts[v] = text
	}
	return text
}

// addVLANs notes a tag stack other than that of the flow's first packet.
func (e *Engine) addVLANs(id flow.ID, v capture.VLANs) {
	const most = 8
	if known := e.vlans[id]; len(known) < most && !slices.Contains(known, v) {
		e.vlans[id] = append(known, v)
	}
}

// Memory returns the bytes that the engine's tables of flows and host pairs
// hold. Facts, endpoints and what observers hold are not in it.
func (e *Engine) Memory() int {
	return e.tracked.memory + len(e.states)*int(unsafe.Sizeof(*e.states[0])) + e.inventory.Pairs.Memory()
}

// Tell takes what the captures tell besides packets: what keeps them from being
// complete, and which packets a captured computer dropped. It is called before Close.
func (e *Engine) Tell(traces []*capture.Trace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range traces {
		for _, n := range t.Notes {
			e.notes = append(e.notes, t.File+": "+n)
		}
		for i := range t.Drops {
			d := &t.Drops[i]
			r := record.Drop{
				Proto: d.Proto, Reason: d.Reason, Forbidden: d.Filter, By: d.By, Component: d.Component, Captured: d.Captured, Packets: d.Packets,
				First: time.Unix(0, d.First).UTC(), Last: time.Unix(0, d.Last).UTC(),
			}
			if d.Proto != 0 {
				r.Src, r.Dst = d.Src.AddrPort(), d.Dst.AddrPort()
			}
			e.drops = append(e.drops, r)
		}
	}
}

// Close ends all flows, writes what is open and closes the sink. errs is what
// damaged the input.
func (e *Engine) Close(errs []error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.table.Finish()
	e.clock = e.table.Clock()
	e.view = e.table.View
	e.reader.EndAll()
	e.table.EndAll(func(ids []flow.ID) {
		e.prefetchEnds(ids)
		for _, id := range ids {
			s := e.at(id)
			e.endReading(&s)
			e.pass(&s)
		}
	}, func(ids []flow.ID) {
		// What waited is final now, at once.
		if !e.closing {
			e.closing = true
			e.allEnded()
		}
		e.prefetchEnds(ids)
		for _, id := range ids {
			s := e.at(id)
			e.emit(&s, true)
		}
		e.giveBack()
	})
	e.held = flow.Held{}
	sum := e.summary(errs)
	sum.Notes, sum.Drops = e.notes, e.drops
	if err := e.sink.Close(sum); err != nil && e.err == nil {
		e.err = err
	}
	return e.err
}
