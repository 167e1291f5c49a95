package dcerpc

import (
	"bytes"
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
)

// tail describes the end of a request or response whose stub is skipped: the sec_trailer,
// and the bytes before it that may hold a verification trailer.
type tail struct {
	h       header
	need    uint16 // bytes to wait for
	rest    uint16 // bytes from here to the end of the PDU
	back    uint16 // how many of them precede the sec_trailer
	context uint16 // p_cont_id
}

// listen clears quiet: the next PDUs may bring something new.
func (o *observer) listen() { o.dirs[0].quiet, o.dirs[1].quiet = false, false }

// quiet sets d.quiet if further calls like the last one bring nothing new, as long as
// nothing else is read.
func (o *observer) quiet(d *direction, h *header, c *context, ctx uint16) {
	d.quiet = !d.waits && !o.maps && o.push == nil && len(o.pending) == 0
	if h.ptype == response {
		d.quiet = d.quiet && o.asked
		return
	}
	d.quiet = d.quiet && (c != nil && !c.push || c == nil && o.trailers >= maxTrailers)
	// While no context is known, all are alike.
	d.onAny, d.quietOn, d.trailer = len(o.contexts) == 0, ctx, 0
	if h.auth == 0 {
		d.quiet = d.quiet && len(o.secured) == 0
	} else if k := &o.last; o.called && k.trailer {
		d.trailer = uint64(k.typ) | uint64(k.level)<<8 | uint64(k.id)<<32
	} else {
		d.quiet = false
	}
}

// skip returns the length of the PDU at the start of b if it is a call that brings
// nothing new, according to quiet, and 0 otherwise. It reads only little-endian integers,
// which nearly all PDUs use.
func (d *direction) skip(dir observe.Direction, b []byte) int {
	if len(b) < 24 {
		return 0
	}
	want := uint64(request)
	if dir == observe.ToClient {
		want = response
	}
	first, second := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	frag, auth := int(uint16(second)), int(uint16(second>>16))
	if first&0xfffffcfe_00fffeff != 0x10<<32|want<<16|5 || frag < 24 {
		return 0
	}
	if dir == observe.ToServer {
		if binary.LittleEndian.Uint16(b[20:]) != d.quietOn && !d.onAny || (auth != 0) != (d.trailer != 0) {
			return 0
		}
		if at := frag - auth - 8; auth != 0 && (at < 24 || len(b) < at+8 || binary.LittleEndian.Uint64(b[at:])&^padding != d.trailer) {
			return 0
		}
	} else if auth != 0 && auth+8 > frag-24 {
		return 0
	}
	return frag
}

// padding masks the part of a sec_trailer that does not affect the protection:
// auth_pad_length and a reserved byte.
const padding = 0xffff << 16

// step reads a PDU at the start of b, or the end of a PDU whose stub was skipped. It
// returns the number of bytes used, or 0 if it needs more.
func (o *observer) step(d *direction, in *observe.Input, b []byte, r *observe.Report) (int, error) {
	if d.waits {
		return o.tail(d, in, b, r), nil
	}
	if d.resync {
		n, found := resync(b)
		if !found || n > 0 {
			return n, nil
		}
		d.resync, d.started = false, true
	}
	if !d.started && in.Dir == observe.ToClient && b[0] == banner[0] {
		switch matchBanner(b) {
		case observe.More:
			return 0, nil
		case observe.Yes:
			d.started = true
			o.valid = true
			r.Add(Banner, banner)
			return len(banner), nil
		}
	}
	var h header
	switch h.read(b) {
	case observe.More:
		return 0, nil
	case observe.No:
		if !d.started && !in.Handshake {
			// The flow was under way, and this direction starts in the middle of a PDU.
			d.lost, d.resync = true, true
			return o.step(d, in, b, r)
		}
		if o.valid {
			return 0, observe.ErrDone
		}
		return 0, observe.ErrViolation
	}
	if h.ptype != rts && toServer(h.ptype) != (in.Dir == observe.ToServer) {
		if !o.roles {
			return 0, observe.ErrReversed
		}
		// A callback within a call is no evidence about this flow's server.
		d.started = true
		return h.frag, nil
	}
	n := 0
	if h.ptype == request || h.ptype == response {
		n = o.call(d, &h, in, b, r)
	} else {
		n = o.pdu(&h, in, b, r)
		o.listen()
	}
	if n > 0 {
		d.started = true
		o.valid = true
		o.roles = o.roles || h.ptype != rts
	}
	return n, nil
}

