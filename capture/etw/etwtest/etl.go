// Package etwtest writes frames to files in the formats of the capture tools of Windows,
// for tests of their readers.
package etwtest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"unicode/utf16"
)

var le = binary.LittleEndian

// Frame is one Ethernet frame. The time is rounded to 100 ns.
type Frame struct {
	Time int64 // nanoseconds since the Unix epoch
	Wire uint32
	Data []byte
}

// Options describes the file. The zero value is a trace of netsh with one processor, one
// layer and complete packets.
type Options struct {
	Pktmon     bool // instead of netsh
	CPUs       int
	BufferSize int // 64 KiB if 0
	Compressed bool
	Clock      uint32 // 1, 2 or 3; 0 means 1
	Bits32     bool
	Lost       uint32
	Layers     int // number of points that see each packet, up to 8
	Split      int // one of Split frames is logged in several events (netsh)
	Cut        int // bytes kept of each frame; 0 keeps all
	Drops      int // packets that pktmon reports as dropped
	Reason     uint32
	Blocked    []Frame // dropped, and not captured (pktmon)
	WiFi       bool    // 802.11 at the adapter
	NewIDs     bool    // each appearance has its own group, as in Windows 11 24H2 and later
	Unsummed   bool    // upper layers see outgoing packets without checksums
	Switch     bool    // each packet is also seen at a port of a virtual switch (netsh)
	Noise      bool    // records and events of others in between
	Running    bool    // no end time
	Seed       uint64
}

const (
	epoch     = 116_444_736_000_000_000
	frequency = 10_000_000
	megahertz = 2500
	rawStart  = 987_654_321_012
)

var (
	ndiscap = []byte{0x6e, 0x00, 0xd6, 0x2e, 0x29, 0x47, 0x09, 0x46, 0xb4, 0x23, 0x3e, 0xe7, 0xbc, 0xd6, 0x78, 0xef}
	pktmon  = []byte{0xd9, 0x80, 0x4f, 0x4d, 0xbd, 0xc8, 0x73, 0x4d, 0xbb, 0x5b, 0x19, 0xc9, 0x04, 0x02, 0xc5, 0xac}
	other   = []byte{0x6e, 0x12, 0x95, 0x1c, 0xea, 0x7e, 0xa9, 0x49, 0xa3, 0xfe, 0xa3, 0x78, 0xb0, 0x3d, 0xdb, 0x4d}
)

// event is a record of one processor.
type event struct {
	cpu  int
	time int64
	data []byte
}

type writer struct {
	Options
	rnd    *rand.Rand
	start  int64 // FILETIME
	header int64 // raw
	local  []byte
	events []event
}

// ETL returns an event trace log of the frames, which must be in the order of time.
func ETL(frames []Frame, o Options) []byte {
	o.CPUs, o.Clock, o.Layers = max(o.CPUs, 1), max(o.Clock, 1), max(o.Layers, 1)
	if o.BufferSize == 0 {
		o.BufferSize = 64 << 10
	}
	w := &writer{Options: o, rnd: rand.New(rand.NewPCG(o.Seed, 1))}
	first := int64(1_700_000_000_000_000_000)
	if len(frames) > 0 {
		first = frames[0].Time
		w.local = frames[0].Data[6:12]
	}
	w.start = epoch + first/100 - 15_000_000 // the session began 1.5 s earlier
	w.header = rawStart
	if o.Clock == 2 {
		w.header = w.start
	}
	for i := range frames {
		cpu := i / 3 % o.CPUs
		if i%5 == 0 {
			cpu = w.rnd.IntN(o.CPUs)
		}
		if o.Pktmon {
			w.pktmon(i, cpu, &frames[i])
		} else {
			w.netsh(i, cpu, &frames[i])
		}
	}
	w.metadata(frames, first)
	return w.file()
}

// raw converts a time to the session's clock. It rounds up, so that the division in a
// reader results in the same 100 ns.
func (w *writer) raw(ns int64) int64 {
	ft := epoch + ns/100
	switch w.Clock {
	case 2:
		return ft
	case 3:
		d := (ft - w.start) * megahertz
		return w.header + (d+9)/10
	}
	return w.header + (ft - w.start)
}

// event returns an EVENT_HEADER record.
func (w *writer) event(provider []byte, id uint16, keyword uint64, ns int64, thread uint32, data []byte) []byte {
	b := make([]byte, 80, 80+len(data))
	le.PutUint16(b, uint16(80+len(data)))
	b[2], b[3] = 0x13, 0xc0
	le.PutUint16(b[4:], 0x40)
	if w.Bits32 {
		b[2] = 0x12
		le.PutUint16(b[4:], 0x20)
	}
	le.PutUint32(b[8:], thread)
	le.PutUint32(b[12:], 4)
	le.PutUint64(b[16:], uint64(w.raw(ns)))
	copy(b[24:], provider)
	le.PutUint16(b[40:], id)
	b[43], b[44] = 0x10, 4
	le.PutUint64(b[48:], keyword)
	return append(b, data...)
}

