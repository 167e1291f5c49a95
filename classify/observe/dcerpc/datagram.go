package dcerpc

import (
	"bytes"
	"slices"

	"github.com/exspan/exspan/classify/observe"
)

// Types of connectionless PDUs ([C706] section 12.5.2) that connection-oriented RPC does
// not share.
const (
	dgPing      = 1
	dgWorking   = 4
	dgNocall    = 5
	dgReject    = 6
	dgAck       = 7
	dgCancel    = 8
	dgFack      = 9
	dgCancelAck = 10
)

const (
	dgHeader   = 80
	dgFragment = 0x04       // in flags1: the PDU is a fragment
	unknownIf  = 0x1c010003 // nca_s_unk_if
)

// datagrams is the state of a connectionless flow.
type datagrams struct {
	calls    []dgCall
	iface    Interface // interface of the first request
	answered bool
}

// dgCall is an unanswered request. Its activity and sequence number identify it.
type dgCall struct {
	activity [16]byte
	seq      uint32
	opnum    uint16
	iface    Interface
}

// dgPDU is a connectionless PDU ([C706] section 12.5.1).
type dgPDU struct {
	header
	dgCall
	flags1 byte
	proto  byte // auth_proto
	length int  // length of the stub
}

// parseDatagram parses a connectionless PDU. Its stub can be cut short.
func parseDatagram(b []byte) (p dgPDU, ok bool) {
	if len(b) < dgHeader || b[0] != 4 || b[1] > dgCancelAck || b[4]&^0x11 != 0 || b[5] > 3 || b[6] != 0 {
		return p, false
	}
	p.ptype, p.flags1, p.big, p.proto = b[1], b[2], b[4]&0xf0 == 0, b[78]
	v := p.u32(b[60:])
	p.iface = Interface{uuid(b[24:], p.big), uint16(v), uint16(v >> 16)}
	p.activity, p.seq, p.opnum = uuid(b[40:], p.big), p.u32(b[64:]), p.u16(b[68:])
	p.length = int(p.u16(b[74:]))
	switch p.proto {
	case authNone, authNegotiate, authNTLM, authTLS, authKerberos, authNetlogon, 1:
	default:
		return p, false
	}
	return p, p.iface.UUID != [16]byte{} && p.activity != [16]byte{} && p.opnum < 1024
}

// datagram reads one connectionless PDU.
func (o *observer) datagram(in *observe.Input, r *observe.Report) (int, error) {
	if o.dg == nil {
		o.dg = new(datagrams)
	}
	b := in.Data
	p, ok := parseDatagram(b)
	if ok && !in.Cut {
		// An authentication trailer or a little padding can follow the stub.
		rest := len(b) - dgHeader - p.length
		ok = rest >= 0 && (p.proto != authNone || rest < 16)
	}
	if !ok {
		if o.valid {
			return 0, observe.ErrDone
		}
		return 0, observe.ErrViolation
	}
	fromClient := false
	switch p.ptype {
	case request, dgPing, dgAck, dgCancel:
		fromClient = true
	case dgFack:
		fromClient = in.Dir == observe.ToServer
	}
	if fromClient != (in.Dir == observe.ToServer) {
		if !o.roles {
			return 0, observe.ErrReversed
		}
		return len(b), nil // a callback by the server
	}
	o.valid = true
	o.roles = o.roles || p.ptype != dgFack
	o.dirs[in.Dir].seen = true
	if fromClient {
		if p.ptype == request {
			o.dgRequest(&p, b, r)
		}
		return len(b), nil
	}
	o.dg.answered = true
	o.dgAnswer(&p, in, b, r)
	return len(b), nil
}

func (o *observer) dgRequest(p *dgPDU, b []byte, r *observe.Report) {
	if o.dg.iface == (Interface{}) {
		o.dg.iface = p.iface
	}
	if !slices.ContainsFunc(o.dg.calls, func(c dgCall) bool { return c == p.dgCall }) {
		if len(o.dg.calls) == maxCalls {
			o.dg.calls = slices.Delete(o.dg.calls, 0, 1)
		}
		o.dg.calls = append(o.dg.calls, p.dgCall)
	}
	if p.proto == authNone {
		r.Add(observe.Auth, "none")
		r.Add(AuthLevel, levels[levelNone])
		r.Add(observe.Encryption, "none")
		return
	}
	r.Add(observe.Auth, (&security{typ: p.proto}).mechanism(nil, 0))
	// The trailer begins with the level, at a multiple of eight bytes ([MS-RPCE] section
	// 2.2.3.4).
	if at := (dgHeader + p.length + 7) &^ 7; at < len(b) && b[at] > 0 && int(b[at]) < len(levels) {
		r.Add(AuthLevel, levels[b[at]])
		r.Add(observe.Encryption, encryption(b[at]))
	}
}

// dgAnswer reads a PDU from the server. The server accepts the interface of a call by
// processing the call, or it refuses the interface.
func (o *observer) dgAnswer(p *dgPDU, in *observe.Input, b []byte, r *observe.Report) {
	i := slices.IndexFunc(o.dg.calls, func(c dgCall) bool { return c.activity == p.activity && c.seq == p.seq })
	asked := i >= 0
	iface, opnum := p.iface, p.opnum
	if asked {
		iface, opnum = o.dg.calls[i].iface, o.dg.calls[i].opnum
	} else if o.dirs[observe.ToServer].seen {
		o.dgAgain(p, in, b, r)
		return
	}
	o.retract(r)
	body := b[dgHeader:min(len(b), dgHeader+p.length)]
	switch p.ptype {
	case response, dgWorking:
	case fault, dgReject:
		if asked && len(body) >= 4 && p.u32(body) == unknownIf {
			r.Rejected = append(r.Rejected, iface.String())
		}
		return
	default:
		return
	}
	if name := iface.String(); !r.Has(UUID, name) {
		r.Add(UUID, name)
		o.learn(iface, name, true, !asked, r)
	}
	if p.ptype != response || iface != epmapper || !o.maps || p.flags1&dgFragment != 0 || p.proto != authNone {
		return
	}
	if asked {
		o.dg.calls = slices.Delete(o.dg.calls, i, i+1)
	}
	if opnum != eptMap && opnum != eptLookup {
		return
	}
	e, status, whole, ok := answer(body, opnum, p.big, false)
	if !ok || !whole {
		return
	}
	if asked && opnum == eptMap && status == notRegistered {
		r.Add(MapStatus, "not-registered")
	}
	before := len(r.Endpoints)
	learnEntries(e, opnum, !asked, in, r)
	if asked && len(r.Endpoints) > before {
		call := p.dgCall
		call.opnum = opnum
		o.lastAnswer = &mapperAnswer{dg: call, body: bytes.Clone(body), endpoints: slices.Clone(r.Endpoints[before:])}
	}
}

// dgAgain reads another answer of the mapper to the call that was answered last.
func (o *observer) dgAgain(p *dgPDU, in *observe.Input, b []byte, r *observe.Report) {
	t := o.lastAnswer
	if t == nil || p.ptype != response || p.flags1&dgFragment != 0 || p.proto != authNone || t.dg.activity != p.activity || t.dg.seq != p.seq {
		return
	}
	body := b[dgHeader:min(len(b), dgHeader+p.length)]
	if bytes.Equal(body, t.body) {
		return
	}
	t.dispute(r)
	before := len(r.Endpoints)
	if e, _, whole, ok := answer(body, t.dg.opnum, p.big, false); ok && whole {
		learnEntries(e, t.dg.opnum, false, in, r)
	}
	for i := range r.Endpoints[before:] {
		r.Endpoints[before+i].Disputed = true
	}
}