// resync searches for the next PDU after lost bytes. It returns the number of bytes to
// discard and whether a PDU follows them. It judges a position only when all bytes that
// strict needs are there, so the result does not depend on how the stream is split.
func resync(b []byte) (n int, found bool) {
	for n < len(b) {
		i := bytes.IndexByte(b[n:], 5)
		if i < 0 {
			return len(b), false
		}
		n += i
		switch strict(b[n:]) {
		case observe.Yes:
			return n, true
		case observe.More:
			return n, false
		}
		n++
	}
	return n, false
}

// pdu reads as much as it needs of a PDU that is not a call. It returns the length of the
// PDU, or 0 if it needs more bytes. It reports nothing before it has all that it needs.
func (o *observer) pdu(h *header, in *observe.Input, b []byte, r *observe.Report) int {
	switch h.ptype {
	case bind, alter, bindAck, alterResp, bindNak, auth3, rts:
	default:
		return h.frag
	}
	need := min(h.frag, maxWait)
	if len(b) < need {
		return 0
	}
	p := b[:need]
	switch h.ptype {
	case bind, alter:
		o.bind(h, p)
		o.token(h, p, in, r)
	case bindAck, alterResp:
		o.retract(r)
		o.token(h, p, in, r)
		o.ack(h, p, r)
	case bindNak:
		o.retract(r)
		o.dropProposals(h.call)
		// The connection ends. The protection that its bind asked for never took effect.
		o.secured = o.secured[:0]
		o.retractBinds(r)
	case auth3:
		o.token(h, p, in, r)
	case rts:
		o.rts(p, r)
	}
	return h.frag
}

// beginning reads a bind or its answer as far as it was captured, after which bytes are
// missing: the list of contexts comes before the token, which is most of it.
func (o *observer) beginning(in *observe.Input, r *observe.Report) {
	var h header
	b := in.Data
	if h.read(b) != observe.Yes || toServer(h.ptype) != (in.Dir == observe.ToServer) || len(b) < minLength[h.ptype] {
		return
	}
	switch h.ptype {
	case bind, alter:
		o.bind(&h, b)
	case bindAck, alterResp:
		o.retract(r)
		o.results(&h, b, r)
	default:
		return
	}
	o.valid, o.roles, o.dirs[in.Dir&1].started = true, true, true
}

// call reads the context and the sec_trailer of a request or response ([C706] sections
// 12.6.4.9 and 12.6.4.10). It skips the stub, unless the stub is from an endpoint mapper
// or registers for notifications. It returns what pdu does, or the offset of the end part
// of the PDU.
func (o *observer) call(d *direction, h *header, in *observe.Input, b []byte, r *observe.Report) int {
	if len(b) < 24 {
		return 0
	}
	d.quiet = false // until it is known
	ctx := h.u16(b[20:])
	c := o.known(ctx)
	if c == nil && len(o.pending) > 0 && o.confirms(ctx) {
		c = o.confirm(ctx, r)
	}
	if (o.maps || o.push != nil || c != nil && c.push) && o.wantsStub(h, c, in, b) && h.frag <= maxWait {
		if len(b) < h.frag {
			return 0
		}
		var trailer []byte
		if h.auth > 0 {
			at := h.frag - h.auth - 8
			trailer = b[at : at+8+min(h.auth, signerLength)]
		}
		o.protection(h, in, trailer, r)
		o.readStub(h, c, in, b[:h.frag], r)
		return h.frag
	}
	if h.ptype == response {
		if o.stubOn && h.call == o.stubCall {
			o.stubOn = false
		}
		if o.asked {
			o.quiet(d, h, c, ctx)
			return h.frag // the other fragments add nothing to the request
		}
	} else if o.maps && h.flags&firstFrag != 0 {
		o.noteRequest(h, c, h.u16(b[22:]))
	}
	end := h.frag
	if h.auth > 0 {
		end -= h.auth + 8
	} else if d.whole != o.last.certain || o.last.trailer || !o.called || !o.asked || len(o.secured) > 0 {
		o.protection(h, in, nil, r) // otherwise it would find what it found last
	}
	back := 0
	if h.ptype == request && c == nil && h.flags&lastFrag != 0 && o.trailers < maxTrailers {
		back = min(verificationMax, end-24)
	}
	need := back
	if h.auth > 0 {
		need += 8 + min(h.auth, signerLength)
	}
	if need == 0 {
		o.quiet(d, h, c, ctx)
		return h.frag
	}
	if b = b[min(end-back, len(b)):]; len(b) < need {
		d.waits, o.tails[in.Dir&1] = true, tail{h: *h, need: uint16(need), rest: uint16(h.frag - (end - back)), back: uint16(back), context: ctx}
		return end - back
	}
	o.readTail(h, back, ctx, in, b[:need], r)
	if back == 0 {
		o.quiet(d, h, c, ctx)
	}
	return h.frag
}

