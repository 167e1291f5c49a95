// Package der splits BER and DER elements (ITU-T X.690) as used by Kerberos, LDAP and
// SPNEGO, with one-octet identifiers and definite lengths. It accepts incomplete
// elements, because observers read only the first few KiB of a message. It copies
// nothing.
package der

import (
	"encoding/binary"
	"errors"
)

// The universal tags that the protocols use.
const (
	Boolean     = 0x01
	Integer     = 0x02
	BitString   = 0x03
	OctetString = 0x04
	OID         = 0x06
	Enumerated  = 0x0a
	Sequence    = 0x30
)

// Application returns the identifier of a constructed element with the tag [APPLICATION
// n]. n must be less than 31.
func Application(n byte) byte { return 0x60 | n }

// Context returns the identifier of a constructed element with the context-specific tag
// [n]. n must be less than 31.
func Context(n byte) byte { return 0xa0 | n }

// Errors of Header.
var (
	// ErrShort means that the input ends within the header.
	ErrShort = errors.New("der: header is not complete")
	// ErrForm means that this package does not support the header: a tag number above 30,
	// an indefinite length, or a length of 2 GiB or more.
	ErrForm = errors.New("der: not a definite-length element")
)

// MaxHeader is the maximum number of octets that Header needs.
const MaxHeader = 6

// Header parses an identifier octet and a length. It returns the number of octets of the
// header and of the content that should follow.
func Header(b []byte) (tag byte, head, length int, err error) {
	if len(b) >= 6 && b[0]&0x1f != 0x1f {
		switch l := b[1]; {
		case l < 0x80:
			return b[0], 2, int(l), nil
		case l == 0x84 && b[2] < 0x80: // the form in which Windows writes all lengths of an LDAP message
			return b[0], 6, int(binary.BigEndian.Uint32(b[2:])), nil
		}
	}
	return header(b)
}

// header is like Header and handles all lengths.
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
	// DER's rule of the shortest form does not apply to BER.
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
	// Len is the length of the content in bytes according to the header.
	Len int
	// Body is the available part of the content.
	Body []byte
}

// Whole reports whether the content is complete.
func (e Element) Whole() bool { return len(e.Body) == e.Len }

// Next splits the first element off b. The end of b can cut the element short (see
// Whole); rest is then empty. ok is false if b does not start with a complete, supported
// header.
func Next(b []byte) (e Element, rest []byte, ok bool) {
	if len(b) >= 2 && b[1] < 0x80 && b[0]&0x1f != 0x1f && int(b[1]) <= len(b)-2 { // as most are
		n := int(b[1]) + 2
		return Element{b[0], n - 2, b[2:n]}, b[n:], true
	}
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

// Open splits the first element off b if it has the given tag, and returns its content.
// The end of b can cut the content short.
func Open(b []byte, tag byte) (body, rest []byte, ok bool) {
	e, rest, ok := Next(b)
	if !ok || e.Tag != tag {
		return nil, nil, false
	}
	return e.Body, rest, true
}

// Int parses the first element of b as an INTEGER or ENUMERATED of at most eight octets.
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
