package flow

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
)

const second = int64(time.Second)

var (
	client = capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.1:50000"))
	server = capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.2:135"))
)

// tester plays packets and keeps what an owner of the table would: the ends of
// each flow, and what was said of it.
type tester struct {
	*Table
	t      *testing.T
	number uint64
	now    int64
	ack    uint32 // of the packets that are sent
	known  func(capture.Endpoint, uint8) bool
	ends   map[ID]*Ends
	what   map[ID]uint16
	ended  []ID
}

func newTester(t *testing.T) *tester {
	return &tester{Table: NewTable(1000), t: t, now: 1_000_000 * second, ends: map[ID]*Ends{}, what: map[ID]uint16{}}
}

// send tracks one TCP packet of n payload bytes.
func (t *tester) send(src, dst capture.Endpoint, flags uint8, seq, n uint32) ID {
	t.number++
	p := capture.Packet{Number: t.number, Time: t.now, Length: 40 + n, Frames: 1, Proto: capture.TCP, Flags: flags,
		Src: src, Dst: dst, Seq: seq, Ack: t.ack, PayloadLength: n, Hash: capture.Hash(src, dst, capture.TCP)}
	t.Every = true
	return t.play(&p)
}

// play follows a packet and returns its flow.
func (t *tester) play(p *capture.Packet) ID {
	var id ID
	for _, ev := range t.Follow([]capture.Packet{*p}, 0, nil) {
		if ev.What&Ended != 0 {
			t.ended = append(t.ended, ev.ID)
			continue
		}
		if ev.What&Second != 0 {
			continue
		}
		id = ev.ID
		t.what[id] |= ev.What
		switch {
		case ev.What&New != 0:
			ends := Guess(p, t.known)
			t.ends[id] = &ends
		case ev.What&(SYN|SYNACK) != 0:
			t.ends[id].Handshake(ev.Sender(), ev.What&SYNACK != 0)
		}
	}
	return id
}

func (t *tester) handshake() ID {
	t.send(client, server, capture.SYN, 100, 0)
	t.now += 1_500_000
	t.send(server, client, capture.SYN|capture.ACK, 900, 0)
	return t.send(client, server, capture.ACK, 101, 0)
}

func TestHandshake(t *testing.T) {
	tt := newTester(t)
	id := tt.handshake()
	f, ends := tt.At(id), tt.ends[id]
	if ends.Client(f) != client || ends.Server(f) != server || ends.bits&proven == 0 || !f.Begun() {
		t.Errorf("client %v, server %v, proven %v", ends.Client(f), ends.Server(f), ends.bits&proven != 0)
	}
	if f.SetupTime() != 1500*time.Microsecond {
		t.Errorf("set-up took %v, want 1.5ms", f.SetupTime())
	}
	there, back := ends.Side(observe.ToServer), ends.Side(observe.ToClient)
	if f.Packets(there) != 2 || f.Packets(back) != 1 || f.Bytes(there) != 80 {
		t.Errorf("packets %d, %d, bytes %d", f.Packets(there), f.Packets(back), f.Bytes(there))
	}
	if ends.Turn() {
		t.Error("a proven flow was turned")
	}
}

func TestLostSYN(t *testing.T) {
	tt := newTester(t)
	// The SYN-ACK alone proves the server, whatever the ports say.
	id := tt.send(client, server, capture.SYN|capture.ACK, 1, 0)
	if ends := tt.ends[id]; ends.Server(tt.At(id)) != client || ends.bits&proven == 0 {
		t.Error("the sender of a SYN-ACK is the server")
	}
	// Without a handshake the lower port is the server, unless one end is known.
	tt = newTester(t)
	id = tt.send(server, client, capture.ACK, 1, 10)
	if tt.ends[id].Server(tt.At(id)) != server {
		t.Error("the lower port is the server")
	}
	// A handshake that comes later knows better.
	tt.send(server, client, capture.SYN, 1, 0)
	if ends := tt.ends[id]; ends.Server(tt.At(id)) != client || ends.bits&proven == 0 {
		t.Error("the sender of a SYN is the client")
	}
	tt = newTester(t)
	tt.known = func(e capture.Endpoint, proto uint8) bool { return e == client && proto == capture.TCP }
	id = tt.send(server, client, capture.ACK, 1, 10)
	f, ends := tt.At(id), tt.ends[id]
	if ends.Server(f) != client {
		t.Error("a known endpoint is the server")
	}
	if !ends.Turn() || ends.Server(f) != server || f.Packets(ends.Side(observe.ToClient)) != 1 || ends.Turn() {
		t.Error("one turn swaps the ends and their counters")
	}
}

