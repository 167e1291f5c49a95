//go:build !((cgo || windows) && !nopcap)

package live

import (
	"errors"
	"fmt"
	"net"
	"time"
)

const readTimeout = 100 * time.Millisecond

func openPcap(Options) (*opened, error) {
	return nil, fmt.Errorf("this exspan was built without libpcap: %w", errors.ErrUnsupported)
}

func compile(string, int, int) ([]instruction, error) {
	return nil, errors.New("this exspan was built without libpcap, which BPF expressions need")
}

// List returns the interfaces of the system.
func List() ([]Device, error) {
	found, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []Device
	for _, f := range found {
		d := Device{Name: f.Name, Up: f.Flags&net.FlagUp != 0, Running: f.Flags&net.FlagRunning != 0, Loopback: f.Flags&net.FlagLoopback != 0}
		addresses, err := f.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				d.Addresses = append(d.Addresses, n.IP.String())
			}
		}
		list = append(list, d)
	}
	return list, nil
}
