// Package live captures from network interfaces, with libpcap or, on Linux, with
// AF_PACKET rings (TPACKET_V3). It merges several interfaces, and several rings of
// one, into one source of packets in order of time. When an interface vanishes, the
// source waits for it to return.
package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Capture methods.
const (
	Auto     = "auto"     // AF_PACKET where it works, else libpcap
	Pcap     = "pcap"     // libpcap, Npcap
	AFPacket = "afpacket" // Linux
)

// Methods returns the values that Options.Method can have besides the empty string.
func Methods() []string { return []string{Auto, Pcap, AFPacket} }

// Limits of Options.
const (
	MaxWorkers = 64
	MaxSnapLen = 256 << 10 // bytes; no frame is longer
)

// Options holds the settings for one interface.
type Options struct {
	// Interface is the name of the interface.
	Interface string
	// Method is one of Methods; empty means Auto.
	Method string
	// Workers is the number of AF_PACKET rings that share the frames of the
	// interface; less than 1 means 1. Both directions of a flow go to the same ring.
	// libpcap ignores it.
	Workers int
	// SnapLen is the maximum number of bytes to capture of a frame; 0 means
	// MaxSnapLen.
	SnapLen int
	// BufferSize is the size of the kernel buffer for the interface in bytes; 0 means
	// 64 MiB.
	BufferSize int
	// Promiscuous captures frames that are not addressed to the interface, too.
	Promiscuous bool
	// TimestampType names a source of time stamps (pcap-tstamp(7)); empty means the
	// clock of the kernel. Only libpcap supports others.
	TimestampType string
	// Filter is a BPF expression; see capture.FilterExpression.
	Filter string
	// KeepFrames sets Packet.Frame.
	KeepFrames bool
	// DuplicateWindow is the same as in capture.Options.
	DuplicateWindow time.Duration
	// VXLANPorts are UDP ports of VXLAN besides 4789 and 8472.
	VXLANPorts []uint16
}

func (o Options) withDefaults() Options {
	if o.Method == "" {
		o.Method = Auto
	}
	o.Workers = min(max(o.Workers, 1), MaxWorkers)
	if o.SnapLen <= 0 || o.SnapLen > MaxSnapLen {
		o.SnapLen = MaxSnapLen
	}
	if o.BufferSize <= 0 {
		o.BufferSize = 64 << 20
	}
	return o
}

// handle is an open pcap handle or AF_PACKET ring: a gopacket.ZeroCopyPacketDataSource
// or a capture.Lender.
type handle interface {
	Close()
	// counts returns the numbers of frames read, lost in the kernel buffer and lost in
	// the interface since the handle was opened. It may be called by any goroutine.
	counts() counts
}

type counts struct{ frames, kernel, iface uint64 }

func (c counts) plus(d counts) counts {
	return counts{c.frames + d.frames, c.kernel + d.kernel, c.iface + d.iface}
}

// opened is an open interface, with one handle for each worker.
type opened struct {
	handles []handle
	link    int    // link type
	method  string // the method in use
}

// open opens an interface. An error names it.
func open(o Options) (*opened, error) {
	o = o.withDefaults()
	var op *opened
	var err error
	switch o.Method {
	case Pcap:
		op, err = openPcap(o)
	case AFPacket:
		if err = ringFits(o); err == nil {
			op, err = openRings(o)
		}
	case Auto:
		if ringFits(o) == nil {
			if op, err = openRings(o); err == nil {
				return op, nil
			}
		}
		var perr error
		if op, perr = openPcap(o); perr == nil {
			return op, nil
		}
		if err == nil || !errors.Is(perr, errors.ErrUnsupported) {
			err = perr
		}
	default:
		err = fmt.Errorf("unknown method %q; known are %s", o.Method, strings.Join(Methods(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", o.Interface, explain(err))
	}
	return op, nil
}

// explain adds to an error what the operator can do about it.
func explain(err error) error {
	if denied(err) {
		return fmt.Errorf("%w (capturing needs root or the capability CAP_NET_RAW)", err)
	}
	return err
}

// denied reports whether err means that privileges are missing.
func denied(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, os.ErrPermission) ||
		strings.Contains(err.Error(), "Operation not permitted") || strings.Contains(err.Error(), "Permission Denied") ||
		strings.Contains(err.Error(), "permission to capture")
}

// mentionsTags reports whether an expression tests tags or labels that the kernel
// may have stripped from a frame.
func mentionsTags(expr string) bool {
	for _, w := range strings.FieldsFunc(expr, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		switch w {
		case "vlan", "mpls", "pppoes", "pppoed", "geneve", "vxlan":
			return true
		}
	}
	return false
}
