package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// FilterExpression returns the expression that is applied where the user asked
// for expr on a link type. A BPF expression looks for IP where it lies in a
// frame without tags, so on a tagged frame "host 10.0.0.1" never holds and "not
// host 10.0.0.1" always does. The expression returned applies expr to frames
// with one and two VLAN tags as it does to others. An expression that speaks of
// tags or labels itself is left alone, and so are link types that have none.
func FilterExpression(expr string, linkType int) string {
	if strings.TrimSpace(expr) == "" {
		return ""
	}
	if linkType != LinkEthernet {
		return expr
	}
	for _, w := range strings.FieldsFunc(expr, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		switch w {
		case "vlan", "mpls", "pppoes", "pppoed", "geneve", "vxlan":
			return expr // these move the offsets of all that follows them
		}
	}
	// Each vlan moves the offsets of what follows by one tag, even inside
	// parentheses; hence the order.
	const tagged = "(ether proto 0x8100 or ether proto 0x88a8 or ether proto 0x9100)"
	plain := "(not " + tagged + " and (" + expr + "))"
	return plain + " or (vlan and (" + plain + " or (vlan and (" + expr + "))))"
}

// CheckFilter says what is wrong with a BPF expression, in libpcap's words.
func CheckFilter(expr string) error {
	_, err := newFilter(expr, LinkEthernet)
	return err
}

// filter is a BPF expression compiled for one link type.
type filter struct {
	code []instruction
	link uint16
	buf  []byte // an SLL2 frame as an SLL one
}

// newFilter compiles expr for a link type; the filter is nil when expr is
// empty.
func newFilter(expr string, linkType uint16) (*filter, error) {
	full := FilterExpression(expr, int(linkType))
	if full == "" {
		return nil, nil
	}
	// First as it is, so that libpcap speaks of the user's expression.
	dlt, err := filterLink(linkType)
	if err != nil {
		return nil, err
	}
	code, err := compile(expr, dlt)
	if err == nil && full != expr {
		code, err = compile(full, dlt)
	}
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", expr, err)
	}
	if err := verify(code); err != nil {
		return nil, fmt.Errorf("filter %q: %w", expr, err)
	}
	return &filter{code: code, link: linkType}, nil
}

// filterLink returns the link type that expressions for linkType are compiled
// for. libpcap numbers raw IP differently on different systems, takes the byte
// order of LinkNull from the machine, and gopacket's link types end at 255.
func filterLink(linkType uint16) (uint8, error) {
	switch linkType {
	case LinkRaw, 12, 14, LinkNull, LinkLoop:
		return 12, nil
	case LinkSLL2:
		return LinkSLL, nil
	}
	if linkType > 255 {
		return 0, fmt.Errorf("no filter is possible on link type %d", linkType)
	}
	return uint8(linkType), nil
}

// instruction is one of the classic BPF machine (McCanne and Jacobson 1993).
type instruction struct {
	op     uint16
	jt, jf uint8
	k      uint32
}

// Fields of an operation.
const (
	bpfClass = 0x07
	bpfLd    = 0x00
	bpfLdx   = 0x01
	bpfSt    = 0x02
	bpfStx   = 0x03
	bpfALU   = 0x04
	bpfJmp   = 0x05
	bpfRet   = 0x06
	bpfMisc  = 0x07

	bpfSize = 0x18
	bpfW    = 0x00
	bpfH    = 0x08
	bpfB    = 0x10

	bpfMode = 0xe0
	bpfImm  = 0x00
	bpfAbs  = 0x20
	bpfInd  = 0x40
	bpfMem  = 0x60
	bpfLen  = 0x80
	bpfMsh  = 0xa0

	bpfX = 0x08 // the operand is the index register

	bpfMemWords = 16
)

var errBPF = errors.New("the compiled program is not valid")

