package dcerpc

import (
	"encoding/binary"
	"net/netip"

	"github.com/exspan/exspan/classify/observe"
)

// push is a registration for new-mail notifications that was not answered.
type push struct {
	call uint32
	addr netip.AddrPort
}

// opPush is EcRRegisterPushNotification of EMSMDB ([MS-OXCRPC] section 3.1.4.5).
const opPush = 4

// maxPush bounds the PDU; a registration has some 100 bytes.
const maxPush = 1024

// isPush says whether a request registers for notifications.
func isPush(h *header, c *context, opnum uint16) bool {
	const whole = firstFrag | lastFrag
	return c != nil && c.push && opnum == opPush && h.flags&(whole|object) == whole && h.frag <= maxPush
}

// Address families of the callback address, as Windows numbers them.
const (
	afINET  = 2
	afINET6 = 23
)

// readPush reads the arguments of a registration: context handle, iRpc,
// rgbContext with its length, advise bits, and the callback address with its
// length. It returns nil if they do not hold an address.
func readPush(h *header, stub []byte) *push {
	n := ndr{b: stub, big: h.big}
	n.bytes(20)
	n.u32()
	size := n.u32()
	n.bytes(int(size))
	if l := n.u16(); uint32(l) != size {
		return nil
	}
	n.u32()
	size = n.u32()
	addr := n.bytes(int(size))
	if l := n.u16(); n.short || uint32(l) != size || size < 16 {
		return nil
	}
	p := &push{call: h.call}
	port := binary.BigEndian.Uint16(addr[2:])
	switch family := binary.LittleEndian.Uint16(addr); {
	case family == afINET:
		p.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[4:8])), port)
	case family == afINET6 && size >= 28:
		p.addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte(addr[8:24])).Unmap(), port)
	default:
		return nil
	}
	if port == 0 {
		return nil
	}
	return p
}

// answerPush learns the client's endpoint if the server took the registration:
// the response holds the context handle, hNotification and the return value.
func (o *observer) answerPush(h *header, stub []byte, r *observe.Report) {
	p := o.push
	o.push = nil
	n := ndr{b: stub, big: h.big}
	n.bytes(20)
	n.u32()
	if status := n.u32(); n.short || status != 0 {
		return
	}
	e := observe.Endpoint{Server: netip.AddrPortFrom(o.client.Addr(), p.addr.Port()), UDP: true, Service: NewMail,
		Source: observe.FromPush, From: o.server}
	if a := p.addr.Addr(); !a.IsUnspecified() && a != o.client.Addr().Unmap() {
		e.Announced = a
	}
	r.Learn(e)
}
