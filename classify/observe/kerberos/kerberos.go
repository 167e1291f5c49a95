// Package kerberos reads the exchanges of Kerberos version 5 with a key distribution
// centre over TCP and UDP (RFC 4120). It reports their realm and service. Other packages
// use it to read the AP-REQ that applications carry.
package kerberos

import (
	"encoding/binary"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/der"
)

// Facts of this protocol, besides observe.Auth.
const (
	Message = "kerberos.message" // as-req, as-rep, tgs-req, tgs-rep, ap-req or error
	Realm   = "kerberos.realm"   // of the service, from requests, tickets and errors
	Service = "kerberos.service" // service principal: "exchangeMDB/mb1.example.com", "krbtgt/EXAMPLE.COM"
	Etype   = "kerberos.etype"   // of tickets and replies: "aes256-cts-hmac-sha1-96", "rc4-hmac" ...
	Error   = "kerberos.error"   // "KDC_ERR_S_PRINCIPAL_UNKNOWN" ... (RFC 4120 section 7.5.9), or "other"
	Client  = "kerberos.client"  // client principal; only with Report.Identities
)

// Limits.
const (
	maxMessage = 1 << 20 // bytes of one message; tickets with large group lists have about 64 KiB
	maxElement = 4096    // bytes of one element that are awaited and read
)

var messages = [256]string{
	tagASReq: "as-req", tagASRep: "as-rep", tagTGSReq: "tgs-req", tagTGSRep: "tgs-rep", tagAPReq: "ap-req", tagError: "error",
}

// Protocol describes Kerberos.
func Protocol() observe.Protocol {
	return observe.Protocol{
		Name: "kerberos", TCP: []uint16{88}, UDP: []uint16{88}, Stream: true, Datagram: true,
		Begins: string([]byte{tagASReq, tagASRep, tagTGSReq, tagTGSRep, tagAPReq, tagError}),
		Detect: detect, New: func() observe.Observer { return new(observer) },
		Renew: func(o observe.Observer) { *o.(*observer) = observer{} },
	}
}

// detect recognises the frame of a message by consistent lengths and version 5 in its
// first field. A port number adds no certainty.
func detect(f *observe.First) observe.Match {
	b := f.ToServer
	if len(b) == 0 {
		b = f.ToClient
	}
	short := observe.More
	if f.Datagram || len(f.ToClient) > 0 && len(f.ToServer) > 0 && len(b) >= 4+3*der.MaxHeader {
		short = observe.No
	}
	fr, err := open(b, f.Datagram)
	if err == der.ErrShort {
		return short
	} else if err != nil {
		return observe.No
	}
	// pvno is [1] INTEGER 5 in requests to the KDC and [0] INTEGER 5 in other messages.
	pvno := [...]byte{der.Context(0), 3, der.Integer, 1, version}
	if fr.request() {
		pvno[0] = der.Context(1)
	}
	b = b[fr.head:]
	for i, c := range pvno {
		if i == len(b) {
			return short
		}
		if b[i] != c {
			return observe.No
		}
	}
	return observe.Yes
}

// frame is the beginning of a message: [APPLICATION n] SEQUENCE, which over TCP follows
// its length in four octets (RFC 4120 section 7.2.2).
type frame struct {
	tag       byte
	head      int // bytes up to the first element
	remaining int // bytes of elements
}

// request reports whether the message is a request to the key distribution centre, whose
// fields are numbered from 1.
func (f frame) request() bool { return f.tag == tagASReq || f.tag == tagTGSReq }