func TestSYNs(t *testing.T) {
	for _, c := range []struct {
		name  string
		wait  time.Duration
		seq   uint32
		flags uint8 // sent before the second SYN
		same  bool
	}{
		{"retransmission", time.Second, 100, 0, true},
		{"retransmission after a while", 7 * time.Second, 100, 0, true},
		{"another sequence number at once", time.Second, 555, 0, true},
		{"another sequence number after silence", 3 * time.Second, 555, 0, false},
		{"another sequence number after RST", time.Millisecond, 555, capture.RST | capture.ACK, false},
		{"another sequence number after an RST that acknowledges nothing", time.Millisecond, 555, capture.RST, true},
		{"another sequence number after FIN", time.Millisecond, 555, capture.FIN | capture.ACK, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tt := newTester(t)
			tt.ack = 101
			first := tt.send(client, server, capture.SYN, 100, 0)
			if c.flags != 0 {
				tt.send(server, client, c.flags, 0, 0)
			}
			tt.now += int64(c.wait)
			second := tt.send(client, server, capture.SYN, c.seq, 0)
			if (first == second) != c.same {
				t.Errorf("same flow: %v, want %v", first == second, c.same)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name    string
		make    func(tt *tester)
		timeout time.Duration
	}{
		{"half-open", func(tt *tester) { tt.send(client, server, capture.SYN, 1, 0) }, HalfOpenTimeout},
		{"established", func(tt *tester) { tt.handshake() }, EstablishedTimeout},
		{"closed by RST", func(tt *tester) { tt.handshake(); tt.send(server, client, capture.RST, 901, 0) }, ClosedTimeout},
		{"closed by FIN", func(tt *tester) {
			tt.handshake()
			tt.send(server, client, capture.FIN|capture.ACK, 901, 0)
			tt.send(client, server, capture.FIN|capture.ACK, 101, 0)
		}, ClosedTimeout},
		{"half closed", func(tt *tester) { tt.handshake(); tt.send(server, client, capture.FIN|capture.ACK, 901, 0) }, EstablishedTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			tt := newTester(t)
			c.make(tt)
			ended := func(after time.Duration) (n int) {
				for _, ev := range tt.Idle(tt.now+int64(after), nil) {
					n += int(ev.What & Ended / Ended)
				}
				return n
			}
			if n := ended(c.timeout - time.Second); n != 0 {
				t.Fatalf("%d flows ended a second early", n)
			}
			if n := ended(c.timeout + 2*time.Second); n != 1 || tt.Live() != 0 {
				t.Fatalf("%d flows ended, %d live", n, tt.Live())
			}
		})
	}
}

// TestClock holds the clock against times that are far from those of the packets
// around them.
func TestClock(t *testing.T) {
	other := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.9:1"))
	const year = 365 * 24 * 3600 * second
	for _, jump := range []int64{90 * year, 20 * second, -20 * second, -50 * year} {
		tt := newTester(t)
		id := tt.handshake()
		start := tt.now
		tt.now += jump
		tt.send(other, server, capture.SYN, 1, 0)
		for range 20 {
			start += second
			tt.now = start
			if got := tt.send(client, server, capture.ACK, 101, 10); got != id || tt.Clock() != start {
				t.Fatalf("a single time %v off: flow %d, clock off by %v", time.Duration(jump), got, time.Duration(tt.Clock()-start))
			}
		}
		if len(tt.ended) != 0 || tt.Steps() != 0 || tt.Outliers() != 1 {
			t.Errorf("a single time %v off: %d flows ended, %d steps, %d outliers", time.Duration(jump), len(tt.ended), tt.Steps(), tt.Outliers())
		}
		if f := tt.At(id); f.Last != start {
			t.Errorf("a single time %v off: the flow ends %v off", time.Duration(jump), time.Duration(f.Last-start))
		}
	}
	// Silence is no outlier: the first packet after it is of a new flow, and the next one
	// lets the clock follow.
	tt := newTester(t)
	id := tt.handshake()
	tt.now += 3 * 3600 * second
	if again := tt.send(client, server, capture.ACK, 101, 10); again == id {
		t.Error("a flow goes on after 3 hours")
	}
	tt.now += second
	tt.send(client, server, capture.ACK, 111, 10)
	if tt.Clock() != tt.now || tt.Outliers() != 0 || len(tt.ended) != 1 {
		t.Errorf("after 3 hours of silence: clock off by %v, %d outliers, %d flows ended", time.Duration(tt.now-tt.Clock()), tt.Outliers(), len(tt.ended))
	}
	// The last packet of the input is believed where it is not too far ahead.
	for _, jump := range []int64{20 * second, 90 * year} {
		tt := newTester(t)
		tt.handshake()
		tt.now += jump
		tt.send(other, server, capture.SYN, 1, 0)
		tt.Finish()
		if believed := tt.Clock() == tt.now; believed != (jump < lastLeap) {
			t.Errorf("a last packet %v ahead: believed %v", time.Duration(jump), believed)
		}
	}
}

// TestClockStep holds that a clock that goes back and stays there is followed, that
// flows survive that, and that time-outs go on.
func TestClockStep(t *testing.T) {
	tt := newTester(t)
	id := tt.handshake()
	for i := range uint32(5) {
		tt.now += second
		tt.send(client, server, capture.ACK, 101+10*i, 10)
	}
	tt.now -= 3600 * second
	for i := range uint32(20) {
		tt.now += second / 2
		if got := tt.send(client, server, capture.ACK, 151+10*i, 10); got != id {
			t.Fatalf("packet %d after the step is of another flow", i)
		}
	}
	if tt.Clock() != tt.now || tt.Steps() != 1 || tt.Outliers() != 0 || len(tt.ended) != 0 {
		t.Errorf("clock off by %v, %d steps, %d outliers, %d flows ended", time.Duration(tt.now-tt.Clock()), tt.Steps(), tt.Outliers(), len(tt.ended))
	}
	if f := tt.At(id); f.Last != tt.now || f.First > f.Last {
		t.Errorf("the flow lasts from %d to %d, want until %d", f.First, f.Last, tt.now)
	}
	other := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.9:1"))
	for range 40 {
		tt.now += second
		tt.send(other, server, capture.SYN, 1, 0)
	}
	half := capture.EndpointFrom(netip.MustParseAddrPort("10.0.0.8:1"))
	tt.send(half, server, capture.SYN, 1, 0)
	for range 40 {
		tt.now += second
		tt.send(client, server, capture.ACK, 500, 0)
	}
	if len(tt.ended) != 2 {
		t.Errorf("%d half-open flows timed out after the step, want 2", len(tt.ended))
	}
}

func TestRefused(t *testing.T) {
	tt := newTester(t)
	tt.send(client, server, capture.SYN, 1, 0)
	tt.ack = 2
	f := tt.At(tt.send(server, client, capture.RST|capture.ACK, 0, 0))
	if f.Seen&SeenRefused == 0 {
		t.Error("an RST to the SYN refuses")
	}
	tt = newTester(t)
	tt.send(client, server, capture.SYN, 1, 0)
	if f := tt.At(tt.send(client, server, capture.RST, 2, 0)); f.Seen&SeenRefused != 0 {
		t.Error("the client's own RST is no refusal")
	}
}

// TestResets plays RSTs and FINs that belong to a flow and such that do not. Each
// step is who sends, flags, sequence number, acknowledgement and length; in the end
// there is one flow.
func TestResets(t *testing.T) {
	type step struct {
		from               capture.Endpoint
		flags              uint8
		seq, ack, n, after uint32 // after in milliseconds
	}
	const syn, ack, rst, fin = capture.SYN, capture.ACK, capture.RST, capture.FIN
	open := []step{{client, syn, 100, 0, 0, 0}, {server, syn | ack, 900, 101, 0, 1}, {client, ack, 101, 901, 0, 1},
		{client, ack, 101, 901, 10, 1}, {server, ack, 901, 111, 10, 1}}
	for _, c := range []struct {
		name  string
		steps []step
		want  uint16 // of SeenRST, SeenRefused, SeenSYNACK and FINs
	}{
		{"an RST that acknowledges the SYN", []step{{client, syn, 100, 0, 0, 0}, {server, rst | ack, 0, 101, 0, 1}}, SeenRST | SeenRefused},
		{"one that acknowledges something else", []step{{client, syn, 100, 0, 0, 0}, {server, rst | ack, 0, 0, 0, 1}}, 0},
		{"one that acknowledges nothing", []step{{client, syn, 100, 0, 0, 0}, {server, rst, 0, 101, 0, 1}}, 0},
		{"data in the SYN, refused", []step{{client, syn, 100, 0, 30, 0}, {server, rst | ack, 0, 131, 0, 1}}, SeenRST | SeenRefused},
		{"data in the SYN, refused without it", []step{{client, syn, 100, 0, 30, 0}, {server, rst | ack, 0, 101, 0, 1}}, SeenRST | SeenRefused},
		{"the RST comes first", []step{{server, rst | ack, 0, 101, 0, 0}, {client, syn, 100, 0, 0, 0}}, SeenRST | SeenRefused},
		{"refused, then answered", []step{{client, syn, 100, 0, 0, 0}, {server, rst | ack, 0, 101, 0, 1}, {client, syn, 100, 0, 0, 500}, {server, syn | ack, 900, 101, 0, 1}}, SeenSYNACK},
		{"in the window", append(open[:5:5], step{server, rst, 911, 0, 0, 1}), SeenSYNACK | SeenRST},
		{"out of the window", append(open[:5:5], step{server, rst, 911 + 1<<17, 0, 0, 1}), SeenSYNACK},
		{"injected, the flow goes on", append(open[:5:5], step{server, rst, 911, 0, 0, 1}, step{server, ack, 911, 111, 10, 20000}), SeenSYNACK},
		{"the other end still sends", append(open[:5:5], step{server, rst, 911, 0, 0, 1}, step{client, ack, 111, 911, 10, 1}), SeenSYNACK | SeenRST},
		{"a late RST", append(open[:5:5], step{client, fin | ack, 111, 911, 0, 1}, step{server, fin | ack, 911, 112, 0, 60000}, step{client, rst, 112, 912, 0, 20000}), SeenSYNACK | SeenRST | SeenFinA | SeenFinB},
		{"a FIN out of the window", append(open[:5:5], step{client, fin | ack, 111 + 1<<17, 911, 0, 1}), SeenSYNACK},
	} {
		t.Run(c.name, func(t *testing.T) {
			tt := newTester(t)
			ids := map[ID]bool{}
			var id ID
			for _, s := range c.steps {
				to := server
				if s.from == server {
					to = client
				}
				tt.now += int64(s.after) * int64(time.Millisecond)
				tt.ack = s.ack
				id = tt.send(s.from, to, s.flags, s.seq, s.n)
				ids[id] = true
			}
			if len(ids) != 1 || len(tt.ended) != 0 {
				t.Fatalf("%d flows", len(ids)+len(tt.ended))
			}
			const mask = SeenRST | SeenRefused | SeenSYNACK | SeenFinA | SeenFinB
			if got := tt.At(id).Seen & mask; got != c.want {
				t.Errorf("seen %#x, want %#x", got, c.want)
			}
		})
	}
}

// TestSequenceAgain holds that of SYNs and SYN-ACKs with other sequence numbers the
// last one counts.
func TestSequenceAgain(t *testing.T) {
	tt := newTester(t)
	id := tt.send(client, server, capture.SYN, 5000, 0)
	tt.now += second
	tt.send(client, server, capture.SYN, 100, 0)
	tt.send(server, client, capture.SYN|capture.ACK, 9000, 0)
	tt.send(server, client, capture.SYN|capture.ACK, 900, 0)
	tt.send(client, server, capture.ACK, 101, 10)
	tt.send(server, client, capture.ACK, 901, 10)
	if f := tt.At(id); f.next != [2]uint32{111, 911} || f.gaps != [2]uint32{} || f.Packets(0)+f.Packets(1) != 6 {
		t.Errorf("next %v, gaps %v", f.next, f.gaps)
	}
}

func TestProhibited(t *testing.T) {
	quote := func(tt *tester, typ, code uint8, src, dst capture.Endpoint) Event {
		for _, ev := range tt.Follow([]capture.Packet{{Time: tt.now, Proto: capture.ICMP, ICMPType: typ, ICMPCode: code, Quoted: capture.TCP,
			Src: src, Dst: dst, Hash: capture.Hash(src, dst, capture.TCP)}}, 0, nil) {
			if ev.What&Quote != 0 {
				return ev
			}
		}
		return Event{}
	}
	tt := newTester(t)
	id := tt.send(client, server, capture.SYN, 1, 0)
	if ev := quote(tt, 3, 13, client, server); ev.What&Prohibited == 0 || ev.ID != id || ev.Sender() != 0 {
		t.Error("code 13 prohibits")
	}
	if ev := quote(tt, 3, 3, client, server); ev.What&Refused == 0 || ev.What&Prohibited != 0 {
		t.Error("code 3 refuses")
	}
	if ev := quote(tt, 3, 13, server, client); ev.What&Prohibited != 0 && ev.Sender() == 0 {
		t.Error("what the server sent is quoted as the client's")
	}
	tt = newTester(t)
	tt.handshake()
	if ev := quote(tt, 3, 13, client, server); ev.What&Prohibited != 0 {
		t.Error("nothing is prohibited once the server answered")
	}
	if id, _, _ := newTester(t).Quoted(&capture.Packet{Time: 1, Proto: capture.ICMP, Quoted: capture.UDP}); id != 0 {
		t.Error("a quoted packet makes no flow")
	}
}

func TestGaps(t *testing.T) {
	tt := newTester(t)
	id := tt.handshake()
	f := tt.At(id)
	tt.send(client, server, capture.ACK, 101, 10)
	tt.send(client, server, capture.ACK, 131, 10) // 20 bytes missing
	if g := f.GapBytes(0); g != 20 {
		t.Errorf("gap of %d, want 20", g)
	}
	tt.send(client, server, capture.ACK, 111, 10) // late
	if g := f.GapBytes(0); g != 10 {
		t.Errorf("gap of %d, want 10", g)
	}
	tt.send(client, server, capture.ACK, 140, 1) // a keep-alive probe
	if g := f.GapBytes(0); g != 10 {
		t.Errorf("gap of %d after a keep-alive, want 10", g)
	}
}

// TestAgainstMap plays random packets into a table and into a plain map.
func TestAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	table := NewTable(1 << 20)
	type key struct{ a, b capture.Endpoint }
	want := map[key]uint64{}
	now := int64(1e15)
	for i := range 200_000 {
		a := capture.Endpoint{Addr: capture.Addr{15: byte(r.IntN(50))}, Port: uint16(r.IntN(100))}
		b := capture.Endpoint{Addr: capture.Addr{15: byte(100 + r.IntN(5))}, Port: uint16(r.IntN(20))}
		k := key{a, b}
		if r.IntN(2) == 0 {
			a, b = b, a
		}
		now += int64(r.IntN(2)) * 1000
		table.track(&capture.Packet{Number: uint64(i + 1), Time: now, Frames: 1, Length: 100, Proto: capture.UDP, Src: a, Dst: b, Hash: capture.Hash(a, b, capture.UDP)}, 0, 0)
		want[k]++
	}
	if table.Live() != len(want) {
		t.Fatalf("%d flows, want %d", table.Live(), len(want))
	}
	check := func() {
		n := 0
		table.All(func(_ ID, s *Flow) bool {
			n++
			total := s.packets[0] + s.packets[1]
			if total != want[key{s.Sides[0], s.Sides[1]}]+want[key{s.Sides[1], s.Sides[0]}] {
				t.Fatalf("flow %v %v has %d packets", s.Sides[0], s.Sides[1], total)
			}
			return true
		})
		if n != len(want) {
			t.Fatalf("%d flows, want %d", n, len(want))
		}
	}
	check()
	// Take every third flow out: the others must still be found.
	var gone []ID
	table.All(func(id ID, s *Flow) bool {
		if s.Number%3 == 0 {
			gone = append(gone, id)
		}
		return true
	})
	for _, id := range gone {
		s := table.At(id)
		delete(want, key{s.Sides[0], s.Sides[1]})
		delete(want, key{s.Sides[1], s.Sides[0]})
		table.finish(id)
	}
	for _, id := range table.ended {
		table.Free(id)
	}
	check()
}

