package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/exspan/exspan/capture"
)

// collect returns deliver functions that write down what they are given: bytes,
// and gaps as [n].
func collect(out *bytes.Buffer) *[2]deliver {
	d := func(data []byte, gap int, _ ack) bool {
		if gap > 0 {
			fmt.Fprintf(out, "[%d]", gap)
		}
		out.Write(data)
		return true
	}
	return &[2]deliver{d, d}
}

type piece struct {
	seq  uint32
	data string
	cut  int // bytes taken by the snap length
	time int64
}

func TestStream(t *testing.T) {
	const late = reorderTime + 1
	for _, c := range []struct {
		name   string
		start  uint32
		pieces []piece
		want   string
	}{
		{"in order", 0, []piece{{seq: 0, data: "abc"}, {seq: 3, data: "def"}}, "abcdef"},
		{"repeat", 0, []piece{{seq: 0, data: "abc"}, {seq: 0, data: "xyz"}, {seq: 3, data: "d"}}, "abcd"},
		{"overlap, first copy wins", 0, []piece{{seq: 0, data: "abc"}, {seq: 1, data: "XXde"}}, "abcde"},
		{"swapped", 0, []piece{{seq: 0, data: "ab"}, {seq: 4, data: "ef"}, {seq: 2, data: "cd"}}, "abcdef"},
		{"keep-alive probe", 0, []piece{{seq: 0, data: "ab"}, {seq: 1, data: "x"}, {seq: 2, data: "c"}}, "abc"},
		{"hole, given up in time", 0, []piece{{seq: 0, data: "ab"}, {seq: 5, data: "fg"}, {seq: 7, data: "h", time: late}}, "ab[3]fgh"},
		{"hole, given up at the end", 0, []piece{{seq: 0, data: "ab"}, {seq: 5, data: "fg"}, {seq: 9, data: "j"}}, "ab[3]fg[2]j"},
		{"filled after it was given up", 0, []piece{{seq: 0, data: "ab"}, {seq: 3, data: "d"}, {seq: 4, data: "e", time: late}, {seq: 2, data: "c"}}, "ab[1]de"},
		{"first segment lost", 0, []piece{{seq: 4, data: "ef"}}, "[4]ef"},
		{"cut by the snap length", 0, []piece{{seq: 0, data: "abcd", cut: 2}, {seq: 4, data: "ef"}}, "ab[2]ef"},
		{"sequence numbers wrap", 0xfffffffe, []piece{{seq: 0xfffffffe, data: "ab"}, {seq: 2, data: "ef"}, {seq: 0, data: "cd"}}, "abcdef"},
		{"longer copy of an early segment", 0, []piece{{seq: 2, data: "c"}, {seq: 2, data: "cde"}, {seq: 0, data: "ab"}}, "abcde"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := streams{{begun: true, next: c.start}}
			var out bytes.Buffer
			to := collect(&out)
			for _, p := range c.pieces {
				s.push(0, &capture.Packet{Time: p.time, Seq: p.seq, PayloadLength: uint32(len(p.data)), Payload: []byte(p.data[:len(p.data)-p.cut])}, to)
			}
			s.flush(to)
			if out.String() != c.want {
				t.Errorf("got %q, want %q", out.String(), c.want)
			}
		})
	}
}

// TestStreamShuffled sends a text in random pieces, repeated, overlapping and
// out of order within the window: the text comes out whole.
func TestStreamShuffled(t *testing.T) {
	text := make([]byte, 5000)
	for i := range text {
		text[i] = byte('a' + i%26)
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var packets []capture.Packet
		for at := 0; at < len(text); {
			n := min(1+r.IntN(200), len(text)-at)
			from := max(0, at-r.IntN(50))
			packets = append(packets, capture.Packet{Seq: uint32(from), PayloadLength: uint32(at + n - from), Payload: text[from : at+n]})
			if r.IntN(5) == 0 {
				packets = append(packets, packets[r.IntN(len(packets))])
			}
			at += n
		}
		for i := range packets {
			if j := i + r.IntN(4); j < len(packets) {
				packets[i], packets[j] = packets[j], packets[i]
			}
		}
		s := streams{{begun: true}}
		var out bytes.Buffer
		for i := range packets {
			s.push(0, &packets[i], collect(&out))
		}
		s.flush(collect(&out))
		if !bytes.Equal(out.Bytes(), text) {
			t.Fatalf("seed %d: the text came out changed", seed)
		}
	}
}

// TestStreamBounded sends what never fits together: nothing grows.
func TestStreamBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := streams{{begun: true}}
	data := make([]byte, 1400)
	to := collect(&bytes.Buffer{})
	for i := range 20_000 {
		s.push(0, &capture.Packet{Seq: r.Uint32() >> 1, Time: int64(i), PayloadLength: 1400, Payload: data}, to)
		if h := s[0].hole; h != nil && (len(h.early) > maxReorder || h.size > maxReorderSize+1400) {
			t.Fatalf("%d segments of %d bytes are held", len(h.early), h.size)
		}
	}
}
