package dcerpc

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/exspan/exspan/classify/observe"
)

// Operations of the endpoint mapper ([C706] appendix O).
const (
	eptLookup = 2
	eptMap    = 3
)

// mapCall is an unanswered request to the endpoint mapper.
type mapCall struct {
	call  uint32
	opnum uint16
}

// noteRequest records a request to the endpoint mapper. Endpoints may be learned from its
// answer.
func (o *observer) noteRequest(h *header, c *context, opnum uint16) {
	if opnum != eptLookup && opnum != eptMap || c != nil && c.iface != epmapper {
		return
	}
	o.mapCalls = slices.DeleteFunc(o.mapCalls, func(m mapCall) bool { return m.call == h.call })
	if len(o.mapCalls) == maxCalls {
		o.mapCalls = slices.Delete(o.mapCalls, 0, 1)
	}
	o.mapCalls = append(o.mapCalls, mapCall{h.call, opnum})
}

// mapCall returns the operation that a call to the mapper requested.
func (o *observer) mapCall(call uint32) (opnum uint16, ok bool) {
	for _, m := range o.mapCalls {
		if m.call == call {
			return m.opnum, true
		}
	}
	return 0, false
}

// wantsStub reports whether the stub of a request or response is needed. b holds the
// first 24 bytes of the PDU.
func (o *observer) wantsStub(h *header, c *context, in *observe.Input, b []byte) bool {
	if h.ptype == request {
		opnum := h.u16(b[22:])
		return isPush(h, c, opnum) || isConnect(h, c, opnum)
	}
	if o.push != nil && o.push.call == h.call {
		return h.flags&(firstFrag|lastFrag) == firstFrag|lastFrag
	}
	if !o.maps || c != nil && c.iface != epmapper {
		return false
	}
	if h.flags&firstFrag == 0 {
		return o.stubOn && o.stubCall == h.call
	}
	if _, ok := o.mapCall(h.call); ok {
		return true
	}
	return o.mayMissRequest(in)
}

// mayMissRequest reports whether the capture can lack requests of this flow.
func (o *observer) mayMissRequest(in *observe.Input) bool {
	return !in.Handshake || o.dirs[observe.ToServer].lost || !o.dirs[observe.ToServer].seen
}

// readStub reads a stub that wantsStub asked for. p is the whole PDU.
func (o *observer) readStub(h *header, c *context, in *observe.Input, p []byte, r *observe.Report) {
	end := len(p)
	if h.auth > 0 {
		end -= h.auth + 8
		if p[end+1] == levelPrivacy {
			o.stubOn = false
			return
		}
		end -= int(p[end+2])
	}
	if end < 24 {
		o.stubOn = false
		return
	}
	stub := p[24:end]
	switch {
	case h.ptype == request:
		if opnum := h.u16(p[22:]); opnum == opPush {
			o.push = readPush(h, stub)
		} else {
			o.push = readConnect(h, stub, r)
		}
		o.listen() // the answer is wanted
		return
	case o.push != nil && o.push.call == h.call && o.push.connect:
		o.answerConnect(h, stub, r)
		return
	case o.push != nil && o.push.call == h.call:
		o.answerPush(h, stub, r)
		return
	}
	first, last := h.flags&firstFrag != 0, h.flags&lastFrag != 0
	if first && last {
		o.stubOn = false
		o.answerMap(h, c, in, stub, false, r)
		return
	}
	if first {
		o.stub, o.stubCall, o.stubOn = o.stub[:0], h.call, true
	}
	room := maxStub - len(o.stub)
	o.stub = append(o.stub, stub[:min(room, len(stub))]...)
	if last {
		o.answerMap(h, c, in, o.stub, len(o.stub) == maxStub, r)
		o.stub, o.stubOn = nil, false
	}
}