// open parses the beginning of a message. It returns der.ErrShort if it needs more bytes.
func open(b []byte, datagram bool) (f frame, err error) {
	mark := -1
	if !datagram {
		if len(b) > 0 && b[0] != 0 || len(b) > 1 && b[1] > maxMessage>>16 {
			return f, der.ErrForm
		}
		if len(b) < 4 {
			return f, der.ErrShort
		}
		mark = int(binary.BigEndian.Uint32(b))
		b = b[4:]
		f.head = 4
	}
	if len(b) > 0 && messages[b[0]] == "" {
		return f, der.ErrForm
	}
	tag, head, length, err := der.Header(b)
	if err != nil {
		return f, err
	}
	// A datagram can be cut short, but not too long.
	if mark >= 0 && head+length != mark || mark < 0 && (head+length < len(b) || length > maxMessage) {
		return f, der.ErrForm
	}
	f.tag = tag
	f.head += head
	tag, head, left, err := der.Header(b[head:])
	if err != nil {
		return f, err
	}
	if tag != der.Sequence || head+left != length {
		return f, der.ErrForm
	}
	f.head += head
	f.remaining = left
	return f, nil
}

type observer struct {
	dirs [2]direction
	seen bool // a message was read
}

// direction is the state of one direction.
type direction struct {
	frame
	lost bool // bytes are missing, so the start of the next message is unknown
}

func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	if in.Datagram {
		return len(in.Data), o.datagram(in, r)
	}
	d := &o.dirs[in.Dir]
	if in.Gap > 0 {
		d.lost = true
		if o.dirs[in.Dir.Reverse()].lost {
			return 0, observe.ErrDone
		}
	}
	if d.lost {
		return len(in.Data), nil
	}
	pos := 0
	for pos < len(in.Data) {
		b := in.Data[pos:]
		if d.remaining == 0 {
			f, err := open(b, false)
			if err == der.ErrShort {
				return pos, nil
			} else if err != nil {
				return len(in.Data), o.refuse(in, d)
			}
			if err := o.turned(in, f.tag); err != nil {
				return pos, err
			}
			d.frame = f
			pos += f.head
			continue
		}
		e, size, err := d.element(b)
		if err == der.ErrShort {
			return pos, nil
		} else if err != nil {
			return len(in.Data), o.refuse(in, d)
		}
		if !o.report(d.tag, e, r) {
			return len(in.Data), o.refuse(in, d)
		}
		d.remaining -= size
		pos += size
	}
	return pos, nil
}

// refuse stops reading a direction that is not Kerberos. It ends the flow if no message
// was read.
func (o *observer) refuse(in *observe.Input, d *direction) error {
	if !o.seen || o.dirs[in.Dir.Reverse()].lost {
		return observe.ErrViolation
	}
	d.lost = true
	return nil
}

// turned returns observe.ErrReversed if a message of this kind is sent in the other
// direction.
func (o *observer) turned(in *observe.Input, tag byte) error {
	request := tag == tagASReq || tag == tagTGSReq || tag == tagAPReq
	if request == (in.Dir == observe.ToServer) {
		return nil
	}
	if o.seen {
		return observe.ErrViolation
	}
	return observe.ErrReversed
}

// element parses the next element of a message and returns its size including the header.
// It reads the first maxElement bytes of wanted elements, and nothing of others.
func (f *frame) element(b []byte) (e der.Element, size int, err error) {
	tag, head, length, err := der.Header(b)
	if err != nil {
		return e, 0, err
	}
	size = head + length
	if size > f.remaining {
		return e, 0, der.ErrForm
	}
	e = der.Element{Tag: tag, Len: length}
	if wanted := min(length, maxElement); f.wants(tag) {
		if len(b) < head+wanted {
			return e, 0, der.ErrShort
		}
		e.Body = b[head : head+wanted]
	}
	return e, size, nil
}

// Fields of the messages (RFC 4120 sections 5.4.1, 5.4.2, 5.5.1, 5.9.1).
const (
	reqVersion, reqType, reqBody = 0xa1, 0xa2, 0xa4

	otherVersion, otherType = 0xa0, 0xa1

	repClient, repTicket, repPart                    = 0xa4, 0xa5, 0xa6
	apTicket                                         = 0xa3
	errCode, errClient, errRealm, errService         = 0xa6, 0xa8, 0xa9, 0xaa
	bodyClient, bodyRealm, bodyService, bodyDeadline = 0xa1, 0xa2, 0xa3, 0xa5
)

