package live

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/exspan/exspan/capture"
)

// cable creates a network namespace for the thread of the test, with the two ends "in"
// and "out" of a cable, and returns what sends into it.
func cable(t *testing.T) (send func(frame []byte)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // and never unlocked, so that the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("network namespaces are not possible: %v", err)
	}
	for _, args := range []string{"link add in type veth peer name out", "link set in arp off mtu 9000 up", "link set out arp off mtu 9000 up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", args, err, out)
		}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	request, err := unix.NewIfreq("in")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrLinklayer{Ifindex: int(request.Uint32())}
	return func(frame []byte) {
		if err := unix.Sendto(fd, frame, 0, to); err != nil {
			t.Fatal(err)
		}
	}
}

// openOut opens a source on a small ring.
func openOut(t *testing.T) (*ring, *capture.Lent) {
	t.Helper()
	op, err := open(Options{Interface: "out", Method: AFPacket, BufferSize: 4 * ringBlock})
	if err != nil {
		t.Fatal(err)
	}
	r := op.handles[0].(*ring)
	s, err := capture.NewLent(r, op.link, false, capture.Options{KeepFrames: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return r, s
}

// numbered is a UDP datagram with a number as payload, and with VLAN tags.
func numbered(n, size int, tags ...uint16) []byte {
	b := udp(7)
	binary.BigEndian.PutUint16(b[16:], uint16(28+size))
	binary.BigEndian.PutUint16(b[38:], uint16(8+size))
	payload := make([]byte, size)
	binary.BigEndian.PutUint32(payload, uint32(n))
	b = append(b, payload...)
	for i := len(tags) - 1; i >= 0; i-- {
		kind := uint16(unix.ETH_P_8021Q)
		if i == 0 && len(tags) > 1 {
			kind = unix.ETH_P_8021AD
		}
		tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, kind), tags[i])
		b = append(append(append([]byte(nil), b[:12]...), tag...), b[12:]...)
	}
	return b
}

// TestRingFrames wants frames as they were sent, with the tag that the kernel takes off.
func TestRingFrames(t *testing.T) {
	send := cable(t)
	_, s := openOut(t)
	var sent [][]byte
	for i := range 600 {
		f := numbered(i, 100+i, [][]uint16{nil, {5}, {0x6007, 20}}[i%3]...)
		sent = append(sent, f)
		send(f)
	}
	for n := 0; n < len(sent); {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Packets {
			p := &b.Packets[i]
			if !bytes.Equal(p.Frame.Data, sent[n]) || int(p.Frame.WireLength) != len(sent[n]) {
				t.Fatalf("frame %d of %d bytes is\n% x\nwant\n% x", n, p.Frame.WireLength, p.Frame.Data, sent[n])
			}
			if want := []string{"", "5", "7.20"}[n%3]; p.VLANs.String() != want {
				t.Errorf("frame %d has the tags %s", n, p.VLANs)
			}
			if age := time.Since(time.Unix(0, p.Time)); age < 0 || age > time.Minute {
				t.Errorf("frame %d is %v old", n, age)
			}
			n++
		}
		b.Release()
	}
}

// TestRingFull holds on to all batches until the ring is full: what they hold must not
// change, what finds no room must be counted, and after their release capturing must
// go on. The memory is still there after the ring was closed.
func TestRingFull(t *testing.T) {
	send := cable(t)
	r, s := openOut(t)
	const count = 3000 // of 1 KB: three times what the ring holds
	for i := range count {
		send(numbered(i, 1000))
	}
	var held []*capture.Batch
	read := 0
	begin := time.Now()
	for read+int(r.counts().kernel) < count && time.Since(begin) < 10*time.Second {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		read += len(b.Packets)
		held = append(held, b)
	}
	c := r.counts()
	if c.frames != uint64(read) || c.kernel == 0 || read+int(c.kernel) != count {
		t.Errorf("%d frames were read and %d lost, which are not the %d sent", read, c.kernel, count)
	}
	check := func() {
		t.Helper()
		n := 0
		for _, b := range held {
			for i := range b.Packets {
				if got := binary.BigEndian.Uint32(b.Packets[i].Payload); int(got) != n {
					t.Fatalf("frame %d is %d now", n, got)
				}
				n++
			}
		}
	}
	check()
	for _, b := range held {
		b.Release()
	}
	held = nil
	send(numbered(0, 1000))
	for len(held) == 0 || len(held[len(held)-1].Packets) == 0 {
		b, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, b)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r.mem == nil {
		t.Fatal("the memory is gone")
	}
	check()
	for _, b := range held {
		b.Release()
	}
	if r.mem != nil {
		t.Error("the memory is still there")
	}
}

// TestRingGone takes the interface away.
func TestRingGone(t *testing.T) {
	cable(t)
	_, s := openOut(t)
	if out, err := exec.Command("ip", "link", "del", "in").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := s.Read(); err == nil || errors.Is(err, silence{}) {
		t.Errorf("the error is %v", err)
	}
}
