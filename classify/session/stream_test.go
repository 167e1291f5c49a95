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

// at is one packet of either side, for TestStreams.
type at struct {
	sender int
	seq    uint32
	data   string
	ack    uint32
	time   int64 // ms
	flags  uint8 // besides ACK
}

// TestStreams puts the packets of two directions in an order in which nobody
// answers what was not said.
func TestStreams(t *testing.T) {
	const push = capture.PSH
	for _, c := range []struct {
		name    string
		packets []at
		want    string // A's bytes in capitals
	}{
		{"question and answer", []at{{0, 0, "Q", 0, 0, push}, {1, 0, "a", 1, 1, push}, {0, 1, "R", 1, 2, push}}, "QaR"},
		{"an answer comes before its question", []at{{1, 0, "a", 2, 0, push}, {0, 0, "QQ", 0, 1, push}}, "QQa"},
		{"so do two", []at{{1, 0, "aa", 2, 0, push}, {1, 2, "bb", 4, 0, push}, {0, 2, "RR", 2, 1, push}, {0, 0, "QQ", 0, 1, push}}, "QQaaRRbb"},
		{"a question is lost, its answer is not", []at{{0, 0, "QQ", 0, 0, push}, {1, 0, "aa", 2, 1, push}, {1, 2, "bb", 4, 5, push}, {1, 4, "cc", 4, 9, push}},
			"QQaa[A2]bbcc"},
		{"an answer is lost, the next question is not", []at{{0, 0, "QQ", 0, 0, push}, {0, 2, "RR", 2, 5, push}, {1, 2, "bb", 4, 6, push}, {0, 4, "SS", 4, 9, push}},
			"QQ[B2]RRbbSS"},
		{"the first question is lost", []at{{1, 0, "aa", 2, 1, push}, {0, 2, "RR", 2, 9, push}}, "[A2]aaRR"},
		{"a hole that is not acknowledged waits", []at{{0, 0, "Q", 0, 0, push}, {0, 3, "S", 0, 9, push}, {0, 1, "XY", 0, 99, push}}, "QXYS"},
		{"a FIN is no byte", []at{{0, 0, "Q", 0, 0, push}, {1, 0, "a", 2, 1, push}}, "Qa"}, // which the last acknowledgement covers
		{"padding of an acknowledgement", []at{{0, 0, "\x00\x00", 0, 0, 0}, {0, 0, "Q", 0, 1, push}, {1, 0, "a", 1, 2, push}}, "Qa"},
		{"zeros that are payload", []at{{0, 0, "\x00\x00", 0, 0, 0}, {0, 2, "Q", 0, 1, push}}, "00Q"},
		{"an acknowledgement of the far future", []at{{0, 0, "Q", 1 << 31, 0, push}, {1, 0, "a", 1, 1, push}}, "Qa"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			side := func(name string) deliver {
				return func(data []byte, gap int, _ ack) bool {
					if gap > 0 {
						fmt.Fprintf(&out, "[%s%d]", name, gap)
					}
					out.Write(bytes.ReplaceAll(data, []byte{0}, []byte("0")))
					return true
				}
			}
			ss, to := streams{{begun: true}, {begun: true}}, &[2]deliver{side("A"), side("B")}
			for _, p := range c.packets {
				ss.push(p.sender, &capture.Packet{Time: p.time * 1e6, Seq: p.seq, Ack: p.ack, Flags: capture.ACK | p.flags,
					PayloadLength: uint32(len(p.data)), Payload: []byte(p.data)}, to)
			}
			ss.flush(to)
			if out.String() != c.want {
				t.Errorf("got %q, want %q", out.String(), c.want)
			}
		})
	}
}

// TestStreamsReordered shuffles the packets of a conversation within a
// millisecond: the same comes out.
func TestStreamsReordered(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		var packets []capture.Packet
		var next [2]uint32
		want := ""
		for i := range 200 {
			sender := i % 2
			data := bytes.Repeat([]byte{byte('A' + i%26 + 32*sender)}, 2+r.IntN(30)) // one byte may be a FIN
			packets = append(packets, capture.Packet{Time: int64(i) * 300e3, Seq: next[sender], Ack: next[1-sender], Flags: capture.ACK | capture.PSH,
				PayloadLength: uint32(len(data)), Payload: data})
			packets[i].ICMPType = uint8(sender)
			next[sender] += uint32(len(data))
			want += string(data)
		}
		for i := 0; i+3 < len(packets); i += 3 {
			j := i + r.IntN(3) // less than a millisecond later
			packets[i], packets[j] = packets[j], packets[i]
			packets[i].Time, packets[j].Time = packets[j].Time, packets[i].Time
		}
		var out bytes.Buffer
		to := collect(&out)
		ss := streams{{begun: true}, {begun: true}}
		for i := range packets {
			ss.push(int(packets[i].ICMPType), &packets[i], to)
		}
		ss.flush(to)
		if out.String() != want {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, out.String(), want)
		}
	}
}
