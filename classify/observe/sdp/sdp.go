// Package sdp reads session descriptions (RFC 8866) to find the destinations of media:
// media lines, connection lines, RTCP ports (RFC 3605, RFC 5761), ICE candidates (RFC
// 8839 and the earlier form of [MS-ICE]), payload types, direction, and encryption (RFC
// 4568, RFC 5763).
package sdp

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/exspan/exspan/classify/observe"
)

// Limits of one description. Anything beyond them is omitted and counted.
const (
	MaxMedia      = 16
	MaxCodecs     = 24 // per media line
	MaxCandidates = 16 // per media line
	MaxPorts      = 16 // port pairs per media line
	maxField      = 40 // bytes of a name that are kept
)

// Session is the media part of a description.
type Session struct {
	Media []observe.Media
	// Dropped is the number of items that a limit omitted.
	Dropped int
}

// reader holds the session-level values that apply to all media lines.
type reader struct {
	s           Session
	addr        netip.Addr
	direction   string
	fingerprint bool
	open        bool  // there is a media line
	media       media // the last one
}

// media is a media line whose attributes are being read.
type media struct {
	observe.Media
	crypto bool
	mux    bool
	rtcp   netip.AddrPort
}

// Parse parses a description. cut reports that its end is missing; the last line may then
// lack digits and is omitted. Parse returns false if b is not a session description.
func Parse(b []byte, cut bool) (Session, bool) {
	if !bytes.HasPrefix(b, []byte("v=0")) {
		return Session{}, false
	}
	r := reader{direction: "sendrecv"}
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			if cut {
				break
			}
			b = nil
		}
		line = bytes.TrimRight(line, "\r ")
		if len(line) < 2 || line[1] != '=' {
			continue
		}
		switch value := line[2:]; line[0] {
		case 'm':
			r.end()
			r.begin(value)
		case 'c':
			if a, ok := connection(value); ok {
				if r.open {
					r.media.Addr = netip.AddrPortFrom(a, r.media.Addr.Port())
				} else {
					r.addr = a
				}
			}
		case 'a':
			r.attribute(value)
		}
	}
	r.end()
	return r.s, true
}

// begin parses "audio 49170/2 RTP/AVP 0 8 101".
func (r *reader) begin(v []byte) {
	kind, v := word(v)
	port, v := word(v)
	proto, v := word(v)
	port, pairs, _ := bytes.Cut(port, []byte("/"))
	p, ok := number(port, 65535)
	if !ok || len(proto) == 0 {
		return
	}
	if len(r.s.Media) >= MaxMedia {
		r.s.Dropped++
		return
	}
	m := &r.media
	*m = media{Media: observe.Media{Kind: clip(kind), Proto: clip(proto), Ports: 1, Direction: r.direction}}
	m.Addr = netip.AddrPortFrom(r.addr, uint16(p))
	if n, ok := number(pairs, 65535); ok && n > 1 {
		m.Ports = min(n, MaxPorts)
		if n > MaxPorts {
			r.s.Dropped++
		}
	}
	if isRTP(m.Proto) {
		m.Codecs = make([]observe.Codec, 0, min(1+bytes.Count(v, []byte(" ")), MaxCodecs))
		for len(v) > 0 {
			var f []byte
			f, v = word(v)
			pt, ok := number(f, 127)
			if !ok {
				continue
			}
			if len(m.Codecs) >= MaxCodecs {
				r.s.Dropped++
				break
			}
			name, rate := StaticPayload(uint8(pt))
			m.Codecs = append(m.Codecs, observe.Codec{Type: uint8(pt), Name: name, Rate: rate})
		}
	}
	r.open = true
}

// end completes the last media line.
func (r *reader) end() {
	if !r.open {
		return
	}
	m := &r.media
	r.open = false
	if isRTP(m.Proto) {
		keyed := m.crypto || r.fingerprint
		switch secure := strings.Contains(m.Proto, "SAVP"); {
		case secure:
			m.Encryption = "srtp"
		case !keyed:
			m.Encryption = "none"
		}
		// Without a=rtcp, RTCP uses the port after that of RTP (RFC 3550 section 11),
		// unless both share a port.
		a := m.Addr
		switch {
		case a.Port() == 0:
		case m.rtcp.Port() != 0:
			m.RTCP = m.rtcp
			if !m.RTCP.Addr().IsValid() {
				m.RTCP = netip.AddrPortFrom(a.Addr(), m.rtcp.Port())
			}
		case !m.mux && a.Port() < 65535:
			m.RTCP = netip.AddrPortFrom(a.Addr(), a.Port()+1)
		}
		if m.RTCP == a {
			m.RTCP = netip.AddrPort{}
		}
	}
	r.s.Media = append(r.s.Media, m.Media)
}