// wants reports whether a field of the message is read.
func (f *frame) wants(tag byte) bool {
	if f.request() {
		return tag == reqVersion || tag == reqType || tag == reqBody
	}
	switch tag {
	case otherVersion, otherType:
		return true
	case repClient, repTicket:
		return f.tag == tagASRep || f.tag == tagTGSRep
	case repPart: // errCode
		return f.tag != tagAPReq
	case apTicket:
		return f.tag == tagAPReq
	case errClient, errRealm, errService:
		return f.tag == tagError
	}
	return false
}

// report reports the content of an element. It returns false if the element cannot be
// part of a Kerberos message.
func (o *observer) report(tag byte, e der.Element, r *observe.Report) bool {
	f := frame{tag: tag}
	if !f.wants(e.Tag) {
		return true
	}
	verTag, typeTag := byte(otherVersion), byte(otherType)
	if f.request() {
		verTag, typeTag = reqVersion, reqType
	}
	switch e.Tag {
	case verTag:
		v, _, ok := der.Int(e.Body)
		return ok && v == version
	case typeTag:
		v, _, ok := der.Int(e.Body)
		if !ok || v != int64(tag&0x1f) {
			return false
		}
		o.seen = true
		r.Add(Message, messages[tag])
		r.Add(observe.Auth, "kerberos")
		return true
	}
	switch tag {
	case tagASReq, tagTGSReq:
		body(e.Body, r)
	case tagASRep, tagTGSRep:
		switch e.Tag {
		case repClient:
			client(e.Body, r)
		case repTicket:
			t, _ := parseTicket(e.Body, r.Identities)
			t.report(r)
		case repPart:
			r.Add(Etype, etypeOf(e.Body))
		}
	case tagAPReq:
		t, _ := parseTicket(e.Body, r.Identities)
		t.report(r)
	case tagError:
		switch e.Tag {
		case errCode:
			if v, _, ok := der.Int(e.Body); ok {
				r.Add(Error, errorName(v))
			}
		case errClient:
			client(e.Body, r)
		case errRealm:
			r.Add(Realm, str(e.Body))
		case errService:
			r.Add(Service, principal(e.Body, r.Identities))
		}
	}
	return true
}

// body reads a KDC-REQ-BODY up to the service.
func body(b []byte, r *observe.Report) {
	b, _, ok := der.Open(b, der.Sequence)
	for ok {
		var e der.Element
		if e, b, ok = der.Next(b); !ok || e.Tag >= bodyDeadline {
			return
		}
		switch e.Tag {
		case bodyClient:
			client(e.Body, r)
		case bodyRealm:
			r.Add(Realm, str(e.Body))
		case bodyService:
			r.Add(Service, principal(e.Body, r.Identities))
		}
	}
}

func client(b []byte, r *observe.Report) {
	if r.Identities {
		r.Add(Client, principal(b, true))
	}
}

func (t Ticket) report(r *observe.Report) {
	r.Add(Realm, t.Realm)
	r.Add(Service, t.Service)
	r.Add(Etype, t.Etype)
}

func errorName(code int64) string {
	if s := errorNames[code]; s != "" {
		return s
	}
	return "other"
}

// datagram reads the message in a datagram, up to the snap length.
func (o *observer) datagram(in *observe.Input, r *observe.Report) error {
	f, err := open(in.Data, true)
	if err != nil {
		if o.seen || in.Cut {
			return nil
		}
		return observe.ErrViolation
	}
	if err := o.turned(in, f.tag); err != nil {
		if o.seen {
			return nil
		}
		return err
	}
	for b := in.Data[f.head:]; ; {
		e, rest, ok := der.Next(b)
		if !ok {
			return nil
		}
		e.Body = e.Body[:min(len(e.Body), maxElement)]
		if !o.report(f.tag, e, r) {
			if o.seen {
				return nil
			}
			return observe.ErrViolation
		}
		b = rest
	}
}
