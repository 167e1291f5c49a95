package classify

import (
	"cmp"
	"sync"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/calls"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/inventory"
	"github.com/exspan/exspan/classify/judge"
	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// Config says how an engine works.
type Config struct {
	// Packs holds the rules, with paths for every version that may occur.
	Packs *rules.Packs
	// Site is what the operator knows; nil for nothing.
	Site *rules.Site
	// Exchange is the version assumed where neither the site nor traffic tells, or
	// empty for that of the organisation's other servers, else
	// match.DefaultVersion. The packs must have it.
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
	// OnJudged is told of every flow when its traffic is counted under a label,
	// when facts change after that, and when the flow ends. It is called by Batch
	// and Close, and must not call the engine. It implies Traffic.
	OnJudged func(record.Judged)
	// JudgedIf reports whether OnJudged wants to be told of a flow, by the number of
	// its first packet and its verdict; nil means all.
	JudgedIf func(number uint64, v *record.Verdict) bool
	// Explain is asked of each last record, after the sink has had it, whether the
	// rows that the flow could follow are wanted. It returns nil, or what is told
	// them. It must not call the engine.
	Explain func(*record.Record) func([]record.Candidate)
	// OnLearned is told what the engine learned itself, when that is new or ends; nil if
	// nobody wants to know. It is called by Batch, Close and Share, and must neither call
	// the engine nor wait. It must not keep the fact.
	OnLearned func(*knowledge.Fact)
	// Interim is how often, in packet time, a record of every live flow that had
	// packets since its last one is written; 0 means never.
	Interim time.Duration
	// Sensor is copied to every record.
	Sensor string
	// Interfaces are the names of interfaces by capture.Packet.Interface, for records;
	// nil for files. They imply Traffic.
	Interfaces []string
	Limits     Limits
}

// countsTraffic reports whether traffic is counted as it passes, which other fields
// than Traffic imply.
func (c *Config) countsTraffic() bool {
	return c.Traffic || c.OnJudged != nil || len(c.Interfaces) > 0
}

// newJudge returns the judge for a set of rules.
func (c *Config) newJudge(packs *rules.Packs, site *rules.Site) (*judge.Judge, error) {
	return judge.New(packs, site, cmp.Or(c.Exchange, match.DefaultVersion))
}

// Engine turns batches of packets into records. Batches come from one
// goroutine; Snapshot and Summary may be called from any.
type Engine struct {
	mu        sync.Mutex // held for each batch and each snapshot
	cfg       Config
	flows     flows
	clock     int64     // the packet time at the event at hand; it can go back
	skew      int64     // added to clock, it gives the packet time that has passed
	held      flow.Held // ended flows that wait
	reader    *session.Reader
	protocols []observe.Protocol // of reader
	inventory *inventory.Inventory
	tunnels   tunnels
	legs      legs
	lookup    inventory.Flow // used again by subjectOf and tally
	judge     *judge.Judge
	subject   subject // used again by subjectOf
	calls     *calls.Table
	ledger    *ledger // nil unless traffic is counted
	interim   interim
	counts    counts
	out       output
	dropped   map[dropEnds]string // by what; nil until Tell
	facts     []knowledge.Fact    // used again by learned
	parallel  bool                // several goroutines shared a source
}

// New returns an engine that writes to sink.
func New(cfg Config, sink record.Sink) (*Engine, error) {
	cfg.Limits = cfg.Limits.orShares()
	j, err := cfg.newJudge(cfg.Packs, cfg.Site)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:       cfg,
		flows:     flows{table: flow.NewTable(cfg.Limits.MaxFlows), vlans: map[flow.ID][]capture.VLANs{}, maxMarked: cfg.Limits.MaxMarked},
		protocols: session.Protocols(),
		judge:     j,
		out:       newOutput(sink, cfg.Explain != nil || cfg.countsTraffic()),
	}
	e.flows.table.KeyVLAN = cfg.KeyVLAN
	var names []string
	for i := range e.protocols {
		names = append(names, e.protocols[i].Name)
	}
	e.inventory = inventory.New(cfg.Packs, cfg.Site, names, cfg.Exchange)
	e.inventory.Limit(cfg.Limits.MaxEndpoints, cfg.Limits.MaxHosts, cfg.Limits.MaxPairs)
	e.tunnels.max = cfg.Limits.MaxMarked
	e.tunnels.setSite(cfg.Site)
	e.legs = legs{site: cfg.Site, isLive: e.isLiveLeg, each: e.eachLeg}
	e.reader, err = session.NewReader(session.Config{
		Protocols: e.protocols, Announced: e.announced, Identities: cfg.Identities,
		MaxConns: cfg.Limits.MaxConns, MaxBuffered: cfg.Limits.MaxBuffered, MaxFactBytes: cfg.Limits.MaxFactBytes,
	})
	if err != nil {
		return nil, err
	}
	e.reader.Announcements = e.inventory.MediaAnnounced()
	if cfg.Calls {
		e.calls = calls.New()
	}
	if cfg.countsTraffic() {
		e.ledger = newLedger(cfg.Packs)
		e.flows.table.Every = true
	}
	return e, nil
}

