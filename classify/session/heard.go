// Package session reads the content of flows. It puts the bytes of each flow in
// order, finds out which protocol they are, and gives them to an observer of
// that protocol.
package session

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/observe"
)

// Heard is what the content of one flow has just told. It is valid until the
// next call of the reader that returned it.
type Heard struct {
	// ID names the flow in its table.
	ID flow.ID
	// Client and Server are the ends of the flow, as far as is known now.
	Client, Server capture.Endpoint
	// Proto is capture.TCP or capture.UDP.
	Proto uint8
	// Time is the packet time in nanoseconds since the Unix epoch, and Number the
	// number of the packet.
	Time   int64
	Number uint64
	// Tunnel is the one that carried the packet, as capture.Packet has it. Ended
	// reports whether there is no packet, because the flow has ended.
	Tunnel capture.TunnelID
	// Within is the tunnel in which the flow came, or 0: one of whose packets any came
	// in a tunnel came in that. The owner of the Reader sets it.
	Within capture.TunnelID
	Ended  bool
	// Protocol is the protocol that names the flow: one plus its index in
	// Protocols(). It is 0 while none does.
	Protocol uint8
	// ServerSpoke reports whether the server has sent payload.
	ServerSpoke bool
	// Facts are the facts known of the flow. The receiver may add to them.
	Facts *observe.Facts
	// Changed reports whether Facts differ from what was told before.
	Changed bool
	// Weighed is the number of facts there were when the flow's facts were last
	// weighed as evidence for roles, after the server had spoken.
	Weighed int
	// learned reports whether any of the lists from Endpoints to Calls may not be empty.
	learned bool
	// Endpoints are the endpoints that the flow announced.
	Endpoints []observe.Endpoint
	// Rejected are the services that the flow's server refused.
	Rejected []string
	// Names are the names of hosts that the flow gave.
	Names []observe.HostName
	// Ties are numbers that the flow shares only with the other legs of its
	// conversation: see observe.Report.
	Ties []uint64
	// Calls are the telephone signalling messages of the flow, in order.
	Calls []observe.CallEvent
	// Streams are the media streams of the flow, told when its reading ends.
	Streams []observe.Stream
}