// TestShortWay plays random packets into a table that was warmed and into one that
// was not, where every packet goes the long way.
func TestShortWay(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 7))
		one := func(n int) bool { return r.IntN(n) == 0 }
		most := []int{40, 400}[seed>>2]
		short, long := NewTable(most), NewTable(most)
		for _, table := range []*Table{short, long} {
			table.Every, table.KeyVLAN = seed&1 != 0, seed&2 != 0
		}
		end := func(n int) capture.Endpoint {
			return capture.Endpoint{Addr: capture.Addr{0: byte(n & 1), 15: byte(n >> 1 & 3)}, Port: uint16(n >> 3)}
		}
		type stream struct {
			src, dst capture.Endpoint
			proto    uint8
			next     [2]uint32
		}
		streams := make([]stream, 60)
		now, number, told := int64(1e15), uint64(0), 0
		for range 400 {
			batch := make([]capture.Packet, 1+r.IntN(150))
			s := &streams[0]
			for i := range batch {
				if one(3) {
					s = &streams[r.IntN(len(streams))]
				}
				if s.proto == 0 || one(300) {
					*s = stream{end(r.IntN(32)), end(r.IntN(32)), []uint8{capture.TCP, capture.TCP, capture.UDP}[r.IntN(3)], [2]uint32{}}
				}
				if one(20) {
					now += int64(r.IntN(3)) * second / 2
				}
				number++
				side := r.IntN(2)
				p := &batch[i]
				*p = capture.Packet{Number: number, Time: now + int64(r.IntN(1000)), Length: 50, Proto: s.proto, Src: s.src, Dst: s.dst, Hash: capture.Hash(s.src, s.dst, s.proto)}
				if side == 1 {
					p.Src, p.Dst = p.Dst, p.Src
				}
				if one(2) {
					p.PayloadLength = uint32(r.IntN(20))
				}
				if s.proto == capture.TCP {
					p.Flags, p.Seq = capture.ACK, s.next[side]
					if one(15) {
						p.Flags = uint8(r.IntN(32))
					}
					if one(15) {
						p.Seq += uint32(r.IntN(40)) - 20
					}
					s.next[side] = p.Seq + p.PayloadLength
				}
				if one(30) {
					p.VLANs = p.VLANs.Push(7)
				}
				if one(50) {
					p.Proto, p.Quoted, p.ICMPType, p.ICMPCode = capture.ICMP, s.proto, 3, uint8(r.IntN(14))
				}
			}
			var got, want []Event
			for i := 0; i < len(batch); i += WarmSize {
				n := min(len(batch), i+WarmSize)
				short.Warm(batch[i:n])
				got = short.Follow(batch[:n], i, got)
			}
			want = long.Follow(batch, 0, nil)
			if len(got) != len(want) {
				t.Fatalf("%d events, want %d", len(got), len(want))
			}
			told += len(got)
			for i := range got {
				for side, known := range []uint16{KnownA, KnownB} {
					if got[i].What&known == 0 {
						got[i].Next[side] = want[i].Next[side]
					}
				}
				if got[i] != want[i] {
					t.Fatalf("event %+v, want %+v", got[i], want[i])
				}
				if id := got[i].ID; got[i].What&Ended != 0 {
					f, g := *short.At(id), *long.At(id)
					if f.Proto == capture.UDP {
						f.next = g.next // says nothing
					}
					if f != g {
						t.Fatalf("flow %+v, want %+v", f, g)
					}
					short.Free(id)
					long.Free(id)
				}
			}
			if id := ID(1 + r.IntN(40)); one(3) && short.At(id).Proto != 0 {
				short.Quiet(id)
				long.Quiet(id)
			}
			if short.Clock() != long.Clock() || short.Packets != long.Packets || short.IPBytes != long.IPBytes || short.Live() != long.Live() {
				t.Fatalf("clock %d, want %d; packets %d, want %d; bytes %d, want %d; live %d, want %d",
					short.Clock(), long.Clock(), short.Packets, long.Packets, short.IPBytes, long.IPBytes, short.Live(), long.Live())
			}
		}
		t.Logf("%d packets, %d events, %d evicted", number, told, short.Evicted)
	}
}

