package classify

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/capture/capturetest/readfile"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// A story is packets as bytes: storyFlows times protocol and ports, then
// packets of a storyHead and a payload each.
const (
	storyFlows   = 6
	storyEnds    = 5 // protocol, client port, server port
	storyHead    = 6 // flow and sender, what, flags, time, payload length
	storyPackets = 400
)

// What a packet of a story is.
const (
	inOrder   = iota // continues its sender's stream
	again            // the same bytes once more
	ahead            // leaves a hole
	elsewhere        // any sequence number
	quoted           // ICMP error
	cut              // the payload's end was not captured
	kinds
)

// storyJumps are the nanoseconds between packets.
var storyJumps = [8]int64{1e6, 1e6, 0, -5e9, 4e9, 200e9, 86400e9, -100000e9}

// packetsOfStory returns the packets of a story.
func packetsOfStory(story []byte) []capture.Packet {
	if len(story) < storyFlows*storyEnds {
		return nil
	}
	type side struct {
		end  capture.Endpoint
		next uint32
	}
	var flows [storyFlows][2]side
	var protos [storyFlows]uint8
	for i := range flows {
		b := story[i*storyEnds:]
		protos[i] = capture.TCP
		if b[0]&1 != 0 {
			protos[i] = capture.UDP
		}
		client, server := [4]byte{10, 0, 0, 1 + byte(i%2)}, [4]byte{10, 0, 1, 1 + byte(i%3)}
		if b[0]&2 != 0 {
			client = [4]byte{198, 51, 100, 7}
		}
		flows[i][0] = side{capture.EndpointFrom(netip.AddrPortFrom(netip.AddrFrom4(client), binary.BigEndian.Uint16(b[1:]))), 1000}
		flows[i][1] = side{capture.EndpointFrom(netip.AddrPortFrom(netip.AddrFrom4(server), binary.BigEndian.Uint16(b[3:]))), 0xfffffff0}
	}
	story = story[storyFlows*storyEnds:]
	now := int64(1.7e18)
	var packets []capture.Packet
	for len(story) >= storyHead && len(packets) < storyPackets {
		which, what, flags, jump := story[0], story[1]%kinds, story[2], story[3]%8
		n := min(int(binary.BigEndian.Uint16(story[4:])), len(story)-storyHead)
		payload := story[storyHead : storyHead+n]
		story = story[storyHead+n:]
		now += storyJumps[jump]
		f := &flows[int(which>>1)%storyFlows]
		from, to := &f[which&1], &f[1-which&1]
		p := capture.Packet{Number: uint64(len(packets) + 1), Time: now, Frames: 1, Proto: protos[int(which>>1)%storyFlows], Src: from.end, Dst: to.end,
			Length: 40 + uint32(n), PayloadLength: uint32(n), Payload: payload, VLANs: capture.VLANs(0).Push(uint16(which >> 5))}
		p.Hash = capture.Hash(p.Src, p.Dst, p.Proto)
		switch {
		case what == quoted:
			p.Quoted, p.Proto, p.ICMPType, p.ICMPCode = p.Proto, capture.ICMP, 3, flags&15
			p.Payload, p.PayloadLength = nil, 0
		case p.Proto == capture.TCP:
			p.Flags, p.Seq, p.Ack = flags, from.next, to.next
			switch what {
			case again:
				p.Seq -= uint32(n)
			case ahead:
				p.Seq += 1000
			case elsewhere:
				p.Seq, p.Ack = p.Seq*2654435761, p.Ack+uint32(n)<<16
			}
			if what == inOrder || what == cut {
				from.next += uint32(n)
				if flags&(capture.SYN|capture.FIN) != 0 {
					from.next++
				}
			}
		}
		if what == cut {
			p.Payload = payload[:n/2]
		}
		packets = append(packets, p)
	}
	return packets
}