// Batch takes packets in.
func (e *Engine) Batch(b *capture.Batch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := &e.flows
	if b.Tick != 0 {
		f.events = f.table.Idle(b.Tick, f.events[:0])
		e.takeTracked(nil)
		e.countDue()
	}
	e.tunnels.table = b.Tunnels
	packets := b.Packets
	for len(packets) > 0 {
		n := min(len(packets), flow.WarmSize)
		prefetchFlows(f.table, packets[:n])
		if e.ledger == nil {
			f.events = f.table.Follow(packets[:n], 0, f.events[:0])
			e.takeTracked(packets)
		} else {
			for i := range n { // what is counted live is what was tracked until now
				f.events = f.table.Follow(packets[:i+1], i, f.events[:0])
				e.takeTracked(packets)
			}
		}
		packets = packets[n:]
	}
	if cap(f.events) > maxEvents {
		f.events = nil
	}
	e.counts.note(f.table, b)
	e.counts.source = b.Stats
	e.writeInterim()
	return e.out.err
}

// takeTracked takes in what the table has just told.
func (e *Engine) takeTracked(packets []capture.Packet) {
	e.flows.view = e.flows.table.View
	e.takeAll(packets, e.flows.events)
	e.giveBack()
}

// giveBack tells the table which flows' payload is not wanted any more, and
// which places are free.
func (e *Engine) giveBack() {
	e.flows.giveBack(e.reader.Quiet, e.flows.freed)
	e.reader.Quiet, e.flows.freed = e.reader.Quiet[:0], e.flows.freed[:0]
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
	if e.clock == 0 && len(events) > 0 { // the first event of all
		e.clock = events[0].Clock
		e.skew -= e.clock
	}
	for i := range events {
		ev := &events[i]
		if ev.Clock < e.clock {
			e.skew += e.clock - ev.Clock
			e.interim.last = min(e.interim.last, ev.Clock)
		}
		e.clock = ev.Clock
		switch {
		case ev.What&notable == 0 && e.ledger == nil:
			p, st := &packets[ev.Packet], e.flows.stateOf(ev.ID)
			if p.Tunnel != 0 {
				e.tunnels.note(ev.ID, st, p.Tunnel, false)
			}
			if h := e.reader.Next(p, ev, &st.State); h != nil {
				e.absorb(h)
			}
		case ev.What&flow.Ended != 0:
			s := e.flows.at(ev.ID)
			e.end(&s)
		case ev.What&flow.Second != 0:
			e.emitOverdue()
		case ev.What&flow.Quote != 0:
			e.quoted(&packets[ev.Packet], ev)
		default:
			e.takePacket(&packets[ev.Packet], ev)
		}
	}
}

// passed returns the packet time that has passed since the first event, in nanoseconds.
// It never goes back.
func (e *Engine) passed() int64 { return e.clock + e.skew }

