package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/exspan/exspan/exporter/text"
)

const (
	slots   = 128 // of a timeline
	columns = 48  // of its picture
	// The finest slot of a timeline.
	finest = int64(time.Millisecond)
)

// timeline counts bytes over time, in slots whose width doubles when they do not reach. The
// bytes of a flow are spread evenly over its time, because records do not tell more.
type timeline struct {
	width int64 // of a slot, in nanoseconds; 0 before the first flow
	base  int64 // the first slot is the one that begins at base*width since the Unix epoch
	bytes [slots]float64
}

// slot returns the slot that holds the time ns, which may be before the Unix epoch.
func slot(ns, width int64) int64 { return int64(math.Floor(float64(ns) / float64(width))) }

func (l *timeline) add(first, last time.Time, bytes uint64) {
	from, to := first.UnixNano(), last.UnixNano()
	to = max(to, from)
	if l.width == 0 {
		l.width, l.base = finest, slot(from, finest)
	}
	for slot(to, l.width)-min(l.base, slot(from, l.width)) >= slots || l.end() > min(l.base, slot(from, l.width))+slots {
		l.double()
	}
	if s := slot(from, l.width); s < l.base {
		n := l.base - s
		copy(l.bytes[n:], l.bytes[:slots-n])
		clear(l.bytes[:n])
		l.base = s
	}
	spread(l.bytes[:], l.base, l.width, from, to, float64(bytes))
}

// end returns the slot after the last one that is used.
func (l *timeline) end() int64 {
	for i := slots - 1; i >= 0; i-- {
		if l.bytes[i] != 0 {
			return l.base + int64(i) + 1
		}
	}
	return l.base
}

// double makes each slot twice as wide.
func (l *timeline) double() {
	var merged [slots]float64
	base := l.base >> 1
	for i, n := range l.bytes {
		merged[(l.base+int64(i))>>1-base] += n
	}
	l.width, l.base, l.bytes = 2*l.width, base, merged
}

// spread adds amount to the slots that the time from from to to touches.
func spread(to []float64, base, width, from, until int64, amount float64) {
	a, z := slot(from, width)-base, slot(until, width)-base
	if a == z {
		to[a] += amount
		return
	}
	span := float64(until - from)
	for s := a; s <= z; s++ {
		begin, end := max(from, (base+s)*width), min(until, (base+s+1)*width)
		to[s] += amount * float64(end-begin) / span
	}
}

// columns returns the bytes of equal parts of the time from first to last.
func (l *timeline) columns(first, last time.Time) []float64 {
	out := make([]float64, columns)
	start := first.UnixNano()
	width := max((last.UnixNano()-start)/columns+1, 1)
	for i, n := range l.bytes {
		if n == 0 {
			continue
		}
		// The middle part of a slot may lie outside of the run, whose ends are known better.
		from := max((l.base+int64(i))*l.width, start)
		until := min((l.base+int64(i)+1)*l.width-1, last.UnixNano())
		if until < from {
			from = min(max(from, start), last.UnixNano())
			until = from
		}
		a, z := (from-start)/width, (until-start)/width
		for c := a; c <= z; c++ {
			begin, end := max(from, start+c*width), min(until, start+(c+1)*width-1)
			out[c] += n * float64(end-begin+1) / float64(until-from+1)
		}
	}
	return out
}

// spark draws a timeline, and says in words what it shows.
func (l *timeline) spark(first, last time.Time) (svg template.HTML, words string) {
	const height = 24
	cols := l.columns(first, last)
	peak, at := 0.0, 0
	for i, n := range cols {
		if n > peak {
			peak, at = n, i
		}
	}
	if peak == 0 {
		return "", ""
	}
	var b strings.Builder
	for i, n := range cols {
		if n <= 0 {
			continue
		}
		h := max(n/peak*height, 1)
		fmt.Fprintf(&b, "M%d %dV%.1fh3V%dz", i*4, height, height-h, height)
	}
	part := last.Sub(first) / columns
	when := first.Add(time.Duration(at) * part)
	words = "most at " + text.After(first, when) + ": " + text.Size(uint64(math.Ceil(peak)))
	if part > 0 {
		words += " in " + text.Span(part)
	}
	svg = template.HTML(`<svg class="spark" role="img" viewBox="0 0 192 24" width="192" height="24" aria-label="Traffic over time, ` +
		template.HTMLEscapeString(words) + `"><path class="axis" d="M0 23.5H192"/><path d="` + b.String() + `"/></svg>`)
	return svg, words
}