// verify checks that a program ends, stays inside itself and its memory. Jumps
// go forward only, so it ends.
func verify(code []instruction) error {
	for i, c := range code {
		switch c.op & bpfClass {
		case bpfLd, bpfLdx:
			if c.op&bpfMode == bpfMem && c.k >= bpfMemWords {
				return errBPF
			}
		case bpfSt, bpfStx:
			if c.k >= bpfMemWords {
				return errBPF
			}
		case bpfJmp:
			jump := uint64(max(c.jt, c.jf))
			if c.op&0xf0 == 0 {
				jump = uint64(c.k)
			}
			if uint64(i)+1+jump >= uint64(len(code)) {
				return errBPF
			}
		}
	}
	if len(code) == 0 || code[len(code)-1].op&bpfClass != bpfRet {
		return errBPF
	}
	return nil
}

// match reports whether a frame passes.
func (f *filter) match(b []byte, wire uint32) bool {
	switch f.link {
	case LinkNull, LinkLoop:
		b = b[min(4, len(b)):]
	case LinkSLL2:
		if len(b) < 20 {
			return false
		}
		f.buf = append(f.buf[:0], 0, b[10], b[8], b[9], 0, b[11])
		f.buf = append(f.buf, b[12:20]...)
		f.buf = append(f.buf, b[0], b[1])
		f.buf = append(f.buf, b[20:]...)
		b, wire = f.buf, wire-4
	}
	return f.run(b, wire)
}

// run runs the program over a frame. exspan does this itself because a call into
// libpcap costs more than the program, and allocates. The interpreter is one
// function, so that the registers stay in registers of the processor.
func (f *filter) run(b []byte, wire uint32) bool {
	var a, x uint32
	var mem [bpfMemWords]uint32
	for pc := 0; pc < len(f.code); pc++ {
		c := &f.code[pc]
		switch c.op & bpfClass {
		case bpfLd:
			off := uint64(c.k)
			switch c.op & bpfMode {
			case bpfImm:
				a = c.k
				continue
			case bpfLen:
				a = wire
				continue
			case bpfMem:
				a = mem[c.k]
				continue
			case bpfInd:
				off += uint64(x)
			case bpfAbs:
			default:
				return false
			}
			if off >= uint64(len(b)) {
				return false
			}
			d := b[off:]
			switch c.op & bpfSize {
			case bpfW:
				if len(d) < 4 {
					return false
				}
				a = binary.BigEndian.Uint32(d)
			case bpfH:
				if len(d) < 2 {
					return false
				}
				a = uint32(binary.BigEndian.Uint16(d))
			case bpfB:
				a = uint32(d[0])
			default:
				return false
			}
		case bpfLdx:
			switch c.op & bpfMode {
			case bpfImm:
				x = c.k
			case bpfLen:
				x = wire
			case bpfMem:
				x = mem[c.k]
			case bpfMsh:
				if uint64(c.k) >= uint64(len(b)) {
					return false
				}
				x = uint32(b[c.k]&0xf) * 4
			default:
				return false
			}
		case bpfSt:
			mem[c.k] = a
		case bpfStx:
			mem[c.k] = x
		case bpfALU:
			v := c.k
			if c.op&bpfX != 0 {
				v = x
			}
			switch c.op & 0xf0 {
			case 0x00:
				a += v
			case 0x10:
				a -= v
			case 0x20:
				a *= v
			case 0x30:
				if v == 0 {
					return false
				}
				a /= v
			case 0x40:
				a |= v
			case 0x50:
				a &= v
			case 0x60:
				a <<= v
			case 0x70:
				a >>= v
			case 0x80:
				a = -a
			case 0x90:
				if v == 0 {
					return false
				}
				a %= v
			case 0xa0:
				a ^= v
			default:
				return false
			}
		case bpfJmp:
			v := c.k
			if c.op&bpfX != 0 {
				v = x
			}
			var yes bool
			switch c.op & 0xf0 {
			case 0x00:
				pc += int(c.k)
				continue
			case 0x10:
				yes = a == v
			case 0x20:
				yes = a > v
			case 0x30:
				yes = a >= v
			case 0x40:
				yes = a&v != 0
			default:
				return false
			}
			if yes {
				pc += int(c.jt)
			} else {
				pc += int(c.jf)
			}
		case bpfRet:
			if c.op&0x18 == 0x10 {
				return a != 0
			}
			return c.k != 0
		case bpfMisc:
			if c.op&0x80 != 0 {
				a = x
			} else {
				x = a
			}
		}
	}
	return false
}
