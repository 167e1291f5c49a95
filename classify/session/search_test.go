package session

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe/proxy"
)

func TestProxyHeader(t *testing.T) {
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + strings.Repeat("x", 12)
	for _, c := range []struct {
		data string
		n    int
		more bool
	}{
		{"PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n", 45, false},
		{"PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\nEHLO a\r\n", 45, false},
		{"PROXY UNKNOWN\r\n", 15, false},
		{"PROXY TCP4 198.51.100.7 192.0.2", 0, true},
		{"PRO", 0, true},
		{"PROPFIND / HTTP/1.1\r\n", 0, false},
		{"PROXY " + strings.Repeat("a", 200), 0, false},
		{v2, 28, false},
		{v2 + "GET / HTTP/1.1\r\n", 28, false},
		{v2[:20], 0, true},
		{"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + strings.Repeat("x", 12), 0, false},
		{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", 0, false},
		{"\r\n\r\n", 0, false},
		{"GET / HTTP/1.1\r\n", 0, false},
		{"", 0, true},
	} {
		if h, more := proxy.Read([]byte(c.data)); h.Length != c.n || more != c.more {
			t.Errorf("%q: %d, %t, want %d, %t", c.data, h.Length, more, c.n, c.more)
		}
	}
}

// TestSearch lets flows send what nobody knows: one that never stops is given up,
// one that only keeps its connection alive is not.
func TestSearch(t *testing.T) {
	const second = int64(1e9)
	for _, c := range []struct {
		name     string
		packets  int
		size     int
		interval int64
		turns    bool // both sides speak
		looks    int  // at least
		givenUp  bool
	}{
		{"a large file", 100_000, 1460, 1e5, false, maxBurst, false},
		{"one side, a message now and then", 10_000, 1460, 30 * second, false, 10_000, false},
		{"questions and answers", 10_000, 200, 1e6, true, maxVain, true},
		{"keep-alives of four bytes", 10_000, 4, second, true, 10_000, false},
		{"keep-alives of twenty bytes", 10_000, 20, 15 * second, true, 10_000, false},
	} {
		var s search
		looks, givenUp := 0, false
		for i := 0; i < c.packets && !givenUp; i++ {
			sender := 0
			if c.turns {
				sender = i % 2
			}
			if s.next(sender, 1.7e18+int64(i)*c.interval) {
				looks++
				givenUp = s.inVain(c.size)
			}
		}
		if looks < c.looks || givenUp != c.givenUp || givenUp && looks > maxVain {
			t.Errorf("%s: %d looks, given up %t", c.name, looks, givenUp)
		}
	}
}
