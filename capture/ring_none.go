//go:build !linux || !cgo

package capture

import "github.com/google/gopacket"

func isRingTimeout(error) bool { return false }

func ringTag(*gopacket.CaptureInfo) (tci uint16, ok bool) { return 0, false }