// answerMap learns endpoints from an answer of the endpoint mapper. An answer counts in
// full only if it answers a request on this flow and either the handshake was seen or the
// answer acknowledges the request's bytes. If the capture can lack the request, only the
// form of the answer is evidence, and the endpoints are weak.
func (o *observer) answerMap(h *header, c *context, in *observe.Input, stub []byte, cut bool, r *observe.Report) {
	opnum, asked := o.mapCall(h.call)
	if asked {
		o.mapCalls = slices.DeleteFunc(o.mapCalls, func(m mapCall) bool { return m.call == h.call })
		if !in.Handshake && !in.Continues {
			return
		}
	}
	for _, op := range []uint16{eptMap, eptLookup} {
		for _, wide := range []bool{false, true} {
			if asked && op != opnum || c != nil && wide != c.wide || wide && h.big {
				continue
			}
			e, status, whole, ok := answer(stub, op, h.big, wide)
			if !ok || !whole && !(cut && asked && c != nil) {
				continue
			}
			if asked && op == eptMap && status == notRegistered {
				r.Add(MapStatus, "not-registered")
			}
			before := len(r.Endpoints)
			learnEntries(e, op, !asked, in, r)
			if asked && len(r.Endpoints) > before {
				o.lastAnswer = &mapperAnswer{call: mapCall{h.call, op}, endpoints: slices.Clone(r.Endpoints[before:])}
			}
			return
		}
	}
}

// mapperAnswer is the last answer of the mapper from which endpoints were learned.
type mapperAnswer struct {
	call      mapCall
	endpoints []observe.Endpoint
	dg        dgCall // identifies a connectionless answer
	body      []byte // its body
}

// dispute reports the endpoints of the last answer again, as disputed.
func (t *mapperAnswer) dispute(r *observe.Report) {
	for _, e := range t.endpoints {
		e.Disputed = true
		r.Learn(e)
	}
}

// Again reads another answer of the mapper for the place of the last one in the stream.
// At least one of the two is forged.
func (o *observer) Again(in *observe.Input, r *observe.Report) {
	t := o.lastAnswer
	if t == nil || in.Dir != observe.ToClient {
		return
	}
	t.dispute(r)
	var h header
	b := in.Data
	if h.read(b) != observe.Yes || h.ptype != response || h.call != t.call.call || h.frag > len(b) || h.flags&(firstFrag|lastFrag) != firstFrag|lastFrag {
		return
	}
	before := len(r.Endpoints)
	o.mapCalls = append(o.mapCalls, t.call)
	o.readStub(&h, o.known(h.u16(b[20:])), in, b[:h.frag], r)
	for i := range r.Endpoints[before:] {
		r.Endpoints[before+i].Disputed = true
	}
}

// learnEntries reports the entries of a mapper's answer.
func learnEntries(entries []entry, op uint16, weak bool, in *observe.Input, r *observe.Report) {
	source := observe.FromMap
	if op == eptLookup {
		source = observe.FromLookup
	}
	_, server := in.Ends()
	for _, e := range entries {
		if e.iface == epmapper || e.iface == mgmt || e.port == 0 || e.port == 135 || e.port == 593 {
			continue
		}
		l := observe.Endpoint{Server: netip.AddrPortFrom(server.Addr(), e.port), UDP: e.udp, Service: e.iface.String(),
			Annotation: e.annotation, Source: source, From: server, Weak: weak}
		if e.addr.IsValid() && !e.addr.IsUnspecified() && e.addr != server.Addr().Unmap() {
			l.Announced = e.addr
		}
		r.Learn(l)
	}
}

// entry is a TCP or UDP endpoint that a mapper names.
type entry struct {
	iface      Interface
	udp        bool
	port       uint16
	addr       netip.Addr
	annotation string
}

// answer parses the stub of an ept_map or ept_lookup response ([C706] appendix O) in NDR
// or NDR64 ([MS-RPCE] section 2.2.5). whole reports that the stub was read up to its
// status. ok is false if the stub is inconsistent.
func answer(stub []byte, op uint16, big, wide bool) (entries []entry, status uint32, whole, ok bool) {
	n := ndr{b: stub, big: big, wide: wide}
	n.bytes(20) // entry_handle
	count := n.u32()
	limit, offset, actual := n.size(), n.size(), n.size()
	if n.short {
		return nil, 0, false, true
	}
	if offset != 0 || actual > limit || uint64(count) != actual {
		return nil, 0, false, false
	}
	// The towers follow their array, one for each pointer that is not null.
	var notes []string
	towers := 0
	for range actual {
		note, set := "", false
		if op == eptLookup {
			n.align(4)
			if wide {
				n.align(8)
			}
			n.bytes(16) // object
			set = n.size() != 0
			if off := n.size(); off != 0 {
				return nil, 0, false, false
			}
			length := n.size()
			if length > maxAnnotation {
				return nil, 0, false, false
			}
			note = text(n.bytes(int(length)))
		} else {
			set = n.size() != 0
		}
		if n.short {
			return nil, 0, false, true
		}
		if set {
			towers++
			if op == eptLookup {
				notes = append(notes, note)
			}
		}
	}
	for i := range towers {
		size, length := n.size(), n.u32()
		if !n.short && size != uint64(length) {
			return entries, 0, false, false
		}
		t := n.bytes(int(length))
		if n.short {
			return entries, 0, false, true
		}
		e, ok := parseTower(t)
		if !ok {
			continue
		}
		if notes != nil {
			e.annotation = notes[i]
		}
		entries = append(entries, e)
	}
	// Only the status follows. In NDR64 there is padding before or after it.
	n.align(4)
	switch rest := len(stub) - n.off; {
	case rest == 8 && wide:
		n.align(8)
	case rest != 4:
		return entries, 0, false, rest < 4
	}
	status = n.u32()
	return entries, status, true, !n.short && (status == 0 || status == notRegistered)
}