func (r *reader) attribute(v []byte) {
	name, value, _ := bytes.Cut(v, []byte(":"))
	m := &r.media
	switch string(name) {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		if r.open {
			m.Direction = string(name)
		} else {
			r.direction = string(name)
		}
	case "fingerprint":
		if r.open {
			m.crypto = true
		} else {
			r.fingerprint = true
		}
	}
	if !r.open {
		return
	}
	switch string(name) {
	case "crypto":
		m.crypto = true
	case "rtcp-mux":
		m.mux = true
	case "rtcp":
		// "53020" or "53020 IN IP6 2001:db8::1" (RFC 3605 section 2.1)
		port, rest := word(value)
		if p, ok := number(port, 65535); ok {
			a, _ := connection(bytes.TrimLeft(rest, " "))
			m.rtcp = netip.AddrPortFrom(a, uint16(p))
		}
	case "rtpmap":
		pt, rest := word(value)
		n, ok := number(pt, 127)
		if !ok {
			return
		}
		enc, rest, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte("/"))
		rate, _, _ := bytes.Cut(rest, []byte("/"))
		hz, _ := number(bytes.TrimSpace(rate), 1<<24)
		for i := range m.Codecs {
			if c := &m.Codecs[i]; c.Type == uint8(n) {
				if c.Rate = hz; c.Name != string(enc) {
					c.Name = clip(enc)
				}
			}
		}
	case "candidate":
		r.candidate(value)
	}
}

// candidate parses "1 1 UDP 2130706431 192.0.2.1 3478 typ host" and the earlier
// "user-fragment 1 password UDP 0.9 192.0.2.1 3478". It ignores transports other than
// UDP.
func (r *reader) candidate(v []byte) {
	var f [7][]byte
	for i := range f {
		f[i], v = word(v)
	}
	var addr, port []byte
	switch {
	case bytes.EqualFold(f[2], []byte("UDP")):
		addr, port = f[4], f[5]
	case bytes.EqualFold(f[3], []byte("UDP")):
		addr, port = f[5], f[6]
	default:
		return
	}
	a, ok := address(addr)
	p, okPort := number(port, 65535)
	if !ok || !okPort || p == 0 || a.IsUnspecified() {
		return
	}
	ap := netip.AddrPortFrom(a, uint16(p))
	m := &r.media
	for _, c := range m.Candidates {
		if c == ap {
			return
		}
	}
	if len(m.Candidates) >= MaxCandidates {
		r.s.Dropped++
		return
	}
	m.Candidates = append(m.Candidates, ap)
}

// isRTP reports whether a transport is RTP over UDP: RTP/AVP, RTP/SAVPF,
// UDP/TLS/RTP/SAVPF.
func isRTP(proto string) bool {
	return strings.HasPrefix(proto, "RTP/") || strings.HasPrefix(proto, "UDP/TLS/RTP/")
}

// connection parses "IN IP4 224.2.36.42/127".
func connection(v []byte) (netip.Addr, bool) {
	net, v := word(v)
	kind, v := word(v)
	addr, _ := word(v)
	if string(net) != "IN" || string(kind) != "IP4" && string(kind) != "IP6" {
		return netip.Addr{}, false
	}
	addr, _, _ = bytes.Cut(addr, []byte("/"))
	return address(addr)
}

func address(b []byte) (netip.Addr, bool) {
	if len(b) > 45 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(b))
	return a.Unmap().WithZone(""), err == nil
}

// word splits b at the next blank.
func word(b []byte) (w, rest []byte) {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for i, c := range b {
		if c == ' ' || c == '\t' {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// number parses an unsigned decimal number of at most limit.
func number(b []byte, limit int) (int, bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= limit
}

// clip shortens a name to its first bytes and keeps only printable ASCII.
func clip(b []byte) string {
	switch string(b) {
	case "audio":
		return "audio"
	case "RTP/AVP":
		return "RTP/AVP"
	case "RTP/SAVP":
		return "RTP/SAVP"
	}
	c := make([]byte, min(len(b), maxField))
	for i := range c {
		if c[i] = b[i]; c[i] < 0x21 || c[i] > 0x7e {
			c[i] = '?'
		}
	}
	return string(c)
}

// StaticPayload returns the encoding name and the clock rate in Hz that RFC
// 3551 section 6 assigns to a payload type, or "" and 0.
func StaticPayload(pt uint8) (name string, rate int) {
	switch pt {
	case 0:
		return "PCMU", 8000
	case 3:
		return "GSM", 8000
	case 4:
		return "G723", 8000
	case 5:
		return "DVI4", 8000
	case 6:
		return "DVI4", 16000
	case 7:
		return "LPC", 8000
	case 8:
		return "PCMA", 8000
	case 9:
		return "G722", 8000 // an error that is kept for compatibility makes the rate 8000
	case 10, 11:
		return "L16", 44100
	case 12:
		return "QCELP", 8000
	case 13:
		return "CN", 8000
	case 14:
		return "MPA", 90000
	case 15:
		return "G728", 8000
	case 16:
		return "DVI4", 11025
	case 17:
		return "DVI4", 22050
	case 18:
		return "G729", 8000
	case 25:
		return "CelB", 90000
	case 26:
		return "JPEG", 90000
	case 28:
		return "nv", 90000
	case 31:
		return "H261", 90000
	case 32:
		return "MPV", 90000
	case 33:
		return "MP2T", 90000
	case 34:
		return "H263", 90000
	}
	return "", 0
}
