package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/exspan/exspan/capture/capturetest"
)

// LINKTYPE_ values of the captures that tests read and write.
const (
	linkNull     = 0
	linkEthernet = 1
	linkPPP      = 9
	linkRaw      = 101
	linkCHDLC    = 104
	linkLoop     = 108
	linkSLL      = 113
	linkNFLOG    = 239
	linkSLL2     = 276
)

// readFrames reads a capture file independently of the program's reader: pcap of either
// byte order, and pcapng with enhanced packet blocks of one link type.
func readFrames(name string) (*capturetest.Capture, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(b) < 24 {
		return nil, fmt.Errorf("%s: %d bytes are not a capture file", name, len(b))
	}
	switch binary.LittleEndian.Uint32(b) {
	case 0xa1b2c3d4:
		return readPcap(b, binary.LittleEndian, time.Microsecond)
	case 0xa1b23c4d:
		return readPcap(b, binary.LittleEndian, time.Nanosecond)
	case 0xd4c3b2a1:
		return readPcap(b, binary.BigEndian, time.Microsecond)
	case 0x4d3cb2a1:
		return readPcap(b, binary.BigEndian, time.Nanosecond)
	case 0x0a0d0d0a:
		return readPcapng(b)
	}
	return nil, fmt.Errorf("%s is not a capture file of a supported format", name)
}

func readPcap(b []byte, order binary.ByteOrder, unit time.Duration) (*capturetest.Capture, error) {
	c := &capturetest.Capture{LinkType: int(order.Uint32(b[20:]) & 0xffff)}
	for b = b[24:]; len(b) >= 16; {
		n := int(order.Uint32(b[8:]))
		if n > len(b)-16 {
			return nil, fmt.Errorf("a packet of %d bytes where %d are left", n, len(b)-16)
		}
		c.Frames = append(c.Frames, capturetest.Frame{
			Time: time.Unix(int64(order.Uint32(b)), int64(order.Uint32(b[4:]))*int64(unit)).UTC(),
			Wire: int(order.Uint32(b[12:])),
			Data: b[16 : 16+n],
		})
		b = b[16+n:]
	}
	return c, nil
}

func readPcapng(b []byte) (*capturetest.Capture, error) {
	c := &capturetest.Capture{LinkType: -1}
	var order binary.ByteOrder = binary.LittleEndian
	var units []time.Duration
	for len(b) >= 12 {
		if binary.LittleEndian.Uint32(b) == 0x0a0d0d0a {
			order = binary.LittleEndian
			if binary.BigEndian.Uint32(b[8:]) == 0x1a2b3c4d {
				order = binary.BigEndian
			}
			units = nil
		}
		n := int(order.Uint32(b[4:]))
		if n < 12 || n > len(b) || n%4 != 0 {
			return nil, fmt.Errorf("a block of %d bytes where %d are left", n, len(b))
		}
		body := b[8 : n-4]
		switch order.Uint32(b) {
		case 1: // interface description
			link := int(order.Uint16(body))
			if c.LinkType >= 0 && link != c.LinkType {
				return nil, fmt.Errorf("link types %d and %d in one file", c.LinkType, link)
			}
			c.LinkType = link
			unit := time.Microsecond
			for opt := body[8:]; len(opt) >= 4; {
				size := int(order.Uint16(opt[2:]))
				if order.Uint16(opt) == 9 && size == 1 && opt[4] == 9 {
					unit = time.Nanosecond
				}
				opt = opt[min(len(opt), 4+(size+3)&^3):]
			}
			units = append(units, unit)
		case 6: // enhanced packet
			size := int(order.Uint32(body[12:]))
			at := int64(order.Uint32(body[4:]))<<32 | int64(order.Uint32(body[8:]))
			i := int(order.Uint32(body))
			if i >= len(units) || size > len(body)-20 {
				return nil, fmt.Errorf("an enhanced packet block of interface %d with %d bytes", i, size)
			}
			c.Frames = append(c.Frames, capturetest.Frame{
				Time: time.Unix(0, at*int64(units[i])).UTC(),
				Wire: int(order.Uint32(body[16:])),
				Data: body[20 : 20+size],
			})
		}
		b = b[n:]
	}
	return c, nil
}

// writeFrames writes a capture to a temporary folder and returns its name.
func writeFrames(t *testing.T, dir, name string, c *capturetest.Capture) string {
	t.Helper()
	file := filepath.Join(dir, name)
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := capturetest.WritePcap(f, c); err != nil {
		t.Fatal(err)
	}
	return file
}

// segment holds the properties of a TCP segment or UDP datagram that tests use.
type segment struct {
	proto    string // tcp, udp
	src, dst netip.AddrPort
	flags    byte
	seq      uint32
	payload  []byte // in the frame; nothing after the IP datagram
	ip       int    // offset of the IP header in the frame
}

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	_
	flagACK
)