const (
	maxAnnotation = 64         // ept_max_annotation_size, with its NUL
	notRegistered = 0x16c9a0d6 // ept_s_not_registered
)

// text reads an annotation up to its NUL. A server can send any text in any character
// set, so text replaces bytes that are not printable ASCII by question marks.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	b = bytes.Clone(b)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// ndr reads consecutive values in NDR ([C706] section 14) or NDR64. After the end of its
// bytes it reads zeros.
type ndr struct {
	b         []byte
	off       int
	big, wide bool
	short     bool
}

func (n *ndr) align(to int) { n.off = (n.off + to - 1) &^ (to - 1) }

func (n *ndr) bytes(k int) []byte {
	if n.short || k < 0 || k > len(n.b)-n.off {
		n.short = true
		return nil
	}
	b := n.b[n.off : n.off+k]
	n.off += k
	return b
}

func (n *ndr) u16() uint16 {
	n.align(2)
	b := n.bytes(2)
	if b == nil {
		return 0
	}
	h := header{big: n.big}
	return h.u16(b)
}

func (n *ndr) u32() uint32 {
	n.align(4)
	b := n.bytes(4)
	if b == nil {
		return 0
	}
	h := header{big: n.big}
	return h.u32(b)
}

// size reads a referent, a count or an offset, which has 4 bytes, or 8 in NDR64.
func (n *ndr) size() uint64 {
	if !n.wide {
		return uint64(n.u32())
	}
	n.align(8)
	b := n.bytes(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// Protocol identifiers of tower floors ([C706] appendix I, [MS-RPCE] section
// 2.2.1.2).
const (
	floorUUID   = 0x0d
	floorCN     = 0x0b // connection-oriented RPC
	floorCL     = 0x0a // connectionless RPC
	floorTCP    = 0x07
	floorUDP    = 0x08
	floorIP     = 0x09
	floorHTTP   = 0x1f
	maxFloors   = 6
	floorSyntax = 19 // bytes: identifier, UUID and major version
)

// parseTower parses a protocol tower ([C706] appendix L). ok is false for malformed
// towers and for towers of protocols other than TCP, UDP and RPC over HTTP.
func parseTower(b []byte) (e entry, ok bool) {
	if len(b) < 2 {
		return e, false
	}
	floors := int(binary.LittleEndian.Uint16(b))
	if b = b[2:]; floors < 4 || floors > maxFloors {
		return e, false
	}
	part := func() []byte {
		if len(b) < 2 {
			return nil
		}
		k := int(binary.LittleEndian.Uint16(b))
		if k > len(b)-2 {
			b = nil
			return nil
		}
		p := b[2 : 2+k : 2+k]
		b = b[2+k:]
		return p
	}
	var rpc byte
	for i := range floors {
		lhs, rhs := part(), part()
		if len(lhs) == 0 || rhs == nil {
			return e, false
		}
		switch id := lhs[0]; {
		case i == 0:
			if id != floorUUID || len(lhs) != floorSyntax || len(rhs) != 2 {
				return e, false
			}
			e.iface = Interface{uuid(lhs[1:], false), binary.LittleEndian.Uint16(lhs[17:]), binary.LittleEndian.Uint16(rhs)}
		case i == 2:
			rpc = id
		case i == 3:
			switch {
			case len(rhs) != 2:
				return e, false
			case rpc == floorCN && (id == floorTCP || id == floorHTTP):
			case rpc == floorCL && id == floorUDP:
				e.udp = true
			default:
				return e, false
			}
			e.port = binary.BigEndian.Uint16(rhs)
		case i == 4 && id == floorIP && len(rhs) == 4:
			e.addr = netip.AddrFrom4([4]byte(rhs))
		}
	}
	return e, true
}
