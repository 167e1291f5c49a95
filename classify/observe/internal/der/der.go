// Package der splits BER and DER elements (ITU-T X.690) as Kerberos, LDAP and
// SPNEGO use them: one-octet identifiers and definite lengths. It reads
// beginnings as well as whole elements, because observers look at the first
// few KiB of a message only, and it copies nothing.
package der

import (
	"encoding/binary"
	"errors"
)

// Universal tags that the protocols use.
const (
	Boolean     = 0x01
	Integer     = 0x02
	BitString   = 0x03
	OctetString = 0x04
	OID         = 0x06
	Enumerated  = 0x0a
	Sequence    = 0x30
)

// Application returns the identifier of a constructed [APPLICATION n], and
// Context that of a constructed context tag [n]; n is below 31.
func Application(n byte) byte { return 0x60 | n }

// Context returns the identifier of a constructed context-specific tag [n].
func Context(n byte) byte { return 0xa0 | n }

// What can be wrong with a header.
var (
	// ErrShort means that the input ends within the header.
	ErrShort = errors.New("der: header is not complete")
	// ErrForm means that this package does not read the header: a tag number
	// above 30, an indefinite length, or a length of 2 GiB and more.
	ErrForm = errors.New("der: not a definite-length element")
)

// MaxHeader is the largest number of octets that Header can need.
const MaxHeader = 6

// Header reads an identifier octet and a length. It returns the number of
// octets of the header and of the content that should follow.
func Header(b []byte) (tag byte, head, length int, err error) {
	if len(b) >= 6 && b[0]&0x1f != 0x1f {
		switch l := b[1]; {
		case l < 0x80:
			return b[0], 2, int(l), nil
		case l == 0x84 && b[2] < 0x80: // as Windows writes every length of an LDAP message
			return b[0], 6, int(binary.BigEndian.Uint32(b[2:])), nil
		}
	}
	return header(b)
}

// header is Header for all lengths.
func header(b []byte) (tag byte, head, length int, err error) {
	if len(b) > 0 && b[0]&0x1f == 0x1f {
		return 0, 0, 0, ErrForm
	}
	if len(b) < 2 {
		return 0, 0, 0, ErrShort
	}
	tag = b[0]
	l := b[1]
	if l < 0x80 {
		return tag, 2, int(l), nil
	}
	// The shortest form that DER asks for cannot be asked for here.
	n := int(l & 0x7f)
	if n == 0 || n > 4 {
		return 0, 0, 0, ErrForm
	}
	if len(b) < 2+n {
		return 0, 0, 0, ErrShort
	}
	var v uint32
	switch b = b[2 : 2+n]; len(b) {
	case 1:
		v = uint32(b[0])
	case 2:
		v = uint32(binary.BigEndian.Uint16(b))
	case 3:
		v = uint32(b[0])<<16 | uint32(binary.BigEndian.Uint16(b[1:]))
	case 4:
		v = binary.BigEndian.Uint32(b)
	}
	if v > 0x7fffffff {
		return 0, 0, 0, ErrForm
	}
	return tag, 2 + n, int(v), nil
}

// Element is one element, or the beginning of one.
type Element struct {
	Tag byte
	// Len is the content's length in bytes as the header says.
	Len int
	// Body is the content, or as much of it as there is.
	Body []byte
}

// Whole reports whether all of the content is there.
func (e Element) Whole() bool { return len(e.Body) == e.Len }

// Next takes the first element off b. The element can be cut short by the end
// of b (see Whole); rest is then empty. ok is false if not even a header is
// there, or none that can be read.
func Next(b []byte) (e Element, rest []byte, ok bool) {
	tag, head, length, err := Header(b)
	if err != nil {
		return Element{}, nil, false
	}
	b = b[head:]
	if length > len(b) {
		return Element{tag, length, b}, nil, true
	}
	return Element{tag, length, b[:length]}, b[length:], true
}

// Open takes the first element off b if it has the given tag, and returns its
// content, which the end of b can have cut short.
func Open(b []byte, tag byte) (body, rest []byte, ok bool) {
	e, rest, ok := Next(b)
	if !ok || e.Tag != tag {
		return nil, nil, false
	}
	return e.Body, rest, true
}

// Int reads the first element of b as an INTEGER or ENUMERATED of at most eight
// octets.
func Int(b []byte) (v int64, rest []byte, ok bool) {
	e, rest, ok := Next(b)
	if !ok || e.Tag != Integer && e.Tag != Enumerated || !e.Whole() || e.Len == 0 || e.Len > 8 {
		return 0, nil, false
	}
	v = int64(int8(e.Body[0]))
	for _, c := range e.Body[1:] {
		v = v<<8 | int64(c)
	}
	return v, rest, true
}
