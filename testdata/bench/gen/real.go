package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/exspan/exspan/capture"
)

const (
	running    = 64            // captures that are played at the same time
	maxSilence = 1_000_000_000 // ns; longer gaps are cut to this
	maxReal    = 9_000         // bytes of a frame: what an interface with jumbo frames takes
)

// recording is one capture in memory.
type recording struct {
	frames  []realFrame
	flows   int
	address map[netip.Addr]bool // in IPv4 headers; payload may name them too
}

type realFrame struct {
	gap  int64 // ns since the frame before
	wire uint32
	data []byte // Ethernet
}

// realTraffic writes packets of captures until there are enough: each capture again and
// again, with other addresses each time, and many at once. Captures with many and
// with few packets a flow take turns, so that the number of flows is met too.
func realTraffic(packets, flows int, names []string) error {
	long, short, err := recordings(names, packets/flows)
	if err != nil {
		return err
	}
	type play struct {
		*recording
		turn int
		next int
		time int64
	}
	var l, s, begun, made int
	planned := 0 // packets of all that was begun
	begin := func(now int64) play {
		from, i := long, &l
		if planned > made*packets/flows {
			from, i = short, &s
		}
		p := play{recording: from[*i%len(from)], turn: begun, time: now}
		*i++
		begun++
		planned += len(p.frames)
		made += p.flows
		return p
	}
	now := int64(tsUS) * 1000
	var plays []play
	for i := range running {
		plays = append(plays, begin(now+int64(i)*10_000_000))
	}
	for npkts < packets {
		first := 0
		for i := range plays {
			if plays[i].time < plays[first].time {
				first = i
			}
		}
		p := &plays[first]
		f := &p.frames[p.next]
		now = p.time
		writeReal(now, f.wire, turned(f.data, p.turn, p.address))
		if p.next++; p.next == len(p.frames) {
			plays[first] = begin(now)
		} else {
			p.time += p.frames[p.next].gap
		}
	}
	fmt.Printf("%d captures %d times and %d captures %d times, about %d flows\n", len(long), (l+len(long)-1)/len(long), len(short), (s+len(short)-1)/len(short), made)
	return nil
}

func writeReal(ns int64, wire uint32, data []byte) {
	var h [16]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(ns/1_000_000_000))
	binary.LittleEndian.PutUint32(h[4:], uint32(ns%1_000_000_000/1000))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(data)))
	binary.LittleEndian.PutUint32(h[12:], max(wire, uint32(len(data))))
	_, _ = w.Write(h[:])
	_, _ = w.Write(data)
	npkts++
	nbytes += len(data)
}

// recordings reads captures and sorts them by whether they have more packets a flow
// than mean. What is no capture, or has no Ethernet or IP, is left out.
func recordings(names []string, mean int) (long, short []*recording, err error) {
	for _, name := range names {
		err := filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(file, ".md") {
				return err
			}
			r := read(file)
			switch {
			case r.flows == 0:
			case len(r.frames) > mean*r.flows:
				long = append(long, r)
			default:
				short = append(short, r)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	if len(long) == 0 || len(short) == 0 {
		return nil, nil, errors.New("there are too few captures to choose from")
	}
	return long, short, nil
}

// read reads what can be read of a capture.
func read(file string) *recording {
	r := &recording{address: map[netip.Addr]bool{}}
	files, err := capture.OpenFiles([]string{file}, capture.Options{Frames: true})
	if err != nil {
		return r
	}
	defer files.Close()
	flows := map[string]bool{}
	last := int64(0)
	for {
		var f capture.RawFrame
		if err := files.NextFrame(&f); err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Println(file, err)
			}
			return r
		}
		data := ethernet(f.LinkType, f.Data)
		if data == nil || len(data) > maxReal || f.WireLength > maxReal {
			continue
		}
		gap := f.Time - last
		if len(r.frames) == 0 || gap < 0 {
			gap = 0
		}
		last = max(last, f.Time)
		r.frames = append(r.frames, realFrame{min(gap, maxSilence), f.WireLength + uint32(max(len(data)-len(f.Data), 0)), data})
		if h, ok := headers(data); ok {
			if h.v4 {
				r.address[netip.AddrFrom4([4]byte(h.ip[12:16]))] = true
				r.address[netip.AddrFrom4([4]byte(h.ip[16:20]))] = true
			}
			flows[h.flow()] = true
			r.flows = len(flows)
		}
	}
}

// ethernet returns a copy of a frame as Ethernet's, or nil where that is not possible.
func ethernet(link uint16, data []byte) []byte {
	head := 0
	switch link {
	case capture.LinkEthernet:
		if len(data) < 14 {
			return nil
		}
		return bytes.Clone(data)
	case capture.LinkRaw:
	case 0: // LINKTYPE_NULL
		head = 4
	case 113: // LINKTYPE_LINUX_SLL
		head = 16
	default:
		return nil
	}
	if len(data) < head+20 {
		return nil
	}
	kind := byte(0x08)
	if data[head]>>4 == 6 {
		kind = 0x86
	}
	mac := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, kind, 0}
	if kind == 0x86 {
		mac[13] = 0xdd
	}
	return append(mac, data[head:]...)
}

