package etw

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Plain LZ77 of [MS-XCA] sections 2.3 and 2.4, the compression of buffers.
const (
	lzHistory = 8 << 10   // maximum offset of a match: 13 bits plus one
	lzGroup   = 4 + 32*10 // maximum length of a word of flags and its 32 tokens
	lzAhead   = 64        // more than the length of a word of flags, 32 literals and a token
)

var (
	errMatch  = errors.New("a match that reaches before the beginning of the data")
	errLength = errors.New("a match of an impossible length")
	errShort  = errors.New("the compressed data ends early")
)

// lz77 decompresses one buffer in parts, so that a buffer of 16 MiB does not need 16 MiB
// of memory. The zero value is at the beginning of a buffer.
type lz77 struct {
	flags  uint32 // the highest bit is the next flag
	unused int    // number of unused flags
	nibble uint8  // the second half of a shared length byte, if half is set
	half   bool
	offset int // offset and remaining length of a match that did not fit into the output
	match  int
}

// decode decompresses src and appends the result to out, up to its capacity or until out
// has want bytes. It returns out and the number of bytes of src that it used. It stops
// before a token that may be incomplete, unless src is the end of the input. out must
// contain the last 8 KiB of previous output.
func (z *lz77) decode(out, src []byte, want int, last bool) ([]byte, int, error) {
	want = min(want, cap(out))
	used := 0
	if z.match > 0 {
		out = z.copyMatch(out, want)
	}
	for len(out) < want {
		if len(src)-used >= lzAhead && want-len(out) >= lzAhead {
			var n int
			var err error
			if out, n, err = z.decodeMost(out, src[used:], want); err != nil {
				return out, used + n, err
			}
			used += n
			if z.match > 0 { // a match for which there was not enough room
				out = z.copyMatch(out, want)
				continue
			}
		}
		if z.unused == 0 {
			if len(src)-used < lzGroup && !last {
				return out, used, nil
			}
			if len(src)-used < 4 {
				return out, used, errShort
			}
			z.flags, z.unused = binary.LittleEndian.Uint32(src[used:]), 32
			used += 4
		}
		if len(src)-used < 10 && !last {
			return out, used, nil
		}
		if n := min(bits.LeadingZeros32(z.flags), z.unused); n > 0 { // literals
			n = min(n, want-len(out), len(src)-used)
			if n == 0 {
				return out, used, errShort
			}
			out = append(out, src[used:used+n]...)
			used += n
			z.flags <<= n
			z.unused -= n
			continue
		}
		z.flags <<= 1
		z.unused--
		n, err := z.token(src[used:])
		used += n
		if err != nil {
			return out, used, err
		}
		if z.offset > len(out) {
			return out, used, errMatch
		}
		out = z.copyMatch(out, want)
	}
	return out, used, nil
}

// decodeMost is like decode. It runs while src and out have enough room to copy more than
// necessary: 32 literals, and matches in steps of a fixed size, which is faster than
// copying the exact number of bytes. Later output overwrites the excess.
func (z *lz77) decodeMost(out, src []byte, want int) ([]byte, int, error) {
	to, flags, unused := len(out), z.flags, z.unused
	out = out[:want]
	used := 0
	var err error
	for want-to >= lzAhead && len(src)-used >= lzAhead {
		if unused == 0 {
			flags, unused = binary.LittleEndian.Uint32(src[used:]), 32
			used += 4
		}
		if n := min(bits.LeadingZeros32(flags), unused); n > 0 {
			*(*[32]byte)(out[to:]) = *(*[32]byte)(src[used:])
			to += n
			used += n
			flags <<= n
			if unused -= n; unused == 0 {
				continue
			}
		}
		flags <<= 1
		unused--
		var n int
		if n, err = z.token(src[used:]); err != nil {
			break
		}
		used += n
		if z.offset > to {
			err = errMatch
			break
		}
		if want-to < z.match+8 {
			break
		}
		from, end := to-z.offset, to+z.match
		z.match = 0
		if z.offset < 8 { // it repeats its own output
			for ; to < end; to++ {
				out[to] = out[from]
				from++
			}
			continue
		}
		for ; to < end; to += 8 {
			*(*[8]byte)(out[to:]) = *(*[8]byte)(out[from:])
			from += 8
		}
		to = end
	}
	z.flags, z.unused = flags, unused
	return out[:to], used, err
}

// token reads the offset and the length of a match ([MS-XCA] section 2.4.4). It returns
// the number of bytes that they occupy.
func (z *lz77) token(src []byte) (used int, err error) {
	if len(src) < 2 {
		return 0, errShort
	}
	v := binary.LittleEndian.Uint16(src)
	used = 2
	z.offset = int(v>>3) + 1
	length := int(v & 7)
	if length < 7 {
		z.match = length + 3
		return used, nil
	}
	if z.half {
		length, z.half = int(z.nibble), false
	} else {
		if len(src) < 3 {
			return used, errShort
		}
		length, z.nibble, z.half = int(src[2]&15), src[2]>>4, true
		used = 3
	}
	if length == 15 {
		n, more, err := longLength(src[used:])
		if err != nil {
			return used, err
		}
		length += n
		used += more
	}
	z.match = length + 7 + 3
	return used, nil
}

// longLength reads the part of a length that does not fit into its half byte.
func longLength(src []byte) (length, used int, err error) {
	if len(src) < 1 {
		return 0, 0, errShort
	}
	if src[0] < 255 {
		return int(src[0]), 1, nil
	}
	if len(src) < 3 {
		return 0, 0, errShort
	}
	n, used := uint32(binary.LittleEndian.Uint16(src[1:])), 3
	if n == 0 {
		if len(src) < 7 {
			return 0, 0, errShort
		}
		n, used = binary.LittleEndian.Uint32(src[3:]), 7
	}
	if n < 15+7 || n > maxBuffer {
		return 0, 0, errLength
	}
	return int(n - (15 + 7)), used, nil
}

// copyMatch copies as much of the current match as fits. Source and target may overlap.
func (z *lz77) copyMatch(out []byte, want int) []byte {
	n := min(z.match, want-len(out))
	z.match -= n
	from := len(out) - z.offset
	if z.offset >= n {
		return append(out, out[from:from+n]...)
	}
	for range n {
		out = append(out, out[from])
		from++
	}
	return out
}