// TestEvict floods a table, of which conversations are a part that were there before
// and are silent meanwhile: it is the flood that goes, and what is oldest of it first.
func TestEvict(t *testing.T) {
	const flows, talks = 1000, 50
	table := NewTable(flows)
	number := uint64(0)
	send := func(src, dst capture.Endpoint, proto, flags uint8, payload uint32) {
		number++
		p := capture.Packet{Number: number, Time: 1e15 + int64(number)*50_000, Frames: 1, Proto: proto, Flags: flags, PayloadLength: payload, Src: src, Dst: dst,
			Hash: capture.Hash(src, dst, proto)}
		for _, ev := range table.Follow([]capture.Packet{p}, 0, nil) {
			if ev.What&Ended == 0 {
				continue
			}
			f := table.At(ev.ID)
			if f.Number <= 3*talks {
				t.Errorf("conversation %d was ended", f.Number)
			}
			if age := number - f.Number; age < flows/20 {
				t.Errorf("a flow was ended %d packets after its begin", age)
			}
			table.Free(ev.ID)
		}
	}
	for i := range talks {
		a, proto := capture.Endpoint{Addr: capture.Addr{14: 1, 15: byte(i)}, Port: 1}, []uint8{capture.TCP, capture.UDP}[i%2]
		send(a, server, proto, capture.SYN*uint8(1-i%2), uint32(i%2))
		send(server, a, proto, capture.ACK, 100)
		send(a, server, proto, capture.ACK, 100)
	}
	for i := range 20 * flows {
		a := capture.Endpoint{Addr: capture.Addr{13: 1, 14: byte(i >> 8), 15: byte(i)}, Port: 1}
		switch i % 4 {
		case 0:
			send(a, server, capture.TCP, capture.SYN, 0)
		case 1:
			send(a, server, capture.TCP, capture.ACK, 10)
		case 2:
			send(a, server, capture.UDP, 0, 10)
		case 3:
			send(a, server, capture.TCP, capture.SYN, 0)
			send(server, a, capture.TCP, capture.SYN|capture.ACK, 0)
			send(a, server, capture.TCP, capture.ACK, 10)
		}
	}
	if table.Live() != flows || table.Used() != flows || table.Evicted != 20*flows+talks-flows {
		t.Errorf("live %d, used %d, evicted %d", table.Live(), table.Used(), table.Evicted)
	}
}