// flow returns the same key for both directions.
func (s *segment) flow() string {
	a, b := s.src, s.dst
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return fmt.Sprintf("%s %s %s", s.proto, a, b)
}

// cutSegment parses a frame: Ethernet with VLAN tags, Linux cooked, BSD loopback or raw
// IP, then IPv4 or IPv6 without extension headers.
func cutSegment(link int, frame []byte) (s segment, ok bool) {
	at, ok := ipOffset(link, frame)
	if !ok || len(frame) < at+20 {
		return s, false
	}
	s.ip = at
	b := frame[at:]
	var proto byte
	var src, dst netip.Addr
	switch b[0] >> 4 {
	case 4:
		head := int(b[0]&15) * 4
		total := int(binary.BigEndian.Uint16(b[2:]))
		if head < 20 || len(b) < head || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return s, false
		}
		if total >= head && total < len(b) {
			b = b[:total]
		}
		proto, src, dst = b[9], netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		b = b[head:]
	case 6:
		if len(b) < 40 {
			return s, false
		}
		total := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if total < len(b) {
			b = b[:total]
		}
		proto, src, dst = b[6], netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		b = b[40:]
	default:
		return s, false
	}
	head := 8
	switch {
	case proto == 6 && len(b) >= 20:
		s.proto, s.flags, s.seq, head = "tcp", b[13], binary.BigEndian.Uint32(b[4:]), int(b[12]>>4)*4
	case proto == 17 && len(b) >= 8:
		s.proto = "udp"
	default:
		return s, false
	}
	s.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	s.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	s.payload = b[min(head, len(b)):]
	return s, true
}

func ipOffset(link int, frame []byte) (at int, ok bool) {
	switch link {
	case linkEthernet:
		at = 12
		for len(frame) >= at+2 {
			switch binary.BigEndian.Uint16(frame[at:]) {
			case 0x8100, 0x88a8, 0x9100:
				at += 4
			case 0x0800, 0x86dd:
				return at + 2, true
			default:
				return 0, false
			}
		}
		return 0, false
	case linkRaw, 12, 14, 228, 229:
		return 0, true
	case linkNull, linkLoop:
		return 4, true
	case linkSLL:
		return 16, true
	case linkSLL2:
		return 20, true
	}
	return 0, false
}

// fixIPv4 recomputes the checksum of the IPv4 header at b.
func fixIPv4(b []byte) {
	head := int(b[0]&15) * 4
	b[10], b[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < head; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
}

// inOrder sorts frames by time. Frames with the same time keep their order.
func inOrder(frames []capturetest.Frame) []capturetest.Frame {
	slices.SortStableFunc(frames, func(a, b capturetest.Frame) int { return a.Time.Compare(b.Time) })
	return frames
}

// TestReadFrames compares the frames that the tests' reader returns with the source text
// of a file, and with a recording.
func TestReadFrames(t *testing.T) {
	text := "handshake 10.0.0.1:1050 > 10.0.0.5:135\ntcp 10.0.0.1:1050 > 10.0.0.5:135 \"hello\" vlan=7\nudp [2001:db8::7]:1051 > [2001:db8::8]:53 zero(9)\n"
	want, err := capturetest.Parse("text", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readFrames(writeFrames(t, t.TempDir(), "a.pcap", want))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Frames) != 5 || got.LinkType != linkEthernet {
		t.Fatalf("%d frames of link type %d", len(got.Frames), got.LinkType)
	}
	for i, f := range got.Frames {
		if !f.Time.Equal(want.Frames[i].Time) || f.Wire != want.Frames[i].Wire || string(f.Data) != string(want.Frames[i].Data) {
			t.Errorf("frame %d is %+v, want %+v", i, f, want.Frames[i])
		}
	}
	s, ok := cutSegment(linkEthernet, got.Frames[3].Data)
	if !ok || string(s.payload) != "hello" || s.seq != 1001 || s.flow() != "tcp 10.0.0.1:1050 10.0.0.5:135" || s.ip != 18 {
		t.Errorf("the segment is %+v, %v", s, ok)
	}
	s, ok = cutSegment(linkEthernet, got.Frames[4].Data)
	if !ok || len(s.payload) != 9 || s.proto != "udp" {
		t.Errorf("the datagram is %+v, %v", s, ok)
	}
	for _, r := range recordings(t) {
		c, err := readFrames(r.capture())
		if err != nil {
			t.Fatal(err)
		}
		cut := 0
		for _, f := range c.Frames {
			if _, ok := cutSegment(c.LinkType, f.Data); ok {
				cut++
			}
		}
		if len(c.Frames) < 400 || cut < len(c.Frames)*9/10 {
			t.Errorf("%s: %d of %d frames taken apart", r.name, cut, len(c.Frames))
		}
	}
}

// addrPort parses an address and a port. IPv6 addresses need no brackets.
func addrPort(s string) netip.AddrPort {
	ip, port, _ := cutLast(s, ":")
	a, _ := netip.ParseAddr(ip)
	n, _ := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n))
}