// tail reads the end of a PDU whose stub was skipped.
func (o *observer) tail(d *direction, in *observe.Input, b []byte, r *observe.Report) int {
	t := &o.tails[in.Dir&1]
	if len(b) < int(t.need) {
		return 0
	}
	d.waits = false
	o.readTail(&t.h, int(t.back), t.context, in, b[:t.need], r)
	return int(t.rest)
}

// readTail reads the end of a PDU: the last back bytes of the stub, and the sec_trailer.
func (o *observer) readTail(h *header, back int, ctx uint16, in *observe.Input, b []byte, r *observe.Report) {
	if h.auth > 0 {
		o.protection(h, in, b[back:], r)
	}
	if back > 0 {
		o.trailers++
		stub, private := b[:back], false
		if h.auth > 0 {
			stub, private = stub[:max(0, len(stub)-int(b[back+2]))], b[back+1] == levelPrivacy
		}
		if i, syn, ok := verificationTrailer(stub); ok && !private && o.known(ctx) == nil {
			o.accept(ctx, i, syn == ndr64, true, r)
			o.listen()
		}
	}
}

// Verification trailers ([MS-RPCE] section 2.2.2.13) consist of a signature at a multiple
// of four bytes and of commands. They are always little-endian.
const (
	verificationMax      = 160 // bytes before the sec_trailer that are searched
	verificationContext  = 2   // rpc_sec_vt_pcontext
	verificationEnd      = 0x4000
	verificationContextN = 2 * syntaxLength
)

var verificationSignature = []byte{0x8a, 0xe3, 0x13, 0x71, 0x02, 0xf4, 0x36, 0x71}

// verificationTrailer finds the verification trailer at the end of a stub and returns the
// interface and transfer syntax in it.
func verificationTrailer(stub []byte) (iface, syn Interface, ok bool) {
	i := -1
	for at := 0; ; at++ {
		n := bytes.IndexByte(stub[at:], verificationSignature[0])
		if n < 0 {
			break
		}
		if at += n; bytes.HasPrefix(stub[at:], verificationSignature) {
			i = at // the last one counts
		}
	}
	if i < 0 {
		return
	}
	le := header{}
	for b := stub[i+len(verificationSignature):]; len(b) >= 4; {
		cmd, n := le.u16(b), int(le.u16(b[2:]))
		if b = b[4:]; n > len(b) {
			return Interface{}, Interface{}, false
		}
		if cmd&0x3fff == verificationContext && n == verificationContextN {
			iface, syn, ok = syntax(b, false), syntax(b[syntaxLength:], false), true
		}
		b = b[n:]
		if cmd&verificationEnd != 0 {
			// Only padding can follow.
			return iface, syn, ok && len(b) < 16
		}
	}
	return Interface{}, Interface{}, false
}