// storyOf writes up to storyFlows flows of a recording down as a story, from
// their first packets on. Ports are kept, addresses are not.
func storyOf(packets []capture.Packet, skip int) []byte {
	type key struct {
		a, b  capture.Endpoint
		proto uint8
	}
	flows := map[key]int{}
	counts := map[key]int{}
	head := make([]byte, storyFlows*storyEnds)
	var body []byte
	for i := range packets {
		p := &packets[i]
		k, sender := key{p.Src, p.Dst, p.Proto}, 0
		if _, ok := counts[key{p.Dst, p.Src, p.Proto}]; ok {
			k, sender = key{p.Dst, p.Src, p.Proto}, 1
		}
		counts[k]++
		if len(counts) <= skip || p.Proto != capture.TCP && p.Proto != capture.UDP {
			continue
		}
		n, ok := flows[k]
		if !ok {
			if n = len(flows); n == storyFlows || counts[k] > 1 {
				continue
			}
			flows[k] = n
			b := head[n*storyEnds:]
			if p.Proto == capture.UDP {
				b[0] = 1
			}
			binary.BigEndian.PutUint16(b[1:], k.a.Port)
			binary.BigEndian.PutUint16(b[3:], k.b.Port)
		}
		if len(body) > 12<<10 || counts[k] > 20 {
			continue
		}
		body = append(body, byte(n<<1|sender), inOrder, p.Flags, 0)
		body = binary.BigEndian.AppendUint16(body, uint16(len(p.Payload)))
		body = append(body, p.Payload...)
	}
	return append(head, body...)
}

const storySite = `
exchange: "2010"
servers:
  - {name: mb1, addresses: [10.0.1.1], roles: [mailbox, cas], static_ports: {emsmdb: 59532}}
  - {name: dc1, addresses: [10.0.1.2], roles: [dc, gc]}
  - {name: um1, addresses: [10.0.1.3], roles: [um]}
networks:
  - {cidr: 10.0.0.0/24, role: client}
`

// teller writes down the records it gets, and adds them up.
type teller struct {
	t       testing.TB
	out     strings.Builder
	numbers map[uint64]bool
	bytes   uint64
	packets uint64
}

func (l *teller) Write(r *record.Record) error {
	if r.State == "ended" {
		if l.numbers[r.Number] {
			l.t.Errorf("flow %d is written twice", r.Number)
		}
		l.numbers[r.Number] = true
		l.bytes += r.Bytes[0] + r.Bytes[1]
		l.packets += r.Packets[0] + r.Packets[1]
	}
	if r.Last.Before(r.First) || r.SetupTime < 0 || r.Facts.Len() > observe.MaxFactValues {
		l.t.Errorf("flow %d: from %v to %v, set-up %v, %d bytes of facts", r.Number, r.First, r.Last, r.SetupTime, r.Facts.Len())
	}
	for _, s := range r.Streams {
		if s.Packets > r.Packets[0]+r.Packets[1] {
			l.t.Errorf("flow %d: a stream of %d packets", r.Number, s.Packets)
		}
	}
	v := r.Verdict
	if (v.Path != nil) != (v.Status == record.Expected || v.Status == record.Deviating) || v.Path == nil && len(v.Findings) > 0 && v.Status == record.Deviating {
		l.t.Errorf("flow %d: %s with path %v", r.Number, v.Status, v.Path)
	}
	id := ""
	if v.Path != nil {
		id = v.Path.ID
	}
	fmt.Fprintln(&l.out, r.Number, r.State, r.First, r.Last, r.Client, r.Server, r.VLANs, r.Packets, r.Bytes, r.GapBytes, r.Outcome, r.Protocol,
		r.Facts.All(), r.Endpoint, r.Streams, r.SetupTime, v.Status, id, v.Group, v.Confidence, v.Reason, v.Why, v.Findings)
	return nil
}

func (l *teller) Close(s *record.Summary) error {
	fmt.Fprintln(&l.out, s.Hosts, s.Endpoints, s.Calls, s.Streams, s.Limits, s.AckedUnseen)
	return nil
}

// mode is how an engine is fed.
type mode int

const (
	alone   mode = iota // in one goroutine
	counted             // with traffic counted as it passes, packet by packet
	crewed              // by several goroutines
)

// pieces delivers packets in pieces, as files are delivered.
type pieces struct{ rest [][]capture.Packet }