func (w *writer) add(cpu int, ns int64, data []byte) {
	w.events = append(w.events, event{cpu, ns, data})
	if w.Noise && w.rnd.IntN(4) == 0 {
		w.events = append(w.events, event{cpu, ns, w.noise(ns)})
	}
}

// noise returns a record without a packet.
func (w *writer) noise(ns int64) []byte {
	junk := make([]byte, 1+w.rnd.IntN(80))
	for i := range junk {
		junk[i] = byte(w.rnd.Uint32())
	}
	switch w.rnd.IntN(4) {
	case 0: // PERFINFO
		return append(append(le.AppendUint16([]byte{0, 0, 0x11, 0xc0}, uint16(16+len(junk))), make([]byte, 10)...), junk...)
	case 1: // a message of WPP
		b := le.AppendUint16(nil, uint16(32+len(junk)))
		return append(append(append(b, 0, 0x90), make([]byte, 28)...), junk...)
	case 2: // an event of another provider, with extended items
		b := w.event(other, 1001, 0xc0000001, ns, 9, nil)
		le.PutUint16(b[4:], le.Uint16(b[4:])|1)
		b = append(b, 24, 0, 1, 0, 1, 0, 16, 0)
		b = append(b, make([]byte, 16)...)
		b = append(b, 16, 0, 10, 0, 0, 0, 3, 0, 1, 2, 3, 0, 0, 0, 0, 0)
		b = append(b, junk...)
		le.PutUint16(b, uint16(len(b)))
		return b
	}
	b := make([]byte, 48+len(junk)) // FULL
	le.PutUint16(b, uint16(len(b)))
	b[2], b[3] = 0x14, 0xc0
	return b
}

// wifi returns a frame as an 802.11 QoS data frame, with the Protected bit set as drivers
// leave it.
func wifi(f []byte, received bool) []byte {
	bss := []byte{2, 0x11, 0x22, 0x33, 0x44, 0x55}
	to, from := f[:6], f[6:12]
	b := []byte{0x88, 0x42, 0, 0}
	order := [][]byte{to, bss, from}
	if !received {
		b[1] = 0x41
		order = [][]byte{bss, from, to}
	}
	for _, a := range order {
		b = append(b, a...)
	}
	b = append(b, 0x10, 0, 0, 0, 0xaa, 0xaa, 3, 0, 0, 0)
	return append(b, f[12:]...)
}

func (w *writer) cut(b []byte) []byte {
	if w.Cut > 0 && len(b) > w.Cut {
		return b[:w.Cut]
	}
	return b
}

// netsh adds the events of ndiscap for a frame.
func (w *writer) netsh(i, cpu int, f *Frame) {
	sent := bytes.Equal(f.Data[6:12], w.local)
	keyword := uint64(0x80000602_00000001)
	if sent {
		keyword = 0x80000601_00000001
	}
	data := f.Data
	if w.WiFi {
		keyword = keyword&^1 | 0x1_0000
		data = wifi(data, !sent)
	}
	if w.Cut > 0 && len(data) > w.Cut {
		keyword |= 0x200_0000
		data = w.cut(data)
	}
	for l := range w.Layers {
		t := f.Time + int64(l)*40_000
		head := le.AppendUint32(le.AppendUint32(nil, 12), uint32(12+l))
		pieces := [][]byte{data}
		if w.Split > 0 && i%w.Split == w.Split-1 && len(data) > 40 {
			pieces = [][]byte{data[:14], data[14:34], data[34:]}
		}
		for k, p := range pieces {
			key := keyword
			if k == 0 {
				key |= 0x4000_0000
			}
			if k == len(pieces)-1 {
				key |= 0x8000_0000
			}
			b := append(le.AppendUint32(slices.Clone(head), uint32(len(p))), p...)
			w.add(cpu, t, w.event(ndiscap, 1001, key, t, uint32(200+i%4), append(b, make([]byte, 16)...)))
		}
	}
	if w.Switch {
		t := f.Time + 90_000
		b := le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 12), 30), 3)
		b = append(append(append(b, text("port-3")...), text("Exchange1")...), text("SyntheticNic")...)
		b = append(le.AppendUint32(b, 2), make([]byte, 16)...)
		b = append(le.AppendUint32(b, uint32(len(data))), data...)
		b = append(le.AppendUint32(b, 16), make([]byte, 16)...)
		w.add(cpu, t, w.event(ndiscap, 1003, keyword|0x1_c000_0000, t, 7, b))
	}
}

