package flow

import (
	"math"
	"time"
)

const (
	// slack is by how much packet times may differ from the table's clock without
	// being doubted: packets of several queues and interfaces come out of order.
	slack = int64(2 * time.Second)
	// stepPackets is how many packets in a row have to be behind the clock, and
	// stepTime over which time of their own, or stepMany without regard to time, until
	// the clock has gone back.
	stepPackets = 8
	stepMany    = 64
	stepTime    = int64(time.Second)
	// lastLeap is how far the last packet of the input may be ahead of all others and
	// be believed.
	lastLeap = int64(time.Hour)
)

// clock is packet time. Flows end by it, so it does not follow a single packet that
// is far ahead of those around it, or behind them: such times come from damaged
// frames and from clocks that are just being set. It goes back where packets keep
// being behind it.
type clock struct {
	now   int64  // time of the latest packet that was believed
	base  int64  // when second 0 was; it moves where the clock goes back
	tick  uint32 // seconds since base; never goes back. 0 before the first packet
	until int64  // when the next second begins

	ahead  int64 // time of a packet far ahead, of which is not known whether others follow; 0 for none
	behind struct {
		packets     int // in a row, far behind
		first, last int64
	}

	steps    uint64 // how often the clock went back
	outliers uint64 // times that were not believed
}

// see takes in the time of a packet that is not of the second at hand, and returns
// the second to move to. After a silence that is longer than slack the clock waits
// for a second packet, so it is one packet late.
func (c *clock) see(now int64) (tick uint32) {
	switch {
	case c.tick == 0:
		c.base, c.now = now-int64(time.Second), now
		c.tick = 1
		return 1
	case now < c.now-slack:
		return c.back(now)
	}
	c.behind.packets = 0
	tick = c.tick
	if ahead := c.ahead; ahead != 0 {
		c.ahead = 0
		if now < ahead-slack {
			c.outliers++
		} else {
			tick = c.to(ahead) // another one confirms it
		}
	}
	if now > c.now+slack {
		c.ahead = now
		return tick
	}
	return max(tick, c.to(now))
}

// settled reports whether nothing is open: whether the next packet can be judged
// by itself.
func (c *clock) settled() bool { return c.ahead == 0 && c.behind.packets == 0 }

// to moves the clock on, and returns its second.
func (c *clock) to(now int64) uint32 {
	if now <= c.now {
		return c.tick
	}
	c.now = now
	// 68 years: whatever comes is the same instant
	return max(c.tick, uint32(min((now-c.base)/int64(time.Second), 1<<31)))
}

// back takes in the time of a packet far behind the clock.
func (c *clock) back(now int64) uint32 {
	b := &c.behind
	if c.ahead != 0 {
		c.ahead = 0
		c.outliers++
	}
	if b.packets > 0 && (now < b.last-slack || now > b.last+int64(time.Hour)) {
		b.packets = 0 // no row
	}
	if b.packets == 0 {
		b.first, b.last = now, now
	}
	b.packets++
	b.last = max(b.last, now)
	c.outliers++
	if b.packets >= stepPackets && b.last-b.first >= stepTime || b.packets >= stepMany {
		c.step()
	}
	return c.tick
}

// step makes the clock go back to the packets that are behind it. Seconds go on
// being counted.
func (c *clock) step() {
	c.outliers -= uint64(c.behind.packets)
	c.steps++
	delta := c.now - c.behind.last
	c.now -= delta
	c.base -= delta
	c.behind.packets = 0
}

// finish decides what is open where nothing more comes: the last packet is
// believed if it is not too far ahead, and the last ones, if there are two, where
// they are behind.
func (c *clock) finish() {
	if c.ahead != 0 {
		if c.ahead-c.now <= lastLeap {
			c.now = c.ahead
		} else {
			c.outliers++
		}
		c.ahead = 0
	}
	if c.behind.packets > 1 {
		c.step()
	}
}

// newClock returns a clock that waits for its first packet.
func newClock() clock { return clock{until: math.MinInt64} }
