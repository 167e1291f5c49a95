package sip

import (
	"bytes"

	"github.com/exspan/exspan/classify/observe"
)

func detect(f *observe.First) observe.Match {
	a, b := observe.More, observe.More
	if len(f.ToServer) > 0 {
		a = detectSide(f.ToServer, f.Datagram)
	}
	if len(f.ToClient) > 0 {
		b = detectSide(f.ToClient, f.Datagram)
	}
	switch {
	case a == observe.Yes || b == observe.Yes:
		return observe.Yes
	case a == observe.No || b == observe.No:
		return observe.No
	}
	return observe.More
}

// detectSide searches for a start line after any keep-alive line ends.
func detectSide(b []byte, datagram bool) observe.Match {
	if keepAlive(b) {
		return observe.More
	}
	b = bytes.TrimLeft(b, "\r\n")
	if i := bytes.IndexByte(b[:min(len(b), maxLine)], '\n'); i >= 0 {
		var m message
		if m.startLine(bytes.TrimRight(b[:i], "\r")) {
			return observe.Yes
		}
		return observe.No
	}
	if datagram || len(b) >= maxLine || !beginsLine(b) {
		return observe.No
	}
	return observe.More
}

// beginsLine reports whether b can be the beginning of a start line.
func beginsLine(b []byte) bool {
	if n := min(len(b), len(version)); string(b[:n]) == version[:n] {
		return true
	}
	method, rest, ok := bytes.Cut(b, []byte(" "))
	if !ok {
		return len(b) <= 12 && (len(b) < 3 && upper(b) || isMethod(b))
	}
	return isMethod(method) && (isScheme(rest) || len(rest) < 12 && letters(rest))
}

func letters(b []byte) bool {
	for _, c := range b {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return true
}

func upper(b []byte) bool {
	for _, c := range b {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// keepAlive reports whether b consists only of line ends (RFC 5626 section 3.5.1), or of
// up to four zeros, which some agents send in datagrams.
func keepAlive(b []byte) bool {
	return len(bytes.TrimLeft(b, "\r\n")) == 0 || len(b) <= 4 && len(bytes.TrimLeft(b, "\x00")) == 0
}
