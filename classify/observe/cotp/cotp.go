// Package cotp recognises protocols that start with a connection of the ISO transport
// protocol over TCP (RFC 1006, ISO 8073): X.400, T.120 data conferences and Remote
// Desktop, which is recognised by its own negotiation ([MS-RDPBCGR] section 2.2.1.1). It
// reads nothing beyond the start.
package cotp

import (
	"bytes"
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
)

// X400 describes X.400 message transfer between agents: a transport connection on port
// 102 followed by a message transfer session. Industrial controllers (S7, MMS) and
// directories use the same port and transport, so the connection alone is not enough.
func X400() observe.Protocol {
	p := protocol("x400", 102)
	connected := p.Detect
	p.Detect = func(f *observe.First) observe.Match {
		if m := connected(f); m != observe.Yes {
			return m
		}
		b := f.ToServer
		if len(b) == 0 {
			return observe.More
		}
		return session(b[int(binary.BigEndian.Uint16(b[2:])):])
	}
	return p
}

// Object identifiers that distinguish the applications in the connection of the upper
// layers (ISO 8823, ISO 8650). All applications use the association control of OSI
// (2.2.1.0.1), except X.400 of 1984, which lacks these layers. X.400 of 1988 has an
// identifier below joint-iso-itu-t(2) mhs(6).
var (
	associationControl = []byte{0x52, 0x01, 0x00, 0x01}
	messageHandling    = []byte{0x56, 0x00}
)

// session reports whether b starts with a data unit that opens an X.400 session: a
// CONNECT of the session layer (ISO 8327 section 8.3.1).
func session(b []byte) observe.Match {
	const data, connectSession = 0xf0, 0x0d
	want := [...]byte{0: 3, 1: 0, 4: 2, 5: data, 7: connectSession}
	for i, c := range b[:min(len(b), len(want))] {
		if i != 2 && i != 3 && i != 6 && c != want[i] {
			return observe.No
		}
	}
	if len(b) < len(want) {
		return observe.More
	}
	// A unit longer than detection waits for is judged by its beginning.
	size := min(int(binary.BigEndian.Uint16(b[2:])), 1024)
	if len(b) < size {
		return observe.More
	}
	b = b[:max(size, len(want))]
	if bytes.Contains(b, associationControl) && !bytes.Contains(b, messageHandling) {
		return observe.No
	}
	return observe.Yes
}

// T120 describes the data conferences of T.120: a transport connection on port 1503.
func T120() observe.Protocol { return protocol("t120", 1503) }

// RDP describes Remote Desktop: a transport connection on port 3389, or a transport
// connection on any port with the cookie or the negotiation of Remote Desktop.
func RDP() observe.Protocol {
	p := protocol("rdp", 3389)
	byPort := p.Detect
	p.Detect = func(f *observe.First) observe.Match {
		if f.OnPort {
			return byPort(f)
		}
		c, m := connect(f)
		if m != observe.Yes || desktop(c) {
			return m
		}
		return observe.No
	}
	return p
}

func protocol(name string, port uint16) observe.Protocol {
	return observe.Protocol{
		Name: name, TCP: []uint16{port}, Stream: true, New: func() observe.Observer { return observer{} },
		Detect: func(f *observe.First) observe.Match {
			if !f.OnPort {
				return observe.No
			}
			_, m := connect(f)
			return m
		},
	}
}

// Kinds of transport data units, in the high four bits (ISO 8073 section 13.1).
const (
	connectionRequest = 0xe0
	connectionConfirm = 0xd0
)

// Header lengths (RFC 1006 section 6, ISO 8073 section 13.3) and the maximum length of a
// connection request or confirm.
const (
	packetHeader = 4
	unitHeader   = 7
	maxUnit      = packetHeader + 1 + 254
)

// connection is a connection request or confirm.
type connection struct {
	kind     byte
	variable []byte // variable part
}

// connect parses the message of the side that spoke first.
func connect(f *observe.First) (c connection, m observe.Match) {
	b, want := f.ToServer, byte(connectionRequest)
	if len(b) == 0 {
		if b, want = f.ToClient, connectionConfirm; len(b) == 0 {
			return c, observe.More
		}
	}
	// The version is 3. A reserved byte and the length follow.
	if b[0] != 3 || len(b) > 1 && b[1] != 0 {
		return c, observe.No
	}
	if len(b) < packetHeader {
		return c, observe.More
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size < packetHeader+unitHeader || size > maxUnit {
		return c, observe.No
	}
	// The length indicator counts the bytes after it. A connection of class 0, which RFC
	// 1006 uses, carries no user data.
	if len(b) > 4 && int(b[4]) != size-packetHeader-1 || len(b) > 5 && b[5] != want {
		return c, observe.No
	}
	if len(b) < size {
		return c, observe.More
	}
	if want == connectionRequest && (b[6] != 0 || b[7] != 0) || b[10]&0xf0 != 0 {
		return c, observe.No
	}
	return connection{want, b[packetHeader+unitHeader : size]}, observe.Yes
}

// desktop reports whether c belongs to Remote Desktop: a routing token or cookie, or a
// negotiation request, response or failure of eight bytes.
func desktop(c connection) bool {
	if c.kind == connectionRequest && (bytes.HasPrefix(c.variable, []byte("Cookie: mst"))) {
		return true
	}
	if len(c.variable) < 8 || c.variable[2] != 8 || c.variable[3] != 0 {
		return false
	}
	if c.kind == connectionRequest {
		return c.variable[0] == 1
	}
	return c.variable[0] == 2 || c.variable[0] == 3
}

type observer struct{}

// Observe reads nothing. The name of the protocol is all that is reported.
func (observer) Observe(*observe.Input, *observe.Report) (int, error) { return 0, observe.ErrDone }