func (p *pieces) Fetch(int)    {}
func (p *pieces) Close() error { return nil }

func (p *pieces) Read() (*capture.Batch, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	b := &capture.Batch{Packets: p.rest[0]}
	p.rest = p.rest[1:]
	return b, nil
}

func (p *pieces) Decode(list []*capture.Batch) ([]*capture.Batch, error) {
	b, err := p.Read()
	if err != nil {
		return list, err
	}
	return append(list, b), nil
}

// tellSame puts packets through an engine in every mode, and wants the same of
// each.
func tellSame(t testing.TB, cfg Config, packets []capture.Packet) {
	t.Helper()
	want := tell(t, cfg, alone, packets)
	for _, m := range []mode{counted, crewed} {
		if got := tell(t, cfg, m, packets); got != want {
			a, b := sorted(want), sorted(got)
			if slices.Equal(a, b) {
				continue
			}
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("mode %d differs in line %d:\n%s\n%s", m, i, a[i], b[i])
				}
			}
			t.Fatalf("mode %d differs: %d lines for %d", m, len(b), len(a))
		}
	}
}

// sorted returns the lines of tell with those of live flows at the end, sorted:
// they come in the order of the places in the flow table, which the modes give out
// differently.
func sorted(text string) []string {
	var final, live []string
	for line := range strings.SplitSeq(text, "\n") {
		if _, rest, _ := strings.Cut(line, " "); strings.HasPrefix(rest, "active ") {
			live = append(live, line)
		} else {
			final = append(final, line)
		}
	}
	slices.Sort(live)
	return append(final, live...)
}

