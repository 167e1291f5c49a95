//go:build linux && cgo

package live

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/afpacket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/exspan/exspan/capture"
)

// The geometry of the ring. The kernel hands over a block when it is full or after
// blockTimeout, and a frame never spans two blocks. So at low rates the number of
// blocks determines for how long the ring holds frames: 256 blocks of 40 ms, 10 s.
const (
	ringBlock    = 256 << 10
	blockTimeout = 40 * time.Millisecond
)

// ring is one AF_PACKET ring.
type ring struct {
	t      *afpacket.TPacket
	name   string
	iface  *net.Interface // set in the first ring of an interface only, which counts the losses of that
	since  time.Time      // earlier frames are ignored, because every ring of the interface got them
	frames atomic.Uint64

	mu        sync.Mutex // held by Close and counts
	closed    bool
	promisc   int // a socket that keeps the interface promiscuous, or -1
	lastDrops uint32
	lastIface uint64
	sum       counts
}

// sysfs reads a number about an interface from /sys. That folder shows one network
// namespace, which may be another than ours.
func sysfs(iface *net.Interface, what string) uint64 {
	number := func(file string) uint64 {
		b, err := os.ReadFile("/sys/class/net/" + iface.Name + "/" + file)
		if err != nil {
			return 0
		}
		n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		return n
	}
	if number("ifindex") != uint64(iface.Index) {
		return 0
	}
	return number(what)
}

// hardware returns an interface's type (ARPHRD_ value).
func hardware(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, errors.New("not the name of an interface")
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, request); err != nil {
		return 0, err
	}
	return int(request.Uint16()), nil
}

// ringFits returns an error if AF_PACKET cannot capture from an interface.
func ringFits(o Options) error {
	if o.TimestampType != "" {
		return errors.New("only libpcap can select the type of time stamps")
	}
	kind, err := hardware(o.Interface)
	switch {
	case errors.Is(err, unix.ENODEV):
		return errors.New("no such interface")
	case err != nil:
		return err
	case kind == unix.ARPHRD_LOOPBACK:
		return errors.New("AF_PACKET sees each frame of the loopback interface twice; use libpcap")
	case kind != unix.ARPHRD_ETHER:
		return fmt.Errorf("not an Ethernet interface (type %d), which AF_PACKET needs; use libpcap", kind)
	}
	if iface, err := net.InterfaceByName(o.Interface); err == nil && iface.Flags&net.FlagUp == 0 {
		return errDown // a ring can be bound to it, but fails at once
	}
	return nil
}

var errDown = errors.New("the interface is down")

// fanoutIDs number the groups of rings that share frames.
var fanoutIDs atomic.Uint32

func openRings(o Options) (op *opened, err error) {
	program, err := socketFilter(o)
	if err != nil {
		return nil, err
	}
	rings := &opened{link: capture.LinkEthernet, method: AFPacket}
	defer func() {
		if err != nil {
			for _, h := range rings.handles {
				h.Close()
			}
		}
	}()
	id := uint16(os.Getpid()) + uint16(fanoutIDs.Add(1))*4096
	blocks := max(o.BufferSize/o.Workers/ringBlock, 4)
	for i := range o.Workers {
		t, err := afpacket.NewTPacket(afpacket.OptInterface(o.Interface), afpacket.TPacketVersion3,
			afpacket.OptFrameSize(4096), afpacket.OptBlockSize(ringBlock), afpacket.OptNumBlocks(blocks),
			afpacket.OptBlockTimeout(blockTimeout), afpacket.OptPollTimeout(readTimeout))
		if err != nil {
			return nil, err
		}
		r := &ring{t: t, name: o.Interface, promisc: -1}
		rings.handles = append(rings.handles, r)
		if err := t.SetBPF(program); err != nil {
			return nil, err
		}
		if o.Workers > 1 {
			// The kernel hashes both directions of a flow alike, and reassembles
			// fragments first, so a flow stays in one ring.
			if err := t.SetFanout(afpacket.FanoutHashWithDefrag, id); err != nil {
				return nil, fmt.Errorf("fanout: %w", err)
			}
		}
		if o.Promiscuous && i == 0 {
			if r.promisc, err = promiscuous(o.Interface); err != nil {
				return nil, fmt.Errorf("promiscuous mode: %w", err)
			}
		}
		if i == 0 {
			if r.iface, err = net.InterfaceByName(o.Interface); err != nil {
				return nil, err
			}
			r.lastIface = interfaceDrops(r.iface)
		}
	}
	if o.Workers > 1 {
		// Before the last ring had joined, frames went to more than one.
		now := time.Now()
		for _, h := range rings.handles {
			h.(*ring).since = now
		}
	}
	return rings, nil
}

// socketFilter returns the filter for the kernel. The kernel sees frames without
// their outermost tag, so it cannot apply expressions on tags; frames are filtered
// again once the tag is restored.
func socketFilter(o Options) ([]bpf.RawInstruction, error) {
	if o.Filter == "" || mentionsTags(o.Filter) {
		return []bpf.RawInstruction{{Op: 0x06, K: uint32(o.SnapLen)}}, nil // ret
	}
	code, err := compile(capture.FilterExpression(o.Filter, capture.LinkEthernet), capture.LinkEthernet, o.SnapLen)
	if err != nil {
		return nil, err
	}
	raw := make([]bpf.RawInstruction, len(code))
	for i, c := range code {
		raw[i] = bpf.RawInstruction{Op: c.code, Jt: c.jt, Jf: c.jf, K: c.k}
	}
	return raw, nil
}

// promiscuous makes the interface promiscuous while the returned socket is open
// (packet(7)).
func promiscuous(name string) (int, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	mreq := unix.PacketMreq{Ifindex: int32(iface.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// interfaceDrops returns the number of frames lost in an interface, as libpcap counts
// them.
func interfaceDrops(iface *net.Interface) uint64 {
	return sysfs(iface, "statistics/rx_missed_errors") + sysfs(iface, "statistics/rx_fifo_errors")
}

func (r *ring) ZeroCopyReadPacketData() (data []byte, info gopacket.CaptureInfo, err error) {
	for {
		data, info, err = r.t.ZeroCopyReadPacketData()
		if err != nil {
			return data, info, r.explain(err)
		}
		if !r.since.IsZero() {
			if info.Timestamp.Before(r.since) {
				continue
			}
			r.since = time.Time{}
		}
		r.frames.Add(1)
		return data, info, nil
	}
}

func (r *ring) explain(err error) error {
	if !errors.Is(err, afpacket.ErrPoll) {
		return err
	}
	if _, serr := net.InterfaceByName(r.name); serr != nil {
		return errors.New("the interface is gone")
	}
	return errDown
}

func (r *ring) Close() {
	r.counts()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	r.t.Close()
	if r.promisc >= 0 {
		_ = unix.Close(r.promisc)
	}
}

func (r *ring) counts() counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		if _, s, err := r.t.SocketStats(); err == nil {
			// The sums are of 32 bits, and go round.
			drops := uint32(s.Drops())
			r.sum.kernel += uint64(drops - r.lastDrops)
			r.lastDrops = drops
		}
		if r.iface != nil {
			if n := interfaceDrops(r.iface); n >= r.lastIface {
				r.sum.iface += n - r.lastIface
				r.lastIface = n
			}
		}
	}
	r.sum.frames = r.frames.Load()
	return r.sum
}
