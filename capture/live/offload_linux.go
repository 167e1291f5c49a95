package live

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and flags of linux/ethtool.h.
const (
	ethtoolGGRO   = 0x2b
	ethtoolGFlags = 0x25
	ethFlagLRO    = 1 << 15
)

// Offloads names the receive offloads of an interface, "GRO" and "LRO", that
// merge frames before they are captured, so that packet counts and times are
// not those of the wire. It returns nil if it cannot find out.
func Offloads(name string) []string {
	var on []string
	if v, ok := ethtool(name, ethtoolGGRO); ok && v != 0 {
		on = append(on, "GRO")
	}
	if v, ok := ethtool(name, ethtoolGFlags); ok && v&ethFlagLRO != 0 {
		on = append(on, "LRO")
	}
	return on
}

// ethtool reads one value (struct ethtool_value).
func ethtool(name string, cmd uint32) (uint32, bool) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer func() { _ = unix.Close(fd) }()
	value := struct{ cmd, data uint32 }{cmd: cmd}
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	if len(name) >= len(request.name) {
		return 0, false
	}
	copy(request.name[:], name)
	request.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	return value.data, errno == 0
}
