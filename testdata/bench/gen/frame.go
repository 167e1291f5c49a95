package main

import "encoding/binary"

func ghdr() {
	var h [24]byte
	binary.LittleEndian.PutUint32(h[0:], 0xa1b2c3d4)
	binary.LittleEndian.PutUint16(h[4:], 2)
	binary.LittleEndian.PutUint16(h[6:], 4)
	binary.LittleEndian.PutUint32(h[16:], 65535)
	binary.LittleEndian.PutUint32(h[20:], 1)
	_, _ = w.Write(h[:])
}

func csum(b []byte, s uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)&1 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

const (
	FIN = 1
	SYN = 2
	RST = 4
	PSH = 8
	ACK = 16
)

// emit writes one frame. It builds all layers in one function, in the order in
// which they are on the wire.
func (f *flow) emit(fromC bool, flags byte, pl []byte) {
	src, dst := &f.c, &f.s
	if !fromC {
		src, dst = dst, src
	}
	b := buf[:]
	copy(b[0:], dst.mac[:])
	copy(b[6:], src.mac[:])
	o := 12
	if f.vlan != 0 {
		b[o], b[o+1] = 0x81, 0
		binary.BigEndian.PutUint16(b[o+2:], f.vlan)
		o += 4
	}
	l4 := 8
	if f.tcp {
		l4 = 20
		if flags&SYN != 0 {
			l4 = 32
		}
	}
	proto := byte(17)
	if f.tcp {
		proto = 6
	}
	var ps uint32
	if f.v6 {
		b[o], b[o+1] = 0x86, 0xdd
		o += 2
		h := b[o : o+40]
		h[0], h[1], h[2], h[3] = 0x60, 0, 0, 0
		binary.BigEndian.PutUint16(h[4:], uint16(l4+len(pl)))
		h[6], h[7] = proto, 64
		copy(h[8:], src.ip[:])
		copy(h[24:], dst.ip[:])
		for i := 8; i < 40; i += 2 {
			ps += uint32(h[i])<<8 | uint32(h[i+1])
		}
		o += 40
	} else {
		b[o], b[o+1] = 8, 0
		o += 2
		h := b[o : o+20]
		h[0], h[1] = 0x45, 0
		binary.BigEndian.PutUint16(h[2:], uint16(20+l4+len(pl)))
		f.ipid++
		binary.BigEndian.PutUint16(h[4:], f.ipid)
		h[6], h[7] = 0x40, 0
		h[8], h[9] = 64, proto
		h[10], h[11] = 0, 0
		copy(h[12:], src.ip[:4])
		copy(h[16:], dst.ip[:4])
		binary.BigEndian.PutUint16(h[10:], csum(h, 0))
		for i := 12; i < 20; i += 2 {
			ps += uint32(h[i])<<8 | uint32(h[i+1])
		}
		o += 20
	}
	ps += uint32(proto) + uint32(l4+len(pl))
	t := b[o:]
	binary.BigEndian.PutUint16(t[0:], src.port)
	binary.BigEndian.PutUint16(t[2:], dst.port)
	if f.tcp {
		my, other := &f.cseq, &f.sseq
		if !fromC {
			my, other = other, my
		}
		binary.BigEndian.PutUint32(t[4:], *my)
		if flags&ACK != 0 {
			binary.BigEndian.PutUint32(t[8:], *other)
		} else {
			binary.BigEndian.PutUint32(t[8:], 0)
		}
		t[12] = byte(l4/4) << 4
		t[13] = flags
		binary.BigEndian.PutUint16(t[14:], 64240)
		binary.BigEndian.PutUint16(t[16:], 0)
		binary.BigEndian.PutUint16(t[18:], 0)
		if l4 == 32 {
			copy(t[20:], []byte{2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2})
		}
		*my += uint32(len(pl))
		if flags&(SYN|FIN) != 0 {
			*my++
		}
		copy(t[l4:], pl)
		binary.BigEndian.PutUint16(t[16:], csum(t[:l4+len(pl)], ps))
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(l4+len(pl)))
		t[6], t[7] = 0, 0
		copy(t[l4:], pl)
		c := csum(t[:l4+len(pl)], ps)
		if c == 0 {
			c = 0xffff
		}
		binary.BigEndian.PutUint16(t[6:], c)
	}
	o += l4 + len(pl)
	for o < 60 {
		b[o] = 0
		o++
	}
	var rh [16]byte
	tsUS += stepUS
	binary.LittleEndian.PutUint32(rh[0:], uint32(tsUS/1000000))
	binary.LittleEndian.PutUint32(rh[4:], uint32(tsUS%1000000))
	binary.LittleEndian.PutUint32(rh[8:], uint32(o))
	binary.LittleEndian.PutUint32(rh[12:], uint32(o))
	_, _ = w.Write(rh[:])
	_, _ = w.Write(b[:o])
	npkts++
	nbytes += o
}
