package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

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

// ring is one AF_PACKET ring (packet_mmap.rst of the kernel's documentation). Its
// frames stay in the memory that is shared with the kernel until their block is
// returned.
type ring struct {
	name   string
	iface  *net.Interface // set in the first ring of an interface only, which counts the losses of that
	since  int64          // nanoseconds; earlier frames are ignored, because every ring of the interface got them
	frames atomic.Uint64

	mem      []byte
	next     int           // the block that comes next
	block    []byte        // the block at hand
	at, left uint32        // its frames to come: where the first of them is, and how many there are
	returned chan struct{} // has room for one
	timer    *time.Timer

	mu      sync.Mutex // of all below
	fd      int        // or -1
	lent    int        // blocks that are not returned
	promisc int        // a socket that keeps the interface promiscuous, or -1
	closed  bool
	last    uint64 // frames lost in the interface, at the last look
	sum     counts
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
	for i := range o.Workers {
		r, err := openRing(o, program)
		if err != nil {
			return nil, err
		}
		rings.handles = append(rings.handles, r)
		if o.Workers > 1 {
			// The kernel hashes both directions of a flow alike, and reassembles
			// fragments first, so a flow stays in one ring.
			const mode uint32 = unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_DEFRAG
			if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, int(int32(mode<<16|uint32(id)))); err != nil {
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
			r.last = interfaceDrops(r.iface)
		}
	}
	if o.Workers > 1 {
		// Before the last ring had joined, frames went to more than one.
		now := time.Now().UnixNano()
		for _, h := range rings.handles {
			h.(*ring).since = now
		}
	}
	return rings, nil
}

// openRing opens one ring. The socket gets no frames until it is bound, when all else
// is set up.
func openRing(o Options, program []unix.SockFilter) (r *ring, err error) {
	iface, err := net.InterfaceByName(o.Interface)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, fmt.Errorf("TPACKET_V3: %w", err)
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	blocks := max(o.BufferSize/o.Workers/ringBlock, 4)
	const frame = 2048 // only has to divide the size of a block
	geometry := unix.TpacketReq3{Block_size: ringBlock, Block_nr: uint32(blocks), Frame_size: frame,
		Frame_nr: uint32(blocks * (ringBlock / frame)), Retire_blk_tov: uint32(blockTimeout / time.Millisecond)}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &geometry); err != nil {
		return nil, fmt.Errorf("ring of %d MiB: %w", blocks*ringBlock>>20, err)
	}
	mem, err := unix.Mmap(fd, 0, blocks*ringBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff}) // in network order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}); err != nil {
		_ = unix.Munmap(mem)
		return nil, err
	}
	return &ring{name: o.Interface, fd: fd, mem: mem, promisc: -1,
		returned: make(chan struct{}, 1), timer: time.NewTimer(0)}, nil
}

// socketFilter returns the filter for the kernel. The kernel sees frames without
// their outermost tag, so it cannot apply expressions on tags; frames are filtered
// again once the tag is restored.
func socketFilter(o Options) ([]unix.SockFilter, error) {
	if o.Filter == "" || mentionsTags(o.Filter) {
		return []unix.SockFilter{{Code: 0x06, K: uint32(o.SnapLen)}}, nil // ret
	}
	code, err := compile(capture.FilterExpression(o.Filter, capture.LinkEthernet), capture.LinkEthernet, o.SnapLen)
	if err != nil {
		return nil, err
	}
	program := make([]unix.SockFilter, len(code))
	for i, c := range code {
		program[i] = unix.SockFilter{Code: c.code, Jt: c.jt, Jf: c.jf, K: c.k}
	}
	return program, nil
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

// silence is the error of a ring that got nothing for a while.
type silence struct{}

func (silence) Error() string { return "nothing was captured for a while" }
func (silence) Timeout() bool { return true }

// status returns the status of a block, which the kernel and this program pass to
// each other (TP_STATUS_KERNEL and TP_STATUS_USER).
func (r *ring) status(block int) *uint32 {
	return &(*unix.TpacketHdrV1)(unsafe.Pointer(&r.head(block).Hdr)).Block_status
}

func (r *ring) head(block int) *unix.TpacketBlockDesc {
	return (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.mem[block*ringBlock]))
}

