package live

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"

	"github.com/exspan/exspan/capture"
)

// fake is a handle whose frames the test gives.
type fake struct {
	in     chan fakeFrame
	closed chan struct{}
	once   sync.Once
	n      uint64
}

type fakeFrame struct {
	time time.Time
	data []byte
	err  error
}

type timeout struct{ error }

func (timeout) Timeout() bool { return true }

func newFake() *fake { return &fake{in: make(chan fakeFrame, 10_000), closed: make(chan struct{})} }

func (f *fake) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	select {
	case fr := <-f.in:
		if fr.err == nil {
			f.n++
		}
		return fr.data, gopacket.CaptureInfo{Timestamp: fr.time, CaptureLength: len(fr.data), Length: len(fr.data)}, fr.err
	case <-f.closed:
		return nil, gopacket.CaptureInfo{}, io.EOF
	case <-time.After(20 * time.Millisecond):
		return nil, gopacket.CaptureInfo{}, timeout{errors.New("timeout")}
	}
}

func (f *fake) Close() { f.once.Do(func() { close(f.closed) }) }

func (f *fake) counts() counts { return counts{frames: 1, kernel: 2, iface: 3} }

// udp is a frame of UDP over IPv4 from a port.
func udp(port byte) []byte {
	b := make([]byte, 14+28)
	b[12] = 0x08
	ip := b[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 28, 64, 17
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	ip[21], ip[23], ip[25] = port, 53, 8
	return b
}

// sourceOf returns a source over handles, one interface each.
func sourceOf(t *testing.T, handles ...*fake) *Source {
	t.Helper()
	s := &Source{in: make(chan item, 4), stop: make(chan struct{}), log: slog.New(slog.DiscardHandler), timer: time.NewTimer(idleTick),
		last: time.Now(), out: make([]capture.Packet, 0, 512)}
	for i, h := range handles {
		f := &face{opt: Options{Interface: "no-such-interface"}, index: uint16(i), open: &opened{handles: []handle{h}, link: capture.LinkEthernet}}
		readers, err := f.readers(f.open, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.faces = append(s.faces, f)
		s.begin(f, readers)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestOrder sends frames through three handles, and wants them in order of
// time, whatever was read first.
func TestOrder(t *testing.T) {
	handles := []*fake{newFake(), newFake(), newFake()}
	start := time.Now()
	const n = 3000
	for i := n - 1; i >= 0; i-- { // the handles are filled from the end
		i := n - 1 - i
		handles[i%3].in <- fakeFrame{time: start.Add(time.Duration(i) * time.Microsecond), data: udp(byte(i%3 + 1))}
	}
	s := sourceOf(t, handles...)
	var got []capture.Packet
	deadline := time.Now().Add(10 * time.Second)
	for len(got) < n && time.Now().Before(deadline) {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Packets {
			p.Payload = nil
			got = append(got, p)
		}
		if len(b.Packets) > 0 && b.Stats.Packets < uint64(len(got)) {
			t.Fatalf("the counts say %d packets after %d", b.Stats.Packets, len(got))
		}
		b.Release()
	}
	if len(got) != n {
		t.Fatalf("%d packets of %d", len(got), n)
	}
	for i, p := range got {
		if p.Number != uint64(i+1) || p.Time != start.Add(time.Duration(i)*time.Microsecond).UnixNano() {
			t.Fatalf("packet %d has number %d and came at %s", i, p.Number, time.Duration(p.Time-start.UnixNano()))
		}
		if int(p.Interface) != i%3 || int(p.Src.Port) != i%3+1 {
			t.Fatalf("packet %d is of interface %d", i, p.Interface)
		}
	}
}

// TestOrderOfUnequal lets one handle deliver all the time, the other now and
// then, and late, as a ring does whose block has to time out first.
func TestOrderOfUnequal(t *testing.T) {
	busy, rare := newFake(), newFake()
	s := sourceOf(t, busy, rare)
	const frames = 1500 // 1 ms apart
	go func() {
		start := time.Now()
		var late []fakeFrame
		for i := range frames {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Millisecond)))
			f := fakeFrame{time: time.Now(), data: udp(1)}
			if i%97 == 5 {
				late = append(late, f)
			} else {
				busy.in <- f
			}
			if len(late) > 0 && time.Since(late[0].time) > 60*time.Millisecond {
				rare.in <- late[0]
				late = late[1:]
			}
		}
		for _, f := range late {
			rare.in <- f
		}
	}()
	last, n := int64(0), 0
	deadline := time.Now().Add(20 * time.Second)
	for n < frames && time.Now().Before(deadline) {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Packets {
			n++
			if p.Time < last {
				t.Fatalf("packet %d is %s before the one delivered before it", n, time.Duration(last-p.Time))
			}
			last = p.Time
		}
	}
	if n != frames {
		t.Errorf("%d packets of %d", n, frames)
	}
}

// TestOneBusyOneIdle wants packets of a busy interface soon, though another
// says nothing.
func TestOneBusyOneIdle(t *testing.T) {
	busy, idle := newFake(), newFake()
	s := sourceOf(t, busy, idle)
	idle.in <- fakeFrame{time: time.Now(), data: udp(1)} // so that it is known
	for {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Packets) > 0 {
			break
		}
	}
	begin := time.Now()
	busy.in <- fakeFrame{time: begin, data: udp(2)}
	for {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Packets) > 0 {
			break
		}
	}
	if d := time.Since(begin); d > 900*time.Millisecond {
		t.Errorf("the packet came after %s", d)
	}
}