func TestEvictOldest(t *testing.T) {
	table := NewTable(10)
	for i := range 25 {
		src := capture.Endpoint{Addr: capture.Addr{15: byte(i)}, Port: 1}
		p := capture.Packet{Number: uint64(i + 1), Time: 1e15 + int64(i)*second, Frames: 1, Proto: capture.UDP, Src: src, Dst: server, Hash: capture.Hash(src, server, capture.UDP)}
		for _, ev := range table.Follow([]capture.Packet{p}, 0, nil) {
			if ev.What&Ended == 0 {
				continue
			}
			if want := uint64(i - 9); table.At(ev.ID).Number != want {
				t.Errorf("flow %d was ended, want %d", table.At(ev.ID).Number, want)
			}
			table.Free(ev.ID)
		}
	}
	if table.Live() != 10 || table.Evicted != 15 || table.Used() != 10 {
		t.Errorf("live %d, evicted %d, used %d", table.Live(), table.Evicted, table.Used())
	}
}

func TestKeyVLAN(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		table := NewTable(10)
		table.KeyVLAN = keyed
		for _, v := range []capture.VLANs{0, capture.VLANs(0).Push(42)} {
			table.track(&capture.Packet{Number: 1, Time: 1e15, Frames: 1, Proto: capture.UDP, Src: client, Dst: server, VLANs: v, Hash: capture.Hash(client, server, capture.UDP)}, 0, 0)
		}
		if want := map[bool]int{false: 1, true: 2}[keyed]; table.Live() != want {
			t.Errorf("KeyVLAN %v: %d flows, want %d", keyed, table.Live(), want)
		}
	}
}

