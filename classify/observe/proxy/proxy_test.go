package proxy

import (
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const sig = "\r\n\r\n\x00\r\nQUIT\n"
	v6 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x07"
	for _, c := range []struct {
		name, data string
		length     int
		client     string
		more       bool
	}{
		{"version 1", "PROXY TCP4 203.0.113.7 10.0.0.5 50123 25\r\nEHLO x\r\n", 42, "203.0.113.7:50123", false},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::5 50123 25\r\n", 45, "[2001:db8::7]:50123", false},
		{"version 1, unknown", "PROXY UNKNOWN ffff:f...f:ffff 65535\r\n", 37, "", false},
		{"version 1, no address", "PROXY TCP4 x y 1 2\r\n", 20, "", false},
		{"version 1, cut", "PROXY TCP4 203.0", 0, "", true},
		{"version 1, without an end", "PROXY " + strings.Repeat("x", 120), 0, "", false},
		{"version 2", sig + "\x21\x11\x00\x0c\xcb\x00\x71\x07\x0a\x00\x00\x05\xc3\xcb\x00\x19220 x", 28, "203.0.113.7:50123", false},
		{"version 2, IPv6 and more behind it", sig + "\x21\x21\x00\x28" + v6 + v6 + "\xc3\xcb\x00\x19TLVs", 56, "[2001:db8::7]:50123", false},
		{"version 2, a health check", sig + "\x20\x00\x00\x00", 16, "", false},
		{"version 2, cut", sig + "\x21\x11\x00\x0c\xcb\x00", 0, "", true},
		{"version 3", sig + "\x31\x11\x00\x0c", 0, "", false},
		{"too long", sig + "\x21\x11\xff\xff", 0, "", false},
		{"keep-alive of SIP", "\r\n\r\n", 0, "", false},
		{"mail", "EHLO x\r\n", 0, "", false},
	} {
		for n := 0; n <= len(c.data); n++ {
			h, more := Read([]byte(c.data[:n]))
			client := ""
			if h.Client.IsValid() {
				client = h.Client.String()
			}
			switch {
			case n == len(c.data) && (h.Length != c.length || client != c.client || more != c.more):
				t.Errorf("%s: %d bytes, client %q, more %v", c.name, h.Length, client, more)
			case h.Length > 0 && (h.Length != c.length || client != c.client):
				t.Errorf("%s: of %d bytes: %d bytes, client %q", c.name, n, h.Length, client)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.7 10.0.0.5 50123 25\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x0a\x00\x00\x05\xc3\xcb\x00\x19"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, more := Read(data)
		if h.Length > len(data) || h.Length > 0 && more || h.Length == 0 && h.Client.IsValid() {
			t.Errorf("%+v, more %v", h, more)
		}
	})
}
