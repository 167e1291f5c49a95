package dns

import (
	"encoding/binary"
	"errors"
)

// errShort means that a message ends too early. errForm means that it is malformed.
var (
	errShort = errors.New("dns: message is not complete")
	errForm  = errors.New("dns: not a message")
)

const headerLength = 12

// header is the header section (RFC 1035 section 4.1.1): the identifier, the flags, and
// the numbers of questions, answers, authority records and additional records.
type header struct {
	first  uint64
	second uint32
}

func parseHeader(b []byte) header {
	return header{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])}
}

const (
	flagResponse  = 0x8000
	flagTruncated = 0x0200
	flagZero      = 0x0040 // must be zero (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6)
)

func (h header) id() uint16        { return uint16(h.first >> 48) }
func (h header) flags() uint16     { return uint16(h.first >> 32) }
func (h header) questions() uint16 { return uint16(h.first >> 16) }
func (h header) answers() uint16   { return uint16(h.first) }
func (h header) authority() uint16 { return uint16(h.second >> 16) }
func (h header) additions() uint16 { return uint16(h.second) }

func (h header) response() bool { return h.flags()&flagResponse != 0 }
func (h header) opcode() int    { return int(h.flags() >> 11 & 0xf) }
func (h header) rcode() int     { return int(h.flags() & 0xf) }

// The types and classes (RFC 1035, 3596, 2782) that are read.
const (
	typeA    = 1
	typeMX   = 15
	typeAAAA = 28
	typeSRV  = 33

	classIN  = 1
	classANY = 255
)

// maxName is the maximum length of a name's labels, including their length bytes. A name
// has at most 255 bytes (RFC 1035 section 2.3.4), and the last one is zero.
const maxName = 254

// name is a domain name in the form of messages, without the zero at its end.
type name struct {
	wire [maxName]byte
	n    int
}

func (d *name) labels() []byte { return d.wire[:d.n] }

// hash returns a hash of labels in lower case. It is used to compare names where a false
// match does no harm.
func hash(labels []byte) uint64 {
	h := uint64(len(labels))
	for ; len(labels) >= 8; labels = labels[8:] {
		h = (h ^ lower(binary.LittleEndian.Uint64(labels))) * 0x9e3779b97f4a7c15
		h ^= h >> 32
	}
	var last uint64
	for _, c := range labels {
		last = last<<8 | uint64(c)
	}
	h = (h ^ lower(last)) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

// lower converts the capital letters among eight bytes to lower case. Label lengths are
// smaller than all letters.
func lower(b uint64) uint64 {
	const each = 0x0101010101010101
	low := b & (0x7f * each)
	capitals := (low + (0x80-'A')*each) ^ (low + (0x7f-'Z')*each) // in the high bit of each byte
	return b | capitals&^b&(0x80*each)>>2
}

// text returns a name in lower case, with dots between its labels and no dot at the end.
func text(labels []byte) string {
	var buf [(maxName + 7) &^ 7]byte
	b := buf[:copy(buf[:], labels)]
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], lower(binary.LittleEndian.Uint64(buf[i:])))
	}
	for i := 0; i < len(b); {
		l := int(b[i])
		b[i] = '.'
		i += 1 + l
	}
	return string(b[min(1, len(b)):])
}

// odd reports whether a label contains anything but letters, digits, hyphens and
// underscores; such names do not name hosts. service reports whether a label begins with
// an underscore.
func odd(labels []byte) (odd, service bool) {
	for len(labels) > 0 {
		l := int(labels[0])
		for i, c := range labels[1 : 1+l] {
			switch {
			case c|0x20-'a' < 26, c-'0' < 10, c == '-':
			case c == '_':
				service = service || i == 0
			default:
				odd = true
			}
		}
		labels = labels[1+l:]
	}
	return odd, service
}

// read reads the name at off in msg and returns the offset after it. A pointer (RFC 1035
// section 4.1.4) must point before everything followed so far, which rules out loops.
func (d *name) read(msg []byte, off int) (next int, err error) {
	d.n = 0
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
		case l&0xc0 != 0 || d.n+1+l > maxName:
			return 0, errForm
		case off+1+l > len(msg):
			return 0, errShort
		default:
			d.n += copy(d.wire[d.n:], msg[off:off+1+l])
			off += 1 + l
		}
	}
}

// question parses the question of a message (RFC 1035 section 4.1.2), whose name has no
// pointers. It returns its labels and the offset after it.
func question(msg []byte) (labels []byte, typ, class uint16, next int, err error) {
	off := headerLength
	for {
		if off >= len(msg) {
			return nil, 0, 0, 0, errShort
		}
		l := int(msg[off])
		if l == 0 {
			break
		}
		if l > 63 || off+1+l > headerLength+maxName {
			return nil, 0, 0, 0, errForm
		}
		if off += 1 + l; off > len(msg) {
			return nil, 0, 0, 0, errShort
		}
	}
	next = off + 5
	if len(msg) < next {
		return nil, 0, 0, 0, errShort
	}
	end := binary.BigEndian.Uint32(msg[off+1:])
	return msg[headerLength:off], uint16(end >> 16), uint16(end), next, nil
}

// record is a resource record (RFC 1035 section 4.1.3). data is the offset of its RDATA.
type record struct {
	typ, class uint16
	data, size int
}

// readRecord parses the fixed part of a record, after its name, and returns the offset
// after the record.
func readRecord(msg []byte, off int) (r record, next int, err error) {
	if len(msg) < off+10 {
		return r, 0, errShort
	}
	u := binary.BigEndian.Uint64(msg[off:])
	r = record{uint16(u >> 48), uint16(u >> 32), off + 10, int(binary.BigEndian.Uint16(msg[off+8:]))}
	if next = r.data + r.size; next > len(msg) {
		return r, 0, errShort
	}
	return r, next, nil
}