func TestHeld(t *testing.T) {
	table := NewTable(10)
	track := func(n uint64) ID {
		src := capture.Endpoint{Addr: capture.Addr{15: byte(n)}, Port: 1}
		id, _, _, _ := table.track(&capture.Packet{Number: n, Time: 1e15, Frames: 1, Proto: capture.UDP, Src: src, Dst: server, Hash: capture.Hash(src, server, capture.UDP)}, 0, 0)
		return id
	}
	a, b := track(1), track(2)
	table.finish(a)
	table.Free(a)
	c := track(3) // takes a's slot
	d := track(4)
	var held Held
	for _, id := range []ID{d, c, b} {
		table.finish(id)
		held.Push(table.View, id, uint32(id))
	}
	if held.Len() != 3 || held.Since(table.View) != uint32(d) || held.Pop(table.View) != d {
		t.Fatalf("%d held, oldest %d", held.Len(), held.Since(table.View))
	}
	if held.Pop(table.View) != c || held.Pop(table.View) != b || held.Pop(table.View) != 0 || held.Len() != 0 {
		t.Error("what ended first is taken off first")
	}
	live := track(5)
	var ended, final []ID
	table.EndAll(func(ids []ID) { ended = append(ended, ids...) }, func(ids []ID) {
		final = append(final, ids...)
		for _, id := range ids {
			table.Free(id)
		}
	})
	if !slices.Equal(ended, []ID{live}) || !slices.Equal(final, []ID{b, c, d, live}) || table.Used() != 0 || table.Live() != 0 {
		t.Errorf("ended %v, final %v, %d in use", ended, final, table.Used())
	}
}

