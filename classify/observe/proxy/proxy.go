// Package proxy reads the header of the PROXY protocol, versions 1 and 2. A load balancer
// sends it before the client's data to give the server the client's address.
//
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
package proxy

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Client is the fact that holds the client's address from a header.
const Client = "proxy.client"

// Header is a header of the PROXY protocol.
type Header struct {
	// Length is the length of the header in bytes.
	Length int
	// Client is the client's address and port. It is invalid if the header has none, as
	// for health checks and unknown transports.
	Client netip.AddrPort
}

const (
	v1    = "PROXY "
	maxV1 = 107 // section 2.1
	v2    = "\r\n\r\n\x00\r\nQUIT\n"
	fixed = 16      // bytes of a header of version 2 before its addresses
	maxV2 = 2 << 10 // maximum length of a header of version 2 in bytes
)

// Begins reports whether a header can begin with b.
func Begins(b byte) bool { return b == v1[0] || b == v2[0] }

// Read returns the header at the start of data, whose length is 0 if there is none. more
// reports that more bytes are needed.
func Read(data []byte) (h Header, more bool) {
	begins := func(with string) bool { k := min(len(data), len(with)); return string(data[:k]) == with[:k] }
	switch {
	case begins(v1):
		return readText(data)
	case begins(v2) && len(data) > len("\r\n\r\n"): // also sent to keep connections alive
		return readBinary(data)
	}
	return h, false
}

// readText parses a header of version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 50123 25", or
// "PROXY UNKNOWN" with anything after it.
func readText(data []byte) (h Header, more bool) {
	i := bytes.Index(data[:min(len(data), maxV1)], []byte("\r\n"))
	if i < 0 {
		return h, len(data) < maxV1
	}
	h.Length = i + 2
	if f := bytes.Split(data[:i], []byte{' '}); len(f) == 6 && (string(f[1]) == "TCP4" || string(f[1]) == "TCP6") {
		if a, err := netip.ParseAddrPort("[" + string(f[2]) + "]:" + string(f[4])); err == nil {
			h.Client = netip.AddrPortFrom(a.Addr().WithZone("").Unmap(), a.Port())
		} else if a, err := netip.ParseAddrPort(string(f[2]) + ":" + string(f[4])); err == nil {
			h.Client = a
		}
	}
	return h, false
}

// readBinary parses a header of version 2.
func readBinary(data []byte) (h Header, more bool) {
	if len(data) < fixed {
		return h, true
	}
	n := fixed + int(binary.BigEndian.Uint16(data[14:]))
	switch {
	case data[12]>>4 != 2 || n > maxV2:
		return h, false
	case n > len(data):
		return h, true
	}
	h.Length = n
	const proxied, inet, inet6 = 1, 1, 2
	if data[12]&0xf != proxied {
		return h, false // the load balancer's own connection
	}
	switch body := data[fixed:n]; {
	case data[13]>>4 == inet && len(body) >= 12:
		h.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
	case data[13]>>4 == inet6 && len(body) >= 36:
		h.Client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
	}
	return h, false
}
