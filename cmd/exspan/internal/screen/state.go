// Package screen shows a running monitor in a terminal: the data paths with their
// rates, what needs attention, and the flows of a path.
package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/text"
)

// State is what there is to show at one time.
type State struct {
	At      time.Time
	Version string // of the monitor, or empty
	Sensors []Sensor
	// Rows are the data paths that were seen, and the traffic without one.
	Rows []Row
	// Live and Held are numbers of flows: those that go on, and those that have
	// ended and wait for what may still explain them.
	Live, Held float64
	// Unexpected counts unexpected flows by reason.
	Unexpected []Count
	// Message is the last line of the log, or empty.
	Message string
	// Fleet are the sensors with which monitors share, those of the monitors first and then
	// those that need attention. FleetNote says what is not known of them, or nothing.
	Fleet     []health.Sensor
	FleetNote string
}

// Sensor is one running monitor.
type Sensor struct {
	Name string
	// Err tells why nothing is known of it at present.
	Err error
	// Bytes, Packets and DropRate are per second. Dropped counts packets lost since
	// its start, Behind is in seconds.
	Bytes, Packets, DropRate, Dropped, Behind float64
	// Down names the interfaces that it waits for.
	Down []string
}

// Row is a data path, or a group of paths that packets cannot tell apart.
type Row struct {
	Label string // as in metrics; "none" for traffic without a data path
	Name  string // for people
	// ToServer and ToClient are bytes a second, Packets are packets a second.
	ToServer, ToClient, Packets float64
	Bytes, Active, Flows        float64
	// Deviating, Unexpected and Blocked count flows, those that are not final too.
	Deviating, Unexpected, Blocked float64
	Setup                          float64 // mean, in seconds
	LastSeen                       time.Time
	Findings                       []Count // the most frequent first
}

// Count is a number with what it counts.
type Count struct {
	What string
	N    float64
}

// attention is the number of flows of a row that need attention.
func (r *Row) attention() float64 { return r.Deviating + r.Unexpected + r.Blocked }

func (r *Row) rate() float64 { return r.ToServer + r.ToClient }

// The keys that paths are sorted by, in the order of the key s.
var sortKeys = []string{"attention", "rate", "flows", "last seen", "name"}

// sortRows sorts rows by a key; equal ones are in the order of their labels.
func sortRows(rows []Row, key string) {
	slices.SortFunc(rows, func(a, b Row) int {
		order := 0
		switch key {
		case "attention":
			order = cmp.Or(cmp.Compare(b.attention(), a.attention()), cmp.Compare(b.rate(), a.rate()), cmp.Compare(b.Bytes, a.Bytes))
		case "rate":
			order = cmp.Or(cmp.Compare(b.rate(), a.rate()), cmp.Compare(b.Bytes, a.Bytes))
		case "flows":
			order = cmp.Compare(b.Flows+b.Active, a.Flows+a.Active)
		case "last seen":
			order = b.LastSeen.Compare(a.LastSeen)
		case "name":
			order = cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		}
		return cmp.Or(order, cmp.Compare(a.Label, b.Label))
	})
}

// matches reports whether a row has a text in its name, its label or a finding.
func (r *Row) matches(filter string) bool {
	filter = strings.ToLower(filter)
	return strings.Contains(strings.ToLower(r.Name), filter) || strings.Contains(strings.ToLower(r.Label), filter) ||
		slices.ContainsFunc(r.Findings, func(c Count) bool { return strings.Contains(c.What, filter) })
}

// inBytes formats a number of bytes in at most eight columns.
func inBytes(n float64) string {
	for _, u := range []string{"B", "kB", "MB", "GB"} {
		if n < 999.5 {
			if u == "B" {
				return fmt.Sprintf("%.0f B", n)
			}
			return fmt.Sprintf("%.3g %s", n, u)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.3g TB", n)
}

// inCount formats a number in at most six columns.
func inCount(n float64) string {
	switch {
	case n == 0 || n >= 10 && n < 99_999.5 || n == float64(int64(n)) && n < 10:
		return fmt.Sprintf("%.0f", n)
	case n < 10:
		return fmt.Sprintf("%.1f", n)
	case n < 999_500:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n < 999_500_000:
		return fmt.Sprintf("%.3gM", n/1e6)
	}
	return fmt.Sprintf("%.3gG", n/1e9)
}

// inAge formats an age in at most seven columns.
func inAge(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}

// cut shortens s to a number of columns.
func cut(s string, width int) string {
	s = text.Printable(s)
	r := []rune(s)
	switch {
	case len(r) <= width:
		return s
	case width < 4:
		return string(r[:max(width, 0)])
	}
	return string(r[:width-2]) + ".."
}

// pad brings s to a number of columns.
func pad(s string, width int) string { return fmt.Sprintf("%-*s", width, cut(s, width)) }

// wrap breaks a text into lines of at most width columns.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text.Printable(s)) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	for i := range lines {
		lines[i] = cut(lines[i], width)
	}
	return lines
}
