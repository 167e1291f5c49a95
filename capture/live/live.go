// Package live captures from network interfaces, with libpcap wherever that
// exists and on Linux with an AF_PACKET ring (TPACKET_V3). Several interfaces,
// and several rings of one, become one source of packets in order of time. An
// interface that vanishes is waited for and opened again.
package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/gopacket"
)

// The methods of capture.
const (
	Auto     = "auto"     // AF_PACKET where it works, else libpcap
	Pcap     = "pcap"     // libpcap, Npcap
	AFPacket = "afpacket" // Linux
)

// Methods are the methods that Options.Method can name.
func Methods() []string { return []string{Auto, Pcap, AFPacket} }

// Limits of Options.
const (
	MaxWorkers = 64
	MaxSnapLen = 256 << 10 // bytes; more is not asked for, as it never comes
)

// Options says how an interface is captured from.
type Options struct {
	// Interface is its name.
	Interface string
	// Method is one of Methods; empty means Auto.
	Method string
	// Workers is the number of AF_PACKET rings that share the interface's
	// frames, both directions of a flow in one ring; less than 1 means 1. libpcap
	// always takes one.
	Workers int
	// SnapLen is how many bytes of a frame are captured at most; 0 means
	// MaxSnapLen.
	SnapLen int
	// BufferSize is the size in bytes of the kernel's buffer for the interface;
	// 0 means 64 MiB.
	BufferSize int
	// Promiscuous takes frames that are not addressed to the interface.
	Promiscuous bool
	// TimestampType names a source of time stamps (pcap-tstamp(7)); empty is the
	// kernel's clock. Only libpcap can choose.
	TimestampType string
	// Filter is a BPF expression; see capture.FilterExpression.
	Filter string
	// KeepFrames sets Packet.Frame.
	KeepFrames bool
	// DuplicateWindow is that of capture.Options.
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

// handle is an open pcap handle or AF_PACKET ring.
type handle interface {
	gopacket.ZeroCopyPacketDataSource
	Close()
	// counts returns what was read since the handle was opened, and what was
	// lost in the kernel's buffer and in the interface. It may be called by any
	// goroutine.
	counts() counts
}

type counts struct{ frames, kernel, iface uint64 }

func (c counts) plus(d counts) counts {
	return counts{c.frames + d.frames, c.kernel + d.kernel, c.iface + d.iface}
}

// opened is an interface that was opened: one handle a worker.
type opened struct {
	handles []handle
	link    int    // link type
	method  string // the one that was used
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

// explain adds what can be done about an error.
func explain(err error) error {
	if denied(err) {
		return fmt.Errorf("%w (capturing needs root or the capability CAP_NET_RAW)", err)
	}
	return err
}

// denied reports whether err is one of missing privileges.
func denied(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, os.ErrPermission) ||
		strings.Contains(err.Error(), "Operation not permitted") || strings.Contains(err.Error(), "Permission Denied") ||
		strings.Contains(err.Error(), "permission to capture")
}

// mentionsTags reports whether an expression speaks of tags and labels that the
// kernel may have taken off a frame.
func mentionsTags(expr string) bool {
	for _, w := range strings.FieldsFunc(expr, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		switch w {
		case "vlan", "mpls", "pppoes", "pppoed", "geneve", "vxlan":
			return true
		}
	}
	return false
}
