//go:build linux && cgo

package capture

import (
	"errors"

	"github.com/google/gopacket/afpacket"
)

// isRingTimeout says whether err is what an AF_PACKET ring returns when
// nothing arrived for a while.
func isRingTimeout(err error) bool { return errors.Is(err, afpacket.ErrTimeout) }