// quoted takes in an ICMP error about a flow.
func (e *Engine) quoted(p *capture.Packet, ev *flow.Event) {
	e.ledger.unlabelled(p)
	if ev.ID == 0 {
		return
	}
	s := e.flows.stateOf(ev.ID)
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
		e.flows.begin(ev.ID, e.ends(p))
	}
	st, sender := e.flows.stateOf(ev.ID), ev.Sender()
	if p.Tunnel != 0 || st.has(inTunnel) {
		e.tunnels.note(ev.ID, st, p.Tunnel, ev.What&flow.New != 0)
	}
	if ev.What&flow.New != 0 && len(e.cfg.Interfaces) > 0 {
		st.face = uint8(min(p.Interface, 255))
	}
	if e.ledger != nil {
		e.ledger.packet(p, ev, st, e.passed())
		e.countDue()
	}
	if ev.What&(flow.SYN|flow.SYNACK) != 0 {
		st.Ends.Handshake(sender, ev.What&flow.SYNACK != 0)
	}
	if ev.What&flow.Answer != 0 {
		e.noteAnswer(st, p)
	}
	if ev.What&flow.OtherVLAN != 0 {
		e.flows.addVLANs(ev.ID, p.VLANs)
	}
	if ev.What&flow.Reset != 0 && (ev.What&flow.Refused != 0 || st.has(refused)) {
		server := p.Src
		if st.Ends.Direction(sender) == observe.ToServer {
			server = p.Dst
		}
		if changes := e.inventory.Refused(server, e.tunnels.onWire(p.Tunnel), p.Time); len(changes) > 0 {
			e.learned(changes)
		}
		if e.ledger != nil && st.label == 0 { // nothing more is to come
			s := e.flows.at(ev.ID)
			e.countPending(&s, record.NoConfidence, record.Refused)
		}
	}
	if p.Proto == capture.ESP {
		e.reader.Sealed(ev, &st.State)
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

// ends tells client from server by the first packet of a flow.
func (e *Engine) ends(p *capture.Packet) flow.Ends {
	return flow.Guess(p, func(end capture.Endpoint, proto uint8) bool { return e.inventory.Known(&end, proto, e.clock) })
}

// end takes in the end of a flow: a record that is final is written, others
// wait.
func (e *Engine) end(s *slot) {
	e.breathe()
	e.endReading(s)
	if s.has(isLeg) {
		e.legs.ended(s.id, s.Sides[0].Addr, s.Sides[1].Addr)
	}
	e.tally(s)
	if e.emit(s, false) {
		return
	}
	since := max(e.passed()-max(e.clock-s.Last, 0), 0)
	e.held.Push(e.flows.view, s.id, uint32((since+int64(time.Second)-1)/int64(time.Second)))
	for e.held.Len() > e.cfg.Limits.MaxHeld || e.held.Len() > 0 && (e.flows.used > e.cfg.Limits.MaxTracked || e.reader.ManyFacts()) {
		e.counts.heldEarly++
		e.emitHeld()
	}
}

// endReading ends the reading of a flow that ended.
func (e *Engine) endReading(s *slot) {
	if !s.Reading() {
		return
	}
	if h := e.reader.End(s.id, s.Flow, &s.State); h != nil {
		e.absorb(h)
	}
}

// emitOverdue writes the records of the flows that have waited long enough.
func (e *Engine) emitOverdue() {
	if e.cfg.Hold == 0 {
		return
	}
	for e.held.Len() > 0 && int64(e.held.Since(e.flows.view))*int64(time.Second)+int64(e.cfg.Hold) < e.passed() {
		e.breathe()
		e.emitHeld()
	}
}

// emitHeld writes the record of the flow that has waited longest.
func (e *Engine) emitHeld() {
	s := e.flows.at(e.held.Pop(e.flows.view))
	e.emit(&s, true)
}

// breathe lets others have the lock for a moment, between one flow and the
// next, once in 128 flows: many can end in one second.
func (e *Engine) breathe() {
	if e.counts.breaths++; e.counts.breaths%128 == 0 {
		e.mu.Unlock()
		e.mu.Lock()
	}
}

// tally counts what a flow that ended says of the sensor and of its endpoint.
func (e *Engine) tally(s *slot) {
	if !s.BothWays() {
		e.inventory.Pairs.Saw(s.Sides[0].Addr, s.Sides[1].Addr, false)
	}
	if s.Proto == capture.TCP {
		e.counts.loss.add(s.Flow)
	}
	if client, server := s.ends(); e.inventory.Ever(server.Port) {
		f, late := e.find(s, client, server)
		e.inventory.Use(f, s.Spoke(s.Ends.Side(observe.ToClient)) && (s.Foreign() || f.Protocol != "" && !late))
	}
}

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
	if must && e.countNothing(s) {
		return true
	}
	sub := e.subjectOf(s, "")
	if !must && e.ledger == nil && !sub.mayBeFinal() {
		return false
	}
	e.setOutcome(sub, s)
	v := e.verdictOf(sub)
	if isNew && e.ledger != nil { // which Config.OnJudged implies
		e.ledger.ended(s, v)
		e.judged(s, sub, v, true)
	}
	if !must && !(v.Confidence >= record.Learned && (v.Status == record.Expected || v.Status == record.Deviating)) {
		return false
	}
	e.ledger.final(s, v)
	e.write(s, sub, v, "ended")
	e.leave(s)
	return true
}

