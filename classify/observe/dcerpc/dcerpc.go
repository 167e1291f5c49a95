// Package dcerpc reads DCE/RPC ([C706], [MS-RPCE]) over TCP, UDP, RPC over HTTP
// ([MS-RPCH]) and named pipes: which interfaces are bound and called, how calls
// are authenticated and protected, and what endpoint mappers announce.
package dcerpc

import (
	"net/netip"
	"unsafe"

	"github.com/exspan/exspan/classify/observe"
)

// Facts of this protocol. observe.Auth and observe.Encryption are reported for
// the calls of a flow, or for its security contexts as long as no call is seen.
const (
	UUID      = observe.RPCUUID      // interfaces the server accepted: "a4f1db00-ca47-1067-b31f-00dd010662da v0.81"
	AuthLevel = observe.RPCAuthLevel // of calls: none, connect, call, packet, integrity, privacy
	SecAddr   = "rpc.sec_addr"       // what the server says its endpoint is: "4997", "\PIPE\lsass"
	MapStatus = "epm.status"         // "not-registered": the mapper did not know the service it was asked for
	Banner    = "rpc.banner"         // "ncacn_http/1.0"
	Channel   = "rpc.rts"            // channels of RPC over HTTP: "in", "out"
	Cookie    = "rpc.cookie"         // virtual connection that ties an IN and an OUT channel together
	ClientIP  = "rpc.client_address" // the client's address as the RPC proxy forwards it
)

// Services that are announced without an interface.
const (
	// NewMail is the UDP notification of Exchange 2000 to 2007 ([MS-OXCRPC]
	// section 3.1.4.5, EcRRegisterPushNotification).
	NewMail = "newmail"
)

// Limits of one flow.
const (
	maxWait     = 16 << 10 // bytes of a PDU that are waited for
	maxStub     = 48 << 10 // bytes of a mapper's answer, over all fragments
	maxContexts = 64       // presentation contexts, and as many unanswered
	maxSecurity = 16       // security contexts
	maxCalls    = 16       // calls to the mapper without an answer
	maxTrailers = 16       // requests of unknown interface searched for a verification trailer
)

// Protocol describes DCE/RPC. Ports: the endpoint mapper (135, over HTTP 593)
// and Exchange's endpoints of RPC over HTTP.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: "dcerpc", TCP: []uint16{135, 593, 6001, 6002, 6004}, UDP: []uint16{135},
		Stream: true, Datagram: true, Begins: "\x04", Detect: detect, New: New, Renew: renew,
	}
}

// New returns an observer of a TCP or UDP flow.
func New() observe.Observer { return new(observer) }

func renew(o observe.Observer) { *o.(*observer) = observer{} }

// observer reads one flow or one pipe. The fields that calls without news need
// come first, in one cache line, then those that all others need.
type observer struct {
	dirs     [2]direction
	begun    bool // client, server and maps are known
	maps     bool // the flow's server is an endpoint mapper, whose answers may teach
	roles    bool // a PDU has proved who is the client
	valid    bool // a PDU was read
	called   bool // a call has been seen
	asked    bool // a request has been seen
	stubOn   bool
	trailers uint8 // requests that were searched for a verification trailer
	last     callKey
	contexts []context
	pending  []pending
	secured  []security
	push     *push

	few      [1]pending // what pending is made of as long as it is short
	tails    [2]tail
	client   netip.AddrPort
	server   netip.AddrPort
	guessed  []Interface    // reported by Finish without an answer
	fromBind []observe.Fact // reported for binds only
	mapCalls []mapCall
	taught   *taught // nil until the mapper has taught something
	stub     []byte  // of an answer by the mapper, so far
	stubCall uint32
	// nested reports that the flow's server port is not the RPC endpoint, so that
	// binds teach no endpoint. pipe is then the pipe's name in lower case, or empty.
	nested bool
	pipe   string

	dg *datagrams // nil on streams
}

// direction is the state of one direction of a stream.
type direction struct {
	// quiet reports that the next calls bring nothing new. That holds for all
	// responses, and for requests on the context quietOn (on any if onAny is set)
	// that are protected like the last one: by the sec_trailer trailer, or without
	// one if that is zero.
	quiet   bool
	onAny   bool
	quietOn uint16
	trailer uint64
	seen    bool // any bytes
	started bool // a PDU has been read, or nothing but a PDU can come
	lost    bool // bytes were lost
	whole   bool // all since the connection's begin was read
	resync  bool // look for the next PDU
	waits   bool // for the end of a call, in tails
}

// begin notes the flow's ends, which do not change.
func (o *observer) begin(in *observe.Input) {
	o.begun = true
	o.client, o.server = in.Ends()
	if o.nested {
		o.maps = o.pipe == "epmapper"
	} else {
		o.maps = o.server.Port() == 135 || o.server.Port() == 593
	}
}

// Observe reads PDUs.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if !o.begun {
		o.begin(in)
	}
	if in.Datagram {
		return o.datagram(in, r)
	}
	d := &o.dirs[in.Dir&1]
	d.seen = true
	if in.Gap > 0 {
		d.lost, d.whole, d.resync, d.waits = true, false, true, false
		if in.Dir == observe.ToClient {
			o.stubOn = false
		}
		o.listen()
		return 0, nil
	}
	n := 0
	for n < len(in.Data) {
		if d.quiet {
			if skip := d.skip(in.Dir, in.Data[n:]); skip > 0 {
				n += skip
				continue
			}
		}
		used, err := o.step(d, in, in.Data[n:], r)
		if err != nil {
			return 0, err
		}
		if used == 0 {
			break
		}
		n += used
	}
	return n, nil
}

// Held implements observe.Holder.
func (o *observer) Held() int {
	n := cap(o.stub) + cap(o.contexts)*int(unsafe.Sizeof(context{})) + cap(o.mapCalls)*int(unsafe.Sizeof(mapCall{})) +
		cap(o.secured)*int(unsafe.Sizeof(security{})) + cap(o.guessed)*int(unsafe.Sizeof(Interface{}))
	if cap(o.pending) > len(o.few) {
		n += cap(o.pending) * int(unsafe.Sizeof(pending{}))
	}
	return n
}

// Finish reports the interfaces of binds whose answers this sensor cannot see.
func (o *observer) Finish(r *observe.Report) {
	if o.dirs[observe.ToClient].seen || o.dg != nil && o.dg.answered {
		return
	}
	for _, p := range o.pending {
		if !p.feature && !r.Has(UUID, p.iface.String()) {
			r.Add(UUID, p.iface.String())
			o.guessed = append(o.guessed, p.iface)
		}
	}
	if o.dg == nil {
		return
	}
	if i := o.dg.iface; i != (Interface{}) && !r.Has(UUID, i.String()) {
		r.Add(UUID, i.String())
		o.guessed = append(o.guessed, i)
	}
}

// retract takes back what Finish reported of a bind that was answered later.
func (o *observer) retract(r *observe.Report) {
	for _, i := range o.guessed {
		r.Remove(UUID, i.String())
	}
	o.guessed = o.guessed[:0]
}

// learn announces the endpoint of this flow as serving i, which is called
// name. The mapper's own ports are left out: everything that lives there (the
// mapper itself, DCOM activation) is on every Windows host. So is the
// management interface, which every RPC server has on each of its endpoints.
func (o *observer) learn(i Interface, name string, udp, weak bool, r *observe.Report) {
	if o.nested || i == mgmt || o.maps {
		return
	}
	r.Learn(observe.Endpoint{Server: o.server, UDP: udp, Service: name, Source: observe.FromBind, From: o.server, Weak: weak})
}
