package rtp

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/sdp"
)

// Limits of a sequence (RFC 3550 appendix A.1, a smaller window for late
// packets).
const (
	maxDropout  = 3000
	maxMisorder = 63
)

// pause is the time without packets that ends talk.
const pause = int64(200e6)

// rates are the clock rates in Hz of the dynamic payload types in use.
var rates = [...]int{8000, 12000, 16000, 24000, 32000, 44100, 48000, 90000}

// stream measures the packets of one SSRC in one direction. What every packet
// needs comes first.
type stream struct {
	ssrc     uint32
	dir      observe.Direction
	begun    bool
	voiced   bool // the last packet was voice
	lastSeq  uint16
	lastTS   uint32
	badSeq   uint32 // where a jump would go on; 1<<16 for none
	steady   int    // packets in a row with a sequence number above the last one's, up to proof
	last     int64
	packets  uint64
	size     uint64
	gap      int64
	talk     int64
	payloads []payloadState
	run      run
	breaks   int // times that row broke
	first    int64
	restarts uint64
	done     run // sums of the runs before the last restart
}

// run is a stretch of growing sequence numbers. Packets count as lost when
// they leave the window without having come.
type run struct {
	base, max  int64 // extended sequence numbers
	window     uint64
	inBurst    bool
	lost       uint64
	bursts     uint64
	duplicates uint64
	reordered  uint64
	expected   uint64 // of completed runs, in the sums
}

// payloadState measures one payload type of a stream.
type payloadState struct {
	pt       uint8
	packets  uint64
	measured uint64
	begun    bool
	arrival  int64
	ts       uint32
	n        int // rates in use
	jitter   [len(rates)]jitter
}

type jitter struct {
	rate           int
	last, sum, max float64 // ns
}

// add takes a packet with n bytes of payload.
func (s *stream) add(now int64, b []byte, n int) {
	pt := b[1] & 0x7f
	seq, ts := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])
	s.packets++
	s.size += uint64(n)
	// Four bytes under a dynamic type are a telephone event (RFC 4733).
	voice := pt != 13 && pt != 19 && (pt < 96 || n != 4)
	if !s.begun {
		s.begun = true
		s.first, s.last = now, now
		s.restart(int64(seq))
		s.steady = 1
	} else {
		// The proof of a flow without announcement: small steps in sequence, no step
		// back in media time.
		d := seq - s.lastSeq
		switch {
		case s.steady >= proof, d == 0 && ts == s.lastTS:
		case d > 0 && d <= 100 && int32(ts-s.lastTS) >= 0:
			s.steady++
		default:
			s.steady = 1
			s.breaks++
		}
		if step := now - s.last; step > 0 {
			s.gap = max(s.gap, step)
			if step <= pause && voice && s.voiced {
				s.talk += step
			}
			s.last = now
		}
		switch s.sequence(seq) {
		case again:
			return
		case jump:
			s.lastSeq, s.lastTS = seq, ts
			return
		}
	}
	s.lastSeq, s.lastTS, s.voiced = seq, ts, voice
	if p := s.payload(pt); p != nil {
		p.add(now, ts)
	}
}

func (s *stream) restart(base int64) {
	s.run = run{base: base, max: base, window: 1}
	s.badSeq = 1 << 16
}

type order uint8

const (
	next order = iota
	again
	late
	jump
)

// sequence places a sequence number in the run at hand (RFC 3550 appendix
// A.1).
func (s *stream) sequence(seq uint16) order {
	r := &s.run
	delta := seq - uint16(r.max)
	switch {
	case delta == 0:
		r.duplicates++
		return again
	case delta < maxDropout:
		r.advance(int64(delta))
		s.badSeq = 1 << 16
		return next
	case -delta <= maxMisorder:
		back := uint(-delta)
		ext := r.max - int64(back)
		if r.window>>back&1 != 0 {
			r.duplicates++
			return again
		}
		if ext < r.base {
			r.base = ext
		}
		r.window |= 1 << back
		r.reordered++
		return late
	case uint32(seq) == s.badSeq:
		// Two in a row: the other side started anew.
		s.done.add(r)
		s.restarts++
		s.restart(int64(seq) - 1)
		s.run.advance(1)
		for i := range s.payloads {
			s.payloads[i].begun = false
		}
		return next
	}
	s.badSeq = uint32(seq + 1)
	return jump
}

