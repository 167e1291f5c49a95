//go:build linux && cgo

package capture

import (
	"errors"

	"github.com/google/gopacket"
	"github.com/google/gopacket/afpacket"
)

// isRingTimeout reports whether err is what an AF_PACKET ring returns when
// nothing arrived for a while.
func isRingTimeout(err error) bool { return errors.Is(err, afpacket.ErrTimeout) }

// ringTag returns the VLAN tag that an AF_PACKET ring reports beside a frame.
func ringTag(info *gopacket.CaptureInfo) (tci uint16, ok bool) {
	for _, a := range info.AncillaryData {
		if v, ok := a.(afpacket.AncillaryVLAN); ok {
			return uint16(v.VLAN), true
		}
	}
	return 0, false
}
