package dcerpc

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/exspan/exspan/classify/observe"
)

// push is an unanswered call of EMSMDB whose answer is needed: a registration for
// new-mail notifications, or a call that begins a session.
type push struct {
	call    uint32
	addr    netip.AddrPort // address in a registration
	connect bool           // the call begins a session
}

// opPush is EcRRegisterPushNotification of EMSMDB ([MS-OXCRPC] section 3.1.4.5).
const opPush = 4

// maxPush is the maximum length of the PDU. A registration has about 100 bytes.
const maxPush = 1024

// isPush reports whether a request registers for notifications.
func isPush(h *header, c *context, opnum uint16) bool {
	const whole = firstFrag | lastFrag
	return c != nil && c.push && opnum == opPush && h.flags&(whole|object) == whole && h.frag <= maxPush
}

// Address families of the callback address, in the numbering of Windows.
const (
	afINET  = 2
	afINET6 = 23
)

// readPush parses the arguments of a registration: the context handle, iRpc, rgbContext
// and its length, the advise bits, and the callback address and its length. It returns
// nil if they contain no address.
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

// Operations that begin a session ([MS-OXCRPC] section 3.1.4.1). Outlook up to 2003 uses
// EcDoConnect.
const (
	opConnect   = 0
	opConnectEx = 10
)

// isConnect reports whether a request begins a session.
func isConnect(h *header, c *context, opnum uint16) bool {
	const whole = firstFrag | lastFrag
	return c != nil && c.push && (opnum == opConnect || opnum == opConnectEx) && h.flags&(whole|object) == whole
}

// readConnect reads the arguments of EcDoConnect and EcDoConnectEx up to
// rgwClientVersion: szUserDN, seven long integers, a short integer, and the version. It
// reports the version.
func readConnect(h *header, stub []byte, r *observe.Report) *push {
	n := ndr{b: stub, big: h.big}
	n.text()
	for range 7 {
		n.u32()
	}
	n.u16()
	v := n.version()
	if n.short {
		return nil
	}
	r.Add(observe.ClientVersion, buildNumber(v, false))
	return &push{call: h.call, connect: true}
}

// answerConnect reports the server's version in the answer: the context handle,
// pcmsPollsMax, pcRetry, pcmsRetryDelay, picxr, the pointers to szDNPrefix and
// szDisplayName with their strings, and rgwServerVersion.
func (o *observer) answerConnect(h *header, stub []byte, r *observe.Report) {
	o.push = nil
	n := ndr{b: stub, big: h.big}
	n.bytes(20)
	for range 3 {
		n.u32()
	}
	n.u16()
	for range 2 {
		if n.u32() != 0 {
			n.text()
		}
	}
	if v := n.version(); !n.short {
		r.Add(observe.ExchangeVersion, buildNumber(v, true))
	}
}

// text skips a conformant and varying string of bytes.
func (n *ndr) text() {
	n.u32()
	n.u32()
	n.bytes(int(n.u32()))
}

// version reads a version number of three short integers.
func (n *ndr) version() (v [3]uint16) {
	for i := range v {
		v[i] = n.u16()
	}
	return v
}

// buildNumber returns a version number on the wire as a build number, or "" if it is not
// one ([MS-OXCRPC] section 3.1.4.1.3). Versions before 2007 do not transmit the minor
// number. For a server it follows from the build, according to Microsoft's list of
// builds.
func buildNumber(v [3]uint16, server bool) string {
	major, minor, build := v[0], uint16(0), v[1]
	if build&0x8000 != 0 {
		major, minor, build = v[0]>>8, v[0]&0xff, build&0x7fff
	} else if server && (major == 5 && build >= 1960 || major == 6 && build >= 6940) {
		minor = 5
	}
	if major == 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d.%d", major, minor, build, v[2])
}

// answerPush learns the client's endpoint if the server accepted the registration. The
// response holds the context handle, hNotification and the return value.
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
		Source: observe.FromPush, From: o.client}
	if a := p.addr.Addr(); !a.IsUnspecified() && a != o.client.Addr().Unmap() {
		e.Announced = a
	}
	r.Learn(e)
}
