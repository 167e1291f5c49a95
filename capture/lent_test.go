package capture

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

// fakeLender lends blocks of frames in turn, then has nothing.
type fakeLender struct {
	blocks   [][][]byte
	memory   [][]byte // of the blocks that are lent; overwritten when they are returned
	next, at int      // block and frame
	end      error    // after the blocks; nil means time-outs
	returned []int
	closed   bool
}

func (f *fakeLender) Lend() (int, error) {
	if f.next == len(f.blocks) {
		if f.end != nil {
			return 0, f.end
		}
		time.Sleep(10 * time.Millisecond)
		return 0, timeout{}
	}
	f.memory, f.at = append(f.memory, nil), 0
	for _, b := range f.blocks[f.next] {
		f.memory[f.next] = append(f.memory[f.next], b...)
	}
	f.next++
	return f.next - 1, nil
}

func (f *fakeLender) Next(fr *LentFrame) bool {
	list, b := f.blocks[f.next-1], f.memory[f.next-1]
	if f.at == len(list) {
		return false
	}
	for _, other := range list[:f.at] {
		b = b[len(other):]
	}
	*fr = LentFrame{Data: b[:len(list[f.at])], Wire: uint32(len(list[f.at])), Time: int64(f.next)*second + int64(f.at)}
	f.at++
	return true
}

func (f *fakeLender) Return(block int) {
	clear(f.memory[block])
	f.returned = append(f.returned, block)
}

func (f *fakeLender) Close() { f.closed = true }

// TestLent reads blocks that are lent. What is in a block stays until its batches are
// released, or was copied before the block went back.
func TestLent(t *testing.T) {
	many := frames(t, "udp 10.0.0.1:1 > 10.0.0.2:1 \"first\" times=700")
	few := frames(t, "udp 10.0.0.1:1 > 10.0.0.2:1 \"second\"\nraw hex(ffffffffffff 020000000001 0806 0001)")
	for _, copied := range []bool{false, true} {
		in := &fakeLender{blocks: [][][]byte{many, few}, end: io.EOF}
		s, err := NewLent(in, LinkEthernet, copied, Options{KeepFrames: true})
		if err != nil {
			t.Fatal(err)
		}
		var batches []*Batch
		for {
			b, err := s.Read()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, b)
		}
		if len(batches) != 3 {
			t.Fatalf("%d batches", len(batches))
		}
		if got := slices.Clone(in.returned); copied != slices.Equal(got, []int{0, 1}) || !copied && len(got) != 0 {
			t.Errorf("copied %t: the blocks %v were returned before their batches were released", copied, got)
		}
		n := 0
		for i, want := range []string{"first", "first", "second"} {
			for _, p := range batches[i].Packets {
				n++
				if string(p.Payload) != want || p.Number != uint64(n) || string(p.Frame.Data[42:42+len(want)]) != want {
					t.Fatalf("copied %t, batch %d: %+v", copied, i, p)
				}
			}
		}
		st := batches[2].Stats
		if n != 701 || st.Frames != 702 || st.Skipped[SkipNotIP] != 1 || batches[2].Packets[0].Time != 2*second {
			t.Errorf("%d packets, %+v", n, st)
		}
		batches[1].Release()
		if !copied && len(in.returned) != 0 {
			t.Error("a block was returned before all its batches were released")
		}
		batches[0].Release()
		batches[2].Release()
		if !slices.Equal(in.returned, []int{0, 1}) {
			t.Errorf("returned were %v", in.returned)
		}
		if err := s.Close(); err != nil || !in.closed {
			t.Error("not closed", err)
		}
	}
}

// TestLentEnds closes a source in the middle of a block, has time-outs before that,
// and an error of the lender.
func TestLentEnds(t *testing.T) {
	in := &fakeLender{blocks: [][][]byte{frames(t, "udp 10.0.0.1:1 > 10.0.0.2:1 \"a\" times=600")}}
	s, err := NewLent(in, LinkEthernet, false, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Read()
	if err != nil || len(b.Packets) != batchSize {
		t.Fatal(len(b.Packets), err)
	}
	_ = s.Close()
	if len(in.returned) != 0 {
		t.Error("returned while a batch needs it")
	}
	b.Release()
	if len(in.returned) != 1 || !in.closed {
		t.Error("not returned")
	}
	if _, err := s.Read(); err != io.EOF {
		t.Error(err)
	}

	s, _ = NewLent(&fakeLender{}, LinkEthernet, false, Options{})
	time.AfterFunc(50*time.Millisecond, func() { s.Close() })
	begin := time.Now()
	if _, err := s.Read(); err != io.EOF || time.Since(begin) < 40*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(begin))
	}

	broken := errors.New("the interface is gone")
	s, _ = NewLent(&fakeLender{end: broken}, LinkEthernet, false, Options{})
	if _, err := s.Read(); err != broken {
		t.Error(err)
	}
	if _, err := NewLent(&fakeLender{}, LinkEthernet, false, Options{Filter: "no such"}); err == nil {
		t.Error("a wrong filter is taken")
	}
}
