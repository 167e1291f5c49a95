package capture

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
)

// fakeSource gives frames, then time-outs, and says when it was closed.
type fakeSource struct {
	frames [][]byte
	n      int
	end    error // after the frames; nil means time-outs
	block  chan struct{}
	buf    []byte
	closed atomic.Bool
	inRead atomic.Bool
	panics bool
}

func (f *fakeSource) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	f.inRead.Store(true)
	defer f.inRead.Store(false)
	if f.n < len(f.frames) {
		f.buf = append(f.buf[:0], f.frames[f.n]...) // overwritten by the next read
		f.n++
		return f.buf, gopacket.CaptureInfo{Timestamp: time.Unix(int64(f.n), 0), CaptureLength: len(f.buf), Length: len(f.buf)}, nil
	}
	if f.panics {
		panic("as gopacket does")
	}
	if f.end != nil {
		return nil, gopacket.CaptureInfo{}, f.end
	}
	if f.block != nil {
		<-f.block
	}
	time.Sleep(20 * time.Millisecond)
	return nil, gopacket.CaptureInfo{}, timeout{}
}

func (f *fakeSource) Close() {
	if f.inRead.Load() {
		panic("closed while reading")
	}
	f.closed.Store(true)
}

type timeout struct{}

func (timeout) Error() string { return "nothing came" }
func (timeout) Timeout() bool { return true }

func TestLive(t *testing.T) {
	in := &fakeSource{frames: frames(t, "udp 10.0.0.1:1 > 10.0.0.2:1 \"a\" times=1200\nraw hex(ffffffffffff 020000000001 0806 0001)")}
	s, err := NewSource(in, LinkEthernet, Options{KeepFrames: true})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var got []Packet
	var st Stats
	for st.Frames < 1201 {
		bt, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, bt.Packets...)
		st = bt.Stats
		bt.Release()
	}
	if len(got) != 1200 || got[1199].Number != 1200 || got[7].Time != 8*second || st.Skipped[SkipNotIP] != 1 || string(got[5].Frame.Data[:6]) != "\x02\x00\x0a\x00\x00\x02" {
		t.Errorf("%d packets, %+v", len(got), st)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("the frames before the silence came after %v", d)
	}
	bt, err := s.Read()
	if err != nil || bt.Tick == 0 || len(bt.Packets) != 0 || bt.Stats.Frames != 1201 {
		t.Errorf("no tick: %+v, %v", bt, err)
	}
	bt.Release()
	begin = time.Now()
	go func() {
		time.Sleep(50 * time.Millisecond)
		s.Close()
	}()
	if _, err := s.Read(); err != io.EOF {
		t.Error(err)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("Read returned %v after", d)
	}
	s.Close()
	if !in.closed.Load() {
		t.Error("not closed")
	}
}

// TestLiveTick has a tick on frames that become no packet.
func TestLiveTick(t *testing.T) {
	in := &fakeSource{frames: frames(t, "raw hex(ffffffffffff 020000000001 0806 0001)")}
	s, err := NewSource(in, LinkEthernet, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if bt, err := s.Read(); err != nil || bt.Tick != second || bt.Stats.Frames != 1 {
		t.Errorf("%+v %v", bt, err)
	}
}

func TestLiveErrors(t *testing.T) {
	one := frames(t, "udp 10.0.0.1:1 > 10.0.0.2:1 \"a\"")
	broken := errors.New("the interface went down")
	for _, c := range []struct {
		in   *fakeSource
		want string
	}{
		{&fakeSource{frames: one, end: io.EOF}, "EOF"},
		{&fakeSource{frames: one, end: broken}, broken.Error()},
		{&fakeSource{frames: one, panics: true}, "capture: the packet source panicked"},
	} {
		s, err := NewSource(c.in, LinkEthernet, Options{})
		if err != nil {
			t.Fatal(err)
		}
		bt, err := s.Read()
		if err != nil || len(bt.Packets) != 1 {
			t.Fatalf("%+v %v", bt, err)
		}
		if _, err = s.Read(); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
		s.Close()
	}
}

// TestLiveStuck closes a source whose read never returns.
func TestLiveStuck(t *testing.T) {
	in := &fakeSource{block: make(chan struct{})}
	s, err := NewSource(in, LinkEthernet, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for !in.inRead.Load() {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("Close took %v", d)
	}
	if in.closed.Load() {
		t.Error("closed while reading")
	}
	close(in.block)
	for range 100 {
		if in.closed.Load() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("never closed")
}

// TestLiveSlow does not read: nothing is lost, the source waits.
func TestLiveSlow(t *testing.T) {
	in := &fakeSource{frames: frames(t, "udp 10.0.0.1:1 > 10.0.0.2:1 zero(1000) times=20000"), end: io.EOF}
	s, err := NewSource(in, LinkEthernet, Options{})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	all, _ := packets(t, s)
	if len(all) != 20000 {
		t.Errorf("%d packets", len(all))
	}
	s.Close()
}