// tell puts packets through an engine, checks what must hold of its counters,
// and returns everything it wrote.
func tell(t testing.TB, cfg Config, m mode, packets []capture.Packet) string {
	t.Helper()
	cfg.Traffic = m == counted
	l := &teller{t: t, numbers: map[uint64]bool{}}
	e, err := New(cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	var total, icmp, count uint64
	for i := range packets {
		total += uint64(packets[i].Length)
		if packets[i].Proto == capture.ICMP || packets[i].Proto == capture.ICMPv6 {
			icmp += uint64(packets[i].Length)
		} else {
			count++
		}
	}
	done := time.AfterFunc(time.Minute, func() { panic("no end in sight") })
	defer done.Stop()
	check := func(when string) {
		s := e.Snapshot()
		sum := s.PendingBytes
		for i := range s.Paths {
			sum += s.Paths[i].Bytes[0] + s.Paths[i].Bytes[1]
			if s.Paths[i].Active < 0 {
				t.Errorf("%s: %s has %d live flows", when, s.Paths[i].Label, s.Paths[i].Active)
			}
		}
		if cfg.Traffic && sum != s.IPBytes {
			t.Errorf("%s: paths and pending have %d bytes, packets %d", when, sum, s.IPBytes)
		}
		if e.reader.Buffered() < 0 || e.reader.Buffered() > e.cfg.Limits.MaxBuffered+storyPackets*1<<16 || e.reader.FactBytes() < 0 || e.reader.FactBytes() > e.cfg.Limits.MaxFactBytes+2*observe.MaxFactValues*observe.MaxFactLength {
			t.Errorf("%s: %d bytes buffered, %d bytes of facts", when, e.reader.Buffered(), e.reader.FactBytes())
		}
	}
	const batch = 50
	src := &pieces{slices.Collect(slices.Chunk(packets, batch))}
	if err := e.Feed(src, m == crewed, func(*capture.Batch) error { check("between batches"); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(nil); err != nil {
		t.Fatal(err)
	}
	check("at the end")
	if s := e.Snapshot(); s.PendingBytes != 0 || s.PendingPackets != 0 || s.IPBytes != total || l.bytes+icmp != total || l.packets != count {
		t.Errorf("records have %d bytes and %d packets, ICMP %d; pending are %d; put in were %d and %d",
			l.bytes, l.packets, icmp, s.PendingBytes, total, count)
	}
	if e.reader.Buffered() != 0 || e.reader.FactBytes() != 0 || e.reader.Reading() != 0 || e.flows.table.Used() != 0 {
		t.Errorf("left behind: %d bytes buffered, %d of facts, %d flows being read, %d slots", e.reader.Buffered(), e.reader.FactBytes(), e.reader.Reading(), e.flows.table.Used())
	}
	out := l.out.String()
	// A terminal would obey.
	i := strings.IndexFunc(out, func(c rune) bool { return c < ' ' && c != '\n' || c >= 0x7f && c < 0xa0 })
	if i < 0 && !utf8.ValidString(out) {
		i = strings.IndexRune(out, utf8.RuneError)
	}
	if i >= 0 {
		t.Errorf("control characters are told: %q", out[max(0, i-100):min(len(out), i+100)])
	}
	return out
}

// FuzzEngine tells stories to the whole engine: flows of any ports whose
// packets carry anything in any order at any time.
func FuzzEngine(f *testing.F) {
	for _, file := range recordings(f) {
		packets := readfile.Packets(f, file)
		for skip := 0; skip < 60; skip += 12 {
			f.Add(storyOf(packets, skip), byte(skip))
		}
	}
	packs := testPacks(f)
	site, err := rules.LoadSite("site.yaml", []byte(storySite))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, story []byte, how byte) {
		packets := packetsOfStory(story)
		cfg := Config{Packs: packs, Calls: how&1 != 0, Identities: how&2 != 0, KeyVLAN: how&4 != 0}
		if how&8 != 0 {
			cfg.Site = site
		}
		if how&16 != 0 {
			cfg.Hold, cfg.Interim = 300e9, 60e9
		}
		if how&32 != 0 {
			cfg.Limits = Limits{MaxFlows: 3, MaxHeld: 2, MaxConns: 2, MaxBuffered: 4 << 10, MaxFactBytes: 2000}
		}
		tellSame(t, cfg, packets)
	})
}

// damage does to packets what sensors, networks and people do to them.
func damage(packets []capture.Packet, how string, r *rand.Rand) []capture.Packet {
	out := make([]capture.Packet, 0, 2*len(packets))
	for _, p := range packets {
		switch how {
		case "lost":
			if r.IntN(8) == 0 {
				continue
			}
		case "one-way":
			if p.Src.Port < p.Dst.Port {
				continue
			}
		case "twice":
			if r.IntN(3) == 0 {
				out = append(out, p)
			}
		case "cut":
			p.Payload = p.Payload[:min(len(p.Payload), 40)]
		case "changed":
			p.Payload = slices.Clone(p.Payload)
			for n := len(p.Payload); n > 0 && r.IntN(2) == 0; {
				p.Payload[r.IntN(min(n, 64))] ^= byte(1 << r.IntN(8))
			}
		case "flags":
			if r.IntN(10) == 0 {
				p.Flags ^= 1 << r.IntN(5)
			}
		case "times":
			if r.IntN(20) == 0 {
				p.Time += r.Int64N(2e13) - 1e13
			}
		}
		out = append(out, p)
	}
	switch how {
	case "shuffled":
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	case "jittered":
		for i := 0; i+6 < len(out); i += 3 {
			r.Shuffle(6, func(j, k int) { out[i+j], out[i+k] = out[i+k], out[i+j] })
		}
	}
	for i := range out {
		out[i].Number = uint64(i + 1)
	}
	return out
}

// TestDamagedRecordings tells recordings that went through much.
func TestDamagedRecordings(t *testing.T) {
	packs := testPacks(t)
	for n, file := range recordings(t) {
		packets := readfile.Packets(t, file)
		for i, how := range []string{"lost", "one-way", "twice", "cut", "changed", "flags", "times", "shuffled", "jittered"} {
			cfg := Config{Packs: packs, Calls: true, Hold: time.Duration(i%2) * time.Minute}
			damaged := damage(packets, how, rand.New(rand.NewPCG(uint64(n), uint64(i))))
			tellSame(t, cfg, damaged)
			if t.Failed() {
				t.Fatalf("%s, %s", filepath.Base(file), how)
			}
		}
	}
}