// TestSize keeps the memory of a flow in view: with 20 bytes that the engine
// keeps and 11 bytes of index it stays below the goal of 200.
func TestSize(t *testing.T) {
	table := NewTable(1 << 20)
	for i := range 700_000 {
		src := capture.Endpoint{Addr: capture.Addr{12: byte(i >> 16), 13: byte(i >> 8), 15: byte(i)}, Port: 1}
		table.track(&capture.Packet{Number: uint64(i + 1), Time: 1e15, Frames: 1, Proto: capture.UDP, Src: src, Dst: server, Hash: capture.Hash(src, server, capture.UDP)}, 0, 0)
	}
	per := table.Bytes() / table.Live()
	t.Logf("%d bytes a flow", per)
	if per > 180 {
		t.Errorf("%d bytes a flow, want at most 180", per)
	}
}

func TestAllocs(t *testing.T) {
	table := NewTable(1000)
	p := capture.Packet{Number: 1, Time: 1e15, Frames: 1, Length: 60, Proto: capture.TCP, Src: client, Dst: server, Seq: 1, PayloadLength: 20, Hash: capture.Hash(client, server, capture.TCP)}
	table.track(&p, 0, 0)
	batch := []capture.Packet{p}
	events := make([]Event, 0, 4)
	if n := testing.AllocsPerRun(1000, func() {
		batch[0].Time += second / 10
		batch[0].Seq += 20
		table.Warm(batch)
		events = table.Follow(batch, 0, events[:0])
	}); n != 0 {
		t.Errorf("%v allocations a packet of a known flow", n)
	}
}

