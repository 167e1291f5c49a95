//go:build linux

// Command send sends the frames of a capture into an interface, as fast as asked for
// or as it can.
//
//	send -i INTERFACE [-rate N] [-seconds S] [-senders N] [-burst N] [-frames N] CAPTURE
//
// The capture is repeated, each time with other addresses. Each sender takes whole
// flows, so that their packets stay in order. At the end it prints one line: frames
// sent, seconds, frames per second, and frames that the kernel refused.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/exspan/exspan/capture"
)

func main() {
	name := flag.String("i", "", "`INTERFACE` to send from")
	rate := flag.Float64("rate", 0, "frames per second of all senders; 0 means as many as possible")
	seconds := flag.Float64("seconds", 5, "how long to send")
	senders := flag.Int("senders", 1, "number of threads that send")
	burst := flag.Int("burst", 64, "frames that are sent at a time")
	most := flag.Int("frames", 200_000, "frames of the capture that are used")
	flag.Parse()
	if *name == "" || flag.NArg() != 1 || *senders < 1 || *burst < 1 || *seconds <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*name, flag.Arg(0), *rate, *seconds, *senders, *burst, *most); err != nil {
		fmt.Fprintln(os.Stderr, "send:", err)
		os.Exit(1)
	}
}

func run(name, file string, rate, seconds float64, senders, burst, most int) error {
	loads, err := load(name, file, senders, most)
	if err != nil {
		return err
	}
	all := 0
	for _, l := range loads {
		all += len(l)
	}
	duration := time.Duration(seconds * float64(time.Second))
	var group sync.WaitGroup
	sent, refused, errs := make([]int, senders), make([]int, senders), make([]error, senders)
	begin := time.Now()
	for i, l := range loads {
		share := rate * float64(len(l)) / float64(all)
		group.Go(func() { sent[i], refused[i], errs[i] = send(name, l, share, begin, duration, burst) })
	}
	group.Wait()
	took := time.Since(begin).Seconds()
	n, lost := 0, 0
	for i := range sent {
		n, lost = n+sent[i], lost+refused[i]
	}
	fmt.Printf("sent %d frames in %.3f s: %.0f frames/s, %d refused\n", n, took, float64(n)/took, lost)
	return errors.Join(errs...)
}

// frame is a frame, and where its IPv4 addresses are and what sums them up.
type frame struct {
	data      []byte
	addresses int // 0 for none
	sums      [2]int
}

// load reads the frames that fit the interface, and divides them by flow.
func load(name, file string, senders, most int) ([][]frame, error) {
	mtu, err := mtuOf(name)
	if err != nil {
		return nil, err
	}
	files, err := capture.OpenFiles([]string{file}, capture.Options{Frames: true})
	if err != nil {
		return nil, err
	}
	defer files.Close()
	loads := make([][]frame, senders)
	for range most {
		var raw capture.RawFrame
		if err := files.NextFrame(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if raw.LinkType != capture.LinkEthernet || len(raw.Data) > mtu+14 || len(raw.Data) < 14 {
			continue
		}
		f := frame{data: append([]byte(nil), raw.Data...)}
		hash := f.find()
		loads[hash%uint32(senders)] = append(loads[hash%uint32(senders)], f)
	}
	for i, l := range loads {
		if len(l) == 0 {
			return nil, fmt.Errorf("%s: no frames for sender %d of %d", file, i+1, senders)
		}
	}
	return loads, errors.Join(files.Errors()...)
}

func mtuOf(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFMTU, request)
	return int(request.Uint32()), err
}

// find finds what turn changes, and returns a hash of the flow.
func (f *frame) find() uint32 {
	b, off := f.data, 12
	for len(b) > off+4 && b[off] == 0x81 && b[off+1] == 0 {
		off += 4
	}
	ip := off + 2
	if len(b) < ip+40 || b[off] != 0x08 || b[off+1] != 0 {
		return 0
	}
	l4 := ip + int(b[ip]&0xf)*4
	f.addresses, f.sums[0] = ip+12, ip+10
	hash := uint32(b[ip+12]^b[ip+16])*31 + uint32(b[ip+13]^b[ip+17])*37 + uint32(b[ip+14]^b[ip+18])*41 + uint32(b[ip+15]^b[ip+19])
	if b[ip+6]&0x3f != 0 || b[ip+7] != 0 || len(b) < l4+20 {
		return hash
	}
	switch b[ip+9] {
	case unix.IPPROTO_TCP:
		f.sums[1] = l4 + 16
	case unix.IPPROTO_UDP:
		f.sums[1] = l4 + 6
	default:
		return hash
	}
	return hash + uint32(b[l4]^b[l4+2])*43 + uint32(b[l4+1]^b[l4+3])
}

// turn adds one to the second octet of both addresses.
func (f *frame) turn() {
	if f.addresses == 0 || f.data[f.addresses] >= 224 || f.data[f.addresses+4] >= 224 {
		return
	}
	for i := 1; i <= 5; i += 4 {
		octet := &f.data[f.addresses+i]
		before := uint16(*octet)
		*octet++
		for _, at := range f.sums {
			if at == 0 || f.data[at] == 0 && f.data[at+1] == 0 {
				continue
			}
			s := uint32(^(uint16(f.data[at])<<8 | uint16(f.data[at+1]))) + uint32(^before) + uint32(*octet)
			s = s&0xffff + s>>16
			s = s&0xffff + s>>16
			f.data[at], f.data[at+1] = byte(^s>>8), byte(^s)
		}
	}
}

type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// send sends frames for a while, in bursts. The error is that of setting up.
func send(name string, frames []frame, rate float64, begin time.Time, duration time.Duration, burst int) (sent, refused int, err error) {
	runtime.LockOSThread()
	fd, err := open(name)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	messages, vectors := make([]message, burst), make([]unix.Iovec, burst)
	for at := 0; ; {
		passed := time.Since(begin)
		if passed >= duration {
			return sent, refused, nil
		}
		if due := time.Duration(float64(sent) / rate * float64(time.Second)); rate > 0 && due > passed {
			if due-passed > time.Millisecond {
				time.Sleep(due - passed - time.Millisecond/2)
			}
			continue
		}
		n := min(burst, len(frames)-at)
		for i, f := range frames[at : at+n] {
			vectors[i] = unix.Iovec{Base: &f.data[0], Len: uint64(len(f.data))}
			messages[i].header.Iov, messages[i].header.Iovlen = &vectors[i], 1
		}
		for done := 0; done < n; {
			m, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[done])), uintptr(n-done), 0, 0, 0)
			if errno != 0 { // of the first
				refused++
				m = 1
			} else {
				sent += int(m)
			}
			done += int(m)
		}
		for i := at; i < at+n; i++ {
			frames[i].turn()
		}
		at = (at + n) % len(frames)
	}
}

// open opens a socket that sends to an interface, past its queue.
func open(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20)
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: int(request.Uint32())})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
