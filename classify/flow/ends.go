package flow

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
)

// Ends says which end of a flow is the server, and whether that is proven. It
// is kept apart from Flow, because what decides is not all in the packets'
// headers: a learned endpoint, or the content.
type Ends struct {
	bits uint8 // one byte, because session.State has no room for more
}

// The bits of Ends.bits.
const (
	serverIsA = 1 << iota
	proven
)

func endsOf(aIsServer bool) Ends {
	if aIsServer {
		return Ends{serverIsA}
	}
	return Ends{}
}

// Guess tells client from server by the first packet of a flow: by its handshake,
// else by known, which reports whether an end is known as a server, else by the
// port: the server's is the lower one.
func Guess(p *capture.Packet, known func(e capture.Endpoint, proto uint8) bool) Ends {
	if p.Proto == capture.TCP && p.Flags&capture.SYN != 0 {
		e := endsOf(p.Flags&capture.ACK != 0)
		e.bits |= proven
		return e
	}
	if known != nil {
		src, dst := known(p.Src, p.Proto), known(p.Dst, p.Proto)
		if src != dst {
			return endsOf(src)
		}
	}
	return endsOf(p.Src.Port < p.Dst.Port)
}

// Handshake takes in a SYN of sender, 0 for A and 1 for B: that of the client,
// or with ACK that of the server.
func (e *Ends) Handshake(sender int, ack bool) {
	if e.bits&proven == 0 {
		*e = endsOf((sender == 0) == ack)
		e.bits |= proven
	}
}

// Turn swaps client and server unless they are proven, and reports whether it did.
// A turn is a proof: there is at most one.
func (e *Ends) Turn() bool {
	if e.bits&proven != 0 {
		return false
	}
	e.bits = e.bits ^ serverIsA | proven
	return true
}

// Suppose takes a sender, 0 for A and 1 for B, for the client, unless something
// proves who is.
func (e *Ends) Suppose(sender int) {
	if e.bits&proven == 0 {
		*e = endsOf(sender == 1)
	}
}

// Direction returns the direction of what sender, 0 for A and 1 for B, sends.
func (e Ends) Direction(sender int) observe.Direction {
	return observe.Direction(sender) ^ observe.Direction(e.bits&serverIsA)
}

// Side returns the sender of a direction: 0 for A, 1 for B.
func (e Ends) Side(d observe.Direction) int {
	return int(d) ^ int(e.bits&serverIsA)
}

// Client returns the client's end of a flow.
func (e Ends) Client(f *Flow) capture.Endpoint {
	return f.Sides[e.bits&serverIsA]
}

// Server returns the server's end of a flow.
func (e Ends) Server(f *Flow) capture.Endpoint {
	return f.Sides[e.bits&serverIsA^1]
}
