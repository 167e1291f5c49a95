package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// badLink carries packets between the sensors and the hub of a fleet, in place of the
// cable. While it is bad, it loses some and holds others back, so that later ones overtake
// them. It does in the test what netem does in kernels that have it.
type badLink struct {
	bad  atomic.Bool
	ways [2]way // to the hub and from it
}

// way is one direction of a link.
type way struct {
	to     *os.File
	random *rand.Rand

	mu                        sync.Mutex
	read, lost, held          int // while the link was bad
	number, newest, overtaken int // number counts all packets; newest is the highest that was written
}

// Shares of packets, in percent, and how long a packet is held back.
const (
	losePercent = 10
	holdPercent = 25
	holdMin     = 2 * time.Millisecond
	holdMax     = 40 * time.Millisecond
)

// badLink puts a link in place of the cable to the hub: each end is a TUN device, whose
// packets this process reads and writes.
func (f *fleet) badLink() *badLink {
	f.t.Helper()
	f.ip("link del tohub")
	here, there := f.tun("tohub"), f.tun("hub")
	f.ip(fmt.Sprintf("link set hub netns %d", f.holder.Process.Pid))
	f.ip("addr add 10.99.0.1/24 dev tohub")
	f.ip("link set tohub up")
	for i := range sensorNames {
		f.inHub(fmt.Sprintf("ip addr add 10.99.0.%d/24 dev hub", i+2))
	}
	f.inHub("ip link set hub up")
	l := &badLink{}
	for i, end := range []struct{ from, to *os.File }{{here, there}, {there, here}} {
		w := &l.ways[i]
		w.to, w.random = end.to, rand.New(rand.NewPCG(1, uint64(i)))
		go l.carry(w, end.from)
	}
	return l
}

// tun makes a TUN device.
func (f *fleet) tun(name string) *os.File {
	f.t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		f.t.Skipf("there are no TUN devices: %v", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		f.t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	f.t.Cleanup(func() { _ = file.Close() })
	return file
}

// carry carries the packets of one direction until the device is closed.
func (l *badLink) carry(w *way, from *os.File) {
	for b := make([]byte, 64<<10); ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		w.number++
		number := w.number
		if !l.bad.Load() {
			w.write(b[:n], number)
			continue
		}
		dice := w.random.IntN(100)
		w.mu.Lock()
		w.read++
		switch {
		case dice < losePercent:
			w.lost++
		case dice < losePercent+holdPercent:
			w.held++
		}
		w.mu.Unlock()
		switch {
		case dice < losePercent:
		case dice < losePercent+holdPercent:
			p := append([]byte(nil), b[:n]...)
			time.AfterFunc(holdMin+time.Duration(w.random.Int64N(int64(holdMax-holdMin))), func() { w.write(p, number) })
		default:
			w.write(b[:n], number)
		}
	}
}

// write writes packet number to the other end.
func (w *way) write(p []byte, number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.to.Write(p); err != nil {
		return // the end of the test
	}
	if number < w.newest {
		w.overtaken++
	}
	w.newest = max(w.newest, number)
}

// wayCounts are what a way counted while the link was bad.
type wayCounts struct{ read, lost, held, overtaken int }

func (w *way) counts() wayCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return wayCounts{w.read, w.lost, w.held, w.overtaken}
}

// bad reports whether enough happened on a way: at least 150 packets, between a twentieth
// and a fifth of them lost, and at least a twentieth overtaken.
func (c wayCounts) bad() bool {
	return c.read >= 150 && c.lost*20 >= c.read && c.lost*5 <= c.read && c.overtaken*20 >= c.read
}

// tcpCount returns a counter of the network namespace of the test.
func tcpCount(t *testing.T, name string) int {
	t.Helper()
	var names []string
	for line := range strings.Lines(string(mustRead(t, "/proc/thread-self/net/netstat"))) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TcpExt:" {
			continue
		}
		if i := slices.Index(names, name); i >= 0 {
			n, err := strconv.Atoi(fields[i])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		names = fields
	}
	t.Fatalf("there is no counter %s", name)
	return 0
}

// TestShareLoss lets sensors and hub connect and share over a link that loses 10 % of the
// packets, and lets others overtake one another, in both directions.
func TestShareLoss(t *testing.T) {
	f := newFleet(t)
	link := f.badLink()
	f.startHub()
	link.bad.Store(true)
	for _, name := range sensorNames {
		f.start(name)
	}
	f.replayAll(sensorNames...)
	// The link stays bad until enough has happened on it.
	to, from := &link.ways[0], &link.ways[1]
	for range 600 {
		if to.counts().bad() && from.counts().bad() {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	link.bad.Store(false)
	healed := time.Now()
	t.Logf("packets to the hub: %+v; from it: %+v", to.counts(), from.counts())
	if !to.counts().bad() || !from.counts().bad() {
		t.Error("the link was not bad enough")
	}
	// The kernel must have seen it, too; on the loopback interface nothing comes out of order.
	if n := tcpCount(t, "TCPOFOQueue"); n < 5 {
		t.Errorf("the kernel queued %d segments out of order", n)
	}
	f.connected(sensorNames...)
	f.heard(endpointsOfA, "b", "c")
	t.Logf("all was known %.1f s after the link had healed", time.Since(healed).Seconds())
	f.check(sensorNames...)
}
