// Package ipsec recognises IPsec: IKE (RFC 2408, RFC 7296) by its header, and ESP in UDP
// (RFC 3948) by its sequence numbers. It ignores their payloads.
package ipsec

import (
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
)

const (
	port      = 500
	portNAT   = 4500
	lenHeader = 28

	version1 = 0x10
	version2 = 0x20
)

// IKE describes IKE versions 1 and 2.
func IKE() observe.Protocol {
	const versions = 0xff << 48 // in the bytes from the 16th on
	return observe.Protocol{Name: "ike", UDP: []uint16{port, portNAT}, Datagram: true, Detect: detectIKE,
		DatagramPatterns: []observe.Pattern{
			{At: 16, Mask: versions, Value: version1 << 48},
			{At: 16, Mask: versions, Value: version2 << 48},
			{Mask: 0xffffffff << 32}, // after the zeros
		},
		New: func() observe.Observer { return ike{} }}
}

// ESP describes ESP in IP and in UDP.
func ESP() observe.Protocol {
	return observe.Protocol{Name: "esp", UDP: []uint16{portNAT}, Datagram: true, Tentative: true,
		OnPort: true, Detect: detectESP, New: func() observe.Observer { return &esp{} }}
}

// header returns the header of an IKE message (RFC 7296 section 3.1), or nil if data is
// none. It skips the zeros that distinguish IKE from ESP on port 4500.
func header(data []byte) []byte {
	if len(data) > 4 && binary.BigEndian.Uint32(data) == 0 {
		data = data[4:]
	}
	if len(data) < lenHeader {
		return nil
	}
	exchange := data[18]
	switch data[17] {
	case version1: // base, identity protection, authentication only, aggressive, informational, transaction, quick, new group
		if exchange < 1 || exchange > 6 && exchange != 32 && exchange != 33 {
			return nil
		}
	case version2: // IKE_SA_INIT to INFORMATIONAL, and later exchanges up to IKE_FOLLOWUP_KE
		if exchange < 34 || exchange > 44 {
			return nil
		}
	default:
		return nil
	}
	if int(binary.BigEndian.Uint32(data[24:])) != len(data) || binary.BigEndian.Uint64(data) == 0 {
		return nil
	}
	return data
}

func detectIKE(f *observe.First) observe.Match {
	data := f.ToServer
	if len(data) == 0 {
		data = f.ToClient
	}
	if f.Datagram && header(data) != nil {
		return observe.Yes
	}
	return observe.No
}

type ike struct{}

// Observe reports the version. ESP can follow in the same flow.
func (ike) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if h := header(in.Data); h != nil {
		r.Facts.Add("ike.version", string('0'+h[17]>>4))
	} else if len(in.Data) >= minESP && binary.BigEndian.Uint32(in.Data) > maxReserved {
		r.Facts.Add("encryption", "esp")
	}
	return len(in.Data), nil
}

const (
	maxReserved = 255 // reserved SPIs (RFC 4303 section 2.1)
	minESP      = 8 + 2 + 12
	maxAhead    = 1 << 10 // maximum step from one sequence number to the next
)

func detectESP(f *observe.First) observe.Match {
	data := f.ToServer
	if len(data) == 0 {
		data = f.ToClient
	}
	if f.Datagram && f.OnPort && len(data) >= minESP && binary.BigEndian.Uint32(data) > maxReserved {
		return observe.Yes
	}
	return observe.No
}

// esp holds the SPI and the sequence number of the last datagram in each direction.
type esp struct {
	spi, seq [2]uint32
}

// Observe reports ESP if a second datagram continues the sequence of the first one.
func (e *esp) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if len(in.Data) < minESP {
		return len(in.Data), nil // a NAT keep-alive, or IKE
	}
	spi, seq, d := binary.BigEndian.Uint32(in.Data), binary.BigEndian.Uint32(in.Data[4:]), in.Dir
	if e.spi[d] == spi {
		if seq-e.seq[d]-1 < maxAhead {
			r.Facts.Add("encryption", "esp")
			return 0, observe.ErrDone
		}
	} else if e.spi[d] != 0 {
		return 0, observe.ErrViolation
	}
	e.spi[d], e.seq[d] = spi, seq
	return len(in.Data), nil
}
