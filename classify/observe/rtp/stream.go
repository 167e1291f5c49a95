package rtp

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/sdp"
)

// Limits of a sequence (RFC 3550 appendix A.1, with a smaller window for late
// packets).
const (
	maxDropout  = 3000
	maxMisorder = 63
)

// pause is the time without packets that ends a talk spurt.
const pause = int64(200e6)

// rates are the clock rates in Hz of the dynamic payload types in use.
var rates = [...]int32{8000, 12000, 16000, 24000, 32000, 44100, 48000, 90000}

// stream measures the packets of one SSRC in one direction. The fields that usually needs
// come first, in two cache lines.
type stream struct {
	own  payloadState // the first of payloads
	ssrc uint32
	// usual is the beginning of the packets that usually accepts: version, flags and
	// payload type, without the marker. It is 0 if usually accepts none.
	usual   uint16
	service service // the announcement for which usual is valid
	aside   bool    // their state is in at, not in own
	last    int64
	gap     int64
	talk    int64
	size    uint64
	run     run

	at      *payloadState // payload state of the last packet; nil for none
	strays  uint32        // packets without a payloadState
	rowTime uint32        // time of the first of the steady packets, in milliseconds
	dir     observe.Direction
	begun   bool
	voiced  bool  // the last packet was voice
	steady  uint8 // successive packets with increasing sequence numbers, up to proof
	breaks  uint8 // number of times that such a row broke, up to one more than the limit
	minor   bool  // one of many streams of its flow; it measures fewer payload types
	lastSeq uint16
	lastTS  uint32
	badSeq  uint32 // expected number after a jump; 1<<16 for none

	payloads []*payloadState
	first    int64
	restarts uint32
	rowTS    uint32 // media time of the first of the steady packets
	done     *run   // sums of the runs before the last restart; nil for none
}

// run is a series of increasing sequence numbers. A packet counts as lost when its number
// leaves the window before the packet arrives.
type run struct {
	max        int64 // extended sequence number
	window     uint64
	inBurst    bool
	base       int64 // first extended sequence number
	lost       uint64
	bursts     uint64
	duplicates uint64
	reordered  uint64
	expected   uint64 // in sums: of the completed runs
}

// payloadState measures one payload type of a stream.
type payloadState struct {
	packets uint64
	arrival int64
	ts      uint32
	pt      uint8
	begun   bool
	rate    int32  // in Hz
	starts  uint32 // packets without a predecessor, which give no measurement
	jitter  jitter
	others  *[len(rates) - 1]jitter // at the other possible rates of a dynamic type
}

// jitter accumulates interarrival jitter in nanoseconds.
type jitter struct{ last, sum, max float64 }

// usually adds a usual packet: voice like the last packet, slightly later in sequence. It
// reports whether the packet was usual. add handles all other packets. Both leave the
// stream in the same state.
func (s *stream) usually(announced service, now int64, b []byte) bool {
	if s.usual == 0 || announced != s.service || len(b) < 12 || binary.BigEndian.Uint16(b)&^0x80 != s.usual || binary.BigEndian.Uint32(b[8:]) != s.ssrc || len(b) == 12+4 {
		return false
	}
	delta := binary.BigEndian.Uint16(b[2:]) - uint16(s.run.max)
	if delta-1 >= 63 {
		return false // no step, a step back, or a large gap
	}
	ts := binary.BigEndian.Uint32(b[4:])
	s.size += uint64(len(b) - 12)
	if step := now - s.last; step > 0 {
		s.gap = max(s.gap, step)
		if step <= pause {
			s.talk += step
		}
		s.last = now
	}
	if r := &s.run; delta == 1 && r.window>>63 != 0 && !r.inBurst {
		r.max++
		r.window = r.window<<1 | 1
	} else {
		r.advance(uint(delta))
	}
	p := &s.own
	if s.aside {
		p = s.at
	}
	p.add(now, ts)
	return true
}

