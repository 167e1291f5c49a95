package etwtest

import (
	"cmp"
	"slices"
	"time"
)

// file returns the buffers: per processor, in the order in which they filled up.
func (w *writer) file() []byte {
	slices.SortStableFunc(w.events, func(a, b event) int { return cmp.Compare(a.time, b.time) })
	type buffer struct {
		cpu  int
		data []byte
	}
	var full []buffer
	open := make([][]byte, w.CPUs)
	for _, e := range w.events {
		size := (len(e.data) + 7) &^ 7
		if len(open[e.cpu])+size > w.BufferSize-72 {
			full = append(full, buffer{e.cpu, open[e.cpu]})
			open[e.cpu] = nil
		}
		open[e.cpu] = append(append(open[e.cpu], e.data...), make([]byte, size-len(e.data))...)
	}
	for cpu := range slices.Backward(open) {
		if len(open[cpu]) > 0 {
			full = append(full, buffer{cpu, open[cpu]})
		}
	}
	out := w.buffer(nil, 0, 0, 0x01, w.headerRecord(len(full)+1))
	for i, b := range full {
		flags := uint16(0x20)
		if w.Compressed {
			flags |= 0x40
		}
		out = w.buffer(out, b.cpu, i+1, flags, b.data)
	}
	return out
}

// buffer appends one buffer.
func (w *writer) buffer(out []byte, cpu, sequence int, flags uint16, data []byte) []byte {
	used, stored, size := 72+len(data), data, w.BufferSize
	if flags&0x40 != 0 {
		stored = compress(data)
		if size = 72 + len(stored); size >= used {
			stored, size, flags = data, used, flags&^0x40
		}
	} else if w.Compressed {
		size = max(1024, used)
	}
	b := make([]byte, 72, size)
	le.PutUint32(b, uint32(size))
	le.PutUint64(b[0x18:], uint64(sequence))
	le.PutUint16(b[0x28:], uint16(cpu))
	le.PutUint32(b[0x30:], uint32(used))
	le.PutUint16(b[0x34:], flags)
	b = append(b, stored...)
	for len(b) < size {
		b = append(b, 0xff)
	}
	return append(out, b...)
}

// headerRecord returns the first record, with TRACE_LOGFILE_HEADER.
func (w *writer) headerRecord(buffers int) []byte {
	kind, pointer, clocks := byte(2), 8, 256
	if w.Bits32 {
		kind, pointer, clocks = 1, 4, 248
	}
	h := make([]byte, clocks+24)
	le.PutUint32(h, uint32(w.BufferSize))
	le.PutUint32(h[8:], 19045)
	le.PutUint32(h[12:], uint32(w.CPUs))
	if !w.Running {
		le.PutUint64(h[16:], uint64(w.start+36_000_000_000))
	}
	mode := uint32(0x1_0001)
	if w.Compressed {
		mode |= 0x400_0000
	}
	le.PutUint32(h[32:], mode)
	le.PutUint32(h[36:], uint32(buffers))
	le.PutUint32(h[44:], uint32(pointer))
	le.PutUint32(h[48:], w.Lost)
	le.PutUint32(h[52:], megahertz)
	le.PutUint64(h[clocks:], frequency)
	le.PutUint64(h[clocks+8:], uint64(w.start))
	le.PutUint32(h[clocks+16:], w.Clock)
	h = append(append(h, text("Relogger")...), text(`C:\capture.etl`)...)
	r := make([]byte, 32, 32+len(h))
	le.PutUint16(r, 2)
	r[2], r[3] = kind, 0xc0
	le.PutUint16(r[4:], uint16(32+len(h)))
	le.PutUint64(r[16:], uint64(w.header))
	r = append(r, h...)
	for len(r)%8 != 0 {
		r = append(r, 0)
	}
	return r
}

