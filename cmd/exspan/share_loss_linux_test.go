package main

import (
	"fmt"
	"math/rand/v2"
	"os"
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
		w.to, w.random = end.to, rand.New(rand.NewPCG(10, uint64(i)))
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

// counts returns what was counted in both directions while the link was bad.
func (l *badLink) counts() (read, lost, held, overtaken int) {
	for i := range l.ways {
		w := &l.ways[i]
		w.mu.Lock()
		read, lost, held, overtaken = read+w.read, lost+w.lost, held+w.held, overtaken+w.overtaken
		w.mu.Unlock()
	}
	return read, lost, held, overtaken
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
	for range 600 {
		if read, lost, _, overtaken := link.counts(); read >= 400 && lost >= 20 && overtaken >= 40 {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	link.bad.Store(false)
	healed := time.Now()
	read, lost, held, overtaken := link.counts()
	t.Logf("of %d packets, %d were lost, %d were held back, and %d were overtaken", read, lost, held, overtaken)
	if read < 400 || lost*100 < read*losePercent/2 || lost*100 > read*losePercent*2 || overtaken*100 < read*5 {
		t.Errorf("the link was not bad enough: of %d packets, %d were lost and %d were overtaken", read, lost, overtaken)
	}
	f.connected(sensorNames...)
	f.heard(endpointsOfA, "b", "c")
	t.Logf("all was known %.1f s after the link had healed", time.Since(healed).Seconds())
	f.check(sensorNames...)
}