func TestTicksAndEndsWhenIdle(t *testing.T) {
	s := sourceOf(t, newFake(), newFake())
	begin := time.Now()
	b, err := s.Read()
	if err != nil || b.Tick == 0 || len(b.Packets) != 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("a tick after %s", d)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = s.Close() })
	begin = time.Now()
	for {
		if _, err = s.Read(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) || time.Since(begin) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

// TestWaitsForInterface lets one of two interfaces fail. The other goes on, and
// counts stay.
func TestWaitsForInterface(t *testing.T) {
	bad, good := newFake(), newFake()
	s := sourceOf(t, bad, good)
	bad.in <- fakeFrame{time: time.Now(), data: udp(1)}
	bad.in <- fakeFrame{err: errors.New("the interface is gone")}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if i := s.Interfaces(); !i[0].Up && i[1].Up {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	i := s.Interfaces()
	if i[0].Up || !i[1].Up || i[0].Frames != 1 || i[0].Kernel != 2 || i[0].Iface != 3 {
		t.Fatalf("interfaces are %+v", i)
	}
	good.in <- fakeFrame{time: time.Now(), data: udp(2)}
	packets := 0
	for packets < 2 && time.Now().Before(deadline) {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		packets += len(b.Packets)
		if len(b.Packets) > 0 && b.Stats.Packets < uint64(packets) {
			t.Errorf("the counts say %d packets after %d", b.Stats.Packets, packets)
		}
	}
	if packets != 2 {
		t.Errorf("%d packets, want 2", packets)
	}
}

func TestWatch(t *testing.T) {
	server := capture.Endpoint{Addr: capture.Addr{15: 2}, Port: 25}
	client := func(i int) capture.Endpoint {
		return capture.Endpoint{Addr: capture.Addr{15: byte(i), 14: 1}, Port: 1000}
	}
	tcp := func(src, dst capture.Endpoint, flags uint8) capture.Packet {
		return capture.Packet{Proto: capture.TCP, Src: src, Dst: dst, Flags: flags, Hash: capture.Hash(src, dst, capture.TCP)}
	}
	// both, one and syn are numbers of connections of which both ends, one end, and
	// nothing but SYNs are heard.
	feed := func(w *Watch, both, one, syn int) {
		var packets []capture.Packet
		for i := range both + one + syn {
			c := client(i)
			for range 4 {
				switch {
				case i < both:
					packets = append(packets, tcp(c, server, capture.ACK), tcp(server, c, capture.ACK))
				case i < both+one:
					packets = append(packets, tcp(server, c, capture.ACK))
				default:
					packets = append(packets, tcp(c, server, capture.SYN))
				}
			}
		}
		w.Packets(packets)
	}
	for _, tt := range []struct {
		name           string
		both, one, syn int
		low, high      float64
		ok             bool
	}{
		{"nothing", 0, 0, 0, 0, 0, false},
		{"too little", 5, 5, 0, 0, 0, false},
		{"both directions", 100, 0, 0, 0, 0, true},
		{"one direction", 0, 100, 0, 1, 1, true},
		{"half of it", 100, 100, 0, .4, .6, true},
		{"a scan", 100, 0, 100, 0, 0, true},
	} {
		w := NewWatch()
		for range 2 { // what was seen earlier does not count
			feed(w, tt.both, tt.one, tt.syn)
			if share, ok := w.OneWay(); ok != tt.ok || share < tt.low || share > tt.high {
				t.Errorf("%s: %v, %t", tt.name, share, ok)
			}
			if _, ok := w.OneWay(); ok {
				t.Errorf("%s: it is told twice", tt.name)
			}
		}
	}
	packets := []capture.Packet{tcp(client(1), server, capture.ACK)}
	w := NewWatch()
	if n := testing.AllocsPerRun(100, func() { w.Packets(packets) }); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
