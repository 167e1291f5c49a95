//go:build !linux || !cgo

package live

import (
	"errors"
	"fmt"
)

func ringFits(Options) error {
	return fmt.Errorf("AF_PACKET exists on Linux only, in programs built with cgo: %w", errors.ErrUnsupported)
}

func openRings(o Options) (*opened, error) { return nil, ringFits(o) }