// setUsual makes usually accept packets that begin like b, under the same announcement.
func (s *stream) setUsual(b []byte, announced service) {
	if pt := b[1] & 0x7f; b[0] == 0x80 && s.voiced && s.steady >= proof && s.badSeq == 1<<16 && s.at != nil && s.at.pt == pt && s.at.begun &&
		(pt < 64 || pt >= 96) { // the types between are RTCP if the marker is set
		s.usual, s.service, s.aside = 0x8000|uint16(pt), announced, s.at != &s.own
	}
}

// add adds a packet with n bytes of payload.
func (s *stream) add(now int64, b []byte, n int) {
	s.usual, s.at = 0, nil
	pt := b[1] & 0x7f
	seq, ts := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])
	s.size += uint64(n)
	// Four bytes under a dynamic type are a telephone event (RFC 4733).
	voice := pt != 13 && pt != 19 && (pt < 96 || n != 4)
	if !s.begun {
		s.begun = true
		s.first, s.last = now, now
		s.restart(int64(seq))
		s.row(now, ts)
	} else {
		// A flow without announcement is proven by small steps in sequence and no step
		// back in media time.
		d := seq - s.lastSeq
		switch {
		case s.steady >= proof, d == 0 && ts == s.lastTS:
		case d > 0 && d <= 100 && int32(ts-s.lastTS) >= 0:
			s.steady++
		default:
			s.row(now, ts)
			s.breaks = min(s.breaks+1, maxBreaks+1)
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
			s.strays++
			return
		case jump:
			s.strays++
			s.lastSeq, s.lastTS = seq, ts
			return
		}
	}
	s.lastSeq, s.lastTS, s.voiced = seq, ts, voice
	if s.at = s.payload(pt); s.at != nil {
		s.at.add(now, ts)
	} else {
		s.strays++
	}
}

// row starts a row of steady packets.
func (s *stream) row(now int64, ts uint32) {
	s.steady, s.rowTime, s.rowTS = 1, uint32(now/1e6), ts
}

// Limits, in Hz, of the clock rate that a few packets can suggest: a third of the slowest
// rate and three times the fastest (RFC 3551 section 6).
const (
	minRate = 8000 / 3
	maxRate = 90000 * 3
)

