//go:build (cgo || windows) && !nopcap

package live

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcap"

	"github.com/exspan/exspan/capture"
)

// readTimeout is the time for which a read waits for a frame. It bounds the delay of
// the last frames before a pause, and of closing a handle.
const readTimeout = 100 * time.Millisecond

// pcapHandle is a libpcap handle with 64-bit counters.
type pcapHandle struct {
	h      *pcap.Handle
	frames atomic.Uint64

	mu     sync.Mutex // guards against reading statistics of a closed handle
	closed bool
	last   pcap.Stats
	sum    counts
}

func openPcap(o Options) (*opened, error) {
	in, err := pcap.NewInactiveHandle(o.Interface)
	if err != nil {
		return nil, err
	}
	defer in.CleanUp()
	err = errors.Join(in.SetSnapLen(o.SnapLen), in.SetPromisc(o.Promiscuous), in.SetTimeout(readTimeout), in.SetBufferSize(o.BufferSize))
	if err != nil {
		return nil, err
	}
	if o.TimestampType != "" {
		if err := setTimestamps(in, o.TimestampType); err != nil {
			return nil, err
		}
	}
	h, err := in.Activate()
	if err != nil {
		// The handle has the message of libpcap, the error only its kind.
		if text := in.Error(); text != nil && text.Error() != "" && text.Error() != err.Error() {
			err = fmt.Errorf("%w: %w", err, text)
		}
		return nil, err
	}
	if o.Filter != "" {
		if err := setFilter(h, o.Filter); err != nil {
			h.Close()
			return nil, err
		}
	}
	return &opened{[]handle{&pcapHandle{h: h}}, linkOf(h), Pcap}, nil
}

// linkOf returns the LINKTYPE_ value of a handle. libpcap's own numbers (DLT_)
// are the same except for raw IP.
func linkOf(h *pcap.Handle) int {
	switch l := int(h.LinkType()); l {
	case 12, 14:
		return capture.LinkRaw
	default:
		return l
	}
}

func setTimestamps(in *pcap.InactiveHandle, name string) error {
	source, err := pcap.TimestampSourceFromString(name)
	if err != nil {
		return fmt.Errorf("unknown type of time stamps %q", name)
	}
	offered := in.SupportedTimestamps()
	if len(offered) > 0 && !slices.Contains(offered, source) {
		names := make([]string, len(offered))
		for i, s := range offered {
			names[i] = s.String()
		}
		return fmt.Errorf("no time stamps of type %s; the interface has %v", name, names)
	}
	return in.SetTimestampSource(source)
}

// setFilter sets the filter of libpcap. Code that libpcap compiles for a live handle
// finds the tags that the kernel has stripped, so it gets expressions on tags as
// they are. All others are rewritten, so that they also match frames with a tag.
func setFilter(h *pcap.Handle, expr string) error {
	if mentionsTags(expr) {
		return h.SetBPFFilter(expr)
	}
	full := capture.FilterExpression(expr, linkOf(h))
	program, err := pcap.CompileBPFFilter(h.LinkType(), MaxSnapLen, full)
	if err != nil {
		return err
	}
	return h.SetBPFInstructionFilter(program)
}

func (p *pcapHandle) ZeroCopyReadPacketData() (data []byte, info gopacket.CaptureInfo, err error) {
	data, info, err = p.h.ZeroCopyReadPacketData()
	if err == nil {
		p.frames.Add(1)
		return data, info, nil
	}
	if errors.Is(err, pcap.NextErrorReadError) {
		if text := p.h.Error(); text != nil && text.Error() != "" {
			err = text
		}
	}
	return data, info, err
}

func (p *pcapHandle) Close() {
	p.counts()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.h.Close()
}

func (p *pcapHandle) counts() counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		if s, err := p.h.Stats(); err == nil {
			// The counters of libpcap have 32 bits and wrap around.
			p.sum.kernel += uint64(uint32(s.PacketsDropped) - uint32(p.last.PacketsDropped))
			p.sum.iface += uint64(uint32(s.PacketsIfDropped) - uint32(p.last.PacketsIfDropped))
			p.last = *s
		}
	}
	p.sum.frames = p.frames.Load()
	return p.sum
}

// compile translates an expression into a socket filter that passes snap bytes of a
// frame.
func compile(expr string, link, snap int) ([]instruction, error) {
	program, err := pcap.CompileBPFFilter(layers.LinkType(link), snap, expr)
	if err != nil {
		return nil, err
	}
	code := make([]instruction, len(program))
	for i, p := range program {
		code[i] = instruction{p.Code, p.Jt, p.Jf, p.K}
	}
	return code, nil
}

// List returns the interfaces to capture from.
func List() ([]Device, error) {
	found, err := pcap.FindAllDevs()
	if err != nil {
		return nil, err
	}
	var list []Device
	for _, f := range found {
		d := Device{Name: f.Name, Description: f.Description, Up: f.Flags&flagUp != 0, Running: f.Flags&flagRunning != 0,
			Loopback: f.Flags&flagLoopback != 0}
		for _, a := range f.Addresses {
			d.Addresses = append(d.Addresses, a.IP.String())
		}
		list = append(list, d)
	}
	return list, nil
}

// Flags of pcap_if (pcap/pcap.h).
const (
	flagLoopback = 1
	flagUp       = 2
	flagRunning  = 4
)