// points lists the points, as component and edge, at which pktmon sees an incoming
// packet.
var points = [8][2]uint16{{10, 1}, {24, 2}, {24, 1}, {40, 2}, {52, 1}, {52, 2}, {61, 1}, {61, 2}}

// pktmon adds the events of pktmon for a frame.
func (w *writer) pktmon(i, cpu int, f *Frame) {
	sent := bytes.Equal(f.Data[6:12], w.local)
	way := slices.Clone(points[:min(w.Layers, len(points))])
	if sent {
		slices.Reverse(way)
	}
	group := uint64(cpu)<<48 | uint64(1000+16*i)
	for l, at := range way {
		t := f.Time + int64(l)*3_000
		data, wire, kind := f.Data, f.Wire, uint16(1)
		if w.Unsummed && sent && at[0] != 10 {
			data = unsummed(data)
		}
		if at[0] == 24 && at[1] == 2 {
			kind = 2 // wrong, as at filters of real traces
		}
		if w.WiFi && at[0] == 10 {
			data, kind = wifi(data, !sent), 2
			wire += uint32(len(data) - len(f.Data))
		}
		count := uint16(l + 1)
		if w.NewIDs {
			group++
			count = 0
		}
		direction := uint16(3)
		if sent {
			direction = 4
		}
		w.add(cpu, t, w.event(pktmon, 160, 0x10, t, 0, packet(group, count, direction, kind, at, 0, wire, w.cut(data))))
	}
	if w.Drops > 0 && i%9 == 4 {
		w.Drops--
		w.drop(cpu, f, f.Time+50_000)
	}
}

func (w *writer) drop(cpu int, f *Frame, t int64) {
	w.add(cpu, t, w.event(pktmon, 170, 0x10, t, 0, packet(7, 0, 0, 1, [2]uint16{40, 0}, w.Reason, f.Wire, w.cut(f.Data))))
}

// packet returns the data of event 160 or 170.
func packet(group uint64, count, direction, kind uint16, at [2]uint16, reason, wire uint32, data []byte) []byte {
	b := le.AppendUint64(nil, group)
	for _, v := range []uint16{1, count, direction, kind, at[0], at[1], 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(le.AppendUint32(b, reason), 0)
	b = le.AppendUint16(le.AppendUint16(b, uint16(min(wire, 65535))), uint16(len(data)))
	return append(b, data...)
}

// unsummed returns an IPv4 frame without its checksums.
func unsummed(f []byte) []byte {
	f = slices.Clone(f)
	if len(f) < 34 || f[12] != 8 || f[13] != 0 {
		return f
	}
	f[24], f[25] = 0, 0
	l4 := 14 + int(f[14]&15)*4
	switch f[23] {
	case 6:
		l4 += 16
	case 17:
		l4 += 6
	default:
		return f
	}
	if len(f) >= l4+2 {
		f[l4], f[l4+1] = 0, 0
	}
	return f
}

// metadata adds the records at the end of a trace, or at its beginning.
func (w *writer) metadata(frames []Frame, t int64) {
	if !w.Pktmon {
		rule := le.AppendUint32([]byte{0x11, 1, 4, 0}, uint32(cmp.Or(w.Cut, 0xffff)))
		w.events = append([]event{{0, t - 1e9, w.event(ndiscap, 1016, 0, t-1e9, 1, rule)}}, w.events...)
		return
	}
	for i := range w.Blocked {
		w.drop(0, &w.Blocked[i], w.Blocked[i].Time)
		t = max(t, w.Blocked[i].Time)
	}
	if len(frames) > 0 {
		t = max(t, frames[len(frames)-1].Time)
	}
	t += 1e9
	for _, c := range []struct {
		id, kind uint16
		name     string
	}{{10, 2, "e1i68x64.sys"}, {24, 3, "npcap.sys"}, {40, 4, "tcpip.sys"}, {52, 3, "pacer.sys"}, {61, 3, "wfplwfs.sys"}} {
		b := append(le.AppendUint16(le.AppendUint16(nil, c.id), c.kind), text(c.name)...)
		w.add(0, t, w.event(pktmon, 20, 2, t, 0, append(b, text("description of "+c.name)...)))
		w.add(0, t, w.event(pktmon, 80, 2, t, 0, make([]byte, 44)))
	}
}

func text(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = le.AppendUint16(b, u)
	}
	return append(b, 0, 0)
}
