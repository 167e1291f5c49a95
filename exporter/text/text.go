// Package text writes numbers, amounts and names for people.
package text

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/exspan/exspan/capture"
)

// Printable replaces what could move the cursor or hide text: text off the
// wire must not steer a terminal.
func Printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return strings.Map(func(r rune) rune {
				if !unicode.IsPrint(r) || r == utf8.RuneError {
					return '?'
				}
				return r
			}, s)
		}
	}
	return s
}

// Count returns n and what, in the plural unless n is 1.
func Count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return Thousands(n) + " " + what + "s"
}

// Thousands returns n with commas between groups of three digits.
func Thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Size returns a number of bytes in decimal units.
func Size(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if f /= 1000; f < 999.95 {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
		}
	}
	return strconv.FormatFloat(f/1000, 'f', 1, 64) + " PB"
}

// Percent returns a share, 0 to 1, as a percentage.
func Percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" }

// Span returns a duration in its two largest units.
func Span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return two(d, time.Minute, " min ", time.Second, " s")
	case d < 24*time.Hour:
		return two(d, time.Hour, " h ", time.Minute, " min")
	}
	return two(d, 24*time.Hour, " d ", time.Hour, " h")
}

func two(d, large time.Duration, unit string, small time.Duration, rest string) string {
	return strconv.FormatInt(int64(d/large), 10) + unit + strconv.FormatInt(int64(d%large/small), 10) + rest
}

// Prefix returns a network; one of a single host as the address of that.
func Prefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Wrap breaks s at spaces into lines of at most width columns, the first indented
// by first, the others by next. Spaces within a line stay. A word longer than a
// line stays whole, so that it can be copied.
func Wrap(s string, width, first, next int) []string {
	var lines []string
	for indent := first; s != ""; indent = next {
		room := max(width-indent, 20)
		cut, used, space := len(s), 0, -1
		begin := len(s) - len(strings.TrimLeft(s, " ")) // an indentation of its own
		for i, r := range s {
			if r == ' ' && i > begin && (used <= room || space < 0) {
				space = i
			}
			if used++; used > room && space >= 0 {
				cut = space
				break
			}
		}
		lines = append(lines, strings.Repeat(" ", indent)+strings.TrimRight(s[:cut], " "))
		s = strings.TrimLeft(s[cut:], " ")
	}
	return lines
}

// Moment returns t to the second, in UTC.
func Moment(t time.Time) string { return t.UTC().Format(time.DateTime) }

// After returns t as Moment does, without its date if that is the date of start.
func After(start, t time.Time) string {
	line := Moment(t)
	if day := Moment(start)[:len(time.DateOnly)+1]; strings.HasPrefix(line, day) {
		return line[len(day):]
	}
	return line
}

// HostPort returns a port of a host: "mb1:25", or "[fe80::1]:25".
func HostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// End returns an end of a flow as "mb1:25/tcp". ESP has no ports: "mb1/esp".
func End(host string, port uint16, proto uint8) string {
	s := HostPort(host, port)
	if proto == capture.ESP {
		s = s[:strings.LastIndexByte(s, ':')]
	}
	return s + "/" + capture.ProtoName(proto)
}