// advance moves the window to a packet delta further on and counts what leaves
// it.
func (r *run) advance(delta int64) {
	old := r.max
	r.max += delta
	for i := int64(0); i < delta; i++ {
		// The number that leaves with this step; numbers beyond the old maximum
		// leave a wide step without having come.
		leaving := old - 63 + i
		if i >= 64 {
			// Nothing but missing numbers is left to leave.
			r.lost += uint64(delta - i)
			r.miss()
			break
		}
		if leaving < r.base {
			continue
		}
		if r.window>>(63-i)&1 != 0 {
			r.inBurst = false
		} else {
			r.lost++
			r.miss()
		}
	}
	if delta >= 64 {
		r.window = 1
	} else {
		r.window = r.window<<delta | 1
	}
}

func (r *run) miss() {
	if !r.inBurst {
		r.inBurst = true
		r.bursts++
	}
}

// add closes c and adds what it counted.
func (r *run) add(c *run) {
	closed := *c
	closed.advance(64) // everything in the window leaves it
	r.expected += uint64(c.max - c.base + 1)
	r.lost += closed.lost
	r.bursts += closed.bursts
	r.duplicates += c.duplicates
	r.reordered += c.reordered
}

// payload returns the state of a payload type, nil beyond the limit.
func (s *stream) payload(pt uint8) *payloadState {
	for i := range s.payloads {
		if s.payloads[i].pt == pt {
			return &s.payloads[i]
		}
	}
	if len(s.payloads) >= maxPayloads {
		return nil
	}
	p := payloadState{pt: pt}
	if _, rate := sdp.StaticPayload(pt); rate > 0 {
		p.n, p.jitter[0].rate = 1, rate
	} else {
		p.n = len(rates)
		for i, rate := range rates {
			p.jitter[i].rate = rate
		}
	}
	s.payloads = append(s.payloads, p)
	return &s.payloads[len(s.payloads)-1]
}

// add takes a packet's arrival into the jitter (RFC 3550 appendix A.8).
func (p *payloadState) add(now int64, ts uint32) {
	p.packets++
	if p.begun {
		p.measured++
		arrival, media := float64(now-p.arrival), float64(int32(ts-p.ts))*1e9
		for i := range p.jitter[:p.n] {
			j := &p.jitter[i]
			d := math.Abs(arrival - media/float64(j.rate))
			j.last += (d - j.last) / 16
			j.sum += j.last
			j.max = max(j.max, j.last)
		}
	}
	p.begun, p.arrival, p.ts = true, now, ts
}

// result gives what was measured so far.
func (s *stream) result() observe.Stream {
	total := s.done
	total.add(&s.run)
	out := observe.Stream{
		SSRC: s.ssrc, First: s.first, Last: s.last, Packets: s.packets, Bytes: s.size,
		Expected: total.expected, Lost: total.lost, Bursts: total.bursts,
		Duplicates: total.duplicates, Reordered: total.reordered, Restarts: s.restarts,
		LargestGap: time.Duration(s.gap), Talk: time.Duration(s.talk),
	}
	for i := range s.payloads {
		p := &s.payloads[i]
		name, _ := sdp.StaticPayload(p.pt)
		q := observe.Payload{Type: p.pt, Name: name, Packets: p.packets}
		for _, j := range p.jitter[:p.n] {
			mean := 0.0
			if p.measured > 0 {
				mean = j.sum / float64(p.measured)
			}
			q.Jitter = append(q.Jitter, observe.Jitter{Rate: j.rate, Last: duration(j.last), Mean: duration(mean), Max: duration(j.max)})
		}
		out.Payloads = append(out.Payloads, q)
	}
	return out
}