// paced reports whether the media time of the row kept pace with the clock. In a protocol
// that only looks like RTP, that field has another meaning.
func (s *stream) paced(pt uint8) bool {
	ms := uint32(s.last/1e6) - s.rowTime
	if ms < 20 || ms > 1<<31 {
		return false
	}
	rate := uint64(s.lastTS-s.rowTS) * 1000 / uint64(ms)
	low, high := uint64(minRate), uint64(maxRate)
	if _, r := sdp.StaticPayload(pt); r > 0 {
		low, high = uint64(r)/3, uint64(r)*3
	}
	return rate >= low && rate <= high
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

// sequence places a sequence number in the current run (RFC 3550 appendix A.1).
func (s *stream) sequence(seq uint16) order {
	r := &s.run
	delta := seq - uint16(r.max)
	switch {
	case delta == 0:
		r.duplicates++
		return again
	case delta < maxDropout:
		r.advance(uint(delta))
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
		// Two consecutive numbers: the sender has restarted.
		if s.done == nil {
			s.done = new(run)
		}
		s.done.add(r)
		s.restarts++
		s.restart(int64(seq) - 1)
		s.run.advance(1)
		for _, p := range s.payloads {
			p.begun = false
		}
		return next
	}
	s.badSeq = uint32(seq + 1)
	return jump
}

// advance moves the window forward by delta packets and counts the numbers that leave
// it.
func (r *run) advance(delta uint) {
	if delta >= 64 {
		r.leave(64)
		r.window = 1
		if delta > 64 {
			// All numbers beyond the window are missing.
			r.lost += uint64(delta - 64)
			if !r.inBurst {
				r.inBurst = true
				r.bursts++
			}
		}
	} else {
		if r.inBurst || r.window>>((64-delta)&63) != 1<<(delta&63)-1 {
			r.leave(delta)
		}
		r.window = r.window<<(delta&63) | 1
	}
	r.max += int64(delta)
}

// leave counts the missing numbers among the n numbers, 1 to 64, that leave the window.
func (r *run) leave(n uint) {
	// One bit for each missing number; the lowest bit is the last number. Numbers before
	// the beginning of the run do not count.
	missing := ^r.window >> ((64 - n) & 63)
	if before := r.base - (r.max - 63); before > 0 {
		missing &= 1<<(n-min(uint(before), n)) - 1
	}
	before := missing >> 1
	if r.inBurst {
		before |= 1 << ((n - 1) & 63)
	}
	r.lost += uint64(bits.OnesCount64(missing))
	r.bursts += uint64(bits.OnesCount64(missing &^ before))
	r.inBurst = missing&1 != 0
}

// add closes c and adds its counts.
func (r *run) add(c *run) {
	closed := *c
	closed.advance(64) // empty the window
	r.expected += uint64(c.max - c.base + 1)
	r.lost += closed.lost
	r.bursts += closed.bursts
	r.duplicates += c.duplicates
	r.reordered += c.reordered
}

// payload returns the state of a payload type. It creates one if necessary and returns
// nil at the limit.
func (s *stream) payload(pt uint8) *payloadState {
	for _, p := range s.payloads {
		if p.pt == pt {
			return p
		}
	}
	if len(s.payloads) >= maxPayloads || s.minor && len(s.payloads) >= maxMinorPayloads {
		return nil
	}
	p := &s.own
	if len(s.payloads) > 0 {
		p = new(payloadState)
	}
	p.pt = pt
	if _, rate := sdp.StaticPayload(pt); rate != 0 {
		p.rate = int32(rate)
	} else {
		p.rate, p.others = rates[0], new([len(rates) - 1]jitter)
	}
	s.payloads = append(s.payloads, p)
	return p
}

// add adds the arrival of a packet (RFC 3550 appendix A.8).
func (p *payloadState) add(now int64, ts uint32) {
	p.packets++
	if !p.begun {
		p.starts++
	} else {
		arrival, media := float64(now-p.arrival), float64(int32(ts-p.ts))*1e9
		p.jitter.add(arrival, media, p.rate)
		if p.others != nil {
			for i := range p.others {
				p.others[i].add(arrival, media, rates[1+i])
			}
		}
	}
	p.begun, p.arrival, p.ts = true, now, ts
}

// add adds the interval between two arrivals and the interval between their media times
// at a rate of 1 Hz.
func (j *jitter) add(arrival, media float64, rate int32) {
	d := math.Abs(arrival - media/float64(rate))
	last := j.last + (d-j.last)/16
	j.last = last
	j.sum += last
	if last > j.max {
		j.max = last
	}
}

// result returns the measurements so far.
func (s *stream) result() observe.Stream {
	var total run
	if s.done != nil {
		total = *s.done
	}
	total.add(&s.run)
	out := observe.Stream{
		SSRC: s.ssrc, First: s.first, Last: s.last, Packets: uint64(s.strays), Bytes: s.size,
		Expected: total.expected, Lost: total.lost, Bursts: total.bursts,
		Duplicates: total.duplicates, Reordered: total.reordered, Restarts: uint64(s.restarts),
		LargestGap: time.Duration(s.gap), Talk: time.Duration(s.talk),
	}
	out.Payloads = make([]observe.Payload, 0, len(s.payloads))
	for _, p := range s.payloads {
		name, _ := sdp.StaticPayload(p.pt)
		out.Packets += p.packets
		q := observe.Payload{Type: p.pt, Name: name, Packets: p.packets}
		if p.others == nil {
			q.Jitter = []observe.Jitter{p.result(&p.jitter, p.rate)}
		} else {
			q.Jitter = make([]observe.Jitter, 0, len(rates))
			q.Jitter = append(q.Jitter, p.result(&p.jitter, p.rate))
			for i := range p.others {
				q.Jitter = append(q.Jitter, p.result(&p.others[i], rates[1+i]))
			}
		}
		out.Payloads = append(out.Payloads, q)
	}
	return out
}

func (p *payloadState) result(j *jitter, rate int32) observe.Jitter {
	mean := 0.0
	if measured := p.packets - uint64(p.starts); measured > 0 {
		mean = j.sum / float64(measured)
	}
	return observe.Jitter{Rate: int(rate), Last: duration(j.last), Mean: duration(mean), Max: duration(j.max)}
}