func BenchmarkTrack(b *testing.B) {
	packet := func(i int) capture.Packet {
		src := capture.Endpoint{Addr: capture.Addr{11: byte(i >> 24), 12: byte(i >> 16), 13: byte(i >> 8), 15: byte(i)}, Port: 1}
		return capture.Packet{Number: uint64(i + 1), Time: 1e15, Frames: 1, Length: 60, Proto: capture.UDP, Src: src, Dst: server, Hash: capture.Hash(src, server, capture.UDP)}
	}
	run := func(b *testing.B, packets []capture.Packet, again func(*Table)) {
		table := NewTable(1 << 20)
		var events []Event
		for i := 0; b.Loop(); i++ {
			lo := i * 64 % (len(packets) - 64)
			if lo < 64 && again != nil {
				again(table)
			}
			batch := packets[lo : lo+64]
			table.Warm(batch)
			events = events[:0]
			events = table.Follow(batch, 0, events)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/packet")
	}
	for _, flows := range []int{1000, 200_000} {
		b.Run(map[int]string{1000: "1k", 200_000: "200k"}[flows], func(b *testing.B) {
			packets := make([]capture.Packet, flows)
			for i := range packets {
				packets[i] = packet(i)
			}
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
			run(b, packets, nil)
		})
	}
	// Every tenth packet begins a flow, the others are of one that is known, to
	// either side; in the end all flows end.
	b.Run("new", func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 2))
		packets := make([]capture.Packet, 1_000_000)
		for i, flows := 0, 0; i < len(packets); i++ {
			if i%10 == 0 {
				packets[i] = packet(flows)
				flows++
				continue
			}
			packets[i] = packet(r.IntN(flows))
			if r.IntN(2) == 0 {
				packets[i].Src, packets[i].Dst = packets[i].Dst, packets[i].Src
			}
		}
		run(b, packets, func(table *Table) {
			table.EndAll(func([]ID) {}, func(ids []ID) {
				for _, id := range ids {
					table.Free(id)
				}
			})
		})
	})
}

// TestFollow says what is told of packets, and what is not.
func TestFollow(t *testing.T) {
	tt := newTester(t)
	tt.handshake()
	tt.Every = false
	follow := func(src, dst capture.Endpoint, flags uint8, seq, n uint32, v capture.VLANs) (what uint16) {
		tt.number++
		p := capture.Packet{Number: tt.number, Time: tt.now, Length: 40 + n, Frames: 1, Proto: capture.TCP, Flags: flags, VLANs: v,
			Src: src, Dst: dst, Seq: seq, PayloadLength: n, Hash: capture.Hash(src, dst, capture.TCP)}
		for _, ev := range tt.Follow([]capture.Packet{3: p}, 3, nil) {
			what |= ev.What
			if ev.What&KnownA != 0 && ev.What&(Closed|Reset) == 0 && (ev.Next[0] != 101 && ev.Next[0] != 111 || ev.Packet != 3) {
				t.Errorf("event %+v", ev)
			}
		}
		return what
	}
	known := uint16(Begun | KnownA | KnownB)
	for _, c := range []struct {
		name     string
		src, dst capture.Endpoint
		flags    uint8
		seq, n   uint32
		vlans    capture.VLANs
		want     uint16
	}{
		{"an acknowledgement", client, server, capture.ACK, 101, 0, 0, 0},
		{"payload", client, server, capture.ACK, 101, 10, 0, known},
		{"another tag", client, server, capture.ACK, 111, 0, capture.VLANs(0).Push(7), known | OtherVLAN},
		{"the first FIN", client, server, capture.ACK | capture.FIN, 111, 0, 0, 0},
		{"the second FIN", server, client, capture.ACK | capture.FIN, 901, 0, 0, known | Closed | fromB},
		{"the second FIN again", server, client, capture.ACK | capture.FIN, 901, 0, 0, 0},
		{"an RST", server, client, capture.RST, 902, 0, 0, known | Reset | fromB},
	} {
		if got := follow(c.src, c.dst, c.flags, c.seq, c.n, c.vlans); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	tt = newTester(t)
	id := tt.handshake()
	tt.Every = false
	tt.Quiet(id)
	if what := follow(client, server, capture.ACK, 101, 10, 0); what != 0 {
		t.Errorf("payload of a quiet flow: %#x", what)
	}
	if what := follow(client, server, capture.RST, 111, 0, 0); what&Reset == 0 {
		t.Errorf("an RST on a quiet flow: %#x", what)
	}
}

// TestBits: some bits of Event.What are those of Flow.Seen, and stand where none of
// its own do.
func TestBits(t *testing.T) {
	all := uint16(0)
	for _, b := range []uint16{New, SYN, SYNACK, Answer, OtherVLAN, Reset, Refused, Prohibited, KnownA, KnownB, Begun, Closed, Ended, Second, Quote, fromB} {
		if b == 0 || b&(b-1) != 0 || all&b != 0 {
			t.Errorf("%#x is not a bit of its own", b)
		}
		all |= b
	}
}