// setOutcome sets how the set-up of an ended flow went.
func (e *Engine) setOutcome(sub *subject, s *slot) {
	if sub.Outcome = e.outcomeOf(s); sub.Outcome == record.Prohibited {
		sub.Dropped = e.droppedBy(s)
	}
}

// countNothing counts an ended flow in which there was nothing, if the sink needs no
// record of it. It reports whether it did; the slot is then free.
func (e *Engine) countNothing(s *slot) bool {
	if e.out.unrelated == nil || !e.isNothing(s) {
		return false
	}
	n := &e.out.nothing
	n.flows++
	n.packets += s.Packets(0) + s.Packets(1)
	n.bytes += s.Bytes(0) + s.Bytes(1)
	e.leave(s)
	return true
}

// isNothing reports whether nothing was recognised in a flow between hosts that have
// nothing to do with Exchange, on ports that were never announced. Most flows of a scan
// or a flood are of that kind.
func (e *Engine) isNothing(s *slot) bool {
	if protocol, _, _ := e.reader.Content(&s.State); protocol != 0 || s.has(isLeg) || !e.inventory.Pairs.Asked {
		return false
	}
	client, server := s.ends()
	if e.inventory.Ever(server.Port) || e.inventory.Ever(client.Port) {
		return false
	}
	tunnels := e.tunnels.ofFlow(s.id, s.state)
	c, _ := e.inventory.Host(&client.Addr, tunnels)
	v, _ := e.inventory.Host(&server.Addr, tunnels)
	return judge.Unrelated(c, v)
}

// leave drops what is kept of a flow whose last record is written.
func (e *Engine) leave(s *slot) {
	e.reader.Forget(&s.State)
	e.notePair(s)
	e.tunnels.forget(s.id, s.state)
	if s.has(isLeg) {
		delete(e.legs.of, s.id)
	}
	e.flows.free(s.id)
}

// Memory returns the bytes that the engine's tables of flows and host pairs
// hold. Facts, endpoints and what observers hold are not in it.
func (e *Engine) Memory() int {
	return e.counts.memory + e.flows.memory() + e.inventory.Pairs.Memory() + e.ledger.memory()
}

// Close ends all flows, writes what is open and closes the sink. errs is what
// damaged the input.
func (e *Engine) Close(errs []error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flows.table.Finish()
	e.clock = e.flows.table.Clock()
	e.flows.view = e.flows.table.View
	e.reader.EndAll()
	first, f := true, e.newFinisher()
	e.flows.table.EndAll(func(ids []flow.ID) {
		e.prefetchEnds(ids)
		for _, id := range ids {
			s := e.flows.at(id)
			e.endReading(&s)
			e.tally(&s)
		}
	}, func(ids []flow.ID) {
		// What waited is final now, at once.
		if first {
			first = false
			e.pairsComplete()
		}
		e.prefetchEnds(ids)
		for _, id := range ids {
			if s := e.flows.at(id); f != nil {
				f.emit(&s)
			} else {
				e.emit(&s, true)
			}
		}
		e.giveBack()
	})
	if f != nil {
		f.close()
		e.giveBack()
	}
	e.held = flow.Held{}
	e.out.close(e.summary(errs))
	return e.out.err
}
