package ldap

import (
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
)

// kind is the kind of a message's beginning.
type kind uint8

const (
	neither kind = iota
	tooShort
	plain   // an LDAPMessage
	wrapped // a SASL buffer
)

// message is the beginning of a message or a SASL buffer.
type message struct {
	kind kind
	op   byte
	size int // total length in bytes
	at   int // offset of the body
	id   int64
	body []byte // the available part of the content of the operation or buffer
}

// look sets m to the message at the start of b: an LDAPMessage, or a SASL buffer if sasl
// is set. If b starts with neither, it sets only kind.
func (m *message) look(b []byte, sasl bool) {
	if !m.windows(b) {
		m.lookAny(b, sasl)
	}
}

// lookAny is like look, for messages with lengths of any form. It is a single function
// because each field determines the position of the next.
func (m *message) lookAny(b []byte, sasl bool) {
	m.kind = tooShort
	if len(b) == 0 {
		return
	}
	if b[0] == 0 && sasl {
		if len(b) < 4 {
			return
		}
		size := int(binary.BigEndian.Uint32(b))
		if size < 16 || size > maxBuffer {
			m.kind = neither
			return
		}
		head := min(size, maxWrap)
		if len(b) < 4+head {
			return
		}
		*m = message{kind: wrapped, size: 4 + size, at: 4, body: b[4 : 4+head]}
		return
	}
	if b[0] != der.Sequence {
		m.kind = neither
		return
	}
	_, at, length, err := der.Header(b)
	if err == der.ErrForm || length > maxMessage {
		m.kind = neither
		return
	}
	if err != nil {
		return
	}
	size := at + length
	// An incomplete message is too short. A complete message that is too short is
	// invalid.
	short := tooShort
	if len(b) >= size {
		b, short = b[:size], neither
	}
	m.kind = neither
	if len(b) < at+2 {
		m.kind = short
		return
	}
	n := int(b[at+1])
	if b[at] != der.Integer || n < 1 || n > 4 {
		return
	}
	if len(b) < at+2+n+1 {
		m.kind = short
		return
	}
	id := int64(int8(b[at+2]))
	for _, c := range b[at+3 : at+2+n] {
		id = id<<8 | int64(c)
	}
	at += 2 + n
	is := &ops[b[at]]
	if id < 0 || is.wanted == 0 {
		return
	}
	op, head, n, err := der.Header(b[at:])
	if err == der.ErrShort {
		m.kind = short
		return
	}
	at += head
	if err != nil || at+n > size {
		return
	}
	body := b[at:min(len(b), at+n)]
	if is.first != 0 {
		if len(body) == 0 && n > 0 {
			m.kind = short
			return
		}
		if n == 0 || body[0] != is.first {
			return
		}
	}
	m.kind, m.op, m.size, m.at, m.id, m.body = plain, op, size, at, id, body
}

// windows is like look, for the messages of Windows, which writes lengths in four octets.
// Nearly all messages are of that kind. It reports whether b starts with one.
func (m *message) windows(b []byte) bool {
	if len(b) < 2*der.MaxHeader+2+4+1 || binary.BigEndian.Uint16(b) != der.Sequence<<8|0x84 || b[6] != der.Integer || b[7]-1 >= 4 || b[8] >= 0x80 {
		return false
	}
	id := binary.BigEndian.Uint32(b[8:]) >> (32 - 8*b[7])
	at := 8 + int(b[7])
	op := b[at]
	size, n := 6+int(binary.BigEndian.Uint32(b[2:])), int(binary.BigEndian.Uint32(b[at+2:]))
	if b[at+1] != 0x84 || size > maxMessage {
		return false
	}
	at += 6
	is := &ops[op]
	if is.wanted == 0 || n == 0 || n > size-at || is.first != 0 && b[at] != is.first {
		return false
	}
	m.kind, m.op, m.size, m.at, m.id, m.body = plain, op, size, at, int64(id), b[at:min(len(b), at+n)]
	return true
}

// operation describes an operation.
type operation struct {
	wanted  uint16 // bytes of a message that are read; 0 if it is not an operation
	request bool   // sent by the client
	first   byte   // the first octet of its content, if it is always the same
}

var ops = [256]operation{
	opBind:         {maxToken, true, der.Integer}, // version
	opBindResponse: {maxToken, false, der.Enumerated},
	opUnbind:       {minOp, true, 0},
	opSearch:       {maxRequest, true, der.OctetString}, // base
	opEntry:        {minOp, false, der.OctetString},     // name
	opSearchDone:   {minOp, false, der.Enumerated},
	opModify:       {minOp, true, der.OctetString},
	opModify + 1:   {minOp, false, der.Enumerated},
	opAdd:          {minOp, true, der.OctetString},
	opAdd + 1:      {minOp, false, der.Enumerated},
	opDelete:       {minOp, true, 0},
	0x6b:           {minOp, false, der.Enumerated},
	opModifyDN:     {minOp, true, der.OctetString},
	opModifyDN + 1: {minOp, false, der.Enumerated},
	opCompare:      {minOp, true, der.OctetString},
	opCompare + 1:  {minOp, false, der.Enumerated},
	opAbandon:      {minOp, true, 0},
	opReference:    {minOp, false, der.OctetString},
	opExtended:     {maxExtended, true, 0x80}, // requestName [0]
	// All of it, because TLS can begin after it.
	opExtendedReply: {maxRequest, false, der.Enumerated},
	opIntermediate:  {minOp, false, 0},
}

// request reports whether op is sent by a client.
func request(op byte) bool { return ops[op].request }

func detect(f *observe.First) observe.Match {
	b := f.ToServer
	if len(b) == 0 {
		b = f.ToClient
	}
	var m message
	m.look(b, f.OnPort && !f.Datagram)
	switch {
	case f.Datagram:
		// Searches and their results. The snap length can cut off their ends.
		if m.kind == plain && fills(&m, b) && (m.op == opSearch || m.op == opEntry || m.op == opSearchDone || m.op == opAbandon) {
			return observe.Yes
		}
	case m.kind == tooShort:
		return observe.More
	case m.kind == plain, m.kind == wrapped && protection(m.body, m.size-4, false) != "":
		return observe.Yes
	}
	return observe.No
}
