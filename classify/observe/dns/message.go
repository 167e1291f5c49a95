package dns

import (
	"encoding/binary"
	"errors"
)

// errShort says that a message ends too early, errForm that it is none.
var (
	errShort = errors.New("dns: message is not complete")
	errForm  = errors.New("dns: not a message")
)

const headerLength = 12

// header is the header section (RFC 1035 section 4.1.1).
type header struct {
	id, flags                                uint16
	questions, answers, authority, additions uint16
}

func parseHeader(b []byte) header {
	_ = b[headerLength-1]
	u := binary.BigEndian.Uint16
	return header{u(b), u(b[2:]), u(b[4:]), u(b[6:]), u(b[8:]), u(b[10:])}
}

const (
	flagResponse  = 0x8000
	flagTruncated = 0x0200
	flagZero      = 0x0040 // must be zero (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6)
)

func (h header) response() bool { return h.flags&flagResponse != 0 }
func (h header) opcode() int    { return int(h.flags >> 11 & 0xf) }
func (h header) rcode() int     { return int(h.flags & 0xf) }

// Types and classes (RFC 1035, 3596, 2782) that are read.
const (
	typeA    = 1
	typeMX   = 15
	typeAAAA = 28
	typeSRV  = 33

	classIN  = 1
	classANY = 255
)

// name is a domain name in lower case, its labels joined by dots and without
// a dot at the end. More than 253 bytes of that are more than 255 on the wire,
// and no name (RFC 1035 section 2.3.4).
type name struct {
	text [253]byte
	n    int
	// odd says that a label holds something else than letters, digits, hyphens
	// and underscores: nothing that names a host.
	odd bool
	// service says that a label begins with an underscore.
	service bool
}

func (d *name) bytes() []byte { return d.text[:d.n] }

// hash is FNV-1a: names are compared by it where a wrong match costs nothing.
func (d *name) hash() uint64 {
	h := uint64(14695981039346656037)
	for _, c := range d.bytes() {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// read reads the name at off in msg and returns the offset behind it. Pointers
// (RFC 1035 section 4.1.4) must point before everything followed so far, so
// that there are no loops; they are refused if compressed is false.
func (d *name) read(msg []byte, off int, compressed bool) (next int, err error) {
	d.n, d.odd, d.service = 0, false, false
	limit := off
	for {
		if off >= len(msg) {
			return 0, errShort
		}
		l := int(msg[off])
		switch {
		case l == 0:
			if next == 0 {
				next = off + 1
			}
			return next, nil
		case l&0xc0 == 0xc0:
			if !compressed {
				return 0, errForm
			}
			if off+1 >= len(msg) {
				return 0, errShort
			}
			to := l&0x3f<<8 | int(msg[off+1])
			if to < headerLength || to >= limit {
				return 0, errForm
			}
			if next == 0 {
				next = off + 2
			}
			off, limit = to, to
		case l&0xc0 != 0:
			return 0, errForm
		default:
			if d.n+min(d.n, 1)+l > len(d.text) {
				return 0, errForm
			}
			if off+1+l > len(msg) {
				return 0, errShort
			}
			if d.n > 0 {
				d.text[d.n] = '.'
				d.n++
			}
			for i, c := range msg[off+1 : off+1+l] {
				switch {
				case c >= 'A' && c <= 'Z':
					c += 'a' - 'A'
				case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
				case c == '_':
					d.service = d.service || i == 0
				default:
					d.odd = true
				}
				d.text[d.n] = c
				d.n++
			}
			off += 1 + l
		}
	}
}

// question reads the question at off (RFC 1035 section 4.1.2).
func (d *name) question(msg []byte, off int) (typ, class uint16, next int, err error) {
	next, err = d.read(msg, off, false)
	if err != nil {
		return 0, 0, 0, err
	}
	if len(msg) < next+4 {
		return 0, 0, 0, errShort
	}
	return binary.BigEndian.Uint16(msg[next:]), binary.BigEndian.Uint16(msg[next+2:]), next + 4, nil
}

// record is a resource record (RFC 1035 section 4.1.3); data is the offset of
// its RDATA.
type record struct {
	typ, class uint16
	data, size int
}

func (d *name) record(msg []byte, off int) (r record, next int, err error) {
	next, err = d.read(msg, off, true)
	if err != nil {
		return r, 0, err
	}
	if len(msg) < next+10 {
		return r, 0, errShort
	}
	u := binary.BigEndian.Uint16
	r = record{u(msg[next:]), u(msg[next+2:]), next + 10, int(u(msg[next+8:]))}
	if next = r.data + r.size; next > len(msg) {
		return r, 0, errShort
	}
	return r, next, nil
}
