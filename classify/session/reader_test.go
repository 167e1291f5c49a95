package session

import (
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest/readfile"
	"github.com/exspan/exspan/classify/flow"
)

// bench is a Reader with a flow table before it, and nobody behind it.
type bench struct {
	table  *flow.Table
	reader *Reader
	states map[flow.ID]*State
	events []flow.Event
	number uint64
}

func newBench(t testing.TB) *bench {
	t.Helper()
	r, err := NewReader(Config{Protocols: Protocols(), Announced: func(_, _ *capture.Endpoint, _ uint8) string { return "" },
		MaxConns: 200_000, MaxBuffered: 128 << 20, MaxFactBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{table: flow.NewTable(1 << 20), reader: r, states: map[flow.ID]*State{}}
}

// packet reads one packet, and reports whether its flow has told anything. Flows
// that end are forgotten.
func (b *bench) packet(p *capture.Packet) (h *Heard) {
	b.number++
	p.Number = b.number
	b.events = b.table.Follow([]capture.Packet{*p}, 0, b.events[:0])
	for i := range b.events {
		ev := &b.events[i]
		if ev.What&(flow.Second|flow.Quote) != 0 {
			continue
		}
		if ev.What&flow.New != 0 {
			b.states[ev.ID] = &State{Ends: flow.Guess(p, nil)}
		}
		st := b.states[ev.ID]
		if ev.What&flow.Ended != 0 {
			b.reader.End(ev.ID, b.table.At(ev.ID), st)
			b.reader.Forget(st)
			continue
		}
		if ev.What&(flow.SYN|flow.SYNACK) != 0 {
			st.Ends.Handshake(ev.Sender(), ev.What&flow.SYNACK != 0)
		}
		if p.PayloadLength > 0 {
			h = b.reader.Next(p, ev, st)
		}
	}
	for _, id := range b.reader.Quiet {
		b.table.Quiet(id)
	}
	b.reader.Quiet = b.reader.Quiet[:0]
	return h
}

// perMessage is how often a protocol may allocate for a message that it reads as
// a whole and that tells nothing new; 0 for all others.
var perMessage = map[string]float64{"kerberos": 2, "dns": 1, "nns": 5, "http": 8, "dcerpc": 5}

// TestKnownFlowsDoNotAllocate goes on with every flow of every recording: what
// tells nothing new costs no memory.
func TestKnownFlowsDoNotAllocate(t *testing.T) {
	files, err := filepath.Glob("../../testdata/*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings in testdata")
	}
	type side struct {
		proto    uint8
		src, dst capture.Endpoint
	}
	silent := map[string]int{} // sides that had nothing to tell, by protocol
	for _, file := range files {
		b := newBench(t)
		last := map[side]*capture.Packet{}
		for _, p := range readfile.Packets(t, file) {
			if p.Proto != capture.TCP && p.Proto != capture.UDP || p.Flags&capture.RST != 0 {
				continue
			}
			p.Flags &^= capture.FIN // flows stay open
			b.packet(&p)
			if p.PayloadLength > 0 {
				last[side{p.Proto, p.Src, p.Dst}] = &p
			}
		}
		for k, p := range last {
			told := false
			step := func() {
				if p.Proto == capture.TCP {
					p.Seq += p.PayloadLength
				}
				told = b.packet(p) != nil || told
			}
			for range 100 { // until all is known, and all buffers are there
				step()
			}
			told = false
			n := testing.AllocsPerRun(10, step)
			if told {
				continue
			}
			protocol := b.protocol(p)
			silent[protocol]++
			if limit := perMessage[protocol]; n > limit && (limit == 0 || n > limit+raceAllocs) {
				t.Errorf("%s, %s > %s, %s: %v allocations a packet", filepath.Base(file), k.src.AddrPort(), k.dst.AddrPort(), protocol, n)
			}
		}
	}
	if len(silent) < 12 {
		t.Errorf("only flows of %v had nothing to tell", silent)
	}
}

// protocol returns the name of what a packet's flow was found to be.
func (b *bench) protocol(p *capture.Packet) string {
	for id, st := range b.states {
		if a, c := b.table.At(id).Sides[0], b.table.At(id).Sides[1]; a == p.Src && c == p.Dst || c == p.Src && a == p.Dst {
			if i, _, _ := b.reader.Content(st); i > 0 {
				return Protocols()[i-1].Name
			}
		}
	}
	return ""
}

// TestConnSize holds that a conn fills three lines of the cache, so that each in a block
// begins with a line.
func TestConnSize(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size != 3*64 {
		t.Errorf("a conn takes %d bytes, want 192", size)
	}
}
