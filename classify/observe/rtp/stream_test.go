package rtp

import (
	"math/rand"
	"testing"
)

// plainly is advance, one number at a time.
func (r *run) plainly(delta uint) {
	for ; delta > 0; delta-- {
		leaving := r.max - 63
		r.max++
		switch came := r.window>>63 != 0; {
		case leaving < r.base:
		case came:
			r.inBurst = false
		default:
			r.lost++
			if !r.inBurst {
				r.inBurst = true
				r.bursts++
			}
		}
		r.window <<= 1
	}
	r.window |= 1
}

func TestAdvance(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 300 {
		base := int64(rnd.Intn(1 << 16))
		a := run{base: base, max: base, window: 1}
		b := a
		loss := 1 + rnd.Intn(20)
		for range 300 {
			delta := uint(1)
			switch rnd.Intn(10 * loss) {
			case 0:
				delta = 1 + uint(rnd.Intn(140))
			case 1:
				delta = 64
			case 2, 3, 4:
				delta = 1 + uint(rnd.Intn(4))
			case 5:
				// A late number.
				back := rnd.Int63n(64)
				a.window |= 1 << back
				a.base = min(a.base, a.max-back)
				b.window, b.base = a.window, a.base
			}
			a.advance(delta)
			b.plainly(delta)
			if a != b {
				t.Fatalf("a step of %d gives %+v, one at a time %+v", delta, a, b)
			}
		}
	}
}
