package dcerpc

import (
	"encoding/binary"
	"net/netip"

	"github.com/exspan/exspan/classify/observe"
)

// The RTS commands ([MS-RPCH] section 2.2.3.5) that are read.
const (
	cmdCookie        = 3
	cmdVersion       = 6
	cmdPadding       = 8
	cmdClientAddress = 11
	cmdAssocGroup    = 12
)

// rtsLength is the length of each command's body. ClientAddress and Padding state their
// own length.
var rtsLength = [...]int{0: 4, 1: 24, 2: 4, 3: 16, 4: 4, 5: 4, 6: 4, 7: 0, 8: 4, 9: 0, 10: 0, 11: 4, 12: 16, 13: 4, 14: 4}

// opening lists the first commands of a PDU that opens a channel.
var opening = [...]uint32{cmdVersion, cmdCookie, cmdCookie}

// rts reads an RTS PDU ([MS-RPCH] section 2.2.3.6). A PDU that opens a channel starts
// with Version, the cookie of the virtual connection and the cookie of the channel.
// CONN/A1 and A2 open OUT channels; CONN/B1 and B2 open IN channels. Only the latter name
// an association group ([MS-RPCH] section 2.2.4).
func (o *observer) rts(p []byte, r *observe.Report) {
	n := int(binary.LittleEndian.Uint16(p[18:]))
	b := p[20:]
	opens, in := true, false
	var cookie []byte
	var client netip.Addr
	for i := range n {
		if len(b) < 4 {
			return
		}
		cmd := binary.LittleEndian.Uint32(b)
		if b = b[4:]; int64(cmd) >= int64(len(rtsLength)) || len(b) < rtsLength[cmd] {
			return
		}
		size := rtsLength[cmd]
		switch cmd {
		case cmdPadding:
			if k := binary.LittleEndian.Uint32(b); k <= uint32(len(b)-4) {
				size += int(k)
			} else {
				return
			}
		case cmdClientAddress:
			// The address type, the address, and 12 bytes of padding ([MS-RPCH] section
			// 2.2.3.2).
			switch kind := binary.LittleEndian.Uint32(b); {
			case kind == 0 && len(b) >= 20:
				client = netip.AddrFrom4([4]byte(b[4:8]))
				size = 20
			case kind == 1 && len(b) >= 32:
				client = netip.AddrFrom16([16]byte(b[4:20]))
				size = 32
			default:
				return
			}
		case cmdCookie:
			if i == 1 {
				cookie = b[:16]
			}
		case cmdAssocGroup:
			in = true
		}
		if i < len(opening) && cmd != opening[i] {
			opens = false
		}
		b = b[size:]
	}
	if client.IsValid() && !client.IsUnspecified() {
		r.Add(ClientIP, client.Unmap().String())
	}
	if !opens || n < len(opening)+1 {
		return
	}
	if in {
		r.Add(Channel, "in")
	} else {
		r.Add(Channel, "out")
	}
	r.Add(Cookie, string(appendUUID(nil, uuid(cookie, false))))
}
