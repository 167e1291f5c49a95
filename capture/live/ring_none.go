//go:build !linux

package live

import (
	"errors"
	"fmt"
)

func ringFits(Options) error {
	return fmt.Errorf("AF_PACKET exists on Linux only: %w", errors.ErrUnsupported)
}

func openRings(o Options) (*opened, error) { return nil, ringFits(o) }
