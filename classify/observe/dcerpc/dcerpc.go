// Package dcerpc reads DCE/RPC ([C706], [MS-RPCE]) over TCP, UDP, RPC over HTTP
// ([MS-RPCH]) and named pipes. It reports the interfaces that are bound and called, the
// authentication and protection of calls, and the endpoints that endpoint mappers
// announce.
package dcerpc

import (
	"net/netip"
	"unsafe"

	"github.com/exspan/exspan/classify/observe"
)

// Facts of this protocol. observe.Auth and observe.Encryption describe the calls of a
// flow or, until a call is seen, its security contexts.
const (
	UUID      = observe.RPCUUID      // interface that the server accepted: "a4f1db00-ca47-1067-b31f-00dd010662da v0.81"
	AuthLevel = observe.RPCAuthLevel // of calls: none, connect, call, packet, integrity, privacy
	SecAddr   = "rpc.sec_addr"       // the server's endpoint as it states it: "4997", "\PIPE\lsass"
	MapStatus = "epm.status"         // "not-registered": the mapper did not know the requested service
	Banner    = observe.RPCBanner    // "ncacn_http/1.0"
	Channel   = "rpc.rts"            // channel of RPC over HTTP: "in", "out"
	Cookie    = "rpc.cookie"         // virtual connection that joins an IN and an OUT channel
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
	maxWait     = 16 << 10 // bytes of a PDU to wait for
	maxStub     = 48 << 10 // bytes of a mapper's answer, in all fragments
	maxContexts = 64       // presentation contexts, and as many unanswered proposals
	maxSecurity = 16       // security contexts
	maxCalls    = 16       // unanswered calls to the mapper
	maxTrailers = 16       // requests on unknown interfaces that are searched for a verification trailer
)

// Protocol describes DCE/RPC. Its ports are those of the endpoint mapper (135, and 593
// for HTTP) and Exchange's endpoints of RPC over HTTP.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: "dcerpc", TCP: []uint16{135, 593, 6001, 6002, 6004}, UDP: []uint16{135},
		Stream: true, Datagram: true, Begins: "\x04", Detect: detect, New: New, Renew: renew,
	}
}

// New returns an observer of a TCP or UDP flow.
func New() observe.Observer { return new(observer) }

func renew(o observe.Observer) { *o.(*observer) = observer{} }

// observer reads one flow or one pipe. The fields that every call needs come first, in
// one cache line. Those that only calls with news need follow.
type observer struct {
	dirs     [2]direction
	begun    bool // client, server and maps are set
	maps     bool // the flow's server is an endpoint mapper, from whose answers endpoints are learned
	roles    bool // a PDU proved which end is the client
	valid    bool // a PDU was read
	called   bool // a call was seen
	asked    bool // a request was seen
	stubOn   bool
	trailers uint8 // requests searched for a verification trailer
	last     callKey
	contexts []context
	pending  []pending
	secured  []security
	push     *push

	few        [1]pending // initial storage of pending
	tails      [2]tail
	client     netip.AddrPort
	server     netip.AddrPort
	guessed    []Interface    // reported by Finish without an answer
	fromBind   []observe.Fact // reported only for binds
	mapCalls   []mapCall
	lastAnswer *mapperAnswer // nil until an answer of the mapper announced an endpoint
	stub       []byte        // the mapper's answer so far
	stubCall   uint32
	// nested reports that the flow's server port is not the RPC endpoint, so that binds
	// announce no endpoint. pipe is then the pipe's name in lower case, or "".
	nested bool
	pipe   string

	dg *datagrams // nil on streams
}

// direction is the state of one direction of a stream.
type direction struct {
	// quiet reports that further calls bring nothing new. It applies to all responses,
	// and to requests on the context quietOn (on any context if onAny is set) with the
	// same protection as the last one: the sec_trailer in trailer, or none if trailer is
	// zero.
	quiet   bool
	onAny   bool
	quietOn uint16
	trailer uint64
	seen    bool // any bytes were seen
	started bool // a PDU was read, or only a PDU can follow
	lost    bool // bytes were lost
	whole   bool // everything since the beginning of the connection was read
	resync  bool // search for the next PDU
	waits   bool // for the end of a call, in tails
}

// begin records the flow's ends, which do not change.
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
		if !d.resync && !d.waits {
			o.beginning(in, r)
		}
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

// Finish reports the interfaces of binds whose answers the capture does not contain.
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

// retract removes what Finish reported about a bind that was answered later.
func (o *observer) retract(r *observe.Report) {
	for _, i := range o.guessed {
		r.Remove(UUID, i.String())
	}
	o.guessed = o.guessed[:0]
}

// learn announces the endpoint of this flow as serving i under name. It ignores the
// mapper's own ports, because the services there (the mapper itself, DCOM activation) run
// on every Windows host. It also ignores the management interface, which every RPC server
// has on each of its endpoints.
func (o *observer) learn(i Interface, name string, udp, weak bool, r *observe.Report) {
	if o.nested || i == mgmt || o.maps {
		return
	}
	r.Learn(observe.Endpoint{Server: o.server, UDP: udp, Service: name, Source: observe.FromBind, From: o.server, Weak: weak})
}