// compress packs b as plain LZ77 ([MS-XCA] section 2.4). It uses the first match found.
func compress(b []byte) []byte {
	out := make([]byte, 4)
	at, flags, n := 0, uint32(0), 0
	half := -1
	last := make([]int, 1<<16) // 1 plus the last position of three bytes, by their hash
	slot := func(i int) *int {
		v := uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16
		return &last[v*2654435761>>16]
	}
	for i := 0; i < len(b); {
		length, from := 0, 0
		if i+3 <= len(b) {
			s := slot(i)
			if m := *s - 1; m >= 0 && i-m <= 8192 && [3]byte(b[m:]) == [3]byte(b[i:]) {
				from = m
				for length = 3; i+length < len(b) && b[m+length] == b[i+length]; length++ {
				}
			}
			*s = i + 1
		}
		flags <<= 1
		if length == 0 {
			out = append(out, b[i])
			i++
		} else {
			flags |= 1
			out, half = appendMatch(out, i-from, length, half)
			for j := i + 1; j < min(i+length, len(b)-2); j++ {
				*slot(j) = j + 1
			}
			i += length
		}
		if n++; n == 32 {
			le.PutUint32(out[at:], flags)
			at, flags, n = len(out), 0, 0
			out = append(out, 0, 0, 0, 0)
		}
	}
	le.PutUint32(out[at:], flags<<(32-n)|(1<<(32-n)-1))
	return out
}

// appendMatch appends a match. half is the offset of a length byte whose second half is
// free, or -1.
func appendMatch(out []byte, offset, length, half int) ([]byte, int) {
	length -= 3
	out = le.AppendUint16(out, uint16((offset-1)<<3|min(length, 7)))
	if length < 7 {
		return out, half
	}
	length -= 7
	if half < 0 {
		half = len(out)
		out = append(out, byte(min(length, 15)))
	} else {
		out[half] |= byte(min(length, 15)) << 4
		half = -1
	}
	if length < 15 {
		return out, half
	}
	switch length -= 15; {
	case length < 255:
		return append(out, byte(length)), half
	case length+22 < 1<<16:
		return le.AppendUint16(append(out, 255), uint16(length+22)), half
	}
	return le.AppendUint32(append(out, 255, 0, 0), uint32(length+22)), half
}

// NetMon returns a Network Monitor file of the given version, such as 2.3.
func NetMon(frames []Frame, major, minor byte) []byte {
	b := make([]byte, 72)
	copy(b, "GMBU")
	if major == 1 {
		copy(b, "RTSS")
	}
	b[4], b[5], b[6] = minor, major, 1
	if len(frames) == 0 {
		return b
	}
	start := frames[0].Time/1e9 - 1
	t := time.Unix(start, 0).UTC()
	for i, v := range []int{t.Year(), int(t.Month()), int(t.Weekday()), t.Day(), t.Hour(), t.Minute(), t.Second(), 0} {
		le.PutUint16(b[8+2*i:], uint16(v))
	}
	var table []byte
	for i, f := range frames {
		table = le.AppendUint32(table, uint32(len(b)))
		d := f.Time - start*1e9
		if major == 1 {
			b = le.AppendUint32(b, uint32(d/1e6))
			b = le.AppendUint16(le.AppendUint16(b, uint16(min(f.Wire, 65535))), uint16(len(f.Data)))
			b = append(b, f.Data...)
		} else {
			b = le.AppendUint64(b, uint64(d/1e3))
			b = append(le.AppendUint32(le.AppendUint32(b, f.Wire), uint32(len(f.Data))), f.Data...)
			if minor >= 1 {
				b = le.AppendUint16(b, 1)
			}
			if minor >= 2 {
				b = le.AppendUint32(b, 0xffffffff)
			}
			if minor >= 3 {
				b = append(le.AppendUint64(b, uint64(epoch+f.Time/100)), 0)
			}
		}
		if i%10 == 0 {
			b = append(b, "HOLE"...) // the table determines the order of frames, not their positions
		}
	}
	le.PutUint32(b[24:], uint32(len(b)))
	le.PutUint32(b[28:], uint32(len(table)))
	return append(b, table...)
}
