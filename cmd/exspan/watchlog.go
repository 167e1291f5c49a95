package main

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/exspan/exspan/classify/record"
)

const (
	reportEvery = 10 * time.Second // how soon the log tells of losses
	repeatAfter = time.Minute      // how often it repeats itself
	duplicated  = 0.01             // share of packets from which copies are worth a warning
	mostlyOne   = 0.5              // share of connections with one direction, likewise
)

// A reporter logs what goes wrong while it lasts: losses of outputs, limits, a clock
// that goes back, and mistakes in the configuration of the SPAN port. Only one
// goroutine may use it.
type reporter struct {
	w      *watch
	before map[string]uint64    // counts when they were reported last, by what is counted
	quiet  map[string]time.Time // until when nothing more is said of it
	copies bool                 // that packets arrive twice was said, and holds still
	oneWay bool                 // likewise, that one direction is missing

	packets, copied uint64 // at the end of the last minute
	minute          time.Time
}

func newReporter(w *watch, now time.Time) *reporter {
	return &reporter{w: w, before: map[string]uint64{}, quiet: map[string]time.Time{}, minute: now}
}

// grown returns by how much a count has grown since it was reported last, and 0 if it
// was reported in the last minute.
func (r *reporter) grown(what string, count uint64, now time.Time) uint64 {
	more := count - r.before[what]
	if more == 0 || now.Before(r.quiet[what]) {
		return 0
	}
	r.before[what], r.quiet[what] = count, now.Add(repeatAfter)
	return more
}

// report logs what has gone wrong since the last call.
func (r *reporter) report(now time.Time) {
	w := r.w
	for _, o := range w.outputs {
		if n := r.grown("output "+o.name, o.Lost(), now); n > 0 {
			w.log.Warn("Records are lost, because the output is full, closed or slow", "output", o.name, "lost", n)
		}
	}
	if w.delay != nil {
		if n := r.grown("undecided", w.delay.Dropped(), now); n > 0 {
			w.log.Warn("Packets are not written, because the write buffer had no room for them, or for the status of their flows; raise --write-buffer", "packets", n)
		}
		if short := w.delay.Short(); short > 0 && now.After(r.quiet["short"]) {
			r.quiet["short"] = now.Add(repeatAfter)
			w.log.Warn("The write buffer holds packets for a shorter time than they should wait for a verdict; raise --write-buffer",
				"held", short.Round(10*time.Millisecond), "wanted", writeDelay)
		}
	}
	s := w.eng.Snapshot()
	for _, l := range s.Limits {
		if n := r.grown("limit "+l.ID, l.Count, now); n > 0 {
			w.log.Warn("A limit was reached", "limit", l.ID, "count", n, "counted", l.Name)
		}
	}
	if w.live != nil && now.Sub(r.minute) >= time.Minute {
		r.minute = now
		r.mirror(s)
	}
}

// mirror logs what the last minute shows of the SPAN port, when that changes.
func (r *reporter) mirror(s *record.Snapshot) {
	w := r.w
	packets, copied := s.Packets-r.packets, s.Copies-r.copied
	r.packets, r.copied = s.Packets, s.Copies
	if all := packets + copied; all > 0 {
		share := float64(copied) / float64(all)
		if is := share > duplicated; is != r.copies {
			r.copies = is
			if is {
				w.log.Warn("Packets arrive twice: the SPAN port may mirror both receive and transmit, or two VLANs on one path", "share", fmt.Sprintf("%.2f", share))
			} else {
				w.log.Info("Packets no longer arrive twice")
			}
		}
	}
	if share := w.oneWay.load(); !math.IsNaN(share) {
		if is := share > mostlyOne; is != r.oneWay {
			r.oneWay = is
			if is {
				w.log.Warn("Most connections show one direction only: the SPAN port may mirror only receive or only transmit", "share", fmt.Sprintf("%.2f", share))
			} else {
				w.log.Info("Most connections show both directions again")
			}
		}
	}
}

// atomicFloat is a float64 that goroutines share. Its zero value is 0.
type atomicFloat struct{ bits atomic.Uint64 }

func (f *atomicFloat) load() float64   { return math.Float64frombits(f.bits.Load()) }
func (f *atomicFloat) store(v float64) { f.bits.Store(math.Float64bits(v)) }