// Lend implements capture.Lender.
func (r *ring) Lend() (int, error) {
	n := r.next
	if atomic.LoadUint32(r.status(n))&unix.TP_STATUS_USER == 0 {
		if err := r.wait(r.status(n)); err != nil {
			return 0, err
		}
	}
	r.next = (n + 1) % (len(r.mem) / ringBlock)
	r.mu.Lock()
	r.lent++
	r.mu.Unlock()
	head := (*unix.TpacketHdrV1)(unsafe.Pointer(&r.head(n).Hdr))
	r.block, r.at, r.left = r.mem[n*ringBlock:(n+1)*ringBlock], head.Offset_to_first_pkt, head.Num_pkts
	r.frames.Add(uint64(r.left))
	return n, nil
}

// Next implements capture.Lender.
func (r *ring) Next(f *capture.LentFrame) bool {
	for r.left > 0 {
		h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.block[r.at]))
		begin := r.at + uint32(h.Mac)
		end := begin + h.Snaplen
		r.at += h.Next_offset
		r.left--
		f.Time = int64(h.Sec)*int64(time.Second) + int64(h.Nsec)
		if f.Time < r.since {
			r.frames.Add(^uint64(0))
			continue
		}
		f.Data, f.Wire = r.block[begin:end:end], h.Len
		if h.Status&unix.TP_STATUS_VLAN_VALID != 0 && h.Snaplen >= 12 {
			f.Data, f.Wire = tagged(r.block[begin-4:end:end], h), h.Len+4
		}
		return true
	}
	return false
}

// wait waits until a block is handed over. poll waits only while the block before it
// is the kernel's, so first comes a time in which lent blocks are looked after.
func (r *ring) wait(status *uint32) error {
	for end := time.Now().Add(readTimeout); r.lends(); {
		if time.Now().After(end) {
			return silence{}
		}
		r.timer.Reset(time.Millisecond)
		select {
		case <-r.returned:
		case <-r.timer.C:
		}
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER != 0 {
			return nil
		}
	}
	for atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
		poll := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
		switch n, err := unix.Poll(poll, int(readTimeout/time.Millisecond)); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return silence{}
		case poll[0].Revents&unix.POLLERR != 0:
			return r.explain()
		}
	}
	return nil
}

// lends reports whether blocks are not returned yet.
func (r *ring) lends() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lent > 0
}

// tagged puts the outermost VLAN tag, which the kernel took off, back into a frame. b
// has room for it before the frame, where the kernel has put the address of the
// sender (struct sockaddr_ll).
func tagged(b []byte, h *unix.Tpacket3Hdr) []byte {
	copy(b, b[4:16])
	kind := uint16(unix.ETH_P_8021Q)
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		kind = h.Hv1.Vlan_tpid
	}
	binary.BigEndian.PutUint16(b[12:], kind)
	binary.BigEndian.PutUint16(b[14:], uint16(h.Hv1.Vlan_tci))
	return b
}

// explain returns why poll failed.
func (r *ring) explain() error {
	if _, err := net.InterfaceByName(r.name); err != nil {
		return errors.New("the interface is gone")
	}
	return errDown
}

// Return implements capture.Lender.
func (r *ring) Return(block int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	atomic.StoreUint32(r.status(block), unix.TP_STATUS_KERNEL)
	r.lent--
	r.unmap()
	select {
	case r.returned <- struct{}{}:
	default:
	}
}

// unmap frees the memory when nobody uses it any more.
func (r *ring) unmap() {
	if r.closed && r.lent == 0 && r.mem != nil {
		_ = unix.Munmap(r.mem)
		r.mem = nil
	}
}

// Close implements capture.Lender. Blocks that are lent stay valid.
func (r *ring) Close() {
	r.counts()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	_ = unix.Close(r.fd)
	if r.promisc >= 0 {
		_ = unix.Close(r.promisc)
	}
	r.unmap()
}

func (r *ring) counts() counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		// Reading these counters sets them to 0.
		if s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.sum.kernel += uint64(s.Drops)
		}
		if r.iface != nil {
			if n := interfaceDrops(r.iface); n >= r.last {
				r.sum.iface += n - r.last
				r.last = n
			}
		}
	}
	r.sum.frames = r.frames.Load()
	return r.sum
}