// layers are the headers of a frame.
type layers struct {
	v4        bool
	ip        []byte // the IP header and all behind it
	transport []byte // nil in later fragments
	proto     byte
}

// headers finds the outermost IP header behind Ethernet and VLAN tags.
func headers(data []byte) (h layers, ok bool) {
	off := 12
	for len(data) >= off+4 && (data[off] == 0x81 && data[off+1] == 0 || data[off] == 0x88 && data[off+1] == 0xa8) {
		off += 4
	}
	if len(data) < off+2+20 {
		return h, false
	}
	h.ip = data[off+2:]
	switch kind := binary.BigEndian.Uint16(data[off:]); {
	case kind == 0x0800 && h.ip[0]>>4 == 4:
		n := int(h.ip[0]&0xf) * 4
		if n < 20 || len(h.ip) < n {
			return h, false
		}
		h.v4, h.proto = true, h.ip[9]
		if binary.BigEndian.Uint16(h.ip[6:])&0x1fff == 0 {
			h.transport = h.ip[n:]
		}
		return h, true
	case kind == 0x86dd && len(h.ip) >= 40:
		h.proto, h.transport = h.ip[6], h.ip[40:]
		return h, true
	}
	return h, false
}

// flow returns a key that is the same for both directions.
func (h *layers) flow() string {
	a, b := string(h.ip[8:24]), string(h.ip[24:min(40, len(h.ip))])
	if h.v4 {
		a, b = string(h.ip[12:16]), string(h.ip[16:20])
	}
	if (h.proto == 6 || h.proto == 17) && len(h.transport) >= 4 {
		a, b = a+string(h.transport[:2]), b+string(h.transport[2:4])
	}
	if a > b {
		a, b = b, a
	}
	return a + b + string([]byte{h.proto})
}

// turned returns a frame with the addresses of a turn, in its headers and where
// text or a protocol tower names them. Checksums stay as right as they were.
func turned(data []byte, turn int, known map[netip.Addr]bool) []byte {
	data = bytes.Clone(data)
	h, ok := headers(data)
	if turn == 0 || !ok {
		return data
	}
	from, to := 8, 40
	if h.v4 {
		from, to = 12, 20
	}
	addresses := h.ip[from:to]
	oldAddresses, oldTransport := csum(addresses, 0), csum(h.transport, 0)
	if h.v4 {
		turnIPv4(addresses[:4], turn)
		turnIPv4(addresses[4:], turn)
		adjust(h.ip[10:12], oldAddresses, csum(addresses, 0))
	} else {
		turnIPv6(addresses[:16], turn)
		turnIPv6(addresses[16:], turn)
	}
	turnPayload(h.transport, turn, known)
	at := map[byte]int{6: 16, 17: 6}[h.proto]
	if at == 0 || len(h.transport) < at+2 {
		return data
	}
	field := h.transport[at : at+2]
	if h.proto == 17 && field[0] == 0 && field[1] == 0 {
		return data // there is none
	}
	newTransport := csum(h.transport, 0)
	adjust(field, oldAddresses, csum(addresses, 0))
	adjust(field, oldTransport, newTransport)
	return data
}

// adjust updates a checksum for a part whose own checksum has changed (RFC 1624).
func adjust(field []byte, before, after uint16) {
	s := uint32(^binary.BigEndian.Uint16(field)) + uint32(before) + uint32(^after)
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	binary.BigEndian.PutUint16(field, ^uint16(s))
}

// turnIPv4 changes the address of a host. Its octets keep their number of digits.
func turnIPv4(a []byte, turn int) {
	if a[0] >= 224 || a[0] == 127 || a[0] == 0 {
		return
	}
	for i := 2; i >= 1; i-- {
		low, n := 0, 10
		switch {
		case a[i] >= 100:
			low, n = 100, 156
		case a[i] >= 10:
			low, n = 10, 90
		}
		a[i] = byte(low + (int(a[i])-low+turn%10)%n)
		turn /= 10
	}
}

func turnIPv6(a []byte, turn int) {
	if a[0] == 0xff || netip.AddrFrom16([16]byte(a)).IsLoopback() {
		return
	}
	a[8] ^= byte(turn >> 8)
	a[9] ^= byte(turn)
}

var dotted = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)

// turnPayload changes the known addresses in text and in floors of protocol towers
// (C706, appendix L) where they are.
func turnPayload(b []byte, turn int, known map[netip.Addr]bool) {
	for _, at := range dotted.FindAllIndex(b, -1) {
		a, err := netip.ParseAddr(string(b[at[0]:at[1]]))
		if err != nil || !known[a] {
			continue
		}
		octets := a.As4()
		turnIPv4(octets[:], turn)
		copy(b[at[0]:at[1]], netip.AddrFrom4(octets).String())
	}
	floor := []byte{9, 4, 0}
	for i := 0; ; i += len(floor) {
		n := bytes.Index(b[i:], floor)
		if i += n; n < 0 || len(b) < i+len(floor)+4 {
			return
		}
		if a := b[i+len(floor):][:4]; known[netip.AddrFrom4([4]byte(a))] {
			turnIPv4(a, turn)
		}
	}
}
